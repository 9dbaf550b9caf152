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

#include "base/elementwise.cuh"
#include "base/ptx.cuh"
#include "base/warp.cuh"

namespace tilework::gemm_cuda {

inline constexpr int kStages = 3;
inline constexpr int kDeepChunks = 4;  // of 16 bytes, along K

// This thread's number cut by N; unsigned, so that it is shifts and masks.
template <unsigned N>
__device__ int thread_over() {
  return static_cast<int>(threadIdx.x / N);
}
template <unsigned N>
__device__ int thread_in() {
  return static_cast<int>(threadIdx.x % N);
}

template <class E>
using Vector = Pack<E, kPackOf<E>>;

// Skew: elements by which a row across K is longer than it need be.
template <class E, int Outer, bool KInner, int Skew = 0>
struct Tile {
  using Element = E;
  static constexpr bool kIsKInner = KInner;
  static constexpr int kVector = 16 / sizeof(E);
  static constexpr int kDepth = kDeepChunks * kVector;
  static constexpr int kChunksOfRow = KInner ? kDeepChunks : Outer / kVector;
  static constexpr int kRow = KInner ? kDepth : Outer + Skew;
  static constexpr int kElements = KInner ? Outer * kRow : kDepth * kRow;
  static constexpr int kChunks = Outer * kDeepChunks;
  static_assert(KInner || Skew % kVector == 0);

  // Where an element lies. K inner: two rows fill the banks once, so chunks are twisted by their
  // row such that eight rows' chunks of one depth differ, and four rows' pairs of chunks. Across:
  // eight rows of 16 bits are twisted too; of wider elements they are skewed, which takes no
  // registers for their places. `further`: so many more across, of eights, which no twist of rows
  // sees.
  static __device__ int at(int outer, int deep, int further = 0) {
    if (KInner) return outer * kRow + (deep ^ twist(outer) * kVector) + further * kRow;
    if (sizeof(E) == 2) return deep * kRow + ((outer + further) ^ (deep & 7) * kVector);
    return deep * kRow + outer + further;
  }
  static __device__ int twist(int outer) { return (outer & 2) | (outer >> 2 & 1); }
};

// One thread's part in filling tiles of an operand, one after the other along K: the chunks at its
// place and every kRowsAtOnce rows on.
template <class Of, int Threads>
struct Filler {
  using E = typename Of::Element;
  static constexpr int kVector = Of::kVector, kChunksOfRow = Of::kChunksOfRow;
  static constexpr int kRowsAtOnce = Threads / kChunksOfRow;
  static_assert(kRowsAtOnce % 8 == 0, "what twists a chunk stays");

  const E* from;  // its first chunk of the next tile
  int64_t outer_step, k_step;
  int outers;      // of A's rows (or B's columns), how many there are from its own on
  bool by_chunks;  // rows of chunks that are aligned to 16 bytes

  static __device__ int row() { return thread_over<kChunksOfRow>(); }
  static __device__ int in_row() { return thread_in<kChunksOfRow>() * kVector; }
  static __device__ int outer() { return Of::kIsKInner ? row() : in_row(); }
  static __device__ int deep() { return Of::kIsKInner ? in_row() : row(); }

