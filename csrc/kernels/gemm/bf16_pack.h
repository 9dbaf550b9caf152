// Widens bfloat16 operands to float32 on their way into the cache, in the order that the float32
// tile reads: what a product of bfloat16 costs more than one of float32 is two instructions a
// vector, what it saves is half the bytes.
#pragma once

#include "kernels/gemm/blocked.h"
#include "simd/bfloat16.h"

namespace tilework::TW_ISA::bf16 {

inline constexpr int kWidth = Vec<float>::width;
inline constexpr int kHeight = Tile<float>::mr, kColumns = Tile<float>::nr;

TW_INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

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
  TileA<float> a;
  bool packed;
};

// A panel of A in `out` (wide_panel(steps) floats): as it lies where its rows run along k, which
// the tile reads by broadcasts all the same; else packed.
inline WidePanel widen_panel(int rows, int64_t steps, const bfloat16* x, int64_t x_row, int64_t x_k,
                             float* out) {
  if (x_k == 1) {
    const int64_t row = wide_row(steps);
    for (int i = 0; i < rows; ++i)
      sweep<float>(steps, [&](int64_t k, auto lanes) TW_INLINE_LAMBDA {
        lanes.store(out + i * row + k, load(lanes, x + i * x_row + k));
      });
    return {{out, row, 1}, false};
  }
  if (x_row == 1) {  // whole vectors spill into the next step, whose own store comes later
    for (int64_t k = 0; k < steps; ++k)
      for (int i = (rows - 1) / kWidth * kWidth; i >= 0; i -= kWidth)
        load_wide_partial(x + k * x_k + i, least(rows - i, kWidth)).store(out + k * rows + i);
  } else {
    for (int64_t k = 0; k < steps; ++k)
      for (int i = 0; i < rows; ++i) out[k * rows + i] = to_float(x[i * x_row + k * x_k]);
  }
  return {{out, 1, rows}, true};
}

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
inline void widen_columns(int count, int64_t steps, const bfloat16* x, int64_t x_col, int64_t x_k,
                          float* packed) {
  if (x_col != 1 && x_k != 1) {
    for (int64_t k = 0; k < steps; ++k)
      for (int i = 0; i < kColumns; ++i)
        packed[k * kColumns + i] = i < count ? to_float(x[i * x_col + k * x_k]) : 0.0f;
    return;
  }
  for (int i = 0; i < kColumns; i += kWidth) {
    const int lanes = count - i < 0 ? 0 : least(count - i, kWidth);
    float* out = packed + i;
    if (lanes == 0) {
      for (int64_t k = 0; k < steps; ++k) Vec<float>::zero().store(out + k * kColumns);
    } else if (x_col == 1) {
      for (int64_t k = 0; k < steps; ++k)
        load_wide_partial(x + i + k * x_k, lanes).store(out + k * kColumns);
    } else {
      const bfloat16* from = x + i * x_col;
      const Mask<float> used = Mask<float>::first(lanes);
      const auto put = [&](int64_t k, Vec<float> v) TW_INLINE_LAMBDA {
        select(used, v, Vec<float>::zero()).store(out + k * kColumns);
      };
      for_each_pair(lanes, steps / 2, from, x_col, [&](int64_t pair, Vec<float> words) {
        put(2 * pair, even_of(words));
        put(2 * pair + 1, odd_of(words));
      });
      if (steps % 2 != 0)
        for (int j = 0; j < kWidth; ++j)
          out[(steps - 1) * kColumns + j] =
              j < lanes ? to_float(from[j * x_col + steps - 1]) : 0.0f;
    }
  }
}

// A block of B as panels, panel p at packed + p * kColumns * steps; swept as pack_block() does it.
inline void widen_block(int64_t cols, int64_t steps, const bfloat16* x, int64_t x_k, int64_t x_col,
                        float* packed) {
  const int64_t whole = x_col == 1 ? cols / kColumns * kColumns : 0;
  if (whole > 0)
    for (int64_t k = 0; k < steps; ++k) {
      const bfloat16* row = x + k * x_k;
      float* out = packed + k * kColumns;
      for (int64_t j = 0; j < whole; j += kColumns, out += kColumns * steps) {
        __builtin_prefetch(row + j + kPrefetchBytes / sizeof(bfloat16), 0, 3);
        load_wide(row + j).store(out);
        load_wide(row + j + kWidth).store(out + kWidth);
      }
    }
  for (int64_t j = whole; j < cols; j += kColumns)
    widen_columns(static_cast<int>(least<int64_t>(cols - j, kColumns)), steps, x + j * x_col, x_col,
                  x_k, packed + j * steps);
}

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
  with_activation(e.activation, [&]<Activation activation>() {
    const auto put = [&]<class Out>(Out* out) {
      finish_block<activation>(rows, cols, sums, sums_row, e.accumulate ? out : nullptr, out,
                               g.c_row, e);
    };
    c.is_float ? put(c.wide()) : put(c.narrow());
  });
}

}  // namespace tilework::TW_ISA::bf16
