// Winograd's 3x3 convolution: N x N outputs from (N + 2)^2 products instead of 9 N^2. Knows one tile at a time.
//
// Both sides are polynomials, compared at 0, A, -A, B, -B and infinity. These A and B lose the fewest digits of those tried: relative
// error 1.2e-6 at 320 channels, with the usual 1 and 2 2.6e-6; a plain sum of so many products errs by 1e-6.
#pragma once

#include "vectors.h"

namespace {

template <int N>
struct Tile;

template <>
struct Tile<4> {
  static constexpr int SIDE = 6;
  static constexpr double A = 0.625, B = 1.5, AA = A * A, BB = B * B;
  static constexpr double ON_A = 1 / (2 * AA * (AA - BB)), ON_B = 1 / (2 * BB * (BB - AA));
  // A row for each point: what a kernel's row is multiplied with.
  static constexpr double KERNEL[SIDE][3] = {{1 / (AA * BB), 0, 0}, {ON_A, A* ON_A, AA* ON_A}, {ON_A, -A* ON_A, AA* ON_A},
                                             {ON_B, B* ON_B, BB* ON_B}, {ON_B, -B* ON_B, BB* ON_B}, {0, 0, 1}};

  // Six values of the image, at its points.
  static void into(const Vector (&d)[SIDE], Vector (&t)[SIDE]) {
    constexpr float a = A, b = B, aa = AA, bb = BB, product = AA * BB, sum = AA + BB;
    const Vector even_a = d[4] - d[2] * bb, odd_a = (d[3] - d[1] * bb) * a, even_b = d[4] - d[2] * aa, odd_b = (d[3] - d[1] * aa) * b;
    t[0] = d[4] - d[2] * sum + d[0] * product;
    t[1] = even_a + odd_a, t[2] = even_a - odd_a;
    t[3] = even_b + odd_b, t[4] = even_b - odd_b;
    t[5] = d[5] - d[3] * sum + d[1] * product;
  }

  // Four outputs of the sums at the points.
  static void out(const Vector (&m)[SIDE], Vector (&y)[4]) {
    constexpr float a = A, b = B, aa = AA, bb = BB, aaa = AA * A, bbb = BB * B;
    const Vector even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = odd_a * a + odd_b * b;
    y[2] = even_a * aa + even_b * bb;
    y[3] = odd_a * aaa + odd_b * bbb + m[5];
  }
};

// Of 0, 1, -1 and infinity.
template <>
struct Tile<2> {
  static constexpr int SIDE = 4;
  static constexpr double KERNEL[SIDE][3] = {{-1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};

  static void into(const Vector (&d)[SIDE], Vector (&t)[SIDE]) {
    t[0] = d[2] - d[0], t[1] = d[2] + d[1], t[2] = d[2] - d[1], t[3] = d[3] - d[1];
  }

  static void out(const Vector (&m)[SIDE], Vector (&y)[2]) { y[0] = m[0] + m[1] + m[2], y[1] = m[1] - m[2] + m[3]; }
};

// Kernels side by side: kernel[3, 3] of each lane at all points, each point into its own `out[point * stride]`.
template <int N>
void transform_kernels(const Wide kernel[9], float* out, int64_t stride) {
  constexpr int SIDE = Tile<N>::SIDE;
  Wide rows[SIDE][3];
  for (int i = 0; i < SIDE; i++)
    for (int x = 0; x < 3; x++) {
      const double* g = Tile<N>::KERNEL[i];
      rows[i][x] = kernel[x] * g[0] + kernel[3 + x] * g[1] + kernel[6 + x] * g[2];
    }
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) {
      const double* g = Tile<N>::KERNEL[j];
      at(out + (i * SIDE + j) * stride) = __builtin_convertvector(rows[i][0] * g[0] + rows[i][1] * g[1] + rows[i][2] * g[2], Vector);
    }
}

}  // namespace
