// A choice between two arrays by a mask, of elements of 1, 2, 4 or 8 bytes; the three broadcast.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// where_far_*         66, 66, 72  0       0        256      3, 3, 3
// where_strided_*     64, 64, 64  0       0        256      4, 4, 4       LDG.128 STG.128
#pragma once

#include "base/elementwise.cuh"

namespace tilework::mask_cuda {

// condition: bytes, of which any but 0 is true.
template <class Index, class T>
__device__ void where(T* y, const uint8_t* condition, const T* a, const T* b, int64_t groups,
                      int64_t axes, int64_t whole, const Axes<Index>& size,
                      const Axes<Index>& y_stride, const Axes<Index>& condition_stride,
                      const Axes<Index>& a_stride, const Axes<Index>& b_stride) {
  constexpr int kInner = kAxes - 1;
  walk<kPackOf<T>>(
      groups, static_cast<int>(axes), whole, size, [&](auto width, const Axes<Index>& place) {
        constexpr int N = decltype(width)::value;
        const auto holds = load_along<N>(condition + offset_of(place, condition_stride),
                                         condition_stride.of[kInner], (whole & 2) != 0);
        auto chosen =
            load_along<N>(a + offset_of(place, a_stride), a_stride.of[kInner], (whole & 4) != 0);
        const auto other =
            load_along<N>(b + offset_of(place, b_stride), b_stride.of[kInner], (whole & 8) != 0);
        for (int k = 0; k < N; ++k) {
          if (!holds.at[k]) chosen.at[k] = other.at[k];
        }
        store_along(y + offset_of(place, y_stride), y_stride.of[kInner], (whole & 1) != 0, chosen);
      });
}

#define TW_WHERE_OF(type, suffix, index)                                                       \
  TW_KERNEL(kElementThreads, where_##suffix##_##type, type##_t* y, const uint8_t* condition,   \
            const type##_t* a, const type##_t* b, int64_t groups, int64_t axes, int64_t whole, \
            TW_AXES(size), TW_AXES(y_stride), TW_AXES(condition_stride), TW_AXES(a_stride),    \
            TW_AXES(b_stride)) {                                                               \
    using Index = index;                                                                       \
    where<Index>(y, condition, a, b, groups, axes, whole, Axes<Index> TW_AXES_OF(size),        \
                 Axes<Index> TW_AXES_OF(y_stride), Axes<Index> TW_AXES_OF(condition_stride),   \
                 Axes<Index> TW_AXES_OF(a_stride), Axes<Index> TW_AXES_OF(b_stride));          \
  }
#define TW_WHERE(type)                \
  TW_WHERE_OF(type, strided, int32_t) \
  TW_WHERE_OF(type, far, int64_t)
TW_WHERE(uint8)
TW_WHERE(uint16)
TW_WHERE(uint32)
TW_WHERE(uint64)
#undef TW_WHERE
#undef TW_WHERE_OF

}  // namespace tilework::mask_cuda
