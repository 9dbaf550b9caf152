// Running sums along the middle axis of (outer, length, inner), kept in double; from its end with
// `reverse`.
//
// Where inner is 1 a block has a row, tile after tile: a thread's four neighbours, then a warp's
// threads, then the warps, then what came before. Else a thread has a column, and its neighbours
// the columns beside it.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM
// *                   40, 36, 40  64      0        256      6, 6, 6
#pragma once

#include "base/warp.cuh"

namespace tilework::cumsum_cuda {

inline constexpr int kThreads = 256, kEach = 4, kTile = kThreads * kEach;
inline constexpr int kWarps = kThreads / kWarpLanes;

template <class T>
__device__ void rows(T* y, const T* x, int64_t length, int64_t reverse) {
  TW_SHARED(double, totals, [kWarps]);
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarpLanes, warp = thread / kWarpLanes;
  const int64_t begin = blockIdx.x * length;
  double before = 0;  // of all tiles so far
  for (int64_t tile = 0; tile < length; tile += kTile) {
    double sum[kEach], total = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int64_t at = tile + thread * kEach + i;
      if (at < length) total += x[begin + (reverse != 0 ? length - 1 - at : at)];
      sum[i] = total;
    }
    double through = total;  // this lane's and those before it
#pragma unroll
    for (int distance = 1; distance < kWarpLanes; distance *= 2) {
      const double other = __shfl_up_sync(kAllLanes, through, distance);
      if (lane >= distance) through += other;
    }
    if (lane == kWarpLanes - 1) totals[warp] = through;
    const double up = __shfl_up_sync(kAllLanes, through, 1);
    __syncthreads();
    double here = before + (lane == 0 ? 0.0 : up);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) here += totals[w];
      before += totals[w];
    }
    __syncthreads();  // the totals are read
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int64_t at = tile + thread * kEach + i;
      if (at < length) {
        y[begin + (reverse != 0 ? length - 1 - at : at)] = static_cast<T>(here + sum[i]);
      }
    }
  }
}

template <class T>
__device__ void columns(T* y, const T* x, int64_t count, int64_t length, int64_t inner,
                        int64_t reverse) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= count) return;
  int64_t at = column / inner * length * inner + column % inner;
  if (reverse != 0) at += (length - 1) * inner;
  const int64_t step = reverse != 0 ? -inner : inner;
  double sum = 0;
  for (int64_t r = 0; r < length; ++r, at += step) {
    sum += x[at];
    y[at] = static_cast<T>(sum);
  }
}

#define TW_CUMSUM(type)                                                             \
  TW_KERNEL(kThreads, cumsum_rows_##type, type* y, const type* x, int64_t length,   \
            int64_t reverse) {                                                      \
    rows(y, x, length, reverse);                                                    \
  }                                                                                 \
  TW_KERNEL(kThreads, cumsum_columns_##type, type* y, const type* x, int64_t count, \
            int64_t length, int64_t inner, int64_t reverse) {                       \
    columns(y, x, count, length, inner, reverse);                                   \
  }
TW_CUMSUM(float)
TW_CUMSUM(double)
#undef TW_CUMSUM

}  // namespace tilework::cumsum_cuda
