// Fully connected layers: forward, backward, and weights packed ahead.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "base/cpu.h"
#include "base/memory_pool.h"
#include "bindings/bias_gradient.h"
#include "bindings/operand.h"
#include "kernels/gemm/gemm.h"

namespace tilework {
namespace {

// weight (N, K) as the B of a product: B = weight^T.
template <class T>
void set_weight(GemmArgs<T>& g, const Rows& weight) {
  g.n = weight.rows;
  g.k = weight.cols;
  g.b = {weight.array.v.template as<T>(), weight.col_stride, weight.row_stride};
}

// A frozen weight in the order that the active variant reads. What is packed is replaced when the
// ISA or the precision has changed since; products that run meanwhile keep what they took.
class PackedWeight {
 public:
  explicit PackedWeight(py::handle weight)
      : weight_(view_product(weight, "pack_weight", "weight")) {
    const ArrayView v = view(weight, "pack_weight", "weight");
    if (v.ndim != 2) refuse("pack_weight", "expected a weight (N, K); got shape " + shape_text(v));
    n_ = v.shape[0];
    k_ = v.shape[1];
    dispatch_product(v.dtype, [&]<class T>() { pack<T>(Rows(v, false)); });
  }

  struct Panels {
    const void* routine;
    MatmulPrecision precision;
    Scratch<char> data;
  };

  template <class T>
  std::shared_ptr<const Panels> panels(const Rows& weight, const ArrayView& given) {
    if (!weight_.is(given))
      refuse("linear", "expected `packed` made from this weight; got one of shape (" +
                           std::to_string(n_) + ", " + std::to_string(k_) + ") and dtype " +
                           dtype_name(weight_.dtype()) + ": call pack_weight(weight)");
    if (generation_ != isa_generation() || (panels_ && panels_->precision != matmul_precision()))
      pack<T>(weight);
    return panels_;
  }

  size_t nbytes() const { return bytes_; }

 private:
  template <class T>
  void pack(const Rows& weight) {
    GemmArgs<T> g{};
    g.m = kManyRows;
    set_weight(g, weight);
    g.precision = matmul_precision();
    const int generation = isa_generation();
    const PackPlan<T> plan = gemm_pack_plan(g);
    std::shared_ptr<Panels> made;
    if (plan.routine) {
      made.reset(new Panels{plan.routine, g.precision, Scratch<char>(plan.bytes)});
      const GilRelease release(gemm_pack_cost_ns(plan.bytes));
      gemm_pack(g, plan, made->data.get());
    }
    generation_ = generation;
    bytes_ = plan.bytes;
    panels_ = std::move(made);  // whole, for whoever ran meanwhile
  }

