// What families of products hand to their tiles: operands, and what follows a sum.
#pragma once

#include <stdint.h>

#include "base/types.h"

namespace tilework {

// A matrix of a product: strides count elements, and may be anything, zero and negative included.
template <class T>
struct Operand {
  const T* data;
  int64_t row, col;

  const T* at(int64_t i, int64_t j) const { return data + i * row + j * col; }
};

// What happens to each element of A @ B, in this order:
//     z = (accumulate ? c : 0) + A @ B + bias + residual;  preactivation = z;  c = activation(z)
// computed in Wide<T> and rounded once, where it is stored. Every pointer may be null. Columns are
// adjacent in memory; residual and preactivation share no memory with C, except that in gemm(),
// where accumulate is false, residual may be C itself, row for row: it is then accumulated to, and
// so added before the bias.
template <class T>
struct Epilogue {
  bool accumulate = false;
  Activation activation = Activation::none;
  const T* bias = nullptr;  // one an output column
  const T* residual = nullptr;
  int64_t residual_row = 0;
  T* preactivation = nullptr;
  int64_t preactivation_row = 0;

  bool changes_result() const {
    return bias || residual || preactivation || activation != Activation::none;
  }
};

// Where a product goes: T*, but of bfloat16 to an array of either type.
struct Bfloat16Output {
  char* data;
  bool is_float;

  bfloat16* narrow() const { return reinterpret_cast<bfloat16*>(data); }
  float* wide() const { return reinterpret_cast<float*>(data); }
  Bfloat16Output& operator+=(int64_t elements) {
    data += elements * (is_float ? sizeof(float) : sizeof(bfloat16));
    return *this;
  }
};
template <class T>
struct OutputOf {
  using type = T*;
};
template <>
struct OutputOf<bfloat16> {
  using type = Bfloat16Output;
};
template <class T>
using Output = typename OutputOf<T>::type;

}  // namespace tilework
