// How a kernel goes over the elements of its arrays: packs of 16 bytes, one after another where
// all arrays lie alike (fill_flat), or by their own strides along at most kAxes axes (Walk).
//
// A block of fill_flat has 2 packs a thread, loaded before any is stored: 32 bytes an array and
// thread are under way, which the latency of a fast card's memory needs. float64 has one, and none
// in the last block: its arithmetic fills the registers. What is left over, and arrays that do not
// begin at 16 bytes, go by single elements, neighbours by neighbouring threads.
#pragma once

#include "base/cuda.cuh"
#include "base/ptx.cuh"

namespace tilework {

inline constexpr int kElementThreads = 256;
inline constexpr int kPackBytes = 16;

// N elements beside each other; loads and stores of at most 16 bytes need their alignment.
template <class T, int N>
struct alignas(sizeof(T) * N < kPackBytes ? sizeof(T) * N : kPackBytes) Pack {
  T at[N];
};
template <class T>
inline constexpr int kPackOf = kPackBytes / static_cast<int>(sizeof(T));

template <int N>
struct Width {
  static constexpr int value = N;
};

template <int N, class T>
__device__ Pack<T, N> load_pack(const T* p) {
  constexpr int kPart = N < kPackOf<T> ? N : kPackOf<T>;
  Pack<T, N> made;
#pragma unroll
  for (int i = 0; i < N; i += kPart) {
    Pack<T, kPart> part;
    ptx::load_wide(part, p + i);
#pragma unroll
    for (int j = 0; j < kPart; ++j) made.at[i + j] = part.at[j];
  }
  return made;
}
template <class T, int N>
__device__ void store_pack(T* p, const Pack<T, N>& given) {
  constexpr int kPart = N < kPackOf<T> ? N : kPackOf<T>;
#pragma unroll
  for (int i = 0; i < N; i += kPart) {
    Pack<T, kPart> part;
#pragma unroll
    for (int j = 0; j < kPart; ++j) part.at[j] = given.at[i + j];
    if constexpr (sizeof part == kPackBytes) {
      uint4 words;  // the compiler stores a struct's elements apart where it likes
      memcpy(&words, &part, sizeof words);
      ptx::store_global(p + i, words);
    } else {
      ptx::store_wide(p + i, part);
    }
  }
}

// Whether all begin at 16 bytes: null does.
template <class... P>
__device__ bool at_packs(const P*... p) {
  return ((reinterpret_cast<uint64_t>(p) | ...) % kPackBytes) == 0;
}

// y[i] for all i of n, by make(Width<N>, i), the Pack of N from i on; N is kWide where `wide`, and
// 1 for what is left. A block has kElementThreads threads and flat_span elements.
template <int kWide, class T>
inline constexpr int flat_span = kElementThreads * kWide * (sizeof(T) < 8 ? 2 : 1);

template <int kWide, class T, class Make>
__device__ void fill_flat(T* y, int64_t n, bool wide, Make make) {
  constexpr int kSpan = flat_span<kWide, T>, kPacks = kSpan / kElementThreads / kWide;
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kSpan;
  const int thread = static_cast<int>(threadIdx.x);
  if (wide && n - begin >= kSpan) {
    Pack<T, kWide> held[kPacks];
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      held[k] = make(Width<kWide>{}, begin + (k * kElementThreads + thread) * kWide);
    }
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      store_pack(y + begin + (k * kElementThreads + thread) * kWide, held[k]);
    }
    return;
  }
  const int count = n - begin < kSpan ? static_cast<int>(n - begin) : kSpan;
  const int packs = wide && sizeof(T) < 8 ? count / kWide : 0;
#pragma unroll 1
  for (int k = thread; k < packs; k += kElementThreads) {
    store_pack(y + begin + k * kWide, make(Width<kWide>{}, begin + k * kWide));
  }
#pragma unroll 1
  for (int i = packs * kWide + thread; i < count; i += kElementThreads) {
    y[begin + i] = make(Width<1>{}, begin + i).at[0];
  }
}

// --- Strides ---

// The sizes of at most five axes, or an operand's strides in elements, as a kernel's parameters.
// The last axis is the innermost; those in front that are not there have size 1 and stride 0.
inline constexpr int kAxes = 5;
#define TW_AXES(name) \
  int64_t name##_0, int64_t name##_1, int64_t name##_2, int64_t name##_3, int64_t name##_4
#define TW_AXES_OF(name)                                                                        \
  {                                                                                             \
    {                                                                                           \
      static_cast<Index>(name##_0), static_cast<Index>(name##_1), static_cast<Index>(name##_2), \
          static_cast<Index>(name##_3), static_cast<Index>(name##_4)                            \
    }                                                                                           \
  }
template <class Index>
struct Axes {
  Index of[kAxes];
};

template <class Index>
struct UnsignedOf;
template <>
struct UnsignedOf<int32_t> {
  using Type = uint32_t;
};
template <>
struct UnsignedOf<int64_t> {
  using Type = uint64_t;
};

// The place along each axis of the at-th element; `axes` of them are there. A division an axis:
// without a sign it is the shorter.
template <class Index>
__device__ Axes<Index> place_of(Index at, const Axes<Index>& size, int axes) {
  using Unsigned = typename UnsignedOf<Index>::Type;
  Axes<Index> place;
  Unsigned rest = static_cast<Unsigned>(at);
#pragma unroll
  for (int d = kAxes - 1; d > 0; --d) {
    if (kAxes - d < axes) {
      const Unsigned length = static_cast<Unsigned>(size.of[d]), above = rest / length;
      place.of[d] = static_cast<Index>(rest - above * length);
      rest = above;
    } else {
      place.of[d] = static_cast<Index>(rest);
      rest = 0;
    }
  }
  place.of[0] = static_cast<Index>(rest);
  return place;
}
template <class Index>
__device__ Index offset_of(const Axes<Index>& place, const Axes<Index>& stride) {
  Index offset = 0;
#pragma unroll
  for (int d = 0; d < kAxes; ++d) offset += place.of[d] * stride.of[d];
  return offset;
}

// N elements along the last axis: as a pack, where the plan says that they are one; as one element,
// where it is the same for all; else each by itself.
template <int N, class T, class Index>
__device__ Pack<T, N> load_along(const T* p, Index step, bool whole) {
  if (N > 1 && whole) return load_pack<N>(p);
  Pack<T, N> made;
  if (N > 1 && step == 0) {
    const T one = *p;
#pragma unroll
    for (int i = 0; i < N; ++i) made.at[i] = one;
    return made;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) made.at[i] = p[i * step];
  return made;
}
template <class T, int N, class Index>
__device__ void store_along(T* p, Index step, bool whole, const Pack<T, N>& given) {
  if (N > 1 && whole) return store_pack(p, given);
#pragma unroll
  for (int i = 0; i < N; ++i) p[i * step] = given.at[i];
}

// run(Width<N>, place) for the place of this thread's group of elements, if there is one: kWide
// along the last axis where `whole` is not negative (see engines/cuda/axes.py), else one.
template <int kWide, class Index, class Run>
__device__ void walk(int64_t groups, int axes, int64_t whole, Axes<Index> size, Run run) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kElementThreads + threadIdx.x;
  if (at >= groups) return;
  if (whole < 0) return run(Width<1>{}, place_of(static_cast<Index>(at), size, axes));
  size.of[kAxes - 1] /= kWide;
  Axes<Index> place = place_of(static_cast<Index>(at), size, axes);
  place.of[kAxes - 1] *= kWide;
  run(Width<kWide>{}, place);
}

}  // namespace tilework
