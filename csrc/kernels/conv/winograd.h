// The correlations of minimal filtering (minimal_filtering.h): a block of patches at its points,
// and at each the product with the weights of a panel of outs after another.
#pragma once

#include "kernels/conv/minimal_filtering.h"
#include "kernels/conv/streaming.h"
#include "kernels/conv/winograd_weights.h"

namespace tilework::TW_ISA {

// How many tiles of patches are at their points at once. Weights that come from memory must serve
// as many as there is room for; those that L3 holds serve so few that the points stay in L2.
inline constexpr int64_t kMostTiles = 8;
template <class F, class T>
int64_t tiles_at_once(const Correlation<T>& g) {
  constexpr int64_t kPointBytes = 1 << 18, kWeightBytes = 1 << 24;
  if (g.outs * g.channels * F::points * int64_t{sizeof(T)} > kWeightBytes) return kMostTiles;
  const int64_t tile = g.channels * Tile<T>::mr * F::points * sizeof(T);
  return least(kMostTiles, 2 + kPointBytes / tile);
}

// W: the weights' type, where they are not yet T.
template <class F, class T, class W = T>
class WinogradCorrelation {
  using Shape = Tile<T>;
  using V = Vec<T>;
  static constexpr int64_t nr = Shape::nr;
  // A line more than there may be, so that a patch's sums are in as many sets of L1.
  static constexpr int64_t kSumsOfPoint = (kMostTiles * Shape::mr + 1) * nr;

 public:
  // The weights of `weights` are packed; the definition reads them as they lie.
  WinogradCorrelation(const Correlation<T>& g, const Correlation<W>& weights, void* workspace)
      : g_(g),
        weights_(weights),
        arena_(workspace),
        copies_(g.x_channel != 1),
        extent_(copies_ ? CopyExtent::of(g, false) : CopyExtent{}),
        patches_(g),
        tiles_(ceil_div(patches_.count, Shape::mr)),
        blocks_(ceil_div(tiles_, tiles_at_once<F>(g))),
        row_(point_row<T>(g.channels)),
        point_(ceil_div(tiles_, blocks_) * Shape::mr * row_ + 64 / int64_t{sizeof(T)}) {
    zeros_ = arena_.template take<T>(g.channels);
    points_ = arena_.template take<T>(F::points * point_);
    sums_ = arena_.template take<T>(F::points * kSumsOfPoint);
    copy_ = arena_.template take<T>(copies_ ? g.images * extent_.pixels(g) * g.channels : 0);
  }
  size_t workspace_bytes() const { return arena_.used(); }

  void run() {
    fill_zeros(g_.channels, zeros_);
    const int64_t units = ceil_div(g_.outs, nr);
    for (group_ = 0; group_ < g_.groups; ++group_) {
      x_ = {g_.x + group_ * g_.channels * g_.x_channel, g_.x_image, g_.x_row, g_.x_col};
      if (copies_) x_ = arrange(g_, extent_, group_, 0, g_.images, copy_);
      for (int64_t b = 0; b < blocks_; ++b) {
        const Part tiles = part(tiles_, blocks_, b);
        const int64_t first = tiles.begin * Shape::mr;
        count_ = least(tiles.size * Shape::mr, patches_.count - first);
        for (int64_t i = 0; i < count_; ++i) {
          places_[i] = patches_[first + i];
          alike_[i] = Alike::unknown;
          put_at_points<F>(g_, x_, zeros_, places_[i], points_ + i * row_, point_);
        }
        for (int64_t unit = 0; unit < units; ++unit) {
          const T* weights = weights_at(group_ * units + unit);
          multiply(weights);
          put_pixels(unit * nr, weights[g_.channels * nr] != 0);
        }
      }
    }
  }

 private:
  const T* weights_at(int64_t unit) const {
    return reinterpret_cast<const T*>(g_.packed) + unit * F::points * weight_point(g_);
  }

