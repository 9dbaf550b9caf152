// An array as checks and drivers see it, whoever holds it: NumPy now, what speaks
// __cuda_array_interface__ later. Nothing here knows Python.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/types.h"

namespace tilework {

inline constexpr int kMaxDims = 32;

// NumPy's own bits, so that its views copy them as they are.
inline constexpr int kCContiguous = 0x0001, kWriteable = 0x0400;

// A borrowed look at an array: the memory, the shape and the strides (in bytes) are its holder's.
struct ArrayView {
  void* object;  // the holder, as the maker of the view knows it
  char* data;
  const intptr_t* shape;
  const intptr_t* strides;
  int ndim;
  DType dtype;
  int element_bytes;
  int flags;

  int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < ndim; ++i) n *= shape[i];
    return n;
  }
  int64_t itemsize() const { return element_bytes; }
  bool c_contiguous() const { return flags & kCContiguous; }
  bool writeable() const { return flags & kWriteable; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }
};

const char* dtype_name(DType dtype);
// The bytes of an element; 0 for DType::other, which does not say.
constexpr int itemsize_of(DType dtype) {
  constexpr int bytes[] = {4, 8, 2, 8, 4, 1, 4, 1, 0};
  return bytes[static_cast<int>(dtype)];
}

// A view of memory that comes as an address, a dtype and strides: whether that is C order is found
// out here.
ArrayView strided_view(void* object, void* data, DType dtype, int ndim, const intptr_t* shape,
                       const intptr_t* strides, bool writeable);

// Axes from the slowest to the fastest in memory, size-1 axes left out. False where memory overlaps
// or has gaps. Of at most kMaxDims axes.
bool memory_order(const ArrayView& a, int* order, int& count);
// Dense: a permutation of C-contiguous, with no gaps and no overlap (size-1 axes count for
// nothing).
bool is_dense(const ArrayView& a);
// Of (N, C, H, W): dense, and lying in memory as (N, H, W, C). Where C or H * W is 1 that may be C
// order too.
bool is_channels_last(const ArrayView& a);
// Same shape, and the same order of elements in memory: flat loops may walk both.
bool same_layout(const ArrayView& a, const ArrayView& b);
bool same_shape(const ArrayView& a, const ArrayView& b);
// Whether the stretches of memory that the two lie in have bytes in common.
bool memory_overlaps(const ArrayView& a, const ArrayView& b);

}  // namespace tilework
