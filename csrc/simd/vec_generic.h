// Vec<T> in the compilers' own vector extension, 16 bytes wide: SSE on x86-64, NEON on aarch64,
// scalar code where there is neither. Included by vec.h alone.
#pragma once

#include <math.h>
#include <stdint.h>

namespace tilework::TW_ISA {

template <class T>
struct LanesOf;  // a register of T; the signed integers that comparing two gives; one in memory
#define TW_LANES(T, I)                                                           \
  template <>                                                                    \
  struct LanesOf<T> {                                                            \
    typedef T type __attribute__((vector_size(16)));                             \
    typedef I mask __attribute__((vector_size(16)));                             \
    typedef T unaligned __attribute__((vector_size(16), aligned(4), may_alias)); \
  };
TW_LANES(float, int32_t)
TW_LANES(double, int64_t)
TW_LANES(uint32_t, int32_t)
TW_LANES(uint64_t, int64_t)
#undef TW_LANES

template <class T>
struct Mask {
  static constexpr int width = 16 / sizeof(T);
  typename LanesOf<T>::mask m;

  static TW_INLINE Mask first(int n) {
    Mask r{};  // gcc 12 does not see that the loop sets every lane
    for (int i = 0; i < width; ++i) r.m[i] = i < n ? -1 : 0;
    return r;
  }
  friend TW_INLINE Mask operator&(Mask a, Mask b) { return {a.m & b.m}; }
  friend TW_INLINE Mask operator|(Mask a, Mask b) { return {a.m | b.m}; }
  friend TW_INLINE Mask operator!(Mask a) { return {~a.m}; }
  friend TW_INLINE bool any(Mask a) {
    bool r = false;
    for (int i = 0; i < width; ++i) r |= a.m[i] != 0;
    return r;
  }
  friend TW_INLINE bool all(Mask a) { return !any(!a); }
};

template <class T>
struct Vec {
  using Lanes = typename LanesOf<T>::type;
  using Unaligned = typename LanesOf<T>::unaligned;
  static constexpr int width = 16 / sizeof(T);
  Lanes v;

  Vec() = default;
  TW_INLINE Vec(Lanes lanes) : v(lanes) {}
  TW_INLINE Vec(T x) {
    for (int i = 0; i < width; ++i) v[i] = x;
  }
  static TW_INLINE Vec zero() { return Lanes{}; }

  static TW_INLINE Vec load(const T* p) { return Lanes(*reinterpret_cast<const Unaligned*>(p)); }
  static TW_INLINE Vec load_partial(const T* p, int n) {
    Lanes r{};
    for (int i = 0; i < width; ++i)
      if (i < n) r[i] = p[i];
    return r;
  }
  TW_INLINE void store(T* p) const { *reinterpret_cast<Unaligned*>(p) = v; }
  TW_INLINE void store_partial(T* p, int n) const {
    for (int i = 0; i < width; ++i)
      if (i < n) p[i] = v[i];
  }
  TW_INLINE void stream(T* p) const { store(p); }

  friend TW_INLINE Vec operator+(Vec a, Vec b) { return a.v + b.v; }
  friend TW_INLINE Vec operator-(Vec a, Vec b) { return a.v - b.v; }
  friend TW_INLINE Vec operator*(Vec a, Vec b) { return a.v * b.v; }
  friend TW_INLINE Vec operator/(Vec a, Vec b) { return a.v / b.v; }
  friend TW_INLINE Vec operator-(Vec a) { return -a.v; }

  // Integer lanes only.
  friend TW_INLINE Vec operator&(Vec a, Vec b) { return a.v & b.v; }
  friend TW_INLINE Vec operator|(Vec a, Vec b) { return a.v | b.v; }
  friend TW_INLINE Vec operator^(Vec a, Vec b) { return a.v ^ b.v; }
  friend TW_INLINE Vec operator<<(Vec a, int n) { return a.v << n; }
  friend TW_INLINE Vec operator>>(Vec a, int n) { return a.v >> n; }

