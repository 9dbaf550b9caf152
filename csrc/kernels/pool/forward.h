// Windows to outputs, for every vector width. Included by the ISA files alone.
//
// Channels-last, a vector holds channels, and nothing crosses lanes. Planar, the rows of a window
// are combined first, with a vector of neighbouring columns, into a buffer in L1; then its columns,
// with a vector of neighbouring outputs where these are one or two columns apart.
#pragma once

#include "kernels/pool/lanes.h"
#include "kernels/pool/pool.h"
#include "kernels/pool/staged.h"

namespace tilework::TW_ISA {
namespace pool {

struct Sum {
  template <class V>
  static TW_INLINE V combine(V a, V b) {
    return a + b;
  }
  template <class V>
  static TW_INLINE V finish(V total, V size) {
    return total / size;
  }
  template <class T>
  static TW_INLINE T across(Vec<T> v) {
    return reduce_add(v);
  }
  template <class T>
  static constexpr T empty = 0;
};
struct Max {
  template <class T>
  static TW_INLINE Vec<T> combine(Vec<T> a, Vec<T> b) {
    return max_nan(a, b);
  }
  static TW_INLINE auto combine(auto a, auto b) { return a != a || a > b ? a : b; }
  template <class V>
  static TW_INLINE V finish(V best, V) {
    return best;
  }
  // The registers' own maximum knows no NaN.
  template <class T>
  static TW_INLINE T across(Vec<T> v) {
    return any(is_nan(v)) ? T(__builtin_nan("")) : reduce_max(v);
  }
  template <class T>
  static constexpr T empty = T(-__builtin_inf());
};

// Steps of a window along one axis: how many, and how far apart in memory.
struct Taps {
  int64_t count, stride;
};

// y[0..kVectors * width) = finish(the taps' elements at x, x + 1, ..., combined): each row's first.
// kRows and kCols say how many taps there are, or 0: as many as `rows` and `cols` do.
template <class Op, int kVectors, int kRows, int kCols, class T, class Lanes, class Finish>
TW_INLINE void reduce_group(const T* x, Taps rows, Taps cols, Lanes lanes, T* y, Finish finish) {
  constexpr int W = Vec<T>::width;
  const int64_t row_count = kRows ? kRows : rows.count, col_count = kCols ? kCols : cols.count;
  Vec<T> total[kVectors], row[kVectors];
  const auto reduce_cols = [&](Vec<T>(&to)[kVectors]) TW_INLINE_LAMBDA {
#pragma GCC unroll 4
    for (int k = 0; k < kVectors; ++k) to[k] = lanes.load(x + k * W);
#pragma GCC unroll 3
    for (int64_t j = 1; j < col_count; ++j) {
#pragma GCC unroll 4
      for (int k = 0; k < kVectors; ++k)
        to[k] = Op::combine(to[k], lanes.load(x + j * cols.stride + k * W));
    }
  };
  reduce_cols(total);
#pragma GCC unroll 3
  for (int64_t i = 1; i < row_count; ++i) {
    x += rows.stride;
    reduce_cols(row);
#pragma GCC unroll 4
    for (int k = 0; k < kVectors; ++k) total[k] = Op::combine(total[k], row[k]);
  }
#pragma GCC unroll 4
  for (int k = 0; k < kVectors; ++k) lanes.store(y + k * W, finish(total[k]));
}

template <class Op, int kRows, int kCols, class T, class Finish>
TW_INLINE void reduce_groups(const T* x, Taps rows, Taps cols, int64_t n, T* y, Finish finish) {
  constexpr int W = Vec<T>::width, kGroup = 4;
  int64_t c = 0;
  for (; c + kGroup * W <= n; c += kGroup * W)
    reduce_group<Op, kGroup, kRows, kCols>(x + c, rows, cols, WholeVector<T>{}, y + c, finish);
  sweep<T>(n - c, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    reduce_group<Op, 1, kRows, kCols>(x + c + i, rows, cols, lanes, y + c + i, finish);
  });
}

// For n neighbours. Loops of two and three taps unroll: they are most of what there is.
template <class Op, class T, class Finish>
TW_INLINE void reduce_taps(const T* x, Taps rows, Taps cols, int64_t n, T* y, Finish finish) {
  if (rows.count == 0 || cols.count == 0)
    for (int64_t c = 0; c < n; ++c) y[c] = Op::template empty<T>;
  else if (rows.count == 2 && cols.count == 2)
    reduce_groups<Op, 2, 2>(x, rows, cols, n, y, finish);
  else if (rows.count == 3 && cols.count == 3)
    reduce_groups<Op, 3, 3>(x, rows, cols, n, y, finish);
  else
    reduce_groups<Op, 0, 0>(x, rows, cols, n, y, finish);
}

template <class Op, class T>
TW_INLINE T one_output(const T* row, const Window& w, int64_t height) {
  const T* x = row + w.start;
  T total = Op::template empty<T>;
  if (w.step == 1 && w.taps > 4) {
    const Vec<T> start(total);
    total = Op::across(fold<T>(
        w.taps, start,
        [&](Vec<T> acc, int64_t j, auto lanes)
            TW_INLINE_LAMBDA { return Op::combine(acc, lanes.load_or(x + j, start)); },
        [](Vec<T> a, Vec<T> b) TW_INLINE_LAMBDA { return Op::combine(a, b); }));
  } else {
    for (int64_t j = 0; j < w.taps; ++j) total = Op::combine(total, x[j * w.step]);
  }
  return Op::finish(total, static_cast<T>(height) * static_cast<T>(w.size));
}

// The columns of a row that already combines the window's rows. `row` may be read past its end, up
// to two vectors.
template <class Op, int kStride, class T>
TW_INLINE void regular_outputs(const T* row, T* y, const PoolJob& job, int64_t height) {
  const Window& w = job.cols[job.run.begin];
  const Vec<T> size(static_cast<T>(height) * static_cast<T>(w.size));
  sweep<T>(job.run.end - job.run.begin, [&](int64_t o, auto lanes) TW_INLINE_LAMBDA {
    const T* from = row + w.start + o * kStride;
    Vec<T> total = load_apart<kStride>(from, WholeVector<T>{});
    for (int64_t j = 1; j < w.taps; ++j)
      total = Op::combine(total, load_apart<kStride>(from + j * w.step, WholeVector<T>{}));
    lanes.store(y + job.run.begin + o, Op::finish(total, size));
  });
}

template <class Op, class T>
void across(const T* row, T* y, const PoolJob& job, int64_t height) {
  int64_t begin = job.out_width, end = job.out_width;  // of what vectors hold
  if (job.run.stride <= 2) {
    begin = job.run.begin, end = job.run.end;
    if (job.run.stride == 1)
      regular_outputs<Op, 1>(row, y, job, height);
    else
      regular_outputs<Op, 2>(row, y, job, height);
  }
  for (int64_t o = 0; o < begin; ++o) y[o] = one_output<Op>(row, job.cols[o], height);
  for (int64_t o = end; o < job.out_width; ++o) y[o] = one_output<Op>(row, job.cols[o], height);
}

// A row of outputs from the plane that it belongs to.
template <class Op, class T>
void reduce_row(const T* plane, T* y, const PoolJob& job, const Window& r, T* buffer) {
  const int64_t C = job.inner;
  plane += r.start * job.width * C;
  const Taps rows{r.taps, r.step * job.width * C};
  if (C == 1) {
    if (r.taps == 1 && job.run.stride > 2) return across<Op>(plane, y, job, r.size);
    reduce_taps<Op>(plane, rows, {1, 0}, job.width, buffer,
                    [](Vec<T> v) TW_INLINE_LAMBDA { return v; });
    return across<Op>(buffer, y, job, r.size);
  }
  for (int64_t o = 0; o < job.out_width; ++o) {
    const Window& c = job.cols[o];
    const Vec<T> size(static_cast<T>(r.size) * static_cast<T>(c.size));
    reduce_taps<Op>(plane + c.start * C, rows, {c.taps, c.step * C}, C, y + o * C,
                    [&](Vec<T> v) TW_INLINE_LAMBDA { return Op::finish(v, size); });
  }
}

// write(plane, to, window, row) for each of the rows of outputs: where its plane begins in x.
template <class T, class Write>
TW_INLINE void output_rows(const T* x, T* y, const PoolJob& job, int64_t first, int64_t count,
                           T* buffer, Write write) {
  const int64_t plane = job.height * job.width * job.inner, size = job.out_width * job.inner;
  // Lanes past the end of a row come to nothing, but what lay there might be slow: denormals.
  for (int64_t i = job.width; i < pool_buffer_size(job); ++i) buffer[i] = 0;
  write_rows(y + first * size, size, first, count, job.stage_rows, buffer + pool_buffer_size(job),
             [&](int64_t row, T* to) TW_INLINE_LAMBDA {
               write(x + row / job.out_height * plane, to, job.rows[row % job.out_height],
                     row * size);
             });
}

template <class Op, class T>
void reduce(const T* x, T* y, const PoolJob& job, int64_t first, int64_t count, T* buffer) {
  output_rows(x, y, job, first, count, buffer,
              [&](const T* plane, T* to, const Window& r, int64_t)
                  TW_INLINE_LAMBDA { reduce_row<Op>(plane, to, job, r, buffer); });
}

// --- Maxima and where they are ---

// load(i, j): a vector of the elements at one tap. Each lane's maximum and its position, taps
// counted row by row.
template <class T, class Load>
TW_INLINE Vec<T> arg_max(int64_t rows, int64_t cols, Vec<T>& at, Load load) {
  Vec<T> best(Max::empty<T>);
  at = Vec<T>::zero();
  typename BitsOf<T>::type t = 0;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j, ++t) {
      const Vec<T> v = load(i, j);
      const Mask<T> better = (best < v) | is_nan(v);
      best = select(better, v, best);
      at = select(better, from_bits(Bits<T>(t)), at);
    }
  return best;
}

