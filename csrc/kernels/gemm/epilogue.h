// What follows a product, run over each block of C while it is in the cache; and the way back.
#pragma once

#include "kernels/gemm/kernels.h"
#include "simd/activation.h"
#include "simd/bfloat16.h"
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

// out = activation(sums + before + bias + residual). `before` is C as it was, or null; sums and out
// may be one block.
template <Activation activation, class T, class Out>
void finish_block(int64_t rows, int64_t cols, const Wide<T>* sums, int64_t sums_row,
                  const Out* before, Out* out, int64_t out_row, const Epilogue<T>& e) {
  using W = Wide<T>;
  for (int64_t i = 0; i < rows; ++i) {
    const W* sums_i = sums + i * sums_row;
    const Out* before_i = before ? before + i * out_row : nullptr;
    Out* out_i = out + i * out_row;
    const T* residual = e.residual ? e.residual + i * e.residual_row : nullptr;
    T* preactivation = e.preactivation ? e.preactivation + i * e.preactivation_row : nullptr;
    sweep<W>(cols, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
      Vec<W> z = lanes.load(sums_i + j);
      if (before_i) z = load(lanes, before_i + j) + z;
      if (e.bias) z += load(lanes, e.bias + j);
      if (residual) z += load(lanes, residual + j);
      if (preactivation) store(lanes, preactivation + j, z);
      store(lanes, out_i + j, activate<activation>(z));
    });
  }
}

template <class T>
void finish(int64_t rows, int64_t cols, T* c, int64_t c_row, const Epilogue<T>& e) {
  with_activation(e.activation, [&]<Activation activation>() {
    finish_block<activation, T, T>(rows, cols, c, c_row, nullptr, c, c_row, e);
  });
}

// Rows go in fours: one addition to the running sums, which lie in L1, for four rows of memory.
inline constexpr int kRowsAtOnce = 4;

template <Activation activation, int Rows, class T>
TW_INLINE void activation_backward_rows(const ActivationBackwardArgs<T>& b, int64_t row) {
  using W = Wide<T>;
  const T* grad = b.grad + row * b.grad_row;
  const T* saved = b.saved + row * b.saved_row;
  T* dz = b.dz ? b.dz + row * b.dz_row : nullptr;
  sweep<W>(b.cols, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
    Vec<W> z[Rows];
#pragma GCC unroll 4
    for (int i = 0; i < Rows; ++i) {
      z[i] = load(lanes, grad + i * b.grad_row + j);
      if constexpr (activation != Activation::none)
        z[i] = activation_gradient<activation>(z[i], load(lanes, saved + i * b.saved_row + j));
      if (dz) store(lanes, dz + i * b.dz_row + j, z[i]);
    }
    if (b.dbias) {
      Vec<W> sum = lanes.load(b.dbias + j);
      if constexpr (Rows == kRowsAtOnce)
        sum += (z[0] + z[1]) + (z[2] + z[3]);
      else
        sum += z[0];
      lanes.store(b.dbias + j, sum);
    }
  });
}

template <class T>
void activation_backward_into(const ActivationBackwardArgs<T>& args) {
  with_activation(args.activation, [&]<Activation activation>() {
    int64_t i = 0;
    for (; i + kRowsAtOnce <= args.rows; i += kRowsAtOnce)
      activation_backward_rows<activation, kRowsAtOnce>(args, i);
    for (; i < args.rows; ++i) activation_backward_rows<activation, 1>(args, i);
  });
}

// So many rows of few columns make whole vectors, where they follow on; 1 where that is no gain.
template <class T>
int64_t rows_of_whole_vectors(const ActivationBackwardArgs<T>& args) {
  constexpr int64_t W = Vec<Wide<T>>::width;
  const bool follow = args.grad_row == args.cols && (!args.saved || args.saved_row == args.cols) &&
                      (!args.dz || args.dz_row == args.cols);
  if (!follow || args.cols == 0 || args.cols > 2 * W) return 1;
  int64_t rows = 1;
  while (rows * args.cols % W != 0) ++rows;
  return rows;
}

template <class T>
void activation_backward(const ActivationBackwardArgs<T>& args) {
  using W = Wide<T>;
  if (args.dbias)
    for (int64_t j = 0; j < args.cols; ++j) args.dbias[j] = W(0);
  const int64_t joined = rows_of_whole_vectors(args), whole = args.rows / joined;
  ActivationBackwardArgs<T> rest = args;
  if (joined > 1 && whole > 0) {
    constexpr int kWidth = Vec<W>::width;
    W sums[2 * kWidth * kWidth] = {};
    ActivationBackwardArgs<T> wide = args;
    wide.rows = whole;
    wide.cols = wide.grad_row = wide.saved_row = wide.dz_row = joined * args.cols;
    if (args.dbias) wide.dbias = sums;
    activation_backward_into(wide);
    if (args.dbias)
      for (int64_t i = 0; i < wide.cols; ++i) args.dbias[i % args.cols] += sums[i];
    const int64_t done = whole * joined * args.cols;
    rest.rows -= whole * joined;
    rest.grad += done;
    if (rest.saved) rest.saved += done;
    if (rest.dz) rest.dz += done;
  }
  activation_backward_into(rest);
}

}  // namespace tilework::TW_ISA
