// Copies, with a layout that the caller chooses.
#include <algorithm>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "bindings/array.h"
#include "bindings/indices.h"
#include "kernels/copy/copy.h"
#include "kernels/copy/pad.h"

namespace tilework {
namespace {

py::object copied(py::handle array, bool keep_layout) {
  const ArrayView x = view_known(array, "copy", "x");
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

// A view in which axes of length 1, and new ones in front, are as long as `sizes` says. What shows
// an element several times may not be written.
py::object expanded(py::handle array, const py::tuple& sizes) {
  constexpr const char* op = "expand";
  const ArrayView x = view(array, op, "x");
  const int ndim = static_cast<int>(sizes.size()), added = ndim - x.ndim;
  if (ndim > kMaxDims) refuse(op, "expected at most 32 axes; got more: use fewer");
  npy_intp shape[kMaxDims], strides[kMaxDims];
  bool fits = added >= 0, repeats = false;
  for (int i = 0; fits && i < ndim; ++i) {
    const npy_intp have = i < added ? 1 : x.shape[i - added];
    shape[i] = whole_number(PyTuple_GET_ITEM(sizes.ptr(), i), op, "shape");
    if (shape[i] == -1 && i >= added) shape[i] = have;
    fits = shape[i] >= 0 && (shape[i] == have || have == 1);
    repeats |= shape[i] != have;
    strides[i] = shape[i] != have || i < added ? 0 : x.strides[i - added];
  }
  if (!fits)
    refuse(op, "expected a shape that " + shape_text(x) + " broadcasts to; got " +
                   py::repr(sizes).cast<std::string>());
  PyArray_Descr* descr = PyArray_DESCR(ndarray_of(x));
  Py_INCREF(descr);
  PyObject* seen = PyArray_NewFromDescr(&PyArray_Type, descr, ndim, shape, strides, x.data,
                                        repeats ? 0 : x.flags & NPY_ARRAY_WRITEABLE, nullptr);
  if (!seen) throw py::error_already_set();
  auto result = py::reinterpret_steal<py::object>(seen);
  if (PyArray_SetBaseObject(reinterpret_cast<PyArrayObject*>(seen), borrowed(x).release().ptr()) <
      0)
    throw py::error_already_set();
  return result;
}

py::object concatenated(py::handle list, int64_t axis) { return joined(list, axis, false); }
py::object stacked(py::handle list, int64_t axis) { return joined(list, axis, true); }

// A length for each axis, none of them negative.
void lengths_of(const py::tuple& given, int ndim, int64_t* to, const char* op, const char* name) {
  if (static_cast<int64_t>(given.size()) != ndim)
    refuse(op, std::string("expected `") + name + "` of a length an axis; got " +
                   std::to_string(given.size()));
  for (int i = 0; i < ndim; ++i) {
    to[i] = whole_number(PyTuple_GET_ITEM(given.ptr(), i), op, name);
    if (to[i] < 0) refuse(op, std::string("expected `") + name + "` of 0 and more");
  }
}

constexpr const char* kPadModes[] = {"constant", "reflect", "replicate", "circular"};

// What is added to axes of `size`, and the shape that comes of it.
struct Padded {
  PadMode mode;
  PadShape shape{};
  npy_intp grown[kMaxDims];

  Padded(int ndim, const npy_intp* size, const py::tuple& before, const py::tuple& after,
         py::handle mode_name, const char* op)
      : mode(static_cast<PadMode>(word_among(mode_name, kPadModes, op, "mode"))) {
    shape.axes = ndim;
    std::copy_n(size, ndim, shape.size);
    lengths_of(before, ndim, shape.before, op, "before");
    lengths_of(after, ndim, shape.after, op, "after");
    for (int i = 0; i < ndim; ++i)
      if (__builtin_add_overflow(shape.size[i], shape.before[i], &grown[i]) ||
          __builtin_add_overflow(grown[i], shape.after[i], &grown[i]))
        refuse(op, "expected lengths that fit into 64 bits; got more");
    if (!pads_within(mode, shape))
      refuse(op, "expected axes long enough to take the padding from; got shorter ones");
  }
};

py::object padded(py::handle array, const py::tuple& before, const py::tuple& after,
                  py::handle mode_name, py::handle value_array) {
  constexpr const char* op = "pad";
  const ArrayView given = view_known(array, op, "x"), value = view(value_array, op, "value");
  require_dtype_of(value, given, op, "value", "x");
  if (value.size() != 1) refuse(op, "expected `value` of one element; got " + shape_text(value));
  const Padded p(given.ndim, given.shape, before, after, mode_name, op);
  py::object result = new_array(given.dtype, given.ndim, p.grown);
  const ArrayView y = view_own(result);
  if (y.size() == 0) return result;  // however long its other axes are
  const py::object held = as_contiguous(given);
  const ArrayView x = view_own(held);
  GilRelease unlocked(copy_cost_ns(y.size() * y.itemsize()));
  pad(p.mode, static_cast<size_t>(x.itemsize()), p.shape, x.data, value.data, y.data);
  return result;
}

py::object padded_backward(py::handle grad_array, const py::tuple& before, const py::tuple& after,
                           py::handle mode_name) {
  constexpr const char* op = "pad_backward";
  const ArrayView given = view_float(grad_array, op, "grad");
  require_few_axes(given, op);
  int64_t lengths[2][kMaxDims];
  lengths_of(before, given.ndim, lengths[0], op, "before");
  lengths_of(after, given.ndim, lengths[1], op, "after");
  npy_intp size[kMaxDims];
  for (int i = 0; i < given.ndim; ++i) {
    if (lengths[0][i] > given.shape[i] || lengths[1][i] > given.shape[i] - lengths[0][i])
      refuse(op, "expected paddings within the gradient's axes; got longer ones");
    size[i] = given.shape[i] - lengths[0][i] - lengths[1][i];
  }
  const Padded p(given.ndim, size, before, after, mode_name, op);
  py::object result = new_array(given.dtype, given.ndim, size);
  const ArrayView dx = view_own(result);
  if (dx.size() == 0) return result;
  const py::object held = as_contiguous(given);
  const ArrayView grad = view_own(held);
  dispatch_float(grad.dtype, [&]<class T>() {
    GilRelease unlocked(copy_cost_ns(grad.size() * grad.itemsize()));
    pad_backward(p.mode, p.shape, grad.as<T>(), dx.as<T>());
  });
  return result;
}

}  // namespace

void bind_copy(py::module_& m) {
  m.def("concatenate", &concatenated, py::arg("arrays"), py::arg("axis"));
  m.def("stack", &stacked, py::arg("arrays"), py::arg("axis"));
  m.def("pad", &padded, py::arg("x"), py::arg("before"), py::arg("after"), py::arg("mode"),
        py::arg("value"));
  m.def("expand", &expanded, py::arg("x"), py::arg("shape"));
  m.def("pad_backward", &padded_backward, py::arg("grad"), py::arg("before"), py::arg("after"),
        py::arg("mode"));
  m.def("copy", &copied, py::arg("x"), py::arg("keep_layout"));
}

}  // namespace tilework
