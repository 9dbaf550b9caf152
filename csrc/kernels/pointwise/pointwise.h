// Elementwise ops: one pass over memory each way.
//
// Arrays are flat runs of elements: any dense layout, the same for all arrays of a call. An output
// may be one of its inputs, but not overlap it otherwise. NaN goes through every op, relu, maximum
// and minimum included. No result depends on where the work was cut, the bias gradient's sums
// included: they are cut by shape alone.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/types.h"

namespace tilework {

enum class UnaryOp : int {
#define TW_UNARY(name, saved) name,
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_UNARY
  count
};
enum class BinaryOp : int {
#define TW_BINARY(name) name,
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_BINARY
  count
};
enum class GatedOp : int {
#define TW_GATED(name, activation, gate_first) name,
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_GATED
  count
};

inline constexpr int kActivations = 7;

template <class T>
void unary_forward(UnaryOp op, const T* x, T* y, int64_t n);
// `saved` is the input or the output of the forward pass, as pointwise_ops.inc says; unread for
// "none".
template <class T>
void unary_backward(UnaryOp op, const T* grad, const T* saved, T* dx, int64_t n);

// Two operands under one shape, the last axis innermost; strides count elements, 0 where an operand
// is broadcast. The output is dense in this order of axes.
struct BinaryShape {
  static constexpr int kMaxAxes = 32;
  int axes;
  int64_t size[kMaxAxes], a_stride[kMaxAxes], b_stride[kMaxAxes];
};
template <class T>
void binary_forward(BinaryOp op, const BinaryShape& shape, const T* a, const T* b, T* y);

// y = act(x + bias), a row at a time; z, where not null, gets x + bias.
template <class T>
void bias_activation_forward(Activation act, int64_t rows, int64_t cols, const T* x, const T* bias,
                             T* y, T* z);
// dz = the gradient before the activation (see activation_gradient in simd/activation.h for
// `saved`); dbias = its column sums.
template <class T>
void bias_activation_backward(Activation act, int64_t rows, int64_t cols, const T* grad,
                              const T* saved, T* dz, T* dbias);

// Rows of `cols` neighbours; of both operands, and of their gradients, a row begins `stride`
// elements after the one before: twice cols where they are the halves of longer rows.
struct GatedShape {
  int64_t rows, cols, stride;
};
// y = act(gate) * value, dense: pointwise_ops.inc says which of a and b is the gate. S is float,
// double or bfloat16, which is widened and rounded once.
template <class S>
void gated_forward(GatedOp op, GatedShape shape, const S* a, const S* b, S* y);
template <class S>
void gated_backward(GatedOp op, GatedShape shape, const S* grad, const S* a, const S* b, S* da,
                    S* db);

// min(max(x, low), high): NaN where any of the three is.
template <class T>
void clamp(T low, T high, const T* x, T* y, int64_t n);
// grad where low <= x <= high, else 0.
template <class T>
void clamp_backward(T low, T high, const T* grad, const T* x, T* dx, int64_t n);

// Position i is kept where its Philox word reaches round(p * 2^32), and scaled by 1 / (1 - p); else
// it is 0, NaN too. The gradient is the same call on the gradient.
template <class T>
void dropout(double p, uint64_t seed, uint64_t call, const T* x, T* y, int64_t n);

// bfloat16 as float32, which is exact; and float32 as bfloat16, to nearest even.
void widen(const bfloat16* x, float* y, int64_t n);
void narrow(const float* x, bfloat16* y, int64_t n);

// --- What a variant provides ---

// Which side of a binary op is one element, read again for each.
enum class Scalar : int { neither, a, b };

template <class T>
struct PointwiseTable {
  using Unary = void (*)(const T* x, T* y, int64_t n, bool stream);
  using Binary = void (*)(const T* a, const T* b, T* y, int64_t n, bool stream);
  using Bias = void (*)(const T* x, const T* bias, T* y, T* z, int64_t rows, int64_t cols,
                        bool stream);
  // Adds to partial[cols].
  using BiasBackward = void (*)(const T* grad, const T* saved, T* dz, T* partial, int64_t rows,
                                int64_t cols, bool stream);
  Unary unary_forward[static_cast<int>(UnaryOp::count)];
  Binary unary_backward[static_cast<int>(UnaryOp::count)];
  Binary binary[static_cast<int>(BinaryOp::count)][3];  // by Scalar
  Bias bias_forward[kActivations];
  BiasBackward bias_backward[kActivations];
  void (*clamp)(T low, T high, const T* x, T* y, int64_t n, bool stream);
  void (*clamp_backward)(T low, T high, const T* grad, const T* x, T* dx, int64_t n, bool stream);
  // `position` is a multiple of 64.
  void (*dropout)(uint32_t threshold, T scale, uint64_t seed, uint64_t call, uint64_t position,
                  const T* x, T* y, int64_t n, bool stream);
};

// A row, or a part of one.
template <class S>
struct GatedTable {
  void (*forward[static_cast<int>(GatedOp::count)])(const S* a, const S* b, S* y, int64_t n,
                                                    bool stream);
  void (*backward[static_cast<int>(GatedOp::count)])(const S* grad, const S* a, const S* b, S* da,
                                                     S* db, int64_t n, bool stream);
};

struct PointwiseKernels {
  PointwiseTable<float> f32;
  PointwiseTable<double> f64;
  GatedTable<float> gated_f32;
  GatedTable<double> gated_f64;
  GatedTable<bfloat16> gated_bf16;
  void (*widen)(const bfloat16* x, float* y, int64_t n, bool stream);
  void (*narrow)(const float* x, bfloat16* y, int64_t n, bool stream);
};

}  // namespace tilework
