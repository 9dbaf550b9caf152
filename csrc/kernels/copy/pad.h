// Padding: an array's copy that goes on beyond its edges.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tilework {

enum class PadMode : int { constant, reflect, replicate, circular };

// Axes of x, dense in C order, and what is added before and after each.
struct PadShape {
  static constexpr int kMaxAxes = 32;
  int axes;
  int64_t size[kMaxAxes], before[kMaxAxes], after[kMaxAxes];
};

// Whether each axis has what it is to be extended by.
bool pads_within(PadMode mode, const PadShape& shape);

// value: an element, what constant adds.
void pad(PadMode mode, size_t itemsize, const PadShape& shape, const void* x, const void* value,
         void* y);

// The gradient: dx, of shape's sizes, gets what was taken from each element. T: float, double.
template <class T>
void pad_backward(PadMode mode, const PadShape& shape, const T* grad, T* dx);

}  // namespace tilework
