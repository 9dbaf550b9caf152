// The micro-kernel: one tile of C held in registers while A and B stream past it.
//
// The tile is two vectors wide and as high as the register file allows: each step of k loads two
// vectors of B and one scalar of A a row, for two FMAs a row. Each element of C is one chain of
// FMAs in the order of k, whatever the tile's height, A's order or the tail: this is what makes
// results independent of how C is cut.
#pragma once

#include "simd/vec.h"

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

// A as a tile reads it. Packed: step k holds `rows` adjacent elements. Strided: where it lies.
template <class T>
struct TileA {
  const T* data;
  int64_t row, col;
};

template <class T>
struct TileB {
  const T* data;
  int64_t row;  // elements from one k to the next
  // What a later tile reads: a line of each step is asked for into L2. Null: nothing.
  const T* later = nullptr;
};

template <class T>
struct TileC {
  T* data;
  int64_t row;
  int cols;
  bool add;  // to what is there, else overwrite
};

inline constexpr int kPrefetchSteps = 64;

template <class T>
using TileKernel = void (*)(int64_t k, TileA<T> a, TileB<T> b, TileC<T> c);

template <class T, int Rows, int Vectors, bool PackedA>
void tile(int64_t k, TileA<T> a, TileB<T> b, TileC<T> c) {
  using V = Vec<T>;
  V sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) sum[i][j] = V::zero();

  // C is wanted when the loop ends; ask for it before the loop starts.
  T* out = c.data;
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i, out += c.row) {
    __builtin_prefetch(out, 1, 3);
    __builtin_prefetch(out + c.cols - 1, 1, 3);
  }
  // Without this the compiler keeps every row's address in registers, and so on the stack, from
  // here to the end: too dear where k is short.
  out = c.data;
  __asm__("" : "+r"(out));

  // Three rows share a base pointer: base, base + row, base + 2 * row are all x86 addressing modes,
  // so that fourteen rows need five pointers.
  constexpr int kBases = (Rows + 2) / 3;
  const T* base[kBases];
#pragma GCC unroll 8
  for (int i = 0; i < kBases; ++i) base[i] = a.data + 3 * i * a.row;
  const T* packed = a.data;
  const T* pb = b.data;
  const T* later = b.later ? b.later : b.data;
  const int64_t later_row = b.later ? b.row : 0;

  for (int64_t step = 0; step < k; ++step) {
    V vb[Vectors];
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) vb[j] = V::load(pb + j * V::width);
    // A's panel lies in L1; B streams from L2, and these requests are what hides that.
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j)
      __builtin_prefetch(pb + kPrefetchSteps * b.row + j * V::width, 0, 3);
    __builtin_prefetch(later, 0, 2);
    pb += b.row;
    later += later_row;
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const V va = PackedA ? packed[i] : base[i / 3][(i % 3) * a.row];
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) sum[i][j] = fma(va, vb[j], sum[i][j]);
    }
    if constexpr (PackedA) {
      packed += Rows;
    } else {
#pragma GCC unroll 8
      for (int i = 0; i < kBases; ++i) base[i] += a.col;
    }
  }

  if (c.cols == Vectors * V::width) {
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i, out += c.row)
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) {
        T* p = out + j * V::width;
        if (c.add) sum[i][j] = V::load(p) + sum[i][j];
        sum[i][j].store(p);
      }
  } else {
    const int last = c.cols - (Vectors - 1) * V::width;  // lanes of the last vector in use
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i, out += c.row)
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) {
        T* p = out + j * V::width;
        const int lanes = j + 1 < Vectors ? V::width : last;
        if (c.add) sum[i][j] = V::load_partial(p, lanes) + sum[i][j];
        sum[i][j].store_partial(p, lanes);
      }
  }
}

// Kernels by height; entry 0 is unused.
template <class T, int Vectors, bool PackedA, int... Rows>
struct TileRow {
  TileKernel<T> kernel[sizeof...(Rows) + 1] = {nullptr, tile<T, Rows, Vectors, PackedA>...};
};
template <class T, int Vectors, bool PackedA>
constexpr auto tile_row() {
  if constexpr (Tile<T>::mr == 14)
    return TileRow<T, Vectors, PackedA, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14>{};
  else
    return TileRow<T, Vectors, PackedA, 1, 2, 3, 4, 5, 6>{};
}

template <class T>
TW_INLINE TileKernel<T> tile_kernel(int rows, int cols, bool packed_a) {
  static constexpr auto kWidePacked = tile_row<T, 2, true>();
  static constexpr auto kWideStrided = tile_row<T, 2, false>();
  static constexpr auto kNarrowPacked = tile_row<T, 1, true>();
  static constexpr auto kNarrowStrided = tile_row<T, 1, false>();
  if (cols > Tile<T>::width) return packed_a ? kWidePacked.kernel[rows] : kWideStrided.kernel[rows];
  return packed_a ? kNarrowPacked.kernel[rows] : kNarrowStrided.kernel[rows];
}

}  // namespace tilework::TW_ISA
