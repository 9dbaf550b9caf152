// The body of kernels/copy/pad.h: the result row by row, each from one of x or from none.
#pragma once

#include <algorithm>

#include "base/arithmetic.h"
#include "base/thread_pool.h"
#include "kernels/copy/copy.h"
#include "kernels/copy/pad.h"
#include "kernels/copy/runs.h"

namespace tilework {
namespace padding {

// Where place i of the grown axis comes from: -1 for nowhere.
inline int64_t source_of(PadMode mode, int64_t i, int64_t n) {
  if (i >= 0 && i < n) return i;
  switch (mode) {
    case PadMode::reflect:
      return i < 0 ? -i : 2 * (n - 1) - i;
    case PadMode::replicate:
      return i < 0 ? 0 : n - 1;
    case PadMode::circular:
      return i < 0 ? i + n : i - n;
    default:
      return -1;
  }
}

// Trailing axes that nothing is added to as one; with an axis more where there is none.
inline PadShape merged(const PadShape& s) {
  PadShape m = s;
  if (m.axes == 0) m = {1, {1}, {0}, {0}};
  while (m.axes > 1 && m.before[m.axes - 1] == 0 && m.after[m.axes - 1] == 0 &&
         m.before[m.axes - 2] == 0 && m.after[m.axes - 2] == 0) {
    m.size[m.axes - 2] *= m.size[m.axes - 1];
    --m.axes;
  }
  return m;
}

template <class T>
void pad_of(PadMode mode, const PadShape& shape, const T* x, T value, T* y) {
  const PadShape s = merged(shape);
  const int last = s.axes - 1;
  int64_t grown[PadShape::kMaxAxes], rows = 1;
  for (int d = 0; d <= last; ++d) {
    grown[d] = s.before[d] + s.size[d] + s.after[d];
    if (d < last) rows *= grown[d];
  }
  const int64_t n = s.size[last], width = grown[last];
  if (rows == 0 || width == 0) return;
  const auto edge = [&](const T* from, int64_t begin, int64_t end, T* to) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = source_of(mode, i, n);
      *to++ = at < 0 ? value : from[at];
    }
  };
  const int64_t bytes = width * static_cast<int64_t>(sizeof(T));
  const int64_t step = std::max<int64_t>(1, (64 << 10) / bytes);
  parallel_for(ceil_div(rows, step), copy_cost_ns(rows * bytes), [&](int64_t task) {
    const int64_t end = std::min(rows, (task + 1) * step);
    for (int64_t r = task * step; r < end; ++r) {
      int64_t from = 0;
      int64_t rest = r, place = 1;
      bool outside = false;
      for (int d = last; d-- > 0; rest /= grown[d], place *= s.size[d]) {
        const int64_t at = source_of(mode, rest % grown[d] - s.before[d], s.size[d]);
        outside |= at < 0;
        from += at * place;
      }
      T* to = y + r * width;
      if (outside) {
        std::fill_n(to, width, value);
        continue;
      }
      const T* row = x + from * n;
      edge(row, -s.before[last], 0, to);
      copy_run(reinterpret_cast<const char*>(row), reinterpret_cast<char*>(to + s.before[last]),
               n * static_cast<int64_t>(sizeof(T)));
      edge(row, n, n + s.after[last], to + s.before[last] + n);
    }
  });
}

}  // namespace padding
}  // namespace tilework
