#include "kernels/pool/pool.h"

#include <algorithm>
#include <vector>

#include "base/memory_pool.h"
#include "base/stream.h"
#include "base/thread_pool.h"
#include "base/variants.h"

#define TW_FAMILY pool
#define TW_KERNELS PoolKernels
#include "base/family.inc"

namespace tilework {
namespace {

constexpr int64_t kTaskElements = 1 << 14;  // of x: less is not worth a task of its own

int64_t most_taps(const Window* windows, int64_t count) {
  int64_t most = 0;
  for (int64_t o = 0; o < count; ++o) most = std::max(most, windows[o].taps);
  return most;
}

// From the first window with all its taps on.
RegularRun regular_run(const PoolShape& s) {
  constexpr int64_t kNone = 3, kFewest = 4;  // for a vector to be worth it
  const Window* w = s.cols;
  const int64_t taps = most_taps(w, s.out_width);
  int64_t begin = 0;
  while (w[begin].taps < taps) ++begin;
  int64_t end = begin + 1;
  const int64_t stride = end < s.out_width ? w[end].start - w[begin].start : kNone;
  while (end < s.out_width && w[end].taps == taps && w[end].step == w[begin].step &&
         w[end].size == w[begin].size && w[end].start - w[end - 1].start == stride)
    ++end;
  const bool regular = stride >= 1 && taps > 0 && end - begin >= kFewest;
  return {begin, end, regular ? stride : kNone};
}

// A planar pooling of whole planes is one of single rows, as long as a plane.
class Flattened {
 public:
  explicit Flattened(const PoolShape& s) : shape(s) {
    const auto whole = [](const Window& w, int64_t n) { return w.taps == n && w.step == 1; };
    if (s.inner > 1 || s.out_height > 1 || s.out_width > 1 || !whole(s.rows[0], s.height) ||
        !whole(s.cols[0], s.width))
      return;
    row_ = {0, 1, 1, s.rows[0].size};
    col_ = {0, 1, s.height * s.width, s.cols[0].size};
    shape.height = 1;
    shape.width = col_.taps;
    shape.rows = &row_;
    shape.cols = &col_;
  }
  Flattened(const Flattened&) = delete;
  Flattened& operator=(const Flattened&) = delete;

  PoolShape shape;

 private:
  Window row_, col_;
};

// Who covers each of `in` inputs, in the order of the outputs.
class Inverse {
 public:
  Inverse(const Window* windows, int64_t out, int64_t in) : first_(static_cast<size_t>(in) + 1) {
    const auto each = [&](auto visit) {
      for (int64_t o = 0; o < out; ++o)
        for (int64_t t = 0; t < windows[o].taps; ++t)
          visit(static_cast<size_t>(windows[o].start + t * windows[o].step), Coverer{o, t});
    };
    each([&](size_t p, Coverer) { ++first_[p + 1]; });
    for (size_t p = 0; p < static_cast<size_t>(in); ++p) first_[p + 1] += first_[p];
    coverers_.resize(static_cast<size_t>(first_.back()));
    std::vector<int64_t> next = first_;
    each([&](size_t p, Coverer c) { coverers_[static_cast<size_t>(next[p]++)] = c; });
  }
  Coverage view() const { return {first_.data(), coverers_.data()}; }

 private:
  std::vector<int64_t> first_;
  std::vector<Coverer> coverers_;
};

// What the caches cannot hold goes around them, in pieces that L1 holds.
template <class T>
int64_t stage_rows(int64_t rows, int64_t size) {
  constexpr int64_t kStageBytes = 16 << 10, kLongest = 64 << 10;
  const int64_t row_bytes = size * static_cast<int64_t>(sizeof(T));
  if (rows * row_bytes < kStreamBytes || row_bytes > kLongest) return 0;
  return std::max<int64_t>(1, kStageBytes / row_bytes);
}

// kernel(first, count, buffer) over `total` rows; `elements` say what a row costs.
template <class T, class Kernel>
void for_each_rows(int64_t total, int64_t elements, int64_t buffer_size, double cost_ns,
                   Kernel kernel) {
  const int64_t block = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, elements));
  parallel_for((total + block - 1) / block, cost_ns, [&](int64_t task) {
    Scratch<T> buffer(static_cast<size_t>(buffer_size));
    kernel(task * block, std::min(block, total - task * block), buffer.get());
  });
}

