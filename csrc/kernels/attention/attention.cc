#include "kernels/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "base/variants.h"
#include "kernels/attention/decode.h"
#include "kernels/attention/setting.h"
#include "kernels/gemm/gemm.h"

#define TW_FAMILY attention
#define TW_KERNELS AttentionKernels
#include "base/family.inc"

namespace tilework {
namespace {

using namespace attention;

// C (m x n) = A B, or C += A B, on the calling thread.
template <class W>
struct Product {
  int64_t m, n, k;
  MatrixView<W> a, b;
  W* c;
  int64_t c_row;
  bool add;
  PackedB<W> packed = {nullptr, nullptr};
};

// The same by the definition, but that a zero of A takes no part: what it would meet in B may be
// hidden, and not finite.
template <class W>
void multiply_what_is_seen(const Product<W>& p) {
  if (!p.add) clear(p.c, p.c_row, p.m, p.n);
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t k = 0; k < p.k; ++k) {
      const W a = p.a.data[i * p.a.row + k * p.a.col];
      if (a == 0) continue;
      for (int64_t j = 0; j < p.n; ++j)
        p.c[i * p.c_row + j] += a * p.b.data[k * p.b.row + j * p.b.col];
    }
}

// Products of one task, with what they need of memory.
template <class W>
class Multiplier {
 public:
  explicit Multiplier(MatmulPrecision precision) : precision_(precision) {}

  void operator()(const Product<W>& p) {
    GemmArgs<W> g{.m = p.m, .n = p.n, .k = p.k, .a = p.a, .b = p.b, .c = p.c, .c_row = p.c_row};
    g.epilogue.accumulate = p.add;
    g.precision = precision_;
    g.packed = p.packed;
    gemm_on_this_thread(g, workspace(gemm_workspace_bytes<W>(p.m, p.n, p.k)));
  }

  // The products of queries with keys, or of gradients with values: of one query it is a product of
  // a matrix with a vector.
  void rows(int64_t rows, int64_t cols, int64_t width, const Rows<W>& x, const Rows<W>& y, W* c,
            int64_t c_row, PackedB<W> packed) {
    if (rows == 1)
      (*this)({cols, 1, width, {y.data, y.row, 1}, {x.data, 1, 1}, c, 1, false});
    else
      (*this)({rows, cols, width, {x.data, x.row, 1}, {y.data, 1, y.row}, c, c_row, false, packed});
  }

 private:
  void* workspace(size_t bytes) {
    if (bytes > bytes_ || !room_) {
      room_.reset();
      room_ = std::make_unique<Scratch<char>>(bytes);
      bytes_ = bytes;
    }
    return room_->get();
  }

  MatmulPrecision precision_;
  size_t bytes_ = 0;
  std::unique_ptr<Scratch<char>> room_;
};

// A matrix as the B of products, packed in pieces of so many of its rows (or, transposed, of B's
// columns), each of which is a B of its own.
template <class W>
class Pieces {
 public:
  Pieces(const Rows<W>& x, int64_t rows, int64_t cols, int64_t each, bool transposed, bool packs,
         MatmulPrecision precision)
      : x_(x), each_(each), transposed_(transposed) {
    GemmArgs<W> g{.m = kQueries,
                  .n = transposed ? each : cols,
                  .k = transposed ? cols : each,
                  .a = {nullptr, 0, 1},
                  .b = {x.data, transposed ? 1 : x.row, transposed ? x.row : 1},
                  .c = nullptr,
                  .c_row = 0};
    g.precision = precision;
    if (!packs || rows == 0) return;
    plan_ = gemm_pack_plan(g);
    if (!plan_.routine) return;
    const int64_t pieces = ceil_div(rows, each);
    packed_ = std::make_unique<Scratch<char>>(static_cast<size_t>(pieces) * aligned(plan_.bytes));
    for (int64_t i = 0; i < pieces; ++i) {
      const int64_t here = std::min(each, rows - i * each);
      GemmArgs<W> part = g;
      (transposed ? part.n : part.k) = here;
      part.b.data = x.from(i * each).data;
      const PackPlan<W> plan = here == each ? plan_ : gemm_pack_plan(part);
      if (plan.routine != plan_.routine) break;  // a last, shorter one may be another routine's
      gemm_pack(part, plan, at(i));
      ++packed_pieces_;
    }
  }

