// Elementwise ops: functions of one array and their gradients, arithmetic of two that broadcast,
// clamp, and the conversions of bfloat16. Memory bounds all of them.
//
// Arrays that lie alike are one flat run. Of two that do not, each is read by its own strides,
// along at most five axes that Python has merged; offsets of 32 bits where they reach, for a
// division of 64 bits is a hundred instructions, else ("far") of 64.
//
// on sm_80, 90a, 100  registers    shared  dynamic  threads  blocks an SM  holds
// binary_*_far_*      45, 45, 41   0       0        256      5, 5, 5
// binary_*_strided_*  38, 38, 38   0       0        256      6, 6, 6       LDG.128 STG.128
// *_double            40, 120, 38  0       0        256      6, 2, 6       LDG.128 STG.128
// *                   48, 40, 40   0       0        256      5, 6, 6       LDG.128 STG.128
#pragma once

#include <cuda_bf16.h>

#include "base/elementwise.cuh"
#include "base/functions.cuh"

namespace tilework::pointwise_cuda {

template <class Op, class T>
__device__ void unary(T* y, const T* x, int64_t n) {
  fill_flat<kPackOf<T>>(y, n, at_packs(y, x), [=](auto width, int64_t i) {
    auto pack = load_pack<decltype(width)::value>(x + i);
    for (T& value : pack.at) value = Op::forward(value);
    return pack;
  });
}

// saved: null where it is unread.
template <class Op, class T>
__device__ void unary_backward(T* dx, const T* grad, const T* saved, int64_t n) {
  fill_flat<kPackOf<T>>(dx, n, at_packs(dx, grad, saved), [=](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    auto g = load_pack<N>(grad + i);
    const auto s = saved ? load_pack<N>(saved + i) : g;
    for (int k = 0; k < N; ++k) g.at[k] = Op::backward(g.at[k], s.at[k]);
    return g;
  });
}

template <int N, class T>
__device__ Pack<T, N> load_or(const T* p, int64_t i, T number) {
  if (p) return load_pack<N>(p + i);
  Pack<T, N> made;
  for (T& value : made.at) value = number;
  return made;
}

// Of two arrays, or one and a number, in the place of the null one.
template <class Op, class T>
__device__ void binary(T* y, const T* a, const T* b, double number, int64_t n) {
  const T one = static_cast<T>(number);
  fill_flat<kPackOf<T>>(y, n, at_packs(y, a, b), [=](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    auto left = load_or<N>(a, i, one);
    const auto right = load_or<N>(b, i, one);
    for (int k = 0; k < N; ++k) left.at[k] = Op::apply(left.at[k], right.at[k]);
    return left;
  });
}

// bfloat16 is added in float32.
struct add_narrow {
  static __device__ __nv_bfloat16 apply(__nv_bfloat16 a, __nv_bfloat16 b) {
    return __float2bfloat16(__bfloat162float(a) + __bfloat162float(b));
  }
};

template <class Op, class Index, class T>
__device__ void binary_strided(T* y, const T* a, const T* b, int64_t groups, int64_t axes,
                               int64_t whole, const Axes<Index>& size, const Axes<Index>& y_stride,
                               const Axes<Index>& a_stride, const Axes<Index>& b_stride) {
  constexpr int kInner = kAxes - 1;
  walk<kPackOf<T>>(
      groups, static_cast<int>(axes), whole, size, [&](auto width, const Axes<Index>& place) {
        constexpr int N = decltype(width)::value;
        auto left =
            load_along<N>(a + offset_of(place, a_stride), a_stride.of[kInner], (whole & 2) != 0);
        const auto right =
            load_along<N>(b + offset_of(place, b_stride), b_stride.of[kInner], (whole & 4) != 0);
        for (int k = 0; k < N; ++k) left.at[k] = Op::apply(left.at[k], right.at[k]);
        store_along(y + offset_of(place, y_stride), y_stride.of[kInner], (whole & 1) != 0, left);
      });
}

template <class T>
__device__ void clamp(T* y, const T* x, T low, T high, int64_t n) {
  fill_flat<kPackOf<T>>(y, n, at_packs(y, x), [=](auto width, int64_t i) {
    auto pack = load_pack<decltype(width)::value>(x + i);
    for (T& value : pack.at) value = maths::smaller(maths::larger(value, low), high);
    return pack;
  });
}
template <class T>
__device__ void clamp_backward(T* dx, const T* grad, const T* x, T low, T high, int64_t n) {
  fill_flat<kPackOf<T>>(dx, n, at_packs(dx, grad, x), [=](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    auto g = load_pack<N>(grad + i);
    const auto at = load_pack<N>(x + i);
    for (int k = 0; k < N; ++k) {
      if (!(at.at[k] >= low && at.at[k] <= high)) g.at[k] = T{0};
    }
    return g;
  });
}

// Both sides by eight elements, 16 bytes of the narrow one.
inline constexpr int kConverted = 8;

__device__ inline void widen(float* y, const __nv_bfloat16* x, int64_t n) {
  fill_flat<kConverted>(y, n, at_packs(y, x), [=](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    const auto pack = load_pack<N>(x + i);
    Pack<float, N> made;
    for (int k = 0; k < N; ++k) made.at[k] = __bfloat162float(pack.at[k]);
    return made;
  });
}

// To nearest even; a NaN as the quiet one of its sign, which the instruction loses.
__device__ inline __nv_bfloat16 narrowed(float x) {
  if (x == x) return __float2bfloat16(x);
  const uint32_t sign = static_cast<uint32_t>(__float_as_int(x)) >> 16 & 0x8000u;
  return __ushort_as_bfloat16(static_cast<unsigned short>(sign | 0x7FC0u));
}
__device__ inline void narrow(__nv_bfloat16* y, const float* x, int64_t n) {
  fill_flat<kConverted>(y, n, at_packs(y, x), [=](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    const auto pack = load_pack<N>(x + i);
    Pack<__nv_bfloat16, N> made;
    for (int k = 0; k < N; ++k) made.at[k] = narrowed(pack.at[k]);
    return made;
  });
}

#define TW_UNARY_OF(type, op)                                                          \
  TW_KERNEL(kElementThreads, unary_##op##_##type, type* y, const type* x, int64_t n) { \
    unary<functions::op>(y, x, n);                                                     \
  }                                                                                    \
  TW_KERNEL(kElementThreads, unary_##op##_backward_##type, type* dx, const type* grad, \
            const type* saved, int64_t n) {                                            \
    unary_backward<functions::op>(dx, grad, saved, n);                                 \
  }
#define TW_UNARY(op, saved) TW_UNARY_OF(float, op) TW_UNARY_OF(double, op)
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_UNARY
#undef TW_UNARY_OF

#define TW_BINARY_STRIDED(type, ctype, name, op, suffix, index)                                   \
  TW_KERNEL(kElementThreads, binary_##name##_##suffix##_##type, ctype* y, const ctype* a,         \
            const ctype* b, int64_t groups, int64_t axes, int64_t whole, TW_AXES(size),           \
            TW_AXES(y_stride), TW_AXES(a_stride), TW_AXES(b_stride)) {                            \
    using Index = index;                                                                          \
    binary_strided<op, Index>(y, a, b, groups, axes, whole, Axes<Index> TW_AXES_OF(size),         \
                              Axes<Index> TW_AXES_OF(y_stride), Axes<Index> TW_AXES_OF(a_stride), \
                              Axes<Index> TW_AXES_OF(b_stride));                                  \
  }
#define TW_BINARY_OF(type, ctype, name, op)                                                    \
  TW_KERNEL(kElementThreads, binary_##name##_##type, ctype* y, const ctype* a, const ctype* b, \
            double number, int64_t n) {                                                        \
    binary<op>(y, a, b, number, n);                                                            \
  }                                                                                            \
  TW_BINARY_STRIDED(type, ctype, name, op, strided, int32_t)                                   \
  TW_BINARY_STRIDED(type, ctype, name, op, far, int64_t)
#define TW_BINARY(op)                           \
  TW_BINARY_OF(float, float, op, functions::op) \
  TW_BINARY_OF(double, double, op, functions::op)
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_BINARY
TW_BINARY_OF(bfloat16, __nv_bfloat16, add, add_narrow)
#undef TW_BINARY_OF
#undef TW_BINARY_STRIDED

#define TW_CLAMP(type)                                                                         \
  TW_KERNEL(kElementThreads, clamp_##type, type* y, const type* x, double low, double high,    \
            int64_t n) {                                                                       \
    clamp(y, x, static_cast<type>(low), static_cast<type>(high), n);                           \
  }                                                                                            \
  TW_KERNEL(kElementThreads, clamp_backward_##type, type* dx, const type* grad, const type* x, \
            double low, double high, int64_t n) {                                              \
    clamp_backward(dx, grad, x, static_cast<type>(low), static_cast<type>(high), n);           \
  }
TW_CLAMP(float)
TW_CLAMP(double)
#undef TW_CLAMP

TW_KERNEL(kElementThreads, widen_bfloat16, float* y, const __nv_bfloat16* x, int64_t n) {
  widen(y, x, n);
}
TW_KERNEL(kElementThreads, narrow_float, __nv_bfloat16* y, const float* x, int64_t n) {
  narrow(y, x, n);
}

}  // namespace tilework::pointwise_cuda
