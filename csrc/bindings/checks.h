// What bindings check of arrays together, and how they say it.
#pragma once

#include <algorithm>
#include <string>

#include "bindings/array.h"

namespace tilework {

// "(3, 4)", as Python prints it.
inline std::string shape_text(const ArrayView& a) {
  std::string text = "(";
  for (int i = 0; i < a.ndim; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(a.shape[i]);
  }
  return text + (a.ndim == 1 ? ",)" : ")");
}

inline bool same_shape(const ArrayView& a, const ArrayView& b) {
  if (a.ndim != b.ndim) return false;
  for (int i = 0; i < a.ndim; ++i)
    if (a.shape[i] != b.shape[i]) return false;
  return true;
}

[[noreturn]] inline void refuse(const char* op, const std::string& message) {
  throw py::value_error(std::string("[") + op + "] " + message);
}

// Kernels count axes in arrays of kMaxDims.
inline void require_few_axes(const ArrayView& a, const char* op) {
  if (a.ndim > kMaxDims)
    refuse(op, "expected at most 32 axes; got " + std::to_string(a.ndim) + ": reshape the array");
}

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
      : held_(py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(weight.object))),
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
    npy_intp size[4], stride[4];
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

// Calls body<float>() or body<double>(): what view_float() lets through.
template <class Body>
auto dispatch_float(DType dtype, Body&& body) {
  return dtype == DType::float32 ? body.template operator()<float>()
                                 : body.template operator()<double>();
}

// `argument` must be as `model`, the argument named `as`, is.
inline void require_dtype_of(const ArrayView& a, const ArrayView& model, const char* op,
                             const char* argument, const char* as) {
  if (a.dtype != model.dtype)
    throw py::type_error(std::string("[") + op + "] expected `" + argument + "` of the dtype of `" +
                         as + "`, " + dtype_name(model.dtype) + "; got " + dtype_name(a.dtype) +
                         ": convert one of them");
}

inline void require_shape_of(const ArrayView& a, const ArrayView& model, const char* op,
                             const char* argument, const char* as) {
  if (!same_shape(a, model))
    throw py::value_error(std::string("[") + op + "] expected `" + argument +
                          "` of the shape of `" + as + "`, " + shape_text(model) + "; got " +
                          shape_text(a));
}

}  // namespace tilework
