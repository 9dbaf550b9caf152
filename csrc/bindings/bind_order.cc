// Sorting, and the first few: arrays in C order.
#include <algorithm>
#include <string>
#include <utility>

#include "bindings/indices.h"
#include "kernels/order/order.h"

namespace tilework {
namespace {

// An array in C order, and what one of its axes is.
struct AxisInput {
  py::object held;
  ArrayView x;
  AxisShape shape{1, 1, 1};

  AxisInput(py::handle array, int64_t axis, const char* op) {
    const ArrayView given = view(array, op, "x");
    if (given.dtype == DType::other)
      throw py::type_error(std::string("[") + op +
                           "] expected `x` of a dtype that tilework has; got another: convert it");
    if (given.ndim > kMaxDims || axis < 0 || axis >= given.ndim)
      refuse(op, "expected an axis of at most 32; got axis " + std::to_string(axis) +
                     " for shape " + shape_text(given));
    held = as_contiguous(given);
    x = view_own(held);
    for (int i = 0; i < axis; ++i) shape.outer *= x.shape[i];
    shape.n = x.shape[axis];
    for (int i = static_cast<int>(axis) + 1; i < x.ndim; ++i) shape.inner *= x.shape[i];
  }
};

py::tuple sorted(py::handle array, int64_t axis, bool descending) {
  const AxisInput in(array, axis, "sort");
  py::object values = new_array(in.x.dtype, in.x.ndim, in.x.shape);
  py::object indices = new_array(DType::int64, in.x.ndim, in.x.shape);
  const ArrayView v = view_own(values), i = view_own(indices);
  dispatch_known(in.x.dtype, [&]<class T>() {
    GilRelease unlocked(sort_cost_ns(in.shape));
    sort_axis(in.shape, descending, in.x.as<T>(), v.as<T>(), i.as<int64_t>());
  });
  return py::make_tuple(std::move(values), std::move(indices));
}

py::tuple first_few(py::handle array, int64_t k, int64_t axis, bool largest) {
  const AxisInput in(array, axis, "topk");
  if (k < 0 || k > in.shape.n)
    refuse("topk",
           "expected k within " + std::to_string(in.shape.n) + "; got " + std::to_string(k));
  npy_intp shape[kMaxDims];
  std::copy_n(in.x.shape, in.x.ndim, shape);
  shape[axis] = k;
  py::object values = new_array(in.x.dtype, in.x.ndim, shape);
  py::object indices = new_array(DType::int64, in.x.ndim, shape);
  const ArrayView v = view_own(values), i = view_own(indices);
  dispatch_known(in.x.dtype, [&]<class T>() {
    GilRelease unlocked(sort_cost_ns(in.shape));
    topk_axis(in.shape, k, largest, in.x.as<T>(), v.as<T>(), i.as<int64_t>());
  });
  return py::make_tuple(std::move(values), std::move(indices));
}

}  // namespace

void bind_order(py::module_& m) {
  m.def("sort", &sorted, py::arg("x"), py::arg("axis"), py::arg("descending"));
  m.def("topk", &first_few, py::arg("x"), py::arg("k"), py::arg("axis"), py::arg("largest"));
}

}  // namespace tilework
