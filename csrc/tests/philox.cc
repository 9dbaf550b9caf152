// Philox against the known answers that its authors publish with Random123, what its words become,
// and each variant's vectors against the scalar words.
#include <cmath>
#include <vector>

#include "base/cpu.h"
#include "base/philox.h"
#include "base/random_words.h"
#include "kernels/random/random.h"
#include "tests/check.h"

using namespace tilework;

namespace {

// By the compiler: what it evaluates calls neither std:: nor intrinsics, so that a device may.
constexpr bool known_answer(uint64_t seed, uint64_t block, uint64_t call, Philox4 expected) {
  const Philox4 got = philox4x32(philox_key(seed), PhiloxCounter{block, call});
  for (int i = 0; i < kPhiloxWords; ++i)
    if (got.word[i] != expected.word[i]) return false;
  return true;
}
// kat_vectors gives counters and keys as words, the lowest first.
static_assert(known_answer(0, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}));
static_assert(known_answer(~0ull, ~0ull, ~0ull,
                           {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}));
static_assert(known_answer(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e,
                           {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}));
// The same counter by its position, word by word.
static_assert(philox_word(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88 * 4) ==
              philox4x32(philox_key(0x299f31d0a4093822),
                         PhiloxCounter{0x05a308d3243f6a88, 0x0370734413198a2e})
                  .word[0]);
static_assert(philox_word(0, 0, 3) == 0x9b00dbd8 && philox_word(0, 0, 1) == 0xe169c58d);

static_assert(joined_words(0x89abcdef, 0x01234567) == 0x0123456789abcdef);
static_assert(uniform_float(0) == 0 && uniform_float(0xff) == 0 &&
              uniform_float(0x100) == 0x1p-24f);
static_assert(uniform_float(~0u) == 1 - 0x1p-24f && uniform_float(0x80000000) == 0.5f);
static_assert(uniform_double(0x7ff) == 0 && uniform_double(0x800) == 0x1p-53);
static_assert(uniform_double(~0ull) == 1 - 0x1p-53);
static_assert(unit_pair(0u, 0x80000000u).u == 0x1p-33 && unit_pair(0u, 0x80000000u).t == 0.5);
static_assert(unit_pair(~0u, 0u).u == 1 - 0x1p-33);
static_assert(unit_pair(uint64_t{0xfff}, uint64_t{0x800}).u == 0x1p-53);
static_assert(unit_pair(~uint64_t{0}, ~uint64_t{0}).u == 1 - 0x1p-53);
static_assert(integer_below(~0u, 6) == 5 && integer_below(0, 6) == 0);
static_assert(integer_below(0x80000000, uint64_t{1} << 32) == 0x80000000);
static_assert(dropout_threshold(0) == 0 && dropout_threshold(0.25) == 0x40000000);
static_assert(dropout_threshold(1) == uint64_t{1} << 32);
static_assert(dropout_threshold(0x1p-33) == 0 && dropout_threshold(3 * 0x1p-33) == 2);  // to even
static_assert(dropout_keeps(7, 7) && !dropout_keeps(6, 7));

void thresholds_are_rounded() {
  for (int i = 0; i <= 100'000; ++i) {
    const double p = i / 100'000.0;
    CHECK(dropout_threshold(p) == static_cast<uint64_t>(std::nearbyint(p * 4294967296.0)));
  }
}

void bits_are_the_scalar_words(int64_t n, uint64_t seed, uint64_t call) {
  std::vector<uint32_t> bits(n);
  random_bits(bits.data(), n, seed, call);
  for (int64_t i = 0; i < n; ++i) CHECK(bits[i] == philox_word(seed, call, i));
}

void uniforms_are_the_scalar_ones(int64_t n, uint64_t seed, uint64_t call) {
  std::vector<float> single(n);
  std::vector<double> wide(n);
  random_uniform(single.data(), n, seed, call);
  random_uniform(wide.data(), n, seed, call);
  for (int64_t i = 0; i < n; ++i) {
    CHECK(single[i] == uniform_float(philox_word(seed, call, i)));
    const uint32_t low = philox_word(seed, call, 2 * i), high = philox_word(seed, call, 2 * i + 1);
    CHECK(wide[i] == uniform_double(joined_words(low, high)));
  }
}

}  // namespace

int main() {
  thresholds_are_rounded();
  for (const char* isa : {"generic", "avx2", "avx512"}) {
    try {
      set_isa(isa);
    } catch (const std::exception&) {
      continue;  // not on this machine
    }
    for (int64_t n = 0; n < 200; ++n)
      bits_are_the_scalar_words(n, 0x123456789abcdef0 + n, ~static_cast<uint64_t>(n));
    bits_are_the_scalar_words(100'003, 1, 2);  // more than one task
    for (int64_t n : {1, 63, 64, 131, 1000}) uniforms_are_the_scalar_ones(n, 3 + n, ~uint64_t{5});
  }
  std::printf("philox: known answers hold\n");
}