bool has_no_outputs(const PoolShape& s) {
  return s.outer * s.inner == 0 || s.out_height == 0 || s.out_width == 0;
}

// kernel(job, first, count, buffer) over the rows of outputs.
template <class T, class Kernel>
void forward(const PoolShape& given, Kernel kernel) {
  if (has_no_outputs(given)) return;
  const Flattened flat(given);
  const PoolShape& s = flat.shape;
  const int64_t rows = s.outer * s.out_height, size = s.out_width * s.inner;
  const PoolJob job{s, regular_run(s), stage_rows<T>(rows, size)};
  for_each_rows<T>(
      rows, std::max<int64_t>(1, s.height / s.out_height) * s.width * s.inner,
      pool_buffer_size(s) + job.stage_rows * size, pool_cost_ns(s, sizeof(T)),
      [&](int64_t first, int64_t count, T* buffer) { kernel(job, first, count, buffer); });
}

// kernel(job, first, count, stage) over the rows of dx.
template <class T, class Kernel>
void backward(const PoolShape& given, T* dx, Kernel kernel) {
  if (has_no_outputs(given)) {
    std::fill_n(dx, given.outer * given.height * given.width * given.inner, T(0));
    return;
  }
  const Flattened flat(given);
  const PoolShape& s = flat.shape;
  const Inverse by_row(s.rows, s.out_height, s.height), by_col(s.cols, s.out_width, s.width);
  const int64_t rows = s.outer * s.height, size = s.width * s.inner;
  const PoolBackwardJob job{
      {s, regular_run(s), stage_rows<T>(rows, size)}, by_row.view(), by_col.view()};
  for_each_rows<T>(
      rows, size, job.stage_rows * size, pool_cost_ns(s, sizeof(T)),
      [&](int64_t first, int64_t count, T* stage) { kernel(job, first, count, stage); });
}

}  // namespace

bool needs_wide_positions(const PoolShape& s) {
  return most_taps(s.rows, s.out_height) * most_taps(s.cols, s.out_width) > 256;
}

double pool_cost_ns(const PoolShape& s, size_t itemsize) {
  const double taps = static_cast<double>(most_taps(s.rows, s.out_height)) *
                      static_cast<double>(most_taps(s.cols, s.out_width));
  const double planes = static_cast<double>(s.outer * s.inner);
  const double in = planes * static_cast<double>(s.height * s.width);
  const double out = planes * static_cast<double>(s.out_height * s.out_width);
  return static_cast<double>(itemsize) * (0.08 * in + 0.03 * out * taps) + 100;
}

template <class T>
void pool_max_forward(const T* x, T* y, void* saved, const PoolShape& shape) {
  const PoolTable<T>& kernels = g_variants.of<T>();
  forward<T>(shape, [&](const PoolJob& job, int64_t first, int64_t count, T* buffer) {
    if (saved)
      kernels.max_with_positions(x, y, saved, job, first, count, buffer);
    else
      kernels.max(x, y, job, first, count, buffer);
  });
}

template <class T>
void pool_average_forward(const T* x, T* y, const PoolShape& shape) {
  forward<T>(shape, [&, kernel = g_variants.of<T>().average](const PoolJob& job, int64_t first,
                                                             int64_t count, T* buffer) {
    kernel(x, y, job, first, count, buffer);
  });
}

template <class T>
void pool_max_backward(const T* grad, const void* saved, T* dx, const PoolShape& shape) {
  backward(shape, dx,
           [&, kernel = g_variants.of<T>().max_backward](const PoolBackwardJob& job, int64_t first,
                                                         int64_t count, T* stage) {
             kernel(grad, saved, dx, job, first, count, stage);
           });
}

template <class T>
void pool_average_backward(const T* grad, T* dx, const PoolShape& shape) {
  backward(shape, dx,
           [&, kernel = g_variants.of<T>().average_backward](
               const PoolBackwardJob& job, int64_t first, int64_t count, T* stage) {
             kernel(grad, dx, job, first, count, stage);
           });
}

#define TW_INSTANTIATE(T)                                                       \
  template void pool_max_forward(const T*, T*, void*, const PoolShape&);        \
  template void pool_average_forward(const T*, T*, const PoolShape&);           \
  template void pool_max_backward(const T*, const void*, T*, const PoolShape&); \
  template void pool_average_backward(const T*, T*, const PoolShape&);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
#undef TW_INSTANTIATE

}  // namespace tilework
