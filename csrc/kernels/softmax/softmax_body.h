// Softmax for every vector width. Included by the ISA files alone.
//
// Along contiguous rows a vector holds neighbours of one row; along a strided axis it holds as many
// rows, and nothing crosses lanes. The exponential is computed once an element, except where a row
// does not fit in L2: there a second exponential costs less than writing and reading back the
// first.
#pragma once

#include "kernels/softmax/row_stats.h"
#include "kernels/softmax/softmax.h"
#include "simd/stream.h"

namespace tilework::TW_ISA {
namespace softmax {

// Elements of a row whose exponentials wait in a cached buffer for their sum.
template <class T>
inline constexpr int64_t kCachedRow = 16384 / sizeof(T);
// Rows up to this size are written unscaled and scaled where they lie, in L2.
template <class T>
inline constexpr int64_t kL2Row = (512 << 10) / sizeof(T);

template <class T, bool kStream, class Value>
TW_INLINE void write_row(T* y, int64_t n, Value value) {
  sweep<T>(n, [&](int64_t i, auto lanes)
                  TW_INLINE_LAMBDA { put<kStream>(lanes, y + i, value(i, lanes)); });
}

// e^(x - max) goes to `terms`, which may be y itself, and from there scaled to y.
template <class T, bool kStream>
TW_INLINE void forward_row_buffered(const T* x, T* terms, T* y, int64_t n) {
  const T top = row_max(x, n);
  const T sum = reduce_add(sum_exp(x, n, below_top(top),
                                   [&](int64_t i, auto lanes, Vec<T> term)
                                       TW_INLINE_LAMBDA { lanes.store(terms + i, term); }));
  const Vec<T> scale(1 / sum);
  write_row<T, kStream>(
      y, n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA { return lanes.load(terms + i) * scale; });
}

template <class T, bool kStream>
TW_INLINE void forward_row_twice(const T* x, T* y, int64_t n) {
  const RowStats<T> stats = row_stats(x, n);
  const Vec<T> top(stats.max), scale(1 / stats.sum);
  write_row<T, kStream>(y, n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    return exp_or_zero(lanes.load(x + i) - top) * scale;
  });
}

template <class T>
TW_INLINE void forward_row_one_vector(const T* x, T* y, int n) {
  const PartVector<T> lanes{n};
  const Vec<T> v = lanes.load_or(x, Vec<T>(-RowLimits<T>::infinity));
  const Vec<T> terms = exp_or_zero(v - max(Vec<T>(reduce_max(v)), Vec<T>(RowLimits<T>::lowest)));
  lanes.store(y, terms / Vec<T>(reduce_add(terms)));
}

template <class T, bool kStream>
TW_INLINE void log_forward_row(const T* x, T* y, int64_t n) {
  const RowStats<T> stats = row_stats(x, n);
  const Vec<T> top(stats.max), log_sum(scalar_log(stats.sum));
  write_row<T, kStream>(y, n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    return (lanes.load(x + i) - top) - log_sum;
  });
}

template <class T, bool kStream, bool kLog>
void forward_rows_as(const T* x, T* y, int64_t rows, int64_t n) {
  T buffer[kStream && !kLog ? kCachedRow<T> : 1];
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    if constexpr (kLog)
      log_forward_row<T, kStream>(x, y, n);
    else if (!kStream && n <= Vec<T>::width)
      forward_row_one_vector(x, y, static_cast<int>(n));
    else if (kStream && n <= kCachedRow<T>)
      forward_row_buffered<T, kStream>(x, buffer, y, n);
    else if (!kStream && n <= kL2Row<T>)
      forward_row_buffered<T, kStream>(x, y, y, n);
    else
      forward_row_twice<T, kStream>(x, y, n);
  }
  if constexpr (kStream) stream_fence();
}

template <class T, bool kLog>
void forward_rows(const T* x, T* y, int64_t rows, int64_t n, bool stream) {
  (stream ? forward_rows_as<T, true, kLog> : forward_rows_as<T, false, kLog>)(x, y, rows, n);
}

template <bool kLog, class T>
TW_INLINE Vec<T> backward_term(Vec<T> grad, Vec<T> y) {
  return kLog ? grad : grad * y;
}
template <bool kLog, class T>
TW_INLINE Vec<T> backward_value(Vec<T> grad, Vec<T> y, Vec<T> sum) {
  return kLog ? fnma(exp_or_zero(y), sum, grad) : y * (grad - sum);
}

template <class T, bool kStream, bool kLog>
void backward_rows_as(const T* grad, const T* y, T* dx, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r, grad += n, y += n, dx += n) {
    const Vec<T> sum(fold_add<T>(n, [&](Vec<T> acc, int64_t i, auto lanes) TW_INLINE_LAMBDA {
      return acc + backward_term<kLog>(lanes.load(grad + i), lanes.load(y + i));
    }));
    write_row<T, kStream>(dx, n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
      return backward_value<kLog>(lanes.load(grad + i), lanes.load(y + i), sum);
    });
  }
  if constexpr (kStream) stream_fence();
}

template <class T, bool kLog>
void backward_rows(const T* grad, const T* y, T* dx, int64_t rows, int64_t n, bool stream) {
  (stream ? backward_rows_as<T, true, kLog> : backward_rows_as<T, false, kLog>)(grad, y, dx, rows,
                                                                                n);
}

