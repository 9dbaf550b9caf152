// Elements reduced into the places that an index names: sums, products, the largest, the smallest.
//
// Of short lists (each column of the index has 32 at most) a thread takes a column, element after
// element: no other writes to the places of its column. Longer ones come in the order of their
// places (grouping.cuh), where what goes to one place is a run of neighbours. A warp reduces 32 of
// them by runs, in a tree over its lanes; runs that go on beyond the 32 leave their part, and the
// warp where a run begins joins the parts of the others, 32 at a time. So a place that everything
// goes to costs two passes too, no order is left to chance, and nothing is atomic.
//
// Floats are reduced in float64 and whole numbers in 64 bits, but for the columns of short lists,
// which are reduced in their own type.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM
// *                   29, 32, 32  0       0        256      8, 8, 8
#pragma once

#include <cuda_bf16.h>

#include "base/indices.cuh"
#include "base/warp.cuh"

namespace tilework::index_reduce_cuda {

inline constexpr int kThreads = 256;

enum class How : int { sum, product, largest, smallest };

template <class T>
struct WideOf {
  using Type = int64_t;
};
template <>
struct WideOf<float> {
  using Type = double;
};
template <>
struct WideOf<double> {
  using Type = double;
};
template <>
struct WideOf<__nv_bfloat16> {
  using Type = double;
};
template <class T>
using Wide = typename WideOf<T>::Type;

template <class T>
__device__ Wide<T> wide(T x) {
  if constexpr (sizeof(T) == 2) {
    return static_cast<double>(__bfloat162float(x));
  } else {
    return static_cast<Wide<T>>(x);
  }
}
template <class T, class A>
__device__ T narrowed(A x) {
  if constexpr (sizeof(T) == 2) {
    return __float2bfloat16_rn(static_cast<float>(x));
  } else {
    return static_cast<T>(x);
  }
}

// Whole numbers wrap around. NaN is the largest and the smallest.
template <class A>
__device__ A joined(How how, A a, A b) {
  switch (how) {
    case How::sum:
      if constexpr (A(1) / A(2) == A(0)) {
        return static_cast<A>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
      } else {
        return a + b;
      }
    case How::product:
      if constexpr (A(1) / A(2) == A(0)) {
        return static_cast<A>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
      } else {
        return a * b;
      }
    case How::largest:
      return a > b || a != a ? a : b;
    default:
      return a < b || a != a ? a : b;
  }
}

// y (outer, n, inner) and source (outer, m, inner), a column of one of `outer` a thread.
template <class T>
__device__ void reduce_columns(T* y, const int64_t* index, const T* source, int64_t columns,
                               int64_t n, int64_t m, int64_t inner, int64_t wrap, How how,
                               int64_t* outside) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= columns) return;
  const int64_t o = column / inner, j = column - o * inner;
#pragma unroll 1
  for (int64_t i = 0; i < m; ++i) {
    const int64_t p = (o * m + i) * inner + j;
    const int64_t at = index_below(index[p], n, wrap, outside);
    if (at < 0) continue;
    T* to = y + (o * n + at) * inner + j;
    *to = narrowed<T>(joined(how, wide(*to), wide(source[p])));
  }
}

// --- lists in the order of their places ---

// `place` and `member` of m, as grouping.cuh gives them; those of the place `places` go nowhere.
struct Listed {
  const uint32_t *place, *member;
  int64_t m;
  uint32_t places;

