// Vectors as wide as the processor's, and whole numbers cut into parts. Knows no kernel.
#pragma once

#include <cstdint>

namespace {

#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#elif defined(__AVX__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif

// Read and written wherever floats may lie.
typedef float Vector __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));

// As many lanes, for what is computed once.
typedef double Wide __attribute__((vector_size(WIDTH * 8)));

inline Vector& at(float* p) { return *reinterpret_cast<Vector*>(p); }
inline const Vector& at(const float* p) { return *reinterpret_cast<const Vector*>(p); }

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// How many parts of at most `most` make `whole`.
inline int64_t parts(int64_t whole, int64_t most) { return (whole + most - 1) / most; }

// Where part `index` begins when `whole` is cut into `count` nearly equal parts.
inline int64_t cut(int64_t whole, int64_t count, int64_t index) { return whole / count * index + least(index, whole % count); }

}  // namespace