// f(i, column, lanes) for rows [begin, end) of the tile; i is the place in the matrix.
template <class T, class F>
TW_INLINE void sweep_tile(int64_t begin, int64_t end, int64_t inner, int64_t columns, F f) {
  for (int64_t l = begin; l < end; ++l)
    sweep<T>(columns, [&](int64_t c, auto lanes) TW_INLINE_LAMBDA { f(l * inner + c, c, lanes); });
}

template <class T>
TW_INLINE void fill(T* p, int64_t n, T value) {
  sweep<T>(n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA { lanes.store(p + i, Vec<T>(value)); });
}

// sum[c] = the sum of term(i, c, lanes) down column c, by blocks of rows: one long chain of
// additions would lose digits.
template <class T, class Term>
TW_INLINE void sum_columns(T* sum, int64_t length, int64_t inner, int64_t columns, Term term) {
  constexpr int64_t kBlock = 64;
  alignas(64) T part[kSoftmaxTile];
  fill<T>(sum, columns, 0);
  for (int64_t begin = 0; begin < length; begin += kBlock) {
    const int64_t end = length - begin < kBlock ? length : begin + kBlock;
    fill<T>(part, columns, 0);
    sweep_tile<T>(begin, end, inner, columns,
                  [&](int64_t i, int64_t c, auto lanes) TW_INLINE_LAMBDA {
                    lanes.store(part + c, lanes.load(part + c) + term(i, c, lanes));
                  });
    sweep<T>(columns, [&](int64_t c, auto lanes) TW_INLINE_LAMBDA {
      lanes.store(sum + c, lanes.load(sum + c) + lanes.load(part + c));
    });
  }
}

template <class T, bool kStream, bool kLog>
void forward_columns_as(const T* x, T* y, int64_t length, int64_t inner, int64_t columns) {
  // A streamed output cannot hold the exponentials on their way: they are computed again.
  constexpr bool kBuffered = !kStream && !kLog;
  alignas(64) T top[kSoftmaxTile], sum[kSoftmaxTile];
  fill<T>(top, columns, RowLimits<T>::lowest);
  sweep_tile<T>(0, length, inner, columns, [&](int64_t i, int64_t c, auto lanes) TW_INLINE_LAMBDA {
    lanes.store(top + c, max(lanes.load(x + i), lanes.load(top + c)));
  });
  sum_columns(sum, length, inner, columns, [&](int64_t i, int64_t c, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> term = exp_or_zero(lanes.load(x + i) - lanes.load(top + c));
    if constexpr (kBuffered) lanes.store(y + i, term);
    return term;
  });
  sweep<T>(columns, [&](int64_t c, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> s = lanes.load(sum + c);
    lanes.store(sum + c, kLog ? log(s) : Vec<T>(1) / s);
  });
  sweep_tile<T>(0, length, inner, columns, [&](int64_t i, int64_t c, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> s = lanes.load(sum + c);
    Vec<T> v = lanes.load(kBuffered ? y + i : x + i);
    if constexpr (!kBuffered) v -= lanes.load(top + c);
    if constexpr (kLog)
      v -= s;
    else
      v = (kBuffered ? v : exp_or_zero(v)) * s;
    put<kStream>(lanes, y + i, v);
  });
  if constexpr (kStream) stream_fence();
}

template <class T, bool kLog>
void forward_columns(const T* x, T* y, int64_t length, int64_t inner, int64_t columns,
                     bool stream) {
  (stream ? forward_columns_as<T, true, kLog> : forward_columns_as<T, false, kLog>)(x, y, length,
                                                                                    inner, columns);
}

template <class T, bool kStream, bool kLog>
void backward_columns_as(const T* grad, const T* y, T* dx, int64_t length, int64_t inner,
                         int64_t columns) {
  alignas(64) T sum[kSoftmaxTile];
  sum_columns(sum, length, inner, columns, [&](int64_t i, int64_t, auto lanes) TW_INLINE_LAMBDA {
    return backward_term<kLog>(lanes.load(grad + i), lanes.load(y + i));
  });
  sweep_tile<T>(0, length, inner, columns, [&](int64_t i, int64_t c, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> s = lanes.load(sum + c);
    put<kStream>(lanes, dx + i, backward_value<kLog>(lanes.load(grad + i), lanes.load(y + i), s));
  });
  if constexpr (kStream) stream_fence();
}

template <class T, bool kLog>
void backward_columns(const T* grad, const T* y, T* dx, int64_t length, int64_t inner,
                      int64_t columns, bool stream) {
  (stream ? backward_columns_as<T, true, kLog>
          : backward_columns_as<T, false, kLog>)(grad, y, dx, length, inner, columns);
}

template <class T>
constexpr SoftmaxTable<T> table() {
  return {{forward_rows<T, false>, forward_rows<T, true>},
          {backward_rows<T, false>, backward_rows<T, true>},
          {forward_columns<T, false>, forward_columns<T, true>},
          {backward_columns<T, false>, backward_columns<T, true>}};
}

}  // namespace softmax

extern const SoftmaxKernels softmax_kernels;
const SoftmaxKernels softmax_kernels = {softmax::table<float>(), softmax::table<double>()};

}  // namespace tilework::TW_ISA
