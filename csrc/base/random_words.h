// What the words of Philox become, the same to the bit on the host and on a device: exact scalings
// of integers, and comparisons of integers.
#pragma once

#include "base/device.h"

namespace tilework {

// The word of a float64, out of two: W[p] = w[2p] | w[2p + 1] << 32.
TW_HOST_DEVICE constexpr uint64_t joined_words(uint32_t low, uint32_t high) {
  return low | uint64_t{high} << 32;
}

// In [0, 1): as many bits as the type has, scaled. The integers are signed, for which vectors have
// a conversion that AVX2 knows.
TW_HOST_DEVICE constexpr float uniform_float(uint32_t word) {
  return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f;
}
TW_HOST_DEVICE constexpr double uniform_double(uint64_t words) {
  return static_cast<double>(static_cast<int64_t>(words >> 11)) * 0x1p-53;
}

// What a pair of normals is made of (kernels/random/random.h): u in (0, 1) and t in [0, 1), exact.
struct UnitPair {
  double u, t;
};
TW_HOST_DEVICE constexpr UnitPair unit_pair(uint32_t a, uint32_t b) {
  return {(static_cast<double>(a) + 0.5) * 0x1p-32, static_cast<double>(b) * 0x1p-32};
}
TW_HOST_DEVICE constexpr UnitPair unit_pair(uint64_t a, uint64_t b) {
  return {(static_cast<double>(static_cast<int64_t>(a >> 12)) + 0.5) * 0x1p-52, uniform_double(b)};
}

// Sine and cosine of 2 pi f for |f| <= 1/8, z = f^2: f two_pi + f (z sine(z) + two_pi_low), and
// 1 + z cosine(z). Minimax, the constant first.
struct TurnPolynomials {
  double two_pi, two_pi_low, sine[7], cosine[8];
};
TW_HOST_DEVICE constexpr TurnPolynomials turn_polynomials() {
  return {
      0x1.921fb54442d18p+2,
      0x1.1a62633145c07p-52,
      {-0x1.4abbce625be53p+5, 0x1.466bc6775aae1p+6, -0x1.32d2cce62b872p+6, 0x1.50783486facaap+5,
       -0x1.e3074d2614b2dp+3, 0x1.e8f036bcd3237p+1, -0x1.6cc577dadd922p-1},
      {-0x1.3bd3cc9be45dep+4, 0x1.03c1f081b5ac4p+6, -0x1.55d3c7e3cbff7p+6, 0x1.e1f506891ae95p+5,
       -0x1.a6d1f2a086c90p+4, 0x1.f9d3870871194p+2, -0x1.b6de8b8e9ba08p+0, 0x1.1e745e5e09f6dp-2}};
}

// An integer in [0, span), for a span of at most 2^32: the product's upper half.
TW_HOST_DEVICE constexpr uint32_t integer_below(uint32_t word, uint64_t span) {
  return static_cast<uint32_t>(word * span >> 32);
}

// Dropout drops what lies below p * 2^32, rounded to nearest even; 2^32 itself drops all. `p` lies
// in [0, 1]. Adding 2^52 rounds: float64 has no fractions there.
TW_HOST_DEVICE constexpr uint64_t dropout_threshold(double p) {
  return static_cast<uint64_t>(p * 0x1p32 + 0x1p52) - (uint64_t{1} << 52);
}
TW_HOST_DEVICE constexpr bool dropout_keeps(uint32_t word, uint32_t threshold) {
  return word >= threshold;
}

}  // namespace tilework
