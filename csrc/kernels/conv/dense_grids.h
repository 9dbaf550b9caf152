// A window with gaps between its taps as dense ones: of the pixels, those that lie a gap apart make
// a grid of their own, which reads a grid of x of its own.
#pragma once

#include "base/arithmetic.h"
#include "kernels/conv/kernels.h"

namespace tilework::TW_ISA {

// From a tap to the next one: 1 where the window is dense, 0 where it is no square of taps that are
// evenly apart, or moves by more than a pixel.
struct Gaps {
  int64_t row = 0, col = 0;

  static Gaps of(const ConvGeometry& g, int64_t window) {
    if (g.tap_count != window * window || g.row_step != 1 || g.col_step != 1) return {};
    const Tap& first = g.taps[0];
    const Gaps gaps{g.taps[window].row - first.row, g.taps[1].col - first.col};
    for (int64_t i = 0; i < g.tap_count; ++i)
      if (g.taps[i].row != first.row + i / window * gaps.row ||
          g.taps[i].col != first.col + i % window * gaps.col)
        return {};
    return gaps.row > 0 && gaps.col > 0 ? gaps : Gaps{};
  }
};

// The outputs from pixel (row, col) on, of which every so many are the grid's.
template <class T>
void outputs_of_grid(Correlation<T>& g, int64_t row, int64_t col, const Gaps& gaps) {
  const int64_t by = row * g.y_row + col * g.y_col;
  g.y += by;
  // The bias is each pixel's: it stays.
  if (g.epilogue.residual) g.epilogue.residual += by;
  if (g.epilogue.preactivation) g.epilogue.preactivation += by;
  g.y_row *= gaps.row;
  g.y_col *= gaps.col;
}
template <class T>
void outputs_of_grid(WeightGradient<T>& g, int64_t row, int64_t col, const Gaps& gaps) {
  g.grad += (g.row_begin + row) * g.grad_row + col * g.grad_col;
  g.grad_row *= gaps.row;
  g.grad_col *= gaps.col;
  g.add = g.add || row > 0 || col > 0;
}

// The operation on grid (row, col), with room for its taps.
template <class Args>
Args dense_grid(const Args& whole, const Gaps& gaps, int64_t row, int64_t col, Tap* taps) {
  const Tap& first = whole.taps[0];
  const int64_t top = whole.row_begin + row + first.row, left = col + first.col;
  const int64_t tap_row = floor_div(top, gaps.row), tap_col = floor_div(left, gaps.col);
  const int64_t x_row = top - tap_row * gaps.row, x_col = left - tap_col * gaps.col;
  for (int64_t i = 0; i < whole.tap_count; ++i)
    taps[i] = {tap_row + (whole.taps[i].row - first.row) / gaps.row,
               tap_col + (whole.taps[i].col - first.col) / gaps.col, whole.taps[i].weight};
  Args g = whole;
  outputs_of_grid(g, row, col, gaps);
  g.taps = taps;
  g.row_begin = 0;
  g.rows = ceil_div(whole.rows - row, gaps.row);
  g.cols = ceil_div(whole.cols - col, gaps.col);
  g.in_rows = whole.in_rows > x_row ? ceil_div(whole.in_rows - x_row, gaps.row) : 0;
  g.in_cols = whole.in_cols > x_col ? ceil_div(whole.in_cols - x_col, gaps.col) : 0;
  g.x += x_row * whole.x_row + x_col * whole.x_col;
  g.x_row *= gaps.row;
  g.x_col *= gaps.col;
  return g;
}

// body(args) for each grid in turn.
template <int Window, class Args, class Body>
void for_each_dense_grid(const Args& whole, Body body) {
  const Gaps gaps = Gaps::of(whole, Window);
  if (gaps.row == 1 && gaps.col == 1) return body(whole);
  Tap taps[Window * Window];
  for (int64_t row = 0; row < least(gaps.row, whole.rows); ++row)
    for (int64_t col = 0; col < least(gaps.col, whole.cols); ++col)
      body(dense_grid(whole, gaps, row, col, taps));
}

// The most that bytes_of(args) is for a grid.
template <int Window, class Args, class BytesOf>
size_t most_bytes_of_grids(const Args& whole, BytesOf bytes_of) {
  size_t most = 0;
  for_each_dense_grid<Window>(whole, [&](const Args& grid) {
    const size_t bytes = bytes_of(grid);
    if (bytes > most) most = bytes;
  });
  return most;
}

}  // namespace tilework::TW_ISA
