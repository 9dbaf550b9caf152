// The fills that random.h defines, at any vector width.
#pragma once

#include "base/random_words.h"
#include "kernels/random/random.h"
#include "simd/math.h"
#include "simd/philox_vec.h"

namespace tilework::TW_ISA {

struct SinCos {
  Vec<double> sin, cos;
};

// sin and cos of 2 pi t for t in [0, 1): a multiple of a quarter turn is taken off, exactly, and
// minimax polynomials serve what is left, at most an eighth of a turn.
TW_INLINE SinCos sincos_turns(Vec<double> t) {
  constexpr TurnPolynomials of = turn_polynomials();
  const Vec<double> quarter = round(t * Vec<double>(4.0));
  const Vec<double> f = t - quarter * Vec<double>(0.25), z = f * f;
  const Vec<double> sine = fma(f, Vec<double>(of.two_pi),
                               f * fma(z, polynomial(z, of.sine), Vec<double>(of.two_pi_low)));
  const Vec<double> cosine = fma(z, polynomial(z, of.cosine), Vec<double>(1.0));

  const Mask<double> odd = (quarter == Vec<double>(1.0)) | (quarter == Vec<double>(3.0));
  // The integer's bit 1, as the sign bit: sin changes sign in the quarters 2 and 3, cos in 1 and 2.
  const Bits<double> integer = to_bits(quarter + Vec<double>(0x1p52));
  const Bits<double> sign(uint64_t{1} << 63), one(uint64_t{1});
  const Bits<double> sin_sign = (integer << 62) & sign, cos_sign = ((integer + one) << 62) & sign;
  return {from_bits(to_bits(select(odd, cosine, sine)) ^ sin_sign),
          from_bits(to_bits(select(odd, sine, cosine)) ^ cos_sign)};
}

// One step's words, as elements of a distribution. kElements is what a step of words gives.
struct BitsOfWords {
  using Element = uint32_t;
  static constexpr int kElements = kPhiloxStep;
  static TW_INLINE void convert(const uint32_t* words, uint32_t* out) {
    for (int i = 0; i < kElements; ++i) out[i] = words[i];
  }
};

TW_INLINE uint64_t two_words(const uint32_t* words, int i) {
  return joined_words(words[2 * i], words[2 * i + 1]);
}

template <class T>
struct Uniform;
template <>
struct Uniform<float> {
  using Element = float;
  static constexpr int kElements = kPhiloxStep;
  static TW_INLINE void convert(const uint32_t* words, float* out) {
    for (int i = 0; i < kElements; ++i) out[i] = uniform_float(words[i]);
  }
};
template <>
struct Uniform<double> {
  using Element = double;
  static constexpr int kElements = kPhiloxStep / 2;
  static TW_INLINE void convert(const uint32_t* words, double* out) {
    for (int i = 0; i < kElements; ++i) out[i] = uniform_double(two_words(words, i));
  }
};

template <class T>
struct Normal {
  using Element = T;
  static constexpr int kElements = Uniform<T>::kElements, kPairs = kElements / 2;

  static TW_INLINE UnitPair pair_of(const uint32_t* words, int pair) {
    if constexpr (sizeof(T) == 4)
      return unit_pair(words[2 * pair], words[2 * pair + 1]);
    else
      return unit_pair(two_words(words, 2 * pair), two_words(words, 2 * pair + 1));
  }

  static TW_INLINE void convert(const uint32_t* words, T* out) {
    double u[kPairs], t[kPairs];
    for (int i = 0; i < kPairs; ++i) {
      const UnitPair pair = pair_of(words, i);
      u[i] = pair.u;
      t[i] = pair.t;
    }
    for (int i = 0; i < kPairs; i += Vec<double>::width) {
      const Vec<double> r = sqrt(Vec<double>(-2.0) * log(Vec<double>::load(u + i)));
      const SinCos angle = sincos_turns(Vec<double>::load(t + i));
      (r * angle.cos).store(u + i);
      (r * angle.sin).store(t + i);
    }
    for (int i = 0; i < kPairs; ++i) {
      out[2 * i] = static_cast<T>(u[i]);
      out[2 * i + 1] = static_cast<T>(t[i]);
    }
  }
};

template <class Distribution>
void random_fill(typename Distribution::Element* out, int64_t begin, int64_t end, uint64_t seed,
                 uint64_t call) {
  constexpr int kElements = Distribution::kElements;
  constexpr uint64_t kWordsEach = kPhiloxStep / kElements;
  static_assert(kRandomStep % kElements == 0);
  uint32_t words[kPhiloxStep];
  for (int64_t i = begin; i < end; i += kElements) {
    philox_step(seed, call, static_cast<uint64_t>(i) * kWordsEach, words);
    if (end - i >= kElements) {
      Distribution::convert(words, out + i);
    } else {
      typename Distribution::Element last[kElements];
      Distribution::convert(words, last);
      for (int64_t j = i; j < end; ++j) out[j] = last[j - i];
    }
  }
}

extern const RandomKernels random_kernels;
const RandomKernels random_kernels = {
    random_fill<BitsOfWords>,     random_fill<Uniform<float>>, random_fill<Normal<float>>,
    random_fill<Uniform<double>>, random_fill<Normal<double>>,
};

}  // namespace tilework::TW_ISA
