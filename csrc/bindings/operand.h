// Arrays as the kernels of matrix products walk them: pointers and strides in elements.
#pragma once

#include <string>
#include <type_traits>

#include "base/variants.h"
#include "bindings/checks.h"
#include "kernels/gemm/kernels.h"

namespace tilework {

// An operand of a product: float32, float64 or bfloat16.
inline ArrayView view_product(py::handle array, const char* op, const char* argument) {
  const ArrayView v = view(array, op, argument);
  return v.dtype == DType::bfloat16 ? v : view_float(array, op, argument);
}

// Calls body<T>() for what view_product() lets through.
template <class Body>
auto dispatch_product(DType dtype, Body&& body) {
  return dtype == DType::bfloat16 ? body.template operator()<bfloat16>()
                                  : dispatch_float(dtype, body);
}

// The same dtypes by name.
inline DType dtype_of(const std::string& name, const char* op) {
  for (const DType d : {DType::float32, DType::float64, DType::bfloat16})
    if (name == dtype_name(d)) return d;
  refuse(op, "expected a float dtype; got " + name);
}

// The variant that a family's calls go to now.
inline const char* serving_variant(const std::string& family) {
  for (const VariantListing* l = VariantListing::first(); l; l = l->next())
    if (l->family() == family)
      for (const VariantStatus& s : l->status())
        if (s.serves) return s.name;
  return "";
}

// An array as what a product of T is stored to.
template <class T>
Output<T> output_of(const ArrayView& v) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return {v.data, v.dtype == DType::float32};
  else
    return v.as<T>();
}

// An array that kernels can walk: held so that a packed copy, where one was needed, lives on.
struct Operand {
  py::object holder;
  ArrayView v;

  explicit Operand(const ArrayView& x) : v(x) {}
  // Strides that are no multiple of an element (a field of a structured array) have no place in a
  // kernel: such an array is copied.
  static Operand strided(const ArrayView& x) {
    for (int i = 0; i < x.ndim; ++i)
      if (x.strides[i] % x.itemsize() != 0) return contiguous(x);
    return Operand(x);
  }
  static Operand contiguous(const ArrayView& x) {
    Operand result(x);
    result.holder = as_contiguous(x);
    result.v = view_own(result.holder);
    return result;
  }
  int64_t stride(int axis) const { return v.strides[axis] / v.itemsize(); }
};

// (..., C) as rows of one stride; copied where its leading axes do not fold into one.
struct Rows {
  Operand array;
  int64_t rows, cols, row_stride, col_stride;

  Rows(const ArrayView& x, bool unit_columns) : array(Operand::strided(x)) {
    if (!fold() || (unit_columns && col_stride != 1 && cols > 1)) {
      array = Operand::contiguous(x);
      fold();
    }
  }

 private:
  bool fold() {
    const ArrayView& v = array.v;
    cols = v.shape[v.ndim - 1];
    col_stride = cols > 1 ? array.stride(v.ndim - 1) : 1;
    rows = 1;
    row_stride = cols;
    for (int i = v.ndim - 1; i-- > 0;) {
      if (v.shape[i] == 1) continue;
      if (rows == 1)
        row_stride = array.stride(i);
      else if (array.stride(i) != rows * row_stride)
        return v.size() == 0;
      rows *= v.shape[i];
    }
    if (v.size() == 0) {  // any strides will do, but the count of rows must be right
      rows = 1;
      for (int i = 0; i + 1 < v.ndim; ++i) rows *= v.shape[i];
    }
    return true;
  }
};

}  // namespace tilework
