// Convolutions of few channels: an image's first layers, and the gradients of such.
//
// A window is a short list of products, tap after tap, channel after channel: one list of offsets
// into x serves every pixel, and one loop runs over it whole. Segments (segments.h) would be as
// short as a row of taps, and cost more to start than to run. x is copied into a frame of zeros
// where a window reaches out of it, so that every pixel has the same list; rows near a border take
// the part of it that meets x.
#pragma once

#include "kernels/conv/blocked.h"

namespace tilework::TW_ISA {

// Tiles of one vector are as high as it takes to hide an FMA's latency.
template <class T>
inline constexpr int kNarrowHeight = Tile<T>::mr == 14 ? 14 : 12;

// What all windows of a piece read of x, and zeros around it where that is more than there is.
struct Frame {
  int64_t row, rows, col, cols;  // the first, which may lie before x, and how many

  static Frame of(const ConvGeometry& g) {
    const TapRange taps = TapRange::of(g);
    return {g.row_begin * g.row_step + taps.row_low,
            (g.rows - 1) * g.row_step + taps.row_high - taps.row_low + 1, taps.col_low,
            (g.cols - 1) * g.col_step + taps.col_high - taps.col_low + 1};
  }
  bool reaches_out(const ConvGeometry& g) const {
    return row < 0 || row + rows > g.in_rows || col < 0 || col + cols > g.in_cols;
  }
};

// x as windows find it, with a pixel's channels adjacent: as it lies, or a copy of one image.
template <class T>
class FramedImages {
 public:
  FramedImages(const Correlation<T>& g, Arena& arena)
      : frame_(Frame::of(g)),
        copies_(frame_.reaches_out(g) || (g.x_channel != 1 && g.channels > 1)) {
    copy_ = arena.template take<T>(copies_ ? frame_.rows * frame_.cols * g.channels : 0);
    row_ = copies_ ? frame_.cols * g.channels : g.x_row;
    col_ = copies_ ? g.channels : g.x_col;
  }
  int64_t row() const { return row_; }
  int64_t col() const { return col_; }

  // From the first pixel's first window on.
  const T* image(const Correlation<T>& g, int64_t group, int64_t n) const {
    const T* x = g.x + group * g.channels * g.x_channel + n * g.x_image;
    if (!copies_) return x + frame_.row * g.x_row + frame_.col * g.x_col;
    const int64_t left = clamp(-frame_.col, frame_.cols);
    const int64_t right = clamp(frame_.col + frame_.cols - g.in_cols, frame_.cols - left);
    const int64_t inside = frame_.cols - left - right;
    const int64_t from = frame_.col > 0 ? frame_.col : 0;
    for (int64_t r = 0; r < frame_.rows; ++r) {
      T* out = copy_ + r * row_;
      const int64_t in_row = frame_.row + r;
      if (in_row < 0 || in_row >= g.in_rows) {
        fill_zeros(row_, out);
        continue;
      }
      fill_zeros(left * g.channels, out);
      if (inside > 0)
        arrange_row(inside, g.channels, x + in_row * g.x_row + from * g.x_col, g.x_col, g.x_channel,
                    out + left * g.channels);
      fill_zeros(right * g.channels, out + (left + inside) * g.channels);
    }
    return copy_;
  }

  // Of each product of a window, tap after tap, from its start.
  void list_offsets(const Correlation<T>& g, int64_t* offsets) const {
    for (int64_t i = 0; i < g.tap_count; ++i) {
      const int64_t at = (g.row_begin * g.row_step + g.taps[i].row - frame_.row) * row_ +
                         (g.taps[i].col - frame_.col) * col_;
      for (int64_t c = 0; c < g.channels; ++c) *offsets++ = at + c;
    }
  }

 private:
  static int64_t clamp(int64_t n, int64_t most) { return n < 0 ? 0 : least(n, most); }

  const Frame frame_;
  bool copies_;
  T* copy_;
  int64_t row_, col_;
};

// One tile's work: sums of `k` products, one at least, as chains that end where kChain says.
template <class T>
struct GatherList {
  const int64_t* offsets;
  int64_t k, chain;
  int64_t step;    // from one pixel's x to the next one's
  const T* panel;  // weights, Tile<T>::nr columns a product
  T* sums;         // of the chains so far: Tile<T>::nr a pixel
  const T* bias;   // a panel's
  T floor;         // of the result: 0 is relu, less than any number is none
};

template <class T>
struct GatherOut {
  T* data;
  int64_t col;  // from one pixel to the next
  int lanes;    // of the last vector, in use
  bool joined;  // a pixel's last lane is beside the next one's first
  bool streams;
};

template <class T>
using GatherKernel = void (*)(const GatherList<T>& list, const T* in, const GatherOut<T>& out);

template <class T, int Rows, int Vectors>
TW_INLINE void add_gathered(Vec<T> (&sum)[Rows][Vectors], const int64_t* offsets, int64_t k,
                            const T* in, int64_t step, const T* weights) {
  using V = Vec<T>;
  // Three pixels share a base: base, base + step, base + 2 * step are x86 addressing modes.
  constexpr int kBases = (Rows + 2) / 3;
  for (int64_t i = 0; i < k; ++i, weights += Tile<T>::nr) {
    V w[Vectors];
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) w[j] = V::load(weights + j * V::width);
    const T* base = in + offsets[i];
#pragma GCC unroll 8
    for (int b = 0; b < kBases; ++b, base += 3 * step)
#pragma GCC unroll 3
      for (int r = 3 * b; r < (Rows < 3 * b + 3 ? Rows : 3 * b + 3); ++r) {
        const V x = base[(r - 3 * b) * step];
#pragma GCC unroll 2
        for (int j = 0; j < Vectors; ++j) sum[r][j] = fma(x, w[j], sum[r][j]);
      }
  }
}

