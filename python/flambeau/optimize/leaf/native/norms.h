// Group normalization of images in NHWC, and SiLU. Knows one thread.
#pragma once

#include <cmath>
#include <cstring>

#include "vectors.h"

namespace {

typedef int32_t Whole __attribute__((vector_size(WIDTH * 4)));

// x / (1 + exp(-x)), within two roundings of the last digit.
inline Vector silu_of(const Vector x) {
  // exp(t) = 2^n exp(r): adding 1.5 * 2^23 rounds to whole numbers and leaves n in the last bits. The polynomial is that of Cephes.
  constexpr float ROUNDS = 12582912.0f, MOST = 87.0f;
  Vector t = -x;
  t = t > MOST ? Vector{} + MOST : t;
  t = t < -MOST ? Vector{} - MOST : t;
  const Vector z = t * 1.44269504088896341f + ROUNDS, n = z - ROUNDS;
  const Vector r = (t - n * 0.693359375f) + n * 2.12194440e-4f;
  Vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  Whole bits, power;
  std::memcpy(&bits, &p, sizeof bits);
  std::memcpy(&power, &z, sizeof power);
  bits += power << 23;
  std::memcpy(&p, &bits, sizeof bits);
  return x / (p + 1.0f);
}

struct Norm {
  // in[batch, pixels, channels]; gamma and beta [channels] may be null. channels are a multiple of 16, and of groups.
  const float* in;
  const float* gamma;
  const float* beta;
  float* out;
  // [batch, 2, channels]: each channel's mean and sum of squares about it, then its factor and what is added.
  double* room;
  int64_t batch, pixels, channels, groups;
  double eps;
};

// So many pixels are summed in float before they are added up in double.
constexpr int64_t RUN = 64;

// Mean and sum of squares about it of WIDTH channels. Sums are of what exceeds the first pixel, so that a common offset costs no digits.
void moments(const Norm& n, int64_t image, int64_t channel) {
  const float* in = n.in + image * n.pixels * n.channels + channel;
  const Vector offset = at(in);
  Wide sums{}, squares{};
  for (int64_t first = 0; first < n.pixels; first += RUN) {
    Vector sum{}, square{};
    for (int64_t pixel = first; pixel < least(first + RUN, n.pixels); pixel++) {
      const Vector x = at(in + pixel * n.channels) - offset;
      sum += x, square += x * x;
    }
    sums += __builtin_convertvector(sum, Wide), squares += __builtin_convertvector(square, Wide);
  }
  double* mean = n.room + image * 2 * n.channels + channel;
  for (int lane = 0; lane < WIDTH; lane++) {
    mean[lane] = offset[lane] + sums[lane] / n.pixels;
    mean[n.channels + lane] = squares[lane] - sums[lane] * sums[lane] / n.pixels;
  }
}

// From the moments of a group's channels, factor and addend of each.
void factors(const Norm& n, int64_t image, int64_t group) {
  const int64_t width = n.channels / n.groups;
  double *first = n.room + image * 2 * n.channels + group * width, *second = first + n.channels;
  double mean = 0, square = 0;
  for (int64_t c = 0; c < width; c++) mean += first[c];
  mean /= width;
  for (int64_t c = 0; c < width; c++) square += second[c] + n.pixels * (first[c] - mean) * (first[c] - mean);
  const double factor = 1 / std::sqrt(square / (width * n.pixels) + n.eps);
  for (int64_t c = 0; c < width; c++) {
    const int64_t channel = group * width + c;
    first[c] = factor * (n.gamma ? n.gamma[channel] : 1);
    second[c] = (n.beta ? n.beta[channel] : 0) - mean * first[c];
  }
}

// WIDTH channels of the pixels from `from` on and before `until`.
void normalize(const Norm& n, int64_t image, int64_t from, int64_t until, int64_t channel) {
  const double* of = n.room + image * 2 * n.channels + channel;
  Vector factor, added;
  for (int lane = 0; lane < WIDTH; lane++) factor[lane] = of[lane], added[lane] = of[n.channels + lane];
  const int64_t start = image * n.pixels * n.channels + channel;
  for (int64_t pixel = from; pixel < until; pixel++) {
    const int64_t place = start + pixel * n.channels;
    at(n.out + place) = at(n.in + place) * factor + added;
  }
}

}  // namespace
