// The correlations of minimal filtering (minimal_filtering.h): a block of patches at its points,
// and at each the product with the weights of a panel of outs after another.
#pragma once

#include "kernels/conv/minimal_filtering.h"
#include "kernels/conv/streaming.h"

namespace tilework::TW_ISA {

// Weights at their points: for each Tile::nr outs [point][channel][out]. A line more a point keeps
// the points of one channel out of each other's sets of L1.
template <class T>
int64_t weight_point(const Correlation<T>& g) {
  return (g.channels + 1) * Tile<T>::nr;
}
template <class T>
size_t winograd_unit_bytes(const Correlation<T>& g) {
  return kPoints * weight_point(g) * sizeof(T);
}

// Channels whose weights are arranged at once, in L1.
inline constexpr int64_t kChannelsAtOnce = 16;
// The most that PanelPacker asks for nine taps.
inline constexpr int kSlots = 4 * 9;
template <class T>
using WeightBuffer = T[9 * kChannelsAtOnce * Tile<T>::nr];

template <class T>
void winograd_pack(const Correlation<T>& g, void* packed) {
  using V = Vec<T>;
  constexpr int64_t nr = Tile<T>::nr;
  int32_t slots[kSlots];
  const PanelPacker<T> packer(g, slots);
  alignas(64) WeightBuffer<T> taps;
  T* out = static_cast<T*>(packed);
  for (int64_t group = 0; group < g.groups; ++group)
    for (int64_t col = 0; col < g.outs; col += nr, out += kPoints * weight_point(g))
      for (int64_t c = 0; c < g.channels; c += kChannelsAtOnce) {
        const int64_t length = least(kChannelsAtOnce, g.channels - c);
        packer.run(group, col, static_cast<int>(least(nr, g.outs - col)), c, length, taps);
        for (int64_t i = 0; i < length * nr; i += V::width)
          transform<3, kPatch, V>(
              [&](int row, int tap)
                  TW_INLINE_LAMBDA { return V::load(taps + (row * 3 + tap) * length * nr + i); },
              [](const V(&w)[3], V(&points)[kPatch])
                  TW_INLINE_LAMBDA { weights_to_points(w, points); },
              [&](int row, int point, V v) TW_INLINE_LAMBDA {
                v.store(out + (row * kPatch + point) * weight_point(g) + c * nr + i);
              });
      }
}

// How many tiles of patches are at their points at once. Weights that come from memory must serve
// as many as there is room for; those that L3 holds serve so few that the points stay in L2.
inline constexpr int64_t kMostTiles = 8;
template <class T>
int64_t tiles_at_once(const Correlation<T>& g) {
  constexpr int64_t kPointBytes = 1 << 18, kWeightBytes = 1 << 24;
  if (g.outs * g.channels * kPoints * int64_t{sizeof(T)} > kWeightBytes) return kMostTiles;
  const int64_t tile = g.channels * Tile<T>::mr * kPoints * sizeof(T);
  return least(kMostTiles, 2 + kPointBytes / tile);
}

// A sum's error grows with the length of its chain of roundings.
inline constexpr int64_t kChannelChain = 128;

template <class T>
class WinogradCorrelation {
  using Shape = Tile<T>;
  using V = Vec<T>;
  static constexpr int64_t nr = Shape::nr;
  // A line more than there may be, so that a patch's sums are in as many sets of L1.
  static constexpr int64_t kSumsOfPoint = (kMostTiles * Shape::mr + 1) * nr;

