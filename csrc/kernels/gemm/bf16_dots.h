// The blocked product through AVX512-BF16: a step of the tile adds two products of bfloat16 a lane.
//
// vdpbf16ps takes denormals for zeros, going in and coming out, and rounds after each of its two
// products. On AMD's Zen 4 and after it has the rate of an FMA, for twice the products. On Intel's
// Sapphire Rapids and after it has a quarter of that (measured: one in two cycles, where two FMAs
// go in one), and widening to float32 is twice as fast: see base/cpu.h.
#pragma once

#include "kernels/gemm/bf16_blocked.h"
#include "kernels/gemm/bf16_pairs.h"

namespace tilework::avx512 {
extern const GemmKernels gemm_kernels;
}

namespace tilework::TW_ISA::bf16 {

struct Paired {
  static constexpr int kValues = 2;

  static WidePanel panel_of_a(int rows, int64_t values, const bfloat16* x, int64_t x_row,
                              int64_t x_k, float* out) {
    const int64_t steps = ceil_div(values, kValues);
    if (x_k == 1) {
      const int64_t row = wide_row(steps);
      for (int i = 0; i < rows; ++i) copy_words(values, x + i * x_row, out + i * row);
      return {{out, row, 1}, false};
    }
    pairs_of(rows, values, x, x_row, x_k, [&](int64_t pair, Vec<float> words) TW_INLINE_LAMBDA {
      words.store(out + pair * rows);  // spills into the next step, whose own store comes later
    });
    return {{out, 1, rows}, true};
  }

  static void block_of_b(int64_t cols, int64_t values, const bfloat16* x, int64_t x_k,
                         int64_t x_col, float* packed) {
    const int64_t steps = ceil_div(values, kValues);
    for (int64_t j = 0; j < cols; j += kColumns)
      for (int i = 0; i < kColumns; i += kWidth) {
        const int64_t left = cols - j - i;
        float* out = packed + j * steps + i;
        pairs_of(static_cast<int>(left < 0 ? 0 : least<int64_t>(left, kWidth)), values,
                 x + (left > 0 ? j + i : 0) * x_col, x_col, x_k,
                 [&](int64_t pair, Vec<float> words)
                     TW_INLINE_LAMBDA { words.store(out + pair * kColumns); });
      }
  }

  static TW_INLINE TileKernel<float> kernel(int rows, int cols, bool packed_a) {
    return kernel_of(tiles_bf16_pairs, rows, cols, packed_a);
  }
};
static_assert(kHeight <= kWidth);  // pairs_of takes a panel of A at once

// Few rows are bound by reading B, which the narrow routine does in place.
inline bool dots_of_pairs_suit(const GemmArgs<bfloat16>& g) {
  return g.m >= 8 && g.n >= 8 && g.k >= 32;
}

inline constexpr GemmRoutine<bfloat16> kPairedRoutine = {
    "bf16 pairs",
    dots_of_pairs_suit,
    kHeight,
    kColumns,
    BlockedProduct<Paired>::workspace_bytes,
    blocked_run<Paired>,
    blocked_panel_bytes<Paired>,
    blocked_pack<Paired>,
};

// Everything but products of bfloat16, and what does not suit, is AVX-512's.
inline constexpr GemmKernels kPairedTable = {.f32 = nullptr,
                                             .f32_count = 0,
                                             .f64 = nullptr,
                                             .f64_count = 0,
                                             .bf16 = &kPairedRoutine,
                                             .bf16_count = 1,
                                             .activation_backward_f32 = nullptr,
                                             .activation_backward_f64 = nullptr,
                                             .activation_backward_bf16 = nullptr,
                                             .next = &avx512::gemm_kernels};

}  // namespace tilework::TW_ISA::bf16
