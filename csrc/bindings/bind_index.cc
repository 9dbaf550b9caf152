// Choosing, writing and reducing by an index: arrays in C order, indices checked.
#include <algorithm>
#include <string>

#include "bindings/indices.h"

namespace tilework {
namespace {

// An index of as many axes as x, no longer but along one of them.
struct AlongAxis {
  ArrayView index;
  int axis;
  npy_intp size[kMaxDims];  // of the part of x that it reaches
  bool whole;               // that part is x
  py::object held;
  Lines lines;

  AlongAxis(int ndim, const npy_intp* shape, int64_t at, py::handle array, const char* op)
      : index(view(array, op, "index")), axis(static_cast<int>(at)) {
    bool fits = ndim == index.ndim && ndim >= 1 && ndim <= kMaxDims && at >= 0 && at < ndim;
    for (int i = 0; fits && i < ndim; ++i) fits = i == at || index.shape[i] <= shape[i];
    if (!fits)
      refuse(op, "expected an axis, and an index no longer than the array but along it; got axis " +
                     std::to_string(at) + " and an index of shape " + shape_text(index));
    std::copy_n(index.shape, ndim, size);
    size[axis] = shape[axis];
    whole = std::equal(size, size + ndim, shape);
    held = as_index(index, op);
    index = view_own(held);
    lines = {product_of(size, 0, axis), size[axis], index.shape[axis],
             product_of(size, axis + 1, ndim)};
  }

  // The part of an array of the shape that the index was made for.
  ArrayView part(const ArrayView& x) const {
    if (whole) return x;
    return strided_view(x.object, x.data, x.dtype, x.ndim, size, x.strides, x.writeable());
  }
  // The same in C order.
  py::object dense_part(const ArrayView& x) const {
    if (whole) return as_contiguous(x);
    py::object copy = new_array(x.dtype, x.ndim, size);
    copy_into(view_own(copy), part(x));
    return copy;
  }
  Index checked(bool wraps) const { return {index.as<int64_t>(), lines.n, wraps}; }
};

py::object gathered(py::handle array, int64_t axis, py::handle index_array, bool wraps) {
  constexpr const char* op = "gather";
  const ArrayView given = view_known(array, op, "x");
  const AlongAxis along(given.ndim, given.shape, axis, index_array, op);
  py::object result = new_array(given.dtype, given.ndim, along.index.shape);
  if (along.index.size() == 0) return result;  // however long its other axes are
  const py::object held = along.dense_part(given);
  const ArrayView x = view_own(held), y = view_own(result);
  const Index index = along.checked(wraps);
  bool inside;
  {
    GilRelease unlocked(index_cost_ns(along.lines.chosen()));
    inside = gather(along.lines, static_cast<size_t>(x.itemsize()), x.data, index, y.data);
  }
  if (!inside) refuse_index(index, along.index.size(), op);
  return result;
}

// A list of slices of x along an axis.
struct SlicesOf {
  int axis;
  RowIndex index;
  Lines lines;
  npy_intp shape[kMaxDims];  // of all of them

