// What the kernels of matrix products share: tiles of the operands in shared memory, how they are
// filled in stages, and the sums of a block that takes in tile after tile.
//
// A tile is 64 bytes deep along K, four chunks of 16, and lies in the order in which its matrix
// lies: along K ("K inner") or across it. So 16 bytes go from global to shared memory at once
// whichever side is transposed, and what turns a tile around is how fragments are read. Chunks are
// twisted (XOR) by their row, so that neither the writes nor any of these reads meet in a bank.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "base/ptx.cuh"
#include "base/warp.cuh"

namespace tilework::gemm_cuda {

inline constexpr int kStages = 3;
inline constexpr int kDeepChunks = 4;  // of 16 bytes, along K

template <class E>
struct alignas(16) Vector {
  E at[16 / sizeof(E)];
};

// One operand as a block reads it: `outer` counts rows of A, or columns of B, from the block's
// first one.
template <class E>
struct Side {
  const E* base;
  int64_t outer_step, k_step;
  int outers;      // how many of the tile's lie in the matrix
  int64_t k_end;   // of this split
  bool by_chunks;  // rows of chunks that are aligned to 16 bytes
};

template <class E, int Outer, bool KInner>
struct Tile {
  static constexpr int kVector = 16 / sizeof(E);
  static constexpr int kDepth = kDeepChunks * kVector;
  static constexpr int kElements = Outer * kDepth;
  static constexpr int kChunks = kElements / kVector;

  // Where an element lies.
  static __device__ int at(int outer, int deep) {
    if (KInner) {
      return (outer * kDeepChunks + ((deep / kVector) ^ twist(outer))) * kVector + deep % kVector;
    }
    return deep * Outer + ((outer / kVector) ^ twist(deep)) * kVector + outer % kVector;
  }
  // K inner: two rows fill the banks once; eight rows' chunks of one depth differ, and so do four
  // rows' pairs of chunks. Across: the rows that a fragment takes in at once differ, which are 8 of
  // 16-bit elements, and of float k, k + 1, k + 2, k + 3 (tf32) or k, k + 2, k + 4, k + 6 (bf16).
  static __device__ int twist(int row) {
    if (KInner) return (row & 2) | (row >> 2 & 1);
    return sizeof(E) == 4 ? ((row ^ row >> 2) & 3) * 2 : row & 7;
  }

  template <int Threads>
  static __device__ void fill(E* tile, const Side<E>& side, int64_t k) {
    const int64_t rest = side.k_end - k;
    const int deeps = rest < kDepth ? static_cast<int>(rest) : kDepth;
    const E* from = side.base + k * side.k_step;
#pragma unroll
    for (int i = 0; i < kChunks / Threads; ++i) {
      const int chunk = static_cast<int>(threadIdx.x) + i * Threads;
      const int outer = KInner ? chunk / kDeepChunks : chunk % (Outer / kVector) * kVector;
      const int deep = KInner ? chunk % kDeepChunks * kVector : chunk / (Outer / kVector);
      int count = KInner ? deeps - deep : side.outers - outer;
      if (outer >= side.outers || deep >= deeps) count = 0;
      if (count > kVector) count = kVector;
      E* to = tile + at(outer, deep);
      const E* first = from + outer * side.outer_step + deep * side.k_step;
      if (side.by_chunks) {
        ptx::copy_async(to, count > 0 ? first : side.base, count * static_cast<int>(sizeof(E)));
      } else {
        const int64_t step = KInner ? side.k_step : side.outer_step;
        Vector<E> gathered;
#pragma unroll
        for (int e = 0; e < kVector; ++e) gathered.at[e] = e < count ? first[e * step] : E{};
        *reinterpret_cast<Vector<E>*>(to) = gathered;
      }
    }
  }
};

// --- On CUDA cores ---

// Each of Down x Across threads has sums of its own, 2 V x 2 V or so (V elements are 16 bytes), and
// reads chunks: per V steps along K, 16 bytes a row and a column. Its rows are V neighbours here
// and there across, and every Down-th one where K is inner; the same of columns.
template <class T, int Rows, int Columns, int Down, int Across, bool AInner, bool BInner>
struct OnCores {
  using Element = T;
  using Sum = T;
  using TileA = Tile<T, Rows, AInner>;
  using TileB = Tile<T, Columns, BInner>;
  static constexpr int kRows = Rows, kColumns = Columns, kThreads = Down * Across;
  static constexpr int kBands = 2, kStagedRow = Columns + 8;
  static constexpr int kDown = Rows / Down, kAcross = Columns / Across, kVector = TileA::kVector;

