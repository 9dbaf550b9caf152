// The blocked product of bfloat16 through the float32 tile (blocked.h): blocks of A and B are
// widened where they are packed, sums stay in float32 until K is done, and are rounded once.
//
// Products of bfloat16 are exact in float32, so an element's error is that of its float32 sum, and
// denormals, Inf and NaN are as IEEE has them.
#pragma once

#include "kernels/gemm/bf16_pack.h"

namespace tilework::TW_ISA::bf16 {

// Where sums of a block of C wait while K goes by in blocks: one tile's in L1 where K is one block,
// else those of as many panels of rows as make 2 MiB. Each block of rows packs B anew.
struct SumBlock {
  static constexpr int64_t kMost = 1 << 19;
  int64_t row, panels;

  explicit SumBlock(const Blocks<float>& b) : row(b.k_blocks == 1 ? kColumns : b.nc + kWidth) {
    panels = b.k_blocks == 1 ? b.m_panels : least(b.m_panels, kMost / (kHeight * row) + 1);
  }
};

struct BlockedSizes {
  int64_t panel, b, sums, end;  // where each begins, in bytes: the panel of A at 0

  BlockedSizes(int64_t m, int64_t n, int64_t k) {
    const int64_t kc = least(k, Blocks<float>::kc_most);
    const int64_t tile = kHeight * kColumns;
    b = aligned_bytes<float>(wide_panel(kc));
    sums = b + aligned_bytes<float>(
                   least(round_up(n, kColumns) * kc, Blocks<float>::b_most + kColumns * kc));
    const int64_t rows = ceil_div(m, kHeight) * kHeight, row = round_up(n, kColumns) + kWidth;
    end = sums +
          aligned_bytes<float>(k <= kc ? tile : least(rows * row, SumBlock::kMost + kHeight * row));
  }
};

class BlockedProduct {
 public:
  BlockedProduct(const GemmArgs<bfloat16>& args, void* workspace)
      : g_(args), blocks_(args.m, args.n, args.k), sum_block_(blocks_) {
    const BlockedSizes at(args.m, args.n, args.k);
    panel_a_ = static_cast<float*>(workspace);
    block_b_ = panel_a_ + at.b / sizeof(float);
    sums_ = panel_a_ + at.sums / sizeof(float);
  }

  void run() {
    for (int64_t j = 0; j < g_.n; j += blocks_.nc)
      for (int64_t p = 0; p < blocks_.m_panels; p += sum_block_.panels)
        for (int64_t kb = 0; kb < blocks_.k_blocks; ++kb) {
          k_ = kb * blocks_.kc;
          kc_ = least(blocks_.kc, g_.k - k_);
          add_ = kb > 0;
          last_ = kb + 1 == blocks_.k_blocks;
          multiply(j, least(j + blocks_.nc, g_.n), p,
                   least(p + sum_block_.panels, blocks_.m_panels));
        }
  }

 private:
  void multiply(int64_t n_begin, int64_t n_end, int64_t p_begin, int64_t p_end) {
    if (!g_.packed.data)
      widen_block(n_end - n_begin, kc_, g_.b + k_ * g_.b_row + n_begin * g_.b_col, g_.b_row,
                  g_.b_col, block_b_);
    const int64_t tiles = ceil_div(n_end - n_begin, kColumns);
    const int64_t first_row = part(g_.m, blocks_.m_panels, p_begin).begin;
    for (int64_t p = p_begin; p < p_end; ++p) {
      const Part rows = part(g_.m, blocks_.m_panels, p);
      const int height = static_cast<int>(rows.size);
      const WidePanel panel = widen_panel(height, kc_, g_.a + rows.begin * g_.a_row + k_ * g_.a_col,
                                          g_.a_row, g_.a_col, panel_a_);
      const Part next = part(g_.m, blocks_.m_panels, p + 1 < p_end ? p + 1 : p);
      PanelPrefetch<bfloat16> prefetch(g_.a + next.begin * g_.a_row + k_ * g_.a_col, next.size, kc_,
                                       g_.a_row, g_.a_col, tiles);
      for (int64_t j = n_begin; j < n_end; j += kColumns) {
        prefetch.next();
        const int cols = static_cast<int>(least<int64_t>(kColumns, n_end - j));
        float* sums = blocks_.k_blocks == 1
                          ? sums_
                          : sums_ + (rows.begin - first_row) * sum_block_.row + (j - n_begin);
        tile_kernel<float>(height, cols, panel.packed)(kc_, panel.a, panel_of_b(j, n_begin),
                                                       {sums, sum_block_.row, cols, add_});
        if (last_) finish(g_, rows.begin, j, height, cols, sums, sum_block_.row);
      }
    }
  }

  TileB<float> panel_of_b(int64_t j, int64_t n_begin) const {
    if (g_.packed.data)
      return {reinterpret_cast<const float*>(g_.packed.data) + j * g_.k + k_ * kColumns, kColumns};
    return {block_b_ + (j - n_begin) * kc_, kColumns};
  }

  const GemmArgs<bfloat16>& g_;
  const Blocks<float> blocks_;
  const SumBlock sum_block_;
  float *panel_a_, *block_b_, *sums_;
  int64_t k_ = 0, kc_ = 0;  // the K block at hand
  bool add_ = false, last_ = false;
};

inline void blocked_run(const GemmArgs<bfloat16>& args, void* workspace) {
  BlockedProduct(args, workspace).run();
}
inline size_t blocked_workspace(int64_t m, int64_t n, int64_t k) {
  return BlockedSizes(m, n, k).end;
}
inline bool blocked_suits(const GemmArgs<bfloat16>&) { return true; }

// B packed ahead is float32: widened once, and twice the memory of the weight.
inline size_t blocked_panel_bytes(int64_t k, MatmulPrecision) {
  return k * kColumns * sizeof(float);
}
inline void blocked_pack(const GemmArgs<bfloat16>& args, void* packed) {
  widen_block(args.n, args.k, args.b, args.b_row, args.b_col, static_cast<float*>(packed));
}

}  // namespace tilework::TW_ISA::bf16
