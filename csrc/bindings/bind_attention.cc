// Attention: arrays become heads' rows, strides and a rule for scores here.
#include <string>

#include "bindings/operand.h"
#include "kernels/attention/attention.h"

namespace tilework {
namespace {

constexpr const char* kOp = "attention";

// (batch, heads, rows, width) of any strides; a copy where a row's elements are not adjacent.
struct HeadArray {
  py::object held;
  ArrayView v;

  HeadArray(py::handle array, const char* argument) : v(view_product(array, kOp, argument)) {
    if (v.ndim != 4)
      refuse(kOp, std::string("expected `") + argument + "` (batch, heads, rows, width); got " +
                      shape_text(v));
    if (v.shape[3] > 1 && v.strides[3] != v.itemsize()) {
      held = as_contiguous(v);
      v = view_own(held);
    }
  }
  int64_t stride(int axis) const { return v.strides[axis] / v.itemsize(); }
  template <class T>
  HeadRows<T> rows() const {
    return {v.as<T>(), stride(0), stride(1), stride(2)};
  }
};

AttentionShape shape_of(const HeadArray& q, const HeadArray& k, const HeadArray& v) {
  require_dtype_of(k.v, q.v, kOp, "k", "q");
  require_dtype_of(v.v, q.v, kOp, "v", "q");
  const npy_intp *a = q.v.shape, *b = k.v.shape, *c = v.v.shape;
  if (a[0] != b[0] || a[0] != c[0] || b[1] != c[1] || b[2] != c[2] || a[3] != b[3])
    refuse(kOp, "expected q (B, H, L, E), k (B, G, S, E) and v (B, G, S, V); got " +
                    shape_text(q.v) + ", " + shape_text(k.v) + " and " + shape_text(v.v));
  if (b[1] == 0 ? a[1] != 0 : a[1] % b[1] != 0)
    refuse(kOp, "expected heads of q that are a multiple of k's; got " + std::to_string(a[1]) +
                    " and " + std::to_string(b[1]));
  return {a[0], a[1], b[1], a[2], b[2], a[3], c[3]};
}

// A bias of (B or 1, H or 1, L or 1, S or 1), and one slope a head.
struct Rule {
  py::object bias, slopes;
  double scale, softcap;
  int64_t diagonal, left, right;

