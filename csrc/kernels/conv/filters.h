// The filters of minimal filtering: how a line of pixels, of a window or of what flows back goes to
// the points, and back.
#pragma once

#include "simd/vec.h"

namespace tilework::TW_ISA {

// Columns first, then rows: along(one line in, one line out) is one of a filter's.
template <int From, int To, class V, class Load, class Along, class Store>
TW_INLINE void transform(Load load, Along along, Store store) {
  V half[To][From];
#pragma GCC unroll 6
  for (int j = 0; j < From; ++j) {
    V in[From], out[To];
#pragma GCC unroll 6
    for (int i = 0; i < From; ++i) in[i] = load(i, j);
    along(in, out);
#pragma GCC unroll 6
    for (int i = 0; i < To; ++i) half[i][j] = out[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < To; ++i) {
    V out[To];
    along(half[i], out);
#pragma GCC unroll 6
    for (int j = 0; j < To; ++j) store(i, j, out[j]);
  }
}

// F(side x side, window x window): a patch of pixels meets a window at side by side places.
template <int Side, int Window>
struct MinimalFilter {
  static constexpr int side = Side, window = Window, patch = Side + Window - 1;
  static constexpr int points = patch * patch, taps = window * window;
};

// Two pixels a line, of the points 0, +-1 and infinity, or of 0, 1 and infinity. What a pixel of y
// comes from is what its window sees, and halves are exact: this has the definition's accuracy.
template <int Window>
struct TwoByTwo : MinimalFilter<2, Window> {
  static constexpr const char* name = "winograd_2x2";
  static constexpr bool at_highest = true;
  // For fewer channels or outs the transformations outweigh the products that they save.
  static constexpr int64_t fewest_channels = 24;
  // Of roundings: a sum's error grows with the root of it, here to as much as oneDNN's least.
  static constexpr int64_t longest_chain = 32;
};

struct F2x2 : TwoByTwo<3> {
  static constexpr const char* why =
      "3x3 windows: patches of 4x4 pixels by 16 products where the definition has 36";

  template <class V>
  static TW_INLINE void to_points(const V (&x)[patch], V (&out)[patch]) {
    out[0] = x[0] - x[2];
    out[1] = x[1] + x[2];
    out[2] = x[2] - x[1];
    out[3] = x[3] - x[1];
  }

  // Of a patch: load(row, col) to store(row, col, value). In this order no more than three of its
  // columns are in registers.
  template <class V, class Load, class Store>
  static TW_INLINE void patch_to_points(Load load, Store store) {
    const auto column = [&](int c, V(&out)[4]) TW_INLINE_LAMBDA {
      const V in[4] = {load(0, c), load(1, c), load(2, c), load(3, c)};
      to_points(in, out);
    };
    V outer[4], middle[4], right[4];
    column(0, outer);
    column(2, right);
    for (int r = 0; r < 4; ++r) store(r, 0, outer[r] - right[r]);
    column(1, middle);
    for (int r = 0; r < 4; ++r) store(r, 1, middle[r] + right[r]);
    for (int r = 0; r < 4; ++r) store(r, 2, right[r] - middle[r]);
    column(3, outer);
    for (int r = 0; r < 4; ++r) store(r, 3, outer[r] - middle[r]);
  }

  template <class V>
  static TW_INLINE void weights_to_points(const V (&w)[window], V (&out)[patch]) {
    const V even = (w[0] + w[2]) * V(0.5f), odd = w[1] * V(0.5f);
    out[0] = w[0];
    out[1] = even + odd;
    out[2] = even - odd;
    out[3] = w[2];
  }
  template <class V>
  static TW_INLINE void gradient_to_points(const V (&y)[side], V (&out)[patch]) {
    out[0] = y[0];
    out[1] = y[0] + y[1];
    out[2] = y[0] - y[1];
    out[3] = y[1];
  }
  template <class V>
  static TW_INLINE void gradient_from_points(const V (&m)[patch], V (&w)[window]) {
    const V even = (m[1] + m[2]) * V(0.5f);
    w[0] = m[0] + even;
    w[1] = (m[1] - m[2]) * V(0.5f);
    w[2] = even + m[3];
  }
  template <class V>
  static TW_INLINE void from_points(const V (&m)[patch], V (&y)[side]) {
    y[0] = m[0] + (m[1] + m[2]);
    y[1] = (m[1] - m[2]) + m[3];
  }
};

struct F2x2Of2x2 : TwoByTwo<2> {
  static constexpr const char* why =
      "2x2 windows: patches of 3x3 pixels by 9 products where the definition has 16";

  template <class V, class Load, class Store>
  static TW_INLINE void patch_to_points(Load load, Store store) {
    transform<patch, patch, V>(
        load,
        [](const V(&x)[patch], V(&out)[patch]) TW_INLINE_LAMBDA {
          out[0] = x[0] - x[1];
          out[1] = x[1];
          out[2] = x[2] - x[1];
        },
        store);
  }
  template <class V>
  static TW_INLINE void weights_to_points(const V (&w)[window], V (&out)[patch]) {
    out[0] = w[0];
    out[1] = w[0] + w[1];
    out[2] = w[1];
  }
  template <class V>
  static TW_INLINE void from_points(const V (&m)[patch], V (&y)[side]) {
    y[0] = m[0] + m[1];
    y[1] = m[1] + m[2];
  }
};

// The points 0, +-3/4, +-3/2 and infinity, of which the customary ones, +-1 and +-2, lose twice as
// much: here the error is some two bits above the definition's.
struct F4x4 : MinimalFilter<4, 3> {
  static constexpr const char* name = "winograd_4x4";
  static constexpr const char* why =
      "3x3 windows at the precision \"high\": patches of 6x6 pixels by 36 products where the "
      "definition has 144";
  static constexpr bool at_highest = false;
  static constexpr int64_t fewest_channels = 16;
  static constexpr int64_t longest_chain = 128;
  // The points on either side of zero, and their powers: all exact.
  static constexpr float kLow = 0.75f, kLow2 = kLow * kLow, kLow3 = kLow2 * kLow;
  static constexpr float kHigh = 1.5f, kHigh2 = kHigh * kHigh, kHigh3 = kHigh2 * kHigh;
  // What the polynomial through the points weighs each of them by.
  static constexpr float kAtZero = 1 / (kLow2 * kHigh2);
  static constexpr float kAtLow = 1 / (2 * kLow2 * (kLow2 - kHigh2));
  static constexpr float kAtHigh = 1 / (2 * kHigh2 * (kHigh2 - kLow2));

  // From six values in a row to six points.
  template <class V>
  static TW_INLINE void to_points(const V (&x)[patch], V (&out)[patch]) {
    const V even_low = fnma(x[2], V(kHigh2), x[4]), odd_low = fnma(x[1], V(kHigh2), x[3]);
    const V even_high = fnma(x[2], V(kLow2), x[4]), odd_high = fnma(x[1], V(kLow2), x[3]);
    out[0] = fma(x[0], V(kLow2 * kHigh2), fnma(x[2], V(kLow2 + kHigh2), x[4]));
    out[1] = fma(odd_low, V(kLow), even_low);
    out[2] = fnma(odd_low, V(kLow), even_low);
    out[3] = fma(odd_high, V(kHigh), even_high);
    out[4] = fnma(odd_high, V(kHigh), even_high);
    out[5] = fma(x[1], V(kLow2 * kHigh2), fnma(x[3], V(kLow2 + kHigh2), x[5]));
  }

  template <class V, class Load, class Store>
  static TW_INLINE void patch_to_points(Load load, Store store) {
    transform<patch, patch, V>(
        load, [](const V(&in)[patch], V(&out)[patch]) TW_INLINE_LAMBDA { to_points(in, out); },
        store);
  }

  // From a row of a window to six points.
  template <class V>
  static TW_INLINE void weights_to_points(const V (&w)[window], V (&out)[patch]) {
    const V even_low = fma(w[2], V(kLow2), w[0]), odd_low = w[1] * V(kLow);
    const V even_high = fma(w[2], V(kHigh2), w[0]), odd_high = w[1] * V(kHigh);
    out[0] = w[0] * V(kAtZero);
    out[1] = (even_low + odd_low) * V(kAtLow);
    out[2] = (even_low - odd_low) * V(kAtLow);
    out[3] = (even_high + odd_high) * V(kAtHigh);
    out[4] = (even_high - odd_high) * V(kAtHigh);
    out[5] = w[2];
  }

  // From four values in a row to six points: the transpose of from_points().
  template <class V>
  static TW_INLINE void gradient_to_points(const V (&y)[side], V (&out)[patch]) {
    const V even_low = fma(y[2], V(kLow2), y[0]), even_high = fma(y[2], V(kHigh2), y[0]);
    const V odd_low = fma(y[3], V(kLow3), y[1] * V(kLow));
    const V odd_high = fma(y[3], V(kHigh3), y[1] * V(kHigh));
    out[0] = y[0];
    out[1] = even_low + odd_low;
    out[2] = even_low - odd_low;
    out[3] = even_high + odd_high;
    out[4] = even_high - odd_high;
    out[5] = y[3];
  }

  // From six points to a row of a window: the transpose of weights_to_points().
  template <class V>
  static TW_INLINE void gradient_from_points(const V (&m)[patch], V (&w)[window]) {
    const V even_low = (m[1] + m[2]) * V(kAtLow), odd_low = (m[1] - m[2]) * V(kAtLow);
    const V even_high = (m[3] + m[4]) * V(kAtHigh), odd_high = (m[3] - m[4]) * V(kAtHigh);
    w[0] = fma(m[0], V(kAtZero), even_low + even_high);
    w[1] = fma(odd_low, V(kLow), odd_high * V(kHigh));
    w[2] = fma(even_low, V(kLow2), fma(even_high, V(kHigh2), m[5]));
  }

  // From six points to four values.
  template <class V>
  static TW_INLINE void from_points(const V (&m)[patch], V (&y)[side]) {
    const V low = m[1] + m[2], odd_low = m[1] - m[2], high = m[3] + m[4], odd_high = m[3] - m[4];
    y[0] = m[0] + low + high;
    y[1] = fma(odd_low, V(kLow), odd_high * V(kHigh));
    y[2] = fma(low, V(kLow2), high * V(kHigh2));
    y[3] = fma(odd_low, V(kLow3), fma(odd_high, V(kHigh3), m[5]));
  }
};

}  // namespace tilework::TW_ISA
