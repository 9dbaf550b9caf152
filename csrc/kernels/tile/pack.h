// Copies a panel of A or B into the order the tile reads it: for each k, the panel's elements side
// by side. Where k runs along memory this is a transposition, done in registers.
#pragma once

#include "base/arithmetic.h"
#include "kernels/tile/tile.h"

namespace tilework::TW_ISA {

// The transposition works in 128-bit lanes: `group` columns of `width` rows are loaded with row
// i + group * l in lane l of vector i, so that shuffles within lanes finish it. Lanes are filled by
// loads that need no shuffle port, which leaves half the shuffles of a transposition by whole
// registers.
template <class T>
inline constexpr int kLaneGroup = 16 / sizeof(T);

// out[j] = column j of the rows that `row` points to.
#if defined(__AVX512F__)
TW_INLINE void load_transposed(const float* const* row, int64_t at, Vec<float>* out) {
  __m512 r[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_castps128_ps512(_mm_loadu_ps(row[i] + at));
    r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(row[i + 4] + at), 1);
    r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(row[i + 8] + at), 2);
    r[i] = _mm512_insertf32x4(r[i], _mm_loadu_ps(row[i + 12] + at), 3);
  }
  const __m512d low01 = _mm512_castps_pd(_mm512_unpacklo_ps(r[0], r[1]));
  const __m512d high01 = _mm512_castps_pd(_mm512_unpackhi_ps(r[0], r[1]));
  const __m512d low23 = _mm512_castps_pd(_mm512_unpacklo_ps(r[2], r[3]));
  const __m512d high23 = _mm512_castps_pd(_mm512_unpackhi_ps(r[2], r[3]));
  out[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low01, low23));
  out[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low01, low23));
  out[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high01, high23));
  out[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high01, high23));
}
TW_INLINE void load_transposed(const double* const* row, int64_t at, Vec<double>* out) {
  __m512d r[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    r[i] = _mm512_castpd128_pd512(_mm_loadu_pd(row[i] + at));
    r[i] = _mm512_insertf64x2(r[i], _mm_loadu_pd(row[i + 2] + at), 1);
    r[i] = _mm512_insertf64x2(r[i], _mm_loadu_pd(row[i + 4] + at), 2);
    r[i] = _mm512_insertf64x2(r[i], _mm_loadu_pd(row[i + 6] + at), 3);
  }
  out[0] = _mm512_unpacklo_pd(r[0], r[1]);
  out[1] = _mm512_unpackhi_pd(r[0], r[1]);
}
#elif defined(__AVX2__)
TW_INLINE void load_transposed(const float* const* row, int64_t at, Vec<float>* out) {
  __m256 r[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[i] + at)),
                                _mm_loadu_ps(row[i + 4] + at), 1);
  const __m256d low01 = _mm256_castps_pd(_mm256_unpacklo_ps(r[0], r[1]));
  const __m256d high01 = _mm256_castps_pd(_mm256_unpackhi_ps(r[0], r[1]));
  const __m256d low23 = _mm256_castps_pd(_mm256_unpacklo_ps(r[2], r[3]));
  const __m256d high23 = _mm256_castps_pd(_mm256_unpackhi_ps(r[2], r[3]));
  out[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(low01, low23));
  out[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low01, low23));
  out[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high01, high23));
  out[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high01, high23));
}
TW_INLINE void load_transposed(const double* const* row, int64_t at, Vec<double>* out) {
  __m256d r[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i)
    r[i] = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(row[i] + at)),
                                _mm_loadu_pd(row[i + 2] + at), 1);
  out[0] = _mm256_unpacklo_pd(r[0], r[1]);
  out[1] = _mm256_unpackhi_pd(r[0], r[1]);
}
#else
template <class T>
TW_INLINE void load_transposed(const T* const* row, int64_t at, Vec<T>* out) {
  T lanes[kLaneGroup<T>][Vec<T>::width];
  for (int i = 0; i < Vec<T>::width; ++i)
    for (int j = 0; j < kLaneGroup<T>; ++j) lanes[j][i] = row[i][at + j];
  for (int j = 0; j < kLaneGroup<T>; ++j) out[j] = Vec<T>::load(lanes[j]);
}
#endif

// Calls store(j, column j of the matrix), in ascending order, for a matrix of rows <= width rows
// whose columns are adjacent. Lanes from `rows` on repeat row 0.
template <class T, class Store>
TW_INLINE void for_each_column(int rows, int64_t cols, const T* x, int64_t x_row, Store&& store) {
  using V = Vec<T>;
  constexpr int group = kLaneGroup<T>;
  const T* row[V::width];
  for (int i = 0; i < V::width; ++i) row[i] = x + (i < rows ? i * x_row : 0);
  int64_t at = 0;
  for (; at + group <= cols; at += group) {
    V out[group];
    load_transposed(row, at, out);
#pragma GCC unroll 4
    for (int j = 0; j < group; ++j) store(at + j, out[j]);
  }
  for (; at < cols; ++at) {
    T lanes[V::width];
    for (int i = 0; i < V::width; ++i) lanes[i] = row[i][at];
    store(at, V::load(lanes));
  }
}

inline constexpr int kPrefetchBytes = 1024;

// What pack() does with the places from `count` to `places` of each step.
enum class Padding { none, zero };

// packed[k * places + i] = x[i * x_item + k * x_k] for i < count, k < steps.
//
// With Padding::none (places == count) whole vectors are stored and spill into the next step, whose
// own store comes later: steps go up, vectors within a step go down. The buffer needs a vector of
// slack.
template <class T, Padding padding>
void pack(int count, int places, int64_t steps, const T* x, int64_t x_item, int64_t x_k, T* packed);

// A block of B as panels of nr columns, zeros after the last column: panel p at packed + p * nr *
// steps. Where B's columns are adjacent the block is swept row by row: a panel at a time would
// touch a hundred bytes of each page, too little for the hardware to see a stream.
template <class T>
void pack_block(int64_t cols, int64_t steps, const T* x, int64_t x_k, int64_t x_col, T* packed);

// Asks for a panel of A while the one before it is in use, a few lines at each of `times` calls, so
// that packing finds it near. Lines run along whichever axis is adjacent in memory.
template <class T>
class PanelPrefetch {
 public:
  TW_INLINE PanelPrefetch(const T* x, int64_t rows, int64_t steps, int64_t x_row, int64_t x_k,
                          int64_t times)
      : x_(x), along_k_(x_k == 1), stride_(along_k_ ? x_row : x_k) {
    constexpr int line = 64 / sizeof(T);
    runs_ = times == 0 ? 0 : along_k_ ? rows : steps;
    lines_ = along_k_ ? ceil_div(steps, line) : 1;
    each_ = times == 0 ? 0 : ceil_div(runs_, times);
  }
  TW_INLINE void next() {
    for (int64_t end = done_ + each_ < runs_ ? done_ + each_ : runs_; done_ < end; ++done_)
      for (int64_t l = 0; l < lines_; ++l)
        __builtin_prefetch(reinterpret_cast<const char*>(x_ + done_ * stride_) + l * 64, 0, 2);
  }

 private:
  const T* x_;
  bool along_k_;
  int64_t stride_, runs_, lines_, each_, done_ = 0;
};

}  // namespace tilework::TW_ISA
