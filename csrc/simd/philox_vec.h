// Philox4x32-10 over vectors: the words of base/philox.h, bit for bit, a step of 64 at a time.
//
// Each 64-bit lane holds one 32-bit word of one counter in its low half. The hardware multiplies 32
// by 32 bits into 64 in just these lanes and ignores their upper halves, so that a round needs no
// blend and no mask: whatever a product leaves above is junk that nothing reads.
#pragma once

#include <stdint.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "base/philox.h"

namespace tilework::TW_ISA {

inline constexpr int kPhiloxStep = 64;

#if defined(__AVX2__)
namespace philox_lanes {

// The lanes are numbered so that unpacking 64-bit halves, which works within each 128 bits, leaves
// whole counters in order: lane 2i is counter i, lane 2i + 1 is counter kLanes / 2 + i.
// The high word comes down by a shuffle, not a shift: Intel's cores shift where they multiply.
#if defined(__AVX512F__)
using Reg = __m512i;
inline constexpr int kLanes = 8;
inline Reg splat(uint64_t x) { return _mm512_set1_epi64(static_cast<long long>(x)); }
inline Reg counters(uint64_t first) {
  return _mm512_add_epi64(splat(first), _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
}
inline Reg multiply(Reg a, Reg b) { return _mm512_mul_epu32(a, b); }
inline Reg high(Reg a) { return _mm512_shuffle_epi32(a, _MM_PERM_DDBB); }
inline Reg xor3(Reg a, Reg b, Reg c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }
inline Reg join(Reg low, Reg high) {
  return _mm512_mask_shuffle_epi32(low, 0xAAAA, high, _MM_PERM_CCAA);
}
inline void store(uint32_t* to, Reg words01, Reg words23) {
  _mm512_storeu_si512(to, _mm512_unpacklo_epi64(words01, words23));
  _mm512_storeu_si512(to + 16, _mm512_unpackhi_epi64(words01, words23));
}
#else
using Reg = __m256i;
inline constexpr int kLanes = 4;
inline Reg splat(uint64_t x) { return _mm256_set1_epi64x(static_cast<long long>(x)); }
inline Reg counters(uint64_t first) {
  return _mm256_add_epi64(splat(first), _mm256_setr_epi64x(0, 2, 1, 3));
}
inline Reg multiply(Reg a, Reg b) { return _mm256_mul_epu32(a, b); }
inline Reg high(Reg a) { return _mm256_shuffle_epi32(a, _MM_SHUFFLE(3, 3, 1, 1)); }
inline Reg xor3(Reg a, Reg b, Reg c) { return _mm256_xor_si256(_mm256_xor_si256(a, b), c); }
inline Reg join(Reg low, Reg high) {
  return _mm256_blend_epi32(low, _mm256_shuffle_epi32(high, _MM_SHUFFLE(2, 2, 0, 0)), 0xAA);
}
inline void store(uint32_t* to, Reg words01, Reg words23) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_unpacklo_epi64(words01, words23));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 8), _mm256_unpackhi_epi64(words01, words23));
}
#endif

// Two registers of each word: a round is a chain of a multiply, a shuffle and an exclusive or, some
// eight cycles long, and one chain alone would leave the multiplier idle.
inline void two_chains(PhiloxKey key, PhiloxCounter counter, uint32_t* words) {
  const Reg m0 = splat(kPhiloxM0), m1 = splat(kPhiloxM1);
  Reg c0[2], c1[2], c2[2], c3[2];
  for (int i = 0; i < 2; ++i) {
    c0[i] = counters(counter.block + static_cast<uint64_t>(i) * kLanes);
    c1[i] = high(c0[i]);
    c2[i] = splat(counter.call);
    c3[i] = splat(counter.call >> 32);
  }
#pragma GCC unroll 10
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const Reg key0 = splat(key.low), key1 = splat(key.high);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const Reg p0 = multiply(c0[i], m0), p1 = multiply(c2[i], m1);
      c0[i] = xor3(high(p1), c1[i], key0);
      c2[i] = xor3(high(p0), c3[i], key1);
      c1[i] = p1;
      c3[i] = p0;
    }
    key = next_round(key);
  }
  for (int i = 0; i < 2; ++i) store(words + i * 4 * kLanes, join(c0[i], c1[i]), join(c2[i], c3[i]));
}

}  // namespace philox_lanes

// words[i] is the word of position + i, for i in [0, kPhiloxStep). `position` is a multiple of
// kPhiloxWords.
inline void philox_step(uint64_t seed, uint64_t call, uint64_t position, uint32_t* words) {
  constexpr int kWords = 8 * philox_lanes::kLanes;
  for (int i = 0; i < kPhiloxStep; i += kWords)
    philox_lanes::two_chains(philox_key(seed),
                             philox_counter(call, position + static_cast<uint64_t>(i)), words + i);
}

#else

inline void philox_step(uint64_t seed, uint64_t call, uint64_t position, uint32_t* words) {
  for (int i = 0; i < kPhiloxStep; i += kPhiloxWords) {
    const Philox4 four =
        philox4x32(philox_key(seed), philox_counter(call, position + static_cast<uint64_t>(i)));
    for (int j = 0; j < kPhiloxWords; ++j) words[i + j] = four.word[j];
  }
}

#endif

}  // namespace tilework::TW_ISA
