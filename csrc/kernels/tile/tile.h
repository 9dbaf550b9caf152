// The room that families of products share: the micro-kernel (micro_kernel.h), packing (pack.h,
// bf16_pack.h), what follows a sum (epilogue.h) and the workspace arena (arena.h).
//
// It is compiled once for each ISA: this room's own ISA files alone instantiate the *_body.h files
// and the micro-kernel; families see tables and declarations, and call through them, once for a row
// of tiles, a panel or a block. Nothing here allocates, throws or starts a thread.
//
// A tile of C is held in registers while A and B stream past it; then, where it is asked for a row
// of tiles, the next one on its right. It is two vectors wide (or one) and as high as the register
// file allows. The promises:
//
// - Bits. Each element of C is one chain of FMAs in the order of k, or several that follow one
//   another, whatever the tile's height, A's order or the tail: this is what makes results
//   independent of how C is cut.
// - Layout. A lies packed or anywhere; B's columns are adjacent and whole vectors of them are
//   loaded, so that what lies past C's columns must be readable (a packed panel has zeros there);
//   of C only the columns that it has are touched.
// - Aliasing. C overlaps neither A nor B.
// - NaN and Inf in A and B reach every element of C that they are part of. Nothing is skipped for
//   being zero.
#pragma once

#include "kernels/tile/operands.h"
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

// A sum's error grows with the length of its chains and with their number: the sums of a block's
// chains are summed before they meet C. To end a chain takes as long as two or three of its steps.
inline constexpr int64_t kChain = 128;

// Elements of B that stay in an L2 while pixels or rows of A go by: five eighths of one, since the
// rest is for what streams.
template <class T>
inline constexpr int64_t kBlockOfB = (5 << 18) / sizeof(T);

// Steps of k in one turn of the loop: additions to pointers compete with FMAs for their ports.
inline constexpr int kStepsPerTurn = 2;

// B as a tile reads it: each step of k has a tile's columns side by side.
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

// A: packed, each step of k holds a tile's rows side by side, and the steps lie `col` apart: as
// many elements as the tile has rows in a panel, anything at all in an A^T as it lies. Not packed:
// k is adjacent, rows are `row` apart.
template <class T>
using TileKernel = void (*)(int64_t k, const MatrixView<T>& a, const TileB<T>& b,
                            const TileC<T>& c);

template <class T>
struct TileTable {
  TileKernel<T> kernel[2][2][Tile<T>::mr + 1];  // [packed][two vectors][rows]; none of 0 rows
};
#define TW_HIDDEN extern __attribute__((visibility("hidden")))
TW_HIDDEN const TileTable<float> tiles_f32;
TW_HIDDEN const TileTable<double> tiles_f64;
// Each step adds the products of two pairs of bfloat16, in each 32-bit lane; avx512bf16 alone.
TW_HIDDEN const TileTable<float> tiles_bf16_pairs;
#undef TW_HIDDEN

template <class T>
TW_INLINE TileKernel<T> kernel_of(const TileTable<T>& table, int rows, int cols, bool packed_a) {
  return table.kernel[packed_a][cols > Tile<T>::width][rows];
}
TW_INLINE const TileTable<float>& tiles_of(float) { return tiles_f32; }
TW_INLINE const TileTable<double>& tiles_of(double) { return tiles_f64; }
template <class T>
TW_INLINE TileKernel<T> tile_kernel(int rows, int cols, bool packed_a) {
  return kernel_of(tiles_of(T()), rows, cols, packed_a);
}

}  // namespace tilework::TW_ISA
