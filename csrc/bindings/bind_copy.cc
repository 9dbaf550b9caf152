// Copies, with a layout that the caller chooses.
#include <algorithm>
#include <functional>
#include <numeric>
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
  if (x.ndim > kMaxDims)
    refuse("copy",
           "expected at most 32 axes; got " + std::to_string(x.ndim) + ": reshape the array");
  const py::object result = keep_layout ? new_array_like(x) : new_array(x.dtype, x.ndim, x.shape);
  copy_into(view_own(result), x);
  return result;
}

// What is joined: arrays of one dtype, alike but along `axis`, or in all axes where they are
// stacked, `axis` being a new one. The list holds them.
struct Joined {
  const char* op;
  int64_t axis;
  bool stacked;
  std::vector<ArrayView> parts;
  int ndim;  // of the result, as `shape`
  npy_intp shape[kMaxDims];

  Joined(py::handle list, int64_t axis, bool stacked)
      : op(stacked ? "stack" : "cat"), axis(axis), stacked(stacked) {
    if (!PyList_Check(list.ptr()) && !PyTuple_Check(list.ptr()))
      throw py::type_error(std::string("[") + op + "] expected a list of arrays; got " +
                           Py_TYPE(list.ptr())->tp_name);
    PyObject** items = PySequence_Fast_ITEMS(list.ptr());
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(list.ptr());
    if (count == 0) refuse(op, "expected at least one array; got none");
    parts.reserve(static_cast<size_t>(count));
    npy_intp length = 0;
    for (Py_ssize_t i = 0; i < count; ++i) {
      parts.push_back(view(items[i], op, "arrays"));
      require_like_first(parts.back());
      if (__builtin_add_overflow(length, stacked ? 1 : parts.back().shape[axis], &length))
        refuse(op, "expected a length that fits into 64 bits; got more");
    }
    const ArrayView& first = parts.front();
    ndim = first.ndim + stacked;
    std::copy_n(first.shape, axis, shape);
    std::copy_n(first.shape + axis, first.ndim - axis, shape + axis + stacked);
    shape[axis] = length;
  }

  // Each part as rows, where all are rows in memory: along the axes before `axis` at one step,
  // dense from there on.
  bool as_rows(std::vector<JoinedRows>& rows) const {
    rows.reserve(parts.size());
    for (const ArrayView& part : parts) {
      JoinedRows r{part.data, 0, part.itemsize()};
      for (int d = part.ndim; d-- > axis; r.bytes *= part.shape[d])
        if (part.shape[d] != 1 && part.strides[d] != r.bytes) return false;
      npy_intp count = 1;
      for (int d = static_cast<int>(axis); d-- > 0; count *= part.shape[d]) {
        if (part.shape[d] == 1) continue;
        if (count == 1) r.step = part.strides[d];
        if (part.strides[d] != r.step * count) return false;
      }
      rows.push_back(r);
    }
    return true;
  }

 private:
  void require_like_first(const ArrayView& part) const {
    const ArrayView& first = parts.front();
    if (part.dtype != first.dtype || part.dtype == DType::other)
      throw py::type_error(std::string("[") + op +
                           "] expected arrays of one dtype that tilework has");
    bool alike = part.ndim == first.ndim && part.ndim + stacked <= kMaxDims && axis >= 0 &&
                 axis < part.ndim + stacked;
    for (int d = 0; alike && d < part.ndim; ++d)
      alike = (d == axis && !stacked) || part.shape[d] == first.shape[d];
    if (!alike)
      refuse(op, std::string("expected an axis, and shapes alike") +
                     (stacked ? "" : " but along it") + "; got axis " + std::to_string(axis) +
                     " for " + shape_text(first) + " and " + shape_text(part));
  }
};

py::object joined(py::handle list, int64_t axis, bool stacked) {
  const Joined j(list, axis, stacked);
  const py::object result = new_array(j.parts[0].dtype, j.ndim, j.shape);
  const ArrayView whole = view_own(result);
  if (whole.size() == 0) return result;  // however long its other axes are
  std::vector<JoinedRows> rows;
  if (j.as_rows(rows)) {
    GilRelease unlocked(copy_cost_ns(whole.size() * whole.itemsize()));
    const int64_t count = std::accumulate(j.shape, j.shape + axis, int64_t{1}, std::multiplies<>());
    join_rows(rows.data(), static_cast<int64_t>(rows.size()), count, whole.data);
    return result;
  }
  npy_intp strides[kMaxDims];  // of a part, in the result
  std::copy_n(whole.strides, axis, strides);
  std::copy_n(whole.strides + axis + stacked, whole.ndim - axis - stacked, strides + axis);
  char* to = whole.data;
  for (const ArrayView& part : j.parts) {
    copy_into(strided_view(whole.object, to, part.dtype, part.ndim, part.shape, strides, true),
              part);
    to += (stacked ? 1 : part.shape[axis]) * whole.strides[axis];
  }
  return result;
}

py::object concatenated(py::handle list, int64_t axis) { return joined(list, axis, false); }
py::object stacked(py::handle list, int64_t axis) { return joined(list, axis, true); }

}  // namespace

void bind_copy(py::module_& m) {
  m.def("concatenate", &concatenated, py::arg("arrays"), py::arg("axis"));
  m.def("stack", &stacked, py::arg("arrays"), py::arg("axis"));
  m.def("copy", &copied, py::arg("x"), py::arg("keep_layout"));
}

}  // namespace tilework