// Where y is first among n neighbours; n where it is not.
template <class T>
TW_INLINE int64_t first_equal(const T* x, int64_t n, T y) {
  constexpr int W = Vec<T>::width;
  T number[W];
  for (int i = 0; i < W; ++i) number[i] = static_cast<T>(i);
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    const Mask<T> here = Vec<T>::load(x + i) == Vec<T>(y);
    if (any(here))
      return i + static_cast<int64_t>(reduce_min(select(here, Vec<T>::load(number), Vec<T>(T(W)))));
  }
  while (i < n && x[i] != y) ++i;
  return i;
}

// The position of y, the maximum of a window, by looking for it.
template <class T>
int64_t position_of(T y, const T* plane, const PoolJob& job, const Window& r, const Window& c) {
  const auto row = [&](int64_t i) TW_INLINE_LAMBDA {
    return plane + (r.start + i * r.step) * job.width + c.start;
  };
  if (y != y) {  // the last NaN
    int64_t t = r.taps * c.taps - 1;
    while (row(t / c.taps)[t % c.taps * c.step] == row(t / c.taps)[t % c.taps * c.step]) --t;
    return t;
  }
  for (int64_t i = 0; i < r.taps; ++i) {
    int64_t j = 0;
    if (c.step == 1)
      j = first_equal(row(i), c.taps, y);
    else
      while (j < c.taps && row(i)[j * c.step] != y) ++j;
    if (j < c.taps) return i * c.taps + j;
  }
  return 0;  // a window of nothing
}

