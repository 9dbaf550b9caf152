// Convolutions and their gradients as the operations of kernels.h. Where results go, and what is
// fused to them, is left open.
#pragma once

#include <algorithm>
#include <vector>

#include "base/arithmetic.h"
#include "kernels/conv/conv.h"
#include "kernels/gemm/gemm.h"

namespace tilework {

inline int64_t floor_mod(int64_t a, int64_t b) { return (a % b + b) % b; }

// Of `windows` along an axis, those under which a tap meets x: window r reads r * step + tap.
struct Met {
  int64_t first, count;

  Met(int64_t windows, int64_t step, int64_t tap, int64_t size) {
    first = tap < 0 ? ceil_div(-tap, step) : 0;
    const int64_t end = tap < size ? std::min(windows, (size - 1 - tap) / step + 1) : 0;
    count = std::max<int64_t>(0, end - first);
  }
};

// Whether there are any; quick where it can be, since every convolution asks.
inline bool meets(int64_t windows, int64_t step, int64_t tap, int64_t size) {
  if (tap >= 0) return windows > 0 && tap < size;
  if (step == 1) return -tap < windows && size > 0;
  return Met(windows, step, tap, size).count > 0;
}

// Of a kernel along an axis, the taps i whose place i * dilation lies between two others.
struct TapsBetween {
  int64_t first, end;

  TapsBetween(int64_t kernel, int64_t dilation, int64_t low, int64_t high) : first(0), end(kernel) {
    if (kernel <= kFew) return;  // looking at each is cheaper than two divisions
    first = low > 0 ? ceil_div(low, dilation) : 0;
    end = high < 0 ? 0 : std::min(kernel, high / dilation + 1);
  }

