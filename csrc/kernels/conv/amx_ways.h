// What the tiles take for a value: a float32 split into slices, or a bfloat16 as it is. A chunk of
// 32 channels of a pixel is a line of 64 bytes in each slice; a k-step of weights is a tile of 16
// outs beside another, of pairs of channels in the order that lines have.
#pragma once

#include "kernels/conv/kernels.h"
#include "kernels/conv/widened_images.h"
#include "kernels/gemm/amx_pack.h"
#include "kernels/gemm/bf16_tiles.h"

namespace tilework::TW_ISA::split {

template <int S>
struct Slices {
  using Value = float;
  using Seen = Watch;
  static constexpr int count = S;
  static constexpr bool splits = true;
  static constexpr MatmulPrecision precision = S == 3   ? MatmulPrecision::highest
                                               : S == 2 ? MatmulPrecision::high
                                                        : MatmulPrecision::medium;
  static constexpr int products = products_of(S == 3   ? Sweep::six
                                              : S == 2 ? Sweep::three
                                                       : Sweep::high);
  // The time that packing an element takes, in float32 multiply-adds (amx_gemm.h).
  static constexpr double pack_cost = 40;

  static Seen nothing() { return Watch::nothing(); }
  static void arrange(int64_t cols, int64_t channels, const float* x, int64_t x_col,
                      int64_t x_channel, float* out) {
    arrange_row(cols, channels, x, x_col, x_channel, out);
  }
  static TW_INLINE void put(const float* x, uint16_t* line, int64_t slice_words, Seen& seen) {
    split_line<S>(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16), line, seen, slice_words);
  }
  // The first `channels` of a chunk, zeros after them.
  static TW_INLINE void put_part(const float* x, int channels, uint16_t* line, int64_t slice_words,
                                 Seen& seen) {
    const int first = channels < 16 ? channels : 16;
    const Vec<float> a = Vec<float>::load_partial(x, first);
    const Vec<float> b = Vec<float>::load_partial(x + first, channels - first);
    split_line<S>(a.v, b.v, line, seen, slice_words);
  }
  static void pack_weights(const float* w, int64_t w_out, int64_t w_channel, int64_t outs,
                           int64_t channels, uint16_t* step, Seen& seen) {
    pack_step<S, Side::b>({{w, w_out, w_channel}, outs, channels}, step, seen);
  }
};

// Inf and NaN are as IEEE has them, denormals count as zero: nothing needs another way.
struct AsStored {
  using Value = bfloat16;
  struct Seen {};
  static constexpr int count = 1;
  static constexpr bool splits = false;
  static constexpr int products = products_of(Sweep::high);
  static constexpr double pack_cost = 8;

  static Seen nothing() { return {}; }
  static void arrange(int64_t cols, int64_t channels, const bfloat16* x, int64_t x_col,
                      int64_t x_channel, bfloat16* out) {
    bf16::arrange_bfloat16_row(cols, channels, x, x_col, x_channel, out);
  }
  static TW_INLINE void put(const bfloat16* x, uint16_t* line, int64_t, Seen&) {
    _mm512_store_si512(line, _mm512_loadu_si512(x));
  }
  static TW_INLINE void put_part(const bfloat16* x, int channels, uint16_t* line, int64_t, Seen&) {
    _mm512_store_si512(line, _mm512_setzero_si512());
    bf16::copy_words(channels, x, reinterpret_cast<float*>(line));
  }
  static void pack_weights(const bfloat16* w, int64_t w_out, int64_t w_channel, int64_t outs,
                           int64_t channels, uint16_t* step, Seen&) {
    for (int64_t i = 0; i < kPanel; i += bf16::kTileItems, step += kTileWords) {
      const int64_t left = outs - i;
      bf16::pack_tile_of_b({{w + (left > 0 ? i : 0) * w_out, w_out, w_channel},
                            left > 0 ? least(left, bf16::kTileItems) : 0,
                            channels},
                           step);
    }
  }
};

// Weights of 32 outs: [Profile][chunk][tap], as a panel of B (amx_layout.h).
template <class Way>
struct WeightPanel {
  using Args = Correlation<typename Way::Value>;
  char* data;

  static int64_t bytes(int64_t steps) { return kLine + steps * Way::count * kSliceWords * 2; }
  static size_t bytes_for(const Args& g) {
    return bytes(ceil_div(g.channels, kStep) * g.tap_count);
  }
  Profile& profile() const { return *reinterpret_cast<Profile*>(data); }
  uint16_t* steps() const { return reinterpret_cast<uint16_t*>(data + kLine); }

  // The first 32 outs at most.
  void pack(const Args& g) const {
    const int64_t outs = least(kPanel, g.outs);
    uint16_t* step = steps();
    auto seen = Way::nothing();
    for (int64_t c = 0; c < g.channels; c += kStep)
      for (int64_t t = 0; t < g.tap_count; ++t, step += Way::count * kSliceWords)
        Way::pack_weights(g.weight + g.taps[t].weight + c * g.w_channel, g.w_out, g.w_channel, outs,
                          least(kStep, g.channels - c), step, seen);
    if constexpr (Way::splits) {
      const int64_t count = ceil_div(g.channels, kStep) * g.tap_count;
      const int64_t values = outs * g.channels * g.tap_count;
      profile() = seen.profile(share_filled<Way::count>(steps(), count, values));
    }
  }
};

template <class Way>
void pack_weights(const Correlation<typename Way::Value>& g, void* packed) {
  char* to = static_cast<char*>(packed);
  auto rest = g;
  for (; rest.outs > 0; rest.outs -= kPanel, rest.weight += kPanel * g.w_out) {
    WeightPanel<Way>{to}.pack(rest);
    to += WeightPanel<Way>::bytes_for(g);
  }
}

}  // namespace tilework::TW_ISA::split
