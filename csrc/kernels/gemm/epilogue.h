// What follows a product, run over each block of C while it is in the cache.
#pragma once

#include "kernels/gemm/kernels.h"
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

template <Activation activation, class T>
TW_INLINE Vec<T> activate(Vec<T> z) {
  if constexpr (activation == Activation::relu) return max_nan(z, Vec<T>::zero());
  return z;
}

template <Activation activation, class T>
void finish_block(int64_t rows, int64_t cols, T* c, int64_t c_row, const Epilogue<T>& e) {
  using V = Vec<T>;
  for (int64_t i = 0; i < rows; ++i, c += c_row) {
    const T* residual = e.residual ? e.residual + i * e.residual_row : nullptr;
    T* preactivation = e.preactivation ? e.preactivation + i * e.preactivation_row : nullptr;
    for (int64_t j = 0; j < cols; j += V::width) {
      const int lanes = cols - j < V::width ? static_cast<int>(cols - j) : V::width;
      V z = V::load_partial(c + j, lanes);
      if (e.bias) z += V::load_partial(e.bias + j, lanes);
      if (residual) z += V::load_partial(residual + j, lanes);
      if (preactivation) z.store_partial(preactivation + j, lanes);
      activate<activation>(z).store_partial(c + j, lanes);
    }
  }
}

template <class T>
void finish(int64_t rows, int64_t cols, T* c, int64_t c_row, const Epilogue<T>& e) {
  switch (e.activation) {
    case Activation::none:
      return finish_block<Activation::none>(rows, cols, c, c_row, e);
    case Activation::relu:
      return finish_block<Activation::relu>(rows, cols, c, c_row, e);
    default:
      return;
  }
}

}  // namespace tilework::TW_ISA
