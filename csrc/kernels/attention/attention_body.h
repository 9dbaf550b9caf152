// What attention does to a block of scores, at any vector width. A row is short enough to stay in
// L1 for its passes.
#pragma once

#include "base/random_words.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/decode_body.h"
#include "kernels/softmax/row_stats.h"
#include "simd/philox_vec.h"

namespace tilework::TW_ISA {
namespace attention {

// The keys of a block that one of its rows may see: [begin, end).
struct Span {
  int64_t begin, end;

  template <class W>
  TW_INLINE Span(const ScoreBlock<W>& b, int64_t i) {
    const int64_t beside = b.query + i + b.diagonal - b.key;
    begin = within(beside - b.left, 0, b.keys);
    end = within(beside + b.right + 1, begin, b.keys);
  }
  TW_INLINE int64_t size() const { return end - begin; }

 private:
  static TW_INLINE int64_t within(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
  }
};

template <class W>
TW_INLINE void fill(W* x, int64_t n, W value) {
  sweep<W>(n, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA { lanes.store(x + j, Vec<W>(value)); });
}

template <class W>
TW_INLINE void fill_outside(W* x, const Span& seen, int64_t n) {
  fill<W>(x, seen.begin, 0);
  fill<W>(x + seen.end, n - seen.end, 0);
}

alignas(64) inline constexpr float kCount32[] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                 8, 9, 10, 11, 12, 13, 14, 15};
alignas(64) inline constexpr double kCount64[] = {0, 1, 2, 3, 4, 5, 6, 7};
TW_INLINE Vec<float> counting(float) { return Vec<float>::load(kCount32); }
TW_INLINE Vec<double> counting(double) { return Vec<double>::load(kCount64); }

// The rule on one row.
template <class W>
struct RowRule {
  const ScoreBlock<W>& b;
  const W* bias;
  W first;  // how far key 0 of the block is from the diagonal
  bool plain;

  TW_INLINE RowRule(const ScoreBlock<W>& block, int64_t i)
      : b(block),
        bias(block.bias ? block.bias + i * block.bias_row : nullptr),
        first(static_cast<W>(block.key - block.query - i - block.diagonal)),
        plain(block.softcap == 0 && block.slope == 0 && !block.bias) {}

  // `capped` gets softcap * tanh(...), where there is one.
  template <class Lanes>
  TW_INLINE Vec<W> operator()(Vec<W> product, int64_t j, Lanes lanes, Vec<W>& capped) const {
    Vec<W> s = product * Vec<W>(b.scale);
    if (plain) return s;
    if (b.softcap != 0) capped = s = Vec<W>(b.softcap) * tanh(s / Vec<W>(b.softcap));
    if (b.slope != 0) s += Vec<W>(b.slope) * (Vec<W>(first + static_cast<W>(j)) + counting(W{}));
    if (bias) {
      const Vec<W> more = b.bias_col ? lanes.load(bias + j) : Vec<W>(*bias);
      const Vec<W> hidden(-RowLimits<W>::infinity);
      s = select(more == hidden, hidden, s + more);
    }
    return s;
  }
};

// factors[j]: what dropout multiplies weight j of row i by.
template <class W>
void keep_factors(const ScoreBlock<W>& b, int64_t i, W* factors) {
  const uint64_t position = b.position + static_cast<uint64_t>(i) * b.position_row;
  uint32_t words[kPhiloxStep];
  for (int64_t j = -static_cast<int64_t>(position % 4); j < b.keys; j += kPhiloxStep) {
    philox_step(b.seed, b.call, position + static_cast<uint64_t>(j), words);
    const int64_t from = j < 0 ? -j : 0;
    const int64_t to = b.keys - j < kPhiloxStep ? b.keys - j : kPhiloxStep;
    for (int64_t w = from; w < to; ++w)
      factors[j + w] = dropout_keeps(words[w], b.threshold) ? b.kept : W(0);
  }
}

template <class W>
TW_INLINE Vec<W> dropped(Vec<W> x, Vec<W> factor) {
  return select(factor == Vec<W>::zero(), Vec<W>::zero(), x * factor);
}

template <class W>
TW_INLINE W exp_of(W x) {
  W lanes[Vec<W>::width];
  exp_or_zero(Vec<W>(x)).store(lanes);
  return lanes[0];
}

// The largest of f(j, lanes), j in [0, n), under the rule of RowStats::max.
template <class W, class F>
TW_INLINE W largest_of(int64_t n, F f) {
  const Vec<W> lowest(RowLimits<W>::lowest);
  return reduce_max(fold<W>(
      n, lowest,
      [&](Vec<W> acc, int64_t j, auto lanes)
          TW_INLINE_LAMBDA { return max(lanes.keep(f(j, lanes), lowest), acc); },
      [](Vec<W> a, Vec<W> c) TW_INLINE_LAMBDA { return max(a, c); }));
}

// Under a plain rule the products stay as they are, and are scaled where they become weights.
template <class W>
TW_INLINE W largest_product(const W* x, int64_t n, W scale) {
  return largest_of<W>(
      n, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA { return lanes.load(x + j) * Vec<W>(scale); });
}

// Products from key `begin` of the block on become scores; the largest.
template <class W>
TW_INLINE W apply(const RowRule<W>& rule, W* x, int64_t begin, int64_t n) {
  return largest_of<W>(n, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
    Vec<W> capped = Vec<W>::zero();
    const Vec<W> s = rule(lanes.load(x + j), begin + j, lanes, capped);
    lanes.store(x + j, s);
    return s;
  });
}

