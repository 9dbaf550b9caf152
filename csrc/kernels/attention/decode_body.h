// Products of few queries with the keys and values as they lie, at any vector width: what decoding
// takes its time with is reading these, so that every one is loaded once for all rows of a tile.
#pragma once

#include "base/arithmetic.h"
#include "kernels/attention/attention.h"
#include "simd/bfloat16.h"

namespace tilework::TW_ISA {
namespace attention {

// Sums in registers: half of the 32 that AVX-512 has, or of 16.
inline constexpr int kSums = sizeof(Vec<float>) == 64 ? 16 : 8;
// Rows that are mixed at once: so few that a tile is as wide as the rows of values are.
inline constexpr int kMixedRows = kSums == 16 ? 4 : 1;
// Keys that stay in L1 while the rows pass over them.
inline constexpr int64_t kKeysInL1 = 32;

// Rows x Keys products.
template <class T, int Rows, int Keys>
TW_INLINE void dot_tile(const FewRows<T>& p, int64_t row, int64_t key, Wide<T>* out) {
  using W = Wide<T>;
  const W* x = p.x + row * p.x_row;
  const T* y = p.y + key * p.y_row;
  Vec<W> sum[Rows][Keys];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < Keys; ++j) sum[r][j] = Vec<W>::zero();
  sweep<W>(p.cols, [&](int64_t c, auto lanes) TW_INLINE_LAMBDA {
    Vec<W> from[Rows];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) from[r] = lanes.load(x + r * p.x_row + c);
#pragma GCC unroll 4
    for (int j = 0; j < Keys; ++j) {
      const Vec<W> with = load(lanes, y + j * p.y_row + c);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) sum[r][j] = fma(from[r], with, sum[r][j]);
    }
  });
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < Keys; ++j) out[(row + r) * p.out_row + key + j] = reduce_add(sum[r][j]);
}

template <class T, int Rows>
TW_INLINE void dot_rows(const FewRows<T>& p, int64_t row, int64_t key, int64_t end, Wide<T>* out) {
  // Few keys at once: memory is read in its order, which the hardware's prefetcher keeps up with.
  constexpr int kKeys = Rows == 4 ? 2 : 4;
  for (; key + kKeys <= end; key += kKeys) dot_tile<T, Rows, kKeys>(p, row, key, out);
  for (; key < end; ++key) dot_tile<T, Rows, 1>(p, row, key, out);
}

// out[r, :] (+)= the sum over keys of x[r, key] y[key, :], for Rows rows and Vecs vectors.
template <class T, int Rows, int Vecs, class Lanes>
TW_INLINE void mix_tile(const FewRows<T>& p, int64_t row, int64_t key, int64_t end, int64_t col,
                        bool add, Lanes lanes, Wide<T>* out) {
  using W = Wide<T>;
  constexpr int64_t kWidth = Vec<W>::width;
  const W* x = p.x + row * p.x_row;
  out += row * p.out_row + col;
  Vec<W> sum[Rows][Vecs];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v)
      sum[r][v] = add ? lanes.load(out + r * p.out_row + v * kWidth) : Vec<W>::zero();
  for (const T* y = p.y + key * p.y_row + col; key < end; ++key, y += p.y_row) {
    Vec<W> with[Vecs];
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v) with[v] = load(lanes, y + v * kWidth);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const Vec<W> weight(x[r * p.x_row + key]);
#pragma GCC unroll 8
      for (int v = 0; v < Vecs; ++v) sum[r][v] = fma(weight, with[v], sum[r][v]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vecs; ++v) lanes.store(out + r * p.out_row + v * kWidth, sum[r][v]);
}

template <class T, int Rows>
TW_INLINE void mix_rows(const FewRows<T>& p, int64_t row, int64_t key, int64_t end, bool add,
                        Wide<T>* out) {
  using W = Wide<T>;
  // Whole rows where they fit: a second pass over their other half would read every other line.
  constexpr int kWide = kSums / Rows < 8 ? kSums / Rows : 8, kNarrow = kWide < 4 ? kWide : 4;
  constexpr int64_t kWidth = Vec<W>::width;
  int64_t c = 0;
  for (; c + kWide * kWidth <= p.cols; c += kWide * kWidth)
    mix_tile<T, Rows, kWide>(p, row, key, end, c, add, WholeVector<W>{}, out);
  for (; c + kNarrow * kWidth <= p.cols; c += kNarrow * kWidth)
    mix_tile<T, Rows, kNarrow>(p, row, key, end, c, add, WholeVector<W>{}, out);
  for (; c + kWidth <= p.cols; c += kWidth)
    mix_tile<T, Rows, 1>(p, row, key, end, c, add, WholeVector<W>{}, out);
  if (c < p.cols)
    mix_tile<T, Rows, 1>(p, row, key, end, c, add, PartVector<W>{static_cast<int>(p.cols - c)},
                         out);
}

// body<Rows>(row) over all rows, in tiles of Most, half as many, and so on.
template <int Most, class Body>
TW_INLINE void for_row_tiles(int64_t rows, Body body, int64_t row = 0) {
  for (; row + Most <= rows; row += Most) body.template operator()<Most>(row);
  if constexpr (Most > 1) for_row_tiles<Most / 2>(rows, body, row);
}

template <class T>
void few_dots(const FewRows<T>& p, Wide<T>* out) {
  for (int64_t key = 0; key < p.keys; key += kKeysInL1) {
    const int64_t end = least(key + kKeysInL1, p.keys);
    for_row_tiles<4>(p.rows, [&]<int Rows>(int64_t row)
                                 TW_INLINE_LAMBDA { dot_rows<T, Rows>(p, row, key, end, out); });
  }
}

template <class T>
void few_mixes(const FewRows<T>& p, bool add, Wide<T>* out) {
  for (int64_t key = 0; key < p.keys; key += kKeysInL1) {
    const int64_t end = least(key + kKeysInL1, p.keys);
    const bool more = add || key > 0;
    for_row_tiles<kMixedRows>(p.rows, [&]<int Rows>(int64_t row) TW_INLINE_LAMBDA {
      mix_rows<T, Rows>(p, row, key, end, more, out);
    });
  }
}

template <class T>
constexpr FewTable<T> few_table() {
  return {few_dots<T>, few_mixes<T>};
}

}  // namespace attention
}  // namespace tilework::TW_ISA
