// Running sums along an axis, in float64: a float32 sum of a million tenths would be a percent off.
//
// A chain of additions is what takes the time, so four elements share one link of it: their own
// sums do not wait for what came before. Built once, for the baseline: the chain is no vector's,
// and columns are summed faster than memory brings them by the narrowest.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/widen.h"

namespace tilework {
namespace running {

// n elements, `step` apart: -1 from the last to the first.
template <int step, class T>
void row(const T* x, T* y, int64_t n) {
  if constexpr (step < 0) x += n - 1, y += n - 1;
  double sum = 0;
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const T* from = x + i * step;
    T* to = y + i * step;
    const double a = widened(from[0]), b = a + widened(from[step]);
    const double c = b + widened(from[2 * step]), d = c + widened(from[3 * step]);
    to[0] = rounded<T>(sum + a);
    to[step] = rounded<T>(sum + b);
    to[2 * step] = rounded<T>(sum + c);
    to[3 * step] = rounded<T>(sum += d);
  }
  for (; i < n; ++i) y[i * step] = rounded<T>(sum += widened(x[i * step]));
}

// Columns [0, cols) of n rows that lie `stride` apart.
template <class T>
void columns(const T* x, T* y, int64_t n, int64_t stride, int64_t cols, bool reverse) {
  constexpr int64_t kWidest = 512;
  double sum[kWidest];
  for (int64_t first = 0; first < cols; first += kWidest) {
    const int64_t count = std::min(kWidest, cols - first);
    std::fill_n(sum, count, 0.0);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = (reverse ? n - 1 - i : i) * stride + first;
      for (int64_t j = 0; j < count; ++j) {
        sum[j] += widened(x[at + j]);
        y[at + j] = rounded<T>(sum[j]);
      }
    }
  }
}

}  // namespace running
}  // namespace tilework
