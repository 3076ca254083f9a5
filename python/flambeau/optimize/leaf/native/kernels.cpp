// Layers in float32 on weights that were packed once. Plain memory in and out, no torch; images lie in NHWC.
// `threads` above 1 needs a build with OpenMP.

#ifdef _OPENMP
#include <omp.h>
#endif

#include "norms.h"
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
  // `room_for` floats, for `tiles` tiles at a time. Fewer than there are: each thread works on tiles of its own; else all on all.
  float* room;
  int64_t tiles, batch, height, width, channels, out_height, out_width, out_channels, pad_top, pad_left;
};

}  // extern "C"

namespace {

// Which of a team of threads this is.
int worker() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

struct Place {
  int64_t image, top, left;
};

template <int N>
Place place(const Convolution& c, int64_t tile) {
  const int64_t across = parts(c.out_width, N), down = parts(c.out_height, N), rest = tile % (across * down);
  return {tile / (across * down), rest / across * N, rest % across * N};
}

// Where the values of tiles lie at all points: [SIDE * SIDE, tiles, channels]. Rows begin a line further than they must, and points an
// odd number of lines apart: else those of many channel counts would all want the same few places in the caches.
struct Rows {
  int64_t row, point;
};

Rows rows_of(int64_t tiles, int64_t channels) {
  const int64_t row = channels + LINE;
  return {row, (tiles * row / LINE | 1) * LINE};
}

template <int N>
int64_t tiles_of(const Convolution& c) {
  return c.batch * parts(c.out_height, N) * parts(c.out_width, N);
}

// What is computed for some tiles, in a room of its own.
template <int N>
struct Work {
  static constexpr int POINTS = Tile<N>::SIDE * Tile<N>::SIDE;
  Rows in, out;
  float *lefts, *sums;
  // What lies around the image: as many zeros as there are channels.
  float* nothing;
  static int64_t room(const Convolution& c) {
    return POINTS * (rows_of(c.tiles, c.channels).point + rows_of(c.tiles, c.out_channels).point) + parts(c.channels, LINE) * LINE;
  }
  Work(const Convolution& c, int64_t worker)
      : in(rows_of(c.tiles, c.channels)),
        out(rows_of(c.tiles, c.out_channels)),
        lefts(c.room + worker * room(c)),
        sums(lefts + POINTS * in.point),
        nothing(sums + POINTS * out.point) {
    std::memset(nothing, 0, c.channels * sizeof(float));
  }
};

// Tile `tile` at all points, into row `slot`.
template <int N>
void transform_in(const Convolution& c, const Work<N>& work, int64_t tile, int64_t slot) {
  constexpr int SIDE = Tile<N>::SIDE;
  const Place p = place<N>(c, tile);
  const float* pixels[SIDE][SIDE];
  for (int i = 0; i < SIDE; i++)
    for (int j = 0; j < SIDE; j++) {
      const int64_t y = p.top - c.pad_top + i, x = p.left - c.pad_left + j;
      const bool is_inside = y >= 0 && y < c.height && x >= 0 && x < c.width;
      pixels[i][j] = is_inside ? c.in + ((p.image * c.height + y) * c.width + x) * c.channels : work.nothing;
    }
  for (int64_t channel = 0; channel < c.channels; channel += WIDTH) {
    Vector d[SIDE], t[SIDE], halves[SIDE][SIDE];
#pragma GCC unroll 6
    for (int x = 0; x < SIDE; x++) {
      for (int y = 0; y < SIDE; y++) d[y] = at(pixels[y][x] + channel);
      Tile<N>::into(d, t);
      for (int y = 0; y < SIDE; y++) halves[y][x] = t[y];
    }
    float* to = work.lefts + slot * work.in.row + channel;
#pragma GCC unroll 6
    for (int y = 0; y < SIDE; y++) {
      Tile<N>::into(halves[y], t);
      for (int x = 0; x < SIDE; x++) at(to + (y * SIDE + x) * work.in.point) = t[x];
    }
  }
}

// Row `slot` of the sums at all points, into its place in the image.
template <int N>
void transform_out(const Convolution& c, const Work<N>& work, int64_t tile, int64_t slot) {
  constexpr int SIDE = Tile<N>::SIDE;
  const Place p = place<N>(c, tile);
  const float* from = work.sums + slot * work.out.row;
  float* to = c.out + ((p.image * c.out_height + p.top) * c.out_width + p.left) * c.out_channels;
  const int64_t rows = least(N, c.out_height - p.top), columns = least(N, c.out_width - p.left);
  for (int64_t channel = 0; channel < c.out_channels; channel += WIDTH) {
    Vector m[SIDE], y[N], halves[N][SIDE];
#pragma GCC unroll 6
    for (int x = 0; x < SIDE; x++) {
      for (int i = 0; i < SIDE; i++) m[i] = at(from + (i * SIDE + x) * work.out.point + channel);
      Tile<N>::out(m, y);
      for (int i = 0; i < N; i++) halves[i][x] = y[i];
    }
    const Vector bias = c.bias ? at(c.bias + channel) : Vector{};
#pragma GCC unroll 4
    for (int row = 0; row < N; row++) {
      if (row == rows) break;
      Tile<N>::out(halves[row], y);
      float* pixel = to + row * c.out_width * c.out_channels + channel;
      for (int64_t column = 0; column < columns; column++) at(pixel + column * c.out_channels) = y[column] + bias;
    }
  }
}

// The sums of `count` tiles at one point, for the panels from `from` on and before `until`.
template <int N>
void multiply_point(const Convolution& c, const Work<N>& work, int64_t count, int64_t point, int64_t from, int64_t until) {
  const Matrices m{work.lefts + point * work.in.point,
                   c.weight + point * parts(c.out_channels, PANEL) * PANEL * c.channels,
                   nullptr,
                   work.sums + point * work.out.point,
                   count,
                   c.out_channels,
                   c.channels,
                   work.in.row,
                   work.out.row};
  multiply_panels(m, from, until);
}

// Each thread takes tiles of its own, and waits for no other before the end.
template <int N>
void convolve_apart(const Convolution& c, int threads) {
  const int64_t total = tiles_of<N>(c), panels = parts(c.out_channels, PANEL);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Work<N> work(c, worker());
#pragma omp for schedule(dynamic)
    for (int64_t part = 0; part < parts(total, c.tiles); part++) {
      const int64_t first = part * c.tiles, count = least(c.tiles, total - first);
      for (int64_t slot = 0; slot < count; slot++) transform_in<N>(c, work, first + slot, slot);
      for (int64_t point = 0; point < Work<N>::POINTS; point++) multiply_point<N>(c, work, count, point, 0, panels);
      for (int64_t slot = 0; slot < count; slot++) transform_out<N>(c, work, first + slot, slot);
    }
  }
}

