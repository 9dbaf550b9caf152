// A block's matrix product, from the operands to the finished elements of C, whatever the sums are
// computed on; and what is fused to it.
#pragma once

#include "base/activations.cuh"
#include "base/stored.cuh"
#include "kernels/gemm/gemm_tiles.cuh"

namespace tilework::gemm_cuda {

// --- The parameters of every product's kernel ---
//
// C (m, n) of A (m, k) and B (k, n), in two batch axes of which the inner one has `inner` places;
// steps are in elements. With `partial`, the blocks of gridDim.y splits, `split_depth` deep each,
// leave their sums there, as (batch, split, m, n), for gemm_join; else gridDim.y is 1.
// flags: 0-7 the activation, then bits as in the enum. bias, residual, before: null, or as in
// Finish; `before` lies as C does.
enum Flags : int {
  kAccumulate = 0x100,
  kWide = 0x200,       // C is of what is summed in
  kAByChunks = 0x400,  // rows of 16-byte chunks, aligned
  kBByChunks = 0x800,
  kCAligned = 0x1000,  // C, bias, residual and before, to groups
};

// `count` elements, with packs where the first is aligned to one and all N are there.
template <class Sum, class E, int N>
__device__ void read_group(Sum (&to)[N], const E* from, int count, bool aligned) {
  if (aligned && count == N) {
    const auto pack = load_pack<N>(from);
#pragma unroll
    for (int e = 0; e < N; ++e) to[e] = wide(pack.at[e]);
  } else {
#pragma unroll
    for (int e = 0; e < N; ++e) to[e] = e < count ? wide(from[e]) : Sum{0};
  }
}
template <class Sum, class E, int N>
__device__ void write_group(E* to, const Sum (&from)[N], int count, bool aligned) {
  Pack<E, N> pack;
#pragma unroll
  for (int e = 0; e < N; ++e) pack.at[e] = narrowed<E>(from[e]);
  if (aligned && count == N) {
    store_pack(to, pack);
  } else {
#pragma unroll
    for (int e = 0; e < N; ++e) {
      if (e < count) to[e] = pack.at[e];
    }
  }
}

// What becomes of sums: c = activation(sums + bias + residual), or c + sums; null is nothing.
template <class E, class Sum>
struct Finish {
  static constexpr int kGroup = 16 / sizeof(Sum);
  void* c;  // of E, or of Sum where it is wide
  const E *bias, *residual;
  E* before;  // the sums before the activation
  int64_t c_row, residual_row, n;
  int64_t flags;

  __device__ bool has(int64_t flag) const { return (flags & flag) != 0; }
  __device__ void move(int64_t elements) {
    c = has(kWide) ? static_cast<void*>(static_cast<Sum*>(c) + elements)
                   : static_cast<void*>(static_cast<E*>(c) + elements);
  }

