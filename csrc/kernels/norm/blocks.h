// How drivers cut normalisation into tasks and blocks: by shape alone.
#pragma once

#include <algorithm>
#include <vector>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/stream.h"
#include "base/thread_pool.h"

namespace tilework {

inline constexpr int64_t kTaskElements = 1 << 14;  // less is not worth a task of its own

// Pixels of one block where channels are neighbours: enough that the block's own results are few
// beside them, and no more than its sums bear (see column_moments).
inline constexpr int64_t kPixelBlockBytes = 1 << 16, kFewestPixels = 64, kMostPixels = 256;

inline int64_t pixels_a_block(int64_t channels, size_t itemsize) {
  const int64_t pixel = std::max<int64_t>(1, channels * static_cast<int64_t>(itemsize));
  return std::clamp(kPixelBlockBytes / pixel, kFewestPixels, kMostPixels);
}

// body(begin, end) over [0, count), in tasks of at least `least`.
template <class Body>
void for_each_range(int64_t count, int64_t least, double cost_ns, Body body) {
  least = std::max<int64_t>(1, least);
  parallel_for(ceil_div(count, least), cost_ns,
               [&](int64_t task) { body(task * least, std::min(count, (task + 1) * least)); });
}

// What column_moments gives of each block, [blocks][channels].
template <class T>
struct BlockMoments {
  T *near, *rest, *m2;

  double mean(int64_t i) const { return static_cast<double>(near[i]) + rest[i]; }
};

// Sums of [blocks][channels] down the blocks.
template <class T>
std::vector<double> sum_blocks(const T* partial, int64_t blocks, int64_t channels) {
  std::vector<double> total(static_cast<size_t>(channels), 0.0);
  for (int64_t b = 0; b < blocks; ++b)
    for (int64_t c = 0; c < channels; ++c)
      total[static_cast<size_t>(c)] += partial[b * channels + c];
  return total;
}

template <class T>
T or_else(const T* values, int64_t i, T other) {
  return values ? values[i] : other;
}

// What stands for a weight or a bias that is not there.
template <class T>
class OrConstant {
 public:
  OrConstant(const T* given, int64_t count, T value)
      : made_(given ? 0 : static_cast<size_t>(count)), p_(given ? given : made_.get()) {
    if (!given) std::fill_n(made_.get(), count, value);
  }
  const T* get() const { return p_; }

 private:
  Scratch<T> made_;
  const T* p_;
};

}  // namespace tilework
