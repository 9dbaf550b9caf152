// Copies between layouts: any strides to any strides, of elements of 1, 2, 4 or 8 bytes.
//
// Built once, for the baseline: memory bounds it, and 16 bytes are enough for the shuffles. Nothing
// overlaps.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tilework {

// Strides in bytes; those of the source may be 0 or negative.
struct CopyShape {
  static constexpr int kMaxAxes = 64;
  int axes;
  int64_t size[kMaxAxes], to_stride[kMaxAxes], from_stride[kMaxAxes];
};

void strided_copy(size_t itemsize, const CopyShape& shape, const void* from, void* to);

// to[j * rows + i] = from[i * cols + j], dense both.
template <class T>
void transpose(const T* from, int64_t rows, int64_t cols, T* to) {
  constexpr int64_t size = sizeof(T);
  strided_copy(size, {2, {cols, rows}, {rows * size, size}, {size, cols * size}}, from, to);
}

// A part of what is joined: rows of `bytes`, `step` apart.
struct JoinedRows {
  const char* from;
  int64_t step, bytes;
};

// `rows` rows, dense: each is that of all parts, one after the other.
void join_rows(const JoinedRows* parts, int64_t count, int64_t rows, char* to);

// For the driver and the GIL: nanoseconds on one thread.
inline double copy_cost_ns(int64_t bytes) { return 0.15 * static_cast<double>(bytes); }

}  // namespace tilework