  SlicesOf(const ArrayView& x, int64_t at, py::handle array, const char* op)
      : axis(axis_of(x, at, op)),
        index(array, op),
        lines{product_of(x.shape, 0, axis), x.shape[axis], index.size(),
              product_of(x.shape, axis + 1, x.ndim)} {
    std::copy_n(x.shape, x.ndim, shape);
    shape[axis] = lines.m;
  }
  Index checked(bool wraps) const { return index.below(lines.n, wraps); }
};

py::object slices_taken(py::handle array, int64_t axis, py::handle index_array, bool wraps) {
  constexpr const char* op = "index_select";
  const ArrayView given = view_known(array, op, "x");
  const SlicesOf slices(given, axis, index_array, op);
  py::object result = new_array(given.dtype, given.ndim, slices.shape);
  const py::object held = as_contiguous(given);
  const ArrayView x = view_own(held), y = view_own(result);
  const Index index = slices.checked(wraps);
  bool inside;
  {
    GilRelease unlocked(0.2 * static_cast<double>(y.size() * y.itemsize()));
    inside = take_slices(slices.lines, static_cast<size_t>(x.itemsize()), x.data, index, y.data);
  }
  if (!inside) refuse_index(index, slices.lines.m, op);
  return result;
}

// What is written: as many elements as `shape` has, or one for all.
py::object source_of(const ArrayView& source, const ArrayView& x, int ndim, const npy_intp* shape,
                     bool& one, const char* op) {
  require_dtype_of(source, x, op, "source", "x");
  one = source.ndim == 0;
  if (!one && (source.ndim != ndim || !std::equal(shape, shape + ndim, source.shape)))
    refuse(op,
           "expected a source of the index's shape, or without axes; got " + shape_text(source));
  return as_contiguous(source);
}

py::object scattered(py::handle array, int64_t axis, py::handle index_array,
                     py::handle source_array) {
  constexpr const char* op = "scatter";
  const ArrayView given = view_known(array, op, "x");
  const AlongAxis along(given.ndim, given.shape, axis, index_array, op);
  bool one;
  const py::object source =
      source_of(view(source_array, op, "source"), given, given.ndim, along.index.shape, one, op);
  py::object result = new_array(given.dtype, given.ndim, given.shape);
  const ArrayView y = view_own(result);
  copy_into(y, given);
  if (along.index.size() == 0) return result;
  const py::object part = along.whole ? result : along.dense_part(y);
  const Index index = along.checked(false);
  bool inside;
  {
    GilRelease unlocked(index_cost_ns(along.lines.chosen()));
    inside = scatter(along.lines, static_cast<size_t>(y.itemsize()), view_own(source).data, one,
                     index, view_own(part).data);
  }
  if (!inside) refuse_index(index, along.index.size(), op);
  if (!along.whole) copy_into(along.part(y), view_own(part));
  return result;
}

py::object slices_put(py::handle array, int64_t axis, py::handle index_array,
                      py::handle source_array) {
  constexpr const char* op = "index_copy";
  const ArrayView given = view_known(array, op, "x");
  const SlicesOf slices(given, axis, index_array, op);
  bool one;
  const py::object source =
      source_of(view(source_array, op, "source"), given, given.ndim, slices.shape, one, op);
  py::object result = new_array(given.dtype, given.ndim, given.shape);
  const ArrayView y = view_own(result);
  copy_into(y, given);
  const Index index = slices.checked(false);
  bool inside;
  {
    GilRelease unlocked(index_cost_ns(slices.lines.chosen()));
    inside = put_slices(slices.lines, static_cast<size_t>(y.itemsize()), view_own(source).data, one,
                        index, y.data);
  }
  if (!inside) refuse_index(index, slices.lines.m, op);
  return result;
}

// Calls body<T>() for the dtypes that scatter_reduce takes.
template <class Body>
void dispatch_reduced(DType dtype, Combine how, const char* op, Body&& body) {
  const bool floats = dtype <= DType::bfloat16;
  if (how == Combine::mean && !floats)
    refuse_type(op, "expected floats, of which alone there is a mean; got others");
  if (dtype == DType::boolean && how != Combine::largest && how != Combine::smallest)
    refuse_type(op, "expected numbers; got bools, which have amax and amin alone");
  dispatch_known(dtype, body);
}

// start: what the result begins with, or an array without axes for zeros.
void reduce_by(const AlongAxis& along, Combine how, bool include_self, const ArrayView& source,
               const ArrayView* start, bool wraps, const ArrayView& y, const char* op) {
  const Index index = along.checked(wraps);
  bool inside = true;
  dispatch_reduced(y.dtype, how, op, [&]<class T>() {
    GilRelease unlocked(index_cost_ns(along.lines.chosen()) + 0.5 * static_cast<double>(y.size()));
    inside = scatter_reduce(along.lines, how, include_self, start ? start->as<T>() : nullptr,
                            source.as<T>(), index, false, y.as<T>());
  });
  if (!inside) refuse_index(index, along.index.size(), op);
}

py::object scatter_reduced(py::handle array, int64_t axis, py::handle index_array,
                           py::handle source_array, py::handle how_name, bool include_self) {
  constexpr const char* op = "scatter_reduce";
  constexpr const char* names[] = {"sum", "mean", "prod", "amax", "amin"};
  const auto how = static_cast<Combine>(word_among(how_name, names, op, "how"));
  const ArrayView given = view_known(array, op, "x");
  const AlongAxis along(given.ndim, given.shape, axis, index_array, op);
  const ArrayView from = view(source_array, op, "source");
  require_dtype_of(from, given, op, "source", "x");
  require_shape_of(from, along.index, op, "source", "index");
  const py::object source = as_contiguous(from), start = along.dense_part(given);
  const ArrayView begin = view_own(start);
  py::object part = new_array(given.dtype, given.ndim, along.size);
  const ArrayView y = view_own(part);
  reduce_by(along, how, include_self, view_own(source), &begin, false, y, op);
  if (along.whole) return part;
  py::object result = new_array(given.dtype, given.ndim, given.shape);
  copy_into(view_own(result), given);
  copy_into(along.part(view_own(result)), y);
  return result;
}

py::object scatter_added(py::handle array, int64_t axis, py::handle index_array,
                         const py::tuple& shape_tuple, bool wraps) {
  constexpr const char* op = "scatter_add";
  const ArrayView given = view_known(array, op, "x");
  npy_intp size[kMaxDims];
  const int ndim = static_cast<int>(shape_tuple.size());
  if (ndim > kMaxDims) refuse(op, "expected a shape of at most 32 axes; got more: use fewer");
  for (int i = 0; i < ndim; ++i) {
    size[i] = whole_number(PyTuple_GET_ITEM(shape_tuple.ptr(), i), op, "shape");
    if (size[i] < 0) refuse(op, "expected lengths of 0 and more in the shape");
  }
  const AlongAxis along(ndim, size, axis, index_array, op);
  require_shape_of(given, along.index, op, "x", "index");
  const py::object held = as_contiguous(given);
  py::object part = new_array(given.dtype, ndim, along.size);
  const ArrayView y = view_own(part);
  reduce_by(along, Combine::sum, true, view_own(held), nullptr, wraps, y, op);
  if (along.whole) return part;
  py::object result = new_zeros(given.dtype, ndim, size);
  copy_into(along.part(view_own(result)), y);
  return result;
}

}  // namespace

void bind_index(py::module_& m) {
  m.def("gather", &gathered, py::arg("x"), py::arg("axis"), py::arg("index"), py::arg("wraps"));
  m.def("index_select", &slices_taken, py::arg("x"), py::arg("axis"), py::arg("index"),
        py::arg("wraps"));
  m.def("scatter", &scattered, py::arg("x"), py::arg("axis"), py::arg("index"), py::arg("source"));
  m.def("index_copy", &slices_put, py::arg("x"), py::arg("axis"), py::arg("index"),
        py::arg("source"));
  m.def("scatter_reduce", &scatter_reduced, py::arg("x"), py::arg("axis"), py::arg("index"),
        py::arg("source"), py::arg("how"), py::arg("include_self"));
  m.def("scatter_add", &scatter_added, py::arg("x"), py::arg("axis"), py::arg("index"),
        py::arg("shape"), py::arg("wraps"));
}

}  // namespace tilework
