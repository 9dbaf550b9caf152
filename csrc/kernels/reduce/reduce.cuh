// Sums, means and extremes over one axis of a dense array (outer, length, inner). Several reduced
// axes are as many launches, the fastest first.
//
// Sums follow one fixed tree for each shape: a thread's own chain of at most 64, in as many strands
// as a load has elements, then halves of a warp or of a block, then the parts of a long axis, which
// are reduced again as an axis of their own. A mean is divided once, at the end: `divisor` is 1 for
// everything else.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// *_rows_*            32, 32, 38  0       0        128      16, 16, 12    LDG.128
// *_parts_*           32, 32, 32  64      0        256      8, 8, 8       LDG.128
// *_wide_columns_*    32, 32, 34  4096    0        256      8, 8, 6       LDG.128
// *                   32, 32, 32  2048    0        256      8, 8, 8
#pragma once

#include "base/real.cuh"
#include "base/row.cuh"

namespace tilework::reduce_cuda {

inline constexpr int kRowThreads = 128, kThreads = 256;

struct Sum : Plus {
  template <class T>
  static __device__ T none() {
    return 0;
  }
};
struct Max : Larger {
  template <class T>
  static __device__ T none() {
    return -infinity<T>();
  }
};
struct Min : Smaller {
  template <class T>
  static __device__ T none() {
    return infinity<T>();
  }
};

// Of x[0..n), every `threads`-th pack from `rank` on, and of what is left as many elements.
template <class Op, class T>
__device__ T strand(const T* x, int n, int rank, int threads) {
  T result = Op::template none<T>();
  by_width<T>(at_packs(x), [&](auto width) {
    constexpr int W = decltype(width)::value;
    T lane[W];
#pragma unroll
    for (int i = 0; i < W; ++i) lane[i] = result;
    const int whole = n - n % W;
#pragma unroll 4
    for (int at = rank * W; at < whole; at += threads * W) {
      const Pack<T, W> pack = load_pack<W>(x + at);
#pragma unroll
      for (int i = 0; i < W; ++i) lane[i] = Op{}(lane[i], pack.at[i]);
    }
    for (int at = whole + rank; at < n; at += threads) lane[0] = Op{}(lane[0], x[at]);
#pragma unroll
    for (int half = W / 2; half > 0; half /= 2) {
#pragma unroll
      for (int i = 0; i < half; ++i) lane[i] = Op{}(lane[i], lane[i + half]);
    }
    result = lane[0];
  });
  return result;
}

// Short rows: 2^bits lanes of a warp have one.
template <class Op, class T>
__device__ void rows(T* y, const T* x, int64_t count, int64_t length, int64_t bits,
                     double divisor) {
  const int lanes = 1 << static_cast<int>(bits);
  const int rank = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x) >> bits;
  T result = Op::template none<T>();
  if (row < count) result = strand<Op>(x + row * length, static_cast<int>(length), rank, lanes);
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    result = Op{}(result, __shfl_xor_sync(kAllLanes, result, distance));
  }
  if (rank == 0 && row < count) y[row] = result / static_cast<T>(divisor);
}

// Long rows: a block has `part` neighbours of one, y a result for each part.
template <class Op, class T>
__device__ void parts(T* y, const T* x, int64_t length, int64_t part, int64_t count,
                      double divisor) {
  const auto parts_of_row = static_cast<uint32_t>(count);
  const int64_t row = blockIdx.x / parts_of_row, begin = blockIdx.x % parts_of_row * part;
  const int n = static_cast<int>(length - begin < part ? length - begin : part);
  T result[1] = {strand<Op>(x + row * length + begin, n, static_cast<int>(threadIdx.x), kThreads)};
  Team<kThreads>::join<Op>(result, Op::template none<T>());
  if (threadIdx.x == 0) y[blockIdx.x] = result[0] / static_cast<T>(divisor);
}

