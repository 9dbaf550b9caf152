// The blocked product of bfloat16 (blocked.h's): sums stay in float32 until K is done, and are
// rounded once. `Way` says how operands are laid out where they are packed, and what multiplies
// them.
//
// Widened, products of bfloat16 are exact in float32, so an element's error is that of its float32
// sum, and denormals, Inf and NaN are as IEEE has them.
#pragma once

#include "kernels/gemm/bf16_ways.h"

namespace tilework::TW_ISA::bf16 {

// Where sums of a block of C wait while K goes by in blocks: those of one call's tiles, in L1,
// where K is one block, else those of as many panels of rows as make 2 MiB. Each block of rows
// packs B anew.
struct SumBlock {
  static constexpr int64_t kMost = 1 << 19, kTiles = 4, kTilesRow = kTiles * kColumns + kWidth;
  int64_t row, panels;

  explicit SumBlock(const Blocks<float>& b) : row(b.k_blocks == 1 ? kTilesRow : b.nc + kWidth) {
    panels = b.k_blocks == 1 ? b.m_panels : least(b.m_panels, kMost / (kHeight * row) + 1);
  }
};

struct BlockedSpace {
  float *panel_a, *block_b, *sums;
  size_t bytes;

  BlockedSpace(int64_t m, int64_t n, int64_t k, void* workspace) {  // k in steps of the tile
    const int64_t kc = least(k, Blocks<float>::kc_most), cols = round_up(n, kColumns);
    const int64_t row = cols + kWidth;
    Arena arena(workspace);
    panel_a = arena.take<float>(wide_panel(kc));
    block_b = arena.take<float>(least(cols * kc, Blocks<float>::b_most + kColumns * kc));
    sums = arena.take<float>(
        k <= kc ? kHeight * SumBlock::kTilesRow
                : least(round_up(m, kHeight) * row, SumBlock::kMost + kHeight * row));
    bytes = arena.used();
  }
};

template <class Way>
class BlockedProduct {
 public:
  BlockedProduct(const GemmArgs<bfloat16>& args, void* workspace)
      : g_(args),
        steps_(ceil_div(args.k, Way::kValues)),
        blocks_(args.m, args.n, steps_),
        sum_block_(blocks_),
        space_(args.m, args.n, steps_, workspace) {}

  static size_t workspace_bytes(int64_t m, int64_t n, int64_t k) {
    return BlockedSpace(m, n, ceil_div(k, Way::kValues), nullptr).bytes;
  }

  void run() {
    for (int64_t j = 0; j < g_.n; j += blocks_.nc)
      for (int64_t p = 0; p < blocks_.m_panels; p += sum_block_.panels)
        for (int64_t kb = 0; kb < blocks_.k_blocks; ++kb) {
          step_ = kb * blocks_.kc;
          count_ = least(blocks_.kc, steps_ - step_);
          k_ = step_ * Way::kValues;
          values_ = least(count_ * Way::kValues, g_.k - k_);
          add_ = kb > 0;
          last_ = kb + 1 == blocks_.k_blocks;
          multiply(j, least(j + blocks_.nc, g_.n), p,
                   least(p + sum_block_.panels, blocks_.m_panels));
        }
  }

 private:
  void multiply(int64_t n_begin, int64_t n_end, int64_t p_begin, int64_t p_end) {
    if (!g_.packed.data)
      Way::block_of_b(n_end - n_begin, values_, g_.b.data + k_ * g_.b.row + n_begin * g_.b.col,
                      g_.b.row, g_.b.col, space_.block_b);
    const int64_t tiles = ceil_div(n_end - n_begin, kColumns);
    const int64_t first_row = part(g_.m, blocks_.m_panels, p_begin).begin;
    for (int64_t p = p_begin; p < p_end; ++p) {
      const Part rows = part(g_.m, blocks_.m_panels, p);
      const int height = static_cast<int>(rows.size);
      const WidePanel panel =
          Way::panel_of_a(height, values_, g_.a.data + rows.begin * g_.a.row + k_ * g_.a.col,
                          g_.a.row, g_.a.col, space_.panel_a);
      const Part next = part(g_.m, blocks_.m_panels, p + 1 < p_end ? p + 1 : p);
      PanelPrefetch<bfloat16> prefetch(g_.a.data + next.begin * g_.a.row + k_ * g_.a.col, next.size,
                                       values_, g_.a.row, g_.a.col, tiles);
      BlocksDone<bfloat16> done(g_, rows.begin, rows.size, n_begin);
      for (int64_t j = n_begin; j < n_end;) {
        const int cols = static_cast<int>(least<int64_t>(kColumns, n_end - j));
        const int in_row =
            static_cast<int>(cols < kColumns ? 1 : least(SumBlock::kTiles, (n_end - j) / kColumns));
        for (int i = 0; i < in_row; ++i) prefetch.next();
        float* sums = blocks_.k_blocks == 1
                          ? space_.sums
                          : space_.sums + (rows.begin - first_row) * sum_block_.row + (j - n_begin);
        Way::kernel(height, cols, panel.packed)(count_, panel.a, panel_of_b(j, n_begin),
                                                {sums, sum_block_.row, cols, add_, in_row});
        if (last_) finish(g_, rows.begin, j, height, cols * in_row, sums, sum_block_.row);
        j += cols * in_row;
        if (last_) done.up_to(j);
      }
    }
  }

  TileB<float> panel_of_b(int64_t j, int64_t n_begin) const {
    if (g_.packed.data)
      return {reinterpret_cast<const float*>(g_.packed.data) + j * steps_ + step_ * kColumns,
              kColumns, nullptr, steps_ * kColumns};
    return {space_.block_b + (j - n_begin) * count_, kColumns, nullptr, count_ * kColumns};
  }

  const GemmArgs<bfloat16>& g_;
  const int64_t steps_;
  const Blocks<float> blocks_;
  const SumBlock sum_block_;
  const BlockedSpace space_;
  int64_t step_ = 0, count_ = 0, k_ = 0, values_ = 0;  // the K block at hand, in steps and values
  bool add_ = false, last_ = false;
};

template <class Way>
void blocked_run(const GemmArgs<bfloat16>& args, void* workspace) {
  BlockedProduct<Way>(args, workspace).run();
}

// B packed ahead: what block_of_b makes of all of it. Widened, it is twice the weight's memory.
template <class Way>
size_t blocked_panel_bytes(int64_t k, MatmulPrecision) {
  return ceil_div(k, Way::kValues) * kColumns * sizeof(float);
}
template <class Way>
void blocked_pack(const GemmArgs<bfloat16>& args, void* packed) {
  Way::block_of_b(args.n, args.k, args.b.data, args.b.row, args.b.col, static_cast<float*>(packed));
}

inline bool blocked_suits(const GemmArgs<bfloat16>&) { return true; }

}  // namespace tilework::TW_ISA::bf16