  Rows<W> rows(int64_t i) const { return x_.from(i); }
  // Of the piece that begins at row i.
  PackedB<W> packed(int64_t i) const {
    if (i >= packed_pieces_ * each_) return {nullptr, nullptr};
    return {plan_.routine, at(i / each_)};
  }

 private:
  static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }
  char* at(int64_t piece) const {
    return packed_->get() + static_cast<size_t>(piece) * aligned(plan_.bytes);
  }

  Rows<W> x_;
  int64_t each_;
  bool transposed_;
  PackPlan<W> plan_ = {nullptr, 0};
  int64_t packed_pieces_ = 0;
  std::unique_ptr<Scratch<char>> packed_;
};

// --- Forward ---

template <class T>
class ForwardTask {
  using W = Wide<T>;

 public:
  // Queries [begin, end) of the heads that share head `kv` of keys.
  ForwardTask(const Setting<T>& setting, const AttentionForward<T>& args,
              const AttentionTable<W>& kernels, int64_t b, int64_t kv, int64_t begin, int64_t end)
      : t_(setting),
        a_(args),
        kernels_(kernels),
        b_(b),
        kv_(kv),
        begin_(begin),
        end_(end),
        copies_(kOwnSums<T> || args.pages.table ? s().keys : 0),
        wide_(copies_ * (s().width + s().value_width)),
        keys_(all_rows<T>(args.k, args.pages, b, kv, s().keys, s().width, wide_.get()), s().keys,
              s().width, t_.keys_at_once, true, t_.packs, t_.precision),
        values_(all_rows<T>(args.v, args.pages, b, kv, s().keys, s().value_width,
                            wide_.get() + copies_ * s().width),
                s().keys, s().value_width, t_.values_at_once, false, t_.packs, t_.precision),
        scores_(t_.queries_at_once * t_.score_row),
        room_(3 * t_.keys_at_once),
        states_(3 * t_.queries_at_once),
        query_room_(kOwnSums<T> ? t_.queries_at_once * s().width : 0),
        sums_(kOwnSums<T> ? t_.queries_at_once * s().value_width : 0) {}

  void run() {
    for (int64_t h = kv_ * t_.group; h < (kv_ + 1) * t_.group; ++h)
      for (int64_t i = begin_; i < end_; i += kQueries) {
        const int64_t rows = std::min(kQueries, end_ - i);
        attend(h, i, rows, false);
        if (hides(a_.rule) && !kernels_.finite(out(h, i), out_row(), rows, s().value_width))
          attend(h, i, rows, true);
        if constexpr (kOwnSums<T>)
          narrow_rows(sums_.get(), out_row(), rows, s().value_width, a_.out.at(b_, h, i),
                      a_.out.row);
      }
  }

 private:
  const AttentionShape& s() const { return t_.s; }
  W* out(int64_t h, int64_t i) {
    if constexpr (kOwnSums<T>)
      return sums_.get();
    else
      return a_.out.at(b_, h, i);
  }
  int64_t out_row() const { return kOwnSums<T> ? s().value_width : a_.out.row; }

