#include <string>
#include <vector>

#include "bindings/planes.h"
#include "kernels/interpolate/interpolate.h"

namespace tilework {
namespace {

// index (outputs, 2) int64; weights (outputs,) float64, or None for nearest.
std::vector<Blend> blends_of(py::handle index, py::handle weights, int64_t in, const char* op) {
  const ArrayView given = view(index, op, "index");
  if (given.dtype != DType::int64 || given.ndim != 2 || given.shape[1] != 2)
    refuse(op, std::string("expected an index as int64 (outputs, 2); got ") +
                   dtype_name(given.dtype) + " " + shape_text(given));
  const py::object held_index = as_contiguous(given);
  const int64_t* at = view_own(held_index).as<int64_t>();
  const int64_t count = given.shape[0];
  py::object held_weights = py::none();
  const double* weight = nullptr;
  if (!weights.is_none()) {
    const ArrayView w = view(weights, op, "weights");
    if (w.dtype != DType::float64 || w.ndim != 1 || w.shape[0] != count)
      refuse(op, "expected weights as float64, one an output; got " + shape_text(w));
    held_weights = as_contiguous(w);
    weight = view_own(held_weights).as<double>();
  }
  std::vector<Blend> blends(static_cast<size_t>(count));
  for (int64_t o = 0; o < count; ++o) {
    const Blend b{at[2 * o], at[2 * o + 1], weight ? weight[o] : 0};
    if (b.low < 0 || b.low >= in || b.high < 0 || b.high >= in)
      refuse(op, "expected an index within " + std::to_string(in) + " inputs; got output " +
                     std::to_string(o) + " outside");
    blends[static_cast<size_t>(o)] = b;
  }
  return blends;
}

// Resizing planes of (height, width), in one of the two layouts.
struct Resizing {
  const std::vector<Blend> rows, cols;
  const InterpolateShape shape;

  Resizing(const ArrayView& x, int64_t height, int64_t width, bool channels_last,
           py::handle row_index, py::handle row_weights, py::handle col_index,
           py::handle col_weights, const char* op)
      : rows(blends_of(row_index, row_weights, height, op)),
        cols(blends_of(col_index, col_weights, width, op)),
        shape{channels_last ? x.shape[0] : x.shape[0] * x.shape[1],
              height,
              width,
              channels_last ? x.shape[1] : 1,
              static_cast<int64_t>(rows.size()),
              static_cast<int64_t>(cols.size()),
              rows.data(),
              cols.data(),
              row_weights.is_none() && col_weights.is_none()} {}
};

py::object interpolate_forward_of(py::handle array, py::handle row_index, py::handle row_weights,
                                  py::handle col_index, py::handle col_weights) {
  const char* op = "interpolate_forward";
  const ArrayView given = view_planes(array, op, "x");
  const bool channels_last = !given.c_contiguous() && is_channels_last(given);
  const py::object held = as_planes(given, channels_last);
  const ArrayView x = view_own(held);
  const Resizing r(x, x.shape[2], x.shape[3], channels_last, row_index, row_weights, col_index,
                   col_weights, op);
  const npy_intp size[4] = {x.shape[0], x.shape[1], r.shape.out_height, r.shape.out_width};
  py::object result = new_planes(x.dtype, size, channels_last);
  const ArrayView y = view_own(result);
  GilRelease unlocked(interpolate_cost_ns(r.shape, x.itemsize()));
  dispatch_float(x.dtype, [&]<class T>() { interpolate_forward(x.as<T>(), y.as<T>(), r.shape); });
  return result;
}

py::object interpolate_backward_of(py::handle array, py::handle row_index, py::handle row_weights,
                                   py::handle col_index, py::handle col_weights, int64_t height,
                                   int64_t width, bool channels_last) {
  const char* op = "interpolate_backward";
  require_plane(height, width, op);
  const py::object held = as_planes(view_planes(array, op, "grad"), channels_last);
  const ArrayView grad = view_own(held);
  const Resizing r(grad, height, width, channels_last, row_index, row_weights, col_index,
                   col_weights, op);
  if (grad.shape[2] != r.shape.out_height || grad.shape[3] != r.shape.out_width)
    refuse(op, "expected `grad` with an element for each output; got " + shape_text(grad));
  const npy_intp size[4] = {grad.shape[0], grad.shape[1], height, width};
  py::object result = new_planes(grad.dtype, size, channels_last);
  const ArrayView dx = view_own(result);
  GilRelease unlocked(interpolate_cost_ns(r.shape, grad.itemsize()));
  dispatch_float(grad.dtype,
                 [&]<class T>() { interpolate_backward(grad.as<T>(), dx.as<T>(), r.shape); });
  return result;
}

}  // namespace

void bind_interpolate(py::module_& m) {
  m.def("interpolate_forward", &interpolate_forward_of, py::arg("x"), py::arg("row_index"),
        py::arg("row_weights"), py::arg("col_index"), py::arg("col_weights"));
  m.def("interpolate_backward", &interpolate_backward_of, py::arg("grad"), py::arg("row_index"),
        py::arg("row_weights"), py::arg("col_index"), py::arg("col_weights"), py::arg("height"),
        py::arg("width"), py::arg("channels_last"));
}

}  // namespace tilework
