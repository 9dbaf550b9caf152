// Operands of bfloat16 as 32-bit words of two values, 2 j in the low half and 2 j + 1 in the high
// one: what the CPU's own dot products read. Packed from any strides; beyond an odd end of K, and
// beyond the last item, are zeros.
#pragma once

#include "kernels/tile/bf16_pack.h"

namespace tilework::TW_ISA::bf16 {

// Words of two widened vectors.
TW_INLINE Vec<float> words_of(Vec<float> even, Vec<float> odd) {
  return from_bits((to_bits(even) >> 16) | to_bits(odd));
}

// Calls store(pair, words) in ascending order for each pair of `values` along k, with the words of
// `items` rows or columns (a vector at most).
template <class Store>
TW_INLINE void pairs_of(int items, int64_t values, const bfloat16* x, int64_t x_item, int64_t x_k,
                        Store&& store) {
  const int64_t whole = values / 2;
  if (x_k == 1) {
    const Mask<float> used = Mask<float>::first(items);
    for_each_pair(items, whole, x, x_item, [&](int64_t pair, Vec<float> words) TW_INLINE_LAMBDA {
      store(pair, select(used, words, Vec<float>::zero()));
    });
  } else if (x_item == 1) {
    for (int64_t pair = 0; pair < whole; ++pair) {
      const bfloat16* row = x + 2 * pair * x_k;
      store(pair, words_of(load_wide_partial(row, items), load_wide_partial(row + x_k, items)));
    }
  }
  const auto gathered = [&](int64_t k) {
    float lanes[kWidth] = {};
    for (int i = 0; i < items; ++i) lanes[i] = to_float(x[i * x_item + k * x_k]);
    return Vec<float>::load(lanes);
  };
  if (x_k != 1 && x_item != 1)
    for (int64_t pair = 0; pair < whole; ++pair)
      store(pair, words_of(gathered(2 * pair), gathered(2 * pair + 1)));
  if (values % 2 != 0) store(whole, words_of(gathered(values - 1), Vec<float>::zero()));
}

// The words of a row whose values are adjacent.
TW_INLINE void copy_words(int64_t values, const bfloat16* x, float* out) {
  const int64_t whole = values / 2;
  sweep<float>(whole, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
    lanes.store(out + j, lanes.load(reinterpret_cast<const float*>(x) + j));
  });
  if (values % 2 != 0)
    words_of(Vec<float>(to_float(x[values - 1])), Vec<float>::zero()).store_partial(out + whole, 1);
}

}  // namespace tilework::TW_ISA::bf16
