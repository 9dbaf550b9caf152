// PTX that CUDA C++ has no word for, each beside its twin for the simulator. A kernel that feeds
// tensor cores is written with these.
#pragma once

#include "base/cuda.cuh"
#if !defined(__CUDACC__)
#include "cudasim/async_copies.h"
#include "cudasim/block.h"
#include "cudasim/matrix.h"
#include "cudasim/wide.h"
#endif

namespace tilework::ptx {

#if defined(__CUDACC__)

// Where shared memory is told by 32 bits.
__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes from global to shared memory past L1, of which the first `filled` are read; the rest is
// zero. (PTX: cp.async, sm_80.)
__device__ __forceinline__ void copy_async(void* to, const void* from, int filled = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(filled)
               : "memory");
}
// The same of one element of 4 or 8 bytes, by L1: aligned to that alone.
template <class E>
__device__ __forceinline__ void copy_element_async(E* to, const E* from, bool filled) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(filled ? static_cast<int>(sizeof(E)) : 0), "n"(sizeof(E))
               : "memory");
}
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Until at most Pending of the groups are under way.
template <int Pending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// Up to 16 bytes in one access, at their alignment.
template <class Wide>
__device__ __forceinline__ void load_wide(Wide& to, const void* from) {
  static_assert(sizeof(Wide) <= 16 && alignof(Wide) == sizeof(Wide));
  to = *static_cast<const Wide*>(from);
}
template <class Wide>
__device__ __forceinline__ void store_wide(void* to, const Wide& from) {
  static_assert(sizeof(Wide) <= 16 && alignof(Wide) == sizeof(Wide));
  *static_cast<Wide*>(to) = from;
}

// 16 bytes of global memory, for addresses that come out of memory: the compiler cannot know of
// what kind these are, and would take the slower instructions that ask.
__device__ __forceinline__ void load_global(uint4& to, const void* from) {
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to.x), "=r"(to.y), "=r"(to.z), "=r"(to.w)
               : "l"(from)
               : "memory");
}
__device__ __forceinline__ void store_global(void* to, const uint4& from) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(from.x), "r"(from.y),
               "r"(from.z), "r"(from.w)
               : "memory");
}

// Four matrices of 8 x 8 elements of 16 bits; lane 8i + r gives the address of row r of the i-th.
__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&to)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}

// d += a b: 16 x 8 from 16 deep, or 8 deep for tf32.
#define TW_MMA(name, shape, type)                                                       \
  __device__ __forceinline__ void name(float(&d)[4], const uint32_t(&a)[4],             \
                                       const uint32_t(&b)[2]) {                         \
    asm volatile("mma.sync.aligned." shape ".row.col.f32." type "." type                \
                 ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                       \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));   \
  }
TW_MMA(mma_bf16, "m16n8k16", "bf16")
TW_MMA(mma_f16, "m16n8k16", "f16")
TW_MMA(mma_tf32, "m16n8k8", "tf32")
#undef TW_MMA

// The nearest of tf32's numbers, halves away from zero: mma_tf32 by itself would drop the bits.
__device__ __forceinline__ uint32_t round_to_tf32(uint32_t bits) {
  uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "r"(bits));
  return rounded;
}

#else

using Site = cudasim::Site;

inline void copy_async(void* to, const void* from, int filled = 16, Site at = Site::current()) {
  cudasim::this_thread().copies.ask(to, from, 16, static_cast<size_t>(filled), at);
}
template <class E>
void copy_element_async(E* to, const E* from, bool filled, Site at = Site::current()) {
  cudasim::this_thread().copies.ask(to, from, sizeof(E), filled ? sizeof(E) : 0, at);
}
inline void commit_copies() { cudasim::this_thread().copies.commit(); }
template <int Pending>
void wait_for_copies() {
  cudasim::this_thread().copies.wait(Pending);
}
template <class Wide>
void load_wide(Wide& to, const void* from, Site at = Site::current()) {
  cudasim::load_wide(&to, from, sizeof to, alignof(Wide), cudasim::Space::any, at);
}
template <class Wide>
void store_wide(void* to, const Wide& from, Site at = Site::current()) {
  cudasim::store_wide(to, &from, sizeof from, alignof(Wide), cudasim::Space::any, at);
}
inline void load_global(uint4& to, const void* from, Site at = Site::current()) {
  cudasim::load_wide(&to, from, sizeof to, alignof(uint4), cudasim::Space::global, at);
}
inline void store_global(void* to, const uint4& from, Site at = Site::current()) {
  cudasim::store_wide(to, &from, sizeof from, alignof(uint4), cudasim::Space::global, at);
}
inline void load_matrices(uint32_t (&to)[4], const void* row, Site at = Site::current()) {
  cudasim::ldmatrix(4, false, row, to, at);
}
inline void load_matrices_transposed(uint32_t (&to)[4], const void* row,
                                     Site at = Site::current()) {
  cudasim::ldmatrix(4, true, row, to, at);
}
#define TW_MMA(name, element)                                                  \
  inline void name(float(&d)[4], const uint32_t(&a)[4], const uint32_t(&b)[2], \
                   Site at = Site::current()) {                                \
    cudasim::mma(cudasim::Element::element, d, a, b, d, at);                   \
  }
TW_MMA(mma_bf16, bf16)
TW_MMA(mma_f16, f16)
TW_MMA(mma_tf32, tf32)
#undef TW_MMA
inline uint32_t round_to_tf32(uint32_t bits) {
  const bool finite = (bits & 0x7F800000u) != 0x7F800000u;
  return finite ? (bits + 0x1000u) & 0xFFFFE000u : bits;
}

#endif

}  // namespace tilework::ptx
