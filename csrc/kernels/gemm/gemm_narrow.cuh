// Matrix products of at most four rows, or columns, of C: vectors times matrices, which memory
// bounds. Each element of the large side is read once, straight into registers, by 16 bytes.
//
// gemm_dots   both sides run along K: a warp has 4 x 4 elements of C, its lanes share K
// gemm_sweep  B runs along n, and C has few rows: a lane has a chunk of columns, the block's warps
//             share K
//
// Parameters are those of gemm.cuh's kernels; B's rows (and for dots A's) are made of aligned
// chunks. Long sums are split among blocks too, and joined by gemm_join. float is multiplied as it
// is, whatever the precision's word: nothing would be gained.
//
// on sm_80, 90a, 100  registers    shared  dynamic  threads  blocks an SM  holds
// gemm_dots_*         84, 89, 102  0       0        256      2, 2, 2       LDG.128
// gemm_sweep_*        71, 77, 80   32768   0        256      3, 3, 3       LDG.128
#pragma once

#include "kernels/gemm/gemm_product.cuh"

namespace tilework::gemm_cuda {

inline constexpr int kFew = 4;  // rows or columns
inline constexpr int kNarrowWarps = 8;

// What becomes of the sums of kFew columns of a row: in groups, as Finish stores them.
template <class E, class Sum>
__device__ void finish_few(const Finish<E, Sum>& finish, int64_t row, int64_t column,
                           const Sum (&sums)[kFew]) {
  constexpr int kGroup = Finish<E, Sum>::kGroup;
#pragma unroll
  for (int first = 0; first < kFew; first += kGroup) {
    if (column + first >= finish.n) return;
    Sum group[kGroup];
#pragma unroll
    for (int e = 0; e < kGroup; ++e) group[e] = sums[first + e];
    finish.store(row, column + first, group);
  }
}

template <class E, class Sum>
__device__ void dots(TW_GEMM_PARAMETERS(E, Sum)) {
  (void)a_k, (void)b_k;  // 1
  constexpr int kVector = 16 / sizeof(E);
  const int lane = thread_in<kWarpLanes>();
  const int64_t tiles = ((m > n ? m : n) + kFew - 1) / kFew;  // the other side is one tile
  const unsigned blocks = static_cast<unsigned>((tiles + kNarrowWarps - 1) / kNarrowWarps);
  const unsigned batch = blockIdx.x / blocks;
  const int64_t tile =
      static_cast<int64_t>(blockIdx.x % blocks) * kNarrowWarps + thread_over<kWarpLanes>();
  if (tile >= tiles) return;
  const int64_t row = m > n ? tile * kFew : 0, column = m > n ? 0 : tile * kFew;
  const int rows = m - row < kFew ? static_cast<int>(m - row) : kFew;
  const int columns = n - column < kFew ? static_cast<int>(n - column) : kFew;
  const int64_t begin = blockIdx.y * split_depth;
  const int depth = static_cast<int>(k - begin < split_depth ? k - begin : split_depth);
  const E* const of_a = a + in_batch(batch, inner, a_outer, a_inner) + row * a_row + begin;
  const E* const of_b = b + in_batch(batch, inner, b_outer, b_inner) + column * b_column + begin;
  Sum sums[kFew][kFew] = {};
  for (int deep = lane * kVector; deep < depth; deep += kWarpLanes * kVector) {
    const int count = depth - deep < kVector ? depth - deep : kVector;
    Sum x[kFew][kVector] = {}, y[kVector];
#pragma unroll
    for (int i = 0; i < kFew; ++i) {
      if (i < rows) read_group(x[i], of_a + i * a_row + deep, count, true);
    }
#pragma unroll
    for (int j = 0; j < kFew; ++j) {
      if (j >= columns) break;
      read_group(y, of_b + j * b_column + deep, count, true);
#pragma unroll
      for (int i = 0; i < kFew; ++i) {
        if (i >= rows) break;
#pragma unroll
        for (int e = 0; e < kVector; ++e) sums[i][j] += x[i][e] * y[e];
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kFew; ++i) {
#pragma unroll
    for (int j = 0; j < kFew; ++j) sums[i][j] = over_warp<Plus>(sums[i][j]);
  }
  const Finish<E, Sum> finish =
      finish_of<E, Sum>({c, bias, residual, before, c_row, residual_row, n, flags}, partial,
                        place_of_batch(partial, batch, m, n, inner, c_outer, c_inner));
#pragma unroll
  for (int i = 0; i < kFew; ++i) {
    if (i < rows && lane == i) finish_few(finish, row + i, column, sums[i]);
  }
}

template <class E, class Sum>
__device__ void sweep(TW_GEMM_PARAMETERS(E, Sum)) {
  (void)b_column;  // 1
  constexpr int kVector = 16 / sizeof(E), kColumns = kWarpLanes * kVector;
  TW_SHARED(Sum, of_warps, [kNarrowWarps][kFew][kColumns]);
  const int lane = thread_in<kWarpLanes>(), warp = thread_over<kWarpLanes>();
  const unsigned across = static_cast<unsigned>((n + kColumns - 1) / kColumns);
  const unsigned batch = blockIdx.x / across;
  const int64_t column = static_cast<int64_t>(blockIdx.x % across) * kColumns;
  const int rows = static_cast<int>(m);
  const int64_t own = n - column - lane * kVector;
  const int count = own < 0 ? 0 : own < kVector ? static_cast<int>(own) : kVector;
  const int64_t begin = blockIdx.y * split_depth;
  const int64_t end = begin + split_depth < k ? begin + split_depth : k;
  const E* const of_a = a + in_batch(batch, inner, a_outer, a_inner);
  const E* const of_b = b + in_batch(batch, inner, b_outer, b_inner) + column + lane * kVector;
  Sum sums[kFew][kVector] = {};
#pragma unroll 4
  for (int64_t deep = begin + warp; deep < end; deep += kNarrowWarps) {
    Sum y[kVector];
    read_group(y, of_b + deep * b_k, count, true);
#pragma unroll
    for (int i = 0; i < kFew; ++i) {
      if (i >= rows) break;
      const Sum x = wide(of_a[i * a_row + deep * a_k]);
#pragma unroll
      for (int e = 0; e < kVector; ++e) sums[i][e] += x * y[e];
    }
  }
  // A lane's elements lie 32 apart, so that lanes meet in no bank.
#pragma unroll
  for (int i = 0; i < kFew; ++i) {
#pragma unroll
    for (int e = 0; e < kVector; ++e) of_warps[warp][i][e * kWarpLanes + lane] = sums[i][e];
  }
  __syncthreads();
  const Finish<E, Sum> finish =
      finish_of<E, Sum>({c, bias, residual, before, c_row, residual_row, n, flags}, partial,
                        place_of_batch(partial, batch, m, n, inner, c_outer, c_inner));
  constexpr int kGroup = Finish<E, Sum>::kGroup, kGroups = kColumns / kGroup;
  for (int at = static_cast<int>(threadIdx.x); at < rows * kGroups;
       at += kNarrowWarps * kWarpLanes) {
    const int row = at / kGroups, first = at % kGroups * kGroup;
    if (column + first >= n) continue;
    Sum group[kGroup] = {};
    for (int from = 0; from < kNarrowWarps; ++from) {
#pragma unroll
      for (int e = 0; e < kGroup; ++e) {
        const int place = first + e;
        group[e] += of_warps[from][row][place % kVector * kWarpLanes + place / kVector];
      }
    }
    finish.store(row, column + first, group);
  }
}

#define TW_NARROW(name, type, sum)                                                        \
  TW_KERNEL(kNarrowWarps* kWarpLanes, gemm_dots_##name, TW_GEMM_PARAMETERS(type, sum)) {  \
    dots<type, sum>(TW_GEMM_ARGUMENTS);                                                   \
  }                                                                                       \
  TW_KERNEL(kNarrowWarps* kWarpLanes, gemm_sweep_##name, TW_GEMM_PARAMETERS(type, sum)) { \
    sweep<type, sum>(TW_GEMM_ARGUMENTS);                                                  \
  }
TW_NARROW(float, float, float)
TW_NARROW(double, double, double)
TW_NARROW(bf16, __nv_bfloat16, float)
#undef TW_NARROW

}  // namespace tilework::gemm_cuda