 public:
  WinogradCorrelation(const Correlation<T>& g, void* workspace)
      : g_(g),
        arena_(workspace),
        copies_(g.x_channel != 1),
        extent_(copies_ ? CopyExtent::of(g, false) : CopyExtent{}),
        patches_(g),
        blocks_(ceil_div(patches_.count, tiles_at_once(g) * Shape::mr)),
        row_(point_row<T>(g.channels)),
        point_(ceil_div(patches_.count, blocks_) * row_ + 64 / int64_t{sizeof(T)}) {
    zeros_ = arena_.template take<T>(g.channels);
    points_ = arena_.template take<T>(kPoints * point_);
    sums_ = arena_.template take<T>(kPoints * kSumsOfPoint);
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
        const auto [first, count] = part(patches_.count, blocks_, b);
        first_ = first, count_ = count;
        for (int64_t i = 0; i < count; ++i)
          put_at_points(g_, x_, zeros_, patches_[first + i], points_ + i * row_, point_);
        for (int64_t unit = 0; unit < units; ++unit) {
          multiply(group_ * units + unit);
          put_pixels(unit * nr);
        }
      }
    }
  }

 private:
  // Each point's products of all patches with the weights of one unit of outs, which stay in L1
  // from one tile of patches to the next.
  void multiply(int64_t unit) {
    const T* weights = reinterpret_cast<const T*>(g_.packed) + unit * kPoints * weight_point(g_);
    const int64_t blocks = ceil_div(g_.channels, kChannelChain);
    const int64_t tiles = ceil_div(count_, Shape::mr);
    Part rows[kMostTiles];
    for (int64_t t = 0; t < tiles; ++t) rows[t] = part(count_, tiles, t);
    for (int point = 0; point < kPoints; ++point) {
      T* c = sums_ + point * kSumsOfPoint;
      for (int64_t b = 0; b < blocks; ++b) {
        const Part channels = part(g_.channels, blocks, b);
        const T* a = points_ + point * point_ + channels.begin;
        const T* w = weights + point * weight_point(g_) + channels.begin * nr;
        for (int64_t t = 0; t < tiles; ++t)
          tile_kernel<T>(static_cast<int>(rows[t].size), nr, false)(
              channels.size, {a + rows[t].begin * row_, row_, 1}, {w, nr},
              {c + rows[t].begin * nr, nr, nr, b > 0});
      }
    }
  }

  // The pixels that the sums give for outs from `col` on.
  void put_pixels(int64_t col) {
    const int64_t width = least(nr, g_.outs - col);
    T* y = g_.y + group_ * g_.outs + col;
    for (int64_t i = 0; i < count_; ++i) {
      const Patches::Place place = patches_[first_ + i];
      V check = V::zero();
      for (int64_t j = 0; j < width; j += V::width) {
        const T* sums = sums_ + i * nr + j;
        const auto put = [&](auto lanes) TW_INLINE_LAMBDA {
          transform<kPatch, kSide, V>(
              [&](int r, int c)
                  TW_INLINE_LAMBDA { return V::load(sums + (r * kPatch + c) * kSumsOfPoint); },
              [](const V(&points)[kPatch], V(&z)[kSide])
                  TW_INLINE_LAMBDA { from_points(points, z); },
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
      if (any(is_nan(check - check))) put_pixels_by_definition(place, col);
    }
    if (g_.epilogue.changes_result()) finish_pixels(col);
  }
  T* pixel_of(T* y, const Patches::Place& p, int64_t row, int64_t col) const {
    return y + p.image * g_.y_image + (p.row + row) * g_.y_row + (p.col + col) * g_.y_col;
  }

  void put_pixels_by_definition(const Patches::Place& place, int64_t col) const {
    int32_t slots[kSlots];
    const PanelPacker<T> packer(g_, slots);
    alignas(64) WeightBuffer<T> taps;
    const int width = static_cast<int>(least(nr, g_.outs - col));
    for (int64_t k = 0; k < g_.channels; k += kChannelsAtOnce) {
      const Part channels{k, least(kChannelsAtOnce, g_.channels - k)};
      packer.run(group_, col, width, k, channels.size, taps);
      for (int64_t row = 0; row < least<int64_t>(kSide, g_.rows - place.row); ++row)
        add_windows(place, row, channels, taps, width,
                    pixel_of(g_.y + group_ * g_.outs + col, place, row, 0));
    }
  }

  // To a row of a patch's pixels, all at a time: alone, each would wait for its own last sum.
  void add_windows(const Patches::Place& place, int64_t row, const Part& channels, const T* taps,
                   int width, T* y) const {
    constexpr int kVectors = nr / V::width;
    V sum[kSide][kVectors];
    const auto each = [&](auto body) TW_INLINE_LAMBDA {
      for (int c = 0; c < kSide; ++c)
        for (int v = 0; v < kVectors; ++v)
          body(sum[c][v], y + c * g_.y_col + v * V::width,
               place.col + c < g_.cols ? least(width - v * V::width, V::width) : 0);
    };
    each([&](V& z, T* p, int lanes) TW_INLINE_LAMBDA {
      z = channels.begin > 0 && lanes > 0 ? V::load_partial(p, lanes) : V::zero();
    });
    for (int t = 0; t < 9; ++t) {
      const T* x[kSide];
      for (int c = 0; c < kSide; ++c)
        x[c] = patch_pixel(g_, x_, zeros_, place, row + t / 3, c + t % 3) + channels.begin;
      const T* w = taps + t * channels.size * nr;
      for (int64_t k = 0; k < channels.size; ++k, w += nr)
#pragma GCC unroll 4
        for (int c = 0; c < kSide; ++c)
#pragma GCC unroll 2
          for (int v = 0; v < kVectors; ++v)
            sum[c][v] = fma(V(x[c][k]), V::load(w + v * V::width), sum[c][v]);
    }
    each([](V& z, T* p, int lanes) TW_INLINE_LAMBDA {
      if (lanes > 0) z.store_partial(p, lanes);
    });
  }

  // What follows the sums, over runs of patches beside each other.
  void finish_pixels(int64_t col) const {
    const int64_t width = least(nr, g_.outs - col);
    for (int64_t i = 0; i < count_;) {
      const Patches::Place place = patches_[first_ + i];
      const int64_t run = least(count_ - i, patches_.cols - place.col / kSide);
      const int64_t pixels = least(run * kSide, g_.cols - place.col);
      for (int64_t row = 0; row < least<int64_t>(kSide, g_.rows - place.row); ++row) {
        T* y = pixel_of(g_.y, place, row, 0) + group_ * g_.outs + col;
        finish(pixels, width, y, g_.y_col, epilogue_of(g_, y - g_.y, group_ * g_.outs + col));
      }
      i += run;
    }
  }

  const Correlation<T>& g_;
  Arena arena_;
  const bool copies_;
  const CopyExtent extent_;
  const Patches patches_;  // of the piece
  const int64_t blocks_;
  const int64_t row_, point_;  // from one patch to the next at a point, and to the next point
  T *zeros_, *points_, *sums_, *copy_;
  Source<T> x_ = {};
  int64_t group_ = 0, first_ = 0, count_ = 0;  // the patches at hand
};

template <class T>
bool winograd_suits(const Correlation<T>& g) {
  return minimal_filtering_pays(g);
}
template <class T>
size_t winograd_workspace(const Correlation<T>& g) {
  return WinogradCorrelation<T>(g, nullptr).workspace_bytes();
}
template <class T>
void winograd(const Correlation<T>& g, void* workspace) {
  WinogradCorrelation<T>(g, workspace).run();
}

}  // namespace tilework::TW_ISA
