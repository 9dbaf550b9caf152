// 3x3 convolutions by minimal filtering, F(4x4, 3x3) (Winograd 1980; Lavin and Gray 2016): a patch
// of 6x6 pixels and a window are each taken to 36 points, where they multiply one to one; what the
// channels add up to there gives 4x4 pixels of y. That is 36 products where the definition has 144.
//
// The points are 0, +-3/4, +-3/2 and infinity: of those whose powers are short binary numbers they
// round least, two bits or so above the definition. An error is in proportion to the patch, though,
// and not to the window: hence not at "highest". A patch that comes out infinite or NaN is computed
// again by the definition.
#pragma once

#include "kernels/conv/arrange.h"
#include "kernels/gemm/epilogue.h"

namespace tilework::TW_ISA {

inline constexpr int kSide = 4;           // of what a patch gives
inline constexpr int kPatch = kSide + 2;  // its own side
inline constexpr int kPoints = kPatch * kPatch;

// From six values in a row to six points.
template <class V>
TW_INLINE void to_points(const V (&x)[kPatch], V (&out)[kPatch]) {
  const V even_low = fnma(x[2], V(2.25f), x[4]), odd_low = fnma(x[1], V(2.25f), x[3]);
  const V even_high = fnma(x[2], V(0.5625f), x[4]), odd_high = fnma(x[1], V(0.5625f), x[3]);
  out[0] = fma(x[0], V(1.265625f), fnma(x[2], V(2.8125f), x[4]));
  out[1] = fma(odd_low, V(0.75f), even_low);
  out[2] = fnma(odd_low, V(0.75f), even_low);
  out[3] = fma(odd_high, V(1.5f), even_high);
  out[4] = fnma(odd_high, V(1.5f), even_high);
  out[5] = fma(x[1], V(1.265625f), fnma(x[3], V(2.8125f), x[5]));
}

// From a row of a window to six points.
template <class V>
TW_INLINE void weights_to_points(const V (&w)[3], V (&out)[kPatch]) {
  const V even_low = fma(w[2], V(0.5625f), w[0]), odd_low = w[1] * V(0.75f);
  const V even_high = fma(w[2], V(2.25f), w[0]), odd_high = w[1] * V(1.5f);
  const V low = V(-128.0f / 243), high = V(32.0f / 243);
  out[0] = w[0] * V(64.0f / 81);
  out[1] = (even_low + odd_low) * low;
  out[2] = (even_low - odd_low) * low;
  out[3] = (even_high + odd_high) * high;
  out[4] = (even_high - odd_high) * high;
  out[5] = w[2];
}

// From six points to four values.
template <class V>
TW_INLINE void from_points(const V (&m)[kPatch], V (&y)[kSide]) {
  const V low = m[1] + m[2], odd_low = m[1] - m[2], high = m[3] + m[4], odd_high = m[3] - m[4];
  y[0] = m[0] + low + high;
  y[1] = fma(odd_low, V(0.75f), odd_high * V(1.5f));
  y[2] = fma(low, V(0.5625f), high * V(2.25f));
  y[3] = fma(odd_low, V(0.421875f), fma(odd_high, V(3.375f), m[5]));
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
template <class T>
using WeightBuffer = T[9 * kChannelsAtOnce * Tile<T>::nr];

template <class T>
void winograd_pack(const Correlation<T>& g, void* packed) {
  using V = Vec<T>;
  constexpr int64_t nr = Tile<T>::nr;
  int32_t slots[4 * 9];
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

// How many patches are in the points at once: so many that their weights, which come from L3 or
// further, are used some twenty times, and few enough that they stay in L2 themselves.
template <class T>
int64_t patches_at_once(const Correlation<T>& g) {
  constexpr int64_t room = (1 << 18) / sizeof(T) / kPoints;
  const int64_t tiles = room / (g.channels * Tile<T>::mr);
  return Tile<T>::mr * (tiles < 2 ? 2 : tiles > 8 ? 8 : tiles);
}

template <class T>
class WinogradCorrelation {
  using Shape = Tile<T>;
  using V = Vec<T>;
  static constexpr int64_t nr = Shape::nr;

 public:
  WinogradCorrelation(const Correlation<T>& g, void* workspace)
      : g_(g),
        arena_(workspace),
        copies_(g.x_channel != 1),
        extent_(copies_ ? CopyExtent::of(g, false) : CopyExtent{}),
        patch_cols_(ceil_div(g.cols, kSide)),
        patch_rows_(ceil_div(g.rows, kSide)),
        at_once_(least(patches_at_once(g), g.images * patch_rows_ * patch_cols_)),
        // Each tile takes its rows from as many sets of L1 as may be.
        row_(ceil_div(g.channels, V::width) * V::width + 64 / int64_t{sizeof(T)}),
        point_(at_once_ * row_ + 64 / int64_t{sizeof(T)}) {
    slots_ = arena_.template take<int32_t>(PanelPacker<T>::slot_room(g));
    zeros_ = arena_.template take<T>(g.channels);
    points_ = arena_.template take<T>(kPoints * point_);
    sums_ = arena_.template take<T>(kPoints * at_once_ * nr);
    infinite_ = arena_.template take<int64_t>(at_once_);
    copy_ = arena_.template take<T>(copies_ ? g.images * extent_.pixels(g) * g.channels : 0);
  }
  size_t workspace_bytes() const { return arena_.used(); }

  void run() {
    fill_zeros(g_.channels, zeros_);
    const int64_t patches = g_.images * patch_rows_ * patch_cols_, units = ceil_div(g_.outs, nr);
    for (group_ = 0; group_ < g_.groups; ++group_) {
      x_ = {g_.x + group_ * g_.channels * g_.x_channel, g_.x_image, g_.x_row, g_.x_col};
      if (copies_) x_ = arrange(g_, extent_, group_, 0, g_.images, copy_);
      for (first_ = 0; first_ < patches; first_ += at_once_) {
        count_ = least(at_once_, patches - first_);
        for (int64_t i = 0; i < count_; ++i) put_at_points(i);
        for (int64_t unit = 0; unit < units; ++unit) {
          multiply(group_ * units + unit);
          put_pixels(unit * nr);
        }
      }
    }
  }

 private:
  // A patch's place: its image, and the first pixel of y that it gives, in the piece.
  struct Place {
    int64_t image, row, col;
  };
  Place place_of(int64_t patch) const {
    const int64_t in_row = patch / patch_cols_;
    return {in_row / patch_rows_, in_row % patch_rows_ * kSide, patch % patch_cols_ * kSide};
  }
  // x at a pixel of a patch, zeros outside of it.
  const T* pixel_at(const Place& p, int64_t row, int64_t col) const {
    const int64_t r = g_.row_begin + p.row + g_.taps[0].row + row, c = p.col + g_.taps[0].col + col;
    if (r < 0 || r >= g_.in_rows || c < 0 || c >= g_.in_cols) return zeros_;
    return x_.data + p.image * x_.image + r * x_.row + c * x_.col;
  }

  void put_at_points(int64_t i) {
    const Place place = place_of(first_ + i);
    const T* pixel[kPatch][kPatch];
    for (int r = 0; r < kPatch; ++r)
      for (int c = 0; c < kPatch; ++c) pixel[r][c] = pixel_at(place, r, c);
    T* out = points_ + i * row_;
    sweep<T>(g_.channels, [&](int64_t k, auto lanes) TW_INLINE_LAMBDA {
      transform<kPatch, kPatch, V>(
          [&](int r, int c) TW_INLINE_LAMBDA { return lanes.load(pixel[r][c] + k); },
          [](const V(&x)[kPatch], V(&points)[kPatch]) TW_INLINE_LAMBDA { to_points(x, points); },
          [&](int r, int c, V v)
              TW_INLINE_LAMBDA { v.store(out + (r * kPatch + c) * point_ + k); });
    });
  }

  // Each point's products of all patches with the weights of one unit of outs.
  void multiply(int64_t unit) {
    const T* weights = reinterpret_cast<const T*>(g_.packed) + unit * kPoints * weight_point(g_);
    const int64_t blocks = ceil_div(g_.channels, Blocks<T>::kc_most);
    const int64_t tiles = ceil_div(count_, Shape::mr);
    for (int64_t b = 0; b < blocks; ++b) {
      const Part channels = part(g_.channels, blocks, b);
      for (int point = 0; point < kPoints; ++point)
        for (int64_t t = 0; t < tiles; ++t) {
          const Part rows = part(count_, tiles, t);
          const T* a = points_ + point * point_ + rows.begin * row_ + channels.begin;
          const T* w = weights + point * weight_point(g_) + channels.begin * nr;
          T* c = sums_ + (point * at_once_ + rows.begin) * nr;
          tile_kernel<T>(static_cast<int>(rows.size), nr, false)(channels.size, {a, row_, 1},
                                                                 {w, nr}, {c, nr, nr, b > 0});
        }
    }
  }

  // The pixels that the sums give for outs from `col` on.
  void put_pixels(int64_t col) {
    const int64_t width = least(nr, g_.outs - col);
    T* y = g_.y + group_ * g_.outs + col;
    int64_t infinite = 0;
    for (int64_t i = 0; i < count_; ++i) {
      const Place place = place_of(first_ + i);
      V check = V::zero();
      for (int64_t j = 0; j < width; j += V::width) {
        const auto put = [&](auto lanes) TW_INLINE_LAMBDA {
          transform<kPatch, kSide, V>(
              [&](int r, int c) TW_INLINE_LAMBDA {
                return V::load(sums_ + ((r * kPatch + c) * at_once_ + i) * nr + j);
              },
              [](const V(&points)[kPatch], V(&z)[kSide])
                  TW_INLINE_LAMBDA { from_points(points, z); },
              [&](int r, int c, V v) TW_INLINE_LAMBDA {
                check += lanes.keep(v, V::zero());
                if (place.row + r < g_.rows && place.col + c < g_.cols)
                  lanes.store(pixel_of(y, place, r, c) + j, v);
              });
        };
        if (width - j >= V::width)
          put(WholeVector<T>{});
        else
          put(PartVector<T>{static_cast<int>(width - j)});
      }
      if (any(is_nan(check - check))) infinite_[infinite++] = i;
    }
    for (int64_t i = 0; i < infinite; ++i) put_pixels_by_definition(infinite_[i], col);
    if (g_.epilogue.changes_result()) finish_pixels(col);
  }
  T* pixel_of(T* y, const Place& p, int64_t row, int64_t col) const {
    return y + p.image * g_.y_image + (p.row + row) * g_.y_row + (p.col + col) * g_.y_col;
  }

  // Four pixels beside each other at a time. The sums at points are not needed any more.
  void put_pixels_by_definition(int64_t i, int64_t col) {
    const Place place = place_of(first_ + i);
    const PanelPacker<T> packer(g_, slots_);
    alignas(64) WeightBuffer<T> taps;
    const int width = static_cast<int>(least(nr, g_.outs - col));
    T* y = g_.y + group_ * g_.outs + col;
    for (int64_t k = 0; k < g_.channels; k += kChannelsAtOnce) {
      const int64_t length = least(kChannelsAtOnce, g_.channels - k);
      packer.run(group_, col, width, k, length, taps);
      for (int64_t row = 0; row < least<int64_t>(kSide, g_.rows - place.row); ++row)
        for (int64_t c = 0; c < least<int64_t>(kSide, g_.cols - place.col); ++c)
          add_window(place, row, c, k, length, taps, width, pixel_of(y, place, row, c));
    }
  }
  void add_window(const Place& place, int64_t row, int64_t col, int64_t channel, int64_t length,
                  const T* taps, int width, T* y) const {
    for (int j = 0; j < width; j += V::width) {
      const PartVector<T> lanes{least(width - j, V::width)};
      V sum = channel > 0 ? lanes.load(y + j) : V::zero();
      for (int t = 0; t < 9; ++t) {
        const T* x = pixel_at(place, row + t / 3, col + t % 3);
        if (x == zeros_) continue;
        const T* w = taps + t * length * nr + j;
        for (int64_t k = 0; k < length; ++k) sum = fma(V(x[channel + k]), V::load(w + k * nr), sum);
      }
      lanes.store(y + j, sum);
    }
  }

  // What follows the sums, over runs of patches beside each other.
  void finish_pixels(int64_t col) const {
    const int64_t width = least(nr, g_.outs - col);
    for (int64_t i = 0; i < count_;) {
      const Place place = place_of(first_ + i);
      const int64_t run = least(count_ - i, patch_cols_ - place.col / kSide);
      const int64_t pixels = least(run * kSide, g_.cols - place.col);
      for (int64_t row = 0; row < least<int64_t>(kSide, g_.rows - place.row); ++row) {
        T* y = pixel_of(g_.y, place, row, 0) + group_ * g_.outs + col;
        Epilogue<T> e = epilogue_at(g_.epilogue, 0, y - g_.y);
        if (e.bias) e.bias = g_.epilogue.bias + group_ * g_.outs + col;
        e.residual_row = e.preactivation_row = g_.y_col;
        finish(pixels, width, y, g_.y_col, e);
      }
      i += run;
    }
  }

  const Correlation<T>& g_;
  Arena arena_;
  const bool copies_;
  const CopyExtent extent_;
  const int64_t patch_cols_, patch_rows_;  // of the piece
  const int64_t at_once_;
  const int64_t row_, point_;  // from one patch to the next at a point, and to the next point
  int32_t* slots_;
  T *zeros_, *points_, *sums_, *copy_;
  int64_t* infinite_;  // patches of the block to be computed by the definition
  Source<T> x_ = {};
  int64_t group_ = 0, first_ = 0, count_ = 0;  // the patches at hand
};

// Whether the taps are a 3x3 window without gaps.
inline bool is_dense_3x3(const ConvGeometry& g) {
  if (g.tap_count != 9 || g.row_step != 1 || g.col_step != 1) return false;
  for (int i = 0; i < 9; ++i)
    if (g.taps[i].row != g.taps[0].row + i / 3 || g.taps[i].col != g.taps[0].col + i % 3)
      return false;
  return true;
}

// Where the transformations are few beside the products that they save, and the weights' are used
// by as many patches as pay for them.
template <class T>
bool winograd_suits(const Correlation<T>& g) {
  constexpr int64_t kChannels = 32, kPatches = 32;
  const int64_t patches = ceil_div(g.rows, kSide) * ceil_div(g.cols, kSide);
  return g.precision != MatmulPrecision::highest && is_dense_3x3(g) && g.channels >= kChannels &&
         g.outs >= kChannels && g.images * patches >= kPatches &&
         9 * g.rows * g.cols >= 2 * kPoints * patches;
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