  T sums[kDown][kAcross] = {};

  // A warp is 4 threads down and 8 across.
  static __device__ int down() {
    const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpLanes;
    return warp / (Across / 8) * 4 + thread % kWarpLanes / 8;
  }
  static __device__ int across() {
    const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpLanes;
    return warp % (Across / 8) * 8 + thread % 8;
  }

  template <bool KInner, int Threads>
  static __device__ int place(int own, int i) {
    return KInner ? own + i * Threads : (i / kVector * Threads + own) * kVector + i % kVector;
  }

  template <class Tile_, bool KInner, int Threads, int Count>
  static __device__ void read(T (&to)[kVector][Count], const T* tile, int own, int deep) {
    if (KInner) {
#pragma unroll
      for (int i = 0; i < Count; ++i) {
        const auto chunk = *reinterpret_cast<const Vector<T>*>(
            tile + Tile_::at(place<KInner, Threads>(own, i), deep));
#pragma unroll
        for (int e = 0; e < kVector; ++e) to[e][i] = chunk.at[e];
      }
    } else {
#pragma unroll
      for (int d = 0; d < kVector; ++d) {
#pragma unroll
        for (int i = 0; i < Count; i += kVector) {
          const auto chunk = *reinterpret_cast<const Vector<T>*>(
              tile + Tile_::at(place<KInner, Threads>(own, i), deep + d));
#pragma unroll
          for (int e = 0; e < kVector; ++e) to[d][i + e] = chunk.at[e];
        }
      }
    }
  }

  __device__ void take_in(const T* a, const T* b) {
#pragma unroll
    for (int deep = 0; deep < TileA::kDepth; deep += kVector) {
      T of_a[kVector][kDown], of_b[kVector][kAcross];
      read<TileA, AInner, Down>(of_a, a, down(), deep);
      read<TileB, BInner, Across>(of_b, b, across(), deep);
#pragma unroll
      for (int d = 0; d < kVector; ++d) {
#pragma unroll
        for (int i = 0; i < kDown; ++i) {
#pragma unroll
          for (int j = 0; j < kAcross; ++j) sums[i][j] += of_a[d][i] * of_b[d][j];
        }
      }
    }
  }

  // The sums of half the rows, to shared memory.
  __device__ void stage(T* staged, int band) const {
    constexpr int kHalf = Rows / kBands;
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
      const int row = place<AInner, Down>(down(), i) - band * kHalf;
      if (i / (kDown / kBands) != band) continue;
      T* to = staged + row * kStagedRow;
#pragma unroll
      for (int j = 0; j < kAcross; ++j) to[place<BInner, Across>(across(), j)] = sums[i][j];
    }
  }
};

// --- On tensor cores ---

// What a lane holds of a product of 16 x 8, 2 chunks deep or (bf16 of float) 4.
struct Bf16 {
  using Element = __nv_bfloat16;
  static constexpr int kDepth = 16;
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::mma_bf16(d, a, b);
  }
};
struct F16 {
  using Element = __half;
  static constexpr int kDepth = 16;
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::mma_f16(d, a, b);
  }
};
struct Tf32 {
  using Element = float;
  static constexpr int kDepth = 8;
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::mma_tf32(d, a, b);
  }
};
// float32 operands, each rounded to bfloat16 on its way to the tensor cores.
struct Bf16OfFloat {
  using Element = float;
  static constexpr int kDepth = 16;
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::mma_bf16(d, a, b);
  }
};

__device__ inline uint32_t bits_of(float x) { return static_cast<uint32_t>(__float_as_int(x)); }
__device__ inline uint32_t bf16_pair(float low, float high) {
  const __nv_bfloat162_raw pair = __floats2bfloat162_rn(low, high);
  return pair.x | static_cast<uint32_t>(pair.y) << 16;
}