  // `left`: how deep the matrix still goes.
  __device__ void fill(E* tile, int left) {
    E* const to = tile + Of::at(outer(), deep());
    const int64_t step = (Of::kIsKInner ? outer_step : k_step) * kRowsAtOnce;
#pragma unroll
    for (int i = 0; i < Of::kChunks / Threads; ++i) {
      constexpr int kNext = kRowsAtOnce * Of::kRow;
      int count = Of::kIsKInner ? left - deep() : outers;
      const int rows = Of::kIsKInner ? outers : left - deep();
      if (i * kRowsAtOnce >= rows || count < 0) count = 0;
      if (count > kVector) count = kVector;
      if (by_chunks) {
        ptx::copy_async(to + i * kNext, from + i * step, count * static_cast<int>(sizeof(E)));
      } else {
        elements(to + i * kNext, from + i * step, Of::kIsKInner ? k_step : outer_step, count);
      }
    }
    from += Of::kDepth * k_step;
  }
  // A chunk of which `count` elements lie in the matrix, in any steps.
  static __device__ void elements(E* to, const E* first, int64_t step, int count) {
    if constexpr (sizeof(E) == 2) {
      Vector<E> gathered;
#pragma unroll
      for (int e = 0; e < kVector; ++e) gathered.at[e] = e < count ? first[e * step] : E{};
      ptx::store_wide(to, gathered);
    } else {
#pragma unroll 1
      for (int e = 0; e < kVector; ++e, first += step) {
        ptx::copy_element_async(to + e, first, e < count);
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
    return thread_over<kWarpLanes*(Across / 8)>() * 4 + thread_in<kWarpLanes>() / 8;
  }
  static __device__ int across() {
    return thread_over<kWarpLanes>() % (Across / 8) * 8 + thread_in<8>();
  }

  template <bool KInner, int Threads>
  static __device__ int place(int own, int i) {
    return KInner ? own + i * Threads : (i / kVector * Threads + own) * kVector + i % kVector;
  }

  // All rows (or columns) of a thread at kDeep depths, of a tile where K is inner. Two: with the
  // whole chunk a thread's registers would not do for two blocks at once, and a warp, whose lanes
  // share rows, reads 8 bytes a lane in half of the passes.
  static constexpr int kDeep = 2;
  struct alignas(kDeep * sizeof(T)) Pair {
    T at[kDeep];
  };
  template <class Of, int Threads, int Count>
  static __device__ void read_deep(T (&to)[kDeep][Count], const T* tile, int own, int deep) {
#pragma unroll
    for (int i = 0; i < Count; ++i) {
      const auto pair = *reinterpret_cast<const Pair*>(tile + Of::at(own, deep, i * Threads));
#pragma unroll
      for (int e = 0; e < kDeep; ++e) to[e][i] = pair.at[e];
    }
  }
  // The same at one depth, of a tile that lies across.
  template <class Of, int Threads, int Count>
  static __device__ void read_across(T (&to)[Count], const T* tile, int own, int deep) {
#pragma unroll
    for (int i = 0; i < Count; i += kVector) {
      Vector<T> chunk;
      ptx::load_wide(chunk, tile + Of::at(place<false, Threads>(own, i), deep));
#pragma unroll
      for (int e = 0; e < kVector; ++e) to[i + e] = chunk.at[e];
    }
  }

  __device__ void take_in(const T* a, const T* b) {
    const int row = down(), column = across();
#pragma unroll 1
    for (int deep = 0; deep < TileA::kDepth; deep += kDeep) {
      T of_a[kDeep][kDown], of_b[kDeep][kAcross];
      if constexpr (AInner) read_deep<TileA, Down>(of_a, a, row, deep);
      if constexpr (BInner) read_deep<TileB, Across>(of_b, b, column, deep);
#pragma unroll
      for (int d = 0; d < kDeep; ++d) {
        if constexpr (!AInner) read_across<TileA, Down>(of_a[d], a, row, deep + d);
        if constexpr (!BInner) read_across<TileB, Across>(of_b[d], b, column, deep + d);
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
      T* const to = staged + row * kStagedRow;
      if constexpr (BInner) {
#pragma unroll
        for (int j = 0; j < kAcross; ++j) to[place<true, Across>(across(), j)] = sums[i][j];
      } else {
#pragma unroll
        for (int j = 0; j < kAcross; j += kVector) {
          Vector<T> chunk;
#pragma unroll
          for (int e = 0; e < kVector; ++e) chunk.at[e] = sums[i][j + e];
          ptx::store_wide(to + place<false, Across>(across(), j), chunk);
        }
      }
    }
  }
};

// --- On tensor cores ---

// A product of 16 x 8, 2 chunks deep or (bf16 of float) 4. Four rows that a fragment takes in at
// once (k, k + 1, ... of tf32, k, k + 2, ... of bf16) lie 8 banks apart by the skew.
struct Bf16 {
  using Element = __nv_bfloat16;
  static constexpr int kDepth = 16, kSkew = 0;
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::mma_bf16(d, a, b);
  }
};
struct F16 {
  using Element = __half;
  static constexpr int kDepth = 16, kSkew = 0;
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::mma_f16(d, a, b);
  }
};
struct Tf32 {
  using Element = float;
  static constexpr int kDepth = 8, kSkew = 8;
  static __device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::mma_tf32(d, a, b);
  }
};
// float32 operands, each rounded to bfloat16 on its way to the tensor cores.
struct Bf16OfFloat {
  using Element = float;
  static constexpr int kDepth = 16, kSkew = 4;
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
  using TileA = Tile<Element, Rows, AInner, Kind::kSkew>;
  using TileB = Tile<Element, Columns, BInner, Kind::kSkew>;
  static constexpr int kRows = Rows, kColumns = Columns, kThreads = Down * Across * kWarpLanes;
  static constexpr int kBands = Down, kStagedRow = Columns + 8;
  static constexpr int kDown = Rows / Down / 16, kAcross = Columns / Across / 8;
  static_assert(kAcross % 2 == 0);

