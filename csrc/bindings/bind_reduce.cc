// Reductions: axes are put in memory order here, and the results back into the array's own order.
#include <algorithm>
#include <string>

#include "bindings/array.h"
#include "bindings/checks.h"
#include "kernels/reduce/reduce.h"

namespace tilework {
namespace {

enum class Reducer { sum, mean, max, min };
constexpr const char* kNames[] = {"sum", "mean", "max", "min"};

// What becomes of each axis of the input.
struct Plan {
  bool reduced[kMaxDims] = {};
  bool dropped[kMaxDims] = {};  // reduced, and not even an axis of size 1 is left
};

py::object run(Reducer reduction, const ArrayView& given, const Plan& plan) {
  const py::object walked = is_dense(given) ? borrowed(given) : as_contiguous(given);
  const ArrayView x = view_own(walked);
  int order[kMaxDims];
  for (int i = 0; i < x.ndim; ++i) order[i] = i;
  if (!x.c_contiguous())
    std::stable_sort(order, order + x.ndim,
                     [&](int i, int j) { return x.strides[i] > x.strides[j]; });

  ReduceShape shape{};
  shape.axes = x.ndim;
  npy_intp out_shape[kMaxDims];
  npy_intp position[kMaxDims];  // of an input axis among the output's, in memory order
  int out_axes = 0;
  for (int i = 0; i < x.ndim; ++i) {
    const int axis = order[i];
    shape.size[i] = x.shape[axis];
    shape.reduced[i] = plan.reduced[axis];
    if (plan.dropped[axis]) continue;
    position[axis] = out_axes;
    out_shape[out_axes++] = plan.reduced[axis] ? 1 : x.shape[axis];
  }

  py::object out = new_array(x.dtype, out_axes, out_shape);
  dispatch_float(x.dtype, [&]<class T>() {
    T* y = view_own(out).as<T>();
    GilRelease unlocked(0.1 * static_cast<double>(x.size()) * sizeof(T));
    if (reduction == Reducer::mean)
      reduce_mean(shape, x.as<T>(), y);
    else
      reduce(reduction == Reducer::sum   ? ReduceOp::sum
             : reduction == Reducer::max ? ReduceOp::max
                                         : ReduceOp::min,
             shape, x.as<T>(), y);
  });

  npy_intp permutation[kMaxDims];
  int count = 0;
  for (int axis = 0; axis < x.ndim; ++axis)
    if (!plan.dropped[axis]) permutation[count++] = position[axis];
  if (std::is_sorted(permutation, permutation + count)) return out;
  PyArray_Dims dims = {permutation, count};
  PyObject* turned = PyArray_Transpose(reinterpret_cast<PyArrayObject*>(out.ptr()), &dims);
  if (!turned) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(turned);
}

ArrayView checked(py::handle array, const char* op) {
  const ArrayView x = view_float(array, op, "x");
  require_few_axes(x, op);
  return x;
}

template <Reducer reduction>
py::object bind(py::handle array, const py::tuple& axes, bool keepdims) {
  constexpr const char* op = kNames[static_cast<int>(reduction)];
  const ArrayView x = checked(array, op);
  Plan plan;
  mark_axes(axes, x, op, plan.reduced);
  for (int axis = 0; axis < x.ndim; ++axis) {
    if (!plan.reduced[axis]) continue;
    plan.dropped[axis] = !keepdims;
    if ((reduction == Reducer::max || reduction == Reducer::min) && x.shape[axis] == 0)
      refuse(op, "expected at least one element along each reduced axis; got shape " +
                     shape_text(x) + ": there is no extreme of nothing");
  }
  return run(reduction, x, plan);
}

py::object bind_sum_to_shape(py::handle array, const py::tuple& shape) {
  constexpr const char* op = "sum_to_shape";
  const ArrayView x = checked(array, op);
  const int leading = x.ndim - static_cast<int>(shape.size());
  Plan plan;
  bool fits = leading >= 0;
  for (int axis = 0; fits && axis < x.ndim; ++axis) {
    if (axis < leading) {
      plan.reduced[axis] = plan.dropped[axis] = true;
      continue;
    }
    const int64_t size = whole_number(PyTuple_GET_ITEM(shape.ptr(), axis - leading), op, "shape");
    plan.reduced[axis] = size == 1 && x.shape[axis] != 1;
    fits = plan.reduced[axis] || size == x.shape[axis];
  }
  if (!fits)
    refuse(op, "expected a shape that broadcasts to " + shape_text(x) + "; got " +
                   py::repr(shape).cast<std::string>());
  return run(Reducer::sum, x, plan);
}

py::object bind_cumsum(py::handle array, int64_t axis, bool reverse) {
  constexpr const char* op = "cumsum";
  const ArrayView given = view(array, op, "x");
  if (given.dtype != DType::bfloat16) view_float(array, op, "x");
  if (given.ndim > kMaxDims || axis < 0 || axis >= given.ndim)
    refuse(op, "expected an axis of at most 32; got axis " + std::to_string(axis) + " for shape " +
                   shape_text(given));
  const py::object held = as_contiguous(given);
  const ArrayView x = view_own(held);
  int64_t outer = 1, inner = 1;
  for (int i = 0; i < x.ndim; ++i) (i < axis ? outer : inner) *= i == axis ? 1 : x.shape[i];
  py::object result = new_array(x.dtype, x.ndim, x.shape);
  const ArrayView y = view_own(result);
  const auto run = [&]<class T>() {
    GilRelease unlocked(static_cast<double>(x.size()));
    running_sums(outer, x.shape[axis], inner, reverse, x.as<T>(), y.as<T>());
  };
  if (x.dtype == DType::bfloat16)
    run.template operator()<bfloat16>();
  else
    dispatch_float(x.dtype, run);
  return result;
}

}  // namespace

void bind_reduce(py::module_& m) {
  m.def("sum", &bind<Reducer::sum>, py::arg("x"), py::arg("axes"), py::arg("keepdims"));
  m.def("mean", &bind<Reducer::mean>, py::arg("x"), py::arg("axes"), py::arg("keepdims"));
  m.def("max", &bind<Reducer::max>, py::arg("x"), py::arg("axes"), py::arg("keepdims"));
  m.def("min", &bind<Reducer::min>, py::arg("x"), py::arg("axes"), py::arg("keepdims"));
  m.def("cumsum", &bind_cumsum, py::arg("x"), py::arg("axis"), py::arg("reverse"));
  m.def("sum_to_shape", &bind_sum_to_shape, py::arg("x"), py::arg("shape"));
}

}  // namespace tilework
