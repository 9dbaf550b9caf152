// Elementary functions of Vec<float> and Vec<double>, each within its stated bound on every ISA
// (tests/test_simd_math.py measures them), right at zeros, denormals, infinities and NaN.
//
//             float    double   ulp
//   exp       1.5      1.5
//   log       1.5      1.5
//   tanh      2.5      2.5
//   sigmoid   2.5      2.5
//   erf       2.5      1.5
//
// The coefficients are minimax (Remez exchange in 60 digits, weighted by the relative error of the
// function), rounded once to the type. The argument reductions are Cody and Waite's ("Software
// Manual for the Elementary Functions", 1980), with ln 2 split so that n * kLn2Hi is exact: they
// hold without an FMA. log of double follows the series in s = f / (2 + f) of Sun's fdlibm.
#pragma once

#include "simd/vec.h"

namespace tilework::TW_ISA {

// c[0] + c[1] x + c[2] x^2 + ...
template <class T, int N>
TW_INLINE Vec<T> polynomial(Vec<T> x, const T (&c)[N]) {
  Vec<T> sum = Vec<T>(c[N - 1]);
#pragma GCC unroll 16
  for (int i = N - 2; i >= 0; --i) sum = fma(sum, x, Vec<T>(c[i]));
  return sum;
}

template <class T>
struct MathConstants;

template <>
struct MathConstants<float> {
  static constexpr float kLog2E = 0x1.715476p+0f, kLn2Hi = 0x1.63p-1f, kLn2Lo = -0x1.bd0106p-13f;
  // Past these, e^x is 0 or infinite.
  static constexpr float kExpLowest = -104, kExpHighest = 89;
  // 1 - tanh(x) is under half an ulp of 1 where 2x passes this.
  static constexpr float kTanhSaturates = 20;
  // e^r = 1 + r + r^2 p(r) for |r| <= ln(2) / 2
  static constexpr float kExp[] = {0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558f2p-5f, 0x1.123a2p-7f,
                                   0x1.6a23d8p-10f};
  // log(1 + f) = f - f^2 / 2 + f^3 p(f) for sqrt(1/2) <= 1 + f <= sqrt(2)
  static constexpr float kLog[] = {0x1.555554p-2f,  -0x1.000226p-2f, 0x1.99a008p-3f,
                                   -0x1.547244p-3f, 0x1.22da18p-3f,  -0x1.0d8542p-3f,
                                   0x1.055b84p-3f,  -0x1.38b5b4p-4f};
  static constexpr int kMantissaBits = 23, kBias = 127;
  static constexpr float kSmallestNormal = 0x1p-126f, kDenormalScale = 0x1p25f, kDenormalShift = 25;
  static constexpr uint32_t kSqrtHalfBits = 0x3f3504f3;
};

template <>
struct MathConstants<double> {
  static constexpr double kLog2E = 0x1.71547652b82fep+0, kLn2Hi = 0x1.62e42feep-1,
                          kLn2Lo = 0x1.a39ef35793c76p-33;
  static constexpr double kExpLowest = -746, kExpHighest = 710;
  static constexpr double kTanhSaturates = 44;
  static constexpr double kExp[] = {
      0x1.000000000000ap-1,  0x1.55555555554f9p-3,  0x1.555555555083ep-5,  0x1.1111111127d1dp-7,
      0x1.6c16c18438b0fp-10, 0x1.a01a012a0b5f3p-13, 0x1.a01999e265bcep-16, 0x1.71df25b9e336bp-19,
      0x1.28ad9b82233f1p-22, 0x1.ad7f367b57929p-26};
  // log((1 + s) / (1 - s)) = 2 s + s^3 p(s^2) for sqrt(1/2) <= (1 + s) / (1 - s) <= sqrt(2)
  static constexpr double kLog[] = {0x1.5555555555593p-1, 0x1.999999997fb32p-2, 0x1.249249421795p-2,
                                    0x1.c71c51e803d67p-3, 0x1.74664629b729bp-3, 0x1.39a0f54f6746p-3,
                                    0x1.2f0d8b7bf5c42p-3};
  static constexpr int kMantissaBits = 52, kBias = 1023;
  static constexpr double kSmallestNormal = 0x1p-1022, kDenormalScale = 0x1p54, kDenormalShift = 54;
  static constexpr uint64_t kSqrtHalfBits = 0x3fe6a09e667f3bcd;
};

// e^x = 2^n (1 + tail), tail = e^r - 1 without cancellation, |r| <= ln(2) / 2.
template <class T>
struct ExpParts {
  Vec<T> n, tail;
};
template <class T>
TW_INLINE ExpParts<T> exp_parts(Vec<T> x) {
  using C = MathConstants<T>;
  const Vec<T> n = round(x * Vec<T>(C::kLog2E));
  const Vec<T> r = fnma(n, Vec<T>(C::kLn2Lo), fnma(n, Vec<T>(C::kLn2Hi), x));
  return {n, fma(r * r, polynomial(r, C::kExp), r)};
}

template <class T>
TW_INLINE Vec<T> exp(Vec<T> x) {
  using C = MathConstants<T>;
  // The bounds come first: min and max give their second operand where it is NaN.
  x = max(Vec<T>(C::kExpLowest), min(Vec<T>(C::kExpHighest), x));
  const ExpParts<T> e = exp_parts(x);
  return scale_pow2(e.tail + Vec<T>(T(1)), e.n);
}

template <class T>
TW_INLINE Vec<T> sigmoid(Vec<T> x) {
  // Both signs from e^-|x|, which cannot overflow: 1 / (1 + e) and e / (1 + e).
  const Vec<T> one = T(1), e = exp(-abs(x));
  return select(x < Vec<T>::zero(), e, one) / (one + e);
}

// Both, each to its last digit: 1 - sigmoid(x) would lose the small one.
template <class T>
struct Sigmoids {
  Vec<T> of_x, of_minus_x;
};
template <class T>
TW_INLINE Sigmoids<T> sigmoids(Vec<T> x) {
  const Vec<T> e = exp(-abs(x)), larger = Vec<T>(T(1)) / (Vec<T>(T(1)) + e), smaller = e * larger;
  const Mask<T> negative = x < Vec<T>::zero();
  return {select(negative, smaller, larger), select(negative, larger, smaller)};
}

// With t = e^(-2|x|) - 1: |tanh x| = -t / (t + 2).
template <class T>
TW_INLINE Vec<T> tanh(Vec<T> x) {
  using C = MathConstants<T>;
  const Vec<T> one = T(1), two = T(2);
  const ExpParts<T> e = exp_parts(max(Vec<T>(-C::kTanhSaturates), abs(x) * -two));
  const Vec<T> scale = pow2_normal(e.n);
  const Vec<T> t = fma(scale, e.tail, scale - one);
  return copysign(t / (t + two), x);
}

// x = 2^exponent * mantissa, sqrt(1/2) <= mantissa < sqrt(2), for positive finite x (normal x,
// unless kDenormals).
template <class T>
struct LogParts {
  Vec<T> exponent, mantissa;
};
template <class T, bool kDenormals = true>
TW_INLINE LogParts<T> log_parts(Vec<T> x) {
  using C = MathConstants<T>;
  using U = typename BitsOf<T>::type;
  constexpr U one_bits = U(C::kBias) << C::kMantissaBits;
  [[maybe_unused]] const Mask<T> denormal = x < Vec<T>(C::kSmallestNormal);
  if constexpr (kDenormals) x = select(denormal, x * Vec<T>(C::kDenormalScale), x);
  // Counting mantissas from sqrt(1/2) instead of 1 makes the exponent field the one wanted.
  const Bits<T> shifted = to_bits(x) + Bits<T>(one_bits - C::kSqrtHalfBits);
  const Bits<T> mantissa =
      (shifted & Bits<T>((U(1) << C::kMantissaBits) - 1)) + Bits<T>(C::kSqrtHalfBits);
  // An integer under 2^mantissa_bits becomes a float as the low bits of that power of two.
  constexpr T power = T(U(1) << C::kMantissaBits);
  const Vec<T> biased = from_bits((shifted >> C::kMantissaBits) | to_bits(Vec<T>(power)));
  Vec<T> bias(power + C::kBias);
  if constexpr (kDenormals)
    bias = select(denormal, Vec<T>(power + C::kBias + C::kDenormalShift), bias);
  return {biased - bias, from_bits(mantissa)};
}

TW_INLINE Vec<float> log_of_parts(LogParts<float> p) {
  using C = MathConstants<float>;
  const Vec<float> f = p.mantissa - Vec<float>(1.0f), square = f * f;
  Vec<float> low = fma(f * square, polynomial(f, C::kLog), p.exponent * Vec<float>(C::kLn2Lo));
  low = fnma(Vec<float>(0.5f), square, low);
  return fma(p.exponent, Vec<float>(C::kLn2Hi), f + low);
}
TW_INLINE Vec<double> log_of_parts(LogParts<double> p) {
  using C = MathConstants<double>;
  const Vec<double> f = p.mantissa - Vec<double>(1.0), s = f / (f + Vec<double>(2.0)), z = s * s;
  const Vec<double> half_square = Vec<double>(0.5) * f * f;
  const Vec<double> low =
      fma(s, fma(z, polynomial(z, C::kLog), half_square), p.exponent * Vec<double>(C::kLn2Lo));
  return fma(p.exponent, Vec<double>(C::kLn2Hi), f - (half_square - low));
}

template <class T>
TW_INLINE Vec<T> log(Vec<T> x) {
  const Vec<T> zero = Vec<T>::zero(), infinity = T(__builtin_inf());
  const Vec<T> y = log_of_parts(log_parts(x));
  const Mask<T> usual = (x > zero) & (x < infinity);
  if (__builtin_expect(all(usual), 1)) return y;
  const Vec<T> special =
      select(x == zero, -infinity, select(x > zero, x, Vec<T>(T(__builtin_nan("")))));
  return select(usual, y, special);
}

// log(1 + e^x) = max(x, 0) + log(1 + e^-|x|). What rounding takes from u = 1 + e^-|x| is put back,
// in the first order: it is all of e^-|x| where that is small.
template <class T>
TW_INLINE Vec<T> softplus(Vec<T> x) {
  const Vec<T> one = T(1), e = exp(-abs(x)), u = one + e;
  return max(Vec<T>::zero(), x) + (log(u) + (e - (u - one)) / u);
}

// |x| < 1.15: x + x p(x^2). Beyond: 1 - q(|x|)^4, q the fourth root of the complement: a root falls
// off slowly enough for a short polynomial, and neither a division nor an exponential is needed, so
// that gelu keeps up with memory.
TW_INLINE Vec<float> erf(Vec<float> x) {
  constexpr float p[] = {0x1.06eba6p-3f, -0x1.81271cp-2f,  0x1.ce274p-4f,  -0x1.b79e3cp-6f,
                         0x1.5179d6p-8f, -0x1.931df4p-11f, 0x1.1f939ap-14f};
  constexpr float root[] = {0x1.017cbep+0f, -0x1.3d7272p-2f, -0x1.f7102ap-5f, -0x1.ac6716p-5f,
                            0x1.12c678p-4f, -0x1.70daa8p-6f, 0x1.ae9282p-9f,  -0x1.800388p-13f};
  const Vec<float> a = min(Vec<float>(4.0f), abs(x));
  const Vec<float> inner = fma(a, polynomial(a * a, p), a);
  const Vec<float> q = polynomial(a, root), square = q * q;
  const Vec<float> outer = fnma(square, square, Vec<float>(1.0f));
  return copysign(select(a < Vec<float>(1.15f), inner, outer), x);
}

// |x| < 1: x + x P(x^2) / Q(x^2). Beyond: 1 - e^(-x^2) p(1 / (|x| + 2)), where what is subtracted
// is small enough for its own error not to matter.
TW_INLINE Vec<double> erf(Vec<double> x) {
  constexpr double p[] = {0x1.06eba8214db68p-3,  -0x1.449d41eb23bdap-2,  -0x1.8bea36af43b2dp-5,
                          -0x1.20df2e904b33cp-7, -0x1.03d81c2f13b58p-11, -0x1.5bd59278e659cp-16};
  constexpr double q[] = {0x1p+0,
                          0x1.d790aaa7bfc2p-2,
                          0x1.8042219888bf7p-4,
                          0x1.5e640bfb8a7aep-7,
                          0x1.6b1187f6ea7dfp-11,
                          0x1.5d235db140302p-16};
  constexpr double scaled_complement[] = {
      -0x1.a42a7362a506bp-19, 0x1.20f6135914ee5p-1, 0x1.1f8e5044f38bcp+0,   0x1.077cbc2d435e3p+1,
      0x1.e5c14e944a171p+0,   0x1.3c691f736e969p+3, -0x1.48f0e99cf9011p+5,  0x1.4273561c65d71p+7,
      -0x1.fed28e2ccfad4p+8,  0x1.f16494a72c7e7p+9, -0x1.2041b43794c7cp+10, 0x1.7601c1e4c9047p+9,
      -0x1.a843c8dfc6975p+7};
  const Vec<double> one = 1.0, limit = 5.95;
  const Vec<double> a = min(limit, abs(x)), z = a * a;
  const Vec<double> inner = fma(a, polynomial(z, p) / polynomial(z, q), a);
  const Vec<double> t = one / (a + Vec<double>(2.0));
  const Vec<double> outer = fnma(exp(-z), polynomial(t, scaled_complement), one);
  return copysign(select(a < one, inner, outer), x);
}

}  // namespace tilework::TW_ISA
