// The bodies of pack() and pack_block(), which the room's own ISA files alone instantiate.
#pragma once

#include "kernels/tile/pack.h"

namespace tilework::TW_ISA {

template <class T, Padding padding>
void pack(int count, int places, int64_t steps, const T* x, int64_t x_item, int64_t x_k,
          T* packed) {
  using V = Vec<T>;
  if (x_k == 1 || x_item == 1) {
    for (int i = (places - 1) / V::width * V::width; i >= 0; i -= V::width) {
      const int lanes = count - i < V::width ? (count > i ? count - i : 0) : V::width;
      T* out = packed + i;
      auto store = [&](int64_t k, V v) {
        if (padding == Padding::zero && lanes < V::width)
          v = select(Mask<T>::first(lanes), v, V::zero());
        v.store(out + k * places);
      };
      if (lanes == 0) {
        for (int64_t k = 0; k < steps; ++k) V::zero().store(out + k * places);
      } else if (x_item == 1 && lanes == V::width) {
        for (int64_t k = 0; k < steps; ++k) V::load(x + i + k * x_k).store(out + k * places);
      } else if (x_item == 1) {
        for (int64_t k = 0; k < steps; ++k)
          V::load_partial(x + i + k * x_k, lanes).store(out + k * places);
      } else {
        for_each_column(lanes, steps, x + i * x_item, x_item, store);
      }
    }
    return;
  }
  for (int64_t k = 0; k < steps; ++k)
    for (int i = 0; i < places; ++i)
      packed[k * places + i] = i < count ? x[i * x_item + k * x_k] : T(0);
}

template <class T>
void pack_block(int64_t cols, int64_t steps, const T* x, int64_t x_k, int64_t x_col, T* packed) {
  using V = Vec<T>;
  constexpr int nr = Tile<T>::nr;
  const int64_t whole = x_col == 1 ? cols / nr * nr : 0;
  if (whole > 0)
    for (int64_t k = 0; k < steps; ++k) {
      const T* row = x + k * x_k;
      T* out = packed + k * nr;
      for (int64_t j = 0; j < whole; j += nr, out += nr * steps) {
        __builtin_prefetch(row + j + kPrefetchBytes / sizeof(T), 0, 3);
        __builtin_prefetch(row + j + kPrefetchBytes / sizeof(T) + V::width, 0, 3);
        V::load(row + j).store(out);
        V::load(row + j + V::width).store(out + V::width);
      }
    }
  for (int64_t j = whole; j < cols; j += nr) {
    const int count = static_cast<int>(cols - j < nr ? cols - j : nr);
    pack<T, Padding::zero>(count, nr, steps, x + j * x_col, x_col, x_k, packed + j * steps);
  }
}

}  // namespace tilework::TW_ISA
