// Groups of rows for every vector width. Included by the ISA files alone.
//
// A block of columns stays in registers while the rows of a group pass: they are read once, and
// the result is written once. Rows lie anywhere: the next ones are asked for ahead.
#pragma once

#include "base/arithmetic.h"
#include "base/widen.h"
#include "kernels/embedding/embedding.h"
#include "simd/bfloat16.h"
#include "simd/stream.h"

namespace tilework::TW_ISA {
namespace embedding {

inline constexpr int64_t kChain = 32;  // rows whose sum is taken in T

// --- sums ---

// Rows [k, stop) of the members added to acc: kVectors vectors of the columns from j on, or the
// part of one that `lanes` is.
template <int kVectors, class T, class Lanes>
TW_INLINE void add_chain(const RowGroups<T>& s, int64_t k, int64_t stop, int64_t j, Lanes lanes,
                         Vec<Wide<T>>* acc) {
  constexpr int V = Vec<Wide<T>>::width;
  for (; k < stop; ++k) {
    const T* row = s.x + s.members[k] * s.cols + j;
    const T* next = s.x + s.members[k + kRowsAhead] * s.cols + j;
    if (s.weights) {
      const Vec<Wide<T>> weight(wide(s.weights[k]));
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc[v] = fma(load(lanes, row + v * V), weight, acc[v]);
    } else {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc[v] += load(lanes, row + v * V);
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) __builtin_prefetch(next + v * V);
  }
}

template <int kVectors, bool kStream, class T, class Lanes>
TW_INLINE void sum_block(const RowGroups<T>& s, int64_t g, int64_t j, Lanes lanes) {
  using W = Wide<T>;
  constexpr int V = Vec<W>::width, kColumns = kVectors * V;
  const int64_t begin = s.starts[g], end = s.starts[g + 1], at = g * s.cols + j;
  Vec<W> acc[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v)
    acc[v] = s.before ? load(lanes, s.before + at + v * V) : Vec<W>::zero();
  if (sizeof(W) == sizeof(double) || end - begin <= kChain) {
    add_chain<kVectors>(s, begin, end, j, lanes, acc);
  } else {
    double total[kColumns] = {};
    W part[kColumns];
    for (int64_t k = begin; k < end; k += kChain) {
      add_chain<kVectors>(s, k, least(k + kChain, end), j, lanes, acc);
      for (int v = 0; v < kVectors; ++v) acc[v].store(part + v * V);
      for (int v = 0; v < kVectors; ++v) acc[v] = Vec<W>::zero();
      for (int i = 0; i < kColumns; ++i) total[i] += static_cast<double>(part[i]);
    }
    for (int i = 0; i < kColumns; ++i) part[i] = static_cast<W>(total[i]);
    for (int v = 0; v < kVectors; ++v) acc[v] = Vec<W>::load(part + v * V);
  }
  const Vec<W> count(static_cast<W>(s.mean && end > begin ? end - begin : 1));
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const Vec<W> sum = s.mean ? acc[v] / count : acc[v];
    if constexpr (kStream)
      put<true>(lanes, s.y + at + v * V, sum);
    else
      store(lanes, s.y + at + v * V, sum);
  }
}

// work(count of vectors, first column, lanes) for all columns, wide blocks first.
template <class W, int kMost, class Work>
TW_INLINE void for_each_block(int64_t cols, Work work) {
  constexpr int V = Vec<W>::width;
  int64_t j = 0;
  for (; j + kMost * V <= cols; j += kMost * V)
    work.template operator()<kMost>(j, WholeVector<W>{});
  if constexpr (kMost > 2) {
    if (j + kMost / 2 * V <= cols) {
      work.template operator()<kMost / 2>(j, WholeVector<W>{});
      j += kMost / 2 * V;
    }
  }
  for (; j + V <= cols; j += V) work.template operator()<1>(j, WholeVector<W>{});
  if (j < cols) work.template operator()<1>(j, PartVector<W>{static_cast<int>(cols - j)});
}

template <bool kStream, class T>
TW_INLINE void sums(const RowGroups<T>& s, int64_t begin, int64_t end) {
  for (int64_t g = begin; g < end; ++g)
    for_each_block<Wide<T>, 8>(s.cols, [&]<int kVectors>(int64_t j, auto lanes) TW_INLINE_LAMBDA {
      sum_block<kVectors, kStream>(s, g, j, lanes);
    });
  if constexpr (kStream) stream_fence();
}

template <class T>
void sum(const RowGroups<T>& s, int64_t begin, int64_t end) {
  if constexpr (sizeof(T) >= 4)
    if (s.stream) return sums<true>(s, begin, end);
  sums<false>(s, begin, end);
}

// --- the largest ---

template <int kVectors, class T, class Lanes>
TW_INLINE void largest_block(const RowGroups<T>& s, int64_t g, int64_t j, Lanes lanes) {
  using W = Wide<T>;
  using B = typename BitsOf<W>::type;
  constexpr int V = Vec<W>::width;
  const int64_t begin = s.starts[g], end = s.starts[g + 1], at = g * s.cols + j;
  const int64_t width = least(s.cols - j, int64_t{kVectors} * V);
  Vec<W> best[kVectors], place[kVectors];  // place: whole numbers, as bits
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    best[v] =
        begin < end ? load(lanes, s.x + s.members[begin] * s.cols + j + v * V) : Vec<W>::zero();
    place[v] = from_bits(Bits<W>(B(0)));
  }
  for (int64_t k = begin + 1; k < end; ++k) {
    const T* row = s.x + s.members[k] * s.cols + j;
    const Vec<W> here = from_bits(Bits<W>(static_cast<B>(k - begin)));
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const Vec<W> x = load(lanes, row + v * V);
      const Mask<W> larger = (x > best[v]) | (is_nan(x) & !is_nan(best[v]));
      best[v] = select(larger, x, best[v]);
      place[v] = select(larger, here, place[v]);
    }
  }
  B places[kVectors * V];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    store(lanes, s.y + at + v * V, best[v]);
    to_bits(place[v]).store(places + v * V);
  }
  for (int64_t i = 0; i < width; ++i)
    s.from[at + i] = begin < end ? s.members[begin + static_cast<int64_t>(places[i])] : -1;
}