  void attend(int64_t h, int64_t query, int64_t rows, bool carefully) {
    W *const top = states_.get(), *const sum = top + rows, *const factor = sum + rows;
    std::fill_n(top, rows, std::numeric_limits<W>::lowest());
    std::fill_n(sum, rows, W(0));
    const Rows<W> q = widened(a_.q, b_, h, query, rows, s().width, query_room_.get());
    bool first = true;
    for (int64_t key = 0; key < s().keys; key += t_.keys_at_once) {
      const int64_t size = std::min(t_.keys_at_once, s().keys - key);
      const int64_t keys = t_.seen(query, rows, key, size);
      if (keys <= 0) continue;
      multiply_.rows(rows, keys, s().width, q, keys_.rows(key), scores_.get(), t_.score_row,
                     keys_.packed(key));
      // What a packed piece of values has beyond is seen by nobody.
      const int64_t whole = std::min(size, ceil_div(keys, t_.values_at_once) * t_.values_at_once);
      if (whole > keys)
        for (int64_t i = 0; i < rows; ++i)
          std::fill_n(scores_.get() + i * t_.score_row + keys, whole - keys, W(0));
      kernels_.weights(t_.block(b_, h, query, rows, key, keys, scores_.get(), room_.get()), top,
                       sum, factor);
      if (!first) kernels_.scale_rows(out(h, query), out_row(), rows, s().value_width, factor);
      add_values(h, query, rows, key, whole, first, carefully);
      first = false;
    }
    if (first) clear(out(h, query), out_row(), rows, s().value_width);
    W* const log_sums = a_.log_sums + (b_ * s().heads + h) * s().queries + query;
    for (int64_t i = 0; i < rows; ++i) {
      factor[i] = sum[i] == 0 ? W(0) : 1 / sum[i];
      log_sums[i] = top[i] + std::log(sum[i]);
    }
    kernels_.scale_rows(out(h, query), out_row(), rows, s().value_width, factor);
  }

  void add_values(int64_t h, int64_t query, int64_t rows, int64_t key, int64_t keys, bool first,
                  bool carefully) {
    for (int64_t k = 0; k < keys; k += t_.values_at_once) {
      const Rows<W> v = values_.rows(key + k);
      const Product<W> p{rows,
                         s().value_width,
                         std::min(t_.values_at_once, keys - k),
                         {scores_.get() + k, t_.score_row, 1},
                         {v.data, v.row, 1},
                         out(h, query),
                         out_row(),
                         !first || k > 0,
                         values_.packed(key + k)};
      if (carefully)
        multiply_what_is_seen(p);
      else
        multiply_(p);
    }
  }

  const Setting<T>& t_;
  const AttentionForward<T>& a_;
  const AttentionTable<W>& kernels_;
  const int64_t b_, kv_, begin_, end_;
  Multiplier<W> multiply_{t_.precision};
  const int64_t copies_;  // keys that are gathered or widened
  const Scratch<W> wide_;
  const Pieces<W> keys_, values_;
  const Scratch<W> scores_, room_, states_, query_room_, sums_;
};

// --- Backward ---

// All of one head of keys: its gradients are sums over the heads and queries that share it, in
// their order.
template <class T>
class BackwardTask {
  using W = Wide<T>;

 public:
  BackwardTask(const Setting<T>& setting, const AttentionBackward<T>& args,
               const AttentionTable<W>& kernels, int64_t b, int64_t kv)
      : t_(setting),
        a_(args),
        kernels_(kernels),
        b_(b),
        kv_(kv),
        scores_(2 * t_.queries_at_once * t_.score_row),
        room_(3 * t_.keys_at_once),
        dots_(t_.group * s().queries),
        rows_room_(kOwnSums<T> ? t_.queries_at_once * (s().width + 2 * s().value_width) : 0),
        keys_room_(kOwnSums<T> ? 2 * t_.keys_at_once * (s().width + s().value_width) : 0),
        dq_(kOwnSums<T> ? t_.group * s().queries * s().width : 0) {}

  void run() {
    find_dots();
    pass(false);
    if (hides(a_.rule) && !all_finite()) pass(true);
  }

 private:
  const AttentionShape& s() const { return t_.s; }

  void find_dots() {
    W* const room = rows_room_.get();
    for_each_block([&](int64_t h, int64_t i, int64_t rows) {
      const Rows<W> out = widened(a_.out, b_, h, i, rows, s().value_width, room);
      const Rows<W> grad =
          widened(a_.grad, b_, h, i, rows, s().value_width,
                  kOwnSums<T> ? room + t_.queries_at_once * s().value_width : nullptr);
      kernels_.dots(out.data, out.row, grad.data, grad.row, rows, s().value_width, dots(h, i));
    });
  }

