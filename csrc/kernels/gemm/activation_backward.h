// The way back from what follows a product: through the activation and the bias.
#pragma once

#include "kernels/gemm/kernels.h"
#include "simd/bfloat16.h"
#include "simd/sweep.h"
#include "simd/with_activation.h"

namespace tilework::TW_ISA {

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
