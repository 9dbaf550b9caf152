// Masks: where, the elements under one, and writing there. Results in C order.
#include <algorithm>
#include <string>

#include "bindings/indices.h"
#include "kernels/mask/mask.h"

namespace tilework {
namespace {

// The shape that all of a few arrays broadcast to.
struct Broadcast {
  int ndim = 0;
  npy_intp shape[kMaxDims];

  void take(const ArrayView& x, const char* op) {
    require_few_axes(x, op);
    if (x.ndim > ndim) {
      std::copy_backward(shape, shape + ndim, shape + x.ndim);
      std::fill_n(shape, x.ndim - ndim, npy_intp{1});
      ndim = x.ndim;
    }
    for (int i = 0; i < x.ndim; ++i) {
      npy_intp& n = shape[ndim - x.ndim + i];
      if (n == 1)
        n = x.shape[i];
      else if (x.shape[i] != 1 && x.shape[i] != n)
        refuse(op, "expected shapes that broadcast; got " + shape_text(x) +
                       " beside another: make trailing axes equal, or 1");
    }
  }
  void strides_of(const ArrayView& x, int64_t* to) const {
    std::fill_n(to, ndim - x.ndim, int64_t{0});
    for (int i = 0; i < x.ndim; ++i) to[ndim - x.ndim + i] = x.shape[i] == 1 ? 0 : x.strides[i];
  }
};

ArrayView view_mask(py::handle array, const char* op, const char* argument) {
  const ArrayView mask = view(array, op, argument);
  if (mask.dtype != DType::boolean)
    throw py::type_error(std::string("[") + op + "] expected `" + argument + "` of bools; got " +
                         dtype_name(mask.dtype) + ": compare, mask != 0");
  return mask;
}

py::object chosen_where(py::handle condition, py::handle first, py::handle second) {
  constexpr const char* op = "where";
  const ArrayView c = view_mask(condition, op, "condition");
  const ArrayView a = view_known(first, op, "a"), b = view_known(second, op, "b");
  require_dtype_of(b, a, op, "b", "a");
  Broadcast all;
  for (const ArrayView* x : {&c, &a, &b}) all.take(*x, op);
  WhereShape shape{};
  shape.axes = all.ndim;
  std::copy_n(all.shape, all.ndim, shape.size);
  all.strides_of(c, shape.condition);
  all.strides_of(a, shape.a);
  all.strides_of(b, shape.b);
  py::object result = new_array(a.dtype, all.ndim, all.shape);
  const ArrayView y = view_own(result);
  GilRelease unlocked(0.5 * static_cast<double>(y.size()));
  where(static_cast<size_t>(a.itemsize()), shape, c.data, a.data, b.data, y.data);
  return result;
}

double mask_cost_ns(const ArrayView& x) { return static_cast<double>(x.size()); }

// What is not zero in x.
Chosen chosen_of(const ArrayView& x) {
  GilRelease unlocked(mask_cost_ns(x));
  const int64_t n = x.size();
  switch (x.dtype) {
    case DType::float32:
      return Chosen(x.as<float>(), n);
    case DType::float64:
      return Chosen(x.as<double>(), n);
    case DType::bfloat16:
      return Chosen(x.as<bfloat16>(), n);
    case DType::int64:
      return Chosen(x.as<uint64_t>(), n);
    case DType::int32:
    case DType::uint32:
      return Chosen(x.as<uint32_t>(), n);
    default:
      return Chosen(x.as<uint8_t>(), n);
  }
}

py::object selected(py::handle array, py::handle mask_array) {
  constexpr const char* op = "masked_select";
  const ArrayView given = view_known(array, op, "x"), mask = view_mask(mask_array, op, "mask");
  require_shape_of(mask, given, op, "mask", "x");
  const py::object held = as_contiguous(given), held_mask = as_contiguous(mask);
  const ArrayView x = view_own(held);
  const Chosen chosen = chosen_of(view_own(held_mask));
  const npy_intp size[] = {chosen.count()};
  py::object result = new_array(x.dtype, 1, size);
  GilRelease unlocked(mask_cost_ns(x));
  masked_select(static_cast<size_t>(x.itemsize()), chosen, x.data, view_own(result).data);
  return result;
}

py::object scattered_under(py::handle array, py::handle mask_array, py::handle source_array) {
  constexpr const char* op = "masked_scatter";
  const ArrayView mask = view_mask(mask_array, op, "mask");
  const ArrayView source = view_known(source_array, op, "source");
  require_few_axes(mask, op);
  py::object before;
  if (!array.is_none()) {
    const ArrayView x = view(array, op, "x");
    require_dtype_of(x, source, op, "x", "source");
    require_shape_of(x, mask, op, "x", "mask");
    before = as_contiguous(x);
  }
  const py::object held = as_contiguous(source), held_mask = as_contiguous(mask);
  const ArrayView m = view_own(held_mask), from = view_own(held);
  const Chosen chosen = chosen_of(m);
  if (chosen.count() > from.size())
    refuse(op, "expected a source of at least " + std::to_string(chosen.count()) +
                   " elements, one for each that is true; got " + std::to_string(from.size()) +
                   ": give more");
  py::object result = new_array(source.dtype, mask.ndim, mask.shape);
  const ArrayView y = view_own(result);
  const void* x = before ? view_own(before).data : nullptr;
  GilRelease unlocked(mask_cost_ns(y));
  masked_scatter(static_cast<size_t>(y.itemsize()), chosen, x, from.data, y.data);
  return result;
}

py::object places_of(py::handle array, bool by_axis) {
  constexpr const char* op = "nonzero";
  const ArrayView given = view_known(array, op, "x");
  const py::object held = as_contiguous(given);
  const Chosen chosen = chosen_of(view_own(held));
  const int64_t count = chosen.count(), axes = given.ndim;
  const npy_intp size[] = {by_axis ? axes : count, by_axis ? count : axes};
  py::object result = new_array(DType::int64, 2, size);
  auto* y = view_own(result).as<int64_t>();
  GilRelease unlocked(2 * mask_cost_ns(given));
  coordinates(chosen, given.ndim, given.shape, by_axis ? 1 : axes, by_axis ? count : 1, y);
  return result;
}

}  // namespace

void bind_mask(py::module_& m) {
  m.def("where", &chosen_where, py::arg("condition"), py::arg("a"), py::arg("b"));
  m.def("masked_select", &selected, py::arg("x"), py::arg("mask"));
  m.def("masked_scatter", &scattered_under, py::arg("x"), py::arg("mask"), py::arg("source"));
  m.def("nonzero", &places_of, py::arg("x"), py::arg("by_axis"));
}

}  // namespace tilework
