// A few rows times a matrix that is adjacent along k (a small batch through a linear layer):
// computed as C^T = B^T A^T, with the tile's rows down B and its columns across the batch.
//
// Packing B would cost as much as the product does, since few rows use it. This way B is read once,
// from where it lies, by broadcasts that need no transposition; what is transposed is A and each
// tile of C, which are small. An element's arithmetic is the blocked product's.
#pragma once

#include "kernels/gemm/blocked.h"

namespace tilework::TW_ISA {

template <class T>
inline constexpr int64_t kMostNarrow = 2 * Tile<T>::nr;  // rows of A

// A B packed earlier is read once for each panel of A: with sixteen registers that is as fast, with
// 32 it takes 1.4 times as long unless B lies in an L2, where it saves the transposition of C.
template <class T>
bool narrow_suits(const GemmArgs<T>& g) {
  const bool packed_is_as_fast =
      g.packed.data && (kRegisters < 32 || g.n * g.k <= kBlockOfB<T> / 4);
  return !packed_is_as_fast && g.b.row == 1 && g.m <= kMostNarrow<T> && g.k >= 64 &&
         g.n >= 4 * Tile<T>::mr;
}

template <class T>
struct NarrowSpace {
  T *batch, *tile;  // A^T in panels
  size_t bytes;

  NarrowSpace(int64_t m, int64_t k, void* workspace) {
    constexpr int64_t nr = Tile<T>::nr;
    Arena arena(workspace);
    batch = arena.take<T>(round_up(least(m, kMostNarrow<T>), nr) * k);
    tile = arena.take<T>(Tile<T>::mr * nr);
    bytes = arena.used();
  }
};
template <class T>
size_t narrow_workspace(int64_t m, int64_t, int64_t k) {
  return NarrowSpace<T>(m, k, nullptr).bytes;
}

// Adds or stores the transpose of a tile (height rows of B x width of A) to C.
template <class T>
TW_INLINE void put_transposed(const GemmArgs<T>& g, const T* tile, int height, int width, T* c) {
  using V = Vec<T>;
  for (int i = 0; i < height; i += V::width) {
    const int lanes = least(height - i, V::width);
    for_each_column(lanes, width, tile + i * Tile<T>::nr, Tile<T>::nr, [&](int64_t j, V v) {
      T* at = c + j * g.c_row + i;
      if (g.epilogue.accumulate) v = V::load_partial(at, lanes) + v;
      v.store_partial(at, lanes);
    });
  }
}

template <class T>
void narrow_run(const GemmArgs<T>& g, void* workspace) {
  using Shape = Tile<T>;
  const NarrowSpace<T> space(g.m, g.k, workspace);
  T *const batch = space.batch, *const tile = space.tile;
  pack_block(g.m, g.k, g.a.data, g.a.col, g.a.row, batch);
  const Blocks<T> blocks(g.n, g.m, g.k);
  constexpr int64_t kPanelsAFinish = 8;  // the epilogue runs over that many panels' columns of C
  int64_t finished = 0;
  BlocksDone<T> done(g, 0, g.m);
  for (int64_t p = 0; p < blocks.m_panels; ++p) {
    const Part rows = part(g.n, blocks.m_panels, p);
    const int height = static_cast<int>(rows.size);
    for (int64_t i = 0; i < g.m; i += Shape::nr) {
      const int width = static_cast<int>(least<int64_t>(Shape::nr, g.m - i));
      const int whole = width > Shape::width ? Shape::nr : Shape::width;  // in full vectors
      for (int64_t k = 0; k < g.k; k += blocks.kc) {
        const int64_t steps = least(blocks.kc, g.k - k);
        tile_kernel<T>(height, whole, false)(
            steps, {g.b.data + rows.begin * g.b.col + k, g.b.col, 1},
            {batch + i * g.k + k * Shape::nr, Shape::nr},
            {tile, Shape::nr, whole, k > 0, 1, blocks.chain(steps)});
      }
      put_transposed(g, tile, height, width, g.c + i * g.c_row + rows.begin);
    }
    const int64_t end = rows.begin + rows.size;
    if ((p + 1) % kPanelsAFinish != 0 && p + 1 != blocks.m_panels) continue;
    if (g.epilogue.changes_result())
      finish(g.m, end - finished, g.c + finished, g.c_row, epilogue_at(g.epilogue, 0, finished));
    finished = end;
    done.up_to(end);
  }
}

}  // namespace tilework::TW_ISA