  __device__ bool is_of(int64_t p, uint32_t which) const { return p < m && place[p] == which; }
  // The first element whose place is `which` or behind it, from `low` to `high`.
  __device__ int64_t first_from(int64_t low, int64_t high, uint32_t which) const {
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (place[middle] < which) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

// What y's elements become: with `self` what was there counts too, with `mean` the result is
// divided by how many counted.
template <class T>
struct Ending {
  T* y;
  How how;
  bool self, mean;

  __device__ void put(uint32_t place, Wide<T> found, int64_t count) const {
    if (self) found = joined(how, wide(y[place]), found);
    if (mean) found /= static_cast<Wide<T>>(count + self);
    y[place] = narrowed<T>(found);
  }
};

__device__ inline int lane_of_warp() { return static_cast<int>(threadIdx.x) % kWarpLanes; }
__device__ inline int64_t warp_of_grid() {
  return (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarpLanes;
}

// A run that begins and ends within a warp's 32 elements is done. Of others, head[b] is the part of
// the one that begins in the b-th 32 and goes on, tail[b] that of the one that comes into them.
template <class T>
__device__ void reduce_runs(const Ending<T>& ending, Wide<T>* head, Wide<T>* tail,
                            const Listed& list, const T* source) {
  const int64_t b = warp_of_grid(), p = b * kWarpLanes + lane_of_warp();
  if (b * kWarpLanes >= list.m) return;
  const int lane = lane_of_warp();
  const bool is_there = p < list.m;
  const uint32_t place = is_there ? list.place[p] : list.places;
  Wide<T> found = place < list.places ? wide(source[list.member[p]]) : Wide<T>(0);
#pragma unroll
  for (int distance = 1; distance < kWarpLanes; distance *= 2) {
    const Wide<T> before = __shfl_up_sync(kAllLanes, found, distance);
    const uint32_t of = __shfl_up_sync(kAllLanes, place, distance);
    if (lane >= distance && of == place) found = joined(ending.how, before, found);
  }
  const uint32_t before = __shfl_up_sync(kAllLanes, place, 1);
  const uint32_t begins = __ballot_sync(kAllLanes, lane == 0 || before != place);
  const uint32_t next = __shfl_down_sync(kAllLanes, place, 1);
  if (place >= list.places || (lane < kWarpLanes - 1 && next == place)) return;
  // This lane has the last element of its run among the 32.
  const int first = 31 - __clz(static_cast<int>(begins & (0xFFFFFFFFu >> (31 - lane))));
  const bool comes_in = first == 0 && b > 0 && list.place[b * kWarpLanes - 1] == place;
  const bool goes_on = lane == kWarpLanes - 1 && list.is_of(p + 1, place);
  if (comes_in) {
    tail[b] = found;
  } else if (goes_on) {
    head[b] = found;
  } else {
    ending.put(place, found, lane - first + 1);
  }
}

// The runs that go on beyond the 32 that they begin in.
template <class T>
__device__ void join_runs(const Ending<T>& ending, const Wide<T>* head, const Wide<T>* tail,
                          const Listed& list) {
  const int64_t b = warp_of_grid(), behind = (b + 1) * kWarpLanes;
  if (behind >= list.m) return;
  const uint32_t place = list.place[behind];
  if (place >= list.places || list.place[behind - 1] != place) return;
  if (b > 0 && list.place[b * kWarpLanes - 1] == place) return;
  Wide<T> found = head[b];
  int64_t parts = b + 1;
  for (bool all = true; all; parts += kWarpLanes) {
    const int64_t mine = parts + lane_of_warp();
    const bool is_there = list.is_of(mine * kWarpLanes, place);
    Wide<T> part = is_there ? tail[mine] : Wide<T>(0);
    const uint32_t there = __ballot_sync(kAllLanes, is_there);
    const int count = __popc(there);  // they are the first lanes
#pragma unroll
    for (int distance = 1; distance < kWarpLanes; distance *= 2) {
      const Wide<T> other = __shfl_down_sync(kAllLanes, part, distance);
      if (lane_of_warp() + distance < count) part = joined(ending.how, part, other);
    }
    if (count > 0) found = joined(ending.how, found, __shfl_sync(kAllLanes, part, 0));
    all = count == kWarpLanes;
  }
  if (lane_of_warp() != 0) return;
  int64_t count = 0;
  if (ending.mean) {
    const int64_t end = list.first_from(behind, list.m, place + 1);
    count = end - list.first_from(b * kWarpLanes, behind, place);
  }
  ending.put(place, found, count);
}

#define TW_REDUCED(type, name)                                                                    \
  TW_KERNEL(kThreads, scatter_columns_##name, type* y, const int64_t* index, const type* source,  \
            int64_t columns, int64_t n, int64_t m, int64_t inner, int64_t wrap, int64_t how,      \
            int64_t* outside) {                                                                   \
    reduce_columns(y, index, source, columns, n, m, inner, wrap, static_cast<How>(how), outside); \
  }                                                                                               \
  TW_KERNEL(kThreads, scatter_runs_##name, type* y, Wide<type>* head, Wide<type>* tail,           \
            const uint32_t* place, const uint32_t* member, int64_t m, int64_t places,             \
            const type* source, int64_t how, int64_t self, int64_t mean) {                        \
    reduce_runs<type>({y, static_cast<How>(how), self != 0, mean != 0}, head, tail,               \
                      {place, member, m, static_cast<uint32_t>(places)}, source);                 \
  }                                                                                               \
  TW_KERNEL(kThreads, scatter_joins_##name, type* y, const Wide<type>* head,                      \
            const Wide<type>* tail, const uint32_t* place, const uint32_t* member, int64_t m,     \
            int64_t places, int64_t how, int64_t self, int64_t mean) {                            \
    join_runs<type>({y, static_cast<How>(how), self != 0, mean != 0}, head, tail,                 \
                    {place, member, m, static_cast<uint32_t>(places)});                           \
  }
TW_REDUCED(float, float)
TW_REDUCED(double, double)
TW_REDUCED(__nv_bfloat16, bfloat16)
TW_REDUCED(int64_t, int64_t)
TW_REDUCED(int32_t, int32_t)
TW_REDUCED(uint32_t, uint32_t)
TW_REDUCED(uint8_t, uint8_t)
#undef TW_REDUCED

}  // namespace tilework::index_reduce_cuda