  // body(head, query, rows) over the queries of all heads.
  template <class Body>
  void for_each_block(Body body) {
    for (int64_t h = kv_ * t_.group; h < (kv_ + 1) * t_.group; ++h)
      for (int64_t i = 0; i < s().queries; i += kQueries)
        body(h, i, std::min(kQueries, s().queries - i));
  }

  W* dots(int64_t h, int64_t i) { return dots_.get() + (h - kv_ * t_.group) * s().queries + i; }

  struct Sums {
    W* data;
    int64_t row;
  };
  Sums dq(int64_t h, int64_t i) {
    if constexpr (kOwnSums<T>)
      return {dq_.get() + ((h - kv_ * t_.group) * s().queries + i) * s().width, s().width};
    else
      return {a_.dq.at(b_, h, i), a_.dq.row};
  }
  // Of dk or dv.
  Sums of_keys(const HeadRows<T>& x, int64_t key, int64_t cols, W* room) {
    if constexpr (kOwnSums<T>)
      return {room, cols};
    else
      return {x.at(b_, kv_, key), x.row};
  }

  void pass(bool carefully) {
    for_each_block([&](int64_t h, int64_t i, int64_t rows) {
      const Sums to = dq(h, i);
      clear(to.data, to.row, rows, s().width);
    });
    for (int64_t key = 0; key < s().keys; key += t_.keys_at_once)
      meet_keys(key, std::min(t_.keys_at_once, s().keys - key), carefully);
    if constexpr (kOwnSums<T>)
      for_each_block([&](int64_t h, int64_t i, int64_t rows) {
        const Sums from = dq(h, i);
        narrow_rows(from.data, from.row, rows, s().width, a_.dq.at(b_, h, i), a_.dq.row);
      });
  }

  void meet_keys(int64_t key, int64_t size, bool carefully) {
    const int64_t of_k = t_.keys_at_once * s().width, of_v = t_.keys_at_once * s().value_width;
    W* const room = keys_room_.get();
    const auto after = [&](int64_t n) { return kOwnSums<T> ? room + n : nullptr; };
    const Rows<W> k = widened(a_.k, b_, kv_, key, size, s().width, room);
    const Rows<W> v = widened(a_.v, b_, kv_, key, size, s().value_width, after(of_k));
    const Sums dk = of_keys(a_.dk, key, s().width, after(of_k + of_v));
    const Sums dv = of_keys(a_.dv, key, s().value_width, after(2 * of_k + of_v));
    clear(dk.data, dk.row, size, s().width);
    clear(dv.data, dv.row, size, s().value_width);
    const Pieces<W> keys(k, size, s().width, size, true, t_.packs, t_.precision);
    const Pieces<W> values(v, size, s().value_width, size, true, t_.packs, t_.precision);
    const Pieces<W> key_rows(k, size, s().width, std::min(size, t_.values_at_once), false, t_.packs,
                             t_.precision);
    for_each_block([&](int64_t h, int64_t i, int64_t rows) {
      const int64_t seen = t_.seen(i, rows, key, size);
      if (seen > 0) meet(h, i, rows, key, seen, size, keys, values, key_rows, dk, dv, carefully);
    });
    if constexpr (kOwnSums<T>) {
      narrow_rows(dk.data, dk.row, size, s().width, a_.dk.at(b_, kv_, key), a_.dk.row);
      narrow_rows(dv.data, dv.row, size, s().value_width, a_.dv.at(b_, kv_, key), a_.dv.row);
    }
  }

