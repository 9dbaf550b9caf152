// Images (N, C, H, W) as pooling and interpolation take them: in C order, or channels-last.
#pragma once

#include <string>

#include "bindings/checks.h"

namespace tilework {

inline ArrayView view_planes(py::handle array, const char* op, const char* argument) {
  const ArrayView x = view_float(array, op, argument);
  if (x.ndim != 4)
    refuse(op, std::string("expected `") + argument + "` (N, C, H, W); got " + shape_text(x));
  return x;
}

inline void require_plane(int64_t height, int64_t width, const char* op) {
  if (height < 0 || width < 0)
    refuse(op, "expected a height and width of at least 0; got " + std::to_string(height) +
                   " and " + std::to_string(width));
}

inline py::object new_planes(DType dtype, const npy_intp* nchw, bool channels_last) {
  return channels_last ? new_channels_last(dtype, nchw) : new_array(dtype, 4, nchw);
}

// `x` itself where it is laid out so, else a copy that is.
inline py::object as_planes(const ArrayView& x, bool channels_last) {
  if (channels_last ? is_channels_last(x) : x.c_contiguous()) return borrowed(x);
  py::object copy = new_planes(x.dtype, x.shape, channels_last);
  copy_into(view_own(copy), x);
  return copy;
}

}  // namespace tilework
