// What the bindings of indices share.
#pragma once

#include <iterator>
#include <string>

#include "bindings/array.h"
#include "bindings/checks.h"
#include "kernels/index/index.h"

namespace tilework {

// An array of a dtype that tilework has, of at most 32 axes.
inline ArrayView view_known(py::handle array, const char* op, const char* argument) {
  const ArrayView x = view(array, op, argument);
  if (x.dtype == DType::other)
    throw py::type_error(std::string("[") + op + "] expected `" + argument +
                         "` of a dtype that tilework has; got another: convert it");
  require_few_axes(x, op);
  return x;
}

inline void require_index(const ArrayView& given, const char* op, const char* argument) {
  if (given.dtype != DType::int64)
    throw py::type_error(std::string("[") + op + "] expected `" + argument + "` of int64; got " +
                         dtype_name(given.dtype) + ": convert it with .long()");
}

// Indices as int64 in C order.
inline py::object as_index(const ArrayView& given, const char* op) {
  require_index(given, op, "index");
  return as_contiguous(given);
}

// An index (m,), in C order.
struct RowIndex {
  py::object held;
  ArrayView of;

  RowIndex(py::handle array, const char* op) {
    const ArrayView given = view(array, op, "index");
    if (given.ndim != 1) refuse(op, "expected an index (N,); got " + shape_text(given));
    held = as_index(given, op);
    of = view_own(held);
  }
  int64_t size() const { return of.shape[0]; }
  Index below(int64_t n, bool wraps = false) const { return {of.as<int64_t>(), n, wraps}; }
};

// Of an index that the kernel found one in which is outside.
[[noreturn]] inline void refuse_index(const Index& index, int64_t count, const char* op) {
  const int64_t bad = first_outside(index, count);
  throw py::index_error(
      std::string("[") + op + "] expected indices in [" +
      std::to_string(index.wraps ? -index.n : 0) + ", " + std::to_string(index.n) + "); got " +
      (bad >= 0 ? std::to_string(index.of[bad]) + ": check the index"
                : "another, which a thread has overwritten since: let it write a copy"));
}

// Calls body<T>() for what view_known() lets through; bools are bytes.
template <class Body>
void dispatch_known(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::float32:
      return body.template operator()<float>();
    case DType::float64:
      return body.template operator()<double>();
    case DType::bfloat16:
      return body.template operator()<bfloat16>();
    case DType::int64:
      return body.template operator()<int64_t>();
    case DType::int32:
      return body.template operator()<int32_t>();
    case DType::uint32:
      return body.template operator()<uint32_t>();
    case DType::uint8:
    case DType::boolean:
      return body.template operator()<uint8_t>();
    case DType::other:
      break;  // refused before
  }
}

// Calls body<T>() for the dtypes that gradients have.
template <class Body>
void dispatch_gradient(const ArrayView& x, const char* op, Body&& body) {
  if (x.dtype == DType::bfloat16) return body.template operator()<bfloat16>();
  if (x.dtype == DType::float32) return body.template operator()<float>();
  if (x.dtype == DType::float64) return body.template operator()<double>();
  throw py::type_error(std::string("[") + op + "] expected `x` of a float dtype; got " +
                       dtype_name(x.dtype) + ": convert it with x.float()");
}

// Which of a few words `word` is.
template <std::size_t N>
int word_among(py::handle word, const char* const (&words)[N], const char* op,
               const char* argument) {
  for (std::size_t i = 0; i < N; ++i)
    if (PyUnicode_Check(word.ptr()) && PyUnicode_CompareWithASCIIString(word.ptr(), words[i]) == 0)
      return static_cast<int>(i);
  std::string known;
  for (const char* each : words) known += (known.empty() ? "" : ", ") + std::string(each);
  throw py::value_error(std::string("[") + op + "] expected `" + argument + "` as one of " + known +
                        "; got " + py::repr(word).cast<std::string>());
}

// An axis of x, which has one.
inline int axis_of(const ArrayView& x, int64_t axis, const char* op) {
  if (axis < 0 || axis >= x.ndim)
    refuse(op, "expected an axis of x; got axis " + std::to_string(axis) + " for shape " +
                   shape_text(x));
  return static_cast<int>(axis);
}

inline int64_t product_of(const npy_intp* size, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; ++i) n *= size[i];
  return n;
}

}  // namespace tilework