  float sums[kDown][kAcross][4] = {};

  static __device__ int lane() { return thread_in<kWarpLanes>(); }
  static __device__ int first_row() { return thread_over<kWarpLanes * Across>() * (Rows / Down); }
  static __device__ int first_column() {
    return thread_over<kWarpLanes>() % Across * (Columns / Across);
  }

  // 16 of a side from `first` + `further` on, Kind::kDepth deep, as four matrices of 8: the i-th
  // lies `i & 1` or `i >> 1` of them across or deep; A's fragment wants both parts across first,
  // B's two fragments one after the other.
  template <class Of, bool KInner, bool DeepFirst>
  static __device__ void read(uint32_t (&to)[4], const Element* tile, int first, int further,
                              int deep) {
    if constexpr (sizeof(Element) == 2 || (KInner && Kind::kDepth == 8)) {
      const int i = lane() / 8, row = lane() % 8;
      const int second_outer = DeepFirst ? i >> 1 : i & 1, second_deep = DeepFirst ? i & 1 : i >> 1;
      if constexpr (KInner) {
        ptx::load_matrices(to, tile + Of::at(first + row, deep + Of::kVector * second_deep,
                                             further + 8 * second_outer));
      } else {
        ptx::load_matrices_transposed(
            to, tile + Of::at(first, deep + row + 8 * second_deep, further + 8 * second_outer));
      }
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int second_outer = DeepFirst ? i >> 1 : i & 1;
        const int second_deep = DeepFirst ? i & 1 : i >> 1;
        const int own = first + lane() / 4, more = further + 8 * second_outer;
        const int at = deep + lane() % 4 * (Kind::kDepth / 8) + Kind::kDepth / 2 * second_deep;
        if constexpr (Kind::kDepth == 8) {
          to[i] = bits_of(tile[Of::at(own, at, more)]);
        } else if constexpr (KInner) {
          const float2 pair = *reinterpret_cast<const float2*>(tile + Of::at(own, at, more));
          to[i] = bf16_pair(pair.x, pair.y);
        } else {
          to[i] = bf16_pair(tile[Of::at(own, at, more)], tile[Of::at(own, at + 1, more)]);
        }
      }
    }
    if constexpr (Kind::kDepth == 8) {
#pragma unroll
      for (int i = 0; i < 4; ++i) to[i] = ptx::round_to_tf32(to[i]);
    }
  }

  __device__ void take_in(const Element* a, const Element* b) {
#pragma unroll 1
    for (int deep = 0; deep < TileA::kDepth; deep += Kind::kDepth) {
      uint32_t of_b[kAcross / 2][4];
#pragma unroll
      for (int j = 0; j < kAcross / 2; ++j) {
        read<TileB, BInner, true>(of_b[j], b, first_column(), 16 * j, deep);
      }
#pragma unroll
      for (int i = 0; i < kDown; ++i) {
        uint32_t of_a[4];
        read<TileA, AInner, false>(of_a, a, first_row(), 16 * i, deep);
#pragma unroll
        for (int j = 0; j < kAcross; ++j) {
          const uint32_t pair[2] = {of_b[j / 2][j % 2 * 2], of_b[j / 2][j % 2 * 2 + 1]};
          Kind::multiply(sums[i][j], of_a, pair);
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
        ptx::store_wide(to, make_float2(sums[i][j][0], sums[i][j][1]));
        ptx::store_wide(to + 8 * kStagedRow, make_float2(sums[i][j][2], sums[i][j][3]));
      }
    }
  }
};

}  // namespace tilework::gemm_cuda