template <class T, int Rows, int Vectors>
void gather_tile(const GatherList<T>& list, const T* in, const GatherOut<T>& out) {
  using V = Vec<T>;
  V sum[Rows][Vectors];
  const auto each = [&](auto body) TW_INLINE_LAMBDA {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) body(r, j, list.sums + r * Tile<T>::nr + j * V::width);
  };
  int64_t at = 0;
  do {
    each([&](int r, int j, T*) TW_INLINE_LAMBDA { sum[r][j] = V::zero(); });
    add_gathered<T, Rows, Vectors>(sum, list.offsets + at, least(list.chain, list.k - at), in,
                                   list.step, list.panel + at * Tile<T>::nr);
    if (at > 0)
      each([&](int r, int j, T* p) TW_INLINE_LAMBDA { sum[r][j] = V::load(p) + sum[r][j]; });
    at += list.chain;
    if (at < list.k) each([&](int r, int j, T* p) TW_INLINE_LAMBDA { sum[r][j].store(p); });
  } while (at < list.k);
  const V floor = list.floor;
  const auto put = [&](auto store) TW_INLINE_LAMBDA {
    T* to = out.data;
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r, to += out.col) {
      // Or the compiler computes every pixel's address ahead, in registers it lacks.
      __asm__("" : "+r"(to));
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) {
        const V z = sum[r][j] + V::load(list.bias + j * V::width);
        store(to + j * V::width, select(z < floor, floor, z), r, j + 1 < Vectors);  // NaN stays
      }
    }
  };
  // What a whole vector spills into a later pixel of the tile is overwritten when its turn comes.
  const int64_t free = out.joined ? (Rows - 1) * out.col + out.lanes - V::width : -1;
  if (out.streams)
    put([](T* p, V z, int, bool) TW_INLINE_LAMBDA { z.stream(p); });
  else if (out.lanes == V::width)
    put([](T* p, V z, int, bool) TW_INLINE_LAMBDA { z.store(p); });
  else
    put([&](T* p, V z, int r, bool whole) TW_INLINE_LAMBDA {
      whole || r* out.col <= free ? z.store(p) : z.store_partial(p, out.lanes);
    });
}

// Kernels by height; entry 0 is unused.
template <class T, int Vectors, int... Rows>
struct GatherTiles {
  GatherKernel<T> kernel[sizeof...(Rows) + 1] = {nullptr, gather_tile<T, Rows, Vectors>...};
};
template <class T, int Vectors, int Height>
constexpr auto gather_tiles() {
  if constexpr (Height == 14)
    return GatherTiles<T, Vectors, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14>{};
  else if constexpr (Height == 12)
    return GatherTiles<T, Vectors, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12>{};
  else
    return GatherTiles<T, Vectors, 1, 2, 3, 4, 5, 6>{};
}
template <class T>
TW_INLINE GatherKernel<T> gather_kernel(int rows, int cols) {
  static constexpr auto kWide = gather_tiles<T, 2, Tile<T>::mr>();
  static constexpr auto kNarrow = gather_tiles<T, 1, kNarrowHeight<T>>();
  return cols > Tile<T>::width ? kWide.kernel[rows] : kNarrow.kernel[rows];
}

template <class T>
class GatheredCorrelation {
  using Shape = Tile<T>;

 public:
  GatheredCorrelation(const Correlation<T>& g, void* workspace)
      : g_(g),
        arena_(workspace),
        images_(g, arena_),
        k_(g.tap_count * g.channels),
        panels_(ceil_div(g.outs, Shape::nr)),
        col_parts_(ceil_div(g.cols, g.outs > Shape::width ? Shape::mr : kNarrowHeight<T>)) {
    offsets_ = arena_.template take<int64_t>(k_);
    slots_ = arena_.template take<int32_t>(PanelPacker<T>::slot_room(g));
    weights_ = arena_.template take<T>(k_ * Shape::nr * panels_);
    bias_ = arena_.template take<T>(Shape::nr * panels_);
    sums_ = arena_.template take<T>(kNarrowHeight<T> * Shape::nr);
  }
  size_t workspace_bytes() const { return arena_.used(); }

