// What follows a product, run over each block of C while it is in the cache; and the way back.
#pragma once

#include "kernels/gemm/kernels.h"
#include "simd/activation.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {

// The epilogue of the block whose corner is at (row, col); accumulation is the tile's business.
template <class T>
TW_INLINE Epilogue<T> epilogue_at(Epilogue<T> e, int64_t row, int64_t col) {
  if (e.bias) e.bias += col;
  if (e.residual) e.residual += row * e.residual_row + col;
  if (e.preactivation) e.preactivation += row * e.preactivation_row + col;
  return e;
}

// Calls run.operator()<activation>() for the activation that is only known at run time.
template <class Run>
TW_INLINE void with_activation(Activation activation, Run&& run) {
  switch (activation) {
    case Activation::none:
      return run.template operator()<Activation::none>();
    case Activation::relu:
      return run.template operator()<Activation::relu>();
    case Activation::gelu:
      return run.template operator()<Activation::gelu>();
    case Activation::gelu_tanh:
      return run.template operator()<Activation::gelu_tanh>();
    case Activation::silu:
      return run.template operator()<Activation::silu>();
    case Activation::tanh:
      return run.template operator()<Activation::tanh>();
    case Activation::sigmoid:
      return run.template operator()<Activation::sigmoid>();
  }
}

template <Activation activation, class T>
void finish_block(int64_t rows, int64_t cols, T* c, int64_t c_row, const Epilogue<T>& e) {
  for (int64_t i = 0; i < rows; ++i) {
    T* row = c + i * c_row;
    const T* residual = e.residual ? e.residual + i * e.residual_row : nullptr;
    T* preactivation = e.preactivation ? e.preactivation + i * e.preactivation_row : nullptr;
    sweep<T>(cols, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
      Vec<T> z = lanes.load(row + j);
      if (e.bias) z += lanes.load(e.bias + j);
      if (residual) z += lanes.load(residual + j);
      if (preactivation) lanes.store(preactivation + j, z);
      lanes.store(row + j, activate<activation>(z));
    });
  }
}

template <class T>
void finish(int64_t rows, int64_t cols, T* c, int64_t c_row, const Epilogue<T>& e) {
  with_activation(e.activation, [&]<Activation activation>() {
    finish_block<activation>(rows, cols, c, c_row, e);
  });
}

// Rows go in fours: one addition to the running sums, which lie in L1, for four rows of memory.
inline constexpr int kRowsAtOnce = 4;

template <Activation activation, int Rows, class T>
TW_INLINE void activation_backward_rows(const ActivationBackwardArgs<T>& b, int64_t row) {
  const T* grad = b.grad + row * b.grad_row;
  const T* saved = b.saved + row * b.saved_row;
  T* dz = b.dz ? b.dz + row * b.dz_row : nullptr;
  sweep<T>(b.cols, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
    Vec<T> z[Rows];
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) {
      z[i] = lanes.load(grad + i * b.grad_row + j);
      if constexpr (activation != Activation::none)
        z[i] = activation_gradient<activation>(z[i], lanes.load(saved + i * b.saved_row + j));
      if (dz) lanes.store(dz + i * b.dz_row + j, z[i]);
    }
    if (b.dbias) {
      Vec<T> sum = lanes.load(b.dbias + j);
      if constexpr (Rows == kRowsAtOnce)
        sum += (z[0] + z[1]) + (z[2] + z[3]);
      else
        sum += z[0];
      lanes.store(b.dbias + j, sum);
    }
  });
}

template <class T>
void activation_backward(const ActivationBackwardArgs<T>& args) {
  if (args.dbias)
    for (int64_t j = 0; j < args.cols; ++j) args.dbias[j] = T(0);
  with_activation(args.activation, [&]<Activation activation>() {
    int64_t i = 0;
    for (; i + kRowsAtOnce <= args.rows; i += kRowsAtOnce)
      activation_backward_rows<activation, kRowsAtOnce>(args, i);
    for (; i < args.rows; ++i) activation_backward_rows<activation, 1>(args, i);
  });
}

}  // namespace tilework::TW_ISA
