// Convolutions over images for float, double and bfloat16: cut among threads here, computed by each
// ISA's routines.
//
// bfloat16 is summed in float, what is fused to a convolution is computed there, and each result is
// rounded once, to nearest even.
//
// Every operation is told by the convolution y = x * weight that it belongs to. What a window reads
// outside of x counts as zero, or not at all: a weight or a gradient there that is not finite may
// or may not give NaN. Results do not depend on the number of threads.
//
// A map of this folder. An operation goes down it, and takes the first routine that suits:
//
//   conv.cc       names the operation, chooses a routine, cuts the work among threads
//   operations.h  convolutions and their gradients as correlations and weights' gradients
//   pieces.h      how those are cut
//   kernels.h     the contract with the ISA files; table.h and routines.h are their lists
//
//   routine       serves                             correlation; weights' gradient
//   bf16x6 ...    many channels and outs, on AMX     amx_correlation.h; amx_weight_gradient.h
//   lanes         at most 8 channels a group         lanes_correlation.h; lanes_weight_gradient.h
//   gathered      other few channels: first layers   gathered.h; -
//   winograd_2x2  3x3, 2x2 windows at step 1, of     winograd.h; winograd_weight_gradient.h
//   winograd_4x4  many channels; 4x4 not at highest  the same
//   blocked       all                                blocked.h; weight_gradient.h
//
//   AMX           amx_planes.h (how x lies), amx_ways.h (what tiles take for a value)
//   lanes         lanes.h
//   winograd      minimal_filtering.h, filters.h (the arithmetic), winograd_weights.h (packed),
//                 dense_grids.h (dilated windows as dense ones)
//   blocked       segments.h, pixels.h (tiles over lists of where x lies), packed.h (weights packed
//                 ahead), streaming.h (outputs around the caches), arrange.h (copies in order)
//   bfloat16      widened.h, widened_images.h: bands of rows through the float routines
//
// The micro-kernel, packing, epilogue and arena are kernels/tile/'s.
#pragma once

#include <string>
#include <vector>

#include "kernels/conv/kernels.h"

namespace tilework {

struct ConvShape {
  int64_t images, channels, outs, groups;
  int64_t in_rows, in_cols, rows, cols;  // of x and y
  int64_t kernel_rows, kernel_cols;
  int64_t row_step, col_step;
  int64_t row_padding, col_padding;  // how far before x the first window starts
  int64_t row_dilation, col_dilation;
};

// Strides in elements: any at all.
template <class T>
struct ImageView {  // (image, channel, row, col)
  T* data;
  int64_t image, channel, row, col;
};
template <class T>
struct KernelView {  // (out, channel within the group, row, col)
  T* data;
  int64_t out, channel, row, col;
};

// A copy of x, dense in (image, row, col, channel) order.
template <class T>
void to_channels_last(int64_t images, int64_t channels, int64_t rows, int64_t cols,
                      const ImageView<const T>& x, T* out);

// A guess of the time on one thread, in nanoseconds.
template <class T>
double conv_cost_ns(const ConvShape& s);

// Weights packed once for many calls of conv_forward(), in the order that one routine reads. Other
// routines read them as they lie.
struct PackedKernel {
  const void* routine = nullptr;
  const char* data = nullptr;
};

// y is dense in (image, row, col, out) order; so are the epilogue's residual and preactivation,
// whose row strides are not read, and which share no memory with y.
template <class T>
void conv_forward(const ConvShape& s, const ImageView<const T>& x,
                  const KernelView<const T>& weight, T* y, const Epilogue<T>& epilogue,
                  const PackedKernel& packed = {});

// The routine that conv_forward() takes now, and the size of the weights that conv_pack() makes.
struct KernelPacking {
  const void* routine;  // null: it packs nothing ahead
  size_t bytes;
  bool is_product;                 // a routine of the matrix product
  std::vector<int64_t> taps = {};  // the weights that the images meet, where they meet not all
};
template <class T>
KernelPacking conv_packing(const ConvShape& s, const ImageView<const T>& x,
                           const KernelView<const T>& weight);
template <class T>
void conv_pack(const ConvShape& s, const ImageView<const T>& x, const KernelView<const T>& weight,
               const KernelPacking& packing, char* packed);

// dx, dense in (image, row, col, channel) order: the gradient for x, or a transposed convolution of
// dy.
template <class T>
void conv_input_gradient(const ConvShape& s, const ImageView<const T>& dy,
                         const KernelView<const T>& weight, T* dx, const Epilogue<T>& epilogue);

// dweight, dense in any order.
template <class T>
void conv_weight_gradient(const ConvShape& s, const ImageView<const T>& x,
                          const ImageView<const T>& dy, const KernelView<T>& dweight);

// The name of the routine that all convolutions are held to, or null where each takes what suits it
// best. Where it does not suit, a convolution throws std::invalid_argument.
const char* conv_routine();
void set_conv_routine(const std::string& name);  // "": none; throws std::invalid_argument

// Who serves a pass of a convolution now.
struct ConvService {
  const char* pass;     // "forward", "input gradient" or "weight gradient"
  const char* variant;  // null: one of the matrix product's
  const char* routine;
  const char* why;
};
template <class T>
std::vector<ConvService> conv_services(const ConvShape& s, const ImageView<const T>& x,
                                       const ImageView<const T>& dy,
                                       const KernelView<const T>& weight);

}  // namespace tilework