  void run() {
    images_.list_offsets(g_, offsets_);
    const PanelPacker<T> packer(g_, slots_);
    const bool streams = simple() && can_stream(g_, g_.outs);
    for (int64_t group = 0; group < g_.groups; ++group) {
      prepare(packer, group);
      for (int64_t n = 0; n < g_.images; ++n) {
        const T* in = images_.image(g_, group, n);
        for (int64_t row = 0; row < g_.rows; ++row)
          multiply_row(in + row * g_.row_step * images_.row(), taps_of(row), group,
                       n * g_.y_image + row * g_.y_row + group * g_.outs, streams);
      }
    }
    if (streams) stream_fence();
  }

 private:
  // Bias and relu wait in registers for the sums; anything else comes over them after a row.
  bool simple() const {
    const Epilogue<T>& e = g_.epilogue;
    return !e.residual && !e.preactivation &&
           (e.activation == Activation::none || e.activation == Activation::relu);
  }

  void prepare(const PanelPacker<T>& packer, int64_t group) {
    for (int64_t p = 0; p < panels_; ++p) {
      const int64_t col = p * Shape::nr;
      const int count = static_cast<int>(least<int64_t>(Shape::nr, g_.outs - col));
      packer.run(group, col, count, 0, g_.channels, weights_ + p * k_ * Shape::nr);
    }
    fill_zeros(panels_ * Shape::nr, bias_);
    if (simple() && g_.epilogue.bias) copy(g_.epilogue.bias + group * g_.outs, g_.outs, bias_);
  }

  // The taps from the first to the last that meet rows of x here: near its borders others would
  // multiply a row of zeros. One at least, if by zeros.
  Part taps_of(int64_t row) const {
    int64_t first = 0, last = 0, found = 0;
    for (int64_t i = 0; i < g_.tap_count; ++i) {
      const int64_t in_row = (g_.row_begin + row) * g_.row_step + g_.taps[i].row;
      if (in_row < 0 || in_row >= g_.in_rows) continue;
      if (found++ == 0) first = i;
      last = i;
    }
    return {first, last - first + 1};
  }

  // `out` counts elements of y.
  void multiply_row(const T* in, const Part& taps, int64_t group, int64_t out, bool streams) {
    constexpr T kNone = -__builtin_inf();
    const bool clips = simple() && g_.epilogue.activation == Activation::relu;
    const bool joined = g_.y_col == g_.outs && panels_ == 1;
    const int64_t step = g_.col_step * images_.col();
    const int64_t begin = taps.begin * g_.channels, k = taps.size * g_.channels;
    for (int64_t p = 0; p < panels_; ++p) {
      const int width = static_cast<int>(least<int64_t>(Shape::nr, g_.outs - p * Shape::nr));
      const int last = width > Shape::width ? width - Shape::width : width;
      const GatherList<T> list{offsets_ + begin,
                               k,
                               ceil_div(k, ceil_div(k, kChain)),
                               step,
                               weights_ + (p * k_ + begin) * Shape::nr,
                               sums_,
                               bias_ + p * Shape::nr,
                               clips ? T(0) : kNone};
      for (int64_t i = 0; i < col_parts_; ++i) {
        const Part cols = part(g_.cols, col_parts_, i);
        gather_kernel<T>(static_cast<int>(cols.size), width)(
            list, in + cols.begin * step,
            {g_.y + out + cols.begin * g_.y_col + p * Shape::nr, g_.y_col, last, joined, streams});
      }
    }
    if (simple()) return;
    finish(g_.cols, g_.outs, g_.y + out, g_.y_col, epilogue_of(g_, out, group * g_.outs));
  }

  const Correlation<T>& g_;
  Arena arena_;
  const FramedImages<T> images_;
  const int64_t k_, panels_, col_parts_;
  int64_t* offsets_;
  int32_t* slots_;
  T *weights_, *bias_, *sums_;
};

// Few channels; and a few more where a tile of one vector is higher here than a blocked one is.
template <class T>
bool gathered_correlation_suits(const Correlation<T>& g) {
  const int64_t products = g.tap_count * g.channels;
  if (g.tap_count < 2 || products == 0) return false;
  return g.channels < kFewChannels ||
         (kNarrowHeight<T> > Tile<T>::mr && g.outs <= Tile<T>::width && products <= kBlock);
}
template <class T>
size_t gathered_correlation_workspace(const Correlation<T>& g) {
  return GatheredCorrelation<T>(g, nullptr).workspace_bytes();
}
template <class T>
void gathered_correlation(const Correlation<T>& g, void* workspace) {
  GatheredCorrelation<T>(g, workspace).run();
}

}  // namespace tilework::TW_ISA
