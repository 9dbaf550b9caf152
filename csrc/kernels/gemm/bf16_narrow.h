// A few rows of bfloat16 times a matrix that is adjacent along k: narrow.h's way, with the rows of
// B widened into L1 a panel at a time, which costs a tenth of the product at 32 rows.
#pragma once

#include "kernels/gemm/bf16_ways.h"

namespace tilework::TW_ISA::bf16 {

inline constexpr int64_t kMostNarrow = 2 * kColumns;  // rows of A
inline constexpr int64_t kPanelsAFinish = 8;

inline bool narrow_suits(const GemmArgs<bfloat16>& g) {
  return g.b.row == 1 && g.m <= kMostNarrow && g.k >= 64 && g.n >= 4 * kHeight;
}

struct NarrowSpace {
  static constexpr int64_t kTile = kHeight * kColumns, kBlockRow = kPanelsAFinish * kHeight;
  float *batch, *panel, *tiles, *block;  // A^T in panels; a panel of B; sums; those to finish
  size_t bytes;

  NarrowSpace(int64_t m, int64_t k, void* workspace) {
    m = least(m, kMostNarrow);
    Arena arena(workspace);
    batch = arena.take<float>(round_up(m, kColumns) * k);
    panel = arena.take<float>(wide_panel(least(k, Blocks<float>::kc_most)));
    tiles = arena.take<float>(kMostNarrow / kColumns * kTile);
    block = arena.take<float>(m * kBlockRow);
    bytes = arena.used();
  }
};

inline size_t narrow_workspace(int64_t m, int64_t, int64_t k) {
  return NarrowSpace(m, k, nullptr).bytes;
}

inline void narrow_run(const GemmArgs<bfloat16>& g, void* workspace) {
  const NarrowSpace at(g.m, g.k, workspace);
  widen_block(g.m, g.k, g.a.data, g.a.col, g.a.row, at.batch);
  const Blocks<float> blocks(g.n, g.m, g.k);
  int64_t finished = 0;
  BlocksDone<bfloat16> done(g, 0, g.m);
  for (int64_t p = 0; p < blocks.m_panels; ++p) {
    const Part rows = part(g.n, blocks.m_panels, p);
    const int height = static_cast<int>(rows.size);
    for (int64_t k = 0; k < g.k; k += blocks.kc) {
      const int64_t steps = least(blocks.kc, g.k - k);
      const WidePanel wide =
          widen_panel(height, steps, g.b.data + rows.begin * g.b.col + k, g.b.col, 1, at.panel);
      for (int64_t i = 0; i < g.m; i += kColumns) {
        const int whole = g.m - i > kWidth ? kColumns : kWidth;  // in full vectors
        tile_kernel<float>(height, whole, false)(steps, wide.a,
                                                 {at.batch + i * g.k + k * kColumns, kColumns},
                                                 {at.tiles + i * kHeight, kColumns, whole, k > 0});
      }
    }
    for (int64_t i = 0; i < g.m; i += kColumns)
      for (int r = 0; r < height; r += kWidth) {
        float* to = at.block + i * at.kBlockRow + rows.begin - finished + r;
        const int lanes = least(height - r, kWidth);
        for_each_column(lanes, least<int64_t>(kColumns, g.m - i),
                        at.tiles + i * kHeight + r * kColumns, kColumns,
                        [&](int64_t j, Vec<float> v)
                            TW_INLINE_LAMBDA { v.store_partial(to + j * at.kBlockRow, lanes); });
      }
    const int64_t end = rows.begin + rows.size;
    if ((p + 1) % kPanelsAFinish == 0 || p + 1 == blocks.m_panels) {
      finish(g, 0, finished, g.m, end - finished, at.block, at.kBlockRow);
      finished = end;
      done.up_to(end);
    }
  }
}

}  // namespace tilework::TW_ISA::bf16
