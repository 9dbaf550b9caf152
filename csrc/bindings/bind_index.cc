// Order, gathering and scattered sums: arrays in C order, indices checked.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bindings/array.h"
#include "bindings/checks.h"
#include "kernels/index/index.h"

namespace tilework {
namespace {

// Calls body<T>() for the dtypes that have an order; bools are bytes.
template <class Body>
void dispatch_ordered(DType dtype, Body&& body) {
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
      break;  // refused by AxisInput
  }
}

// An array in C order, and what one of its axes is.
struct AxisInput {
  py::object held;
  ArrayView x;
  AxisShape shape{1, 1, 1};

  AxisInput(py::handle array, int64_t axis, const char* op) {
    const ArrayView given = view(array, op, "x");
    if (given.dtype == DType::other)
      throw py::type_error(std::string("[") + op +
                           "] expected `x` of a dtype that tilework has; got another: convert it");
    if (given.ndim > kMaxDims || axis < 0 || axis >= given.ndim)
      refuse(op, "expected an axis of at most 32; got axis " + std::to_string(axis) +
                     " for shape " + shape_text(given));
    held = as_contiguous(given);
    x = view_own(held);
    for (int i = 0; i < axis; ++i) shape.outer *= x.shape[i];
    shape.n = x.shape[axis];
    for (int i = static_cast<int>(axis) + 1; i < x.ndim; ++i) shape.inner *= x.shape[i];
  }
};

py::tuple sorted(py::handle array, int64_t axis, bool descending) {
  const AxisInput in(array, axis, "sort");
  py::object values = new_array(in.x.dtype, in.x.ndim, in.x.shape);
  py::object indices = new_array(DType::int64, in.x.ndim, in.x.shape);
  const ArrayView v = view_own(values), i = view_own(indices);
  dispatch_ordered(in.x.dtype, [&]<class T>() {
    GilRelease unlocked(sort_cost_ns(in.shape));
    sort_axis(in.shape, descending, in.x.as<T>(), v.as<T>(), i.as<int64_t>());
  });
  return py::make_tuple(std::move(values), std::move(indices));
}

py::tuple first_few(py::handle array, int64_t k, int64_t axis, bool largest) {
  const AxisInput in(array, axis, "topk");
  if (k < 0 || k > in.shape.n)
    refuse("topk",
           "expected k within " + std::to_string(in.shape.n) + "; got " + std::to_string(k));
  npy_intp shape[kMaxDims];
  std::copy_n(in.x.shape, in.x.ndim, shape);
  shape[axis] = k;
  py::object values = new_array(in.x.dtype, in.x.ndim, shape);
  py::object indices = new_array(DType::int64, in.x.ndim, shape);
  const ArrayView v = view_own(values), i = view_own(indices);
  dispatch_ordered(in.x.dtype, [&]<class T>() {
    GilRelease unlocked(sort_cost_ns(in.shape));
    topk_axis(in.shape, k, largest, in.x.as<T>(), v.as<T>(), i.as<int64_t>());
  });
  return py::make_tuple(std::move(values), std::move(indices));
}

// Indices as int64 in C order.
py::object as_index(const ArrayView& given, const char* op) {
  if (given.dtype != DType::int64)
    throw py::type_error(std::string("[") + op + "] expected `index` of int64; got " +
                         dtype_name(given.dtype) + ": convert it with index.long()");
  return as_contiguous(given);
}

// Of an index that the kernel found one in which is not in [0, n).
[[noreturn]] void refuse_index(const ArrayView& index, int64_t n, const char* op) {
  const int64_t bad = first_outside(index.as<int64_t>(), index.size(), n);
  throw py::index_error(
      std::string("[") + op + "] expected indices in [0, " + std::to_string(n) + "); got " +
      (bad >= 0 ? std::to_string(index.as<int64_t>()[bad]) + ": check the index"
                : "another, which a thread has overwritten since: let it write a copy"));
}

GatherShape gather_shape(int ndim, const npy_intp* size, const ArrayView& index, int64_t axis,
                         const char* op) {
  bool fits = ndim == index.ndim && ndim >= 1 && ndim <= kMaxDims && axis >= 0 && axis < ndim;
  for (int i = 0; fits && i < ndim; ++i) fits = i == axis || index.shape[i] <= size[i];
  if (!fits)
    refuse(op, "expected an axis, and an index no longer than the array but along it; got axis " +
                   std::to_string(axis) + " and an index of shape " + shape_text(index));
  GatherShape shape{};
  shape.axes = ndim;
  shape.axis = static_cast<int>(axis);
  std::copy_n(size, ndim, shape.size);
  std::copy_n(index.shape, ndim, shape.index_size);
  return shape;
}

py::object gathered(py::handle array, int64_t axis, py::handle index_array) {
  constexpr const char* op = "gather";
  const ArrayView given = view(array, op, "x"), wanted = view(index_array, op, "index");
  if (given.dtype == DType::other)
    throw py::type_error("[gather] expected `x` of a dtype that tilework has; got another");
  const GatherShape shape = gather_shape(given.ndim, given.shape, wanted, axis, op);
  const py::object held = as_contiguous(given);
  const py::object index = as_index(wanted, op);
  py::object result = new_array(given.dtype, wanted.ndim, wanted.shape);
  const ArrayView x = view_own(held), i = view_own(index), y = view_own(result);
  if (y.size() == 0) return result;  // however long its other axes are
  bool inside;
  {
    GilRelease unlocked(2.0 * static_cast<double>(i.size()));
    inside = gather(shape, static_cast<size_t>(x.itemsize()), x.data, i.as<int64_t>(), y.data);
  }
  if (!inside) refuse_index(i, given.shape[axis], op);
  return result;
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

py::object scattered(py::handle array, int64_t axis, py::handle index_array,
                     const py::tuple& shape_tuple) {
  constexpr const char* op = "scatter_add";
  const ArrayView given = view(array, op, "x"), wanted = view(index_array, op, "index");
  require_shape_of(given, wanted, op, "x", "index");
  npy_intp size[kMaxDims];
  const int ndim = static_cast<int>(shape_tuple.size());
  if (ndim > kMaxDims) refuse(op, "expected a shape of at most 32 axes; got more: use fewer");
  for (int i = 0; i < ndim; ++i) {
    size[i] = whole_number(PyTuple_GET_ITEM(shape_tuple.ptr(), i), op, "shape");
    if (size[i] < 0) refuse(op, "expected lengths of 0 and more in the shape");
  }
  const GatherShape shape = gather_shape(ndim, size, wanted, axis, op);
  const py::object held = as_contiguous(given), index = as_index(wanted, op);
  py::object result = new_array(given.dtype, wanted.ndim, size);
  const ArrayView x = view_own(held), i = view_own(index), y = view_own(result);
  if (y.size() == 0) {  // however long its other axes are
    if (first_outside(i.as<int64_t>(), i.size(), size[axis]) >= 0) refuse_index(i, size[axis], op);
    return result;
  }
  bool inside = true;
  dispatch_gradient(x, op, [&]<class T>() {
    GilRelease unlocked(4.0 * static_cast<double>(i.size() + y.size()));
    inside = scatter_add(shape, x.as<T>(), i.as<int64_t>(), y.as<T>());
  });
  if (!inside) refuse_index(i, size[axis], op);
  return result;
}

py::object rows_added(py::handle array, py::handle index_array, int64_t rows) {
  constexpr const char* op = "index_add";
  const ArrayView given = view(array, op, "x"), wanted = view(index_array, op, "index");
  if (wanted.ndim != 1 || given.ndim < 1 || given.shape[0] != wanted.shape[0] || rows < 0)
    refuse(op, "expected an index (N,) for `x` of N rows; got " + shape_text(wanted) + " and " +
                   shape_text(given));
  const py::object held = as_contiguous(given), index = as_index(wanted, op);
  std::vector<npy_intp> size(given.shape, given.shape + given.ndim);
  size[0] = rows;
  py::object result = new_array(given.dtype, given.ndim, size.data());
  const ArrayView x = view_own(held), i = view_own(index), y = view_own(result);
  if (y.size() == 0) {  // however long its other axes are
    if (first_outside(i.as<int64_t>(), i.size(), rows) >= 0) refuse_index(i, rows, op);
    return result;
  }
  int64_t cols = 1;
  for (int a = 1; a < given.ndim; ++a) cols *= given.shape[a];
  bool inside = true;
  dispatch_gradient(x, op, [&]<class T>() {
    GilRelease unlocked(4.0 * static_cast<double>(x.size() + y.size()));
    inside = index_add(rows, cols, i.size(), x.as<T>(), i.as<int64_t>(), y.as<T>());
  });
  if (!inside) refuse_index(i, rows, op);
  return result;
}

}  // namespace

void bind_index(py::module_& m) {
  m.def("sort", &sorted, py::arg("x"), py::arg("axis"), py::arg("descending"));
  m.def("topk", &first_few, py::arg("x"), py::arg("k"), py::arg("axis"), py::arg("largest"));
  m.def("gather", &gathered, py::arg("x"), py::arg("axis"), py::arg("index"));
  m.def("scatter_add", &scattered, py::arg("x"), py::arg("axis"), py::arg("index"),
        py::arg("shape"));
  m.def("index_add", &rows_added, py::arg("x"), py::arg("index"), py::arg("rows"));
}

}  // namespace tilework
