// Softmax and its logarithm over the rows of a dense matrix, forward and backward.
//
// A row of up to 1024 elements stays in the registers of one warp, which reads it once: memory is
// the roof, at two passes. A longer row has a block, which reads it three times, mostly from L2.
//
// on sm_80, 90a, 100  registers     shared  dynamic  threads  blocks an SM
// *_by_warps_float    72, 72, 48    0       0        128      7, 7, 10
// *_by_warps_double   112, 112, 88  0       0        128      4, 4, 5
// *                   32, 52, 56    256     0        256      8, 4, 4
#pragma once

#include "base/warp.cuh"

namespace tilework::softmax_cuda {

inline constexpr int kWarps = 4;        // of a block whose warps have rows of their own
inline constexpr int kInRegisters = 32; // elements of a lane
inline constexpr int kThreads = 256;

__device__ inline float lowest(float) { return -INFINITY; }
__device__ inline double lowest(double) { return -static_cast<double>(INFINITY); }
__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }
__device__ inline float logarithm(float x) { return logf(x); }
__device__ inline double logarithm(double x) { return log(x); }

// The row of this warp; beyond the last row, none.
__device__ inline int64_t warp_row() {
  return static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpLanes;
}

template <class T, bool Log>
__device__ void forward_by_warps(T* y, const T* x, int64_t rows, int64_t length) {
  const int64_t row = warp_row();
  if (row >= rows) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  // How many of this lane's places lie in the row: with 64-bit places each would take two registers.
  const int count = (static_cast<int>(length) - lane + kWarpLanes - 1) / kWarpLanes;
  const T* from = x + row * length + lane;
  T held[kInRegisters];
  T most = lowest(T{});
#pragma unroll
  for (int i = 0; i < kInRegisters; ++i) {
    held[i] = i < count ? from[i * kWarpLanes] : lowest(T{});
    most = Larger{}(most, held[i]);
  }
  most = over_warp<Larger>(most);
  T sum = 0;
#pragma unroll
  for (int i = 0; i < kInRegisters; ++i) {
    const T e = i < count ? exponential(held[i] - most) : T{0};
    sum += e;
    if (!Log) held[i] = e;
  }
  sum = over_warp<Plus>(sum);
  const T scale = T{1} / sum, shift = most + logarithm(sum);
  T* to = y + row * length + lane;
#pragma unroll
  for (int i = 0; i < kInRegisters; ++i) {
    if (i < count) to[i * kWarpLanes] = Log ? held[i] - shift : held[i] * scale;
  }
}

template <class T, bool Log>
__device__ void forward_by_blocks(T* y, const T* x, int64_t length) {
  TW_SHARED(T, partial, [kWarpLanes]);
  const T* from = x + static_cast<int64_t>(blockIdx.x) * length;
  T* to = y + static_cast<int64_t>(blockIdx.x) * length;
  T most = lowest(T{});
  for (int64_t at = threadIdx.x; at < length; at += kThreads) most = Larger{}(most, from[at]);
  most = over_block<Larger>(most, lowest(T{}), partial);
  T sum = 0;
  for (int64_t at = threadIdx.x; at < length; at += kThreads) sum += exponential(from[at] - most);
  sum = over_block<Plus>(sum, T{0}, partial);
  const T scale = T{1} / sum, shift = most + logarithm(sum);
  for (int64_t at = threadIdx.x; at < length; at += kThreads) {
    to[at] = Log ? from[at] - shift : exponential(from[at] - most) * scale;
  }
}

// The gradient of an element: of softmax y (grad - sum(grad y)), of its logarithm grad - exp(y)
// sum(grad).
template <class T, bool Log>
__device__ void backward(T* dx, const T* grad, const T* y, int64_t length) {
  TW_SHARED(T, partial, [kWarpLanes]);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * length;
  T sum = 0;
  for (int64_t at = begin + threadIdx.x; at < begin + length; at += kThreads) {
    sum += Log ? grad[at] : grad[at] * y[at];
  }
  sum = over_block<Plus>(sum, T{0}, partial);
  for (int64_t at = begin + threadIdx.x; at < begin + length; at += kThreads) {
    dx[at] = Log ? grad[at] - exponential(y[at]) * sum : y[at] * (grad[at] - sum);
  }
}

#define TW_SOFTMAX(type, name, log)                                                              \
  TW_KERNEL(kWarps* kWarpLanes, name##_by_warps_##type, type* y, const type* x, int64_t rows,    \
            int64_t length) {                                                                    \
    forward_by_warps<type, log>(y, x, rows, length);                                             \
  }                                                                                              \
  TW_KERNEL(kThreads, name##_by_blocks_##type, type* y, const type* x, int64_t length) {         \
    forward_by_blocks<type, log>(y, x, length);                                                  \
  }                                                                                              \
  TW_KERNEL(kThreads, name##_backward_##type, type* dx, const type* grad, const type* y,         \
            int64_t length) {                                                                    \
    backward<type, log>(dx, grad, y, length);                                                    \
  }
TW_SOFTMAX(float, softmax, false)
TW_SOFTMAX(float, log_softmax, true)
TW_SOFTMAX(double, softmax, false)
TW_SOFTMAX(double, log_softmax, true)
#undef TW_SOFTMAX

}  // namespace tilework::softmax_cuda
