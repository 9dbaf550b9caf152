// What bindings check of arrays together, and how they say it.
#pragma once

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