  // Each point's products of all patches with the weights of one unit of outs, a block of which
  // stays in L1 from one tile of patches to the next.
  void multiply(const T* weights) {
    constexpr int64_t kBlock = 128;
    static_assert(kBlock % F::longest_chain == 0);
    const int64_t tiles = ceil_div(count_, Shape::mr);
    for (int point = 0; point < F::points; ++point)
      for (int64_t k = 0; k < g_.channels; k += kBlock)
        for (int64_t t = 0; t < tiles; ++t)
          multiply_tile(point, {k, least(kBlock, g_.channels - k)}, part(count_, tiles, t),
                        weights);
  }
  void multiply_tile(int point, const Part& channels, const Part& rows, const T* weights) const {
    const T* a = points_ + point * point_ + rows.begin * row_ + channels.begin;
    const T* w = weights + point * weight_point(g_) + channels.begin * nr;
    T* c = sums_ + point * kSumsOfPoint + rows.begin * nr;
    tile_kernel<T>(static_cast<int>(rows.size), nr, false)(
        channels.size, {a, row_, 1}, {w, nr}, {c, nr, nr, channels.begin > 0, 1, F::longest_chain});
  }

  // The pixels that the sums give for outs from `col` on.
  void put_pixels(int64_t col, bool taps_alike) {
    const int64_t width = least(nr, g_.outs - col);
    int64_t left[kMostTiles * Shape::mr], left_count = 0;  // to the definition
    for (int64_t i = 0; i < count_; ++i)
      if (!(taps_alike || pixels_alike(i)) || !put_patch(i, col, width)) left[left_count++] = i;
    if (left_count > 0) put_by_definition(left, left_count, col, static_cast<int>(width));
    if (g_.epilogue.changes_result()) finish_pixels(col);
  }
  bool pixels_alike(int64_t patch) {
    if (alike_[patch] == Alike::unknown)
      alike_[patch] = pixels_are_alike<F>(g_, x_, places_[patch]) ? Alike::yes : Alike::no;
    return alike_[patch] == Alike::yes;
  }

  // Returns whether they are finite.
  bool put_patch(int64_t patch, int64_t col, int64_t width) const {
    const Place place = places_[patch];
    T* y = g_.y + group_ * g_.outs + col;
    V check = V::zero();
    for (int64_t j = 0; j < width; j += V::width) {
      const T* sums = sums_ + patch * nr + j;
      const auto put = [&](auto lanes) TW_INLINE_LAMBDA {
        transform<F::patch, F::side, V>(
            [&](int r, int c)
                TW_INLINE_LAMBDA { return V::load(sums + (r * F::patch + c) * kSumsOfPoint); },
            [](const V(&points)[F::patch], V(&z)[F::side])
                TW_INLINE_LAMBDA { F::from_points(points, z); },
            [&](int r, int c, V v) TW_INLINE_LAMBDA {
              check += lanes.keep(v, V::zero());
              if (place.row + r < g_.rows && place.col + c < g_.cols) {
                T* to = pixel_of(y, place, r, c) + j;
                lanes.store(to, v);
                __builtin_prefetch(to + nr, 1, 3);  // where the next outs go
              }
            });
      };
      if (width - j >= V::width)
        put(WholeVector<T>{});
      else
        put(PartVector<T>{static_cast<int>(width - j)});
    }
    return !any(is_nan(check - check));
  }
  T* pixel_of(T* y, const Place& p, int64_t row, int64_t col) const {
    return y + p.image * g_.y_image + (p.row + row) * g_.y_row + (p.col + col) * g_.y_col;
  }

  void put_by_definition(const int64_t* patches, int64_t count, int64_t col, int width) const {
    ArrangedWeights<F, W> arranged(weights_);
    for (int64_t k = 0; k < g_.channels; k += arranged.kChannels) {
      const Part channels{k, least(arranged.kChannels, g_.channels - k)};
      const T* w = arranged.of(group_, col, channels.begin, channels.size);
      for (int64_t i = 0; i < count; ++i)
        for (int row = 0; row < F::side; row += kRowsAtOnce)
          add_windows(places_[patches[i]], row, channels, w, col, width);
    }
  }

