// Widens bfloat16 operands to float32 on their way into the cache, in the order that the float32
// tile reads: what a product of bfloat16 costs more than one of float32 is two instructions a
// vector, what it saves is half the bytes.
#pragma once

#include "base/arithmetic.h"
#include "kernels/tile/pack.h"
#include "simd/bfloat16.h"

namespace tilework::TW_ISA::bf16 {

inline constexpr int kWidth = Vec<float>::width;
inline constexpr int kHeight = Tile<float>::mr, kColumns = Tile<float>::nr;

// The two values of each 32-bit word.
TW_INLINE Vec<float> even_of(Vec<float> words) { return from_bits(to_bits(words) << 16); }
TW_INLINE Vec<float> odd_of(Vec<float> words) {
  return from_bits(to_bits(words) & Vec<uint32_t>(0xffff0000u));
}

// --- A ---

// The stride of a widened panel's rows: no multiple of a page, at which they would share a few sets
// of L1.
TW_INLINE int64_t wide_row(int64_t steps) { return round_up(steps, kWidth) + 16; }
TW_INLINE int64_t wide_panel(int64_t steps) { return kHeight * wide_row(steps); }

struct WidePanel {
  MatrixView<float> a;
  bool packed;
};

// A panel of A in `out` (wide_panel(steps) floats): as it lies where its rows run along k, which
// the tile reads by broadcasts all the same; else packed.
WidePanel widen_panel(int rows, int64_t steps, const bfloat16* x, int64_t x_row, int64_t x_k,
                      float* out);

// --- B ---

// Calls store(pair, words) in ascending order, where `words` holds for each of up to a vector of
// rows the values 2 * pair and 2 * pair + 1. Lanes from `rows` on repeat row 0.
template <class Store>
TW_INLINE void for_each_pair(int rows, int64_t pairs, const bfloat16* x, int64_t x_row,
                             Store&& store) {
  const bfloat16* row[kWidth];
  for (int i = 0; i < kWidth; ++i) row[i] = x + (i < rows ? i * x_row : 0);
  int64_t at = 0;
#if defined(__AVX2__)
  // A transposition of 32-bit words: half the shuffles that as many float32 values take.
  constexpr int group = kLaneGroup<float>;
  const float* word[kWidth];
  for (int i = 0; i < kWidth; ++i) word[i] = reinterpret_cast<const float*>(row[i]);
  for (; at + group <= pairs; at += group) {
    Vec<float> out[group];
    load_transposed(word, at, out);
#pragma GCC unroll 4
    for (int j = 0; j < group; ++j) store(at + j, out[j]);
  }
#endif
  for (; at < pairs; ++at) {
    uint32_t lanes[kWidth];
    for (int i = 0; i < kWidth; ++i)
      lanes[i] = row[i][2 * at].bits | static_cast<uint32_t>(row[i][2 * at + 1].bits) << 16;
    store(at, from_bits(Vec<uint32_t>::load(lanes)));
  }
}

// One panel of B: packed[k * kColumns + i] for i < count, zeros after them.
void widen_columns(int count, int64_t steps, const bfloat16* x, int64_t x_col, int64_t x_k,
                   float* packed);

// A block of B as panels, panel p at packed + p * kColumns * steps; swept as pack_block() does it.
void widen_block(int64_t cols, int64_t steps, const bfloat16* x, int64_t x_k, int64_t x_col,
                 float* packed);

}  // namespace tilework::TW_ISA::bf16
