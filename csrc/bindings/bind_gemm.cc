// Matrix products: arrays become pointers and strides here.
#include <algorithm>
#include <string>

#include "base/cpu.h"
#include "base/variants.h"
#include "bindings/operand.h"
#include "kernels/gemm/gemm.h"

namespace tilework {

void bind_linear(py::module_& m);  // bind_linear.cc

namespace {

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
      g.a.row = batch.a[i];
      g.c_row = batch.c[i];
    } else if (batch.shape[i] != 1 &&
               (batch.a[i] != g.m * g.a.row || batch.c[i] != g.m * g.c_row)) {
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
                .a = {a.v.as<T>(), a.stride(an - 2), a.stride(an - 1)},
                .b = {b.v.as<T>(), b.stride(bn - 2), b.stride(bn - 1)},
                .c = output_of<T>(c.v),
                .c_row = c.stride(cn - 2)};
  g.epilogue.accumulate = accumulate;
  g.precision = matmul_precision();
  for (int i = 0; i < batch.ndim; ++i) batch.c[i] = c.stride(i);
  if (c.stride(cn - 1) != 1 && g.n > 1) {  // C's rows are adjacent: C^T = B^T A^T
    std::swap(g.m, g.n);
    const MatrixView<T> left = g.a;
    g.a = g.b.transposed();
    g.b = left.transposed();
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
  const Operand a = Operand::strided(view_product(a_in, "matmul", "a"));
  const Operand b = Operand::strided(view_product(b_in, "matmul", "b"));
  require_dtype(b.v, a.v.dtype, "matmul", "b");
  require_few_axes(a.v, "matmul");
  require_few_axes(b.v, "matmul");
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
    dispatch_product(a.v.dtype, [&]<class T>() { matmul_into<T>(a, b, c, batch, add); });
  };
  if (out_in.is_none()) {
    if (accumulate) refuse("matmul", "expected `out` with accumulate=True; got None: pass out=");
    py::object result = new_array(a.v.dtype, ndim, shape);
    run(Operand(view_own(result)), false);
    return result;
  }
  const ArrayView out = view_product(out_in, "matmul", "out");
  // A product of bfloat16 may keep what it is summed in.
  const bool widens = a.v.dtype == DType::bfloat16 && out.dtype == DType::float32;
  if (!widens) require_dtype(out, a.v.dtype, "matmul", "out");
  if (out.ndim != ndim || !std::equal(shape, shape + ndim, out.shape))
    refuse("matmul", "expected `out` of the product's shape; got " + shape_text(out) + " for " +
                         shape_text(a.v) + " @ " + shape_text(b.v));
  require_writeable(out, "matmul", "out");
  const Operand target(out);
  bool element_strides = true;
  for (int i = 0; i < out.ndim; ++i) element_strides &= out.strides[i] % out.itemsize() == 0;
  if (element_strides && can_write_directly(target, a, b)) {
    run(target, accumulate);
  } else {
    // The sum with what is there is rounded once, by the copy.
    const bool in_float = accumulate && out.dtype == DType::bfloat16;
    py::object result = new_array(in_float ? DType::float32 : out.dtype, ndim, shape);
    run(Operand(view_own(result)), false);
    if (accumulate)
      result =
          stopping_at_exit([&] { return py::reinterpret_borrow<py::object>(out_in) + result; });
    copy_into(out, view_own(result));
  }
  return py::reinterpret_borrow<py::object>(out_in);
}

}  // namespace

void bind_gemm(py::module_& m) {
  bind_linear(m);
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
