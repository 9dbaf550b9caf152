// Weights at the points of minimal filtering, packed ahead of a correlation.
#pragma once

#include "kernels/conv/minimal_filtering.h"
#include "kernels/conv/packed.h"

namespace tilework::TW_ISA {

// For each Tile::nr outs [point][channel][out]. One more channel a point keeps the points of one
// channel out of each other's sets of L1; of the first point it says whether taps are alike.
template <class T>
int64_t weight_point(const Correlation<T>& g) {
  return (g.channels + 1) * Tile<Wide<T>>::nr;
}
template <class F, class T>
size_t winograd_unit_bytes(const Correlation<T>& g) {
  return F::points * weight_point(g) * sizeof(Wide<T>);
}

// Weights of some channels and a panel of outs as the definition has them, in L1; bfloat16 is
// widened.
template <class F, class T>
class ArrangedWeights {
  static constexpr int64_t nr = Tile<Wide<T>>::nr;

 public:
  static constexpr int64_t kChannels = 16;  // at most

  explicit ArrangedWeights(const Correlation<T>& g) : g_(g), packer_(g, slots_) {}

  // As [tap][channel][out], until the next call.
  const Wide<T>* of(int64_t group, int64_t col, int64_t channel, int64_t channels) {
    const int outs = static_cast<int>(least(nr, g_.outs - col));
    if constexpr (std::is_same_v<T, Wide<T>>) {
      packer_.run(group, col, outs, channel, channels, taps_);
    } else {
      const T* w = g_.weight + group * g_.w_group + col * g_.w_out + channel * g_.w_channel;
      for (int64_t i = 0; i < F::taps; ++i)
        pack_columns(outs, channels, w + g_.taps[i].weight, g_.w_out, g_.w_channel,
                     taps_ + i * channels * nr);
    }
    return taps_;
  }

 private:
  struct NoPacker {
    NoPacker(const Correlation<T>&, int32_t*) {}
  };
  using Packer = std::conditional_t<std::is_same_v<T, Wide<T>>, PanelPacker<T>, NoPacker>;

  const Correlation<T>& g_;
  int32_t slots_[4 * F::taps];  // the most that PanelPacker asks for
  Packer packer_;
  alignas(64) Wide<T> taps_[F::taps * kChannels * nr];
};

// How much the taps of each of a panel's outs weigh, over channels.
template <class F, class T>
class TapSizes {
  using V = Vec<T>;
  static constexpr int kVectors = Tile<T>::nr / V::width;

 public:
  void add(const T* taps, int64_t channels) {
    for (int t = 0; t < F::taps; ++t)
      for (int64_t c = 0; c < channels; ++c)
        for (int v = 0; v < kVectors; ++v, taps += V::width) sums_[t][v] += abs(V::load(taps));
  }
  // Those of `outs` outs.
  bool alike(int64_t outs) const {
    T smallest[Tile<T>::nr], largest[Tile<T>::nr];
    for (int v = 0; v < kVectors; ++v) {
      V low = sums_[0][v], high = sums_[0][v];
      for (int t = 1; t < F::taps; ++t) low = min(low, sums_[t][v]), high = max(high, sums_[t][v]);
      low.store(smallest + v * V::width);
      high.store(largest + v * V::width);
    }
    for (int64_t o = 0; o < outs; ++o)
      if (largest[o] > kUneven * smallest[o]) return false;
    return true;
  }

 private:
  V sums_[F::taps][kVectors] = {};
};

// Some channels, taps[tap][channel][out], to their points, which lie `point` apart.
template <class F, class T>
void put_weights_at_points(const T* taps, int64_t channels, T* out, int64_t point) {
  using V = Vec<T>;
  const int64_t tap_row = channels * Tile<T>::nr;
  for (int64_t i = 0; i < tap_row; i += V::width)
    transform<F::window, F::patch, V>(
        [&](int row, int tap)
            TW_INLINE_LAMBDA { return V::load(taps + (row * F::window + tap) * tap_row + i); },
        [](const V(&w)[F::window], V(&points)[F::patch])
            TW_INLINE_LAMBDA { F::weights_to_points(w, points); },
        [&](int r, int c, V v) TW_INLINE_LAMBDA { v.store(out + (r * F::patch + c) * point + i); });
}

template <class F, class T>
void winograd_pack(const Correlation<T>& g, void* packed) {
  constexpr int64_t nr = Tile<Wide<T>>::nr;
  ArrangedWeights<F, T> arranged(g);
  Wide<T>* out = static_cast<Wide<T>*>(packed);
  for (int64_t group = 0; group < g.groups; ++group)
    for (int64_t col = 0; col < g.outs; col += nr, out += F::points * weight_point(g)) {
      TapSizes<F, Wide<T>> sizes;
      for (int64_t c = 0; c < g.channels; c += arranged.kChannels) {
        const int64_t length = least(arranged.kChannels, g.channels - c);
        const Wide<T>* taps = arranged.of(group, col, c, length);
        if constexpr (F::at_highest) sizes.add(taps, length);
        put_weights_at_points<F>(taps, length, out + c * nr, weight_point(g));
      }
      out[g.channels * nr] = !F::at_highest || sizes.alike(least(nr, g.outs - col));
    }
}

}  // namespace tilework::TW_ISA
