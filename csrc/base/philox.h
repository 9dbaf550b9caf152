// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four
// 32-bit words from a key and a counter, with no state, so that any element's number can be made
// anywhere: here, in vectors (simd/philox_vec.h), on a device.
//
// tilework keys it by the seed, and counts by (position / 4, call): element p of a tensor, in dense
// memory order, takes word p % 4 of counter {low(p/4), high(p/4), low(call), high(call)}. An
// element that needs two words, a float64, takes those of positions 2p and 2p + 1. What words
// become is base/random_words.h.
#pragma once

#include "base/device.h"

namespace tilework {

inline constexpr int kPhiloxRounds = 10;
inline constexpr int kPhiloxWords = 4;                                       // of a counter
inline constexpr uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;  // multipliers
inline constexpr uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;  // key increments

struct Philox4 {
  uint32_t word[kPhiloxWords];
};

// The layout of the key, and how rounds change it.
struct PhiloxKey {
  uint32_t low, high;
};
TW_HOST_DEVICE constexpr PhiloxKey philox_key(uint64_t seed) {
  return {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
}
TW_HOST_DEVICE constexpr PhiloxKey next_round(PhiloxKey key) {
  return {key.low + kPhiloxW0, key.high + kPhiloxW1};
}

// The layout of the counter: the block that a position is in, and the number of the call. As two
// numbers of 64 bits, the low halves being the words 0 and 2, the high ones 1 and 3.
struct PhiloxCounter {
  uint64_t block, call;
};
TW_HOST_DEVICE constexpr PhiloxCounter philox_counter(uint64_t call, uint64_t position) {
  return {position / kPhiloxWords, call};
}

TW_HOST_DEVICE constexpr Philox4 philox4x32(PhiloxKey key, PhiloxCounter counter) {
  uint32_t c0 = static_cast<uint32_t>(counter.block);
  uint32_t c1 = static_cast<uint32_t>(counter.block >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter.call);
  uint32_t c3 = static_cast<uint32_t>(counter.call >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t p0 = uint64_t{kPhiloxM0} * c0, p1 = uint64_t{kPhiloxM1} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ key.low;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ key.high;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    key = next_round(key);
  }
  return {{c0, c1, c2, c3}};
}

// The word of one position: for what draws few. A counter gives four at the price of one.
TW_HOST_DEVICE constexpr uint32_t philox_word(uint64_t seed, uint64_t call, uint64_t position) {
  const Philox4 four = philox4x32(philox_key(seed), philox_counter(call, position));
  return four.word[position % kPhiloxWords];
}

}  // namespace tilework
