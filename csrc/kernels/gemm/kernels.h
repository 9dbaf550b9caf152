// The contract between the gemm driver (gemm.cc) and what each ISA brings.
//
// A routine computes one product on one thread, out of memory that the driver lends it. An ISA's
// table lists its routines in order of preference; the driver takes the first that suits the whole
// product, cuts C among threads, and calls it on each piece. No ISA file allocates, throws or
// starts a thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/types.h"
#include "kernels/tile/operands.h"

namespace tilework {

// What float32 products may trade for speed; the words are PyTorch's. Others are always themselves:
// float64, and bfloat16, whose products are exact in float32 and summed there.
enum class MatmulPrecision : int { highest, high, medium };

template <class T>
struct GemmRoutine;

// B (K x N) in the order its routine reads: one panel after another, each of n_unit columns, so
// that any whole number of panels is a packed B too.
template <class T>
struct PackedB {
  const GemmRoutine<T>* routine;
  const char* data;
};

// C (M x N) = epilogue(A (M x K) @ B (K x N)). A and B may have any strides; C's columns are
// adjacent. C overlaps neither A nor B.
template <class T>
struct GemmArgs {
  int64_t m, n, k;
  MatrixView<T> a, b;
  Output<T> c;
  int64_t c_row;
  Epilogue<T> epilogue = {};
  MatmulPrecision precision = MatmulPrecision::highest;
  // Where it is set, the same B packed earlier. A routine that made it reads it instead of b.
  PackedB<T> packed = {nullptr, nullptr};
  OnBlock<T> on_block = {};  // gemm_on_this_thread() sets it; elsewhere it is null
};

template <class T>
struct GemmRoutine {
  const char* name;
  // Whether this routine is right for the product. The driver asks about the whole product only, so
  // that the answer does not depend on the number of threads.
  bool (*suits)(const GemmArgs<T>& args);
  // The driver cuts C at multiples of these. An element's bits may depend on where it lies within
  // such a unit, never on where the cuts are.
  int64_t m_unit, n_unit;
  // Scratch that run() needs for a piece of this size or a smaller one. It comes 64-byte aligned.
  size_t (*workspace_bytes)(int64_t m, int64_t n, int64_t k);
  void (*run)(const GemmArgs<T>& args, void* workspace);
  // Packing B ahead; all null where the routine reads B as it lies.
  size_t (*packed_panel_bytes)(int64_t k, MatmulPrecision precision);
  void (*pack_panels)(const GemmArgs<T>& args, void* packed);  // all of B: reads n, k, b, precision
};

// dz = grad * activation'(saved), computed in Wide<T>, and the sums of its columns into dbias;
// saved is the activation's output, or its input where needs_preactivation(). dz null: the sums
// alone; dbias null: dz alone.
template <class T>
struct ActivationBackwardArgs {
  int64_t rows, cols;
  const T* grad;
  int64_t grad_row;
  const T* saved;
  int64_t saved_row;
  Activation activation;
  T* dz;
  int64_t dz_row;
  Wide<T>* dbias;
};

struct GemmKernels {
  const GemmRoutine<float>* f32;  // in order of preference
  int f32_count;
  const GemmRoutine<double>* f64;
  int f64_count;
  const GemmRoutine<bfloat16>* bf16;
  int bf16_count;
  // Null: the next table's.
  void (*activation_backward_f32)(const ActivationBackwardArgs<float>&);
  void (*activation_backward_f64)(const ActivationBackwardArgs<double>&);
  void (*activation_backward_bf16)(const ActivationBackwardArgs<bfloat16>&);
  // Whose routines serve where none of these suits; null in a table whose last routine suits all.
  const GemmKernels* next;
};

}  // namespace tilework