  void meet(int64_t h, int64_t query, int64_t rows, int64_t key, int64_t seen, int64_t size,
            const Pieces<W>& keys, const Pieces<W>& values, const Pieces<W>& key_rows,
            const Sums& dk, const Sums& dv, bool carefully) {
    const int64_t row = t_.score_row;
    W *const weights = scores_.get(), *const grads = weights + t_.queries_at_once * row;
    W* const room = rows_room_.get();
    const Rows<W> q = widened(a_.q, b_, h, query, rows, s().width, room);
    const Rows<W> grad = widened(a_.grad, b_, h, query, rows, s().value_width,
                                 kOwnSums<T> ? room + t_.queries_at_once * s().width : nullptr);
    multiply_.rows(rows, seen, s().width, q, keys.rows(0), weights, row, keys.packed(0));
    multiply_.rows(rows, seen, s().value_width, grad, values.rows(0), grads, row, values.packed(0));
    const W* log_sums = a_.log_sums + (b_ * s().heads + h) * s().queries + query;
    kernels_.gradients(t_.block(b_, h, query, rows, key, seen, weights, room_.get()), grads,
                       log_sums, dots(h, query));
    const auto multiply = [&](const Product<W>& p) {
      if (carefully)
        multiply_what_is_seen(p);
      else
        multiply_(p);
    };
    multiply({seen,
              s().value_width,
              rows,
              {weights, 1, row},
              {grad.data, grad.row, 1},
              dv.data,
              dv.row,
              true});
    multiply({seen, s().width, rows, {grads, 1, row}, {q.data, q.row, 1}, dk.data, dk.row, true});
    const int64_t each = std::min(size, t_.values_at_once);
    const int64_t whole = std::min(size, ceil_div(seen, each) * each);
    if (whole > seen)
      for (int64_t i = 0; i < rows; ++i) std::fill_n(grads + i * row + seen, whole - seen, W(0));
    const Sums to = dq(h, query);
    for (int64_t j = 0; j < whole; j += each) {
      const Rows<W> k = key_rows.rows(j);
      multiply({rows,
                s().width,
                std::min(each, whole - j),
                {grads + j, row, 1},
                {k.data, k.row, 1},
                to.data,
                to.row,
                true,
                key_rows.packed(j)});
    }
  }

  bool all_finite() {
    bool all = true;
    if constexpr (kOwnSums<T>) {
      const auto check = [&](const HeadRows<T>& x, int64_t h, int64_t rows, int64_t cols) {
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < cols; ++j)
            all &= static_cast<bool>(std::isfinite(to_float(x.at(b_, h, i)[j])));
      };
      check(a_.dk, kv_, s().keys, s().width);
      check(a_.dv, kv_, s().keys, s().value_width);
      for (int64_t h = kv_ * t_.group; h < (kv_ + 1) * t_.group; ++h)
        check(a_.dq, h, s().queries, s().width);
    } else {
      all = kernels_.finite(a_.dk.at(b_, kv_, 0), a_.dk.row, s().keys, s().width) &&
            kernels_.finite(a_.dv.at(b_, kv_, 0), a_.dv.row, s().keys, s().value_width);
      for (int64_t h = kv_ * t_.group; h < (kv_ + 1) * t_.group; ++h)
        all = all && kernels_.finite(a_.dq.at(b_, h, 0), a_.dq.row, s().queries, s().width);
    }
    return all;
  }

  const Setting<T>& t_;
  const AttentionBackward<T>& a_;
  const AttentionTable<W>& kernels_;
  const int64_t b_, kv_;
  Multiplier<W> multiply_{t_.precision};
  const Scratch<W> scores_, room_, dots_, rows_room_, keys_room_, dq_;
};

// --- Calls ---

// A forward pass, cut in tasks: pieces of the keys where queries are few, else runs of queries.
template <class T>
class ForwardCall {
 public:
  ForwardCall(const AttentionForward<T>& args, const AttentionKernels& kernels,
              const AttentionTable<Wide<T>>& table)
      : a_(args), kernels_(table), setting_{args.shape, args.rule, args.dropout} {
    const AttentionShape& s = args.shape;
    if (decodes(s)) {
      decode_.emplace(setting_, a_, table, few_table<T>(kernels));
      return;
    }
    const int64_t heads = s.batch * s.kv_heads;
    parts_ = std::clamp<int64_t>(ceil_div(kTasks, std::max<int64_t>(heads, 1)), 1,
                                 std::max<int64_t>(1, ceil_div(s.queries, kTaskQueries)));
    each_ = ceil_div(ceil_div(s.queries, parts_), kQueries) * kQueries;
  }

