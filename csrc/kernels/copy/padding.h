// The body of kernels/copy/pad.h: the result row by row, each from one of x or from none.
#pragma once

#include <algorithm>
#include <cstring>

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

// A padding's rows: each row of the result, from which of x it is.
struct Rows {
  const PadShape s;
  int last;
  int64_t grown[PadShape::kMaxAxes], count = 1;

  explicit Rows(const PadShape& shape) : s(merged(shape)), last(s.axes - 1) {
    for (int d = 0; d <= last; ++d) {
      grown[d] = s.before[d] + s.size[d] + s.after[d];
      if (d < last) count *= grown[d];
    }
  }
  int64_t length() const { return s.size[last]; }
  int64_t width() const { return grown[last]; }

  // row(r, from): rows [begin, end) in order; -1 for one that is from nowhere. The last of the
  // outer axes is stepped along: short rows take less time than the divisions that find a place.
  template <class Row>
  void visit(PadMode mode, int64_t begin, int64_t end, Row row) const {
    const int64_t steps = last > 0 ? grown[last - 1] : 1, n = last > 0 ? s.size[last - 1] : 1;
    for (int64_t r = begin; r < end;) {
      int64_t base = 0, place = n, rest = r / steps;
      bool outside = false;
      for (int d = last - 1; d-- > 0; rest /= grown[d], place *= s.size[d]) {
        const int64_t at = source_of(mode, rest % grown[d] - s.before[d], s.size[d]);
        outside |= at < 0;
        base += at * place;
      }
      const int64_t first = r % steps, run = std::min(end - r, steps - first);
      const int64_t before = last > 0 ? s.before[last - 1] : 0;
      for (int64_t i = first; i < first + run; ++i, ++r) {
        const int64_t at = source_of(mode, i - before, n);
        row(r, outside || at < 0 ? -1 : base + at);
      }
    }
  }
};

template <class T>
void pad_of(PadMode mode, const PadShape& shape, const T* x, T value, T* y) {
  const Rows rows(shape);
  const int64_t n = rows.length(), width = rows.width();
  if (rows.count == 0 || width == 0) return;
  const int64_t before = rows.s.before[rows.last], after = rows.s.after[rows.last];
  const auto edge = [&](const T* from, int64_t begin, int64_t end, T* to) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t at = source_of(mode, i, n);
      *to++ = at < 0 ? value : from[at];
    }
  };
  const int64_t bytes = width * static_cast<int64_t>(sizeof(T));
  const int64_t step = std::max<int64_t>(1, (64 << 10) / bytes);
  parallel_for(ceil_div(rows.count, step), copy_cost_ns(rows.count * bytes), [&](int64_t task) {
    const int64_t end = std::min(rows.count, (task + 1) * step);
    rows.visit(mode, task * step, end, [&](int64_t r, int64_t from) {
      T* to = y + r * width;
      if (from < 0) {
        std::fill_n(to, width, value);
        return;
      }
      const T* row = x + from * n;
      edge(row, -before, 0, to);
      copy_run(reinterpret_cast<const char*>(row), reinterpret_cast<char*>(to + before),
               n * static_cast<int64_t>(sizeof(T)));
      edge(row, n, n + after, to + before + n);
    });
  });
}

// Leading axes that nothing is added to are cut into tasks; within one rows add in their order.
template <class T>
void gather_back(PadMode mode, const PadShape& shape, const T* grad, T* dx) {
  const Rows rows(shape);
  const int64_t n = rows.length(), width = rows.width();
  const int64_t before = rows.s.before[rows.last], after = rows.s.after[rows.last];
  int64_t apart = 1, size = n;
  int lead = 0;
  while (lead < rows.last && rows.s.before[lead] == 0 && rows.s.after[lead] == 0)
    apart *= rows.s.size[lead++];
  for (int d = lead; d < rows.last; ++d) size *= rows.s.size[d];
  if (apart * size == 0) return;
  const int64_t each = rows.count / apart;
  const int64_t step = std::max<int64_t>(1, (1 << 14) / (each * width));
  const double cost = 0.5 * static_cast<double>(rows.count * width);
  parallel_for(ceil_div(apart, step), cost, [&](int64_t task) {
    const int64_t first = task * step, stop = std::min(apart, first + step);
    std::memset(static_cast<void*>(dx + first * size), 0,
                static_cast<size_t>((stop - first) * size) * sizeof(T));
    rows.visit(mode, first * each, stop * each, [&](int64_t r, int64_t from) {
      if (from < 0) return;
      const T* g = grad + r * width;
      T* __restrict to = dx + from * n;
      for (int64_t i = 0; i < n; ++i) to[i] += g[before + i];
      if (mode == PadMode::constant) return;
      for (int64_t i = 0; i < before; ++i) to[source_of(mode, i - before, n)] += g[i];
      for (int64_t i = 0; i < after; ++i) to[source_of(mode, n + i, n)] += g[before + n + i];
    });
  });
}

}  // namespace padding
}  // namespace tilework
