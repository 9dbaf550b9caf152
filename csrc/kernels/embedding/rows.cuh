// Rows that are summed, or of which the largest is sought, column by column: what groups of rows
// (embedding.cuh) and bags (bags.cuh) share.
//
// A thread has a few columns that lie beside each other, 16 bytes of a row where that is possible,
// and takes the rows of its group in their order. Sums are the CPU's to the bit (embedding_body.h):
// of float32 and bfloat16 by chains of 32 rows in float32, which are then added in float64.
#pragma once

#include "base/elementwise.cuh"
#include "base/maths.cuh"
#include "base/stored.cuh"

namespace tilework::rows_cuda {

inline constexpr int kThreads = 256;
inline constexpr int kChain = 32;  // rows whose sum is taken in float32

// N columns of a row.
template <class T, int N>
struct Columns {
  Pack<Wide<T>, N> of;

  static __device__ Columns zeros() {
    Columns made;
#pragma unroll
    for (int i = 0; i < N; ++i) made.of.at[i] = 0;
    return made;
  }
  static __device__ Columns load(const T* p) {
    const Pack<T, N> held = load_pack<N>(p);
    Columns made;
#pragma unroll
    for (int i = 0; i < N; ++i) made.of.at[i] = wide(held.at[i]);
    return made;
  }
  __device__ void store(T* p) const {
    Pack<T, N> held;
#pragma unroll
    for (int i = 0; i < N; ++i) held.at[i] = narrowed<T>(of.at[i]);
    store_pack(p, held);
  }
  // A factor of 1 changes no bit of the sum.
  __device__ void add(const Columns& x, Wide<T> factor) {
#pragma unroll
    for (int i = 0; i < N; ++i) of.at[i] = maths::fma(x.of.at[i], factor, of.at[i]);
  }
  __device__ void divide(int64_t count) {
    const Wide<T> divisor = static_cast<Wide<T>>(count);
#pragma unroll
    for (int i = 0; i < N; ++i) of.at[i] /= divisor;
  }
};

// The sum of chains of rows; one chain alone stays what it is.
template <class T, int N>
struct ChainSum {
  double at[N];

  static __device__ ChainSum zeros() {
    ChainSum made;
#pragma unroll
    for (int i = 0; i < N; ++i) made.at[i] = 0;
    return made;
  }
  __device__ void add(const Pack<Wide<T>, N>& chain) {
#pragma unroll
    for (int i = 0; i < N; ++i) at[i] += static_cast<double>(chain.at[i]);
  }
  __device__ Columns<T, N> rounded() const {
    Columns<T, N> made;
#pragma unroll
    for (int i = 0; i < N; ++i) made.of.at[i] = static_cast<Wide<T>>(at[i]);
    return made;
  }
};

// The largest so far, NaN above all, and the row that it is in: of equal ones the first.
template <class T, int N>
struct Largest {
  Columns<T, N> best;
  int64_t from[N];

  static __device__ Largest none() {
    Largest made{Columns<T, N>::zeros(), {}};
#pragma unroll
    for (int i = 0; i < N; ++i) made.from[i] = -1;
    return made;
  }
  __device__ void meet_at(int i, Wide<T> x, int64_t row) {
    const bool nan = x != x && best.of.at[i] == best.of.at[i];
    if (from[i] < 0 || x > best.of.at[i] || nan) {
      best.of.at[i] = x;
      from[i] = row;
    }
  }
  __device__ void meet(const Columns<T, N>& x, int64_t row) {
#pragma unroll
    for (int i = 0; i < N; ++i) meet_at(i, x.of.at[i], row);
  }
  // Of the columns each from a row of its own.
  __device__ void meet(const Columns<T, N>& x, const int64_t* rows) {
#pragma unroll
    for (int i = 0; i < N; ++i) meet_at(i, x.of.at[i], rows[i]);
  }
  __device__ void store(T* y, int64_t* rows) const {
    best.store(y);
#pragma unroll
    for (int i = 0; i < N; ++i) rows[i] = from[i];
  }
};

// Groups of 2^shift threads, a block's one after another; a group's threads have the columns of one
// row, and blocks along y those that are left.
__device__ inline int64_t group_of_thread(int64_t shift) {
  return static_cast<int64_t>(blockIdx.x) * (kThreads >> shift) +
         (static_cast<int>(threadIdx.x) >> shift);
}

// work(Width<N>, column) for the columns of this thread: N of them at once where `whole`, which
// says that rows and addresses allow accesses of 16 bytes.
template <class T, class Work>
__device__ void for_each_columns(int64_t cols, int64_t shift, bool whole, Work work) {
  const int lanes = 1 << shift, lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int64_t first = static_cast<int64_t>(blockIdx.y) * lanes + lane;
  const int64_t step = static_cast<int64_t>(gridDim.y) * lanes;
  if (whole) {
    for (int64_t c = first; c * kPackOf<T> < cols; c += step)
      work(Width<kPackOf<T>>{}, c * kPackOf<T>);
  } else {
    for (int64_t c = first; c < cols; c += step) work(Width<1>{}, c);
  }
}

}  // namespace tilework::rows_cuda
