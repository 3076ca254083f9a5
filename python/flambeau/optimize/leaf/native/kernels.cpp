// Layers in float32 on weights that were packed once. Plain memory in and out, no torch; images lie in NHWC.
// `threads` above 1 needs a build with OpenMP.

#include "product.h"
#include "tiles.h"

extern "C" {

struct Convolution {
  // in[batch, height, width, channels] gives out[batch, out_height, out_width, out_channels]; channels, in and out, are multiples
  // of 16. bias may be null.
  const float* in;
  const float* weight;
  const float* bias;
  float* out;
  // For `tiles` tiles at a time: SIDE * SIDE * tiles * (channels + out_channels).
  float* room;
  int64_t tiles, batch, height, width, channels, out_height, out_width, out_channels, pad_top, pad_left;
};

}  // extern "C"

namespace {

struct Place {
  int64_t image, top, left;
};

template <int N>
Place place(const Convolution& c, int64_t tile) {
  const int64_t across = parts(c.out_width, N), down = parts(c.out_height, N), rest = tile % (across * down);
  return {tile / (across * down), rest / across * N, rest % across * N};
}

// Tile `tile` at all points, into row `slot` of their left sides [tiles, channels].
template <int N>
void transform_in(const Convolution& c, int64_t tile, int64_t slot) {
  constexpr int SIDE = Tile<N>::SIDE;
  static const float nothing[WIDTH] = {};
  const Place p = place<N>(c, tile);
  const float* pixels[SIDE * SIDE];
  int64_t step[SIDE * SIDE];
  for (int i = 0; i < SIDE * SIDE; i++) {
    const int64_t y = p.top - c.pad_top + i / SIDE, x = p.left - c.pad_left + i % SIDE;
    const bool is_inside = y >= 0 && y < c.height && x >= 0 && x < c.width;
    pixels[i] = is_inside ? c.in + ((p.image * c.height + y) * c.width + x) * c.channels : nothing;
    step[i] = is_inside;
  }
  for (int64_t channel = 0; channel < c.channels; channel += WIDTH) {
    Vector d[SIDE * SIDE];
    for (int i = 0; i < SIDE * SIDE; i++) d[i] = at(pixels[i] + channel * step[i]);
#pragma GCC unroll 6
    for (int x = 0; x < SIDE; x++) Tile<N>::into(d + x, SIDE);
#pragma GCC unroll 6
    for (int y = 0; y < SIDE; y++) Tile<N>::into(d + y * SIDE, 1);
    float* to = c.room + slot * c.channels + channel;
    for (int i = 0; i < SIDE * SIDE; i++) at(to + i * c.tiles * c.channels) = d[i];
  }
}

// Row `slot` of the sums [tiles, out_channels] at all points, into its place in the image.
template <int N>
void transform_out(const Convolution& c, int64_t tile, int64_t slot) {
  constexpr int SIDE = Tile<N>::SIDE;
  const Place p = place<N>(c, tile);
  const float* from = c.room + SIDE * SIDE * c.tiles * c.channels + slot * c.out_channels;
  float* to = c.out + ((p.image * c.out_height + p.top) * c.out_width + p.left) * c.out_channels;
  const int64_t rows = least(N, c.out_height - p.top), columns = least(N, c.out_width - p.left);
  for (int64_t channel = 0; channel < c.out_channels; channel += WIDTH) {
    Vector m[SIDE * SIDE];
    for (int i = 0; i < SIDE * SIDE; i++) m[i] = at(from + i * c.tiles * c.out_channels + channel);
#pragma GCC unroll 6
    for (int x = 0; x < SIDE; x++) Tile<N>::out(m + x, SIDE);
#pragma GCC unroll 4
    for (int y = 0; y < N; y++) Tile<N>::out(m + y * SIDE, 1);
    const Vector bias = c.bias ? at(c.bias + channel) : Vector{};
    for (int64_t y = 0; y < rows; y++)
      for (int64_t x = 0; x < columns; x++) at(to + (y * c.out_width + x) * c.out_channels + channel) = m[y * SIDE + x] + bias;
  }
}

template <int N>
void convolve(const Convolution& c, int threads) {
  constexpr int POINTS = Tile<N>::SIDE * Tile<N>::SIDE;
  const int64_t total = c.batch * parts(c.out_height, N) * parts(c.out_width, N), panels = parts(c.out_channels, PANEL);
  const int64_t across = threads > 1 ? least(panels, parts(4 * threads, POINTS)) : 1;
#pragma omp parallel num_threads(threads) if (threads > 1)
  for (int64_t first = 0; first < total; first += c.tiles) {
    const int64_t count = least(c.tiles, total - first);
#pragma omp for schedule(dynamic)
    for (int64_t slot = 0; slot < count; slot++) transform_in<N>(c, first + slot, slot);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < POINTS * across; task++) {
      const int64_t point = task / across, part = task % across;
      const Matrices m{c.room + point * c.tiles * c.channels,
                       c.weight + point * panels * PANEL * c.channels,
                       nullptr,
                       c.room + c.tiles * (POINTS * c.channels + point * c.out_channels),
                       count,
                       c.out_channels,
                       c.channels,
                       c.channels,
                       c.out_channels};
      multiply_panels(m, cut(panels, across, part), cut(panels, across, part + 1));
    }
#pragma omp for schedule(dynamic)
    for (int64_t slot = 0; slot < count; slot++) transform_out<N>(c, first + slot, slot);
  }
}

