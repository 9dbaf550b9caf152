// What elements are computed in, and how they are stored: bfloat16 and float16 in float, rounded
// once.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "base/cuda.cuh"

namespace tilework {

template <class T>
struct WideOf {
  using Type = T;
};
template <>
struct WideOf<__nv_bfloat16> {
  using Type = float;
};
template <>
struct WideOf<__half> {
  using Type = float;
};
template <class T>
using Wide = typename WideOf<T>::Type;

__device__ inline float wide(float x) { return x; }
__device__ inline double wide(double x) { return x; }
__device__ inline float wide(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float wide(__half x) { return __half2float(x); }

// To the nearest, halves to even.
template <class T>
__device__ T narrowed(Wide<T> x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 narrowed<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half narrowed<__half>(float x) {
  return __float2half_rn(x);
}

}  // namespace tilework
