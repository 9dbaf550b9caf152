// Convolutions by minimal filtering, F(2x2, 3x3) and its like (Winograd 1980; Lavin and Gray 2016):
// a patch of pixels and a window are each taken to as many points as the patch has pixels, where
// they multiply one to one; what the channels add up to there gives a square of pixels of y.
//
// A sum at a point has every product of a pixel and a tap, of which the definition has but a few:
// where both differ much in size, what cancels may be larger than what stays. Of F(2x2, .) such
// sums are of what the window sees, and err less than the definition's; where taps and pixels are
// both uneven the definition serves. F(4x4, .) loses some two bits, hence not at "highest". A patch
// that comes out infinite or NaN is computed again by the definition.
#pragma once

#include "kernels/conv/arrange.h"
#include "kernels/conv/dense_grids.h"
#include "kernels/conv/filters.h"

namespace tilework::TW_ISA {

struct Place {
  int64_t image, row, col;  // of the first pixel that a patch gives
};

// Patches of a grid of pixels, of which each gives a square of them or what there is of it.
template <class F>
struct Patches {
  int64_t rows, cols, count;  // in an image, and in all

  explicit Patches(const ConvGeometry& g)
      : rows(ceil_div(g.rows, F::side)),
        cols(ceil_div(g.cols, F::side)),
        count(g.images * rows * cols) {}

  int64_t products() const { return F::points * count; }  // of a channel and an out

  Place operator[](int64_t i) const {
    return {i / cols / rows, i / cols % rows * F::side, i % cols * F::side};
  }
};

// What a patch reads of x, from its own first pixel on; `zeros` outside of it, and where no window
// of the piece reads: there x may hold anything, or nothing be copied.
template <class T>
TW_INLINE const T* patch_pixel(const ConvGeometry& g, const Source<T>& x, const T* zeros,
                               const Place& p, int64_t row, int64_t col) {
  const int64_t r = g.row_begin + p.row + g.taps[0].row + row, c = p.col + g.taps[0].col + col;
  const Tap& last = g.taps[g.tap_count - 1];
  const int64_t row_end = least(g.in_rows, g.row_begin + g.rows + last.row);
  const int64_t col_end = least(g.in_cols, g.cols + last.col);
  if (r < 0 || r >= row_end || c < 0 || c >= col_end) return zeros;
  return x.data + p.image * x.image + r * x.row + c * x.col;
}

// A patch of x at its points, which lie `point` apart, each with its channels adjacent.
template <class F, class T>
void put_at_points(const ConvGeometry& g, const Source<T>& x, const T* zeros, const Place& place,
                   T* out, int64_t point) {
  using V = Vec<T>;
  const T* pixel[F::patch][F::patch];
  for (int r = 0; r < F::patch; ++r)
    for (int c = 0; c < F::patch; ++c) pixel[r][c] = patch_pixel(g, x, zeros, place, r, c);
  const int64_t next = F::side * x.col;
  sweep<T>(g.channels, [&](int64_t k, auto lanes) TW_INLINE_LAMBDA {
    F::template patch_to_points<V>(
        [&](int r, int c) TW_INLINE_LAMBDA {
          const T* from = pixel[r][c] + k;
          // What the patch on the right reads and this one does not.
          if (c >= F::patch - F::side) __builtin_prefetch(from + next, 0, 3);
          return lanes.load(from);
        },
        [&](int r, int c, V v) TW_INLINE_LAMBDA { v.store(out + (r * F::patch + c) * point + k); });
  });
}

// The most that pixels of a patch, or taps of an out, summed over channels, may differ for them to
// be alike.
inline constexpr float kUneven = 16;

// Of a patch's pixels in x, and the zeros around it.
template <class F, class T>
bool pixels_are_alike(const ConvGeometry& g, const Source<T>& x, const Place& place) {
  using V = Vec<T>;
  T smallest = T(__builtin_inf()), largest = 0;
  for (int i = 0; i < F::points; ++i) {
    const T* pixel = patch_pixel<T>(g, x, nullptr, place, i / F::patch, i % F::patch);
    V sums = V::zero();
    if (pixel)
      sweep<T>(g.channels,
               [&](int64_t k, auto lanes) TW_INLINE_LAMBDA { sums += abs(lanes.load(pixel + k)); });
    const T sum = reduce_add(sums);
    if (sum < smallest) smallest = sum;
    if (sum > largest) largest = sum;
  }
  return largest <= kUneven * smallest;
}

// Room for the channels of a patch at a point: whole vectors, and a line more so that patches lie
// in different sets of L1.
template <class T>
int64_t point_row(int64_t channels) {
  return ceil_div(channels, Vec<T>::width) * Vec<T>::width + 64 / int64_t{sizeof(T)};
}

// Where the products are few enough beside those of the definition, and of smaller patches, whose
// transformations are more but weigh little for many channels; where a window's transformation
// serves as many patches as pay for it, and weights at their points do not crowd the memory.
template <class F>
bool minimal_filtering_pays(const ConvGeometry& g, int64_t fewest_patches) {
  constexpr int64_t kManyChannels = 128, kWeights = 1 << 25;
  if (!F::at_highest && g.precision == MatmulPrecision::highest) return false;
  const Gaps gaps = Gaps::of(g, F::window);
  if (gaps.row == 0 || least(g.channels, g.outs) < F::fewest_channels) return false;
  ConvGeometry grid = g;
  grid.rows = ceil_div(g.rows, gaps.row);
  grid.cols = ceil_div(g.cols, gaps.col);
  const Patches<F> patches(grid);
  const auto is_less = [&](int64_t products) { return 3 * patches.products() <= 2 * products; };
  return patches.count >= fewest_patches && F::points * g.channels * g.outs <= kWeights &&
         is_less(F::taps * grid.images * grid.rows * grid.cols) &&
         (F::at_highest || g.channels < kManyChannels || is_less(Patches<F2x2>(grid).products()));
}

}  // namespace tilework::TW_ISA
