// Products of matrices whose right side was packed once: panels of PANEL columns, [ceil(columns / PANEL), depth, PANEL], what lacks
// filled with zeros. Knows one thread.
#pragma once

#include <cstring>

#include "vectors.h"

namespace {

// So many sums as registers hold beside a row of a panel and one value.
#if defined(__AVX512F__)
constexpr int ROWS = 12;
#elif defined(__aarch64__)
constexpr int ROWS = 8;
#elif defined(__AVX__)
constexpr int ROWS = 6;
#else
constexpr int ROWS = 4;
#endif
constexpr int COLUMNS = 2;
constexpr int PANEL = WIDTH * COLUMNS;
// A panel's part of this depth and the rows multiplied with it stay in the first cache; so many rows of that depth in the second.
constexpr int64_t DEPTH = 320;
constexpr int64_t HEIGHT = 192;
// Floats that come into a cache together.
constexpr int64_t LINE = 16;

struct Product {
  const float* left;
  int64_t left_stride;
  const float* panel;
  int64_t depth;
  float* out;
  int64_t out_stride;
  // What the sums begin with: those of the depth before, or this row.
  bool continues;
  const float* start;
};

// out[R, PANEL] = start + left[R, depth] . panel[depth, PANEL]
template <int R>
void multiply(const Product& p) {
  Vector sums[R][COLUMNS];
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) sums[r][c] = at((p.continues ? p.out + r * p.out_stride : p.start) + c * WIDTH);
  const float *left = p.left, *right = p.panel;
  for (int64_t k = 0; k < p.depth; k++, left++, right += PANEL) {
    Vector row[COLUMNS];
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) row[c] = at(right + c * WIDTH);
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) {
      const float value = left[r * p.left_stride];
#pragma GCC unroll 4
      for (int c = 0; c < COLUMNS; c++) sums[r][c] += row[c] * value;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int c = 0; c < COLUMNS; c++) at(p.out + r * p.out_stride + c * WIDTH) = sums[r][c];
}

template <int R>
void multiply_rows(int64_t rows, const Product& p) {
  if (rows == R) return multiply<R>(p);
  if constexpr (R > 1) multiply_rows<R - 1>(rows, p);
}

// The same where fewer columns than a panel's may be written.
void multiply_edge(int64_t rows, Product p, int64_t width) {
  float edge[ROWS * PANEL] = {};
  float *const out = p.out;
  const int64_t stride = p.out_stride;
  for (int64_t r = 0; p.continues && r < rows; r++) std::memcpy(edge + r * PANEL, out + r * stride, width * sizeof(float));
  p.out = edge, p.out_stride = PANEL;
  multiply_rows<ROWS>(rows, p);
  for (int64_t r = 0; r < rows; r++) std::memcpy(out + r * stride, edge + r * PANEL, width * sizeof(float));
}

struct Matrices {
  const float* left;
  const float* right;
  // Added to every row; may be null.
  const float* bias;
  float* out;
  int64_t rows, columns, depth, left_stride, out_stride;
};

// out[rows, columns] = left[rows, depth] . right + bias, for the panels from `from` on and before `until`.
void multiply_panels(const Matrices& m, int64_t from, int64_t until) {
  const int64_t slices = parts(m.depth, DEPTH);
  for (int64_t top = 0; top < m.rows; top += HEIGHT) {
    const int64_t height = least(HEIGHT, m.rows - top), strips = parts(height, ROWS), fewest = height / strips, longer = height % strips;
    for (int64_t slice = 0; slice < slices; slice++) {
      const int64_t begin = cut(m.depth, slices, slice), depth = cut(m.depth, slices, slice + 1) - begin;
      const int64_t ahead = parts(depth * PANEL / LINE, strips) * LINE;
      for (int64_t panel = from; panel < until; panel++) {
        const int64_t column = panel * PANEL, width = least(PANEL, m.columns - column);
        float start[PANEL] = {};
        if (m.bias) std::memcpy(start, m.bias + column, width * sizeof(float));
        Product p{m.left + top * m.left_stride + begin, m.left_stride, m.right + column * m.depth + begin * PANEL, depth,
                  m.out + top * m.out_stride + column,  m.out_stride,  slice > 0,                                  start};
        const float* next = panel + 1 < until ? p.panel + PANEL * m.depth : p.panel;
        for (int64_t strip = 0; strip < strips; strip++) {
          const int64_t rows = fewest + (strip < longer);
          // What comes next is fetched meanwhile: a part of the next panel, and where the next sums go.
          for (int64_t i = 0; i < ahead; i += LINE) __builtin_prefetch(next + i, 0, 2);
          for (int64_t r = rows; r < rows + fewest; r++) __builtin_prefetch(p.out + r * m.out_stride, 1, 3);
          if (width == PANEL)
            multiply_rows<ROWS>(rows, p);
          else
            multiply_edge(rows, p, width);
          next += ahead, p.left += rows * m.left_stride, p.out += rows * m.out_stride;
        }
      }
    }
  }
}

}  // namespace
