// What pooling asks of registers beyond simd/vec.h: every second element, and comparing positions.
#pragma once

#include "simd/sweep.h"

namespace tilework::TW_ISA {

// Both kinds of lanes (simd/sweep.h) by their number.
template <class T>
TW_INLINE int count_of(WholeVector<T>) {
  return Vec<T>::width;
}
template <class T>
TW_INLINE int count_of(PartVector<T> lanes) {
  return lanes.n;
}

// body(k, lanes) over a pixel's channels. With `room` behind them the last vector is a whole one
// too, which takes a fraction of a part's time: what it spills are lanes of the next pixels, whose
// turn comes after.
template <class T, class Body>
TW_INLINE void sweep_channels(int64_t channels, bool room, Body body) {
  if (!room) return sweep<T>(channels, body);
  for (int64_t k = 0; k < channels; k += Vec<T>::width) body(k, WholeVector<T>{});
}
// Of a pixel in a row of `pixels`: whether such vectors stay within the row.
template <class T>
TW_INLINE bool has_room(int64_t pixel, int64_t pixels, int64_t channels) {
  constexpr int W = Vec<T>::width;
  return (pixels - pixel) * channels >= (channels + W - 1) / W * W;
}

// join_evens(a, b): a's lanes 0, 2, 4, ... and then b's lanes 1, 3, 5, ...
// interleave(a, b, low, high): a[0], b[0], a[1], b[1], ... in two vectors
// equal_positions<T>(p, n, t): in which of n lanes p[i] is t; lanes from n on may say anything
// store_positions(at, p, n): n lanes of integers, held as the bits of T, to bytes
#if defined(__AVX512F__)

TW_INLINE Vec<float> join_evens(Vec<float> a, Vec<float> b) {
  const __m512i take = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
  return _mm512_permutex2var_ps(a.v, take, b.v);
}
TW_INLINE Vec<double> join_evens(Vec<double> a, Vec<double> b) {
  return _mm512_permutex2var_pd(a.v, _mm512_setr_epi64(0, 2, 4, 6, 9, 11, 13, 15), b.v);
}
TW_INLINE void interleave(Vec<float> a, Vec<float> b, Vec<float>& low, Vec<float>& high) {
  const __m512i take = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  low = _mm512_permutex2var_ps(a.v, take, b.v);
  high = _mm512_permutex2var_ps(a.v, _mm512_add_epi32(take, _mm512_set1_epi32(8)), b.v);
}
TW_INLINE void interleave(Vec<double> a, Vec<double> b, Vec<double>& low, Vec<double>& high) {
  const __m512i take = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
  low = _mm512_permutex2var_pd(a.v, take, b.v);
  high = _mm512_permutex2var_pd(a.v, _mm512_add_epi64(take, _mm512_set1_epi64(4)), b.v);
}
template <class T>
TW_INLINE Mask<T> equal_positions(const uint8_t* p, int n, uint32_t t) {
  const __m128i held = _mm_maskz_loadu_epi8(Mask<T>::first(n).m, p);
  return {static_cast<decltype(Mask<T>::m)>(
      _mm_cmpeq_epi8_mask(held, _mm_set1_epi8(static_cast<char>(t))))};
}
TW_INLINE void store_positions(Vec<float> at, uint8_t* p, int n) {
  _mm_mask_storeu_epi8(p, Mask<float>::first(n).m, _mm512_cvtepi32_epi8(to_bits(at).v));
}
TW_INLINE void store_positions(Vec<double> at, uint8_t* p, int n) {
  _mm_mask_storeu_epi8(p, Mask<double>::first(n).m, _mm512_cvtepi64_epi8(to_bits(at).v));
}

#else

#if defined(__AVX2__)

TW_INLINE Vec<float> join_evens(Vec<float> a, Vec<float> b) {
  const __m256 halves = _mm256_shuffle_ps(a.v, b.v, 0xD8);
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(halves), 0xD8));
}
TW_INLINE Vec<double> join_evens(Vec<double> a, Vec<double> b) {
  return _mm256_permute4x64_pd(_mm256_shuffle_pd(a.v, b.v, 0xA), 0xD8);
}
#define TW_INTERLEAVE(T, S)                                                                \
  TW_INLINE void interleave(Vec<T> a, Vec<T> b, Vec<T>& low, Vec<T>& high) {               \
    const auto l = _mm256_unpacklo_##S(a.v, b.v), h = _mm256_unpackhi_##S(a.v, b.v);       \
    low = _mm256_permute2f128_##S(l, h, 0x20), high = _mm256_permute2f128_##S(l, h, 0x31); \
  }
TW_INTERLEAVE(float, ps)
TW_INTERLEAVE(double, pd)
#undef TW_INTERLEAVE

// n bytes, 8 at most, from the lowest up: more than three as two fours that may overlap.
TW_INLINE uint64_t load_bytes(const uint8_t* p, int n) {
  uint64_t bytes = 0;
  if (n == 8) {
    __builtin_memcpy(&bytes, p, 8);
  } else if (n >= 4) {
    uint32_t low, high;
    __builtin_memcpy(&low, p, 4);
    __builtin_memcpy(&high, p + n - 4, 4);
    bytes = low | static_cast<uint64_t>(high) << (8 * (n - 4));
  } else {
    for (int i = 0; i < n; ++i) bytes |= static_cast<uint64_t>(p[i]) << (8 * i);
  }
  return bytes;
}
TW_INLINE void store_bytes(uint64_t bytes, uint8_t* p, int n) {
  if (n == 8) {
    __builtin_memcpy(p, &bytes, 8);
  } else if (n >= 4) {
    const uint32_t low = static_cast<uint32_t>(bytes);
    const uint32_t high = static_cast<uint32_t>(bytes >> (8 * (n - 4)));
    __builtin_memcpy(p, &low, 4);
    __builtin_memcpy(p + n - 4, &high, 4);
  } else {
    for (int i = 0; i < n; ++i) p[i] = static_cast<uint8_t>(bytes >> (8 * i));
  }
}