  __device__ void store(int64_t row, int64_t column, Sum (&sums)[kGroup]) const {
    const int count = n - column < kGroup ? static_cast<int>(n - column) : kGroup;
    const bool wide = has(kWide), aligned = has(kCAligned);
    const int activation = static_cast<int>(flags & 0xFF);
    Sum* const wide_to = static_cast<Sum*>(c) + row * c_row + column;
    E* const to = static_cast<E*>(c) + row * c_row + column;
    Sum more[kGroup];
    if (has(kAccumulate)) {
      if (wide) {
        read_group(more, wide_to, count, aligned);
      } else {
        read_group(more, to, count, aligned);
      }
      add(sums, more);
    }
    if (bias != nullptr) {
      read_group(more, bias + column, count, aligned);
      add(sums, more);
    }
    if (residual != nullptr) {
      read_group(more, residual + row * residual_row + column, count, aligned);
      add(sums, more);
    }
    if (before != nullptr) write_group(before + row * c_row + column, sums, count, aligned);
    if (activation != kNone) {
#pragma unroll
      for (int e = 0; e < kGroup; ++e) sums[e] = activated(activation, sums[e]);
    }
    if (wide) {
      write_group(wide_to, sums, count, aligned);
    } else {
      write_group(to, sums, count, aligned);
    }
  }
  static __device__ void add(Sum (&to)[kGroup], const Sum (&more)[kGroup]) {
#pragma unroll
    for (int e = 0; e < kGroup; ++e) to[e] += more[e];
  }
};

#define TW_GEMM_PARAMETERS(type, sum)                                                          \
  void *c, const type *a, const type *b, const type *bias, const type *residual, type *before, \
      sum *partial, int64_t m, int64_t n, int64_t k, int64_t a_row, int64_t a_k, int64_t b_k,  \
      int64_t b_column, int64_t c_row, int64_t residual_row, int64_t inner, int64_t a_outer,   \
      int64_t a_inner, int64_t b_outer, int64_t b_inner, int64_t c_outer, int64_t c_inner,     \
      int64_t split_depth, int64_t flags
#define TW_JOIN_PARAMETERS(type, sum)                                                             \
  void *c, const type *bias, const type *residual, type *before, const sum *partial,              \
      int64_t splits, int64_t batches, int64_t m, int64_t n, int64_t c_row, int64_t residual_row, \
      int64_t inner, int64_t c_outer, int64_t c_inner, int64_t flags
#define TW_GEMM_ARGUMENTS                                                                     \
  c, a, b, bias, residual, before, partial, m, n, k, a_row, a_k, b_k, b_column, c_row,        \
      residual_row, inner, a_outer, a_inner, b_outer, b_inner, c_outer, c_inner, split_depth, \
      flags

// Where an operand of a batch begins. A division of 32 bits: of 64 it would be a call.
__device__ inline int64_t in_batch(unsigned batch, int64_t inner, int64_t outer_step,
                                   int64_t inner_step) {
  const unsigned places = static_cast<unsigned>(inner);
  return static_cast<int64_t>(batch / places) * outer_step +
         static_cast<int64_t>(batch % places) * inner_step;
}
// Where in C, or among the partial sums, the elements of a batch begin.
template <class Sum>
__device__ int64_t place_of_batch(const Sum* partial, unsigned batch, int64_t m, int64_t n,
                                  int64_t inner, int64_t c_outer, int64_t c_inner) {
  if (partial == nullptr) return in_batch(batch, inner, c_outer, c_inner);
  return (static_cast<int64_t>(batch) * gridDim.y + blockIdx.y) * m * n;
}
// What a block does with its sums from there on: partial ones are left as they are.
template <class E, class Sum>
__device__ Finish<E, Sum> finish_of(Finish<E, Sum> whole, Sum* partial, int64_t place) {
  if (partial == nullptr) {
    whole.move(place);
    return whole;
  }
  const int64_t n = whole.n, aligned = n % Finish<E, Sum>::kGroup == 0 ? kCAligned : 0;
  return {partial + place, nullptr, nullptr, nullptr, n, 0, n, kWide | aligned};
}

// Blocks go through C in bands of eight tiles down, so that those under way at once share what they
// read of A and B in L2.
struct Place {
  unsigned batch;
  int row_tile, column_tile;
};
__device__ inline Place place_of_block(int64_t rows, int64_t columns) {
  constexpr unsigned kBand = 8;
  const unsigned down = static_cast<unsigned>(rows), across = static_cast<unsigned>(columns);
  const unsigned batch = blockIdx.x / (down * across), tile = blockIdx.x % (down * across);
  const unsigned first = tile / (kBand * across) * kBand;
  const unsigned height = down - first < kBand ? down - first : kBand;
  const unsigned inside = tile - first * across;
  return {batch, static_cast<int>(first + inside % height), static_cast<int>(inside / height)};
}

template <class Sums>
__device__ void product(TW_GEMM_PARAMETERS(typename Sums::Element, typename Sums::Sum)) {
  using E = typename Sums::Element;
  using Sum = typename Sums::Sum;
  using TileA = typename Sums::TileA;
  using TileB = typename Sums::TileB;
  TW_DYNAMIC_SHARED(E, tiles);
  constexpr int kStage = TileA::kElements + TileB::kElements;

  const Place place = place_of_block((m + Sums::kRows - 1) / Sums::kRows,
                                     (n + Sums::kColumns - 1) / Sums::kColumns);
  const int64_t row = static_cast<int64_t>(place.row_tile) * Sums::kRows;
  const int64_t column = static_cast<int64_t>(place.column_tile) * Sums::kColumns;
  const int rows = m - row < Sums::kRows ? static_cast<int>(m - row) : Sums::kRows;
  const int columns = n - column < Sums::kColumns ? static_cast<int>(n - column) : Sums::kColumns;
  // What is needed at the end alone waits in shared memory: registers are for the sums.
  int64_t* const later = reinterpret_cast<int64_t*>(tiles + kStages * kStage);
  if (threadIdx.x == 0) {
    later[0] = place_of_batch(partial, place.batch, m, n, inner, c_outer, c_inner);
    later[1] = row;
    later[2] = column;
  }
  const int64_t k_begin = blockIdx.y * split_depth;
  const int depth = static_cast<int>(k - k_begin < split_depth ? k - k_begin : split_depth);
  using FillA = Filler<TileA, Sums::kThreads>;
  using FillB = Filler<TileB, Sums::kThreads>;
  FillA of_a{a + in_batch(place.batch, inner, a_outer, a_inner) + (row + FillA::outer()) * a_row +
                 (k_begin + FillA::deep()) * a_k,
             a_row, a_k, rows - FillA::outer(), (flags & kAByChunks) != 0};
  FillB of_b{b + in_batch(place.batch, inner, b_outer, b_inner) +
                 (column + FillB::outer()) * b_column + (k_begin + FillB::deep()) * b_k,
             b_column, b_k, columns - FillB::outer(), (flags & kBByChunks) != 0};

  Sums sums;
  constexpr int kAhead = (kStages - 1) * TileA::kDepth;
  int slot = 0;  // the stage that was read longest ago
#pragma unroll 1
  for (int done = -kAhead; done < depth; done += TileA::kDepth) {
    ptx::wait_for_copies<kStages - 2>();
    __syncthreads();  // the next tile has come, and the one before it is read by all
    const int left = depth - done - kAhead;
    if (left > 0) {
      of_a.fill(tiles + slot, left);
      of_b.fill(tiles + slot + TileA::kElements, left);
    }
    ptx::commit_copies();
    slot = slot + kStage < kStages * kStage ? slot + kStage : 0;
    if (done >= 0) sums.take_in(tiles + slot, tiles + slot + TileA::kElements);
  }
  ptx::wait_for_copies<0>();

  // By shared memory, a band of rows after the other: so that a warp writes whole rows, and what is
  // fused is here once.
  __syncthreads();
  const Finish<E, Sum> finish = finish_of<E, Sum>(
      {c, bias, residual, before, c_row, residual_row, n, flags}, partial, later[0]);
  const int64_t first_row = later[1], first_column = later[2];
  constexpr int kGroup = Finish<E, Sum>::kGroup, kBandRows = Sums::kRows / Sums::kBands;
  constexpr int kGroups = Sums::kColumns / kGroup;
  Sum* const staged = reinterpret_cast<Sum*>(tiles);
#pragma unroll 1
  for (int band = 0; band < Sums::kBands; ++band) {
    sums.stage(staged, band);
    __syncthreads();
#pragma unroll 1
    for (int at = static_cast<int>(threadIdx.x); at < kBandRows * kGroups; at += Sums::kThreads) {
      const int64_t to_row = first_row + band * kBandRows + at / kGroups;
      const int64_t to_column = first_column + at % kGroups * kGroup;
      if (to_row >= m || to_column >= n) continue;
      Sum values[kGroup];
      read_group(values, staged + at / kGroups * Sums::kStagedRow + at % kGroups * kGroup, kGroup,
                 true);
      finish.store(to_row, to_column, values);
    }
    __syncthreads();
  }
}

// The second pass of a product that was split along K: the splits' sums, in their order. A thread a
// group of C's elements.
template <class E, class Sum>
__device__ void join(TW_JOIN_PARAMETERS(E, Sum)) {
  constexpr int kGroup = Finish<E, Sum>::kGroup;
  const int64_t groups = (n + kGroup - 1) / kGroup;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= batches * m * groups) return;
  const int64_t batch = at / (m * groups), row = at / groups % m, column = at % groups * kGroup;
  const int count = n - column < kGroup ? static_cast<int>(n - column) : kGroup;
  const Sum* from = partial + (batch * splits * m + row) * n + column;
  Sum sums[kGroup] = {}, more[kGroup];
  for (int64_t split = 0; split < splits; ++split, from += m * n) {
    read_group(more, from, count, n % kGroup == 0);
    Finish<E, Sum>::add(sums, more);
  }
  Finish<E, Sum> finish{c, bias, residual, before, c_row, residual_row, n, flags};
  finish.move(batch / inner * c_outer + batch % inner * c_inner);
  finish.store(row, column, sums);
}