template <class T>
void largest(const RowGroups<T>& s, int64_t begin, int64_t end) {
  for (int64_t g = begin; g < end; ++g)
    for_each_block<Wide<T>, 4>(s.cols, [&]<int kVectors>(int64_t j, auto lanes) TW_INLINE_LAMBDA {
      largest_block<kVectors>(s, g, j, lanes);
    });
}

// --- products ---

template <class T>
void dots(const T* a, const int64_t* a_row, const T* b, const int64_t* b_row, int64_t count,
          int64_t cols, T* y) {
  using W = Wide<T>;
  constexpr int64_t kSegment = kChain * 4 * Vec<W>::width;
  for (int64_t i = 0; i < count; ++i) {
    double total = 0;
    for (int64_t j = 0; b_row[i] >= 0 && j < cols; j += kSegment) {
      const T *p = a + a_row[i] * cols + j, *q = b + b_row[i] * cols + j;
      total += fold_add<W>(least(cols - j, kSegment),
                           [&](Vec<W> acc, int64_t at, auto lanes) TW_INLINE_LAMBDA {
                             return fma(load(lanes, p + at), load(lanes, q + at), acc);
                           });
    }
    if constexpr (sizeof(T) == 2)
      y[i] = to_bfloat16(static_cast<float>(total));
    else
      y[i] = static_cast<T>(total);
  }
}

template <class T>
inline constexpr EmbeddingTable<T> kTable = {sum<T>, largest<T>, dots<T>};

}  // namespace embedding

extern const EmbeddingKernels embedding_kernels;
const EmbeddingKernels embedding_kernels = {embedding::kTable<float>, embedding::kTable<double>,
                                            embedding::kTable<bfloat16>};

}  // namespace tilework::TW_ISA