  static constexpr int64_t kManyRows = 1024;  // the batch that the layout is chosen for
  PackedFrom weight_;
  int64_t n_, k_;
  int generation_ = -1;
  size_t bytes_ = 0;
  std::shared_ptr<Panels> panels_;
};

void require_shape(const char* op, const char* argument, const ArrayView& v,
                   const ArrayView& leading, npy_intp last) {
  if (v.ndim == leading.ndim && v.shape[v.ndim - 1] == last &&
      std::equal(v.shape, v.shape + v.ndim - 1, leading.shape))
    return;
  refuse(op, std::string("expected `") + argument + "` of the output's shape, (..., " +
                 std::to_string(last) + "); got " + shape_text(v));
}

void require_layer(const char* op, const ArrayView& x, const ArrayView& weight) {
  require_dtype(weight, x.dtype, op, "weight");
  if (weight.ndim != 2 || x.ndim < 1 || x.ndim > kMaxDims || x.shape[x.ndim - 1] != weight.shape[1])
    refuse(op, "expected x (..., K) and weight (N, K); got " + shape_text(x) + " and " +
                   shape_text(weight));
}

py::object new_output(const ArrayView& x, npy_intp last) {
  npy_intp shape[kMaxDims];
  std::copy(x.shape, x.shape + x.ndim, shape);
  shape[x.ndim - 1] = last;
  return new_array(x.dtype, x.ndim, shape);
}

py::tuple linear_forward(py::handle x_in, py::handle weight_in, py::handle bias_in,
                         py::handle residual_in, py::handle activation_in, bool save,
                         py::handle packed_in) {
  constexpr const char* kOp = "linear";
  const ArrayView x = view_product(x_in, kOp, "x"), weight = view_product(weight_in, kOp, "weight");
  require_layer(kOp, x, weight);
  const Activation activation = activation_from(activation_in, kOp);
  const npy_intp n = weight.shape[0];
  std::optional<Rows> bias, residual;
  if (!bias_in.is_none()) {
    const ArrayView v = view_product(bias_in, kOp, "bias");
    require_dtype(v, x.dtype, kOp, "bias");
    if (v.ndim != 1 || v.shape[0] != n)
      refuse(kOp, "expected bias (N,) = (" + std::to_string(n) + ",); got " + shape_text(v));
    bias.emplace(v, true);
  }
  if (!residual_in.is_none()) {
    const ArrayView v = view_product(residual_in, kOp, "residual");
    require_dtype(v, x.dtype, kOp, "residual");
    require_shape(kOp, "residual", v, x, n);
    residual.emplace(v, true);
  }
  const Rows rows(x, false), weights(weight, false);
  py::object y = new_output(x, n), saved = py::none();
  if (save && needs_preactivation(activation))
    saved = new_output(x, n);
  else if (save && activation != Activation::none)
    saved = y;

  dispatch_product(x.dtype, [&]<class T>() {
    GemmArgs<T> g{.m = rows.rows,
                  .n = 0,
                  .k = 0,
                  .a = {rows.array.v.template as<T>(), rows.row_stride, rows.col_stride},
                  .b = {},
                  .c = output_of<T>(view_own(y)),
                  .c_row = n};
    set_weight(g, weights);
    g.epilogue.activation = activation;
    if (bias) g.epilogue.bias = bias->array.v.template as<T>();
    if (residual) {
      g.epilogue.residual = residual->array.v.template as<T>();
      g.epilogue.residual_row = residual->row_stride;
    }
    if (!saved.is_none() && !saved.is(y)) {
      g.epilogue.preactivation = data_of<T>(saved);
      g.epilogue.preactivation_row = n;
    }
    g.precision = matmul_precision();
    std::shared_ptr<const PackedWeight::Panels> panels;
    if (!packed_in.is_none()) {
      panels = object_of<PackedWeight>(packed_in, kOp, "packed", "PackedWeight")
                   .panels<T>(weights, weight);
      if (panels)
        g.packed = {static_cast<const GemmRoutine<T>*>(panels->routine), panels->data.get()};
    }
    const GilRelease release(gemm_cost_ns<T>(g.m, g.n, g.k));
    gemm(g);
  });
  return py::make_tuple(std::move(y), std::move(saved));
}

// The three products and the one pass of linear_backward, on matrices that are all of one dtype.
template <class T>
struct LinearBackward {
  const Rows &grad, &x, &weight;
  const Rows* saved;  // null: no activation
  Activation activation;
  T *dx, *dweight, *dbias, *dz;  // each null where it is not wanted
  bool by_columns;               // how dweight lies: as the weight does
  MatmulPrecision precision;

  void run() {
    const T* g = grad.array.v.template as<T>();
    int64_t g_row = grad.row_stride;
    Scratch<T> own(saved && !dz ? grad.rows * grad.cols : 0);
    T* z = dz ? dz : own.get();
    BiasGradient<T> bias_sums(dbias, grad.cols);
    if (saved || dbias)
      activation_backward<T>({.rows = grad.rows,
                              .cols = grad.cols,
                              .grad = g,
                              .grad_row = g_row,
                              .saved = saved ? saved->array.v.template as<T>() : nullptr,
                              .saved_row = saved ? saved->row_stride : 0,
                              .activation = activation,
                              .dz = saved ? z : nullptr,
                              .dz_row = grad.cols,
                              .dbias = bias_sums.get()});
    bias_sums.put();
    if (saved) {
      g = z;
      g_row = grad.cols;
    }
    const T* w = weight.array.v.template as<T>();
    const T* input = x.array.v.template as<T>();
    if (dx)
      gemm<T>({.m = x.rows,
               .n = x.cols,
               .k = grad.cols,
               .a = {g, g_row, 1},
               .b = {w, weight.row_stride, weight.col_stride},
               .c = to(dx),
               .c_row = x.cols,
               .precision = precision});
    if (dweight && by_columns)
      gemm<T>({.m = x.cols,
               .n = grad.cols,
               .k = x.rows,
               .a = {input, x.col_stride, x.row_stride},
               .b = {g, g_row, 1},
               .c = to(dweight),
               .c_row = grad.cols,
               .precision = precision});
    else if (dweight)
      gemm<T>({.m = grad.cols,
               .n = x.cols,
               .k = x.rows,
               .a = {g, 1, g_row},
               .b = {input, x.row_stride, x.col_stride},
               .c = to(dweight),
               .c_row = x.cols,
               .precision = precision});
  }

