// What is checked of array views, whoever holds them, and how it is said.
#pragma once

#include <stdexcept>
#include <string>

#include "base/array_view.h"

namespace tilework {

// Becomes Python's TypeError; std::invalid_argument becomes its ValueError.
struct WrongType : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void refuse(const char* op, const std::string& message) {
  throw std::invalid_argument(std::string("[") + op + "] " + message);
}
[[noreturn]] inline void refuse_type(const char* op, const std::string& message) {
  throw WrongType(std::string("[") + op + "] " + message);
}

// "(3, 4)", as Python prints it.
template <class Size>
std::string shape_text(const Size* shape, int ndim) {
  std::string text = "(";
  for (int i = 0; i < ndim; ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + (ndim == 1 ? ",)" : ")");
}
inline std::string shape_text(const ArrayView& a) { return shape_text(a.shape, a.ndim); }

// Kernels count axes in arrays of kMaxDims.
inline void require_few_axes(const ArrayView& a, const char* op) {
  if (a.ndim > kMaxDims)
    refuse(op, "expected at most 32 axes; got " + std::to_string(a.ndim) + ": reshape the array");
}

inline void require_writeable(const ArrayView& a, const char* op, const char* argument) {
  if (!a.writeable())
    refuse(op, std::string("expected `") + argument +
                   "` writable; got a read-only array: copy it first");
}

// `argument` must be as `model`, the argument named `as`, is.
inline void require_dtype_of(const ArrayView& a, const ArrayView& model, const char* op,
                             const char* argument, const char* as) {
  if (a.dtype != model.dtype)
    refuse_type(op, std::string("expected `") + argument + "` of the dtype of `" + as + "`, " +
                        dtype_name(model.dtype) + "; got " + dtype_name(a.dtype) +
                        ": convert one of them");
}

// The dtype of the first argument is every other's.
inline void require_dtype(const ArrayView& a, DType dtype, const char* op, const char* argument) {
  if (a.dtype != dtype)
    refuse_type(op, std::string("expected `") + argument + "` of dtype " + dtype_name(dtype) +
                        ", as the first argument is; got " + dtype_name(a.dtype) +
                        ": convert one of them");
}

inline void require_shape_of(const ArrayView& a, const ArrayView& model, const char* op,
                             const char* argument, const char* as) {
  if (!same_shape(a, model))
    refuse(op, std::string("expected `") + argument + "` of the shape of `" + as + "`, " +
                   shape_text(model) + "; got " + shape_text(a));
}

// Calls body<float>() or body<double>(): what is of neither was refused before.
template <class Body>
auto dispatch_float(DType dtype, Body&& body) {
  return dtype == DType::float32 ? body.template operator()<float>()
                                 : body.template operator()<double>();
}

}  // namespace tilework
