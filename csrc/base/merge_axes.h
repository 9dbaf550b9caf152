// Axes of two arrays that are walked together, in as few loops as they allow.
#pragma once

#include <cstdint>

namespace tilework {

// Puts an axis after those that are there, or makes it one with the last where both arrays walk the
// two as one. Strides are in what the caller counts in.
struct MergedAxes {
  int& count;
  int64_t *size, *first_stride, *second_stride;

  void append(int64_t n, int64_t first, int64_t second) {
    const int last = count - 1;
    if (last >= 0 && first_stride[last] == first * n && second_stride[last] == second * n) {
      size[last] *= n;
      first_stride[last] = first;
      second_stride[last] = second;
    } else {
      size[count] = n;
      first_stride[count] = first;
      second_stride[count++] = second;
    }
  }
};

}  // namespace tilework