  template <class W>
  ScoreRule<W> of(const AttentionShape& s) const {
    ScoreRule<W> rule{.scale = static_cast<W>(scale),
                      .softcap = static_cast<W>(softcap),
                      .slopes = data_of<W>(slopes),
                      .bias = {},
                      .diagonal = diagonal,
                      .left = left,
                      .right = right};
    if (bias.is_none()) return rule;
    const ArrayView b = view_own(bias);
    const auto stride = [&](int axis, int64_t size) {
      return b.shape[axis] == 1 && size != 1 ? 0 : b.strides[axis] / b.itemsize();
    };
    rule.bias = {b.as<W>(), stride(0, s.batch), stride(1, s.heads), stride(2, s.queries),
                 s.keys == 1 || b.shape[3] == 1 ? 0 : 1};
    return rule;
  }
};

DType wide_of(DType dtype) { return dtype == DType::float64 ? dtype : DType::float32; }

py::object wide_array(py::handle array, DType dtype, const char* argument) {
  if (array.is_none()) return py::none();
  const ArrayView a = view(array, kOp, argument);
  if (a.dtype != wide_of(dtype))
    throw py::type_error(std::string("[attention] expected `") + argument + "` of dtype " +
                         dtype_name(wide_of(dtype)) + "; got " + dtype_name(a.dtype));
  return py::reinterpret_borrow<py::object>(array);
}

Rule rule_of(const AttentionShape& s, DType dtype, py::handle bias, double scale, double softcap,
             py::handle slopes, int64_t diagonal, int64_t left, int64_t right) {
  Rule rule{wide_array(bias, dtype, "bias"),
            wide_array(slopes, dtype, "slopes"),
            scale,
            softcap,
            diagonal,
            left,
            right};
  if (!rule.bias.is_none()) {
    const ArrayView b = view_own(rule.bias);
    const int64_t wanted[] = {s.batch, s.heads, s.queries, s.keys};
    bool fits = b.ndim == 4;
    for (int i = 0; fits && i < 4; ++i) fits = b.shape[i] == wanted[i] || b.shape[i] == 1;
    if (!fits) refuse(kOp, "expected `bias` that broadcasts to the scores; got " + shape_text(b));
    if (b.shape[3] > 1 && b.strides[3] != b.itemsize()) rule.bias = as_contiguous(b);
  }
  if (!rule.slopes.is_none()) {
    const ArrayView a = view_own(rule.slopes);
    if (a.ndim != 1 || a.shape[0] != s.heads)
      refuse(kOp, "expected `slopes` (" + std::to_string(s.heads) + ",); got " + shape_text(a));
    rule.slopes = as_contiguous(a);
  }
  const auto near = [](int64_t x) { return -kFarAway <= x && x <= kFarAway; };
  if (!near(diagonal) || !near(left) || !near(right))
    refuse(kOp, "expected `diagonal`, `left` and `right` within 2**60 of 0");
  return rule;
}

AttentionDropout dropout_of(double p, uint64_t seed, uint64_t call) {
  if (!(p >= 0 && p <= 1)) refuse(kOp, "expected p between 0 and 1; got " + std::to_string(p));
  return {p, seed, call};
}

// (B, H, rows, width), lying in memory as (B, rows, H, width): what comes next joins the heads.
py::object new_heads(DType dtype, int64_t batch, int64_t heads, int64_t rows, int64_t width) {
  const npy_intp shape[] = {batch, rows, heads, width};
  return new_array(dtype, 4, shape).attr("swapaxes")(1, 2);
}

py::tuple forward(py::handle q_in, py::handle k_in, py::handle v_in, py::handle bias, double scale,
                  double softcap, py::handle slopes, int64_t diagonal, int64_t left, int64_t right,
                  double p, uint64_t seed, uint64_t call) {
  const HeadArray q(q_in, "q"), k(k_in, "k"), v(v_in, "v");
  const AttentionShape s = shape_of(q, k, v);
  const DType dtype = q.v.dtype;
  const Rule rule = rule_of(s, dtype, bias, scale, softcap, slopes, diagonal, left, right);
  const AttentionDropout dropout = dropout_of(p, seed, call);
  py::object out = new_heads(dtype, s.batch, s.heads, s.queries, s.value_width);
  const npy_intp rows[] = {s.batch, s.heads, s.queries};
  py::object log_sums = new_array(wide_of(dtype), 3, rows);
  const HeadArray to(out, "out");
  dispatch_product(dtype, [&]<class T>() {
    const AttentionForward<T> args{.shape = s,
                                   .q = q.rows<const T>(),
                                   .k = k.rows<const T>(),
                                   .v = v.rows<const T>(),
                                   .rule = rule.of<Wide<T>>(s),
                                   .dropout = dropout,
                                   .out = to.rows<T>(),
                                   .log_sums = data_of<Wide<T>>(log_sums)};
    const GilRelease unlocked(attention_cost_ns(s));
    attention_forward(args);
  });
  return py::make_tuple(out, log_sums);
}

py::tuple backward(py::handle grad_in, py::handle q_in, py::handle k_in, py::handle v_in,
                   py::handle out_in, py::handle log_sums_in, py::handle bias, double scale,
                   double softcap, py::handle slopes, int64_t diagonal, int64_t left, int64_t right,
                   double p, uint64_t seed, uint64_t call) {
  const HeadArray q(q_in, "q"), k(k_in, "k"), v(v_in, "v");
  const HeadArray grad(grad_in, "grad"), out(out_in, "out");
  const AttentionShape s = shape_of(q, k, v);
  const DType dtype = q.v.dtype;
  for (const HeadArray* x : {&grad, &out}) {
    const char* name = x == &grad ? "grad" : "out";
    require_dtype_of(x->v, q.v, kOp, name, "q");
    const npy_intp* a = x->v.shape;
    if (a[0] != s.batch || a[1] != s.heads || a[2] != s.queries || a[3] != s.value_width)
      refuse(kOp,
             std::string("expected `") + name + "` of the result's shape; got " + shape_text(x->v));
  }
  const ArrayView given = view(log_sums_in, kOp, "log_sums");
  if (given.dtype != wide_of(dtype) || given.ndim != 3 || given.shape[0] != s.batch ||
      given.shape[1] != s.heads || given.shape[2] != s.queries)
    refuse(kOp, "expected `log_sums` as forward gave them; got " + shape_text(given) + " of " +
                    dtype_name(given.dtype));
  const py::object log_sums = as_contiguous(given);
  const Rule rule = rule_of(s, dtype, bias, scale, softcap, slopes, diagonal, left, right);
  const AttentionDropout dropout = dropout_of(p, seed, call);
  const auto like = [&](const HeadArray& x) {
    const npy_intp* a = x.v.shape;
    return new_heads(dtype, a[0], a[1], a[2], a[3]);
  };
  py::object dq = like(q), dk = like(k), dv = like(v);
  const HeadArray to_q(dq, "dq"), to_k(dk, "dk"), to_v(dv, "dv");
  dispatch_product(dtype, [&]<class T>() {
    const AttentionBackward<T> args{.shape = s,
                                    .q = q.rows<const T>(),
                                    .k = k.rows<const T>(),
                                    .v = v.rows<const T>(),
                                    .out = out.rows<const T>(),
                                    .grad = grad.rows<const T>(),
                                    .rule = rule.of<Wide<T>>(s),
                                    .dropout = dropout,
                                    .log_sums = data_of<Wide<T>>(log_sums),
                                    .dq = to_q.rows<T>(),
                                    .dk = to_k.rows<T>(),
                                    .dv = to_v.rows<T>()};
    const GilRelease unlocked(3 * attention_cost_ns(s));
    attention_backward(args);
  });
  return py::make_tuple(dq, dk, dv);
}

}  // namespace

void bind_attention(py::module_& m) {
  m.def("attention_forward", &forward, py::arg("q"), py::arg("k"), py::arg("v"), py::arg("bias"),
        py::arg("scale"), py::arg("softcap"), py::arg("slopes"), py::arg("diagonal"),
        py::arg("left"), py::arg("right"), py::arg("p"), py::arg("seed"), py::arg("call"));
  m.def("attention_backward", &backward, py::arg("grad"), py::arg("q"), py::arg("k"), py::arg("v"),
        py::arg("out"), py::arg("log_sums"), py::arg("bias"), py::arg("scale"), py::arg("softcap"),
        py::arg("slopes"), py::arg("diagonal"), py::arg("left"), py::arg("right"), py::arg("p"),
        py::arg("seed"), py::arg("call"));
}

}  // namespace tilework
