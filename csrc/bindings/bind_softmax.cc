#include <string>

#include "bindings/checks.h"
#include "kernels/softmax/softmax.h"

namespace tilework {
namespace {

// x, which is dense, as memory has it: the axis's stride is the size of what varies faster.
SoftmaxShape shape_along(const ArrayView& x, int64_t axis, const char* op) {
  if (axis < 0 || axis >= x.ndim)
    throw py::value_error(std::string("[") + op + "] expected an axis of an array of shape " +
                          shape_text(x) + "; got " + std::to_string(axis));
  const int64_t length = x.shape[axis], size = x.size();
  if (size == 0) return {0, length, 0};
  // The stride of an axis of one element says nothing.
  const int64_t inner = length == 1 ? 1 : x.strides[axis] / x.itemsize();
  return {size / (length * inner), length, inner};
}

py::object dense(const ArrayView& x) { return is_dense(x) ? borrowed(x) : as_contiguous(x); }

py::object softmax_forward_of(py::handle array, int64_t axis, bool log) {
  const char* op = log ? "log_softmax" : "softmax";
  const py::object held = dense(view_float(array, op, "input"));
  const ArrayView x = view_own(held);
  const SoftmaxShape shape = shape_along(x, axis, op);
  py::object result = new_array_like(x);
  const ArrayView y = view_own(result);
  GilRelease unlocked(softmax_cost_ns(shape, x.itemsize()));
  dispatch_float(x.dtype, [&]<class T>() { softmax_forward(x.as<T>(), y.as<T>(), shape, log); });
  return result;
}

py::object softmax_backward_of(py::handle grad_array, py::handle output_array, int64_t axis,
                               bool log) {
  const char* op = log ? "log_softmax_backward" : "softmax_backward";
  const py::object held = dense(view_float(output_array, op, "output"));
  const ArrayView y = view_own(held);
  const SoftmaxShape shape = shape_along(y, axis, op);
  const ArrayView given = view_float(grad_array, op, "grad");
  require_dtype_of(given, y, op, "grad", "output");
  require_shape_of(given, y, op, "grad", "output");
  const py::object grad_held = as_layout_of(given, y);
  const ArrayView grad = view_own(grad_held);
  py::object result = new_array_like(y);
  const ArrayView dx = view_own(result);
  GilRelease unlocked(softmax_cost_ns(shape, y.itemsize()));
  dispatch_float(y.dtype, [&]<class T>() {
    softmax_backward(grad.as<T>(), y.as<T>(), dx.as<T>(), shape, log);
  });
  return result;
}

}  // namespace

void bind_softmax(py::module_& m) {
  m.def("softmax_forward", &softmax_forward_of, py::arg("x"), py::arg("axis"), py::arg("log"));
  m.def("softmax_backward", &softmax_backward_of, py::arg("grad"), py::arg("output"),
        py::arg("axis"), py::arg("log"));
}

}  // namespace tilework
