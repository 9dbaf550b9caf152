// bfloat16 in memory, float32 in registers: loads that widen (exactly) and stores that round to
// nearest even. Denormals are kept, unlike by the conversions of AVX512-BF16, and a NaN becomes the
// quiet one of its sign.
//
// load() and store() here also take float pointers, and the lanes of simd/sweep.h, so that one loop
// body serves either type of array.
#pragma once

#include "base/types.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {

#if defined(__AVX512F__)

TW_INLINE Vec<float> widened(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
TW_INLINE Vec<float> load_wide(const bfloat16* p) {
  return widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
TW_INLINE Vec<float> load_wide_partial(const bfloat16* p, int n) {
  return widened(_mm256_maskz_loadu_epi16(Mask<float>::first(n).m, p));
}
TW_INLINE __m512i rounded_words(Vec<float> x) {
  const __m512i bits = _mm512_castps_si512(x.v), upper = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
  const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
  const __m512i sign = _mm512_and_si512(upper, _mm512_set1_epi32(0x8000));
  return _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q), sign,
                              _mm512_set1_epi32(0x7fc0));
}
TW_INLINE void store_rounded(Vec<float> x, bfloat16* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(rounded_words(x)));
}
TW_INLINE void store_rounded_partial(Vec<float> x, bfloat16* p, int n) {
  _mm256_mask_storeu_epi16(p, Mask<float>::first(n).m, _mm512_cvtepi32_epi16(rounded_words(x)));
}

#elif defined(__AVX2__)

TW_INLINE Vec<float> load_wide(const bfloat16* p) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
TW_INLINE void store_rounded(Vec<float> x, bfloat16* p) {
  const __m256i bits = _mm256_castps_si256(x.v), upper = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
  const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
  const __m256i sign = _mm256_and_si256(upper, _mm256_set1_epi32(0x8000));
  const __m256i nan = _mm256_or_si256(sign, _mm256_set1_epi32(0x7fc0));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
  const __m256i words = _mm256_blendv_epi8(rounded, nan, is_nan);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}

#else

TW_INLINE Vec<float> load_wide(const bfloat16* p) {
  float lanes[Vec<float>::width];
  for (int i = 0; i < Vec<float>::width; ++i) lanes[i] = to_float(p[i]);
  return Vec<float>::load(lanes);
}
TW_INLINE void store_rounded(Vec<float> x, bfloat16* p) {
  float lanes[Vec<float>::width];
  x.store(lanes);
  for (int i = 0; i < Vec<float>::width; ++i) p[i] = to_bfloat16(lanes[i]);
}

#endif

#if !defined(__AVX512F__)
TW_INLINE Vec<float> load_wide_partial(const bfloat16* p, int n) {
  bfloat16 lanes[Vec<float>::width] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load_wide(lanes);
}
TW_INLINE void store_rounded_partial(Vec<float> x, bfloat16* p, int n) {
  bfloat16 lanes[Vec<float>::width];
  store_rounded(x, lanes);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
#endif

// --- with the lanes of a sweep ---

template <class Lanes, class T>
TW_INLINE Vec<T> load(Lanes lanes, const T* p) {
  return lanes.load(p);
}
TW_INLINE Vec<float> load(WholeVector<float>, const bfloat16* p) { return load_wide(p); }
TW_INLINE Vec<float> load(PartVector<float> part, const bfloat16* p) {
  return load_wide_partial(p, part.n);
}
template <class Lanes, class T>
TW_INLINE void store(Lanes lanes, T* p, Vec<T> x) {
  lanes.store(p, x);
}
TW_INLINE void store(WholeVector<float>, bfloat16* p, Vec<float> x) { store_rounded(x, p); }
TW_INLINE void store(PartVector<float> part, bfloat16* p, Vec<float> x) {
  store_rounded_partial(x, p, part.n);
}

}  // namespace tilework::TW_ISA