 private:
  static Output<T> to(T* gradient) {
    if constexpr (std::is_same_v<T, bfloat16>)
      return {reinterpret_cast<char*>(gradient), false};
    else
      return gradient;
  }
};

py::tuple linear_backward(py::handle grad_in, py::handle x_in, py::handle weight_in,
                          py::handle saved_in, py::handle activation_in, bool need_x,
                          bool need_weight, bool need_bias, bool need_residual) {
  constexpr const char* kOp = "linear_backward";
  const ArrayView x = view_product(x_in, kOp, "x"), weight = view_product(weight_in, kOp, "weight");
  require_layer(kOp, x, weight);
  const npy_intp n = weight.shape[0];
  const ArrayView grad = view_product(grad_in, kOp, "grad");
  require_dtype(grad, x.dtype, kOp, "grad");
  require_shape(kOp, "grad", grad, x, n);
  const Activation activation = activation_from(activation_in, kOp);
  std::optional<Rows> saved;
  if (activation != Activation::none) {
    const ArrayView v = view_product(saved_in, kOp, "saved");
    require_dtype(v, x.dtype, kOp, "saved");
    require_shape(kOp, "saved", v, x, n);
    saved.emplace(v, true);
  }
  const Rows grads(grad, true), inputs(x, false), weights(weight, false);

  py::object dx = py::none(), dweight = py::none(), dbias = py::none(), dz = py::none();
  if (need_x) dx = new_array(x.dtype, x.ndim, x.shape);
  // A weight that is another's transpose has a gradient whose transpose is in C order.
  const bool by_columns = is_dense(weight) && !weight.c_contiguous();
  if (need_weight) dweight = new_array_like(weight);
  if (need_bias) dbias = new_array(x.dtype, 1, &n);
  if (need_residual)  // with no activation it is grad itself
    dz = saved ? new_output(x, n) : py::reinterpret_borrow<py::object>(grad_in);
  dispatch_product(x.dtype, [&]<class T>() {
    const auto out = [](const py::object& array) -> T* {
      return array.is_none() ? nullptr : data_of<T>(array);
    };
    LinearBackward<T> backward{grads,
                               inputs,
                               weights,
                               saved ? &*saved : nullptr,
                               activation,
                               out(dx),
                               out(dweight),
                               out(dbias),
                               saved ? out(dz) : nullptr,
                               by_columns,
                               matmul_precision()};
    const GilRelease release(2 * gemm_cost_ns<T>(inputs.rows, n, inputs.cols));
    backward.run();
  });
  return py::make_tuple(std::move(dx), std::move(dweight), std::move(dbias), std::move(dz));
}

}  // namespace

void bind_linear(py::module_& m) {
  py::class_<PackedWeight>(m, "PackedWeight")
      .def_property_readonly("nbytes", &PackedWeight::nbytes);
  m.def(
      "pack_weight", [](py::handle weight) { return std::make_unique<PackedWeight>(weight); },
      py::arg("weight"));
  m.def("linear_forward", &linear_forward, py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("residual"), py::arg("activation"), py::arg("save"),
        py::arg("packed") = py::none());
  m.def("linear_backward", &linear_backward, py::arg("grad"), py::arg("x"), py::arg("weight"),
        py::arg("saved"), py::arg("activation"), py::arg("need_x"), py::arg("need_weight"),
        py::arg("need_bias"), py::arg("need_residual") = false);
}

}  // namespace tilework