  int64_t tasks() const {
    return decode_ ? decode_->tasks() : a_.shape.batch * a_.shape.kv_heads * parts_;
  }
  void run(int64_t task) const {
    if (decode_) return decode_->run(task);
    const AttentionShape& s = a_.shape;
    const int64_t head = task / parts_, begin = task % parts_ * each_;
    const int64_t end = std::min(s.queries, begin + each_);
    if (begin < end)
      ForwardTask<T>(setting_, a_, kernels_, head / s.kv_heads, head % s.kv_heads, begin, end)
          .run();
  }
  int64_t merges() const { return decode_ ? decode_->heads() : 0; }
  void merge(int64_t head) const { decode_->merge(head); }

 private:
  const AttentionForward<T>& a_;
  const AttentionTable<Wide<T>>& kernels_;
  const Setting<T> setting_;
  std::optional<Decode<T>> decode_;
  int64_t parts_ = 0, each_ = 0;
};

// body(calls[c], i) for each i below tasks(calls[c]), in one go.
template <class Calls, class Tasks, class Body>
void for_each_task(const Calls& calls, int64_t count, double cost_ns, Tasks tasks, Body body) {
  std::vector<int64_t> ends;
  for (int64_t c = 0; c < count; ++c) ends.push_back((c == 0 ? 0 : ends.back()) + tasks(calls[c]));
  parallel_for(count == 0 ? 0 : ends.back(), cost_ns, [&](int64_t task) {
    const auto c = std::upper_bound(ends.begin(), ends.end(), task) - ends.begin();
    body(calls[c], task - (c == 0 ? 0 : ends[c - 1]));
  });
}

template <class T, class Call>
double whole_cost_ns(const Call* calls, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += attention_cost_ns<T>(calls[i].shape);
  return sum;
}

}  // namespace

template <class T>
double attention_cost_ns(const AttentionShape& s) {
  if (decodes(s)) return decode_cost_ns<T>(s);
  const auto n = [](int64_t x) { return static_cast<double>(x); };
  return n(s.batch) * n(s.heads) * n(s.queries) *
         (n(s.keys) * (n(s.width + s.value_width) / 60 + 0.2) + n(s.width + s.value_width) / 4);
}

template <class T>
void attention_forward(const AttentionForward<T>* args, int64_t count) {
  std::deque<ForwardCall<T>> calls;
  for (int64_t i = 0; i < count; ++i)
    calls.emplace_back(args[i], *g_variants.best().table, g_variants.of<Wide<T>>());
  const double cost = whole_cost_ns<T>(args, count);
  for_each_task(
      calls, count, cost, [](const auto& call) { return call.tasks(); },
      [](const auto& call, int64_t task) { call.run(task); });
  for_each_task(
      calls, count, cost / kPieceKeys, [](const auto& call) { return call.merges(); },
      [](const auto& call, int64_t head) { call.merge(head); });
}

template <class T>
void attention_backward(const AttentionBackward<T>* args, int64_t count) {
  const auto& kernels = g_variants.of<Wide<T>>();
  for_each_task(
      args, count, 3 * whole_cost_ns<T>(args, count),
      [](const auto& a) { return a.shape.batch * a.shape.kv_heads; },
      [&](const auto& a, int64_t head) {
        const Setting<T> setting{a.shape, a.rule, a.dropout};
        BackwardTask<T>(setting, a, kernels, head / a.shape.kv_heads, head % a.shape.kv_heads)
            .run();
      });
}

#define TW_INSTANTIATE(T)                                               \
  template double attention_cost_ns<T>(const AttentionShape&);          \
  template void attention_forward(const AttentionForward<T>*, int64_t); \
  template void attention_backward(const AttentionBackward<T>*, int64_t);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
TW_INSTANTIATE(bfloat16)
#undef TW_INSTANTIATE

}  // namespace tilework
