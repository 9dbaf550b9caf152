// What the threads of a warp, or of a block, find together.
#pragma once

#include "base/cuda.cuh"

namespace tilework {

inline constexpr int kWarpLanes = 32;
inline constexpr uint32_t kAllLanes = 0xFFFFFFFFu;

struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
// These two: NaN where either is.
struct Larger {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};
struct Smaller {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b || a != a ? a : b;
  }
};

// Over the 32 lanes, the same in each: pairs at a distance of 16, then 8: all lanes add in one
// order.
template <class Join, class T>
__device__ T over_warp(T value, Join join = {}) {
  for (int distance = kWarpLanes / 2; distance > 0; distance /= 2) {
    value = join(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// Over a block of whole warps, 1024 threads at most, the same in each thread; `none` changes
// nothing. Every thread of the block comes here; `partial` holds a value a warp, and is free again
// when all return.
template <class Join, class T>
__device__ T over_block(T value, T none, T (&partial)[kWarpLanes], Join join = {}) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  const int warps = static_cast<int>(blockDim.x) / kWarpLanes;
  value = over_warp(value, join);
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  value = over_warp(lane < warps ? partial[lane] : none, join);
  __syncthreads();
  return value;
}

}  // namespace tilework
