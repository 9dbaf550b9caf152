// Pooling of planes: the maximum or the average over windows, and their gradients.
//
// An array is (outer, height, width, inner) in memory: channels-last with inner = C, and planar
// (N, C, H, W) with outer = N * C and inner = 1. What a window covers stands in two tables, one an
// axis: strides, padding, dilation and adaptive windows are all the same to the kernels.
//
// A NaN wins the maximum. Of equal elements, row by row, the first is chosen; of several NaNs the
// last: as PyTorch does. An average is a sum of row sums, so that no chain of additions is longer
// than a side of the window. Gradients are gathered, input by input, in an order that shape alone
// decides. Outputs may not overlap inputs.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tilework {

// What one output covers along an axis: the inputs start, start + step, ...: `taps` of them, all
// inside. The product of both axes' sizes divides an average.
struct Window {
  int64_t start, step, taps, size;
};

// `count` windows alike, each `stride` past the one before.
struct WindowRun {
  Window first;
  int64_t count, stride;
};

struct PoolShape {
  int64_t outer, height, width, inner;
  int64_t out_height, out_width;
  const Window *rows, *cols;  // out_height, out_width of them
  // The columns as runs instead, where walks_runs() and the pass is a forward one; cols is then
  // null. A table of a million windows would be eight times the row that it is about.
  const WindowRun* col_runs;
  int64_t col_run_count;

  // A maximum's position in its window, row * cols[ow].taps + column, is saved in one byte where
  // all fit, else in four.
  bool wide_positions;
};

// saved: the positions of the maxima, or null.
template <class T>
void pool_max_forward(const T* x, T* y, void* saved, const PoolShape& shape);
template <class T>
void pool_max_backward(const T* grad, const void* saved, T* dx, const PoolShape& shape);
template <class T>
void pool_average_forward(const T* x, T* y, const PoolShape& shape);
template <class T>
void pool_average_backward(const T* grad, T* dx, const PoolShape& shape);

bool needs_wide_positions(const PoolShape& shape);
// Single rows, planar: what a run of columns serves.
bool walks_runs(const PoolShape& shape);

// For the driver and the GIL: nanoseconds on one thread.
double pool_cost_ns(const PoolShape& shape, size_t itemsize);

// --- What a variant provides ---

// Outputs [begin, end) of the columns whose windows are whole, alike and `stride` apart: a vector
// may hold neighbours among them. A stride above 2 is no vector's.
struct RegularRun {
  int64_t begin, end, stride;
};

struct PoolJob : PoolShape {
  RegularRun run;
  int64_t stage_rows;  // how many rows to put together and stream out; 0: none (staged.h)
};

// Who covers an input along one axis: coverers[first[p]] to coverers[first[p + 1]].
struct Coverer {
  int64_t out, tap;
};
struct Coverage {
  const int64_t* first;
  const Coverer* coverers;
};

struct PoolBackwardJob : PoolJob {
  Coverage by_row, by_col;
};

template <class T>
struct PoolTable {
  // Rows [first, first + count) of the outer * out_height rows of outputs. buffer: of
  // pool_buffer_size elements, then room for stage_rows rows.
  void (*max)(const T* x, T* y, const PoolJob& job, int64_t first, int64_t count, T* buffer);
  void (*average)(const T* x, T* y, const PoolJob& job, int64_t first, int64_t count, T* buffer);
  void (*max_with_positions)(const T* x, T* y, void* saved, const PoolJob& job, int64_t first,
                             int64_t count, T* buffer);
  // Rows [first, first + count) of the outer * height rows of dx. stage: room for stage_rows rows.
  void (*max_backward)(const T* grad, const void* saved, T* dx, const PoolBackwardJob& job,
                       int64_t first, int64_t count, T* stage);
  void (*average_backward)(const T* grad, T* dx, const PoolBackwardJob& job, int64_t first,
                           int64_t count, T* stage);
};

// A row, and room for vectors that begin in it.
constexpr int64_t pool_buffer_size(const PoolShape& shape) { return shape.width + 64; }

struct PoolKernels {
  PoolTable<float> f32;
  PoolTable<double> f64;
};

}  // namespace tilework
