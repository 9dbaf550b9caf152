// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four
// 32-bit words from a key and a counter, with no state, so that any element's number can be made
// anywhere.
//
// tilework keys it by the seed, and counts by (position / 4, call): element p of a tensor, in dense
// memory order, takes word p % 4 of counter {low(p/4), high(p/4), low(call), high(call)}. An
// element that needs two words, a float64, takes those of positions 2p and 2p + 1.
#pragma once

#include <stdint.h>

namespace tilework {

inline constexpr int kPhiloxRounds = 10;
inline constexpr uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;  // multipliers
inline constexpr uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;  // key increments

struct Philox4 {
  uint32_t word[4];
};

// Always inlined: files built for one ISA call it, and an out-of-line copy of theirs could be the
// one that the linker keeps for everybody.
[[gnu::always_inline]] inline Philox4 philox4x32(uint64_t seed, uint64_t block, uint64_t call) {
  uint32_t c0 = static_cast<uint32_t>(block), c1 = static_cast<uint32_t>(block >> 32);
  uint32_t c2 = static_cast<uint32_t>(call), c3 = static_cast<uint32_t>(call >> 32);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t p0 = uint64_t{kPhiloxM0} * c0, p1 = uint64_t{kPhiloxM1} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace tilework