template <class W>
void weights_of_row(const ScoreBlock<W>& b, int64_t i, W& top, W& sum, W& factor) {
  W* const scores = b.scores + i * b.row;
  const Span seen(b, i);
  const RowRule<W> rule(b, i);
  W* const x = scores + seen.begin;
  const W largest = rule.plain ? largest_product(x, seen.size(), b.scale)
                               : apply(rule, x, seen.begin, seen.size());
  const W before = top;
  if (largest > top) top = largest;
  factor = before == top ? W(1) : exp_of(before - top);
  const Vec<W> scale(rule.plain ? b.scale : W(1)), least(-top);
  const Vec<W> more = sum_exp(
      x, seen.size(), [&](Vec<W> s) TW_INLINE_LAMBDA { return fma(s, scale, least); },
      [&](int64_t j, auto lanes, Vec<W> weight) TW_INLINE_LAMBDA { lanes.store(x + j, weight); });
  sum = sum * factor + reduce_add(more);
  fill_outside(scores, seen, b.keys);
  if (!b.drops) return;
  keep_factors(b, i, b.room);
  sweep<W>(b.keys, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
    lanes.store(scores + j, dropped(lanes.load(scores + j), lanes.load(b.room + j)));
  });
}

template <class W>
void weights(const ScoreBlock<W>& b, W* top, W* sum, W* factor) {
  for (int64_t i = 0; i < b.rows; ++i) weights_of_row(b, i, top[i], sum[i], factor[i]);
}

template <class W>
void gradients_of_row(const ScoreBlock<W>& b, int64_t i, W* grads, W log_sum, W dot) {
  W* const scores = b.scores + i * b.row;
  if (log_sum == -RowLimits<W>::infinity) {
    fill<W>(scores, b.keys, 0);
    fill<W>(grads, b.keys, 0);
    return;
  }
  const Span seen(b, i);
  const RowRule<W> rule(b, i);
  if (b.drops) keep_factors(b, i, b.room);
  sweep<W>(seen.size(), [&](int64_t k, auto lanes) TW_INLINE_LAMBDA {
    const int64_t j = seen.begin + k;
    Vec<W> capped = Vec<W>::zero();
    const Vec<W> s = rule(lanes.load(scores + j), j, lanes, capped);
    Vec<W> weight = exp_or_zero(s - Vec<W>(log_sum)), grad = lanes.load(grads + j);
    const Mask<W> none = weight == Vec<W>::zero();
    Vec<W> chain = weight * Vec<W>(b.scale);
    if (b.softcap != 0) {
      const Vec<W> t = capped / Vec<W>(b.softcap);
      chain *= fnma(t, t, Vec<W>(W(1)));
    }
    if (b.drops) {
      const Vec<W> kept = lanes.load(b.room + j);
      weight = dropped(weight, kept);
      grad = dropped(grad, kept);
    }
    lanes.store(scores + j, weight);
    lanes.store(grads + j, select(none, Vec<W>::zero(), chain * (grad - Vec<W>(dot))));
  });
  fill_outside(scores, seen, b.keys);
  fill_outside(grads, seen, b.keys);
}

template <class W>
void gradients(const ScoreBlock<W>& b, W* grads, const W* log_sums, const W* dots) {
  for (int64_t i = 0; i < b.rows; ++i)
    gradients_of_row(b, i, grads + i * b.row, log_sums[i], dots[i]);
}

template <class W>
void scale_rows(W* x, int64_t row, int64_t rows, int64_t cols, const W* factor) {
  for (int64_t i = 0; i < rows; ++i, x += row) {
    const Vec<W> f(factor[i]);
    sweep<W>(cols, [&](int64_t j, auto lanes)
                       TW_INLINE_LAMBDA { lanes.store(x + j, lanes.load(x + j) * f); });
  }
}

template <class W>
void row_dots(const W* x, int64_t x_row, const W* y, int64_t y_row, int64_t rows, int64_t cols,
              W* sums) {
  for (int64_t i = 0; i < rows; ++i, x += x_row, y += y_row)
    sums[i] = fold_add<W>(cols, [&](Vec<W> acc, int64_t j, auto lanes) TW_INLINE_LAMBDA {
      return fma(lanes.load(x + j), lanes.load(y + j), acc);
    });
}

template <class W>
bool finite(const W* x, int64_t row, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows; ++i, x += row)
    if (fold_add<W>(cols, [&](Vec<W> acc, int64_t j, auto lanes) TW_INLINE_LAMBDA {
          return fma(lanes.load(x + j), Vec<W>::zero(), acc);
        }) != 0)
      return false;
  return true;
}

template <class W>
constexpr AttentionTable<W> table() {
  return {weights<W>, gradients<W>, scale_rows<W>, row_dots<W>, finite<W>};
}

}  // namespace attention

extern const AttentionKernels attention_kernels;
const AttentionKernels attention_kernels = {
    attention::table<float>(), attention::table<double>(), attention::few_table<float>(),
    attention::few_table<double>(), attention::few_table<bfloat16>()};

}  // namespace tilework::TW_ISA
