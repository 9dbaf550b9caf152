// What bindings check of Python's objects beside arrays (base/array_checks.h), and how they say it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/array_checks.h"
#include "bindings/array.h"

namespace tilework {

// A whole number out of a tuple.
inline int64_t whole_number(py::handle item, const char* op, const char* argument) {
  int overflow = 0;
  const long long value = PyLong_AsLongLongAndOverflow(item.ptr(), &overflow);
  if (value == -1 && !overflow && PyErr_Occurred()) {
    PyErr_Clear();
    throw py::type_error(std::string("[") + op + "] expected `" + argument +
                         "` as whole numbers; got " + Py_TYPE(item.ptr())->tp_name);
  }
  if (overflow)
    refuse(op, std::string("expected `") + argument + "` within 64 bits; got a larger number");
  return value;
}

// Marks those of x's axes that a tuple names, each once.
inline void mark_axes(const py::tuple& axes, const ArrayView& x, const char* op, bool* marked) {
  for (const py::handle item : axes) {
    const int64_t axis = whole_number(item, op, "axes");
    if (axis < 0 || axis >= x.ndim || marked[axis])
      refuse(op, "expected axes that differ, each from 0 to " + std::to_string(x.ndim - 1) +
                     "; got " + py::repr(axes).cast<std::string>() + " for shape " + shape_text(x));
    marked[axis] = true;
  }
}

// What an int64 array holds, copied, so that what is checked here is what the kernels read: another
// thread may write the array once the GIL is released.
inline std::vector<int64_t> copied_numbers(const ArrayView& x) {
  const py::object held = as_contiguous(x);
  const auto* from = view_own(held).as<int64_t>();
  return {from, from + x.size()};
}

// A list or tuple of arrays, read in place.
class ArrayList {
 public:
  ArrayList(py::handle list, const char* op, const char* name) {
    if (PyList_Check(list.ptr()) || PyTuple_Check(list.ptr())) {
      items_ = PySequence_Fast_ITEMS(list.ptr());
      size_ = static_cast<size_t>(PySequence_Fast_GET_SIZE(list.ptr()));
      return;
    }
    throw py::type_error(std::string("[") + op + "] expected `" + name +
                         "` as a list of arrays; got " + Py_TYPE(list.ptr())->tp_name);
  }
  void expect_size(size_t size, const char* op, const char* name) const {
    if (size_ != size)
      throw py::value_error(std::string("[") + op + "] expected one array of `" + name +
                            "` for each of " + std::to_string(size) + " params; got " +
                            std::to_string(size_));
  }
  size_t size() const { return size_; }
  py::handle operator[](size_t i) const { return items_[i]; }

 private:
  PyObject** items_;
  size_t size_;
};

// A C++ object that pybind11 made, in place of its error without a name.
template <class T>
T& object_of(py::handle object, const char* op, const char* argument, const char* kind) {
  py::detail::make_caster<T> caster;
  if (!caster.load(object, false))
    throw py::type_error(std::string("[") + op + "] expected `" + argument + "` as a " + kind +
                         "; got " + Py_TYPE(object.ptr())->tp_name);
  return py::detail::cast_op<T&>(caster);
}

// The weight that something was packed from. It is held, so that no other comes to lie there.
class PackedFrom {
 public:
  explicit PackedFrom(const ArrayView& weight)
      : held_(borrowed(weight)),
        size_(weight.size()),
        dtype_(weight.dtype),
        data_(weight.data),
        axes_(axes_of(weight)) {}
  bool is(const ArrayView& weight) const {
    return weight.data == data_ && weight.dtype == dtype_ && weight.size() == size_ &&
           axes_of(weight) == axes_;
  }
  DType dtype() const { return dtype_; }

 private:
  struct Axes {  // those of more than an element: a layer in one dimension has an axis less
    int count = 0;
    intptr_t size[4], stride[4];
    bool operator==(const Axes& other) const {
      return count == other.count && std::equal(size, size + count, other.size) &&
             std::equal(stride, stride + count, other.stride);
    }
  };
  static Axes axes_of(const ArrayView& weight) {
    Axes axes;
    for (int i = 0; i < weight.ndim; ++i)
      if (weight.shape[i] != 1 && axes.count < 4) {
        axes.size[axes.count] = weight.shape[i];
        axes.stride[axes.count++] = weight.strides[i];
      }
    return axes;
  }

  py::object held_;
  int64_t size_;
  DType dtype_;
  const char* data_;
  Axes axes_;
};

}  // namespace tilework
