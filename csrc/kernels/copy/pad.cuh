// Padding: an array's copy that goes on beyond its edges (kernels/copy/pad.h), and the gradient,
// which gathers for each element what was taken from it, along one axis at a time.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// pad_backward_*      32, 32, 40  0       0        256      8, 8, 6
// pad_far_*           32, 32, 32  0       0        256      8, 8, 8
// pad_strided_*       32, 32, 32  0       0        256      8, 8, 8       LDG.128 STG.128
#pragma once

#include "base/elementwise.cuh"

namespace tilework::pad_cuda {

enum Mode : int { constant, reflect, replicate, circular };

// Where place i of the grown axis comes from: -1 for nowhere.
template <class Index>
__device__ Index source_of(int mode, Index i, Index n) {
  if (i >= 0 && i < n) return i;
  if (mode == reflect) return i < 0 ? -i : 2 * (n - 1) - i;
  if (mode == replicate) return i < 0 ? 0 : n - 1;
  if (mode == circular) return i < 0 ? i + n : i - n;
  return -1;
}

// y, dense in C order, of `size`; x of `from`. The last axis goes by packs where it does not grow.
template <class Index, class T>
__device__ void pad(T* y, const T* x, const T* value, int64_t mode, int64_t groups, int64_t axes,
                    int64_t whole, const Axes<Index>& size, const Axes<Index>& from,
                    const Axes<Index>& before, const Axes<Index>& stride) {
  walk<kPackOf<T>>(
      groups, static_cast<int>(axes), whole, size, [&](auto width, const Axes<Index>& place) {
        constexpr int N = decltype(width)::value;
        Index at = 0, to = 0;
        bool inside = true;
#pragma unroll
        for (int d = 0; d < kAxes; ++d) {
          const Index i = source_of(static_cast<int>(mode), place.of[d] - before.of[d], from.of[d]);
          inside = inside && i >= 0;
          at += i * stride.of[d];
          to = to * size.of[d] + place.of[d];
        }
        const bool packs = inside && (whole & 2) != 0;
        const auto made =
            load_along<N>(inside ? x + at : value, inside ? stride.of[kAxes - 1] : Index{0}, packs);
        store_along(y + to, Index{1}, (whole & 1) != 0, made);
      });
}

// dx (outer, n, inner) of grad (outer, before + n + after, inner).
template <class T>
__device__ void backward(T* dx, const T* grad, int64_t mode, int64_t outer, int64_t n,
                         int64_t inner, int64_t before, int64_t after) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kElementThreads + threadIdx.x;
  if (i >= outer * n * inner) return;
  const int64_t column = i % inner, place = i / inner % n, grown = before + n + after;
  const T* from = grad + i / inner / n * grown * inner + column;
  T sum = from[(before + place) * inner];
  if (mode == reflect) {
    if (place >= 1 && place <= before) sum += from[(before - place) * inner];
    const int64_t back = n - 1 - place;
    if (back >= 1 && back <= after) sum += from[(before + n - 1 + back) * inner];
  } else if (mode == replicate) {
    if (place == 0) {
      for (int64_t j = 0; j < before; ++j) sum += from[j * inner];
    }
    if (place == n - 1) {
      for (int64_t j = before + n; j < grown; ++j) sum += from[j * inner];
    }
  } else if (mode == circular) {
    if (place >= n - before) sum += from[(place - (n - before)) * inner];
    if (place < after) sum += from[(before + n + place) * inner];
  }
  dx[i] = sum;
}

#define TW_PAD_OF(type, suffix, index)                                                        \
  TW_KERNEL(kElementThreads, pad_##suffix##_##type, type##_t* y, const type##_t* x,           \
            const type##_t* value, int64_t mode, int64_t groups, int64_t axes, int64_t whole, \
            TW_AXES(size), TW_AXES(from), TW_AXES(before), TW_AXES(stride)) {                 \
    using Index = index;                                                                      \
    pad<Index>(y, x, value, mode, groups, axes, whole, Axes<Index> TW_AXES_OF(size),          \
               Axes<Index> TW_AXES_OF(from), Axes<Index> TW_AXES_OF(before),                  \
               Axes<Index> TW_AXES_OF(stride));                                               \
  }
#define TW_PAD(type)                \
  TW_PAD_OF(type, strided, int32_t) \
  TW_PAD_OF(type, far, int64_t)
TW_PAD(uint8)
TW_PAD(uint16)
TW_PAD(uint32)
TW_PAD(uint64)
#undef TW_PAD
#undef TW_PAD_OF

#define TW_PAD_BACKWARD(type)                                                               \
  TW_KERNEL(kElementThreads, pad_backward_##type, type* dx, const type* grad, int64_t mode, \
            int64_t outer, int64_t n, int64_t inner, int64_t before, int64_t after) {       \
    backward(dx, grad, mode, outer, n, inner, before, after);                               \
  }
TW_PAD_BACKWARD(float)
TW_PAD_BACKWARD(double)
#undef TW_PAD_BACKWARD

}  // namespace tilework::pad_cuda