template <int kStride, class T, class S>
TW_INLINE void regular_maxima(const T* plane, T* y, S* saved, const PoolJob& job, const Window& r) {
  const Window& c = job.cols[job.run.begin];
  const T* corner = plane + r.start * job.width + c.start;
  sweep<T>(job.run.end - job.run.begin, [&](int64_t o, auto lanes) TW_INLINE_LAMBDA {
    Vec<T> at;
    const Vec<T> best = arg_max<T>(r.taps, c.taps, at, [&](int64_t i, int64_t j) TW_INLINE_LAMBDA {
      return load_apart<kStride>(corner + i * r.step * job.width + o * kStride + j * c.step, lanes);
    });
    lanes.store(y + job.run.begin + o, best);
    store_positions(at, saved + job.run.begin + o, count_of(lanes));
  });
}

template <class T, class S>
void planar_maxima(const T* plane, T* y, S* saved, const PoolJob& job, const Window& r, T* buffer) {
  if (job.run.stride > 2) {
    reduce_row<Max>(plane, y, job, r, buffer);
    for (int64_t o = 0; o < job.out_width; ++o)
      saved[o] = static_cast<S>(position_of(y[o], plane, job, r, job.cols[o]));
    return;
  }
  if (job.run.stride == 1)
    regular_maxima<1>(plane, y, saved, job, r);
  else
    regular_maxima<2>(plane, y, saved, job, r);
  for (int64_t o = 0; o < job.out_width; ++o) {
    if (o == job.run.begin) o = job.run.end;
    if (o == job.out_width) break;
    y[o] = Max::empty<T>;
    for (int64_t i = 0; i < r.taps; ++i)
      y[o] = Max::combine(
          y[o], one_output<Max>(plane + (r.start + i * r.step) * job.width, job.cols[o], 1));
    saved[o] = static_cast<S>(position_of(y[o], plane, job, r, job.cols[o]));
  }
}

template <class T, class S>
void channel_maxima(const T* plane, T* y, S* saved, const PoolJob& job, const Window& r) {
  const int64_t C = job.inner;
  for (int64_t o = 0; o < job.out_width; ++o) {
    const Window& c = job.cols[o];
    const T* corner = plane + (r.start * job.width + c.start) * C;
    const bool room = has_room<T>(o, job.out_width, C) &&
                      has_room<T>(c.start + (c.taps - 1) * c.step, job.width, C);
    sweep_channels<T>(C, room, [&](int64_t k, auto lanes) TW_INLINE_LAMBDA {
      Vec<T> at;
      const Vec<T> best =
          arg_max<T>(r.taps, c.taps, at, [&](int64_t i, int64_t j) TW_INLINE_LAMBDA {
            return lanes.load(corner + (i * r.step * job.width + j * c.step) * C + k);
          });
      lanes.store(y + o * C + k, best);
      store_positions(at, saved + o * C + k, count_of(lanes));
    });
  }
}

template <class T, class S>
void maxima(const T* x, T* y, S* saved, const PoolJob& job, int64_t first, int64_t count,
            T* buffer) {
  output_rows(x, y, job, first, count, buffer,
              [&](const T* plane, T* to, const Window& r, int64_t at) TW_INLINE_LAMBDA {
                if (job.inner == 1)
                  planar_maxima(plane, to, saved + at, job, r, buffer);
                else
                  channel_maxima(plane, to, saved + at, job, r);
              });
}

template <class T>
void max_with_positions(const T* x, T* y, void* saved, const PoolJob& job, int64_t first,
                        int64_t count, T* buffer) {
  if (job.wide_positions)
    maxima(x, y, static_cast<uint32_t*>(saved), job, first, count, buffer);
  else
    maxima(x, y, static_cast<uint8_t*>(saved), job, first, count, buffer);
}

}  // namespace pool
}  // namespace tilework::TW_ISA
