// Interpolation for every vector width. Included by the ISA files alone.
//
// Rows are blended first, whole, into a buffer in L1; then its columns: with a vector of channels,
// or one by one where there is a single channel.
#pragma once

#include "kernels/interpolate/interpolate.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {
namespace interpolation {

// Both weights are rounded from double: 1 less a rounded one would err by far more than its own
// last bit where little is left.
template <class T>
struct Weights {
  T low, high;
  TW_INLINE explicit Weights(const Blend& b)
      : low(static_cast<T>(1 - b.weight)), high(static_cast<T>(b.weight)) {}
};

template <class T>
TW_INLINE void blend(const T* low, const T* high, Weights<T> weights, int64_t n, T* y) {
  const Vec<T> of_low(weights.low), of_high(weights.high);
  sweep<T>(n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    lanes.store(y + i, fma(lanes.load(high + i), of_high, lanes.load(low + i) * of_low));
  });
}

template <class T>
TW_INLINE void add_scaled(const T* x, T weight, int64_t n, T* y) {
  const Vec<T> scale(weight);
  sweep<T>(n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    lanes.store(y + i, fma(lanes.load(x + i), scale, lanes.load(y + i)));
  });
}

template <class T>
TW_INLINE void copy(const T* x, int64_t n, T* y) {
  sweep<T>(n,
           [&](int64_t i, auto lanes) TW_INLINE_LAMBDA { lanes.store(y + i, lanes.load(x + i)); });
}

template <class T>
TW_INLINE void clear(int64_t n, T* y) {
  sweep<T>(n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA { lanes.store(y + i, Vec<T>::zero()); });
}

template <class T>
void blend_columns(const T* row, T* y, const InterpolateShape& s) {
  const int64_t C = s.inner;
  for (int64_t o = 0; o < s.out_width; ++o) {
    const Blend& b = s.cols[o];
    const Weights<T> w(b);
    if (C == 1)
      y[o] = s.nearest ? row[b.low] : w.low * row[b.low] + w.high * row[b.high];
    else if (s.nearest)
      copy(row + b.low * C, C, y + o * C);
    else
      blend(row + b.low * C, row + b.high * C, w, C, y + o * C);
  }
}

template <class T>
void forward(const T* x, T* y, const InterpolateShape& s, int64_t begin, int64_t count, T* buffer) {
  const int64_t row_size = s.width * s.inner;
  for (int64_t row = begin; row < begin + count; ++row) {
    const T* plane = x + row / s.out_height * s.height * row_size;
    const Blend& b = s.rows[row % s.out_height];
    const T* from = plane + b.low * row_size;
    if (!s.nearest) {
      blend(from, plane + b.high * row_size, Weights<T>(b), row_size, buffer);
      from = buffer;
    }
    blend_columns(from, y + row * s.out_width * s.inner, s);
  }
}

// What flows back to a row from `grad`, the sum over its outputs' rows.
template <class T>
void scatter_columns(const T* grad, T* dx, const InterpolateShape& s) {
  const int64_t C = s.inner;
  clear(s.width * C, dx);
  for (int64_t o = 0; o < s.out_width; ++o) {
    const Blend& b = s.cols[o];
    const Weights<T> w(b);  // of nearest, 1 and 0
    if (C == 1) {
      dx[b.low] += w.low * grad[o];
      if (!s.nearest) dx[b.high] += w.high * grad[o];
    } else {
      add_scaled(grad + o * C, w.low, C, dx + b.low * C);
      if (!s.nearest) add_scaled(grad + o * C, w.high, C, dx + b.high * C);
    }
  }
}

template <class T>
void backward(const T* grad, T* dx, const InterpolateBackwardJob& job, int64_t begin, int64_t count,
              T* buffer) {
  const int64_t row_size = job.out_width * job.inner;
  for (int64_t row = begin; row < begin + count; ++row) {
    const T* plane = grad + row / job.height * job.out_height * row_size;
    const int64_t p = row % job.height;
    clear(row_size, buffer);
    for (int64_t k = job.first[p]; k < job.first[p + 1]; ++k)
      add_scaled(plane + job.shares[k].out * row_size, static_cast<T>(job.shares[k].weight),
                 row_size, buffer);
    scatter_columns(buffer, dx + row * job.width * job.inner, job);
  }
}

template <class T>
inline constexpr InterpolateTable<T> kTable = {forward<T>, backward<T>};

}  // namespace interpolation

extern const InterpolateKernels interpolate_kernels;
const InterpolateKernels interpolate_kernels = {interpolation::kTable<float>,
                                                interpolation::kTable<double>};

}  // namespace tilework::TW_ISA
