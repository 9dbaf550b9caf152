#include "kernels/interpolate/interpolate.h"

#include <algorithm>
#include <vector>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/stream.h"
#include "base/thread_pool.h"
#include "base/variants.h"

#define TW_FAMILY interpolate
#define TW_KERNELS InterpolateKernels
#include "base/family.inc"

namespace tilework {
namespace {

constexpr int64_t kTaskElements = 1 << 14;  // less is not worth a task of its own

// rows(first, count, buffer) over `total` rows of `size` elements each.
template <class T, class Rows>
void for_each_rows(int64_t total, int64_t size, int64_t buffer_size, double cost_ns, Rows rows) {
  const int64_t block = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, size));
  parallel_for(ceil_div(total, block), cost_ns, [&](int64_t task) {
    Scratch<T> buffer(static_cast<size_t>(buffer_size));
    rows(task * block, std::min(block, total - task * block), buffer.get());
  });
}

// Which outputs' rows each row of the input is part of, in their order.
struct Shares {
  std::vector<int64_t> first;
  std::vector<RowShare> shares;

  explicit Shares(const InterpolateShape& s) : first(static_cast<size_t>(s.height) + 1) {
    const auto each = [&](auto visit) {
      for (int64_t o = 0; o < s.out_height; ++o) {
        const Blend& b = s.rows[o];
        visit(static_cast<size_t>(b.low), RowShare{o, s.nearest ? 1 : 1 - b.weight});
        if (!s.nearest) visit(static_cast<size_t>(b.high), RowShare{o, b.weight});
      }
    };
    each([&](size_t p, RowShare) { ++first[p + 1]; });
    for (size_t p = 0; p + 1 < first.size(); ++p) first[p + 1] += first[p];
    shares.resize(static_cast<size_t>(first.back()));
    std::vector<int64_t> next = first;
    each([&](size_t p, RowShare share) { shares[static_cast<size_t>(next[p]++)] = share; });
  }
};

}  // namespace

double interpolate_cost_ns(const InterpolateShape& s, size_t itemsize) {
  const double planes = static_cast<double>(s.outer * s.inner);
  return planes * static_cast<double>(itemsize) *
             (0.1 * static_cast<double>(s.out_height * s.width) +
              0.2 * static_cast<double>(s.out_height * s.out_width)) +
         100;
}

template <class T>
void interpolate_forward(const T* x, T* y, const InterpolateShape& s) {
  const int64_t rows = s.outer * s.out_height, size = s.out_width * s.inner;
  const bool stream = streams<T>({y}, rows * size, s.inner);
  for_each_rows<T>(
      rows, size, s.width * s.inner, interpolate_cost_ns(s, sizeof(T)),
      [&, kernel = g_variants.of<T>().forward](int64_t first, int64_t count, T* buffer) {
        kernel(x, y, s, first, count, buffer, stream);
      });
}

template <class T>
void interpolate_backward(const T* grad, T* dx, const InterpolateShape& s) {
  const Shares inverse(s);
  const InterpolateBackwardJob job{s, inverse.first.data(), inverse.shares.data()};
  for_each_rows<T>(
      s.outer * s.height, s.width * s.inner, s.out_width * s.inner,
      interpolate_cost_ns(s, sizeof(T)),
      [&, kernel = g_variants.of<T>().backward](int64_t first, int64_t count, T* buffer) {
        kernel(grad, dx, job, first, count, buffer);
      });
}

#define TW_INSTANTIATE(T)                                                   \
  template void interpolate_forward(const T*, T*, const InterpolateShape&); \
  template void interpolate_backward(const T*, T*, const InterpolateShape&);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
#undef TW_INSTANTIATE

}  // namespace tilework
