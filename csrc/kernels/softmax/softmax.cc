#include "kernels/softmax/softmax.h"

#include <algorithm>

#include "base/arithmetic.h"
#include "base/stream.h"
#include "base/thread_pool.h"
#include "base/variants.h"

#define TW_FAMILY softmax
#define TW_KERNELS SoftmaxKernels
#include "base/family.inc"

namespace tilework {
namespace {

constexpr int64_t kTaskElements = 16384;

template <class T>
bool goes_around(const T* out, const SoftmaxShape& s) {
  return streams<T>({out}, s.outer * s.length * s.inner, s.inner == 1 ? s.length : s.inner);
}

// rows(first, count) over the rows, where they are contiguous.
template <class Rows>
void for_each_rows(const SoftmaxShape& s, double cost_ns, Rows rows) {
  const int64_t block = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, s.length));
  parallel_for(ceil_div(s.outer, block), cost_ns,
               [&](int64_t task) { rows(task * block, std::min(block, s.outer - task * block)); });
}

// tile(offset, columns) over tiles of columns, where the axis is strided. A tile that its three
// readings find in L2 is narrow where the axis is long, but not under a few cache lines.
template <class T, class Tile>
void for_each_tile(const SoftmaxShape& s, double cost_ns, Tile tile) {
  constexpr int64_t kTileBytes = 512 << 10, kNarrowest = 256 / sizeof(T);
  const int64_t fits = kTileBytes / static_cast<int64_t>(sizeof(T)) / s.length;
  const int64_t width = std::clamp(fits / kNarrowest * kNarrowest, kNarrowest, kSoftmaxTile);
  const int64_t tiles = ceil_div(s.inner, width);
  // Small matrices share a task: an axis of ten with an inner of three is no work for a thread.
  const int64_t matrix = s.length * s.inner;
  const int64_t block = std::max<int64_t>(1, kTaskElements / matrix);
  const int64_t jobs = s.outer * tiles;
  parallel_for(ceil_div(jobs, block), cost_ns, [&](int64_t task) {
    for (int64_t job = task * block; job < std::min(jobs, (task + 1) * block); ++job) {
      const int64_t first = job % tiles * width;
      tile(job / tiles * matrix + first, std::min(width, s.inner - first));
    }
  });
}

bool is_empty(const SoftmaxShape& s) { return s.outer == 0 || s.length == 0 || s.inner == 0; }

template <class T>
void forward(const T* x, T* y, const SoftmaxShape& s, bool log) {
  if (is_empty(s)) return;
  const double cost = softmax_cost_ns(s, sizeof(T));
  const bool stream = goes_around(y, s);
  if (s.inner == 1) {
    for_each_rows(s, cost,
                  [&, kernel = g_variants.of<T>().forward_rows[log]](int64_t row, int64_t count) {
                    kernel(x + row * s.length, y + row * s.length, count, s.length, stream);
                  });
  } else {
    for_each_tile<T>(
        s, cost,
        [&, kernel = g_variants.of<T>().forward_columns[log]](int64_t at, int64_t columns) {
          kernel(x + at, y + at, s.length, s.inner, columns, stream);
        });
  }
}

template <class T>
void backward(const T* grad, const T* y, T* dx, const SoftmaxShape& s, bool log) {
  if (is_empty(s)) return;
  const double cost = softmax_cost_ns(s, sizeof(T));
  const bool stream = goes_around(dx, s);
  if (s.inner == 1) {
    for_each_rows(s, cost,
                  [&, kernel = g_variants.of<T>().backward_rows[log]](int64_t row, int64_t count) {
                    const int64_t at = row * s.length;
                    kernel(grad + at, y + at, dx + at, count, s.length, stream);
                  });
  } else {
    for_each_tile<T>(
        s, cost,
        [&, kernel = g_variants.of<T>().backward_columns[log]](int64_t at, int64_t columns) {
          kernel(grad + at, y + at, dx + at, s.length, s.inner, columns, stream);
        });
  }
}

}  // namespace

double softmax_cost_ns(const SoftmaxShape& s, size_t itemsize) {
  // A short row costs as a whole vector and the sums across it do.
  return 0.08 * static_cast<double>(itemsize) * static_cast<double>(s.outer * s.inner) *
         static_cast<double>(s.length + 16);
}

void softmax_forward(const float* x, float* y, const SoftmaxShape& shape, bool log) {
  forward(x, y, shape, log);
}
void softmax_forward(const double* x, double* y, const SoftmaxShape& shape, bool log) {
  forward(x, y, shape, log);
}
void softmax_backward(const float* grad, const float* y, float* dx, const SoftmaxShape& shape,
                      bool log) {
  backward(grad, y, dx, shape, log);
}
void softmax_backward(const double* grad, const double* y, double* dx, const SoftmaxShape& shape,
                      bool log) {
  backward(grad, y, dx, shape, log);
}

}  // namespace tilework
