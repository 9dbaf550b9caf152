// Copies of elements of 1, 2, 4 or 8 bytes, whatever they mean, from any strides to any.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// copy_bytes          26, 26, 20  0       0        256      8, 8, 8       LDG.128 STG.128
// copy_far_*          40, 40, 44  0       0        256      6, 6, 5
// copy_strided_*      40, 40, 32  0       0        256      6, 6, 8       LDG.128 STG.128
#pragma once

#include "base/elementwise.cuh"

namespace tilework::copy_cuda {

// Of one dense run: by 16 bytes, where both sides begin so.
__device__ inline void copy_run(uint8_t* y, const uint8_t* x, int64_t bytes) {
  fill_flat<kPackBytes>(y, bytes, at_packs(y, x), [=](auto width, int64_t i) {
    return load_pack<decltype(width)::value>(x + i);
  });
}

template <class Index, class T>
__device__ void copy_strided(T* y, const T* x, int64_t groups, int64_t axes, int64_t whole,
                             const Axes<Index>& size, const Axes<Index>& y_stride,
                             const Axes<Index>& x_stride) {
  constexpr int kInner = kAxes - 1;
  walk<kPackOf<T>>(
      groups, static_cast<int>(axes), whole, size, [&](auto width, const Axes<Index>& place) {
        const auto pack = load_along<decltype(width)::value>(x + offset_of(place, x_stride),
                                                             x_stride.of[kInner], (whole & 2) != 0);
        store_along(y + offset_of(place, y_stride), y_stride.of[kInner], (whole & 1) != 0, pack);
      });
}

TW_KERNEL(kElementThreads, copy_bytes, uint8_t* y, const uint8_t* x, int64_t bytes) {
  copy_run(y, x, bytes);
}

#define TW_COPY_STRIDED(type, suffix, index)                                                 \
  TW_KERNEL(kElementThreads, copy_##suffix##_##type, type##_t* y, const type##_t* x,         \
            int64_t groups, int64_t axes, int64_t whole, TW_AXES(size), TW_AXES(y_stride),   \
            TW_AXES(x_stride)) {                                                             \
    using Index = index;                                                                     \
    copy_strided<Index>(y, x, groups, axes, whole, Axes<Index> TW_AXES_OF(size),             \
                        Axes<Index> TW_AXES_OF(y_stride), Axes<Index> TW_AXES_OF(x_stride)); \
  }
#define TW_COPY(type)                     \
  TW_COPY_STRIDED(type, strided, int32_t) \
  TW_COPY_STRIDED(type, far, int64_t)
TW_COPY(uint8)
TW_COPY(uint16)
TW_COPY(uint32)
TW_COPY(uint64)
#undef TW_COPY
#undef TW_COPY_STRIDED

}  // namespace tilework::copy_cuda
