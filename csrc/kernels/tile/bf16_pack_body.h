// The bodies of bf16_pack.h, which the room's own ISA files alone compile.
#pragma once

#include "kernels/tile/bf16_pack.h"
#include "simd/bfloat16.h"

namespace tilework::TW_ISA::bf16 {

WidePanel widen_panel(int rows, int64_t steps, const bfloat16* x, int64_t x_row, int64_t x_k,
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

void widen_columns(int count, int64_t steps, const bfloat16* x, int64_t x_col, int64_t x_k,
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

void widen_block(int64_t cols, int64_t steps, const bfloat16* x, int64_t x_k, int64_t x_col,
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

}  // namespace tilework::TW_ISA::bf16