// Warps stand Down x Across; each has kDown x kAcross products of 16 x 8.
template <class Kind, int Rows, int Columns, int Down, int Across, bool AInner, bool BInner>
struct OnTensorCores {
  using Element = typename Kind::Element;
  using Sum = float;
  using TileA = Tile<Element, Rows, AInner>;
  using TileB = Tile<Element, Columns, BInner>;
  static constexpr int kRows = Rows, kColumns = Columns, kThreads = Down * Across * kWarpLanes;
  static constexpr int kBands = Down, kStagedRow = Columns + 8;
  static constexpr int kDown = Rows / Down / 16, kAcross = Columns / Across / 8;
  static_assert(kAcross % 2 == 0);

  float sums[kDown][kAcross][4] = {};

  static __device__ int lane() { return static_cast<int>(threadIdx.x) % kWarpLanes; }
  static __device__ int first_row() {
    return static_cast<int>(threadIdx.x) / kWarpLanes / Across * (Rows / Down);
  }
  static __device__ int first_column() {
    return static_cast<int>(threadIdx.x) / kWarpLanes % Across * (Columns / Across);
  }

  // 16 of a side, Kind::kDepth deep, as four matrices of 8: the i-th lies `i & 1` or `i >> 1` of
  // them across or deep; A's fragment wants both parts across first, B's two fragments one after
  // the other.
  template <class Tile_, bool KInner, bool DeepFirst>
  static __device__ void read(uint32_t (&to)[4], const Element* tile, int outer, int deep) {
    if constexpr (sizeof(Element) == 2 || (KInner && Kind::kDepth == 8)) {
      const int i = lane() / 8, row = lane() % 8;
      const int second_outer = DeepFirst ? i >> 1 : i & 1, second_deep = DeepFirst ? i & 1 : i >> 1;
      if constexpr (KInner) {
        ptx::load_matrices(to, tile + Tile_::at(outer + row + 8 * second_outer,
                                                deep + Tile_::kVector * second_deep));
      } else {
        ptx::load_matrices_transposed(
            to, tile + Tile_::at(outer + 8 * second_outer, deep + row + 8 * second_deep));
      }
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int second_outer = DeepFirst ? i >> 1 : i & 1;
        const int second_deep = DeepFirst ? i & 1 : i >> 1;
        const int own = outer + lane() / 4 + 8 * second_outer;
        const int at = deep + (lane() % 4 * Kind::kDepth + Kind::kDepth * 4 * second_deep) / 8;
        if constexpr (Kind::kDepth == 8) {
          to[i] = bits_of(tile[Tile_::at(own, at)]);
        } else if constexpr (KInner) {
          const float2 pair = *reinterpret_cast<const float2*>(tile + Tile_::at(own, at));
          to[i] = bf16_pair(pair.x, pair.y);
        } else {
          to[i] = bf16_pair(tile[Tile_::at(own, at)], tile[Tile_::at(own, at + 1)]);
        }
      }
    }
    if constexpr (Kind::kDepth == 8) {
#pragma unroll
      for (int i = 0; i < 4; ++i) to[i] = ptx::round_to_tf32(to[i]);
    }
  }

  __device__ void take_in(const Element* a, const Element* b) {
#pragma unroll
    for (int deep = 0; deep < TileA::kDepth; deep += Kind::kDepth) {
      uint32_t of_a[kDown][4], of_b[kAcross / 2][4];
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
        read<TileA, AInner, false>(of_a[i], a, first_row() + 16 * i, deep);
      }
#pragma unroll
      for (int j = 0; j < kAcross / 2; ++j) {
        read<TileB, BInner, true>(of_b[j], b, first_column() + 16 * j, deep);
      }
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
#pragma unroll
        for (int j = 0; j < kAcross; ++j) {
          const uint32_t pair[2] = {of_b[j / 2][j % 2 * 2], of_b[j / 2][j % 2 * 2 + 1]};
          Kind::multiply(sums[i][j], of_a[i], pair);
        }
      }
    }
  }

  // The sums of one row of warps, to shared memory.
  __device__ void stage(float* staged, int band) const {
    if (first_row() != band * (Rows / Down)) return;
#pragma unroll
    for (int i = 0; i < kDown; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
        float* to =
            staged + (16 * i + lane() / 4) * kStagedRow + first_column() + 8 * j + lane() % 4 * 2;
        *reinterpret_cast<float2*>(to) = make_float2(sums[i][j][0], sums[i][j][1]);
        *reinterpret_cast<float2*>(to + 8 * kStagedRow) = make_float2(sums[i][j][2], sums[i][j][3]);
      }
    }
  }
};

}  // namespace tilework::gemm_cuda
