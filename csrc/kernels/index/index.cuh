// Elements and slices chosen by an index, and written by one. Elements move as unsigned integers of
// their width, whatever they are.
//
// x is (outer, n, inner), and what is chosen of it, or put there, (outer, m, inner), in C order
// (index.h). Memory is the roof: an element's thread neighbours those of its neighbours, and four
// of its own are under way at once; slices go by units of 16 bytes where sizes and addresses allow
// it. Where an index repeats, the last of the sources counts: scatter_mark leaves the highest
// number of a source at each place (an atomic maximum: the same in any order), and only that source
// is written. Indices outside touch no memory (base/indices.cuh).
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// *_uint4             32, 32, 32  0       0        256      8, 8, 8       LDG.128 STG.128
// *                   32, 32, 32  0       0        256      8, 8, 8
#pragma once

#include "base/indices.cuh"

namespace tilework::index_cuda {

inline constexpr int kThreads = 256;
inline constexpr int kEach = 4;  // elements of a thread, a block's width apart

// Where an element of what is chosen lies: source i of its column, which begins in x at `base`.
struct Place {
  int64_t base, i;
};
__device__ inline Place place_of(int64_t p, int64_t n, int64_t m, int64_t inner) {
  const int64_t line = p / inner, o = line / m;
  return {o * n * inner + (p - line * inner), line - o * m};
}

// work(p) for this thread's elements of `count`.
template <class Work>
__device__ void for_each_element(int64_t count, Work work) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads * kEach) + threadIdx.x;
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    if (first + k * kThreads < count) work(first + k * kThreads);
  }
}

template <class T>
__device__ void gather(T* __restrict__ y, const T* __restrict__ x,
                       const int64_t* __restrict__ index, int64_t count, int64_t n, int64_t m,
                       int64_t inner, int64_t wrap, int64_t* outside) {
  for_each_element(count, [&](int64_t p) {
    const int64_t at = index_below(index[p], n, wrap, outside);
    y[p] = at < 0 ? T{0} : x[place_of(p, n, m, inner).base + at * inner];
  });
}

// last[place] = 1 + the highest i of the sources that go there.
__device__ inline void mark(int32_t* last, const int64_t* __restrict__ index, int64_t count,
                            int64_t n, int64_t m, int64_t inner, int64_t* outside) {
  for_each_element(count, [&](int64_t p) {
    const int64_t at = index_below(index[p], n, 0, outside);
    if (at < 0) return;
    const Place to = place_of(p, n, m, inner);
    atomicMax(last + to.base + at * inner, static_cast<int32_t>(to.i + 1));
  });
}

// `last` is null where no index can repeat; source elements lie `step` apart: 0 for one for all.
template <class T>
__device__ void scatter(T* __restrict__ y, const T* __restrict__ source,
                        const int64_t* __restrict__ index, const int32_t* __restrict__ last,
                        int64_t count, int64_t n, int64_t m, int64_t inner, int64_t step,
                        int64_t* outside) {
  for_each_element(count, [&](int64_t p) {
    const int64_t at = index_below(index[p], n, 0, outside);
    if (at < 0) return;
    const Place place = place_of(p, n, m, inner);
    const int64_t to = place.base + at * inner;
    if (last == nullptr || last[to] == place.i + 1) y[to] = source[p * step];
  });
}

// --- slices ---

// A slice of `units` for each group of 2^shift threads of a block; blocks along y share long ones.
struct SliceOf {
  int64_t row;
  int64_t first, step;  // of the units that this thread takes
};
__device__ inline SliceOf slice_of(int64_t shift) {
  const int lanes = 1 << shift, thread = static_cast<int>(threadIdx.x);
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kThreads >> shift) + (thread >> shift);
  return {row, static_cast<int64_t>(blockIdx.y) * lanes + (thread & (lanes - 1)),
          static_cast<int64_t>(gridDim.y) * lanes};
}

template <class U>
__device__ void copy_units(U* __restrict__ to, const U* __restrict__ from, const SliceOf& slice,
                           int64_t units) {
#pragma unroll 4
  for (int64_t u = slice.first; u < units; u += slice.step) to[u] = from[u];
}

template <class U>
__device__ void select(U* y, const U* x, const int64_t* index, int64_t rows, int64_t n, int64_t m,
                       int64_t units, int64_t shift, int64_t wrap, int64_t* outside) {
  const SliceOf slice = slice_of(shift);
  if (slice.row >= rows) return;
  const int64_t o = slice.row / m;
  const int64_t at = index_below(index[slice.row - o * m], n, wrap, outside);
  if (at >= 0) copy_units(y + slice.row * units, x + (o * n + at) * units, slice, units);
}

// Source slices lie `step` units apart: 0 for one for all.
template <class U>
__device__ void put(U* y, const U* source, const int64_t* index, const int32_t* last, int64_t rows,
                    int64_t n, int64_t m, int64_t units, int64_t shift, int64_t step,
                    int64_t* outside) {
  const SliceOf slice = slice_of(shift);
  if (slice.row >= rows) return;
  const int64_t o = slice.row / m, i = slice.row - o * m;
  const int64_t at = index_below(index[i], n, 0, outside);
  if (at < 0 || last[at] != i + 1) return;
  copy_units(y + (o * n + at) * units, source + slice.row * step, slice, units);
}

TW_KERNEL(kThreads, scatter_mark, int32_t* last, const int64_t* index, int64_t count, int64_t n,
          int64_t m, int64_t inner, int64_t* outside) {
  mark(last, index, count, n, m, inner, outside);
}

#define TW_ELEMENTS(type)                                                                          \
  TW_KERNEL(kThreads, gather_##type, type* y, const type* x, const int64_t* index, int64_t count,  \
            int64_t n, int64_t m, int64_t inner, int64_t wrap, int64_t* outside) {                 \
    gather(y, x, index, count, n, m, inner, wrap, outside);                                        \
  }                                                                                                \
  TW_KERNEL(kThreads, scatter_put_##type, type* y, const type* source, const int64_t* index,       \
            const int32_t* last, int64_t count, int64_t n, int64_t m, int64_t inner, int64_t step, \
            int64_t* outside) {                                                                    \
    scatter(y, source, index, last, count, n, m, inner, step, outside);                            \
  }
#define TW_SLICES(type)                                                                            \
  TW_KERNEL(kThreads, index_select_##type, type* y, const type* x, const int64_t* index,           \
            int64_t rows, int64_t n, int64_t m, int64_t units, int64_t shift, int64_t wrap,        \
            int64_t* outside) {                                                                    \
    select(y, x, index, rows, n, m, units, shift, wrap, outside);                                  \
  }                                                                                                \
  TW_KERNEL(kThreads, index_copy_##type, type* y, const type* source, const int64_t* index,        \
            const int32_t* last, int64_t rows, int64_t n, int64_t m, int64_t units, int64_t shift, \
            int64_t step, int64_t* outside) {                                                      \
    put(y, source, index, last, rows, n, m, units, shift, step, outside);                          \
  }
TW_ELEMENTS(uint8_t)
TW_ELEMENTS(uint16_t)
TW_ELEMENTS(uint32_t)
TW_ELEMENTS(uint64_t)
TW_SLICES(uint8_t)
TW_SLICES(uint16_t)
TW_SLICES(uint32_t)
TW_SLICES(uint64_t)
TW_SLICES(uint4)
#undef TW_ELEMENTS
#undef TW_SLICES

}  // namespace tilework::index_cuda
