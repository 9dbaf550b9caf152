// Copies in the order the micro-kernel reads: x with its channels adjacent and margins of zeros,
// weights as panels of columns.
#pragma once

#include "base/arithmetic.h"
#include "kernels/conv/kernels.h"
#include "kernels/tile/arena.h"
#include "kernels/tile/pack.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {

template <class T>
TW_INLINE void copy(const T* x, int64_t count, T* out) {
  sweep<T>(count, [&](int64_t i, auto lanes)
                      TW_INLINE_LAMBDA { lanes.store(out + i, lanes.load(x + i)); });
}
template <class T>
TW_INLINE void fill_zeros(int64_t count, T* out) {
  sweep<T>(count,
           [&](int64_t i, auto lanes) TW_INLINE_LAMBDA { lanes.store(out + i, Vec<T>::zero()); });
}

// One row of pixels: out[col * channels + c] = x[col * x_col + c * x_channel].
template <class T>
void arrange_row(int64_t cols, int64_t channels, const T* x, int64_t x_col, int64_t x_channel,
                 T* out) {
  using V = Vec<T>;
  if (x_channel == 1 && x_col == channels) {
    copy(x, cols * channels, out);
  } else if (x_channel == 1) {
    for (int64_t i = 0; i < cols; ++i) copy(x + i * x_col, channels, out + i * channels);
  } else if (x_col == 1) {
    for (int64_t c = 0; c < channels; c += V::width) {
      const int lanes = static_cast<int>(least<int64_t>(V::width, channels - c));
      T* to = out + c;
      if (lanes == V::width)
        for_each_column(lanes, cols, x + c * x_channel, x_channel,
                        [&](int64_t i, V v) { v.store(to + i * channels); });
      else
        for_each_column(lanes, cols, x + c * x_channel, x_channel,
                        [&](int64_t i, V v) { v.store_partial(to + i * channels, lanes); });
    }
  } else {
    for (int64_t i = 0; i < cols; ++i)
      for (int64_t c = 0; c < channels; ++c) out[i * channels + c] = x[i * x_col + c * x_channel];
  }
}

// x as the kernels read it: where it lies, or a copy of some of its rows and channels.
template <class T>
struct Source {
  const T* data;  // of row 0, whether or not the copy holds it
  int64_t image, row, col;
};

// The first and the last row and column that taps have; zeros without taps.
struct TapRange {
  int64_t row_low = 0, row_high = 0, col_low = 0, col_high = 0;

  static TapRange of(const ConvGeometry& g) {
    TapRange r;
    for (int64_t i = 0; i < g.tap_count; ++i) {
      const Tap& t = g.taps[i];
      if (i == 0 || t.row < r.row_low) r.row_low = t.row;
      if (i == 0 || t.row > r.row_high) r.row_high = t.row;
      if (i == 0 || t.col < r.col_low) r.col_low = t.col;
      if (i == 0 || t.col > r.col_high) r.col_high = t.col;
    }
    return r;
  }
};

// What a copy of x holds: rows [begin, end), with `left` and `right` zero pixels beside each.
struct CopyExtent {
  int64_t begin = 0, end = 0, left = 0, right = 0;

  int64_t pixels(const ConvGeometry& g) const { return (end - begin) * (left + g.in_cols + right); }
  // The rows that the piece reads, and the margins that keep every tap inside.
  static CopyExtent of(const ConvGeometry& g, bool margins) {
    CopyExtent e;
    const TapRange taps = TapRange::of(g);
    e.begin = g.row_begin * g.row_step + taps.row_low;
    e.end = (g.row_begin + g.rows - 1) * g.row_step + taps.row_high + 1;
    if (e.begin < 0) e.begin = 0;
    if (e.end > g.in_rows) e.end = g.in_rows;
    if (e.end < e.begin || g.tap_count == 0) e.end = e.begin;
    if (margins) {
      const int64_t over = (g.cols - 1) * g.col_step + taps.col_high + 1 - g.in_cols;
      e.left = taps.col_low < 0 ? -taps.col_low : 0;
      e.right = over > 0 ? over : 0;
    }
    return e;
  }
};

