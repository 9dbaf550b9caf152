// Indices as kernels read them: counted from the front, and checked.
//
// One that lies outside touches no memory. It is told to two words of the host's memory that the
// launch was given (engines/cuda/errors.py), which Python reads once the device has been waited
// for: nothing waits for a check, and where all is well the words are never touched.
#pragma once

#include "base/cuda.cuh"

namespace tilework {

// words[0] keeps the lowest of those below zero, words[1] one more than the highest of the others:
// the same whatever the order in which they are met.
__device__ inline void tell_outside(int64_t at, int64_t* words) {
  if (at < 0) {
    atomicMin(reinterpret_cast<long long*>(words), at);
  } else {
    atomicMax(reinterpret_cast<unsigned long long*>(words + 1), static_cast<uint64_t>(at) + 1);
  }
}

// `at` counted from the front of n, -1 where it is outside; `wrap` is n where negative ones count
// from the end, else 0.
__device__ inline int64_t index_below(int64_t at, int64_t n, int64_t wrap, int64_t* words) {
  const int64_t found = at < 0 ? at + wrap : at;
  if (found >= 0 && found < n) return found;
  tell_outside(at, words);
  return -1;
}

}  // namespace tilework
