// Resizing planes: nearest neighbours, or the blend of two along each axis (bilinear).
//
// An array is (outer, height, width, inner) in memory, as in pool.h. Which inputs an output blends,
// and how, stands in two tables, one an axis. A gradient is gathered, row by row of the input, in
// an order that shape alone decides. Outputs may not overlap inputs.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tilework {

// (1 - weight) * low + weight * high.
struct Blend {
  int64_t low, high;
  double weight;
};

struct InterpolateShape {
  int64_t outer, height, width, inner;
  int64_t out_height, out_width;
  const Blend *rows, *cols;
  bool nearest;  // low alone counts, and passes as it is: NaN, infinities and all
};

template <class T>
void interpolate_forward(const T* x, T* y, const InterpolateShape& shape);
template <class T>
void interpolate_backward(const T* grad, T* dx, const InterpolateShape& shape);

// For the driver and the GIL: nanoseconds on one thread.
double interpolate_cost_ns(const InterpolateShape& shape, size_t itemsize);

// --- What a variant provides ---

// Outputs that row p of the input is part of: shares[first[p]] to shares[first[p + 1]].
struct RowShare {
  int64_t out;
  double weight;
};

struct InterpolateBackwardJob : InterpolateShape {
  const int64_t* first;
  const RowShare* shares;
};

template <class T>
struct InterpolateTable {
  // Rows [begin, begin + count) of the outer * out_height of y. buffer: width * inner elements.
  // With stream, y goes around the cache, and its pixels begin and end on 64 bytes.
  void (*forward)(const T* x, T* y, const InterpolateShape& shape, int64_t begin, int64_t count,
                  T* buffer, bool stream);
  // Rows [begin, begin + count) of the outer * height of dx. buffer: out_width * inner elements.
  void (*backward)(const T* grad, T* dx, const InterpolateBackwardJob& job, int64_t begin,
                   int64_t count, T* buffer);
};

struct InterpolateKernels {
  InterpolateTable<float> f32;
  InterpolateTable<double> f64;
};

}  // namespace tilework
