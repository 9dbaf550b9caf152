// Elements of an axis in order, or the first few of it.
//
// Built once, for the baseline: what these wait for is memory, or a branch. Arrays are dense in C
// order, and nothing overlaps. Order is PyTorch's: NaN above every number, zeros equal, and of
// equal elements the one with the smaller index first.
#pragma once

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

// For the GIL: nanoseconds on one thread.
double sort_cost_ns(const AxisShape& shape);

}  // namespace tilework
