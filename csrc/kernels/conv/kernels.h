// The contract between the convolution driver (conv.cc) and what each ISA brings.
//
// Two operations are all there is. A correlation: each pixel of y sums, over a list of taps, a
// pixel of x times a matrix of weights. A convolution is one; its gradient for x, which is also the
// transposed convolution, is one for each residue of a pixel's place modulo the stride. And the
// weights' gradient: for each tap, a sum over pixels of outer products.
//
// An ISA's table lists its routines in order of preference; the driver takes the first that suits
// the whole operation, cuts it among threads, and calls the routine on each piece with memory that
// it lends. No ISA file allocates, throws or starts a thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernels/gemm/kernels.h"

namespace tilework {

// Routines may go another way about fewer channels than these: no cut leaves so few where there
// were more.
inline constexpr int64_t kFewChannels = 16;

// Pixel (row, col) of the grid meets x at (row * row_step + tap.row, col * col_step + tap.col);
// `weight` counts elements from the first tap's weights, or their gradient, to this one's.
struct Tap {
  int64_t row, col, weight;
};

struct ConvGeometry {
  int64_t images, rows, cols;      // the grid: y, or the gradient
  int64_t in_rows, in_cols;        // x, which is zero beyond them
  int64_t groups, channels, outs;  // channels (of x) and outs (of y) in one group
  int64_t row_begin;               // of a piece: its first row in the whole grid
  int64_t row_step, col_step;
  const Tap* taps;
  int64_t tap_count;
  MatmulPrecision precision = MatmulPrecision::highest;
};

// y = epilogue(sum over taps and channels of x * weight). y's outs are adjacent; residual and
// preactivation lie as y does, and their row strides are not read. Every other stride may be
// anything. For a piece, y points to its first row, x to the first row of all.
template <class T>
struct Correlation : ConvGeometry {
  const T* x;
  int64_t x_image, x_row, x_col, x_channel;
  const T* weight;
  int64_t w_group, w_channel, w_out;
  T* y;
  int64_t y_image, y_row, y_col;
  Epilogue<T> epilogue = {};
  // Whether weights may come packed, call after call, and need not pay for their packing by one.
  bool packs_ahead = false;
  // Where it is set, the same weights as the routine that runs packed them earlier.
  const char* packed = nullptr;
};

// dweight[tap][channel][out] = sum over the grid's pixels of x * grad; of bfloat16 summed in float
// and rounded once.
template <class T>
struct WeightGradient : ConvGeometry {
  const T* x;
  int64_t x_image, x_row, x_col, x_channel;
  const T* grad;
  int64_t grad_image, grad_row, grad_col, grad_out;
  T* dweight;
  int64_t w_group, w_channel, w_out;
  bool add = false;  // to what dweight holds, which bfloat16 cannot
};

template <class Args>
struct ConvRoutine {
  const char* name;
  const char* why;  // what it is for, as `tilework info` tells it
  // Whether this routine is right for the operation. The driver asks about the whole only, so that
  // the answer does not depend on the number of threads.
  bool (*suits)(const Args& args);
  // The driver cuts outs and channels at multiples of these. An element's bits may depend on where
  // it lies within such a unit, never on where the cuts are.
  int64_t out_unit, channel_unit;
  size_t (*workspace_bytes)(const Args& piece);  // it comes 64-byte aligned
  void (*run)(const Args& piece, void* workspace);
  // Packing a correlation's weights ahead; both null where the routine reads them as they lie. Each
  // out_unit of outs takes so many bytes, one after another, those of one group after those of
  // another, so that the weights of any piece are packed weights too. How they lie depends on the
  // weights' shape, the groups and the taps alone: packed weights serve images of any size.
  size_t (*packed_unit_bytes)(const Args& args) = nullptr;
  void (*pack)(const Args& args, void* packed) = nullptr;
  // Whether run() reads packed weights alone: the driver then packs them before it cuts, once for
  // all threads.
  bool needs_packed = false;
  // The driver cuts rows at multiples of this; null where it may cut anywhere.
  int64_t (*row_unit)(const Args& args) = nullptr;
};

template <class T>
struct ConvRoutines {  // each in order of preference
  const ConvRoutine<Correlation<T>>* correlations;
  int correlation_count;
  const ConvRoutine<WeightGradient<T>>* weight_gradients;
  int weight_gradient_count;
  // One row of pixels: out[col * channels + c] = x[col * x_col + c * x_channel]. Null: the next
  // table's.
  void (*arrange_row)(int64_t cols, int64_t channels, const T* x, int64_t x_col, int64_t x_channel,
                      T* out);
};

struct ConvKernels {
  ConvRoutines<float> f32;
  ConvRoutines<double> f64;
  ConvRoutines<bfloat16> bf16;
  // Whose routines serve where none of these suits; null in a table whose last routines suit all.
  const ConvKernels* next;
};

}  // namespace tilework
