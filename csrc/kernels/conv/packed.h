// A correlation's weights packed ahead for the blocked routine: for each group, a panel for each
// Tile::nr outs; in a panel, block after block of channels, [tap][channel][out] each.
#pragma once

#include "kernels/conv/blocked.h"
#include "kernels/tile/bf16_pack.h"

namespace tilework::TW_ISA {

TW_INLINE void pack_columns(int count, int64_t steps, const bfloat16* x, int64_t x_col, int64_t x_k,
                            float* packed) {
  bf16::widen_columns(count, steps, x, x_col, x_k, packed);
}
template <class T>
TW_INLINE void pack_columns(int count, int64_t steps, const T* x, int64_t x_col, int64_t x_k,
                            T* packed) {
  pack<T, Padding::zero>(count, Tile<T>::nr, steps, x, x_col, x_k, packed);
}

template <class T>
size_t packed_panel_bytes(const Correlation<T>& g) {
  return g.tap_count * g.channels * Tile<Wide<T>>::nr * sizeof(Wide<T>);
}

// A few panels at a time, where columns are adjacent: of one alone, half a line would be read of
// each row; and the panels lie whole pages apart, so that more would share a few sets of L1.
inline constexpr int64_t kPanelsAtOnce = 4;

// Columns of one tap and block of channels, to the same place of each column's panel.
template <class T>
void pack_strip(int64_t cols, int64_t steps, const T* x, int64_t x_col, int64_t x_k,
                Wide<T>* packed, int64_t panel) {
  using V = Vec<Wide<T>>;
  constexpr int64_t nr = Tile<Wide<T>>::nr;
  const int64_t whole = x_col == 1 ? cols / nr * nr : 0;
  for (int64_t k = 0; k < (whole > 0 ? steps : 0); ++k) {
    Wide<T>* out = packed + k * nr;
    for (int64_t j = 0; j < whole; j += nr, out += panel)
#pragma GCC unroll 2
      for (int64_t i = 0; i < nr; i += V::width)
        load(WholeVector<Wide<T>>{}, x + k * x_k + j + i).store(out + i);
  }
  for (int64_t j = whole; j < cols; j += nr)
    pack_columns(static_cast<int>(least(nr, cols - j)), steps, x + j * x_col, x_col, x_k,
                 packed + j / nr * panel);
}

// bfloat16 is widened.
template <class T>
void pack_panels(const Correlation<T>& g, void* packed) {
  using W = Wide<T>;
  constexpr int64_t nr = Tile<W>::nr, at_once = kPanelsAtOnce * nr;
  const int64_t blocks = channel_blocks_of<W>(g), panel = g.tap_count * g.channels * nr;
  W* out = static_cast<W*>(packed);
  for (int64_t group = 0; group < g.groups; ++group)
    for (int64_t col = 0; col < g.outs; col += at_once) {
      const int64_t cols = least(at_once, g.outs - col);
      W* to = out;
      for (int64_t b = 0; b < blocks; ++b) {
        const Part channels = part(g.channels, blocks, b);
        const T* w = g.weight + group * g.w_group + col * g.w_out + channels.begin * g.w_channel;
        for (int64_t i = 0; i < g.tap_count; ++i, to += channels.size * nr)
          pack_strip(cols, channels.size, w + g.taps[i].weight, g.w_out, g.w_channel, to, panel);
      }
      out += ceil_div(cols, nr) * panel;
    }
}

}  // namespace tilework::TW_ISA
