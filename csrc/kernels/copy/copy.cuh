// Copies of elements of 1, 2, 4 or 8 bytes, whatever they mean, from any strides to any.
//
// Where one side's neighbours are not the other's, a block turns a tile of 32 x 32 in shared
// memory, so that both sides are walked by whole sectors. Its rows have an odd number of words: a
// column then lies in 32 banks.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// copy_bytes          27, 28, 20  0       0        256      8, 8, 8       LDG.128 STG.128
// copy_turned_*       40, 40, 30  8448    0        256      6, 6, 8
// copy_far_*          40, 40, 44  0       0        256      6, 6, 5
// copy_strided_*      32, 32, 32  0       0        256      8, 8, 8       LDG.128 STG.128
#pragma once

#include "base/elementwise.cuh"

namespace tilework::copy_cuda {

// Of one dense run: by 16 bytes, where both sides begin so.
__device__ inline void copy_run(uint8_t* y, const uint8_t* x, int64_t bytes) {
  fill_flat<kPackBytes>(y, bytes, at_packs(y, x), [=](auto width, int64_t i) {
    return load_pack<decltype(width)::value>(x + i);
  });
}

template <class Index, class T>
__device__ void copy_strided(T* y, const T* x, int64_t groups, int64_t axes, int64_t whole,
                             const Axes<Index>& size, const Axes<Index>& y_stride,
                             const Axes<Index>& x_stride) {
  constexpr int kInner = kAxes - 1;
  walk<kPackOf<T>>(
      groups, static_cast<int>(axes), whole, size, [&](auto width, const Axes<Index>& place) {
        const auto pack = load_along<decltype(width)::value>(x + offset_of(place, x_stride),
                                                             x_stride.of[kInner], (whole & 2) != 0);
        store_along(y + offset_of(place, y_stride), y_stride.of[kInner], (whole & 1) != 0, pack);
      });
}

inline constexpr int kSide = 32, kLines = kElementThreads / kSide;
template <class T>
inline constexpr int kPitch = kSide + (sizeof(T) < 4 ? 4 / static_cast<int>(sizeof(T)) : 1);

// Along the axis of `rows` elements of y are neighbours, along that of `cols` those of x; the other
// sides' steps are given. Around these are three axes, the outermost's size told by the grid.
template <class T>
__device__ void copy_turned(T* y, const T* x, int64_t rows, int64_t cols, int64_t y_step,
                            int64_t x_step, int64_t n1, int64_t n2, const int64_t (&y_outer)[3],
                            const int64_t (&x_outer)[3]) {
  TW_SHARED(T, tile, [kSide][kPitch<T>]);
  const int lane = static_cast<int>(threadIdx.x) % kSide;
  const int line = static_cast<int>(threadIdx.x) / kSide;
  const int64_t row_tiles = (rows + kSide - 1) / kSide, col_tiles = (cols + kSide - 1) / kSide;
  int64_t rest = blockIdx.x;
  const int64_t row = rest % row_tiles * kSide;
  rest /= row_tiles;
  const int64_t col = rest % col_tiles * kSide;
  rest /= col_tiles;
  const int64_t i2 = rest % n2, i1 = rest / n2 % n1, i0 = rest / n2 / n1;
  x += i0 * x_outer[0] + i1 * x_outer[1] + i2 * x_outer[2] + row * x_step + col;
  y += i0 * y_outer[0] + i1 * y_outer[1] + i2 * y_outer[2] + col * y_step + row;
#pragma unroll
  for (int i = line; i < kSide; i += kLines) {
    if (row + i < rows && col + lane < cols) tile[i][lane] = x[i * x_step + lane];
  }
  __syncthreads();
#pragma unroll
  for (int j = line; j < kSide; j += kLines) {
    if (row + lane < rows && col + j < cols) y[j * y_step + lane] = tile[lane][j];
  }
}

TW_KERNEL(kElementThreads, copy_bytes, uint8_t* y, const uint8_t* x, int64_t bytes) {
  copy_run(y, x, bytes);
}

#define TW_COPY_STRIDED(type, suffix, index)                                                 \
  TW_KERNEL(kElementThreads, copy_##suffix##_##type, type##_t* y, const type##_t* x,         \
            int64_t groups, int64_t axes, int64_t whole, TW_AXES(size), TW_AXES(y_stride),   \
            TW_AXES(x_stride)) {                                                             \
    using Index = index;                                                                     \
    copy_strided<Index>(y, x, groups, axes, whole, Axes<Index> TW_AXES_OF(size),             \
                        Axes<Index> TW_AXES_OF(y_stride), Axes<Index> TW_AXES_OF(x_stride)); \
  }
#define TW_COPY(type)                                                                          \
  TW_KERNEL(kElementThreads, copy_turned_##type, type##_t* y, const type##_t* x, int64_t rows, \
            int64_t cols, int64_t y_step, int64_t x_step, int64_t n1, int64_t n2, int64_t y0,  \
            int64_t y1, int64_t y2, int64_t x0, int64_t x1, int64_t x2) {                      \
    copy_turned(y, x, rows, cols, y_step, x_step, n1, n2, {y0, y1, y2}, {x0, x1, x2});         \
  }                                                                                            \
  TW_COPY_STRIDED(type, strided, int32_t)                                                      \
  TW_COPY_STRIDED(type, far, int64_t)
TW_COPY(uint8)
TW_COPY(uint16)
TW_COPY(uint32)
TW_COPY(uint64)
#undef TW_COPY
#undef TW_COPY_STRIDED

}  // namespace tilework::copy_cuda
