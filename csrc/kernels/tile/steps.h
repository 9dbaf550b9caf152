// What tiles are made of, inlined into the micro-kernel and into tiles that a family has besides it
// (kernels/conv/segments.h).
#pragma once

#include "kernels/tile/tile.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {

inline constexpr int kPrefetchSteps = 64;
// Adds the sums of a tile to C, or stores them there; `last` says which lanes of a row's last
// vector are in use.
template <bool add, class T, int Rows, int Vectors, class Lanes>
TW_INLINE void put_tile(const Vec<T> (&sum)[Rows][Vectors], T* out, int64_t row, Lanes last) {
  const auto put = [&](T* p, Vec<T> v, auto lanes)
                       TW_INLINE_LAMBDA { lanes.store(p, add ? lanes.load(p) + v : v); };
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i, out += row) {
    // Or the compiler computes every row's address ahead, in a chain and in registers it lacks.
    __asm__("" : "+r"(out));
    if constexpr (Vectors == 2) put(out, sum[i][0], WholeVector<T>{});
    put(out + (Vectors - 1) * Vec<T>::width, sum[i][Vectors - 1], last);
  }
}

// C is wanted when the sums are done: asked for before, it comes while they are made.
template <int Rows, class T>
TW_INLINE void ask_for_tile(const T* out, int64_t row) {
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i, out += row) {
    __asm__("" : "+r"(out));  // as in put_tile()
    __builtin_prefetch(out, 1, 3);
  }
}

// B of one step. It streams from L2, and the requests for what lies `ahead` are what hides that.
template <class T, int Vectors>
TW_INLINE void load_step(const T* pb, int64_t ahead, Vec<T> (&vb)[Vectors]) {
  using V = Vec<T>;
#pragma GCC unroll 2
  for (int j = 0; j < Vectors; ++j) vb[j] = V::load(pb + j * V::width);
  constexpr int kLine = 64 / sizeof(T);
#pragma GCC unroll 4
  for (int j = 0; j < Vectors * V::width; j += kLine) __builtin_prefetch(pb + ahead + j, 0, 3);
}

}  // namespace tilework::TW_ISA
