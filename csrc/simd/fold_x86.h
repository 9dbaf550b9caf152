// The lower steps of a reduction across lanes, shared by AVX2 and AVX-512: 256 bits to a scalar.
#pragma once

#include <immintrin.h>

namespace tilework::TW_ISA {

#define TW_FOLD(op)                                                                          \
  TW_INLINE float fold_##op(__m256 a) {                                                      \
    __m128 b = _mm_##op##_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));        \
    b = _mm_##op##_ps(b, _mm_movehl_ps(b, b));                                               \
    return _mm_cvtss_f32(_mm_##op##_ss(b, _mm_movehdup_ps(b)));                              \
  }                                                                                          \
  TW_INLINE double fold_##op(__m256d a) {                                                    \
    const __m128d b = _mm_##op##_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1)); \
    return _mm_cvtsd_f64(_mm_##op##_sd(b, _mm_unpackhi_pd(b, b)));                           \
  }
TW_FOLD(add)
TW_FOLD(min)
TW_FOLD(max)
#undef TW_FOLD

}  // namespace tilework::TW_ISA
