// Attention: arrays become heads' rows, strides and a rule for scores here.
#include <pybind11/stl.h>

#include <cstring>
#include <string>
#include <vector>

#include "bindings/operand.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/explain.h"

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
    const GilRelease unlocked(attention_cost_ns<T>(s));
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
    const GilRelease unlocked(3 * attention_cost_ns<T>(s));
    attention_backward(args);
  });
  return py::make_tuple(dq, dk, dv);
}

// Without any array: who serves (B, H, L, E) and (B, G, S, E).
py::list services(const std::string& dtype_text, const std::vector<npy_intp>& q,
                  const std::vector<npy_intp>& k, int64_t value_width, int64_t left,
                  int64_t right) {
  constexpr const char* kName = "attention_services";
  bool fits = q.size() == 4 && k.size() == 4 && value_width >= 0;
  for (const auto& shape : {q, k})
    for (const npy_intp n : shape) fits = fits && n >= 0 && n <= npy_intp{1} << 40;
  fits = fits && q[0] == k[0] && q[3] == k[3] && (k[1] == 0 ? q[1] == 0 : q[1] % k[1] == 0);
  if (!fits) refuse(kName, "expected shapes (B, H, L, E) and (B, G, S, E), whose G divides H");
  if (left < 0 || right < 0 || left > kFarAway || right > kFarAway)
    refuse(kName, "expected `left` and `right` from 0 to 2**60");
  const DType dtype = dtype_of(dtype_text, kName);
  const AttentionShape s{q[0], q[1], std::max<npy_intp>(k[1], 1), q[2], k[2], q[3], value_width};
  py::list rows;
  dispatch_product(dtype, [&]<class T>() {
    ScoreRule<Wide<T>> rule;
    rule.left = left, rule.right = right;
    for (const attention::Service& found : attention::services<T>(s, rule))
      rows.append(py::make_tuple(found.pass, serving_variant("attention"), found.routine,
                                 found.blocks, found.why));
  });
  return rows;
}

// --- sequences of their own lengths, one behind the other ---

constexpr const char* kVarlen = "varlen_attn";

// (rows, heads, width), or pages (pages, rows, heads, width); a copy where a row's elements are not
// adjacent.
struct RaggedArray {
  py::object held;
  ArrayView v;

  RaggedArray(py::handle array, const char* argument, bool pages)
      : v(view_product(array, kVarlen, argument)) {
    if (v.ndim != (pages ? 4 : 3))
      refuse(kVarlen, std::string("expected `") + argument + "` (" + (pages ? "pages, " : "") +
                          "rows, heads, width); got " + shape_text(v));
    const int last = v.ndim - 1;
    if (v.shape[last] > 1 && v.strides[last] != v.itemsize()) {
      held = as_contiguous(v);
      v = view_own(held);
    }
  }
  npy_intp size(int axis) const { return v.shape[v.ndim - 3 + axis]; }
  int64_t stride(int axis) const { return v.strides[v.ndim - 3 + axis] / v.itemsize(); }
  template <class T>
  HeadRows<T> from(int64_t row) const {
    const int64_t page = v.ndim == 4 ? v.strides[0] / v.itemsize() : 0;
    return {v.as<T>() + row * stride(0), page, stride(1), stride(0)};
  }
};

// One for each sequence (count -1: any number of them).
std::vector<int64_t> numbers_of(py::handle array, const char* argument, int64_t count) {
  const ArrayView given = view(array, kVarlen, argument);
  if (given.dtype != DType::int64 || given.ndim != 1 || (count >= 0 && given.shape[0] != count))
    refuse(kVarlen, std::string("expected `") + argument + "` (sequences" +
                        (count < 0 ? " + 1" : "") + ",) of int64; got " + shape_text(given) +
                        " of " + dtype_name(given.dtype));
  return copied_numbers(given);
}

// Where sequences begin, and after the last one where it ends.
std::vector<int64_t> begins_of(py::handle array, const char* argument, int64_t count,
                               int64_t rows) {
  std::vector<int64_t> begins = numbers_of(array, argument, count);
  bool fits = !begins.empty() && begins[0] == 0 && begins.back() <= rows;
  for (size_t i = 1; fits && i < begins.size(); ++i) fits = begins[i - 1] <= begins[i];
  if (!fits)
    refuse(kVarlen, std::string("expected `") + argument +
                        "` that begins with 0, never falls and " + "ends within the " +
                        std::to_string(rows) + " rows: sum the lengths");
  return begins;
}

// The sequences of one call.
struct Ragged {
  const RaggedArray q, k, v;
  std::vector<int64_t> begins_q, begins_k, used, table;
  int64_t table_row = 0;
  Rule rule;

