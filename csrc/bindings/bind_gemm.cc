// Matrix products and fully connected layers: arrays become pointers and strides here.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "base/cpu.h"
#include "base/memory_pool.h"
#include "base/variants.h"
#include "bindings/checks.h"
#include "kernels/gemm/gemm.h"

namespace tilework {
namespace {

// The dtype of the first argument is every other's.
void require_dtype(const ArrayView& a, DType dtype, const char* op, const char* argument) {
  if (a.dtype != dtype)
    throw py::type_error(std::string("[") + op + "] expected `" + argument + "` of dtype " +
                         dtype_name(dtype) + ", as the first argument is; got " +
                         dtype_name(a.dtype) + ": convert one of them");
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

// --- matmul ---

bool memory_overlaps(const ArrayView& a, const ArrayView& b) {
  const auto extent = [](const ArrayView& x) {
    const char *low = x.data, *high = x.data + x.itemsize();
    for (int i = 0; i < x.ndim; ++i)
      (x.strides[i] < 0 ? low : high) += x.strides[i] * (x.shape[i] - 1);
    return std::pair(low, high);
  };
  if (a.size() == 0 || b.size() == 0) return false;
  const auto [a_low, a_high] = extent(a);
  const auto [b_low, b_high] = extent(b);
  return a_low < b_high && b_low < a_high;
}

// The batched product that a call to matmul comes to, axes still as NumPy has them.
struct BatchPlan {
  int ndim = 0;  // leading axes of the result
  npy_intp shape[kMaxDims];
  int64_t a[kMaxDims], b[kMaxDims], c[kMaxDims];  // strides in elements

  BatchPlan(const Operand& x, const Operand& y) {
    ndim = std::max(x.v.ndim, y.v.ndim) - 2;
    for (int i = 0; i < ndim; ++i) {
      const int xi = i - (ndim - (x.v.ndim - 2)), yi = i - (ndim - (y.v.ndim - 2));
      const npy_intp xn = xi < 0 ? 1 : x.v.shape[xi], yn = yi < 0 ? 1 : y.v.shape[yi];
      if (xn != yn && xn != 1 && yn != 1)
        refuse("matmul", "expected leading axes that broadcast; got " + shape_text(x.v) + " @ " +
                             shape_text(y.v) + ": they must be equal or 1");
      shape[i] = xn == 1 ? yn : xn;
      a[i] = xn == 1 ? 0 : x.stride(xi);
      b[i] = yn == 1 ? 0 : y.stride(yi);
    }
  }
};

// Leading axes that only A has, and that continue its rows, are rows: one tall product.
template <class T>
void fold_rows(GemmArgs<T>& g, BatchPlan& batch) {
  while (batch.ndim > 0) {
    const int i = batch.ndim - 1;
    if (batch.b[i] != 0 && batch.shape[i] != 1) return;
    if (g.m == 1) {
      g.a_row = batch.a[i];
      g.c_row = batch.c[i];
    } else if (batch.shape[i] != 1 &&
               (batch.a[i] != g.m * g.a_row || batch.c[i] != g.m * g.c_row)) {
      return;
    }
    g.m *= batch.shape[i];
    --batch.ndim;
  }
}

template <class T>
void matmul_into(const Operand& a, const Operand& b, const Operand& c, BatchPlan batch,
                 bool accumulate) {
  const int an = a.v.ndim, bn = b.v.ndim, cn = c.v.ndim;
  GemmArgs<T> g{.m = a.v.shape[an - 2],
                .n = b.v.shape[bn - 1],
                .k = a.v.shape[an - 1],
                .a = a.v.as<T>(),
                .a_row = a.stride(an - 2),
                .a_col = a.stride(an - 1),
                .b = b.v.as<T>(),
                .b_row = b.stride(bn - 2),
                .b_col = b.stride(bn - 1),
                .c = c.v.as<T>(),
                .c_row = c.stride(cn - 2)};
  g.epilogue.accumulate = accumulate;
  g.precision = matmul_precision();
  for (int i = 0; i < batch.ndim; ++i) batch.c[i] = c.stride(i);
  if (c.stride(cn - 1) != 1 && g.n > 1) {  // C's rows are adjacent: C^T = B^T A^T
    std::swap(g.m, g.n);
    std::swap(g.a, g.b);
    std::swap(g.a_row, g.b_col);
    std::swap(g.a_col, g.b_row);
    std::swap(batch.a, batch.b);
    g.c_row = c.stride(cn - 1);
  }
  fold_rows(g, batch);
  int64_t shape[kMaxDims];
  double count = 1;
  for (int i = 0; i < batch.ndim; ++i) count *= static_cast<double>(shape[i] = batch.shape[i]);
  const GilRelease release(count * gemm_cost_ns<T>(g.m, g.n, g.k));
  gemm_batched(g, batch.ndim, shape, batch.a, batch.b, batch.c);
}

// Whether gemm may write there: no element twice, rows or columns adjacent, no operand under it.
bool can_write_directly(const Operand& out, const Operand& a, const Operand& b) {
  const int n = out.v.ndim;
  for (int i = 0; i < n; ++i)
    if (out.v.strides[i] == 0 && out.v.shape[i] > 1) return false;
  const bool rows_adjacent = out.stride(n - 2) == 1 || out.v.shape[n - 2] <= 1;
  const bool cols_adjacent = out.stride(n - 1) == 1 || out.v.shape[n - 1] <= 1;
  return (rows_adjacent || cols_adjacent) && !memory_overlaps(out.v, a.v) &&
         !memory_overlaps(out.v, b.v);
}

py::object matmul(py::handle a_in, py::handle b_in, py::handle out_in, bool accumulate) {
  const Operand a = Operand::strided(view_float(a_in, "matmul", "a"));
  const Operand b = Operand::strided(view_float(b_in, "matmul", "b"));
  require_dtype(b.v, a.v.dtype, "matmul", "b");
  if (a.v.ndim < 2 || b.v.ndim < 2 || a.v.shape[a.v.ndim - 1] != b.v.shape[b.v.ndim - 2])
    refuse("matmul", "expected (..., M, K) @ (..., K, N); got " + shape_text(a.v) + " @ " +
                         shape_text(b.v) + ": transpose or reshape one of them");
  BatchPlan batch(a, b);
  npy_intp shape[kMaxDims];
  std::copy(batch.shape, batch.shape + batch.ndim, shape);
  shape[batch.ndim] = a.v.shape[a.v.ndim - 2];
  shape[batch.ndim + 1] = b.v.shape[b.v.ndim - 1];
  const int ndim = batch.ndim + 2;

  const auto run = [&](const Operand& c, bool add) {
    dispatch_float(a.v.dtype, [&]<class T>() { matmul_into<T>(a, b, c, batch, add); });
  };
  if (out_in.is_none()) {
    if (accumulate) refuse("matmul", "expected `out` with accumulate=True; got None: pass out=");
    py::object result = new_array(a.v.dtype, ndim, shape);
    run(Operand(view_own(result)), false);
    return result;
  }
  const ArrayView out = view_float(out_in, "matmul", "out");
  require_dtype(out, a.v.dtype, "matmul", "out");
  if (out.ndim != ndim || !std::equal(shape, shape + ndim, out.shape))
    refuse("matmul", "expected `out` of the product's shape; got " + shape_text(out) + " for " +
                         shape_text(a.v) + " @ " + shape_text(b.v));
  if (!PyArray_ISWRITEABLE(out.object))
    refuse("matmul", "expected a writable `out`; got a read-only array: copy it first");
  const Operand target(out);
  bool element_strides = true;
  for (int i = 0; i < out.ndim; ++i) element_strides &= out.strides[i] % out.itemsize() == 0;
  if (element_strides && can_write_directly(target, a, b)) {
    run(target, accumulate);
  } else {
    py::object result = new_array(a.v.dtype, ndim, shape);
    run(Operand(view_own(result)), false);
    if (accumulate) result = py::reinterpret_borrow<py::object>(out_in) + result;
    if (PyArray_CopyInto(out.object, view_own(result).object) < 0) throw py::error_already_set();
  }
  return py::reinterpret_borrow<py::object>(out_in);
}

// --- linear layers ---

// weight (N, K) as the B of a product: B = weight^T.
template <class T>
void set_weight(GemmArgs<T>& g, const Rows& weight) {
  g.n = weight.rows;
  g.k = weight.cols;
  g.b = weight.array.v.template as<T>();
  g.b_row = weight.col_stride;
  g.b_col = weight.row_stride;
}

// A frozen weight in the order that the active variant reads. What is packed is replaced when the
// ISA or the precision has changed since; products that run meanwhile keep what they took.
class PackedWeight {
 public:
  explicit PackedWeight(py::handle weight)
      : dtype_(view_float(weight, "pack_weight", "weight").dtype) {
    const ArrayView v = view(weight, "pack_weight", "weight");
    if (v.ndim != 2) refuse("pack_weight", "expected a weight (N, K); got shape " + shape_text(v));
    n_ = v.shape[0];
    k_ = v.shape[1];
    dispatch_float(dtype_, [&]<class T>() { pack<T>(Rows(v, false)); });
  }

  struct Panels {
    const void* routine;
    MatmulPrecision precision;
    Scratch<char> data;
  };

  template <class T>
  std::shared_ptr<const Panels> panels(const Rows& weight, DType dtype) {
    if (dtype != dtype_ || weight.rows != n_ || weight.cols != k_)
      refuse("linear", "expected `packed` made from this weight; got one of shape (" +
                           std::to_string(n_) + ", " + std::to_string(k_) + ") and dtype " +
                           dtype_name(dtype_) + ": call pack_weight(weight)");
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
    generation_ = isa_generation();
    const PackPlan<T> plan = gemm_pack_plan(g);
    bytes_ = plan.bytes;
    panels_ = plan.routine ? std::shared_ptr<Panels>(
                                 new Panels{plan.routine, g.precision, Scratch<char>(plan.bytes)})
                           : nullptr;
    if (panels_) gemm_pack(g, plan, panels_->data.get());
  }

  static constexpr int64_t kManyRows = 1024;  // the batch that the layout is chosen for
  DType dtype_;
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

template <class T>
T* data_of(const py::object& array) {
  return static_cast<T*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(array.ptr())));
}

py::tuple linear_forward(py::handle x_in, py::handle weight_in, py::handle bias_in,
                         py::handle residual_in, py::handle activation_in, bool save,
                         py::handle packed_in) {
  constexpr const char* kOp = "linear";
  const ArrayView x = view_float(x_in, kOp, "x"), weight = view_float(weight_in, kOp, "weight");
  require_layer(kOp, x, weight);
  const Activation activation = activation_from(activation_in, kOp);
  const npy_intp n = weight.shape[0];
  std::optional<Rows> bias, residual;
  if (!bias_in.is_none()) {
    const ArrayView v = view_float(bias_in, kOp, "bias");
    require_dtype(v, x.dtype, kOp, "bias");
    if (v.ndim != 1 || v.shape[0] != n)
      refuse(kOp, "expected bias (N,) = (" + std::to_string(n) + ",); got " + shape_text(v));
    bias.emplace(v, true);
  }
  if (!residual_in.is_none()) {
    const ArrayView v = view_float(residual_in, kOp, "residual");
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

  dispatch_float(x.dtype, [&]<class T>() {
    GemmArgs<T> g{.m = rows.rows,
                  .n = 0,
                  .k = 0,
                  .a = rows.array.v.template as<T>(),
                  .a_row = rows.row_stride,
                  .a_col = rows.col_stride,
                  .b = nullptr,
                  .b_row = 0,
                  .b_col = 0,
                  .c = data_of<T>(y),
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
      panels = py::cast<PackedWeight&>(packed_in).panels<T>(weights, x.dtype);
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
  MatmulPrecision precision;

  void run() {
    const T* g = grad.array.v.template as<T>();
    int64_t g_row = grad.row_stride;
    Scratch<T> own(saved && !dz ? grad.rows * grad.cols : 0);
    T* z = dz ? dz : own.get();
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
                              .dbias = dbias});
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
               .a = g,
               .a_row = g_row,
               .a_col = 1,
               .b = w,
               .b_row = weight.row_stride,
               .b_col = weight.col_stride,
               .c = dx,
               .c_row = x.cols,
               .precision = precision});
    if (dweight)
      gemm<T>({.m = grad.cols,
               .n = x.cols,
               .k = x.rows,
               .a = g,
               .a_row = 1,
               .a_col = g_row,
               .b = input,
               .b_row = x.row_stride,
               .b_col = x.col_stride,
               .c = dweight,
               .c_row = x.cols,
               .precision = precision});
  }
};

py::tuple linear_backward(py::handle grad_in, py::handle x_in, py::handle weight_in,
                          py::handle saved_in, py::handle activation_in, bool need_x,
                          bool need_weight, bool need_bias, bool need_residual) {
  constexpr const char* kOp = "linear_backward";
  const ArrayView x = view_float(x_in, kOp, "x"), weight = view_float(weight_in, kOp, "weight");
  require_layer(kOp, x, weight);
  const npy_intp n = weight.shape[0];
  const ArrayView grad = view_float(grad_in, kOp, "grad");
  require_dtype(grad, x.dtype, kOp, "grad");
  require_shape(kOp, "grad", grad, x, n);
  const Activation activation = activation_from(activation_in, kOp);
  std::optional<Rows> saved;
  if (activation != Activation::none) {
    const ArrayView v = view_float(saved_in, kOp, "saved");
    require_dtype(v, x.dtype, kOp, "saved");
    require_shape(kOp, "saved", v, x, n);
    saved.emplace(v, true);
  }
  const Rows grads(grad, true), inputs(x, false), weights(weight, false);

  py::object dx = py::none(), dweight = py::none(), dbias = py::none(), dz = py::none();
  if (need_x) dx = new_array(x.dtype, x.ndim, x.shape);
  if (need_weight) dweight = new_array(x.dtype, 2, weight.shape);
  if (need_bias) dbias = new_array(x.dtype, 1, &n);
  if (need_residual)  // with no activation it is grad itself
    dz = saved ? new_output(x, n) : py::reinterpret_borrow<py::object>(grad_in);
  dispatch_float(x.dtype, [&]<class T>() {
    const auto out = [](const py::object& array) -> T* {
      return array.is_none() ? nullptr : data_of<T>(array);
    };
    LinearBackward<T> backward{
        grads,   inputs,       weights,    saved ? &*saved : nullptr, activation,
        out(dx), out(dweight), out(dbias), saved ? out(dz) : nullptr, matmul_precision()};
    const GilRelease release(2 * gemm_cost_ns<T>(inputs.rows, n, inputs.cols));
    backward.run();
  });
  return py::make_tuple(std::move(dx), std::move(dweight), std::move(dbias), std::move(dz));
}

}  // namespace

void bind_gemm(py::module_& m) {
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
  m.def("matmul", &matmul, py::arg("a"), py::arg("b"), py::arg("out") = py::none(),
        py::arg("accumulate") = false);
  m.def(
      "set_matmul_precision",
      [](const std::string& word) {
        constexpr const char* kWords[] = {"highest", "high", "medium"};
        for (int i = 0; i < 3; ++i)
          if (word == kWords[i]) return set_matmul_precision(static_cast<MatmulPrecision>(i));
        refuse("set_float32_matmul_precision",
               "expected \"highest\", \"high\" or \"medium\"; got \"" + word + "\"");
      },
      py::arg("precision"));
  m.def("variants", [] {
    py::dict families;
    for (const VariantListing* l = VariantListing::first(); l; l = l->next()) {
      py::list rows;
      for (const VariantStatus& s : l->status()) {
        py::dict row;
        row["name"] = s.name;
        row["needs"] = isa_name(s.needs);
        row["runs"] = s.runs;
        row["serves"] = s.serves;
        row["reason"] = s.reason;
        rows.append(row);
      }
      families[l->family()] = rows;
    }
    return families;
  });
}

}  // namespace tilework