// All threads take parts of the same tiles: for images too small for more than a few.
template <int N>
void convolve_together(const Convolution& c, int threads) {
  constexpr int POINTS = Work<N>::POINTS;
  const Work<N> work(c, 0);
  const int64_t total = tiles_of<N>(c), panels = parts(c.out_channels, PANEL);
  const int64_t across = threads > 1 ? least(panels, parts(4 * threads, POINTS)) : 1;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
#pragma omp for schedule(dynamic)
    for (int64_t slot = 0; slot < total; slot++) transform_in<N>(c, work, slot, slot);
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < POINTS * across; task++) {
      const int64_t part = task % across;
      multiply_point<N>(c, work, total, task / across, cut(panels, across, part), cut(panels, across, part + 1));
    }
#pragma omp for schedule(dynamic)
    for (int64_t slot = 0; slot < total; slot++) transform_out<N>(c, work, slot, slot);
  }
}

template <int N>
void convolve(const Convolution& c, int threads) {
  if (c.tiles < tiles_of<N>(c))
    convolve_apart<N>(c, threads);
  else
    convolve_together<N>(c, threads);
}

template <int N>
int64_t room_for(const Convolution& c, int threads) {
  return Work<N>::room(c) * (c.tiles < tiles_of<N>(c) ? threads : 1);
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

// Floats that this convolution works in, in tiles of 2x2 or 4x4 outputs; it need not have its addresses yet.
int64_t room_for2(const Convolution* c, int threads) { return room_for<2>(*c, threads); }
int64_t room_for4(const Convolution* c, int threads) { return room_for<4>(*c, threads); }

// A 3x3 convolution of stride 1 in tiles of 2x2 or 4x4 outputs.
void convolve2(const Convolution* c, int threads) { convolve<2>(*c, threads); }
void convolve4(const Convolution* c, int threads) { convolve<4>(*c, threads); }

// See Norm.
void group_norm(const Norm* norm, int threads) {
  const Norm& n = *norm;
  const int64_t vectors = n.channels / WIDTH, runs = parts(n.pixels, RUN);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
#pragma omp for schedule(static)
    for (int64_t task = 0; task < n.batch * vectors; task++) moments(n, task / vectors, task % vectors * WIDTH);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < n.batch * n.groups; task++) factors(n, task / n.groups, task % n.groups);
#pragma omp for schedule(static)
    for (int64_t task = 0; task < n.batch * runs; task++) {
      const int64_t image = task / runs, from = task % runs * RUN, until = least(from + RUN, n.pixels);
      for (int64_t vector = 0; vector < vectors; vector++) normalize(n, image, from, until, vector * WIDTH);
    }
  }
}

// out[count] = in / (1 + exp(-in)); both may be the same.
void silu(const float* in, float* out, int64_t count, int threads) {
  const int64_t vectors = count / WIDTH;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < vectors; i++) at(out + i * WIDTH) = silu_of(at(in + i * WIDTH));
  float rest[WIDTH] = {};
  const int64_t left = count - vectors * WIDTH;
  std::memcpy(rest, in + vectors * WIDTH, left * sizeof(float));
  at(rest) = silu_of(at(rest));
  std::memcpy(out + vectors * WIDTH, rest, left * sizeof(float));
}

}  // extern "C"
