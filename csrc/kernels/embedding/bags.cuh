// Bags of rows of a table: their sum, mean or largest, and what their gradients begin with.
//
// Bag b has the entries of an index from offsets[b] up to the next one's, the last all that are
// left; they lie together, so that nothing is sorted. A bag's threads take its rows one after
// another. Offsets that are none are cut to the index: no entry of another's memory is read.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// bag_sums_*          62, 62, 64  0       0        256      4, 4, 4       LDG.128 STG.128
// bag_largest_*       52, 53, 48  0       0        256      4, 4, 5       LDG.128 STG.128
// *                   40, 40, 40  0       0        256      6, 6, 6
#pragma once

#include "base/indices.cuh"
#include "base/warp.cuh"
#include "kernels/embedding/rows.cuh"

namespace tilework::bags_cuda {

using namespace rows_cuda;

struct Bags {
  const int64_t *index, *offsets;
  int64_t count, m;
  int64_t padding;  // entries of it do not count; -1: all do

  __device__ int64_t within(int64_t at) const { return at < 0 ? 0 : at > m ? m : at; }
  __device__ int64_t begin(int64_t b) const { return within(offsets[b]); }
  __device__ int64_t end(int64_t b) const { return b + 1 < count ? within(offsets[b + 1]) : m; }
};

template <class T>
__device__ void sums(T* y, const T* table, const T* weights, int64_t rows, int64_t cols,
                     const Bags& bags, bool mean, int64_t shift, bool whole, int64_t* outside) {
  const int64_t b = group_of_thread(shift);
  if (b >= bags.count) return;
  const int64_t end = bags.end(b);
  for_each_columns<T>(cols, shift, whole, [&](auto width, int64_t column) {
    constexpr int N = decltype(width)::value;
    auto sum = Columns<T, N>::zeros();
    auto total = ChainSum<T, N>::zeros();
    int64_t count = 0;
    for (int64_t i = bags.begin(b); i < end; ++i) {
      const int64_t row = index_below(bags.index[i], rows, 0, outside);
      if (row < 0 || row == bags.padding) continue;
      if (sizeof(T) < 8 && count > 0 && count % kChain == 0) {
        total.add(sum.of);
        sum = Columns<T, N>::zeros();
      }
      const Wide<T> by = weights == nullptr ? 1 : wide(weights[i]);
      sum.add(Columns<T, N>::load(table + row * cols + column), by);
      ++count;
    }
    if (sizeof(T) < 8 && count > kChain) {
      total.add(sum.of);
      sum = total.rounded();
    }
    if (mean && count > 0) sum.divide(count);
    sum.store(y + b * cols + column);
  });
}

template <class T>
__device__ void largest(T* y, int64_t* from, const T* table, int64_t rows, int64_t cols,
                        const Bags& bags, int64_t shift, bool whole, int64_t* outside) {
  const int64_t b = group_of_thread(shift);
  if (b >= bags.count) return;
  const int64_t end = bags.end(b);
  for_each_columns<T>(cols, shift, whole, [&](auto width, int64_t column) {
    constexpr int N = decltype(width)::value;
    auto found = Largest<T, N>::none();
    for (int64_t i = bags.begin(b); i < end; ++i) {
      const int64_t row = index_below(bags.index[i], rows, 0, outside);
      if (row < 0 || row == bags.padding) continue;
      found.meet(Columns<T, N>::load(table + row * cols + column), row);
    }
    found.store(y + b * cols + column, from + b * cols + column);
  });
}

// Of each entry the bag, and with factors what its row is multiplied by in a mean. A warp a bag.
template <class T>
__device__ void entries(int64_t* bag, T* factor, const T* weights, const Bags& bags) {
  const int64_t b = group_of_thread(5);
  if (b >= bags.count) return;
  const int64_t begin = bags.begin(b) + static_cast<int>(threadIdx.x) % kWarpLanes;
  const int64_t end = bags.end(b);
  int64_t count = 0;
  for (int64_t i = begin; i < end; i += kWarpLanes) count += bags.index[i] != bags.padding;
  count = over_warp<Plus>(count);
  for (int64_t i = begin; i < end; i += kWarpLanes) {
    bag[i] = b;
    const Wide<T> weight = weights == nullptr ? 1 : wide(weights[i]);
    if (factor != nullptr) factor[i] = narrowed<T>(weight / static_cast<Wide<T>>(count));
  }
}

// y[i] = the product of the bag's row of grad and the entry's of the table; 0 for padding. A warp
// an entry: each lane adds 32 products in float32, and these in float64.
template <class T>
__device__ void dots(T* y, const T* grad, const T* table, const int64_t* bag, int64_t rows,
                     int64_t cols, const Bags& bags, int64_t* outside) {
  const int64_t i = group_of_thread(5);
  if (i >= bags.m) return;
  const int64_t row = index_below(bags.index[i], rows, 0, outside);
  double total = 0;
  if (row >= 0 && row != bags.padding) {
    const T *left = grad + bag[i] * cols, *right = table + row * cols;
    Wide<T> sum = 0;
    int count = 0;
    for (int64_t c = static_cast<int>(threadIdx.x) % kWarpLanes; c < cols; c += kWarpLanes) {
      sum = maths::fma(wide(left[c]), wide(right[c]), sum);
      if (++count % kChain == 0) {
        total += static_cast<double>(sum);
        sum = 0;
      }
    }
    total += static_cast<double>(sum);
  }
  total = over_warp<Plus>(total);
  if (static_cast<int>(threadIdx.x) % kWarpLanes == 0) {
    y[i] = narrowed<T>(static_cast<Wide<T>>(total));
  }
}

#define TW_BAGS(type, name)                                                                        \
  TW_KERNEL(kThreads, bag_sums_##name, type* y, const type* table, const type* weights,            \
            int64_t rows, int64_t cols, const int64_t* index, const int64_t* offsets,              \
            int64_t count, int64_t m, int64_t padding, int64_t mean, int64_t shift, int64_t whole, \
            int64_t* outside) {                                                                    \
    sums(y, table, weights, rows, cols, {index, offsets, count, m, padding}, mean != 0, shift,     \
         whole != 0, outside);                                                                     \
  }                                                                                                \
  TW_KERNEL(kThreads, bag_largest_##name, type* y, int64_t* from, const type* table, int64_t rows, \
            int64_t cols, const int64_t* index, const int64_t* offsets, int64_t count, int64_t m,  \
            int64_t padding, int64_t shift, int64_t whole, int64_t* outside) {                     \
    largest(y, from, table, rows, cols, {index, offsets, count, m, padding}, shift, whole != 0,    \
            outside);                                                                              \
  }                                                                                                \
  TW_KERNEL(kThreads, bag_entries_##name, int64_t* bag, type* factor, const type* weights,         \
            const int64_t* index, const int64_t* offsets, int64_t count, int64_t m,                \
            int64_t padding) {                                                                     \
    entries(bag, factor, weights, {index, offsets, count, m, padding});                            \
  }                                                                                                \
  TW_KERNEL(kThreads, bag_dots_##name, type* y, const type* grad, const type* table,               \
            const int64_t* bag, int64_t rows, int64_t cols, const int64_t* index, int64_t m,       \
            int64_t padding, int64_t* outside) {                                                   \
    dots(y, grad, table, bag, rows, cols, {index, nullptr, 0, m, padding}, outside);               \
  }
TW_BAGS(float, float)
TW_BAGS(double, double)
TW_BAGS(__nv_bfloat16, bfloat16)
#undef TW_BAGS

}  // namespace tilework::bags_cuda