  // To some rows of a patch's pixels, all at a time: alone, each would wait for its own last sum.
  static constexpr int kRowsAtOnce = F::side == 2 ? 2 : 1, kPixelsAtOnce = kRowsAtOnce * F::side;
  void add_windows(const Place& place, int row, const Part& channels, const T* w, int64_t col,
                   int width) const {
    constexpr int kVectors = nr / V::width;
    V sum[kPixelsAtOnce][kVectors];
    const auto each = [&](auto body) TW_INLINE_LAMBDA {
      for (int i = 0; i < kPixelsAtOnce; ++i) {
        const int r = row + i / F::side, c = i % F::side;
        const bool given = place.row + r < g_.rows && place.col + c < g_.cols;
        T* y = pixel_of(g_.y + group_ * g_.outs + col, place, r, c);
        for (int v = 0; v < kVectors; ++v)
          body(sum[i][v], y + v * V::width, given ? least(width - v * V::width, V::width) : 0);
      }
    };
    each([&](V& z, T* p, int lanes) TW_INLINE_LAMBDA {
      z = channels.begin > 0 && lanes > 0 ? V::load_partial(p, lanes) : V::zero();
    });
    for (int t = 0; t < F::taps; ++t) {
      const T* x[kPixelsAtOnce];
      for (int i = 0; i < kPixelsAtOnce; ++i)
        x[i] = patch_pixel(g_, x_, zeros_, place, row + i / F::side + t / F::window,
                           i % F::side + t % F::window) +
               channels.begin;
      for (int64_t k = 0; k < channels.size; ++k, w += nr)
#pragma GCC unroll 4
        for (int i = 0; i < kPixelsAtOnce; ++i)
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v)
            sum[i][v] = fma(V(x[i][k]), V::load(w + v * V::width), sum[i][v]);
    }
    each([](V& z, T* p, int lanes) TW_INLINE_LAMBDA {
      if (lanes > 0) z.store_partial(p, lanes);
    });
  }

  // What follows the sums, over runs of patches beside each other.
  void finish_pixels(int64_t col) const {
    const int64_t width = least(nr, g_.outs - col);
    for (int64_t i = 0; i < count_;) {
      const Place place = places_[i];
      const int64_t run = least(count_ - i, patches_.cols - place.col / F::side);
      const int64_t pixels = least(run * F::side, g_.cols - place.col);
      for (int64_t row = 0; row < least<int64_t>(F::side, g_.rows - place.row); ++row) {
        T* y = pixel_of(g_.y, place, row, 0) + group_ * g_.outs + col;
        finish(pixels, width, y, g_.y_col, epilogue_of(g_, y - g_.y, group_ * g_.outs + col));
      }
      i += run;
    }
  }

  const Correlation<T>& g_;
  const Correlation<W>& weights_;
  Arena arena_;
  const bool copies_;
  const CopyExtent extent_;
  const Patches<F> patches_;  // of the piece
  const int64_t tiles_, blocks_;
  const int64_t row_, point_;  // from one patch to the next at a point, and to the next point
  T *zeros_, *points_, *sums_, *copy_;
  Source<T> x_ = {};
  int64_t group_ = 0, count_ = 0;  // of patches at hand
  Place places_[kMostTiles * Shape::mr];
  enum class Alike : char { unknown, no, yes } alike_[kMostTiles * Shape::mr];
};

template <class F, class T>
bool winograd_suits(const Correlation<T>& g) {
  return minimal_filtering_pays<F>(g, g.packs_ahead ? 16 : 32);
}
template <class F>
int64_t winograd_row_unit(const ConvGeometry& g) {
  return F::side * Gaps::of(g, F::window).row;
}
template <class F, class W, class T>
size_t winograd_workspace(const Correlation<T>& g, const Correlation<W>& weights) {
  return most_bytes_of_grids<F::window>(g, [&](const Correlation<T>& grid) {
    return WinogradCorrelation<F, T, W>(grid, weights, nullptr).workspace_bytes();
  });
}
template <class F, class W, class T>
void winograd(const Correlation<T>& g, const Correlation<W>& weights, void* workspace) {
  for_each_dense_grid<F::window>(g, [&](const Correlation<T>& grid) {
    WinogradCorrelation<F, T, W>(grid, weights, workspace).run();
  });
}

template <class F, class T>
constexpr ConvRoutine<Correlation<T>> winograd_correlation() {
  return {F::name,
          F::why,
          [](const Correlation<T>& g) { return winograd_suits<F>(g); },
          Tile<T>::nr,
          1,
          [](const Correlation<T>& g) { return winograd_workspace<F>(g, g); },
          [](const Correlation<T>& g, void* workspace) { winograd<F>(g, g, workspace); },
          winograd_unit_bytes<F, T>,
          winograd_pack<F, T>,
          true,
          [](const Correlation<T>& g) { return winograd_row_unit<F>(g); }};
}

}  // namespace tilework::TW_ISA