 private:
  static constexpr int64_t kFew = 16;
};

// The taps that meet x anywhere: the others add nothing, and may lie so far out that no copy of x
// could reach them.
inline std::vector<Tap> taps_of(const ConvShape& s, int64_t w_row, int64_t w_col) {
  std::vector<Tap> taps;
  if (s.images == 0 || s.channels == 0 || s.outs == 0) return taps;
  const TapsBetween down(s.kernel_rows, s.row_dilation, s.row_padding - (s.rows - 1) * s.row_step,
                         s.row_padding + s.in_rows - 1);
  const TapsBetween across(s.kernel_cols, s.col_dilation, s.col_padding - (s.cols - 1) * s.col_step,
                           s.col_padding + s.in_cols - 1);
  for (int64_t i = down.first; i < down.end; ++i) {
    const int64_t row = i * s.row_dilation - s.row_padding;
    if (!meets(s.rows, s.row_step, row, s.in_rows)) continue;
    for (int64_t j = across.first; j < across.end; ++j) {
      const int64_t col = j * s.col_dilation - s.col_padding;
      if (meets(s.cols, s.col_step, col, s.in_cols))
        taps.push_back({row, col, i * w_row + j * w_col});
    }
  }
  return taps;
}
inline bool has_all_taps(const ConvShape& s, const std::vector<Tap>& taps) {
  return static_cast<int64_t>(taps.size()) == s.kernel_rows * s.kernel_cols;
}

// The grid of y's pixels, where a convolution and its weights' gradient go.
inline ConvGeometry grid_of(const ConvShape& s, const std::vector<Tap>& taps) {
  ConvGeometry g{};
  g.images = s.images;
  g.rows = s.rows;
  g.cols = s.cols;
  g.in_rows = s.in_rows;
  g.in_cols = s.in_cols;
  g.groups = s.groups;
  g.channels = s.channels / s.groups;
  g.outs = s.outs / s.groups;
  g.row_step = s.row_step;
  g.col_step = s.col_step;
  g.taps = taps.data();
  g.tap_count = static_cast<int64_t>(taps.size());
  g.precision = matmul_precision();
  return g;
}

template <class T>
Correlation<T> forward_operation(const ConvShape& s, const ImageView<const T>& x,
                                 const KernelView<const T>& weight, const std::vector<Tap>& taps) {
  Correlation<T> g{};
  static_cast<ConvGeometry&>(g) = grid_of(s, taps);
  g.x = x.data;
  g.x_image = x.image;
  g.x_row = x.row;
  g.x_col = x.col;
  g.x_channel = x.channel;
  g.weight = weight.data;
  g.w_group = g.outs * weight.out;
  g.w_channel = weight.channel;
  g.w_out = weight.out;
  g.y_col = s.outs;
  g.y_row = s.cols * g.y_col;
  g.y_image = s.rows * g.y_row;
  g.packs_ahead = true;
  return g;
}

// body(operation, where its results begin in dx), for each residue of a pixel modulo the strides.
//
// Pixel h of dx meets row r of dy under tap k where h + padding = r * step + k * dilation: for
// every step-th h the same taps, and rows that go up by one.
template <class T, class Body>
void for_each_input_gradient(const ConvShape& s, const ImageView<const T>& dy,
                             const KernelView<const T>& weight, Body body) {
  Correlation<T> g{};
  g.images = s.images;
  g.in_rows = s.rows;
  g.in_cols = s.cols;
  g.groups = s.groups;
  g.channels = s.outs / s.groups;
  g.outs = s.channels / s.groups;
  g.row_step = 1;
  g.col_step = 1;
  g.precision = matmul_precision();
  g.x = dy.data;
  g.x_image = dy.image;
  g.x_row = dy.row;
  g.x_col = dy.col;
  g.x_channel = dy.channel;
  g.weight = weight.data;
  g.w_group = g.channels * weight.out;
  g.w_channel = weight.out;
  g.w_out = weight.channel;
  g.y_col = s.col_step * s.channels;
  g.y_row = s.row_step * s.in_cols * s.channels;
  g.y_image = s.in_rows * s.in_cols * s.channels;
  std::vector<Tap> taps;
  for (int64_t a = 0; a < std::min(s.row_step, s.in_rows); ++a)
    for (int64_t b = 0; b < std::min(s.col_step, s.in_cols); ++b) {
      taps.clear();
      g.rows = ceil_div(s.in_rows - a, s.row_step);
      g.cols = ceil_div(s.in_cols - b, s.col_step);
      const int64_t down = a + s.row_padding, across = b + s.col_padding;
      const TapsBetween rows(s.kernel_rows, s.row_dilation, down - (s.rows - 1) * s.row_step,
                             down + (g.rows - 1) * s.row_step);
      const TapsBetween cols(s.kernel_cols, s.col_dilation, across - (s.cols - 1) * s.col_step,
                             across + (g.cols - 1) * s.col_step);
      for (int64_t i = rows.end; i-- > rows.first;)
        for (int64_t j = cols.end; j-- > cols.first;) {
          const int64_t row = down - i * s.row_dilation, col = across - j * s.col_dilation;
          if (floor_mod(row, s.row_step) == 0 && floor_mod(col, s.col_step) == 0 &&
              Met(g.rows, 1, row / s.row_step, s.rows).count &&
              Met(g.cols, 1, col / s.col_step, s.cols).count)
            taps.push_back({row / s.row_step, col / s.col_step, i * weight.row + j * weight.col});
        }
      g.taps = taps.data();
      g.tap_count = static_cast<int64_t>(taps.size());
      body(g, (a * s.in_cols + b) * s.channels);
    }
}

template <class T>
WeightGradient<T> weight_gradient_operation(const ConvShape& s, const ImageView<const T>& x,
                                            const ImageView<const T>& dy,
                                            const KernelView<T>& dweight,
                                            const std::vector<Tap>& taps) {
  WeightGradient<T> g{};
  static_cast<ConvGeometry&>(g) = grid_of(s, taps);
  g.x = x.data;
  g.x_image = x.image;
  g.x_row = x.row;
  g.x_col = x.col;
  g.x_channel = x.channel;
  g.grad = dy.data;
  g.grad_image = dy.image;
  g.grad_row = dy.row;
  g.grad_col = dy.col;
  g.grad_out = dy.channel;
  g.dweight = dweight.data;
  g.w_group = g.outs * dweight.out;
  g.w_channel = dweight.channel;
  g.w_out = dweight.out;
  return g;
}

}  // namespace tilework
