// Vec<T> in 256-bit registers, masks as registers of all-ones lanes. Needs AVX2, FMA and BMI2.
// Included by vec.h alone.
#pragma once

#include <immintrin.h>

#include "simd/fold_x86.h"

namespace tilework::TW_ISA {

inline constexpr int kRoundHalfEven = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

// All ones in the first n lanes: what maskload and maskstore take.
TW_INLINE __m256i first_lanes_epi32(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
TW_INLINE __m256i first_lanes_epi64(int n) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}

// Not maskstore: AMD's cores before Zen 4 take some forty operations for one.
TW_INLINE void store_first_lanes(float* p, int n, __m256 v) {
  if (n >= 8) return _mm256_storeu_ps(p, v);
  __m128 rest = _mm256_castps256_ps128(v);
  if (n & 4) {
    _mm_storeu_ps(p, rest);
    rest = _mm256_extractf128_ps(v, 1);
    p += 4;
  }
  if (n & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
    rest = _mm_movehl_ps(rest, rest);
    p += 2;
  }
  if (n & 1) _mm_store_ss(p, rest);
}
TW_INLINE void store_first_lanes(double* p, int n, __m256d v) {
  if (n >= 4) return _mm256_storeu_pd(p, v);
  __m128d rest = _mm256_castpd256_pd128(v);
  if (n & 2) {
    _mm_storeu_pd(p, rest);
    rest = _mm256_extractf128_pd(v, 1);
    p += 2;
  }
  if (n & 1) _mm_store_sd(p, rest);
}

// What the intrinsics name alike. S: their suffix; I: that of integers as wide; R: the register; N:
// the lanes.
#define TW_FLOATING(T, S, I, R, N)                                                              \
  template <>                                                                                   \
  struct Mask<T> {                                                                              \
    static constexpr int width = N;                                                             \
    R m;                                                                                        \
    static TW_INLINE Mask first(int n) { return {_mm256_castsi256_##S(first_lanes_##I(n))}; }   \
    friend TW_INLINE Mask operator&(Mask a, Mask b) { return {_mm256_and_##S(a.m, b.m)}; }      \
    friend TW_INLINE Mask operator|(Mask a, Mask b) { return {_mm256_or_##S(a.m, b.m)}; }       \
    friend TW_INLINE Mask operator!(Mask a) {                                                   \
      return {_mm256_xor_##S(a.m, _mm256_castsi256_##S(_mm256_set1_epi32(-1)))};                \
    }                                                                                           \
    friend TW_INLINE bool any(Mask a) { return _mm256_movemask_##S(a.m) != 0; }                 \
    friend TW_INLINE bool all(Mask a) { return _mm256_movemask_##S(a.m) == (1 << N) - 1; }      \
  };                                                                                            \
  template <>                                                                                   \
  struct Vec<T> {                                                                               \
    static constexpr int width = N;                                                             \
    R v;                                                                                        \
    Vec() = default;                                                                            \
    TW_INLINE Vec(R lanes) : v(lanes) {}                                                        \
    TW_INLINE Vec(T x) : v(_mm256_set1_##S(x)) {}                                               \
    static TW_INLINE Vec zero() { return _mm256_setzero_##S(); }                                \
    static TW_INLINE Vec load(const T* p) { return _mm256_loadu_##S(p); }                       \
    static TW_INLINE Vec load_partial(const T* p, int n) {                                      \
      return _mm256_maskload_##S(p, first_lanes_##I(n));                                        \
    }                                                                                           \
    TW_INLINE void store(T* p) const { _mm256_storeu_##S(p, v); }                               \
    TW_INLINE void store_partial(T* p, int n) const { store_first_lanes(p, n, v); }             \
    TW_INLINE void stream(T* p) const { _mm256_stream_##S(p, v); }                              \
    friend TW_INLINE Vec operator+(Vec a, Vec b) { return _mm256_add_##S(a.v, b.v); }           \
    friend TW_INLINE Vec operator-(Vec a, Vec b) { return _mm256_sub_##S(a.v, b.v); }           \
    friend TW_INLINE Vec operator*(Vec a, Vec b) { return _mm256_mul_##S(a.v, b.v); }           \
    friend TW_INLINE Vec operator/(Vec a, Vec b) { return _mm256_div_##S(a.v, b.v); }           \
    friend TW_INLINE Vec operator-(Vec a) { return _mm256_xor_##S(a.v, Vec(T(-0.0)).v); }       \
    friend TW_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_##S(a.v, b.v, c.v); }   \
    friend TW_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_##S(a.v, b.v, c.v); } \
    friend TW_INLINE Vec min(Vec a, Vec b) { return _mm256_min_##S(a.v, b.v); }                 \
    friend TW_INLINE Vec max(Vec a, Vec b) { return _mm256_max_##S(a.v, b.v); }                 \
    friend TW_INLINE Vec sqrt(Vec a) { return _mm256_sqrt_##S(a.v); }                           \
    friend TW_INLINE Vec abs(Vec a) { return _mm256_andnot_##S(Vec(T(-0.0)).v, a.v); }          \
    friend TW_INLINE Vec round(Vec a) { return _mm256_round_##S(a.v, kRoundHalfEven); }         \
    friend TW_INLINE Vec copysign(Vec magnitude, Vec sign) {                                    \
      const R top = Vec(T(-0.0)).v;                                                             \
      return _mm256_or_##S(_mm256_and_##S(top, sign.v), _mm256_andnot_##S(top, magnitude.v));   \
    }                                                                                           \
    friend TW_INLINE Mask<T> operator<(Vec a, Vec b) {                                          \
      return {_mm256_cmp_##S(a.v, b.v, _CMP_LT_OQ)};                                            \
    }                                                                                           \
    friend TW_INLINE Mask<T> operator<=(Vec a, Vec b) {                                         \
      return {_mm256_cmp_##S(a.v, b.v, _CMP_LE_OQ)};                                            \
    }                                                                                           \
    friend TW_INLINE Mask<T> operator>(Vec a, Vec b) { return b < a; }                          \
    friend TW_INLINE Mask<T> operator>=(Vec a, Vec b) { return b <= a; }                        \
    friend TW_INLINE Mask<T> operator==(Vec a, Vec b) {                                         \
      return {_mm256_cmp_##S(a.v, b.v, _CMP_EQ_OQ)};                                            \
    }                                                                                           \
    friend TW_INLINE Mask<T> operator!=(Vec a, Vec b) {                                         \
      return {_mm256_cmp_##S(a.v, b.v, _CMP_NEQ_UQ)};                                           \
    }                                                                                           \
    friend TW_INLINE Vec select(Mask<T> m, Vec a, Vec b) {                                      \
      return _mm256_blendv_##S(b.v, a.v, m.m);                                                  \
    }                                                                                           \
    friend TW_INLINE T reduce_add(Vec a) { return fold_add(a.v); }                              \
    friend TW_INLINE T reduce_min(Vec a) { return fold_min(a.v); }                              \
    friend TW_INLINE T reduce_max(Vec a) { return fold_max(a.v); }                              \
  };
TW_FLOATING(float, ps, epi32, __m256, 8)
TW_FLOATING(double, pd, epi64, __m256d, 4)
#undef TW_FLOATING

#define TW_INTEGER(T, S, set1, N)                                                               \
  template <>                                                                                   \
  struct Vec<T> {                                                                               \
    static constexpr int width = N;                                                             \
    __m256i v;                                                                                  \
    Vec() = default;                                                                            \
    TW_INLINE Vec(__m256i lanes) : v(lanes) {}                                                  \
    TW_INLINE Vec(T x) : v(set1(x)) {}                                                          \
    static TW_INLINE Vec load(const T* p) {                                                     \
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));                           \
    }                                                                                           \
    TW_INLINE void store(T* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); } \
    friend TW_INLINE Vec operator+(Vec a, Vec b) { return _mm256_add_##S(a.v, b.v); }           \
    friend TW_INLINE Vec operator-(Vec a, Vec b) { return _mm256_sub_##S(a.v, b.v); }           \
    friend TW_INLINE Vec operator&(Vec a, Vec b) { return _mm256_and_si256(a.v, b.v); }         \
    friend TW_INLINE Vec operator|(Vec a, Vec b) { return _mm256_or_si256(a.v, b.v); }          \
    friend TW_INLINE Vec operator^(Vec a, Vec b) { return _mm256_xor_si256(a.v, b.v); }         \
    friend TW_INLINE Vec operator<<(Vec a, int n) { return _mm256_slli_##S(a.v, n); }           \
    friend TW_INLINE Vec operator>>(Vec a, int n) { return _mm256_srli_##S(a.v, n); }           \
  };
TW_INTEGER(uint32_t, epi32, _mm256_set1_epi32, 8)
TW_INTEGER(uint64_t, epi64, _mm256_set1_epi64x, 4)
#undef TW_INTEGER

TW_INLINE Vec<uint32_t> to_bits(Vec<float> a) { return _mm256_castps_si256(a.v); }
TW_INLINE Vec<uint64_t> to_bits(Vec<double> a) { return _mm256_castpd_si256(a.v); }
TW_INLINE Vec<float> from_bits(Vec<uint32_t> b) { return _mm256_castsi256_ps(b.v); }
TW_INLINE Vec<double> from_bits(Vec<uint64_t> b) { return _mm256_castsi256_pd(b.v); }
TW_INLINE Vec<float> int32_to_float(Vec<uint32_t> b) { return _mm256_cvtepi32_ps(b.v); }

TW_INLINE Vec<float> pick(Vec<float> v, Vec<uint32_t> lanes) {
  return _mm256_permutevar8x32_ps(v.v, lanes.v);
}
// AVX2 moves variable lanes of 32 bits only: a double is two of them.
TW_INLINE Vec<double> pick(Vec<double> v, Vec<uint64_t> lanes) {
  const __m256i low = _mm256_slli_epi64(lanes.v, 1);
  const __m256i both =
      _mm256_or_si256(low, _mm256_slli_epi64(_mm256_or_si256(low, _mm256_set1_epi64x(1)), 32));
  return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(v.v), both));
}

TW_INLINE void stream_fence() { _mm_sfence(); }

}  // namespace tilework::TW_ISA
