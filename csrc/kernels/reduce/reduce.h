// Sums, means and extremes over any axes of a dense array.
//
// The array is given as runs of axes in memory order, each reduced or kept. Sums follow one fixed
// tree for each shape and vector width, whatever the number of threads; no chain of additions in it
// is longer than 32, so that the error grows with the logarithm of the length. max and min give NaN
// where any element is NaN. A sum of nothing is 0, its mean NaN; the caller refuses max and min of
// nothing.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/types.h"

namespace tilework {

enum class ReduceOp : int { sum, max, min, count };

// Axes from the slowest to the fastest.
struct ReduceShape {
  static constexpr int kMaxAxes = 32;
  int axes;
  int64_t size[kMaxAxes];
  bool reduced[kMaxAxes];
};

// y gets the kept axes, dense in the same order.
template <class T>
void reduce(ReduceOp op, const ReduceShape& shape, const T* x, T* y);
// As the sum, divided by the number of elements that went into it.
template <class T>
void reduce_mean(const ReduceShape& shape, const T* x, T* y);

// y[i] = x[0] + ... + x[i] along the middle axis of (outer, n, inner); from its end with `reverse`.
// Sums are kept in float64. T: float, double, bfloat16.
template <class T>
void running_sums(int64_t outer, int64_t n, int64_t inner, bool reverse, const T* x, T* y);

// --- What a variant provides ---

template <class T>
struct ReduceTable {
  // y[r] = the reduction of x[r][0..n), n at most kRowBlock for its tree to be as promised.
  // `ahead`: read_ahead_bytes().
  void (*rows[static_cast<int>(ReduceOp::count)])(const T* x, T* y, int64_t rows, int64_t n,
                                                  int64_t ahead);
  // y[j] = the reduction of x[0..n)[j], n at most kColumnBlock.
  void (*columns[static_cast<int>(ReduceOp::count)])(const T* x, T* y, int64_t n, int64_t cols,
                                                     int64_t ahead);
};

inline constexpr int64_t kRowBlock = 16384, kColumnBlock = 128;

struct ReduceKernels {
  ReduceTable<float> f32;
  ReduceTable<double> f64;
};

}  // namespace tilework
