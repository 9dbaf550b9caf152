// What CUDA C++ gives a kernel, for the simulator: indices, barriers, shuffles and votes. Names and
// meanings are those of the CUDA C++ Programming Guide.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>

#include "cudasim/fault.h"
#include "cudasim/vectors.h"

namespace tilework::cudasim {

uint3 thread_index();
uint3 block_index();
dim3 block_size();
dim3 grid_size();
uint32_t lane();

// Of a block: how many threads come with a predicate that holds.
int barrier(const char* name, int predicate, Site at);
// Of the lanes of a mask.
void warp_barrier(uint32_t mask, Site at);
uint32_t vote(const char* name, uint32_t mask, int predicate, Site at);
// Lane `source`'s value in *in to *out.
void exchange(const char* name, uint32_t mask, const void* in, void* out, int bytes, int source,
              Site at);

template <class T>
T exchanged(const char* name, uint32_t mask, T value, int source, Site at) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  T result;
  exchange(name, mask, &value, &result, sizeof(T), source, at);
  return result;
}

}  // namespace tilework::cudasim

#define threadIdx (::tilework::cudasim::thread_index())
#define blockIdx (::tilework::cudasim::block_index())
#define blockDim (::tilework::cudasim::block_size())
#define gridDim (::tilework::cudasim::grid_size())

using TileworkSite = ::tilework::cudasim::Site;

inline void __syncthreads(TileworkSite at = TileworkSite::current()) {
  ::tilework::cudasim::barrier("__syncthreads", 0, at);
}
inline int __syncthreads_count(int predicate, TileworkSite at = TileworkSite::current()) {
  return ::tilework::cudasim::barrier("__syncthreads_count", predicate, at);
}
inline int __syncthreads_or(int predicate, TileworkSite at = TileworkSite::current()) {
  return ::tilework::cudasim::barrier("__syncthreads_or", predicate, at) != 0;
}
inline int __syncthreads_and(int predicate, TileworkSite at = TileworkSite::current()) {
  return ::tilework::cudasim::barrier("__syncthreads_and", !predicate, at) == 0;
}
inline void __syncwarp(uint32_t mask = 0xFFFFFFFFu, TileworkSite at = TileworkSite::current()) {
  ::tilework::cudasim::warp_barrier(mask, at);
}
inline uint32_t __ballot_sync(uint32_t mask, int predicate,
                              TileworkSite at = TileworkSite::current()) {
  return ::tilework::cudasim::vote("__ballot_sync", mask, predicate, at);
}
inline int __any_sync(uint32_t mask, int predicate, TileworkSite at = TileworkSite::current()) {
  return ::tilework::cudasim::vote("__any_sync", mask, predicate, at) != 0;
}
inline int __all_sync(uint32_t mask, int predicate, TileworkSite at = TileworkSite::current()) {
  return ::tilework::cudasim::vote("__all_sync", mask, !predicate, at) == 0;
}

// A warp is cut into segments of `width` lanes; what would come from outside of a segment is the
// lane's own value.
template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32,
              TileworkSite at = TileworkSite::current()) {
  const int own = static_cast<int>(::tilework::cudasim::lane());
  const int from = (own & ~(width - 1)) | (source & (width - 1));
  return ::tilework::cudasim::exchanged("__shfl_sync", mask, value, from, at);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned delta, int width = 32,
                 TileworkSite at = TileworkSite::current()) {
  const int own = static_cast<int>(::tilework::cudasim::lane()), by = static_cast<int>(delta);
  const int from = (own & (width - 1)) >= by ? own - by : own;
  return ::tilework::cudasim::exchanged("__shfl_up_sync", mask, value, from, at);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = 32,
                   TileworkSite at = TileworkSite::current()) {
  const int own = static_cast<int>(::tilework::cudasim::lane()), by = static_cast<int>(delta);
  const int from = (own & (width - 1)) + by < width ? own + by : own;
  return ::tilework::cudasim::exchanged("__shfl_down_sync", mask, value, from, at);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32,
                  TileworkSite at = TileworkSite::current()) {
  const int own = static_cast<int>(::tilework::cudasim::lane()), to = own ^ bits;
  const int from = to <= (own | (width - 1)) ? to : own;
  return ::tilework::cudasim::exchanged("__shfl_xor_sync", mask, value, from, at);
}

// Nothing is out of order here; what a card may reorder is not shown (docs/gpu.md).
inline void __threadfence() {}
inline void __threadfence_block() {}

inline float __int_as_float(int bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
inline int __float_as_int(float value) {
  int bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline int __popc(uint32_t bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __clz(int bits) { return bits == 0 ? 32 : __builtin_clz(static_cast<uint32_t>(bits)); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
