// Products with a vector, or with a few: the matrix is read once, as it lies, and is all the
// traffic.
//
// Where the matrix is adjacent along k, an output is a dot product ("dots", up to four vectors at a
// time); where it is adjacent across k, outputs are sums of scaled rows ("rows", one vector). In
// both an output's arithmetic depends on k alone.
#pragma once

#include "kernels/gemm/blocked.h"

namespace tilework::TW_ISA {

// out[i, p] = sum over k of matrix[i, k] * vectors[p, k], seen from the operand that is the matrix.
template <class T>
struct MatrixVectors {
  int64_t rows, k, count;  // count vectors
  MatrixView<T> matrix, vectors;
  T* out;
  int64_t out_row, out_item;

  static TW_INLINE MatrixVectors of_a(const GemmArgs<T>& g) {
    return {g.m, g.k, g.n, g.a, g.b.transposed(), g.c, g.c_row, 1};
  }
  static TW_INLINE MatrixVectors of_b(const GemmArgs<T>& g) {
    return {g.n, g.k, g.m, g.b.transposed(), g.a, g.c, 1, g.c_row};
  }
};

template <class T>
TW_INLINE void put(const GemmArgs<T>& g, T* at, T value) {
  *at = g.epilogue.accumulate ? *at + value : value;
}

template <class T>
TW_INLINE void finish_all(const GemmArgs<T>& g) {
  if (g.epilogue.changes_result()) finish(g.m, g.n, g.c, g.c_row, g.epilogue);
  BlocksDone<T>(g, 0, g.m).up_to(g.n);
}

// --- dots ---

inline constexpr int kMostDots = 4;

template <class T>
bool dots_of_a(const GemmArgs<T>& g) {
  return g.n <= kMostDots && g.a.col == 1;
}
template <class T>
bool dots_suit(const GemmArgs<T>& g) {
  return g.k >= Vec<T>::width && (dots_of_a(g) || (g.m <= kMostDots && g.b.row == 1));
}

// Rows x Count sums at once: enough chains to hide an FMA's latency, few enough for 16 registers.
// Rows are short streams, at whose ends the hardware begins to look anew. For two vectors the next
// four are asked for meanwhile, which is a sixth faster on a Zen 4; eight rows at a time, of one
// vector, keep memory busy by themselves, and three or four vectors gain nothing.
template <class T, int Rows, int Count>
TW_INLINE void dot_rows(const GemmArgs<T>& g, const MatrixVectors<T>& p, const T* vectors,
                        int64_t row) {
  const T* matrix = p.matrix.at(row, 0);
  Vec<T> sum[Rows][Count];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Count; ++j) sum[i][j] = Vec<T>::zero();
  sweep<T>(p.k, [&](int64_t k, auto lanes) TW_INLINE_LAMBDA {
    Vec<T> x[Count];
#pragma GCC unroll 4
    for (int j = 0; j < Count; ++j) x[j] = lanes.load(vectors + j * p.k + k);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const T* at = matrix + i * p.matrix.row + k;
      const Vec<T> m = lanes.load(at);
      if constexpr (Rows > 1 && Count == 2) __builtin_prefetch(at + Rows * p.matrix.row, 0, 3);
#pragma GCC unroll 4
      for (int j = 0; j < Count; ++j) sum[i][j] = fma(m, x[j], sum[i][j]);
    }
  });
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Count; ++j)
      put(g, p.out + (row + i) * p.out_row + j * p.out_item, reduce_add(sum[i][j]));
}

template <class T, int Count>
void dot_all(const GemmArgs<T>& g, const MatrixVectors<T>& p, const T* vectors) {
  constexpr int kRows = Count == 1 ? 8 : Count == 2 ? 4 : 2;
  int64_t i = 0;
  for (; i + kRows <= p.rows; i += kRows) dot_rows<T, kRows, Count>(g, p, vectors, i);
  for (; i < p.rows; ++i) dot_rows<T, 1, Count>(g, p, vectors, i);
}

template <class T>
size_t dots_workspace(int64_t, int64_t, int64_t k) {
  return aligned_bytes<T>(kMostDots * k);
}

template <class T>
void dots_run(const GemmArgs<T>& g, void* workspace) {
  const auto p = dots_of_a(g) ? MatrixVectors<T>::of_a(g) : MatrixVectors<T>::of_b(g);
  T* vectors = static_cast<T*>(workspace);
  for (int64_t j = 0; j < p.count; ++j)
    for (int64_t k = 0; k < p.k; ++k) vectors[j * p.k + k] = *p.vectors.at(j, k);
  switch (p.count) {
    case 1:
      dot_all<T, 1>(g, p, vectors);
      break;
    case 2:
      dot_all<T, 2>(g, p, vectors);
      break;
    case 3:
      dot_all<T, 3>(g, p, vectors);
      break;
    default:
      dot_all<T, 4>(g, p, vectors);
  }
  finish_all(g);
}

// --- rows ---

template <class T>
bool rows_of_a(const GemmArgs<T>& g) {
  return g.n == 1 && g.a.row == 1;
}
template <class T>
bool rows_suit(const GemmArgs<T>& g) {
  return rows_of_a(g) || (g.m == 1 && g.b.col == 1);
}

inline constexpr int64_t kSumsInL1 = 4096;  // running sums, while rows of the matrix stream past
inline constexpr int kRowsPerPass = 8;      // rows for one load and store of the sums

// sums[i] (+)= x[0] row0[i] + ... + x[Rows - 1] rowR[i]
template <class T, int Rows>
TW_INLINE void add_rows(int64_t n, const T* matrix, int64_t row, const T* x, int64_t x_step,
                        T* sums) {
  Vec<T> scale[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) scale[r] = x[r * x_step];
  sweep<T>(n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    Vec<T> sum = scale[0] * lanes.load(matrix + i);
#pragma GCC unroll 8
    for (int r = 1; r < Rows; ++r) sum = fma(scale[r], lanes.load(matrix + r * row + i), sum);
    lanes.store(sums + i, lanes.load(sums + i) + sum);
  });
}

template <class T>
size_t rows_workspace(int64_t, int64_t, int64_t) {
  return aligned_bytes<T>(kSumsInL1);
}

template <class T>
void rows_run(const GemmArgs<T>& g, void* workspace) {
  const auto p = rows_of_a(g) ? MatrixVectors<T>::of_a(g) : MatrixVectors<T>::of_b(g);
  T* sums = static_cast<T*>(workspace);
  for (int64_t begin = 0; begin < p.rows; begin += kSumsInL1) {
    const int64_t n = least(kSumsInL1, p.rows - begin);
    for (int64_t i = 0; i < n; ++i) sums[i] = T(0);
    const T* matrix = p.matrix.at(begin, 0);
    int64_t k = 0;
    for (; k + kRowsPerPass <= p.k; k += kRowsPerPass)
      add_rows<T, kRowsPerPass>(n, matrix + k * p.matrix.col, p.matrix.col, p.vectors.at(0, k),
                                p.vectors.col, sums);
    for (; k < p.k; ++k)
      add_rows<T, 1>(n, matrix + k * p.matrix.col, 0, p.vectors.at(0, k), 0, sums);
    for (int64_t i = 0; i < n; ++i) put(g, p.out + (begin + i) * p.out_row, sums[i]);
  }
  finish_all(g);
}

}  // namespace tilework::TW_ISA
