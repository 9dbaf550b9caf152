// How the products of bfloat16 lay their operands out, and how their sums become C.
#pragma once

#include "kernels/gemm/blocked.h"
#include "kernels/tile/bf16_pack.h"

namespace tilework::TW_ISA::bf16 {

// What BlockedProduct (bf16_blocked.h) asks of a way to lay operands out: a step of the tile covers
// kValues of K.
struct Widened {
  static constexpr int kValues = 1;
  static TW_INLINE WidePanel panel_of_a(int rows, int64_t values, const bfloat16* x, int64_t x_row,
                                        int64_t x_k, float* out) {
    return widen_panel(rows, values, x, x_row, x_k, out);
  }
  static TW_INLINE void block_of_b(int64_t cols, int64_t values, const bfloat16* x, int64_t x_k,
                                   int64_t x_col, float* packed) {
    widen_block(cols, values, x, x_k, x_col, packed);
  }
  static TW_INLINE TileKernel<float> kernel(int rows, int cols, bool packed_a) {
    return tile_kernel<float>(rows, cols, packed_a);
  }
};

// --- C ---

// Puts a block of sums whose corner is at (row, col) into C, with all that follows a product.
inline void finish(const GemmArgs<bfloat16>& g, int64_t row, int64_t col, int64_t rows,
                   int64_t cols, const float* sums, int64_t sums_row) {
  Bfloat16Output c = g.c;
  c += row * g.c_row + col;
  const Epilogue<bfloat16> e = epilogue_at(g.epilogue, row, col);
  const auto put = [&]<class Out>(Out* out) {
    finish_sums<bfloat16, Out>(rows, cols, sums, sums_row, e.accumulate ? out : nullptr, out,
                               g.c_row, e);
  };
  c.is_float ? put(c.wide()) : put(c.narrow());
}

}  // namespace tilework::TW_ISA::bf16
