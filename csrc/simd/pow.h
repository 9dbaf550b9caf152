// x^y of floats within an ulp. The logarithm must be known to eight bits more than float has, since
// the exponent's size counts in the result's relative error: both halves go through double, where
// short polynomials are enough.
#pragma once

#include "simd/math.h"

namespace tilework::TW_ISA {

// low_doubles(v), high_doubles(v): a float vector's halves, widened; floats(low, high): rounded.
#if defined(__AVX512F__)
TW_INLINE Vec<double> low_doubles(Vec<float> v) { return _mm512_cvtps_pd(low_half(v.v)); }
TW_INLINE Vec<double> high_doubles(Vec<float> v) { return _mm512_cvtps_pd(high_half(v.v)); }
TW_INLINE Vec<float> floats(Vec<double> low, Vec<double> high) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low.v)), _mm512_cvtpd_ps(high.v),
                            1);
}
#elif defined(__AVX2__)
TW_INLINE Vec<double> low_doubles(Vec<float> v) {
  return _mm256_cvtps_pd(_mm256_castps256_ps128(v.v));
}
TW_INLINE Vec<double> high_doubles(Vec<float> v) {
  return _mm256_cvtps_pd(_mm256_extractf128_ps(v.v, 1));
}
TW_INLINE Vec<float> floats(Vec<double> low, Vec<double> high) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low.v)),
                              _mm256_cvtpd_ps(high.v), 1);
}
#else
TW_INLINE Vec<double> low_doubles(Vec<float> v) {
  return Vec<double>::Lanes{double{v.v[0]}, double{v.v[1]}};
}
TW_INLINE Vec<double> high_doubles(Vec<float> v) {
  return Vec<double>::Lanes{double{v.v[2]}, double{v.v[3]}};
}
TW_INLINE Vec<float> floats(Vec<double> low, Vec<double> high) {
  return Vec<float>::Lanes{static_cast<float>(low.v[0]), static_cast<float>(low.v[1]),
                           static_cast<float>(high.v[0]), static_cast<float>(high.v[1])};
}
#endif

// log2(x) to 2^-37 of itself for x = 2^e m: e + s q(s^2), s = (m - 1) / (m + 1). A float's
// denormals are normal doubles. 0 gives -1023, infinity 1024.
TW_INLINE Vec<double> log2_of_float(Vec<double> x) {
  constexpr double q[] = {0x1.71547652bed13p+1, 0x1.ec709d13c0821p-1, 0x1.27777f461993ep-1,
                          0x1.a58dceca72ce8p-2, 0x1.5ce39e0f72792p-2};
  const LogParts<double> p = log_parts<double, false>(x);
  const Vec<double> one(1.0), s = (p.mantissa - one) / (p.mantissa + one);
  return fma(s, polynomial(s * s, q), p.exponent);
}

// 2^w to 2^-27 of itself, for any w within float's range; beyond it, what rounds to 0 or infinity.
TW_INLINE Vec<double> exp2_to_float(Vec<double> w) {
  constexpr double p[] = {0x1.62e4302fc626ep-1, 0x1.ebfbe00e63baep-3,  0x1.c6af6cdbbdcc7p-5,
                          0x1.3b2a53045179ap-7, 0x1.5f0890162a90ap-10, 0x1.4413896e1ad27p-13};
  w = max(Vec<double>(-200.0), min(Vec<double>(200.0), w));  // in this order NaN stays
  const Vec<double> n = round(w), r = w - n;
  return pow2_normal(n) * fma(r, polynomial(r, p), Vec<double>(1.0));
}

TW_INLINE Vec<double> power_of_magnitude(Vec<double> x, Vec<double> y) {
  return exp2_to_float(y * log2_of_float(x));
}
// The same where x may be 0, infinite or NaN, and y infinite or NaN.
TW_INLINE Vec<double> power_of_any_magnitude(Vec<double> x, Vec<double> y) {
  const Vec<double> infinity(__builtin_inf()), one(1.0), zero = Vec<double>::zero();
  const Vec<double> log_ends = select(x == zero, -infinity, x);  // of infinity and NaN: themselves
  const Vec<double> log = select((x > zero) & (x < infinity), log2_of_float(x), log_ends);
  return select((y == zero) | (x == one), one, exp2_to_float(y * log));
}

// As C's powf: of a negative x an odd y keeps the sign, and one that is no integer gives NaN.
TW_INLINE Vec<float> pow(Vec<float> x, Vec<float> y) {
  const Vec<float> a = abs(x), zero = Vec<float>::zero(), infinity(__builtin_inff());
  const Vec<double> low = low_doubles(a), high = high_doubles(a);
  const Vec<double> y_low = low_doubles(y), y_high = high_doubles(y);
  Vec<float> r;
  if (__builtin_expect(all((a > zero) & (a < infinity) & (abs(y) < infinity)), 1))
    r = floats(power_of_magnitude(low, y_low), power_of_magnitude(high, y_high));
  else
    r = floats(power_of_any_magnitude(low, y_low), power_of_any_magnitude(high, y_high));
  const Mask<float> negative = copysign(Vec<float>(1.0f), x) < zero;
  if (__builtin_expect(any(negative), 0)) {
    const Vec<float> half = y * Vec<float>(0.5f);
    const Mask<float> whole = round(y) == y, odd = whole & (round(half) != half);
    r = select(negative & odd, -r, r);
    r = select((x < zero) & (a < infinity) & !whole, Vec<float>(__builtin_nanf("")), r);
  }
  return r;
}

}  // namespace tilework::TW_ISA
