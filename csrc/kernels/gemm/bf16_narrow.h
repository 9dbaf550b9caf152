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

struct NarrowSizes {
  static constexpr int64_t kTile = kHeight * kColumns, kBlockRow = kPanelsAFinish * kHeight;
  int64_t panel, tiles, block, end;  // in floats; the batch at 0

  NarrowSizes(int64_t m, int64_t k) {
    panel = round_up(least(m, kMostNarrow), kColumns) * k;
    tiles = panel + wide_panel(least(k, Blocks<float>::kc_most));
    block = tiles + kMostNarrow / kColumns * kTile;
    end = block + least(m, kMostNarrow) * kBlockRow;
  }
};

inline size_t narrow_workspace(int64_t m, int64_t, int64_t k) {
  return aligned_bytes<float>(NarrowSizes(m, k).end);
}

inline void narrow_run(const GemmArgs<bfloat16>& g, void* workspace) {
  const NarrowSizes at(g.m, g.k);
  float* batch = static_cast<float*>(workspace);  // A^T in panels
  float *panel = batch + at.panel, *tiles = batch + at.tiles, *block = batch + at.block;
  widen_block(g.m, g.k, g.a.data, g.a.col, g.a.row, batch);
  const Blocks<float> blocks(g.n, g.m, g.k);
  int64_t finished = 0;
  BlocksDone<bfloat16> done(g, 0, g.m);
  for (int64_t p = 0; p < blocks.m_panels; ++p) {
    const Part rows = part(g.n, blocks.m_panels, p);
    const int height = static_cast<int>(rows.size);
    for (int64_t k = 0; k < g.k; k += blocks.kc) {
      const int64_t steps = least(blocks.kc, g.k - k);
      const WidePanel wide =
          widen_panel(height, steps, g.b.data + rows.begin * g.b.col + k, g.b.col, 1, panel);
      for (int64_t i = 0; i < g.m; i += kColumns) {
        const int whole = g.m - i > kWidth ? kColumns : kWidth;  // in full vectors
        tile_kernel<float>(height, whole, false)(steps, wide.a,
                                                 {batch + i * g.k + k * kColumns, kColumns},
                                                 {tiles + i * kHeight, kColumns, whole, k > 0});
      }
    }
    for (int64_t i = 0; i < g.m; i += kColumns)
      for (int r = 0; r < height; r += kWidth) {
        float* to = block + i * at.kBlockRow + rows.begin - finished + r;
        const int lanes = least(height - r, kWidth);
        for_each_column(lanes, least<int64_t>(kColumns, g.m - i),
                        tiles + i * kHeight + r * kColumns, kColumns,
                        [&](int64_t j, Vec<float> v)
                            TW_INLINE_LAMBDA { v.store_partial(to + j * at.kBlockRow, lanes); });
      }
    const int64_t end = rows.begin + rows.size;
    if ((p + 1) % kPanelsAFinish == 0 || p + 1 == blocks.m_panels) {
      finish(g, 0, finished, g.m, end - finished, block, at.kBlockRow);
      finished = end;
      done.up_to(end);
    }
  }
}

}  // namespace tilework::TW_ISA::bf16
