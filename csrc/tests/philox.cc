// Philox against the known answers that its authors publish with Random123, and each variant's
// vectors against the scalar words.
#include <vector>

#include "base/cpu.h"
#include "base/philox.h"
#include "kernels/random/random.h"
#include "tests/check.h"

using namespace tilework;

namespace {

void known_answer(uint64_t seed, uint64_t block, uint64_t call, Philox4 expected) {
  const Philox4 got = philox4x32(seed, block, call);
  for (int i = 0; i < 4; ++i) CHECK(got.word[i] == expected.word[i]);
}

void bits_are_the_scalar_words(int64_t n, uint64_t seed, uint64_t call) {
  std::vector<uint32_t> bits(n);
  random_bits(bits.data(), n, seed, call);
  for (int64_t i = 0; i < n; ++i) CHECK(bits[i] == philox4x32(seed, i / 4, call).word[i % 4]);
}

}  // namespace

int main() {
  // kat_vectors gives counters and keys as words, the lowest first.
  known_answer(0, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  known_answer(~0ull, ~0ull, ~0ull, {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  known_answer(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e,
               {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
  for (const char* isa : {"generic", "avx2", "avx512"}) {
    try {
      set_isa(isa);
    } catch (const std::exception&) {
      continue;  // not on this machine
    }
    for (int64_t n = 0; n < 200; ++n)
      bits_are_the_scalar_words(n, 0x123456789abcdef0 + n, ~static_cast<uint64_t>(n));
    bits_are_the_scalar_words(100'003, 1, 2);  // more than one task
  }
  std::printf("philox: known answers hold\n");
}
