// What follows a product, run over each block of C while it is in the cache.
#pragma once

#include "kernels/tile/operands.h"
#include "simd/vec.h"

namespace tilework::TW_ISA {

// The epilogue of the block whose corner is at (row, col); accumulation is the tile's business.
template <class T>
TW_INLINE Epilogue<T> epilogue_at(Epilogue<T> e, int64_t row, int64_t col) {
  if (e.bias) e.bias += col;
  if (e.residual) e.residual += row * e.residual_row + col;
  if (e.preactivation) e.preactivation += row * e.preactivation_row + col;
  return e;
}

// out = activation(sums + before + bias + residual). `before` is C as it was, or null; sums and out
// may be one block. Of float, double and bfloat16, the latter to an array of either type.
template <class T, class Out>
void finish_sums(int64_t rows, int64_t cols, const Wide<T>* sums, int64_t sums_row,
                 const Out* before, Out* out, int64_t out_row, const Epilogue<T>& e);

// Of a block of C that holds the sums.
template <class T>
TW_INLINE void finish(int64_t rows, int64_t cols, T* c, int64_t c_row, const Epilogue<T>& e) {
  finish_sums<T, T>(rows, cols, c, c_row, nullptr, c, c_row, e);
}

// Of sums that lie near, into y around the caches, whole lines at a time; float and double.
template <class T>
void finish_streaming(int64_t rows, int64_t cols, const T* sums, int64_t sums_row, T* y,
                      int64_t y_row, const Epilogue<T>& e);

}  // namespace tilework::TW_ISA
