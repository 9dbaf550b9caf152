// Activations times a second operand: two arrays, or the halves of one along an axis.
#include <algorithm>
#include <string>

#include "bindings/indices.h"
#include "bindings/operand.h"
#include "kernels/pointwise/pointwise.h"

namespace tilework {
namespace {

constexpr const char* kGatedNames[] = {
#define TW_GATED(name, activation, gate_first) #name,
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_GATED
};

GatedOp gated_op(py::handle name) {
  return static_cast<GatedOp>(word_among(name, kGatedNames, "gated", "op"));
}

// Both operands as rows: `x` and `other` as one flat row each, or the halves of x, in C order.
struct GatedInput {
  const char* op;
  py::object held, other_held;
  ArrayView x;
  GatedShape shape;
  int64_t second;  // where the second operand begins, in elements of x; or in `other`
  int axis;

  GatedInput(GatedOp code, py::handle array, py::handle other, int64_t along)
      : op(kGatedNames[static_cast<int>(code)]),
        x(view_product(array, op, "x")),
        second(0),
        axis(0) {
    require_few_axes(x, op);
    if (!other.is_none()) {
      const ArrayView b = view_product(other, op, "other");
      require_dtype_of(b, x, op, "other", "x");
      require_shape_of(b, x, op, "other", "x");
      held = is_dense(x) ? borrowed(x) : as_contiguous(x);
      x = view_own(held);
      other_held = as_layout_of(b, x);
      shape = {1, x.size(), x.size()};
      return;
    }
    if (along < 0 || along >= x.ndim || x.shape[along] % 2 != 0)
      refuse(op, "expected an axis of x of even length; got axis " + std::to_string(along) +
                     " of " + shape_text(x));
    held = as_contiguous(x);
    x = view_own(held);
    axis = static_cast<int>(along);
    second = x.shape[axis] / 2;
    for (int i = axis + 1; i < x.ndim; ++i) second *= x.shape[i];
    shape = {second ? x.size() / (2 * second) : 0, second, 2 * second};
  }

  bool halves() const { return other_held.ptr() == nullptr; }
  // The second operand of x's type, or what lies there in x's gradients.
  template <class S>
  S* second_of(const py::object& first, const py::object& other) const {
    return halves() ? view_own(first).as<S>() + second : view_own(other).as<S>();
  }
  py::object new_result() const {
    if (!halves()) return new_array_like(x);
    npy_intp sizes[kMaxDims];
    std::copy_n(x.shape, x.ndim, sizes);
    sizes[axis] /= 2;
    return new_array(x.dtype, x.ndim, sizes);
  }
  double cost_ns() const { return 0.1 * static_cast<double>(x.size() * x.itemsize()); }
};

py::object bind_gated_forward(py::handle name, py::handle array, py::handle other, int64_t axis) {
  const GatedOp op = gated_op(name);
  const GatedInput in(op, array, other, axis);
  py::object y = in.new_result();
  dispatch_product(in.x.dtype, [&]<class S>() {
    const S *a = in.x.as<S>(), *b = in.second_of<S>(in.held, in.other_held);
    S* out = view_own(y).as<S>();
    GilRelease unlocked(in.cost_ns());
    gated_forward(op, in.shape, a, b, out);
  });
  return y;
}

py::tuple bind_gated_backward(py::handle name, py::handle grad_array, py::handle array,
                              py::handle other, int64_t axis) {
  const GatedOp op = gated_op(name);
  const GatedInput in(op, array, other, axis);
  const ArrayView given = view_product(grad_array, in.op, "grad");
  require_dtype_of(given, in.x, in.op, "grad", "x");
  if (in.halves()) {
    bool fits = given.ndim == in.x.ndim;
    for (int i = 0; fits && i < given.ndim; ++i)
      fits = given.shape[i] == in.x.shape[i] / (i == in.axis ? 2 : 1);
    if (!fits)
      refuse(in.op,
             "expected `grad` of half of x, " + shape_text(in.x) + "; got " + shape_text(given));
  } else {
    require_shape_of(given, in.x, in.op, "grad", "x");
  }
  const py::object grad = in.halves() ? as_contiguous(given) : as_layout_of(given, in.x);
  py::object dx = new_array_like(in.x), dother = py::none();
  if (!in.halves()) dother = new_array_like(in.x);
  dispatch_product(in.x.dtype, [&]<class S>() {
    const S *a = in.x.as<S>(), *b = in.second_of<S>(in.held, in.other_held);
    const S* g = view_own(grad).as<S>();
    S *da = view_own(dx).as<S>(), *db = in.second_of<S>(dx, dother);
    GilRelease unlocked(2 * in.cost_ns());
    gated_backward(op, in.shape, g, a, b, da, db);
  });
  return py::make_tuple(std::move(dx), std::move(dother));
}

}  // namespace

void bind_gated(py::module_& m) {
  m.def("gated_forward", &bind_gated_forward, py::arg("op"), py::arg("x"),
        py::arg("other").none(true), py::arg("axis"));
  m.def("gated_backward", &bind_gated_backward, py::arg("op"), py::arg("grad"), py::arg("x"),
        py::arg("other").none(true), py::arg("axis"));
}

}  // namespace tilework
