// One loop body for whole vectors and for the tail: the tail runs the same arithmetic in masked
// lanes, so that an element's result does not depend on where a block was cut.
//
//   sweep<T>(n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
//     lanes.store(y + i, f(lanes.load(x + i)));
//   });
#pragma once

#include "simd/vec.h"

#define TW_INLINE_LAMBDA __attribute__((always_inline))

namespace tilework::TW_ISA {

template <class T>
struct WholeVector {
  TW_INLINE Vec<T> load(const T* p) const { return Vec<T>::load(p); }
  // As load, but lanes past the end are `other` (here there are none).
  TW_INLINE Vec<T> load_or(const T* p, Vec<T>) const { return Vec<T>::load(p); }
  TW_INLINE void store(T* p, Vec<T> v) const { v.store(p); }
  TW_INLINE Vec<T> keep(Vec<T> v, Vec<T>) const { return v; }
};

template <class T>
struct PartVector {
  int n;
  TW_INLINE Vec<T> load(const T* p) const { return Vec<T>::load_partial(p, n); }
  TW_INLINE Vec<T> load_or(const T* p, Vec<T> other) const {
    return keep(Vec<T>::load_partial(p, n), other);
  }
  TW_INLINE void store(T* p, Vec<T> v) const { v.store_partial(p, n); }
  TW_INLINE Vec<T> keep(Vec<T> v, Vec<T> other) const {
    return select(Mask<T>::first(n), v, other);
  }
};

template <class T, class Body>
TW_INLINE void sweep(int64_t n, Body body) {
  constexpr int W = Vec<T>::width;
  int64_t i = 0;
  for (; i + W <= n; i += W) body(i, WholeVector<T>{});
  if (i < n) body(i, PartVector<T>{static_cast<int>(n - i)});
}

}  // namespace tilework::TW_ISA