  friend TW_INLINE Mask<T> operator<(Vec a, Vec b) { return {a.v < b.v}; }
  friend TW_INLINE Mask<T> operator<=(Vec a, Vec b) { return {a.v <= b.v}; }
  friend TW_INLINE Mask<T> operator>(Vec a, Vec b) { return {a.v > b.v}; }
  friend TW_INLINE Mask<T> operator>=(Vec a, Vec b) { return {a.v >= b.v}; }
  friend TW_INLINE Mask<T> operator==(Vec a, Vec b) { return {a.v == b.v}; }
  friend TW_INLINE Mask<T> operator!=(Vec a, Vec b) { return {a.v != b.v}; }

  friend TW_INLINE Vec select(Mask<T> m, Vec a, Vec b) {
    using I = typename LanesOf<T>::mask;
    return Lanes((m.m & I(a.v)) | (~m.m & I(b.v)));
  }
  friend TW_INLINE Vec min(Vec a, Vec b) { return select(a < b, a, b); }
  friend TW_INLINE Vec max(Vec a, Vec b) { return select(a > b, a, b); }
  friend TW_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
  friend TW_INLINE Vec fnma(Vec a, Vec b, Vec c) { return c - a * b; }
};

template <class T>
TW_INLINE Bits<T> to_bits(Vec<T> a) {
  return typename Bits<T>::Lanes(a.v);
}
TW_INLINE Vec<float> from_bits(Vec<uint32_t> b) { return Vec<float>::Lanes(b.v); }
TW_INLINE Vec<double> from_bits(Vec<uint64_t> b) { return Vec<double>::Lanes(b.v); }

TW_INLINE Vec<float> int32_to_float(Vec<uint32_t> b) {
  return __builtin_convertvector(LanesOf<float>::mask(b.v), Vec<float>::Lanes);
}

template <class T>
TW_INLINE Vec<T> pick(Vec<T> v, Bits<T> lanes) {
  Vec<T> r;
  for (int i = 0; i < Vec<T>::width; ++i) r.v[i] = v.v[lanes.v[i]];
  return r;
}

#define TW_LANEWISE(T, S)                                                             \
  TW_INLINE Vec<T> sqrt(Vec<T> a) {                                                   \
    for (int i = 0; i < Vec<T>::width; ++i) a.v[i] = __builtin_sqrt##S(a.v[i]);       \
    return a;                                                                         \
  }                                                                                   \
  TW_INLINE Vec<T> round(Vec<T> a) {                                                  \
    for (int i = 0; i < Vec<T>::width; ++i) a.v[i] = __builtin_rint##S(a.v[i]);       \
    return a;                                                                         \
  }                                                                                   \
  TW_INLINE Vec<T> copysign(Vec<T> magnitude, Vec<T> sign) {                          \
    const Bits<T> top = to_bits(Vec<T>(T(-0.0)));                                     \
    return from_bits((to_bits(sign) & top) | (to_bits(magnitude) & Bits<T>(~top.v))); \
  }                                                                                   \
  TW_INLINE Vec<T> abs(Vec<T> a) { return copysign(a, Vec<T>::zero()); }
TW_LANEWISE(float, f)
TW_LANEWISE(double, )
#undef TW_LANEWISE

// Lanes i and i + n/2, then i and i + n/4, ...: the tree that wider registers have too.
#define TW_REDUCE(name, combine)                            \
  template <class T>                                        \
  TW_INLINE T name(Vec<T> a) {                              \
    for (int half = Vec<T>::width / 2; half > 0; half /= 2) \
      for (int i = 0; i < half; ++i) {                      \
        const T x = a.v[i], y = a.v[i + half];              \
        a.v[i] = combine;                                   \
      }                                                     \
    return a.v[0];                                          \
  }
TW_REDUCE(reduce_add, x + y)
TW_REDUCE(reduce_min, x < y ? x : y)
TW_REDUCE(reduce_max, x > y ? x : y)
#undef TW_REDUCE

TW_INLINE void stream_fence() {}

}  // namespace tilework::TW_ISA
