// What families of products hand to their tiles: operands, and what follows a sum.
#pragma once

#include <stdint.h>

#include "base/types.h"

namespace tilework {

// A matrix of a product: strides count elements, and may be anything, zero and negative included.
template <class T>
struct MatrixView {
  const T* data;
  int64_t row, col;

  // Always inlined, so that an ISA file leaves no symbol of them behind.
  __attribute__((always_inline)) const T* at(int64_t i, int64_t j) const {
    return data + i * row + j * col;
  }
  __attribute__((always_inline)) MatrixView transposed() const { return {data, col, row}; }
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

// Rows [row, row + rows) and columns [col, col + cols) of C, with all that its epilogue asks.
template <class T>
struct FinishedBlock {
  int64_t row, col, rows, cols;
  Output<T> c;  // the block's first element
  int64_t c_row;
};

// A block begins at a multiple of so many columns, and holds a multiple of them unless it reaches
// C's last: on every ISA, of every type, whatever routine serves.
inline constexpr int64_t kBlockColumns = 64;

// What a caller does with each block of C while the cache holds it: a function, called once a block
// (a hundred times its own cost), so that no product is compiled for it. Null: nothing.
//
// Each element of C is in one block, whose values are final; the product neither reads nor writes
// them again, so that the callee may overwrite them. Blocks of the same rows come from left to
// right, all else in any order, and a block may be all of C. How C is cut depends on shape,
// strides, packing and ISA, never on threads. Two kinds of callers were in mind:
//
// - attention, on C = scores of some queries: it takes each row's maximum and sum of a block into
//   its running ones, and leaves exp(score - maximum) in the block for the second product;
// - a recurrent cell, on C = pre-activations whose columns hold four gates of 16 hidden units, gate
//   after gate, then those of the next 16: all gates of a unit are then in one block, and the
//   callee computes the cell on it, into arrays of its own.
template <class T>
struct OnBlock {
  void (*run)(void* context, const FinishedBlock<T>& block) = nullptr;
  void* context = nullptr;
};

}  // namespace tilework
