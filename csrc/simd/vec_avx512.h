// Vec<T> in 512-bit registers, masks in k registers. Needs AVX-512 F, BW, DQ and VL. Included by
// vec.h alone.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "simd/fold_x86.h"

namespace tilework::TW_ISA {

inline constexpr int kRoundHalfEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

TW_INLINE __m256 low_half(__m512 a) { return _mm512_castps512_ps256(a); }
TW_INLINE __m256d low_half(__m512d a) { return _mm512_castpd512_pd256(a); }
TW_INLINE __m256 high_half(__m512 a) { return _mm512_extractf32x8_ps(a, 1); }
TW_INLINE __m256d high_half(__m512d a) { return _mm512_extractf64x4_pd(a, 1); }

// What the intrinsics name alike. S: their suffix; R: the register; K: the mask; N: the lanes.
#define TW_FLOATING(T, S, R, K, N)                                                               \
  template <>                                                                                    \
  struct Mask<T> {                                                                               \
    static constexpr int width = N;                                                              \
    K m;                                                                                         \
    static TW_INLINE Mask first(int n) { return {static_cast<K>(_bzhi_u32((1u << N) - 1, n))}; } \
    friend TW_INLINE Mask operator&(Mask a, Mask b) { return {static_cast<K>(a.m & b.m)}; }      \
    friend TW_INLINE Mask operator|(Mask a, Mask b) { return {static_cast<K>(a.m | b.m)}; }      \
    friend TW_INLINE Mask operator!(Mask a) { return {static_cast<K>(~a.m)}; }                   \
    friend TW_INLINE bool any(Mask a) { return a.m != 0; }                                       \
    friend TW_INLINE bool all(Mask a) { return a.m == static_cast<K>(-1); }                      \
  };                                                                                             \
  template <>                                                                                    \
  struct Vec<T> {                                                                                \
    static constexpr int width = N;                                                              \
    R v;                                                                                         \
    Vec() = default;                                                                             \
    TW_INLINE Vec(R lanes) : v(lanes) {}                                                         \
    TW_INLINE Vec(T x) : v(_mm512_set1_##S(x)) {}                                                \
    static TW_INLINE Vec zero() { return _mm512_setzero_##S(); }                                 \
    static TW_INLINE Vec load(const T* p) { return _mm512_loadu_##S(p); }                        \
    static TW_INLINE Vec load_partial(const T* p, int n) {                                       \
      return _mm512_maskz_loadu_##S(Mask<T>::first(n).m, p);                                     \
    }                                                                                            \
    TW_INLINE void store(T* p) const { _mm512_storeu_##S(p, v); }                                \
    TW_INLINE void store_partial(T* p, int n) const {                                            \
      _mm512_mask_storeu_##S(p, Mask<T>::first(n).m, v);                                         \
    }                                                                                            \
    TW_INLINE void stream(T* p) const { _mm512_stream_##S(p, v); }                               \
    friend TW_INLINE Vec operator+(Vec a, Vec b) { return _mm512_add_##S(a.v, b.v); }            \
    friend TW_INLINE Vec operator-(Vec a, Vec b) { return _mm512_sub_##S(a.v, b.v); }            \
    friend TW_INLINE Vec operator*(Vec a, Vec b) { return _mm512_mul_##S(a.v, b.v); }            \
    friend TW_INLINE Vec operator/(Vec a, Vec b) { return _mm512_div_##S(a.v, b.v); }            \
    friend TW_INLINE Vec operator-(Vec a) { return _mm512_xor_##S(a.v, Vec(T(-0.0)).v); }        \
    friend TW_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_##S(a.v, b.v, c.v); }    \
    friend TW_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_##S(a.v, b.v, c.v); }  \
    friend TW_INLINE Vec min(Vec a, Vec b) { return _mm512_min_##S(a.v, b.v); }                  \
    friend TW_INLINE Vec max(Vec a, Vec b) { return _mm512_max_##S(a.v, b.v); }                  \
    friend TW_INLINE Vec sqrt(Vec a) { return _mm512_sqrt_##S(a.v); }                            \
    friend TW_INLINE Vec abs(Vec a) { return _mm512_andnot_##S(Vec(T(-0.0)).v, a.v); }           \
    friend TW_INLINE Vec round(Vec a) { return _mm512_roundscale_##S(a.v, kRoundHalfEven); }     \
    friend TW_INLINE Vec scale_pow2(Vec x, Vec n) { return _mm512_scalef_##S(x.v, n.v); }        \
    friend TW_INLINE Mask<T> operator<(Vec a, Vec b) {                                           \
      return {_mm512_cmp_##S##_mask(a.v, b.v, _CMP_LT_OQ)};                                      \
    }                                                                                            \
    friend TW_INLINE Mask<T> operator<=(Vec a, Vec b) {                                          \
      return {_mm512_cmp_##S##_mask(a.v, b.v, _CMP_LE_OQ)};                                      \
    }                                                                                            \
    friend TW_INLINE Mask<T> operator>(Vec a, Vec b) { return b < a; }                           \
    friend TW_INLINE Mask<T> operator>=(Vec a, Vec b) { return b <= a; }                         \
    friend TW_INLINE Mask<T> operator==(Vec a, Vec b) {                                          \
      return {_mm512_cmp_##S##_mask(a.v, b.v, _CMP_EQ_OQ)};                                      \
    }                                                                                            \
    friend TW_INLINE Mask<T> operator!=(Vec a, Vec b) {                                          \
      return {_mm512_cmp_##S##_mask(a.v, b.v, _CMP_NEQ_UQ)};                                     \
    }                                                                                            \
    friend TW_INLINE Vec select(Mask<T> m, Vec a, Vec b) {                                       \
      return _mm512_mask_blend_##S(m.m, b.v, a.v);                                               \
    }                                                                                            \
    friend TW_INLINE T reduce_add(Vec a) {                                                       \
      return fold_add(_mm256_add_##S(low_half(a.v), high_half(a.v)));                            \
    }                                                                                            \
    friend TW_INLINE T reduce_min(Vec a) {                                                       \
      return fold_min(_mm256_min_##S(low_half(a.v), high_half(a.v)));                            \
    }                                                                                            \
    friend TW_INLINE T reduce_max(Vec a) {                                                       \
      return fold_max(_mm256_max_##S(low_half(a.v), high_half(a.v)));                            \
    }                                                                                            \
  };
TW_FLOATING(float, ps, __m512, __mmask16, 16)
TW_FLOATING(double, pd, __m512d, __mmask8, 8)
#undef TW_FLOATING

#define TW_INTEGER(T, S, N)                                                                \
  template <>                                                                              \
  struct Vec<T> {                                                                          \
    static constexpr int width = N;                                                        \
    __m512i v;                                                                             \
    Vec() = default;                                                                       \
    TW_INLINE Vec(__m512i lanes) : v(lanes) {}                                             \
    TW_INLINE Vec(T x) : v(_mm512_set1_##S(x)) {}                                          \
    static TW_INLINE Vec load(const T* p) { return _mm512_loadu_si512(p); }                \
    TW_INLINE void store(T* p) const { _mm512_storeu_si512(p, v); }                        \
    friend TW_INLINE Vec operator+(Vec a, Vec b) { return _mm512_add_##S(a.v, b.v); }      \
    friend TW_INLINE Vec operator-(Vec a, Vec b) { return _mm512_sub_##S(a.v, b.v); }      \
    friend TW_INLINE Vec operator&(Vec a, Vec b) { return _mm512_and_si512(a.v, b.v); }    \
    friend TW_INLINE Vec operator|(Vec a, Vec b) { return _mm512_or_si512(a.v, b.v); }     \
    friend TW_INLINE Vec operator^(Vec a, Vec b) { return _mm512_xor_si512(a.v, b.v); }    \
    friend TW_INLINE Vec operator<<(Vec a, unsigned n) { return _mm512_slli_##S(a.v, n); } \
    friend TW_INLINE Vec operator>>(Vec a, unsigned n) { return _mm512_srli_##S(a.v, n); } \
  };
TW_INTEGER(uint32_t, epi32, 16)
TW_INTEGER(uint64_t, epi64, 8)
#undef TW_INTEGER

TW_INLINE Vec<uint32_t> to_bits(Vec<float> a) { return _mm512_castps_si512(a.v); }
TW_INLINE Vec<uint64_t> to_bits(Vec<double> a) { return _mm512_castpd_si512(a.v); }
TW_INLINE Vec<float> from_bits(Vec<uint32_t> b) { return _mm512_castsi512_ps(b.v); }
TW_INLINE Vec<double> from_bits(Vec<uint64_t> b) { return _mm512_castsi512_pd(b.v); }
TW_INLINE Vec<float> int32_to_float(Vec<uint32_t> b) { return _mm512_cvtepi32_ps(b.v); }

TW_INLINE Vec<float> pick(Vec<float> v, Vec<uint32_t> lanes) {
  return _mm512_permutexvar_ps(lanes.v, v.v);
}
TW_INLINE Vec<double> pick(Vec<double> v, Vec<uint64_t> lanes) {
  return _mm512_permutexvar_pd(lanes.v, v.v);
}

// One instruction chooses bits: where the sign bit of `top` is set from `sign`, else from
// `magnitude`.
TW_INLINE Vec<float> copysign(Vec<float> magnitude, Vec<float> sign) {
  const __m512i top = _mm512_set1_epi32(INT32_MIN);
  return _mm512_castsi512_ps(
      _mm512_ternarylogic_epi32(top, to_bits(sign).v, to_bits(magnitude).v, 0xCA));
}
TW_INLINE Vec<double> copysign(Vec<double> magnitude, Vec<double> sign) {
  const __m512i top = _mm512_set1_epi64(INT64_MIN);
  return _mm512_castsi512_pd(
      _mm512_ternarylogic_epi64(top, to_bits(sign).v, to_bits(magnitude).v, 0xCA));
}

TW_INLINE void stream_fence() { _mm_sfence(); }

}  // namespace tilework::TW_ISA
