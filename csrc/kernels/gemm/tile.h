// The micro-kernel: a tile of C held in registers while A and B stream past it; then, where it is
// asked for a row of tiles, the next one on its right.
//
// The tile is two vectors wide and as high as the register file allows: each step of k loads two
// vectors of B and one scalar of A a row, for two FMAs a row. Each element of C is one chain of
// FMAs in the order of k, or several that follow one another, whatever the tile's height, A's order
// or the tail: this is what makes results independent of how C is cut.
#pragma once

#include <stdint.h>

#include "simd/sweep.h"

namespace tilework::TW_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kRegisters = 32;
#else
inline constexpr int kRegisters = 16;
#endif

template <class T>
struct Tile {
  static constexpr int width = Vec<T>::width;
  static constexpr int nr = 2 * width;
  // Two accumulators a row; what is left holds B's two vectors and A's scalars.
  static constexpr int mr = (kRegisters - 4) / 2;
};

// A as a tile reads it. Packed: each step of k holds a tile's rows side by side, and the steps lie
// `col` apart: as many elements as the tile has rows in a panel, anything at all in an A^T as it
// lies. Not packed: k is adjacent, rows are `row` apart.
template <class T>
struct TileA {
  const T* data;
  int64_t row, col;
};

template <class T>
struct TileB {
  const T* data;
  int64_t row;  // elements from one k to the next
  // What a later tile reads: asked for into L2, a line and then `later_step` elements further at
  // each step of k. Null: nothing.
  const T* later = nullptr;
  int64_t panel = 0;  // elements from one tile's B to the next tile's, in a row of tiles
  int64_t later_step = 0;
};

template <class T>
struct TileC {
  T* data;
  int64_t row;
  int cols;       // of the tile; each tile of a row has them all
  bool add;       // to what is there, else overwrite
  int tiles = 1;  // in the row
  // Steps of k in a chain of roundings. A sum of several chains errs less than one long chain does.
  int64_t chain = INT64_MAX;
};

inline constexpr int kPrefetchSteps = 64;
// Steps of k in one turn of the loop: additions to pointers compete with FMAs for their ports.
inline constexpr int kStepsPerTurn = 2;

template <class T>
using TileKernel = void (*)(int64_t k, const TileA<T>& a, const TileB<T>& b, const TileC<T>& c);

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

// What a step adds to a sum of the product of a lane of A and one of B.
template <class T>
struct MultiplyAdd {
  static TW_INLINE Vec<T> run(Vec<T> a, Vec<T> b, Vec<T> sum) { return fma(a, b, sum); }
};

// Tiles of a row follow one another here, and not in calls: between calls a tile waits some five
// steps of k for its first loads, as measured in L1. Operands come by reference: the caller has
// just written their fields one by one, and a copy would load several at once, for which the
// hardware waits until the writes are in L1.
template <class T, int Rows, int Vectors, bool PackedA, class Step = MultiplyAdd<T>>
void tile(int64_t k, const TileA<T>& a, const TileB<T>& b, const TileC<T>& c) {
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

// Kernels by height; entry 0 is unused.
template <class T, int Vectors, bool PackedA, class Step, int... Rows>
struct TileRow {
  TileKernel<T> kernel[sizeof...(Rows) + 1] = {nullptr, tile<T, Rows, Vectors, PackedA, Step>...};
};
template <class T, int Vectors, bool PackedA, class Step>
constexpr auto tile_row() {
  if constexpr (Tile<T>::mr == 14)
    return TileRow<T, Vectors, PackedA, Step, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14>{};
  else
    return TileRow<T, Vectors, PackedA, Step, 1, 2, 3, 4, 5, 6>{};
}

template <class T, class Step = MultiplyAdd<T>>
TW_INLINE TileKernel<T> tile_kernel(int rows, int cols, bool packed_a) {
  static constexpr auto kWidePacked = tile_row<T, 2, true, Step>();
  static constexpr auto kWideStrided = tile_row<T, 2, false, Step>();
  static constexpr auto kNarrowPacked = tile_row<T, 1, true, Step>();
  static constexpr auto kNarrowStrided = tile_row<T, 1, false, Step>();
  if (cols > Tile<T>::width) return packed_a ? kWidePacked.kernel[rows] : kWideStrided.kernel[rows];
  return packed_a ? kNarrowPacked.kernel[rows] : kNarrowStrided.kernel[rows];
}

}  // namespace tilework::TW_ISA
