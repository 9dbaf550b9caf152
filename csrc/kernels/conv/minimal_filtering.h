// 3x3 convolutions by minimal filtering, F(4x4, 3x3) (Winograd 1980; Lavin and Gray 2016): a patch
// of 6x6 pixels and a window are each taken to 36 points, where they multiply one to one; what the
// channels add up to there gives 4x4 pixels of y. That is 36 products where the definition has 144.
//
// The points are 0, +-3/4, +-3/2 and infinity, of which the customary ones, +-1 and +-2, lose twice
// as much: here the error is some two bits above the definition's. An error is in proportion to the
// patch, though, and not to the window: hence not at "highest". A patch that comes out infinite or
// NaN is computed again by the definition.
#pragma once

#include "kernels/conv/arrange.h"

namespace tilework::TW_ISA {

inline constexpr int kSide = 4;           // of what a patch gives
inline constexpr int kPatch = kSide + 2;  // its own side
inline constexpr int kPoints = kPatch * kPatch;

// The points on either side of zero, and their powers: all exact.
inline constexpr float kLow = 0.75f, kLow2 = kLow * kLow, kLow3 = kLow2 * kLow;
inline constexpr float kHigh = 1.5f, kHigh2 = kHigh * kHigh, kHigh3 = kHigh2 * kHigh;
// What the polynomial through the points weighs each of them by.
inline constexpr float kAtZero = 1 / (kLow2 * kHigh2);
inline constexpr float kAtLow = 1 / (2 * kLow2 * (kLow2 - kHigh2));
inline constexpr float kAtHigh = 1 / (2 * kHigh2 * (kHigh2 - kLow2));

// From six values in a row to six points.
template <class V>
TW_INLINE void to_points(const V (&x)[kPatch], V (&out)[kPatch]) {
  const V even_low = fnma(x[2], V(kHigh2), x[4]), odd_low = fnma(x[1], V(kHigh2), x[3]);
  const V even_high = fnma(x[2], V(kLow2), x[4]), odd_high = fnma(x[1], V(kLow2), x[3]);
  out[0] = fma(x[0], V(kLow2 * kHigh2), fnma(x[2], V(kLow2 + kHigh2), x[4]));
  out[1] = fma(odd_low, V(kLow), even_low);
  out[2] = fnma(odd_low, V(kLow), even_low);
  out[3] = fma(odd_high, V(kHigh), even_high);
  out[4] = fnma(odd_high, V(kHigh), even_high);
  out[5] = fma(x[1], V(kLow2 * kHigh2), fnma(x[3], V(kLow2 + kHigh2), x[5]));
}

// From a row of a window to six points.
template <class V>
TW_INLINE void weights_to_points(const V (&w)[3], V (&out)[kPatch]) {
  const V even_low = fma(w[2], V(kLow2), w[0]), odd_low = w[1] * V(kLow);
  const V even_high = fma(w[2], V(kHigh2), w[0]), odd_high = w[1] * V(kHigh);
  out[0] = w[0] * V(kAtZero);
  out[1] = (even_low + odd_low) * V(kAtLow);
  out[2] = (even_low - odd_low) * V(kAtLow);
  out[3] = (even_high + odd_high) * V(kAtHigh);
  out[4] = (even_high - odd_high) * V(kAtHigh);
  out[5] = w[2];
}

// From four values in a row to six points: the transpose of from_points().
template <class V>
TW_INLINE void gradient_to_points(const V (&y)[kSide], V (&out)[kPatch]) {
  const V even_low = fma(y[2], V(kLow2), y[0]), even_high = fma(y[2], V(kHigh2), y[0]);
  const V odd_low = fma(y[3], V(kLow3), y[1] * V(kLow));
  const V odd_high = fma(y[3], V(kHigh3), y[1] * V(kHigh));
  out[0] = y[0];
  out[1] = even_low + odd_low;
  out[2] = even_low - odd_low;
  out[3] = even_high + odd_high;
  out[4] = even_high - odd_high;
  out[5] = y[3];
}

// From six points to a row of a window: the transpose of weights_to_points().
template <class V>
TW_INLINE void gradient_from_points(const V (&m)[kPatch], V (&w)[3]) {
  const V even_low = (m[1] + m[2]) * V(kAtLow), odd_low = (m[1] - m[2]) * V(kAtLow);
  const V even_high = (m[3] + m[4]) * V(kAtHigh), odd_high = (m[3] - m[4]) * V(kAtHigh);
  w[0] = fma(m[0], V(kAtZero), even_low + even_high);
  w[1] = fma(odd_low, V(kLow), odd_high * V(kHigh));
  w[2] = fma(even_low, V(kLow2), fma(even_high, V(kHigh2), m[5]));
}

// From six points to four values.
template <class V>
TW_INLINE void from_points(const V (&m)[kPatch], V (&y)[kSide]) {
  const V low = m[1] + m[2], odd_low = m[1] - m[2], high = m[3] + m[4], odd_high = m[3] - m[4];
  y[0] = m[0] + low + high;
  y[1] = fma(odd_low, V(kLow), odd_high * V(kHigh));
  y[2] = fma(low, V(kLow2), high * V(kHigh2));
  y[3] = fma(odd_low, V(kLow3), fma(odd_high, V(kHigh3), m[5]));
}

// Columns first, then rows: along(one line in, one line out) is one of the above.
template <int From, int To, class V, class Load, class Along, class Store>
TW_INLINE void transform(Load load, Along along, Store store) {
  V half[To][From];
#pragma GCC unroll 6
  for (int j = 0; j < From; ++j) {
    V in[From], out[To];
#pragma GCC unroll 6
    for (int i = 0; i < From; ++i) in[i] = load(i, j);
    along(in, out);
#pragma GCC unroll 6
    for (int i = 0; i < To; ++i) half[i][j] = out[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < To; ++i) {
    V out[To];
    along(half[i], out);
#pragma GCC unroll 6
    for (int j = 0; j < To; ++j) store(i, j, out[j]);
  }
}

// Patches of a grid of pixels, of which each gives kSide by kSide or what there is of them.
struct Patches {
  int64_t rows, cols, count;  // in an image, and in all

  explicit Patches(const ConvGeometry& g)
      : rows(ceil_div(g.rows, kSide)),
        cols(ceil_div(g.cols, kSide)),
        count(g.images * rows * cols) {}

  struct Place {
    int64_t image, row, col;  // of the first pixel
  };
  Place operator[](int64_t i) const {
    return {i / cols / rows, i / cols % rows * kSide, i % cols * kSide};
  }
};

// What a patch reads of x, from its own first pixel on; `zeros` outside of it.
template <class T>
TW_INLINE const T* patch_pixel(const ConvGeometry& g, const Source<T>& x, const T* zeros,
                               const Patches::Place& p, int64_t row, int64_t col) {
  const int64_t r = g.row_begin + p.row + g.taps[0].row + row, c = p.col + g.taps[0].col + col;
  if (r < 0 || r >= g.in_rows || c < 0 || c >= g.in_cols) return zeros;
  return x.data + p.image * x.image + r * x.row + c * x.col;
}

// A patch of x at its points, which lie `point` apart, each with its channels adjacent.
template <class T>
void put_at_points(const ConvGeometry& g, const Source<T>& x, const T* zeros,
                   const Patches::Place& place, T* out, int64_t point) {
  using V = Vec<T>;
  const T* pixel[kPatch][kPatch];
  for (int r = 0; r < kPatch; ++r)
    for (int c = 0; c < kPatch; ++c) pixel[r][c] = patch_pixel(g, x, zeros, place, r, c);
  const int64_t next = kSide * x.col;
  sweep<T>(g.channels, [&](int64_t k, auto lanes) TW_INLINE_LAMBDA {
    transform<kPatch, kPatch, V>(
        [&](int r, int c) TW_INLINE_LAMBDA {
          const T* from = pixel[r][c] + k;
          // What the patch on the right reads and this one does not.
          if (c >= kPatch - kSide) __builtin_prefetch(from + next, 0, 3);
          return lanes.load(from);
        },
        [](const V(&in)[kPatch], V(&points)[kPatch]) TW_INLINE_LAMBDA { to_points(in, points); },
        [&](int r, int c, V v) TW_INLINE_LAMBDA { v.store(out + (r * kPatch + c) * point + k); });
  });
}
// Room for the channels of a patch at a point: whole vectors, and a line more so that patches lie
// in different sets of L1.
template <class T>
int64_t point_row(int64_t channels) {
  return ceil_div(channels, Vec<T>::width) * Vec<T>::width + 64 / int64_t{sizeof(T)};
}

// Whether the taps are a 3x3 window without gaps.
inline bool is_dense_3x3(const ConvGeometry& g) {
  if (g.tap_count != 9 || g.row_step != 1 || g.col_step != 1) return false;
  for (int i = 0; i < 9; ++i)
    if (g.taps[i].row != g.taps[0].row + i / 3 || g.taps[i].col != g.taps[0].col + i % 3)
      return false;
  return true;
}

// Where the transformations are few beside the products that they save, those of weights serve as
// many patches as pay for them, and weights at their points, four times as many, do not crowd the
// memory.
inline bool minimal_filtering_pays(const ConvGeometry& g) {
  constexpr int64_t kChannels = 16, kPatches = 16, kWeights = 1 << 25;
  const Patches patches(g);
  return g.precision != MatmulPrecision::highest && is_dense_3x3(g) && g.channels >= kChannels &&
         g.outs >= kChannels && patches.count >= kPatches &&
         kPoints * g.channels * g.outs <= kWeights &&
         9 * g.rows * g.cols >= 2 * kPoints * patches.rows * patches.cols;
}

}  // namespace tilework::TW_ISA
