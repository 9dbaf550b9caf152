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

// acc = step(acc, i, lanes) over [0, n), in chains that do not wait for each other's latency, which
// merge(a, b) joins at the end: one fixed tree for each n.
template <class T, class Step, class Merge>
TW_INLINE Vec<T> fold(int64_t n, Vec<T> start, Step step, Merge merge) {
  constexpr int W = Vec<T>::width, kChains = 4;
  Vec<T> acc[kChains] = {start, start, start, start};
  int64_t i = 0;
  for (; i + kChains * W <= n; i += kChains * W) {
#pragma GCC unroll 4
    for (int k = 0; k < kChains; ++k) acc[k] = step(acc[k], i + k * W, WholeVector<T>{});
  }
  for (; i + W <= n; i += W) acc[0] = step(acc[0], i, WholeVector<T>{});
  if (i < n) acc[1] = step(acc[1], i, PartVector<T>{static_cast<int>(n - i)});
  return merge(merge(acc[0], acc[1]), merge(acc[2], acc[3]));
}

template <class T, class Step>
TW_INLINE T fold_add(int64_t n, Step step) {
  return reduce_add(
      fold<T>(n, Vec<T>::zero(), step, [](Vec<T> a, Vec<T> b) TW_INLINE_LAMBDA { return a + b; }));
}

}  // namespace tilework::TW_ISA
