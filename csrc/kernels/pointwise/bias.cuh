// activation(x + bias) over rows, and its gradient with the bias's, whose column sums are made in
// two steps: a block sums the rows of its chunk, then the chunks are added in order. No result
// depends on the order of blocks.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// bias_*_backward_*   40, 42, 48  2048    0        256      6, 5, 5
// bias_add_chunks_*   30, 32, 32  0       0        256      8, 8, 8
// bias_*              30, 31, 31  0       0        256      8, 8, 8       LDG.128 STG.128
#pragma once

#include "base/elementwise.cuh"
#include "base/functions.cuh"

namespace tilework::bias_cuda {

inline constexpr int kCols = 32, kRows = 8;  // of a block that sums: a warp a row
inline constexpr int kThreads = kCols * kRows;

// y = f(x + bias); z, where it is not null, x + bias.
template <class Op, class T>
__device__ void forward(T* y, T* z, const T* x, const T* bias, int64_t rows, int64_t cols,
                        bool packs) {
  constexpr int kWide = kPackOf<T>;
  const int64_t each = packs ? kWide : 1, groups = cols / each;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kElementThreads + threadIdx.x;
  if (i >= rows * groups) return;
  const int64_t row =
      (i | groups) >> 32 ? i / groups : static_cast<uint32_t>(i) / static_cast<uint32_t>(groups);
  const int64_t col = (i - row * groups) * each, at = row * cols + col;
  const auto some = [=](auto width) {
    constexpr int N = decltype(width)::value;
    auto sum = load_pack<N>(x + at);
    const auto added = load_pack<N>(bias + col);
    for (int k = 0; k < N; ++k) sum.at[k] += added.at[k];
    if (z) store_pack(z + at, sum);
    for (T& value : sum.at) value = Op::forward(value);
    store_pack(y + at, sum);
  };
  if (packs) return some(Width<kWide>{});
  some(Width<1>{});
}

// dz, and this chunk's column sums of it to partial[chunk * cols]. saved: null where unread.
template <class Op, class T>
__device__ void backward(T* dz, T* partial, const T* grad, const T* saved, int64_t rows,
                         int64_t cols, int64_t chunk_rows) {
  TW_SHARED(T, sums, [kRows][kCols]);
  const int lane = static_cast<int>(threadIdx.x) % kCols;
  const int line = static_cast<int>(threadIdx.x) / kCols;
  const int64_t col = static_cast<int64_t>(blockIdx.x) * kCols + lane;
  const int64_t chunk = blockIdx.y, begin = chunk * chunk_rows;
  const int64_t end = begin + chunk_rows < rows ? begin + chunk_rows : rows;
  T sum = 0;
  if (col < cols) {
    for (int64_t row = begin + line; row < end; row += kRows) {
      const int64_t at = row * cols + col;
      const T d = Op::backward(grad[at], saved ? saved[at] : T{0});
      dz[at] = d;
      sum += d;
    }
  }
  sums[line][lane] = sum;
  __syncthreads();
  if (line > 0 || col >= cols) return;
#pragma unroll
  for (int i = 1; i < kRows; ++i) sum += sums[i][lane];
  partial[chunk * cols + col] = sum;
}

template <class T>
__device__ void add_chunks(T* dbias, const T* partial, int64_t chunks, int64_t cols) {
  const int64_t col = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (col >= cols) return;
  T sum = 0;
  for (int64_t i = 0; i < chunks; ++i) sum += partial[i * cols + col];
  dbias[col] = sum;
}

#define TW_BIAS(type, op)                                                                     \
  TW_KERNEL(kElementThreads, bias_##op##_##type, type* y, type* z, const type* x,             \
            const type* bias, int64_t rows, int64_t cols, int64_t packs) {                    \
    forward<functions::op>(y, z, x, bias, rows, cols, packs != 0);                            \
  }                                                                                           \
  TW_KERNEL(kThreads, bias_##op##_backward_##type, type* dz, type* partial, const type* grad, \
            const type* saved, int64_t rows, int64_t cols, int64_t chunk_rows) {              \
    backward<functions::op>(dz, partial, grad, saved, rows, cols, chunk_rows);                \
  }
#define TW_BIAS_OF(type)                                                                        \
  TW_BIAS(type, none)                                                                           \
  TW_BIAS(type, relu)                                                                           \
  TW_BIAS(type, gelu)                                                                           \
  TW_BIAS(type, gelu_tanh)                                                                      \
  TW_BIAS(type, silu)                                                                           \
  TW_BIAS(type, tanh)                                                                           \
  TW_BIAS(type, sigmoid)                                                                        \
  TW_KERNEL(kThreads, bias_add_chunks_##type, type* dbias, const type* partial, int64_t chunks, \
            int64_t cols) {                                                                     \
    add_chunks(dbias, partial, chunks, cols);                                                   \
  }
TW_BIAS_OF(float)
TW_BIAS_OF(double)
#undef TW_BIAS_OF
#undef TW_BIAS

}  // namespace tilework::bias_cuda
