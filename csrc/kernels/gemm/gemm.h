// Matrix products for float, double and bfloat16: cut among threads here, computed by each ISA's
// routines.
//
// bfloat16 is summed in float32 and rounded once, to nearest even, where it is stored; its products
// may also be stored as float32. What is fused to a product is computed in float32 before that.
//
// NaN and Inf in A and B reach every element of C that they are part of, as in NumPy. Results do
// not depend on the number of threads. K = 0 gives the epilogue of zeros; M = 0 or N = 0 touches
// nothing.
#pragma once

#include "kernels/gemm/kernels.h"

namespace tilework {

// The process-wide default; read by the bindings, set by set_float32_matmul_precision.
void set_matmul_precision(MatmulPrecision precision);
MatmulPrecision matmul_precision();

// A guess of the time on one thread, in nanoseconds: enough to decide about threads and the GIL.
template <class T>
double gemm_cost_ns(int64_t m, int64_t n, int64_t k);

template <class T>
void gemm(const GemmArgs<T>& args);

// --- A product inside of a task ---
//
// Families whose tasks multiply (attention, recurrent cells) call these. The calling thread
// computes the product alone, in memory that the task holds: nothing is cut, allocated, or packed
// that comes packed. The bits are gemm()'s. It may be called from any thread, several at once, each
// with a workspace of its own.

// Scratch for products of this k, and of m and n or fewer, while the active ISA stays. It has to be
// 64-byte aligned, as Scratch (base/memory_pool.h) is.
template <class T>
size_t gemm_workspace_bytes(int64_t m, int64_t n, int64_t k);

// `on_block` is called for each block of C as it is done: see OnBlock.
template <class T>
void gemm_on_this_thread(const GemmArgs<T>& args, void* workspace, const OnBlock<T>& on_block = {});

// The routine that computes such a product on one thread. Pieces that it computes of it, cut at
// multiples of its units, have the whole's bits; gemm_on_this_thread() might choose another for
// one.
template <class T>
const GemmRoutine<T>& gemm_routine(const GemmArgs<T>& args);

// `args` at each index of the leading axes, whose strides (in elements; zero where an operand is
// broadcast) are given for each operand. The epilogue may only accumulate.
template <class T>
void gemm_batched(const GemmArgs<T>& args, int ndim, const int64_t* shape, const int64_t* a_strides,
                  const int64_t* b_strides, const int64_t* c_strides);

// B packed once for many products: what the ISA that is active now reads. Fields of args that
// matter are n, k, b and precision.
template <class T>
struct PackPlan {
  const GemmRoutine<T>* routine;  // null: nothing is gained by packing here
  size_t bytes;
};
template <class T>
PackPlan<T> gemm_pack_plan(const GemmArgs<T>& args);
template <class T>
void gemm_pack(const GemmArgs<T>& args, const PackPlan<T>& plan, void* packed);
// A guess of the time that packing so many bytes takes on one thread.
inline double gemm_pack_cost_ns(size_t bytes) { return static_cast<double>(bytes) / 8; }

template <class T>
void activation_backward(const ActivationBackwardArgs<T>& args);

}  // namespace tilework
