// The micro-kernel's body, which the room's own ISA files alone instantiate (tile.h).
//
// Each step of k loads two vectors of B and one scalar of A a row, for two FMAs a row: the tile is
// as high as the register file allows.
#pragma once

#include "kernels/tile/steps.h"

namespace tilework::TW_ISA {

// What a step adds to a sum of the product of a lane of A and one of B.
template <class T>
struct MultiplyAdd {
  static TW_INLINE Vec<T> run(Vec<T> a, Vec<T> b, Vec<T> sum) { return fma(a, b, sum); }
};

// What the chains of a tile have come to waits in memory: registers hold the sums of one.
template <int Rows, int Vectors, class T>
TW_INLINE void put_chains(const Vec<T> (&sum)[Rows][Vectors], T* to) {
  __asm__("" : "+r"(to));  // or the compiler looks for registers after all, and spills in the loop
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) sum[i][j].store(to + (i * Vectors + j) * Vec<T>::width);
}
template <int Rows, int Vectors, class T>
TW_INLINE void add_chains(Vec<T> (&sum)[Rows][Vectors], const T* from) {
  __asm__("" : "+r"(from));
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j)
      sum[i][j] = Vec<T>::load(from + (i * Vectors + j) * Vec<T>::width) + sum[i][j];
}

// Tiles of a row follow one another here, and not in calls: between calls a tile waits some five
// steps of k for its first loads, as measured in L1. Operands come by reference: the caller has
// just written their fields one by one, and a copy would load several at once, for which the
// hardware waits until the writes are in L1.
template <class T, int Rows, int Vectors, bool PackedA, class Step = MultiplyAdd<T>>
void tile(int64_t k, const MatrixView<T>& a, const TileB<T>& b, const TileC<T>& c) {
  using V = Vec<T>;
  // A's panel lies in L1.
  const int64_t ahead = kPrefetchSteps * b.row;
  const int64_t a_step = a.col;  // packed only
  const T* b_data = b.data;
  T* out = c.data;
  alignas(64) T chains_before[Rows * Vectors * V::width];  // their sums
  for (int left = c.tiles;; b_data += b.panel, out += Vectors * V::width) {
    ask_for_tile<Rows>(out, c.row);
    V sum[Rows][Vectors];
    // Three rows share a base pointer: base, base + row, base + 2 * row are all x86 addressing
    // modes, so that fourteen rows need five pointers.
    constexpr int kBases = (Rows + 2) / 3;
    const T* base[kBases];
#pragma GCC unroll 8
    for (int i = 0; i < kBases; ++i) base[i] = a.data + 3 * i * a.row;
    const T* packed = a.data;
    const T *pb = b_data, *later = b.later;
    const auto steps = [&]<int count, bool ask_later>() TW_INLINE_LAMBDA {
#pragma GCC unroll 2
      for (int s = 0; s < count; ++s) {
        V vb[Vectors];
        load_step<T, Vectors>(pb, ahead, vb);
        if constexpr (ask_later) {
          __builtin_prefetch(later, 0, 2);
          later += b.later_step;
        }
#pragma GCC unroll 16
        for (int i = 0; i < Rows; ++i) {
          const V va = PackedA ? packed[i] : base[i / 3][(i % 3) * a.row + s];
#pragma GCC unroll 2
          for (int j = 0; j < Vectors; ++j) sum[i][j] = Step::run(va, vb[j], sum[i][j]);
        }
        pb += b.row;
        if constexpr (PackedA) packed += a_step;
      }
      if constexpr (!PackedA) {
#pragma GCC unroll 8
        for (int i = 0; i < kBases; ++i) base[i] += count;
      }
    };
    int64_t step = 0, end = 0;
    const auto whole_turns = [&]<bool ask_later>() TW_INLINE_LAMBDA {
      for (; step + kStepsPerTurn <= end; step += kStepsPerTurn)
        steps.template operator()<kStepsPerTurn, ask_later>();
    };
    for (;;) {
#pragma GCC unroll 16
      for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < Vectors; ++j) sum[i][j] = V::zero();
      const bool first = step == 0;
      end = k - step > c.chain ? step + c.chain : k;
      // A request for nothing new would still take one of the slots that loads compete for.
      if (b.later)
        whole_turns.template operator()<true>();
      else
        whole_turns.template operator()<false>();
      for (; step < end; ++step) steps.template operator()<1, false>();
      if (!first) add_chains<Rows, Vectors>(sum, chains_before);
      if (step == k) break;
      put_chains<Rows, Vectors>(sum, chains_before);
    }

    int cols = c.cols;
    // Or the compiler makes the last vector's mask ahead of the loop and holds it in a register
    // that the sums and B lack.
    __asm__ volatile("" : "+r"(cols));
    const PartVector<T> last{cols - (Vectors - 1) * V::width};
    if (last.n < V::width)
      c.add ? put_tile<true>(sum, out, c.row, last) : put_tile<false>(sum, out, c.row, last);
    else if (c.add)
      put_tile<true>(sum, out, c.row, WholeVector<T>{});
    else
      put_tile<false>(sum, out, c.row, WholeVector<T>{});
    if (--left == 0) return;
  }
}

template <class T, class Step, int... Rows>
constexpr TileTable<T> tile_table_of_heights() {
  return {
      {{{nullptr, tile<T, Rows, 1, false, Step>...}, {nullptr, tile<T, Rows, 2, false, Step>...}},
       {{nullptr, tile<T, Rows, 1, true, Step>...}, {nullptr, tile<T, Rows, 2, true, Step>...}}}};
}
template <class T, class Step = MultiplyAdd<T>>
constexpr TileTable<T> make_tile_table() {
  if constexpr (Tile<T>::mr == 14)
    return tile_table_of_heights<T, Step, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14>();
  else
    return tile_table_of_heights<T, Step, 1, 2, 3, 4, 5, 6>();
}

}  // namespace tilework::TW_ISA