// The middle axis: a block has 2^bits packs of columns, and kThreads >> bits threads for each go
// down `part` rows. Neighbours read neighbours.
template <class Op, class T, int W>
__device__ void columns_of(T* y, const T* x, int64_t length, int64_t inner, int64_t part,
                           int64_t count, int64_t bits, double divisor) {
  using Packed = Pack<T, W>;
  TW_SHARED(Packed, partial, [kThreads]);
  const int wide = 1 << static_cast<int>(bits), deep = kThreads >> static_cast<int>(bits);
  const int thread = static_cast<int>(threadIdx.x), row = thread >> static_cast<int>(bits);
  // In 32 bits, as the grid's size: a division in 64 is a function.
  const auto tiles = static_cast<uint32_t>((inner + wide * W - 1) / (wide * W));
  const auto parts_of_column = static_cast<uint32_t>(count);
  const uint32_t at = blockIdx.x / tiles;  // which part of which outer
  const int64_t column =
      (static_cast<int64_t>(blockIdx.x % tiles) * wide + (thread & (wide - 1))) * W;
  const int64_t begin = at % parts_of_column * part;
  const int n = static_cast<int>(length - begin < part ? length - begin : part);
  Packed result;
#pragma unroll
  for (int i = 0; i < W; ++i) result.at[i] = Op::template none<T>();
  if (column < inner) {
    const T* from = x + (at / parts_of_column * length + begin) * inner + column;
#pragma unroll 4
    for (int r = row; r < n; r += deep) {
      const Packed pack = load_pack<W>(from + r * inner);
#pragma unroll
      for (int i = 0; i < W; ++i) result.at[i] = Op{}(result.at[i], pack.at[i]);
    }
  }
  for (int half = deep / 2; half > 0; half /= 2) {
    partial[thread] = result;
    __syncthreads();
    if (row < half) {
      const Packed other = partial[thread + half * wide];
#pragma unroll
      for (int i = 0; i < W; ++i) result.at[i] = Op{}(result.at[i], other.at[i]);
    }
    __syncthreads();
  }
  if (row == 0 && column < inner) {
#pragma unroll
    for (int i = 0; i < W; ++i) result.at[i] /= static_cast<T>(divisor);
    store_pack(y + at * inner + column, result);
  }
}

// A short middle axis under many outer ones: a thread for each result.
template <class Op, class T>
__device__ void thin(T* y, const T* x, int64_t count, int64_t length, int64_t inner,
                     double divisor) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= count) return;
  const T* from = x + at / inner * length * inner + at % inner;
  T result = Op::template none<T>();
#pragma unroll 4
  for (int r = 0; r < static_cast<int>(length); ++r) result = Op{}(result, from[r * inner]);
  y[at] = result / static_cast<T>(divisor);
}

#define TW_REDUCE(type, name, Op)                                                                \
  TW_KERNEL(kRowThreads, name##_rows_##type, type* y, const type* x, int64_t count,              \
            int64_t length, int64_t bits, double divisor) {                                      \
    rows<Op>(y, x, count, length, bits, divisor);                                                \
  }                                                                                              \
  TW_KERNEL(kThreads, name##_parts_##type, type* y, const type* x, int64_t length, int64_t part, \
            int64_t count, double divisor) {                                                     \
    parts<Op>(y, x, length, part, count, divisor);                                               \
  }                                                                                              \
  TW_KERNEL(kThreads, name##_thin_##type, type* y, const type* x, int64_t count, int64_t length, \
            int64_t inner, double divisor) {                                                     \
    thin<Op>(y, x, count, length, inner, divisor);                                               \
  }                                                                                              \
  TW_KERNEL(kThreads, name##_columns_##type, type* y, const type* x, int64_t length,             \
            int64_t inner, int64_t part, int64_t count, int64_t bits, double divisor) {          \
    columns_of<Op, type, 1>(y, x, length, inner, part, count, bits, divisor);                    \
  }                                                                                              \
  TW_KERNEL(kThreads, name##_wide_columns_##type, type* y, const type* x, int64_t length,        \
            int64_t inner, int64_t part, int64_t count, int64_t bits, double divisor) {          \
    columns_of<Op, type, kPackOf<type>>(y, x, length, inner, part, count, bits, divisor);        \
  }
TW_REDUCE(float, sum, Sum)
TW_REDUCE(float, max, Max)
TW_REDUCE(float, min, Min)
TW_REDUCE(double, sum, Sum)
TW_REDUCE(double, max, Max)
TW_REDUCE(double, min, Min)
#undef TW_REDUCE

}  // namespace tilework::reduce_cuda
