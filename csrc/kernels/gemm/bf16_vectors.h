// Products of bfloat16 with a vector, or with a few: vectors.h's two ways, over a matrix that is
// read as it lies, at half the bytes of float32, and widened in registers.
#pragma once

#include "kernels/gemm/bf16_ways.h"
#include "kernels/gemm/vectors.h"

namespace tilework::TW_ISA::bf16 {

// sum(i, p) = sum over k of matrix[i, k] * vectors[p, k], seen from the operand that is the matrix.
struct Vectors {
  bool of_a;               // the matrix is A, and the vectors are B's columns; else B and A's rows
  int64_t rows, k, count;  // count vectors
  MatrixView<bfloat16> matrix, vectors;

  static Vectors from(const GemmArgs<bfloat16>& g, bool of_a) {
    if (of_a) return {true, g.m, g.k, g.n, g.a, g.b.transposed()};
    return {false, g.n, g.k, g.m, g.b.transposed(), g.a};
  }
  // Where row i's sum with vector p waits: the sums lie as they will in C.
  TW_INLINE int64_t at(int64_t i, int64_t p) const {
    return of_a ? i * kMostDots + p : p * kSumsInL1 + i;
  }
  void put(const GemmArgs<bfloat16>& g, int64_t begin, int64_t n, const float* sums) const {
    if (of_a)
      finish(g, begin, 0, n, count, sums, kMostDots);
    else
      finish(g, 0, begin, count, n, sums, kSumsInL1);
  }
};

// The vectors, widened, and a block of sums.
struct VectorsSpace {
  float *vectors, *sums;
  size_t bytes;

  VectorsSpace(int64_t k, void* workspace) {
    Arena arena(workspace);
    vectors = arena.take<float>(kMostDots * k);
    sums = arena.take<float>(kMostDots * kSumsInL1);
    bytes = arena.used();
  }
};
inline size_t vectors_workspace(int64_t, int64_t, int64_t k) {
  return VectorsSpace(k, nullptr).bytes;
}
inline void widen_vectors(const Vectors& v, float* out) {
  for (int64_t p = 0; p < v.count; ++p)
    for (int64_t k = 0; k < v.k; ++k) out[p * v.k + k] = to_float(*v.vectors.at(p, k));
}

// --- dots ---

inline bool dots_suit(const GemmArgs<bfloat16>& g) {
  return g.k >= kWidth && (dots_of_a(g) || (g.m <= kMostDots && g.b.row == 1));
}

template <int Rows, int Count>
TW_INLINE void dot_rows(const Vectors& v, const float* vectors, int64_t row, float* sums,
                        int64_t at) {
  const bfloat16* matrix = v.matrix.at(row, 0);
  Vec<float> sum[Rows][Count];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Count; ++j) sum[i][j] = Vec<float>::zero();
  sweep<float>(v.k, [&](int64_t k, auto lanes) TW_INLINE_LAMBDA {
    Vec<float> x[Count];
#pragma GCC unroll 4
    for (int j = 0; j < Count; ++j) x[j] = lanes.load(vectors + j * v.k + k);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const Vec<float> m = load(lanes, matrix + i * v.matrix.row + k);
#pragma GCC unroll 4
      for (int j = 0; j < Count; ++j) sum[i][j] = fma(m, x[j], sum[i][j]);
    }
  });
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < Count; ++j) sums[v.at(at + i, j)] = reduce_add(sum[i][j]);
}

template <int Count>
void dot_all(const GemmArgs<bfloat16>& g, const Vectors& v, const float* vectors, float* sums) {
  constexpr int kRows = Count == 1 ? 8 : Count == 2 ? 4 : 2;
  for (int64_t begin = 0; begin < v.rows; begin += kSumsInL1) {
    const int64_t n = least(kSumsInL1, v.rows - begin);
    int64_t i = 0;
    for (; i + kRows <= n; i += kRows) dot_rows<kRows, Count>(v, vectors, begin + i, sums, i);
    for (; i < n; ++i) dot_rows<1, Count>(v, vectors, begin + i, sums, i);
    v.put(g, begin, n, sums);
  }
}

inline void dots_run(const GemmArgs<bfloat16>& g, void* workspace) {
  const Vectors v = Vectors::from(g, dots_of_a(g));
  const VectorsSpace space(g.k, workspace);
  float *const vectors = space.vectors, *const sums = space.sums;
  widen_vectors(v, vectors);
  switch (v.count) {
    case 1:
      dot_all<1>(g, v, vectors, sums);
      break;
    case 2:
      dot_all<2>(g, v, vectors, sums);
      break;
    case 3:
      dot_all<3>(g, v, vectors, sums);
      break;
    default:
      dot_all<4>(g, v, vectors, sums);
  }
  BlocksDone<bfloat16>(g, 0, g.m).up_to(g.n);
}

// --- rows ---

inline bool rows_suit(const GemmArgs<bfloat16>& g) { return tilework::TW_ISA::rows_suit(g); }

// sums[i] += x[0] row0[i] + ... + x[Rows - 1] rowR[i]
template <int Rows>
TW_INLINE void add_rows(int64_t n, const bfloat16* matrix, int64_t row, const float* x,
                        float* sums) {
  Vec<float> scale[Rows];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) scale[r] = x[r];
  sweep<float>(n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    Vec<float> sum = scale[0] * load(lanes, matrix + i);
#pragma GCC unroll 8
    for (int r = 1; r < Rows; ++r) sum = fma(scale[r], load(lanes, matrix + r * row + i), sum);
    lanes.store(sums + i, lanes.load(sums + i) + sum);
  });
}

inline void rows_run(const GemmArgs<bfloat16>& g, void* workspace) {
  const Vectors v = Vectors::from(g, rows_of_a(g));
  const VectorsSpace space(g.k, workspace);
  float *const x = space.vectors, *const sums = space.sums;
  widen_vectors(v, x);
  for (int64_t begin = 0; begin < v.rows; begin += kSumsInL1) {
    const int64_t n = least(kSumsInL1, v.rows - begin);
    for (int64_t i = 0; i < n; ++i) sums[i] = 0.0f;
    const bfloat16* matrix = v.matrix.at(begin, 0);
    int64_t k = 0;
    for (; k + kRowsPerPass <= v.k; k += kRowsPerPass)
      add_rows<kRowsPerPass>(n, matrix + k * v.matrix.col, v.matrix.col, x + k, sums);
    for (; k < v.k; ++k) add_rows<1>(n, matrix + k * v.matrix.col, 0, x + k, sums);
    // One vector: its sums lie one after another, whichever operand the matrix is.
    if (v.of_a)
      finish(g, begin, 0, n, 1, sums, 1);
    else
      finish(g, 0, begin, 1, n, sums, n);
  }
  BlocksDone<bfloat16>(g, 0, g.m).up_to(g.n);
}

}  // namespace tilework::TW_ISA::bf16
