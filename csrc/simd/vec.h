// One vector type for every ISA: Vec<T> holds as many T as a register of the ISA being built.
// Kernels are written once against it; the compiler's flags choose the implementation, and TW_ISA
// (set by isa.cmake) the namespace, so that the linker takes nothing here for another ISA's code:
// hence no C++ standard header may be included. The one list of operations, T float or double:
//
//   making      Vec<T>(x)  zero()      every lane x; scalars convert by themselves
//   memory      load(p)  v.store(p)    no alignment is asked for
//               load_partial(p, n)     the first n lanes (0 to width), the others zero, and no
//               store_partial(p, n)    memory past them is touched
//               v.stream(p)            around the cache: p aligned to the vector; before another
//                                      thread may read, stream_fence()
//   arithmetic  + - * /  sqrt  -v abs  also += -= *= /=
//               fma(a, b, c)           a*b + c, and fnma() c - a*b: rounded once where the ISA has
//                                      FMA, twice on generic; nothing exact may be built on it
//               round(v)               to whole numbers, halves to even
//               copysign(a, b)         the magnitude of a with the sign of b
//   order       min(a, b)  max(a, b)   the second operand where either is NaN, or both are zeros
//               min_nan  max_nan       NaN where either is NaN
//   masks       < <= > >= == !=        Mask<T>, which has & | ! any() all() first(n); is_nan(v)
//               select(m, a, b)        a where m, else b
//   exponents   scale_pow2(x, n)       x * 2^n for integral n, right into overflow and denormals
//               pow2_normal(n)         2^n for integral n where that is a normal number
//               scale_normal(x, n)     x * 2^n for such n
//   bits        to_bits  from_bits     as unsigned integers: Vec<uint32_t>, Vec<uint64_t>, which
//                                      load and store, and have + - & | ^ and << >> by a number
//               int32_to_float(b)      lanes of Vec<uint32_t> read as signed
//   lanes       pick(v, lanes)         lane i is v's lane lanes[i], each below width
//               reduce_add  _min _max  across lanes, by halving: one fixed tree for each width
//
// vec_generic.h, vec_avx2.h and vec_avx512.h each have all; what follows from others stands below.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifndef TW_ISA
#error "TW_ISA names the namespace of an ISA file; build it through simd/isa.cmake"
#endif

#define TW_INLINE inline __attribute__((always_inline))

namespace tilework::TW_ISA {

template <class T>
struct Vec;
template <class T>
struct Mask;

// The unsigned integer as wide as T.
template <class T>
struct BitsOf;
template <>
struct BitsOf<float> {
  using type = uint32_t;
};
template <>
struct BitsOf<double> {
  using type = uint64_t;
};
template <class T>
using Bits = Vec<typename BitsOf<T>::type>;

}  // namespace tilework::TW_ISA

#if defined(__AVX512F__)
#include "simd/vec_avx512.h"
#elif defined(__AVX2__)
#include "simd/vec_avx2.h"
#else
#include "simd/vec_generic.h"
#endif

namespace tilework::TW_ISA {

// What follows from the primitives alone, for float and double.
#define TW_DERIVED(T)                                                                      \
  TW_INLINE Vec<T>& operator+=(Vec<T>& a, Vec<T> b) { return a = a + b; }                  \
  TW_INLINE Vec<T>& operator-=(Vec<T>& a, Vec<T> b) { return a = a - b; }                  \
  TW_INLINE Vec<T>& operator*=(Vec<T>& a, Vec<T> b) { return a = a * b; }                  \
  TW_INLINE Vec<T>& operator/=(Vec<T>& a, Vec<T> b) { return a = a / b; }                  \
  TW_INLINE Mask<T> is_nan(Vec<T> a) { return a != a; }                                    \
  TW_INLINE Vec<T> min_nan(Vec<T> a, Vec<T> b) { return select(is_nan(a), a, min(a, b)); } \
  TW_INLINE Vec<T> max_nan(Vec<T> a, Vec<T> b) { return select(is_nan(a), a, max(a, b)); }
TW_DERIVED(float)
TW_DERIVED(double)
#undef TW_DERIVED

// 2^k for integral k, as a normal number. Adding 1.5 * 2^m (m bits of mantissa) leaves the integer
// in the low bits; the shift drops all but the biased exponent.
TW_INLINE Vec<float> pow2_normal(Vec<float> k) {
  return from_bits((to_bits(k + Vec<float>(0x1.8p23f)) + Vec<uint32_t>(127)) << 23);
}
TW_INLINE Vec<double> pow2_normal(Vec<double> k) {
  return from_bits((to_bits(k + Vec<double>(0x1.8p52)) + Vec<uint64_t>(1023)) << 52);
}

#if defined(__AVX512F__)
template <class T>
TW_INLINE Vec<T> scale_normal(Vec<T> x, Vec<T> n) {
  return scale_pow2(x, n);
}
#else
template <class T>
TW_INLINE Vec<T> scale_normal(Vec<T> x, Vec<T> n) {
  return x * pow2_normal(n);
}

// Two factors, so that each is a normal number and only the second product can round. n beyond
// twice the exponents' range counts as that.
template <class T>
TW_INLINE Vec<T> scale_pow2(Vec<T> x, Vec<T> n) {
  const T limit = sizeof(T) == 4 ? 252 : 2044;
  n = max(min(n, Vec<T>(limit)), Vec<T>(-limit));
  const Vec<T> half = round(n * Vec<T>(T(0.5)));
  return x * pow2_normal(half) * pow2_normal(n - half);
}
#endif

}  // namespace tilework::TW_ISA
