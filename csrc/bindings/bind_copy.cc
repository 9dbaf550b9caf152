// Copies, with a layout that the caller chooses.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "bindings/array.h"
#include "bindings/checks.h"
#include "kernels/copy/copy.h"

namespace tilework {
namespace {

py::object copied(py::handle array, bool keep_layout) {
  const ArrayView x = view(array, "copy", "x");
  if (x.dtype == DType::other)
    throw py::type_error(
        "[copy] expected `x` of a dtype that tilework has; got another: convert it");
  if (x.ndim > kMaxDims) refuse("copy", "expected at most 32 axes; got " + std::to_string(x.ndim));
  const py::object result = keep_layout ? new_array_like(x) : new_array(x.dtype, x.ndim, x.shape);
  copy_into(view_own(result), x);
  return result;
}

// Arrays of one dtype, end to end along an axis; else alike.
py::object concatenated(py::handle list, int64_t axis) {
  constexpr const char* op = "cat";
  if (!PyList_Check(list.ptr()) && !PyTuple_Check(list.ptr()))
    throw py::type_error(std::string("[cat] expected a list of arrays; got ") +
                         Py_TYPE(list.ptr())->tp_name);
  PyObject** items = PySequence_Fast_ITEMS(list.ptr());
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(list.ptr());
  if (count == 0) refuse(op, "expected at least one array; got none");
  std::vector<ArrayView> parts;
  parts.reserve(static_cast<size_t>(count));
  npy_intp length = 0;
  for (Py_ssize_t i = 0; i < count; ++i) {
    parts.push_back(view(items[i], op, "arrays"));
    const ArrayView &part = parts.back(), &first = parts.front();
    if (part.dtype != first.dtype || part.dtype == DType::other)
      throw py::type_error("[cat] expected arrays of one dtype that tilework has");
    bool alike = part.ndim == first.ndim && part.ndim <= kMaxDims && axis >= 0 && axis < part.ndim;
    for (int d = 0; alike && d < part.ndim; ++d)
      alike = d == axis || part.shape[d] == first.shape[d];
    if (!alike)
      refuse(op, "expected shapes alike but along axis " + std::to_string(axis) + "; got " +
                     shape_text(first) + " and " + shape_text(part));
    if (__builtin_add_overflow(length, part.shape[axis], &length))
      refuse(op, "expected a length that fits into 64 bits; got more");
  }
  npy_intp shape[kMaxDims];
  std::copy_n(parts[0].shape, parts[0].ndim, shape);
  shape[axis] = length;
  const py::object result = new_array(parts[0].dtype, parts[0].ndim, shape);
  const ArrayView whole = view_own(result);
  const bool blocks = std::all_of(shape, shape + axis, [](npy_intp n) { return n == 1; });
  char* to = whole.data;
  for (const ArrayView& part : parts) {
    const int64_t bytes = part.size() * part.itemsize();
    if (blocks && part.c_contiguous()) {  // of many small parts, a general copy is most of the time
      GilRelease unlocked(copy_cost_ns(bytes));
      std::memcpy(to, part.data, static_cast<size_t>(bytes));
    } else {
      copy_into({whole.object, to, part.ndim, part.dtype, part.shape, whole.strides}, part);
    }
    to += part.shape[axis] * whole.strides[axis];
  }
  return result;
}

}  // namespace

void bind_copy(py::module_& m) {
  m.def("concatenate", &concatenated, py::arg("arrays"), py::arg("axis"));
  m.def("copy", &copied, py::arg("x"), py::arg("keep_layout"));
}

}  // namespace tilework