// `images` images of x (either kind of args) from `image` on, copied to `out`.
template <class T, class Args>
Source<T> arrange(const Args& g, const CopyExtent& e, int64_t group, int64_t image, int64_t images,
                  T* out) {
  const int64_t row = (e.left + g.in_cols + e.right) * g.channels;
  const Source<T> copy{out - e.begin * row, (e.end - e.begin) * row, row, g.channels};
  const T* x = g.x + group * g.channels * g.x_channel + image * g.x_image;
  if (row == g.in_cols * g.channels && g.x_row == g.in_cols * g.x_col) {
    // Rows that follow on are one long row: each channel is a stream that the hardware foresees.
    const int64_t pixels = (e.end - e.begin) * g.in_cols;
    for (int64_t n = 0; n < images; ++n)
      arrange_row(pixels, g.channels, x + n * g.x_image + e.begin * g.x_row, g.x_col, g.x_channel,
                  out + n * copy.image);
    return copy;
  }
  for (int64_t n = 0; n < images; ++n)
    for (int64_t r = e.begin; r < e.end; ++r, out += row) {
      fill_zeros(e.left * g.channels, out);
      arrange_row(g.in_cols, g.channels, x + n * g.x_image + r * g.x_row, g.x_col, g.x_channel,
                  out + e.left * g.channels);
      fill_zeros(e.right * g.channels, out + (e.left + g.in_cols) * g.channels);
    }
  return copy;
}

// Weights of one group: columns `col` to `col + count` (at most a panel) and `length` channels from
// `channel` on, as panel[(tap * length + channel) * nr + column], zeros after the last column.
template <class T>
class PanelPacker {
  using V = Vec<T>;
  static constexpr int nr = Tile<T>::nr;

 public:
  // `slots` has room for slot_room(g) entries.
  PanelPacker(const Correlation<T>& g, int32_t* slots) : g_(g), slots_(slots) {
    span(g, low_, span_);
    if (!taps_adjacent(g, span_)) return;
    for (int64_t i = 0; i < span_; ++i) slots[i] = -1;
    for (int64_t i = 0; i < g.tap_count; ++i) {
      int32_t& slot = slots[g.taps[i].weight - low_];
      if (slot >= 0) span_ = kScattered;  // a broadcast weight: several taps in one place
      slot = static_cast<int32_t>(i);
    }
  }
  static int64_t slot_room(const Correlation<T>& g) {
    int64_t low, n;
    span(g, low, n);
    return taps_adjacent(g, n) ? n : 0;
  }

  void run(int64_t group, int64_t col, int count, int64_t channel, int64_t length, T* panel) const {
    const T* w = g_.weight + group * g_.w_group + col * g_.w_out + channel * g_.w_channel;
    if (taps_adjacent(g_, span_)) return run_across_taps(w, count, length, panel);
    for (int64_t i = 0; i < g_.tap_count; ++i)
      pack<T, Padding::zero>(count, nr, length, w + g_.taps[i].weight, g_.w_out, g_.w_channel,
                             panel + i * length * nr);
  }

 private:
  static void span(const Correlation<T>& g, int64_t& low, int64_t& count) {
    int64_t high = low = g.tap_count ? g.taps[0].weight : 0;
    for (int64_t i = 1; i < g.tap_count; ++i) {
      if (g.taps[i].weight < low) low = g.taps[i].weight;
      if (g.taps[i].weight > high) high = g.taps[i].weight;
    }
    count = high - low + 1;
  }
  // PyTorch's order, (out, channel, taps): what is adjacent is one column's taps.
  static bool taps_adjacent(const Correlation<T>& g, int64_t span) {
    return g.tap_count > 1 && g.w_out != 1 && g.w_channel != 1 && span <= 4 * g.tap_count;
  }

  // A vector of columns at a time, transposed along the taps, and along the channels too where they
  // follow on.
  void run_across_taps(const T* w, int count, int64_t length, T* panel) const {
    const bool joined = g_.w_channel == span_;
    const int64_t runs = joined ? 1 : length, run = joined ? length * span_ : span_;
    for (int i = 0; i < nr; i += V::width) {
      const int lanes = least(count - i, V::width);
      if (lanes < V::width)
        for (int64_t k = 0; k < g_.tap_count * length; ++k) V::zero().store(panel + i + k * nr);
      for (int64_t r = 0; r < (lanes > 0 ? runs : 0); ++r) {
        int64_t slot = 0, channel = r;
        for_each_column(lanes, run, w + low_ + i * g_.w_out + r * g_.w_channel, g_.w_out,
                        [&](int64_t, V v) {
                          const int64_t tap = slots_[slot];
                          T* out = panel + i + (tap * length + channel) * nr;
                          if (tap >= 0 && lanes == V::width)
                            v.store(out);
                          else if (tap >= 0)
                            v.store_partial(out, lanes);
                          if (++slot == span_) {
                            slot = 0;
                            ++channel;
                          }
                        });
      }
    }
  }

  static constexpr int64_t kScattered = INT64_MAX;  // a span that is none

  const Correlation<T>& g_;
  int32_t* slots_;
  int64_t low_, span_;
};

}  // namespace tilework::TW_ISA