TW_INLINE Mask<float> bytes_equal(__m128i bytes, uint32_t t, float) {
  return {_mm256_castsi256_ps(
      _mm256_cmpeq_epi32(_mm256_cvtepu8_epi32(bytes), _mm256_set1_epi32(static_cast<int>(t))))};
}
TW_INLINE Mask<double> bytes_equal(__m128i bytes, uint32_t t, double) {
  return {
      _mm256_castsi256_pd(_mm256_cmpeq_epi64(_mm256_cvtepu8_epi64(bytes), _mm256_set1_epi64x(t)))};
}
template <class T>
TW_INLINE Mask<T> equal_positions(const uint8_t* p, int n, uint32_t t) {
  return bytes_equal(_mm_cvtsi64_si128(static_cast<int64_t>(load_bytes(p, n))), t, T());
}
TW_INLINE void store_positions(Vec<float> at, uint8_t* p, int n) {
  const __m256i each = _mm256_shuffle_epi8(to_bits(at).v, _mm256_set1_epi32(0x0c080400));
  const __m128i all =
      _mm_unpacklo_epi32(_mm256_castsi256_si128(each), _mm256_extracti128_si256(each, 1));
  store_bytes(static_cast<uint64_t>(_mm_cvtsi128_si64(all)), p, n);
}
TW_INLINE void store_positions(Vec<double> at, uint8_t* p, int n) {
  const __m256i each = _mm256_shuffle_epi8(to_bits(at).v, _mm256_set1_epi16(0x0800));
  const __m128i all =
      _mm_unpacklo_epi16(_mm256_castsi256_si128(each), _mm256_extracti128_si256(each, 1));
  store_bytes(static_cast<uint64_t>(_mm_cvtsi128_si64(all)), p, n);
}

#else

template <class T>
TW_INLINE Vec<T> join_evens(Vec<T> a, Vec<T> b) {
  constexpr int half = Vec<T>::width / 2;
  Vec<T> r;
  for (int i = 0; i < half; ++i) r.v[i] = a.v[2 * i], r.v[half + i] = b.v[2 * i + 1];
  return r;
}
template <class T>
TW_INLINE void interleave(Vec<T> a, Vec<T> b, Vec<T>& low, Vec<T>& high) {
  constexpr int half = Vec<T>::width / 2;
  for (int i = 0; i < half; ++i) {
    low.v[2 * i] = a.v[i], low.v[2 * i + 1] = b.v[i];
    high.v[2 * i] = a.v[half + i], high.v[2 * i + 1] = b.v[half + i];
  }
}
template <class T>
TW_INLINE Mask<T> equal_positions(const uint8_t* p, int n, uint32_t t) {
  Mask<T> r;
  for (int i = 0; i < Mask<T>::width; ++i) r.m[i] = i < n && p[i] == t ? -1 : 0;
  return r;
}

template <class T>
TW_INLINE void store_positions(Vec<T> at, uint8_t* p, int n) {
  typename BitsOf<T>::type lane[Vec<T>::width];
  to_bits(at).store(lane);
  for (int i = 0; i < n; ++i) p[i] = static_cast<uint8_t>(lane[i]);
}

#endif
#endif

// Positions in windows of more than 256: few outputs have them.
template <class T>
TW_INLINE Mask<T> equal_positions(const uint32_t* p, int n, uint32_t t) {
  T equal[Vec<T>::width] = {};
  for (int i = 0; i < n; ++i) equal[i] = p[i] == t;
  return Vec<T>::load(equal) != Vec<T>::zero();
}
template <class T>
TW_INLINE void store_positions(Vec<T> at, uint32_t* p, int n) {
  typename BitsOf<T>::type lane[Vec<T>::width];
  to_bits(at).store(lane);
  for (int i = 0; i < n; ++i) p[i] = static_cast<uint32_t>(lane[i]);
}

// p[0], p[2], p[4], ...: the second load begins one element early, so that none past the last that
// is wanted is touched.
template <class T>
TW_INLINE Vec<T> load_evens(const T* p, WholeVector<T>) {
  return join_evens(Vec<T>::load(p), Vec<T>::load(p + Vec<T>::width - 1));
}
template <class T>
TW_INLINE Vec<T> load_evens(const T* p, PartVector<T> lanes) {
  constexpr int W = Vec<T>::width;
  const int span = 2 * lanes.n - 1, rest = span - (W - 1);
  return join_evens(Vec<T>::load_partial(p, span < W ? span : W),
                    Vec<T>::load_partial(p + W - 1, rest > 0 ? rest : 0));
}

// `lanes` elements that are kStride (1 or 2) apart.
template <int kStride, class T, class Lanes>
TW_INLINE Vec<T> load_apart(const T* p, Lanes lanes) {
  if constexpr (kStride == 1)
    return lanes.load(p);
  else
    return load_evens(p, lanes);
}

}  // namespace tilework::TW_ISA