// --- The linear layer's way back to its sums ---
//
// dz (rows, n) of grad and what was saved, and of the sum of its rows the share of each slab of
// `slab` rows, for gemm_join: dz, partial or saved may be null. A warp has a row and 32 groups of
// columns, the block's warps every kSlopeWarps-th row of its slab.
inline constexpr int kSlopeWarps = 8;

template <class E, class Sum>
__device__ void linear_slope(E* dz, Sum* partial, const E* grad, const E* saved, int64_t rows,
                             int64_t n, int64_t slab, int64_t flags) {
  constexpr int kGroup = Finish<E, Sum>::kGroup, kColumns = kWarpLanes * kGroup;
  TW_SHARED(Sum, of_warps, [kSlopeWarps * kColumns]);
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + lane * kGroup;
  const int64_t rest = n - column, begin = blockIdx.y * slab;
  const int64_t end = begin + slab < rows ? begin + slab : rows;
  const int count = rest < 0 ? 0 : rest < kGroup ? static_cast<int>(rest) : kGroup;
  const bool aligned = (flags & kCAligned) != 0;
  const int activation = static_cast<int>(flags & 0xFF);
  Sum sums[kGroup] = {}, before[kGroup] = {}, slope[kGroup];
  for (int64_t row = begin + warp; row < end; row += kSlopeWarps) {
    const int64_t at = row * n + column;
    read_group(slope, grad + at, count, aligned);
    if (saved != nullptr) read_group(before, saved + at, count, aligned);
#pragma unroll
    for (int e = 0; e < kGroup; ++e) {
      slope[e] = activation_gradient(activation, slope[e], before[e]);
      sums[e] += slope[e];
    }
    if (dz != nullptr) write_group(dz + at, slope, count, aligned);
  }
  if (partial == nullptr) return;
#pragma unroll
  for (int e = 0; e < kGroup; ++e) of_warps[warp * kColumns + e * kWarpLanes + lane] = sums[e];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kColumns; i += kSlopeWarps * kWarpLanes) {
    Sum sum = 0;
    for (int from = 0; from < kSlopeWarps; ++from) {
      sum += of_warps[from * kColumns + i % kGroup * kWarpLanes + i / kGroup];
    }
    const int64_t to = static_cast<int64_t>(blockIdx.x) * kColumns + i;
    if (to < n) partial[blockIdx.y * n + to] = sum;
  }
}

}  // namespace tilework::gemm_cuda