  Ragged(py::handle q_in, py::handle k_in, py::handle v_in, py::handle cu_q, py::handle cu_k,
         py::handle used_k, py::handle table_in, double scale, double softcap, py::handle slopes,
         int64_t left, int64_t right)
      : q(q_in, "query", false),
        k(k_in, "key", !table_in.is_none()),
        v(v_in, "value", !table_in.is_none()),
        begins_q(begins_of(cu_q, "cu_seq_q", -1, q.size(0))) {
    require_dtype_of(k.v, q.v, kVarlen, "key", "query");
    require_dtype_of(v.v, q.v, kVarlen, "value", "query");
    const bool alike = k.size(0) == v.size(0) && k.size(1) == v.size(1) &&
                       (k.v.ndim == 3 || k.v.shape[0] == v.v.shape[0]);
    const npy_intp heads = q.size(1), shared = k.size(1);
    if (!alike || q.size(2) != k.size(2) || (shared == 0 ? heads != 0 : heads % shared != 0))
      refuse(kVarlen,
             "expected query (T, H, E), key (S, G, E) and value (S, G, V), or their pages,"
             " whose G divides H; got " +
                 shape_text(q.v) + ", " + shape_text(k.v) + " and " + shape_text(v.v));
    const auto count = static_cast<int64_t>(begins_q.size());
    if (table_in.is_none())
      begins_k = begins_of(cu_k, "cu_seq_k", count, k.size(0));
    else
      take_table(table_in, count - 1);
    if (!used_k.is_none())
      used = numbers_of(used_k, "seqused_k", count - 1);
    else if (!table_in.is_none())
      refuse(kVarlen, "expected `seqused_k` beside `block_table`");
    for (int64_t i = 0; i < static_cast<int64_t>(used.size()); ++i)
      if (used[i] < 0 || used[i] > room(i))
        refuse(kVarlen, "expected `seqused_k` from 0 to the keys that a sequence has room for, " +
                            std::to_string(room(i)) + "; got " + std::to_string(used[i]));
    check_pages();
    rule = rule_of({1, heads, shared, 1, 1, q.size(2), v.size(2)}, q.v.dtype, py::none(), scale,
                   softcap, slopes, 0, left, right);
  }

  int64_t count() const { return static_cast<int64_t>(begins_q.size()) - 1; }
  int64_t heads() const { return q.size(1); }
  AttentionShape shape(int64_t i) const {
    const int64_t keys = used.empty() ? room(i) : used[i];
    return {1, q.size(1), k.size(1), begins_q[i + 1] - begins_q[i], keys, q.size(2), v.size(2)};
  }
  int64_t first_key(int64_t i) const { return begins_k.empty() ? 0 : begins_k[i]; }
  PageTable pages(int64_t i) const {
    if (table.empty()) return {};
    return {table.data() + i * table_row, table_row, k.size(0)};
  }
  // The last query of a sequence stands beside its last key.
  template <class W>
  ScoreRule<W> rule_for(const AttentionShape& s) const {
    ScoreRule<W> made = rule.of<W>(s);
    made.diagonal = s.keys - s.queries;
    return made;
  }
  template <class T>
  double cost_ns() const {
    double sum = 0;
    for (int64_t i = 0; i < count(); ++i) sum += attention_cost_ns<T>(shape(i));
    return sum;
  }

 private:
  int64_t room(int64_t i) const {
    return begins_k.empty() ? table_row * k.size(0) : begins_k[i + 1] - begins_k[i];
  }
  void take_table(py::handle array, int64_t count) {
    const ArrayView given = view(array, kVarlen, "block_table");
    if (given.dtype != DType::int64 || given.ndim != 2 || given.shape[0] != count)
      refuse(kVarlen, "expected `block_table` (" + std::to_string(count) +
                          ", pages of a sequence) of int64; got " + shape_text(given) + " of " +
                          dtype_name(given.dtype));
    table = copied_numbers(given);
    table_row = given.shape[1];
  }
  // Those that are read: what lies behind a sequence's last page may be anything.
  void check_pages() const {
    if (table.empty()) return;
    for (int64_t i = 0; i < count(); ++i)
      for (int64_t p = 0; p * k.size(0) < used[i]; ++p) {
        const int64_t page = table[i * table_row + p];
        if (page < 0 || page >= k.v.shape[0])
          throw py::index_error(std::string("[varlen_attn] expected pages in [0, ") +
                                std::to_string(k.v.shape[0]) + "); got " + std::to_string(page) +
                                ": check the block_table");
      }
  }
};

py::object new_rows(const RaggedArray& like, int64_t width) {
  const npy_intp shape[] = {like.size(0), like.size(1), width};
  return new_array(like.v.dtype, 3, shape);
}

// Of an array of so many rows those from `row` on belong to no sequence.
void clear_from(const py::object& array, int64_t row, int64_t rows) {
  const ArrayView a = view_own(array);
  const int64_t size = rows > 0 ? a.size() / rows * a.itemsize() : 0;
  std::memset(a.data + row * size, 0, static_cast<size_t>((rows - row) * size));
}

