// A correlation's weights packed ahead for the blocked routine: for each group, a panel for each
// Tile::nr outs; in a panel, block after block of channels, [tap][channel][out] each.
#pragma once

#include "kernels/conv/blocked.h"
#include "kernels/gemm/bf16_pack.h"

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

// bfloat16 is widened.
template <class T>
void pack_panels(const Correlation<T>& g, void* packed) {
  using W = Wide<T>;
  constexpr int64_t nr = Tile<W>::nr;
  const int64_t blocks = channel_blocks_of<W>(g);
  W* out = static_cast<W*>(packed);
  for (int64_t group = 0; group < g.groups; ++group)
    for (int64_t col = 0; col < g.outs; col += nr)
      for (int64_t b = 0; b < blocks; ++b) {
        const Part channels = part(g.channels, blocks, b);
        const T* w = g.weight + group * g.w_group + col * g.w_out + channels.begin * g.w_channel;
        for (int64_t i = 0; i < g.tap_count; ++i, out += channels.size * nr)
          pack_columns(static_cast<int>(least(nr, g.outs - col)), channels.size,
                       w + g.taps[i].weight, g.w_out, g.w_channel, out);
      }
}

}  // namespace tilework::TW_ISA