template <int N>
void pack_tiles(const float* weight, float* out, int64_t out_channels, int64_t channels, int threads) {
  const int64_t panels = parts(out_channels, PANEL);
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
  for (int64_t panel = 0; panel < panels; panel++)
    for (int64_t channel = 0; channel < channels; channel++)
      for (int64_t half = 0; half < PANEL; half += WIDTH) {
        Wide kernels[9] = {};
        for (int lane = 0; lane < WIDTH && panel * PANEL + half + lane < out_channels; lane++)
          for (int i = 0; i < 9; i++) kernels[i][lane] = weight[((panel * PANEL + half + lane) * channels + channel) * 9 + i];
        transform_kernels<N>(kernels, out + (panel * channels + channel) * PANEL + half, panels * channels * PANEL);
      }
}

}  // namespace

extern "C" {

// Columns of a panel of packed weights.
int panel(void) { return PANEL; }

// weight[columns, depth] into panels, [ceil(columns / panel), depth, panel].
void pack(const float* weight, float* out, int64_t columns, int64_t depth, int threads) {
  const int64_t panels = parts(columns, PANEL);
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
  for (int64_t panel = 0; panel < panels; panel++)
    for (int64_t k = 0; k < depth; k++)
      for (int64_t lane = 0; lane < PANEL; lane++) {
        const int64_t row = panel * PANEL + lane;
        out[(panel * depth + k) * PANEL + lane] = row < columns ? weight[row * depth + k] : 0;
      }
}

// weight[out_channels, channels, 3, 3] into panels for each point of a tile, [points, panels, channels, panel].
void pack_tiles2(const float* weight, float* out, int64_t out_channels, int64_t channels, int threads) {
  pack_tiles<2>(weight, out, out_channels, channels, threads);
}
void pack_tiles4(const float* weight, float* out, int64_t out_channels, int64_t channels, int threads) {
  pack_tiles<4>(weight, out, out_channels, channels, threads);
}

// out[rows, columns] = left[rows, depth] . right + bias; bias may be null.
void linear(const float* left, const float* right, const float* bias, float* out, int64_t rows, int64_t columns, int64_t depth,
            int threads) {
  const Matrices m{left, right, bias, out, rows, columns, depth, depth, columns};
  const int64_t panels = parts(columns, PANEL), across = threads > 1 ? least(panels, 4 * threads) : 1;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
  for (int64_t part = 0; part < across; part++) multiply_panels(m, cut(panels, across, part), cut(panels, across, part + 1));
}

// A 3x3 convolution of stride 1 in tiles of 2x2 or 4x4 outputs.
void convolve2(const Convolution* c, int threads) { convolve<2>(*c, threads); }
void convolve4(const Convolution* c, int threads) { convolve<4>(*c, threads); }

}  // extern "C"