py::tuple varlen_forward(py::handle q, py::handle k, py::handle v, py::handle cu_q, py::handle cu_k,
                         py::handle used_k, py::handle table, double scale, double softcap,
                         py::handle slopes, int64_t left, int64_t right) {
  const Ragged x(q, k, v, cu_q, cu_k, used_k, table, scale, softcap, slopes, left, right);
  const DType dtype = x.q.v.dtype;
  py::object out = new_rows(x.q, x.v.size(2));
  const npy_intp sums[] = {x.q.size(0) * x.heads()};
  py::object log_sums = new_array(wide_of(dtype), 1, sums);
  const RaggedArray to(out, "out", false);
  dispatch_product(dtype, [&]<class T>() {
    std::vector<AttentionForward<T>> calls;
    for (int64_t i = 0; i < x.count(); ++i) {
      const AttentionShape s = x.shape(i);
      const int64_t query = x.begins_q[i], key = x.first_key(i);
      calls.push_back({.shape = s,
                       .q = x.q.from<const T>(query),
                       .k = x.k.from<const T>(key),
                       .v = x.v.from<const T>(key),
                       .rule = x.rule_for<Wide<T>>(s),
                       .dropout = {},
                       .out = to.from<T>(query),
                       .log_sums = data_of<Wide<T>>(log_sums) + query * s.heads,
                       .pages = x.pages(i)});
    }
    const GilRelease unlocked(x.cost_ns<T>());
    clear_from(out, x.begins_q.back(), x.q.size(0));
    clear_from(log_sums, x.begins_q.back(), x.q.size(0));
    attention_forward(calls.data(), x.count());
  });
  return py::make_tuple(out, log_sums);
}

py::tuple varlen_backward(py::handle grad_in, py::handle q, py::handle k, py::handle v,
                          py::handle out_in, py::handle log_sums_in, py::handle cu_q,
                          py::handle cu_k, double scale, double softcap, py::handle slopes,
                          int64_t left, int64_t right) {
  const Ragged x(q, k, v, cu_q, cu_k, py::none(), py::none(), scale, softcap, slopes, left, right);
  const DType dtype = x.q.v.dtype;
  const RaggedArray grad(grad_in, "grad", false), out(out_in, "out", false);
  for (const RaggedArray* a : {&grad, &out}) {
    const char* name = a == &grad ? "grad" : "out";
    require_dtype_of(a->v, x.q.v, kVarlen, name, "query");
    if (a->size(0) != x.q.size(0) || a->size(1) != x.heads() || a->size(2) != x.v.size(2))
      refuse(kVarlen,
             std::string("expected `") + name + "` of the result's shape; got " + shape_text(a->v));
  }
  const ArrayView given = view(log_sums_in, kVarlen, "log_sums");
  if (given.dtype != wide_of(dtype) || given.ndim != 1 || given.shape[0] != x.q.size(0) * x.heads())
    refuse(kVarlen, "expected `log_sums` as forward gave them; got " + shape_text(given) + " of " +
                        dtype_name(given.dtype));
  const py::object log_sums = as_contiguous(given);
  py::object dq = new_rows(x.q, x.q.size(2)), dk = new_rows(x.k, x.k.size(2)),
             dv = new_rows(x.v, x.v.size(2));
  const RaggedArray to_q(dq, "dq", false), to_k(dk, "dk", false), to_v(dv, "dv", false);
  dispatch_product(dtype, [&]<class T>() {
    std::vector<AttentionBackward<T>> calls;
    for (int64_t i = 0; i < x.count(); ++i) {
      const AttentionShape s = x.shape(i);
      const int64_t query = x.begins_q[i], key = x.begins_k[i];
      calls.push_back({.shape = s,
                       .q = x.q.from<const T>(query),
                       .k = x.k.from<const T>(key),
                       .v = x.v.from<const T>(key),
                       .out = out.from<const T>(query),
                       .grad = grad.from<const T>(query),
                       .rule = x.rule_for<Wide<T>>(s),
                       .dropout = {},
                       .log_sums = data_of<Wide<T>>(log_sums) + query * s.heads,
                       .dq = to_q.from<T>(query),
                       .dk = to_k.from<T>(key),
                       .dv = to_v.from<T>(key)});
    }
    const GilRelease unlocked(3 * x.cost_ns<T>());
    clear_from(dq, x.begins_q.back(), x.q.size(0));
    clear_from(dk, x.begins_k.back(), x.k.size(0));
    clear_from(dv, x.begins_k.back(), x.k.size(0));
    attention_backward(calls.data(), x.count());
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
  m.def("attention_services", &services, py::arg("dtype"), py::arg("q"), py::arg("k"),
        py::arg("value_width"), py::arg("left"), py::arg("right"));
  m.def("varlen_attention_forward", &varlen_forward, py::arg("q"), py::arg("k"), py::arg("v"),
        py::arg("cu_q"), py::arg("cu_k"), py::arg("used_k"), py::arg("table"), py::arg("scale"),
        py::arg("softcap"), py::arg("slopes"), py::arg("left"), py::arg("right"));
  m.def("varlen_attention_backward", &varlen_backward, py::arg("grad"), py::arg("q"), py::arg("k"),
        py::arg("v"), py::arg("out"), py::arg("log_sums"), py::arg("cu_q"), py::arg("cu_k"),
        py::arg("scale"), py::arg("softcap"), py::arg("slopes"), py::arg("left"), py::arg("right"));
}

}  // namespace tilework
