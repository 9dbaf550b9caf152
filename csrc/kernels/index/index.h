// Elements chosen by place or by order: sorting, the largest few, gathering, and scattered sums.
//
// Built once, for the baseline: what these wait for is memory, or a branch. Arrays are dense in C
// order. Order is PyTorch's: NaN above every number, zeros equal, and of equal elements the one
// with the smaller index first. Sums go in the order of the source: in T itself where no element
// gets more than a short chain of them, else in float64; which it is, shape and indices decide.
// Nothing overlaps. Indices are checked on the way, since another thread may write them meanwhile:
// true where all were within their axis, else the result means nothing.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/types.h"

namespace tilework {

// One axis of an array: n elements, `inner` apart.
struct AxisShape {
  int64_t outer, n, inner;
};

// T: float, double, bfloat16, int64_t, int32_t, uint32_t, uint8_t.
template <class T>
void sort_axis(const AxisShape& shape, bool descending, const T* x, T* values, int64_t* indices);
// values, indices: the same, but k of them along the axis.
template <class T>
void topk_axis(const AxisShape& shape, int64_t k, bool largest, const T* x, T* values,
               int64_t* indices);

// The position of the first index that is not in [0, n); -1 where there is none.
int64_t first_outside(const int64_t* index, int64_t count, int64_t n);

// Along one axis of an array, with an index of as many axes, none longer but along that axis.
struct GatherShape {
  static constexpr int kMaxAxes = 32;
  int axes, axis;
  int64_t size[kMaxAxes], index_size[kMaxAxes];
};

// y[i][j] = x[index[i][j]][j] for axis 0, and so for any.
bool gather(const GatherShape& shape, size_t itemsize, const void* x, const int64_t* index,
            void* y);
// y = 0, and then y[index[i][j]][j] += x[i][j]. T: float, double, bfloat16.
template <class T>
bool scatter_add(const GatherShape& shape, const T* x, const int64_t* index, T* y);

// y, of `rows` rows of `cols`, = 0, and then y[index[i]] += x[i] for each of `count` rows.
template <class T>
bool index_add(int64_t rows, int64_t cols, int64_t count, const T* x, const int64_t* index, T* y);

// For the GIL: nanoseconds on one thread.
double sort_cost_ns(const AxisShape& shape);

}  // namespace tilework
