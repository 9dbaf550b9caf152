// The bodies of epilogue.h, which the room's own ISA files alone instantiate.
#pragma once

#include "kernels/tile/epilogue.h"
#include "simd/bfloat16.h"
#include "simd/sweep.h"
#include "simd/with_activation.h"

namespace tilework::TW_ISA {

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

template <class T, class Out>
void finish_sums(int64_t rows, int64_t cols, const Wide<T>* sums, int64_t sums_row,
                 const Out* before, Out* out, int64_t out_row, const Epilogue<T>& e) {
  with_activation(e.activation, [&]<Activation activation>() {
    finish_block<activation>(rows, cols, sums, sums_row, before, out, out_row, e);
  });
}

template <class T>
void finish_streaming(int64_t rows, int64_t cols, const T* sums, int64_t sums_row, T* y,
                      int64_t y_row, const Epilogue<T>& e) {
  using V = Vec<T>;
  with_activation(e.activation, [&]<Activation activation>() {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; j += V::width) {
        V z = V::load(sums + i * sums_row + j);
        if (e.bias) z += V::load(e.bias + j);
        if (e.residual) z += V::load(e.residual + i * y_row + j);
        if (e.preactivation) z.stream(e.preactivation + i * y_row + j);
        activate<activation>(z).stream(y + i * y_row + j);
      }
  });
}

}  // namespace tilework::TW_ISA
