// Interpolation for every vector width. Included by the ISA files alone.
//
// A vector holds channels, and blends rows before columns. Where channels are too few for one, rows
// are blended whole, into a buffer in L1, and then its columns, pixel by pixel.
#pragma once

#include "kernels/interpolate/interpolate.h"
#include "simd/stream.h"

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

template <bool kStream, class T>
TW_INLINE void copy(const T* x, int64_t n, T* y) {
  sweep<T>(n, [&](int64_t i, auto lanes)
                  TW_INLINE_LAMBDA { put<kStream>(lanes, y + i, lanes.load(x + i)); });
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
      copy<false>(row + b.low * C, C, y + o * C);
    else
      blend(row + b.low * C, row + b.high * C, w, C, y + o * C);
  }
}

// A row of outputs from the two rows around it.
template <bool kStream, class T>
void blend_pixels(const T* top, const T* bottom, T* y, const InterpolateShape& s, const Blend& r) {
  const int64_t C = s.inner;
  const Weights<T> of_rows(r);
  const Vec<T> of_top(of_rows.low), of_bottom(of_rows.high);
  for (int64_t o = 0; o < s.out_width; ++o, y += C) {
    const Blend& b = s.cols[o];
    if (s.nearest) {
      copy<kStream>(top + b.low * C, C, y);
      continue;
    }
    const Weights<T> of_cols(b);
    const Vec<T> of_left(of_cols.low), of_right(of_cols.high);
    sweep<T>(C, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
      const auto column = [&](int64_t at) TW_INLINE_LAMBDA {
        return fma(lanes.load(bottom + at + i), of_bottom, lanes.load(top + at + i) * of_top);
      };
      put<kStream>(lanes, y + i, fma(column(b.high * C), of_right, column(b.low * C) * of_left));
    });
  }
}

template <bool kStream, class T>
void forward_as(const T* x, T* y, const InterpolateShape& s, int64_t begin, int64_t count,
                T* buffer) {
  const int64_t row_size = s.width * s.inner;
  for (int64_t row = begin; row < begin + count; ++row) {
    const T* plane = x + row / s.out_height * s.height * row_size;
    const Blend& b = s.rows[row % s.out_height];
    const T *top = plane + b.low * row_size, *bottom = plane + b.high * row_size;
    T* to = y + row * s.out_width * s.inner;
    if (s.inner >= Vec<T>::width) {
      blend_pixels<kStream>(top, bottom, to, s, b);
    } else if (s.nearest) {
      blend_columns(top, to, s);
    } else {
      blend(top, bottom, Weights<T>(b), row_size, buffer);
      blend_columns(buffer, to, s);
    }
  }
  if constexpr (kStream) stream_fence();
}

template <class T>
void forward(const T* x, T* y, const InterpolateShape& s, int64_t begin, int64_t count, T* buffer,
             bool stream) {
  (stream ? forward_as<true, T> : forward_as<false, T>)(x, y, s, begin, count, buffer);
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
