// Losses for every vector width. Included by the ISA files alone.
//
// Cross entropy reads the logits once in each direction and keeps two numbers a row: the softmax
// is never stored.
#pragma once

#include "kernels/loss/loss.h"
#include "kernels/softmax/row_stats.h"

namespace tilework::TW_ISA {
namespace loss {

// -(sum over classes of weight * log-probability): what smoothing shares out among the labels.
template <class T>
TW_INLINE T smooth_loss(const CrossEntropyArgs<T>& args, const T* x, T top, T log_sum) {
  const Vec<T> vtop(top), vlog_sum(log_sum);
  return -fold_add<T>(args.classes, [&](Vec<T> acc, int64_t c, auto lanes) TW_INLINE_LAMBDA {
    Vec<T> log_p = (lanes.load(x + c) - vtop) - vlog_sum;
    if (args.weight) log_p *= lanes.load(args.weight + c);
    return acc + lanes.keep(log_p, Vec<T>::zero());
  });
}

template <class T>
void cross_entropy_forward(const CrossEntropyArgs<T>& args, int64_t begin, int64_t end, T* losses,
                           T* saved) {
  T* tops = saved;
  T* log_sums = saved + args.rows;
  for (int64_t r = begin; r < end; ++r) {
    const RowStats<T> stats = row_stats(args.logits + r * args.row_stride, args.classes);
    tops[r] = stats.max;
    log_sums[r] = stats.sum;
  }
  // Logarithms a vector at a time.
  sweep<T>(end - begin, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    T* at = log_sums + begin + i;
    lanes.store(at, log(lanes.load(at)));
  });
  const T smooth = T(args.label_smoothing), share = smooth / T(args.classes);
  for (int64_t r = begin; r < end; ++r) {
    const int64_t label = args.target[r];
    losses[r] = 0;
    if (label == args.ignore_index) continue;
    const T* x = args.logits + r * args.row_stride;
    const T weight = args.weight ? args.weight[label] : T(1);
    losses[r] = weight * (log_sums[r] - (x[label] - tops[r]));
    if (smooth > 0)
      losses[r] = (1 - smooth) * losses[r] + share * smooth_loss(args, x, tops[r], log_sums[r]);
  }
}

// One row's gradient: slope * probability - share * weight of the class, and at_label less at the
// label.
template <class T>
struct RowGradient {
  T slope, share, at_label;
};

template <class T, bool kSmooth, bool kStream>
void write_gradient(const CrossEntropyArgs<T>& args, const T* x, T top, T log_sum,
                    const RowGradient<T>& g, T* dx) {
  const Vec<T> vtop(top), vlog_sum(log_sum), slope(g.slope), share(g.share);
  sweep<T>(args.classes, [&](int64_t c, auto lanes) TW_INLINE_LAMBDA {
    Vec<T> v = exp_or_zero((lanes.load(x + c) - vtop) - vlog_sum) * slope;
    if constexpr (kSmooth) v -= args.weight ? share * lanes.load(args.weight + c) : share;
    if constexpr (kStream)
      v.stream(dx + c);
    else
      lanes.store(dx + c, v);
  });
}

template <class T>
void cross_entropy_backward(const CrossEntropyArgs<T>& args, const CrossEntropyGradient<T>& g,
                            int64_t begin, int64_t end, const T* saved, T* dx) {
  const T smooth = T(args.label_smoothing), share = smooth / T(args.classes);
  const auto write =
      smooth > 0 ? (g.stream ? write_gradient<T, true, true> : write_gradient<T, true, false>)
                 : (g.stream ? write_gradient<T, false, true> : write_gradient<T, false, false>);
  for (int64_t r = begin; r < end; ++r) {
    T* row = dx + r * args.classes;
    const int64_t label = args.target[r];
    if (label == args.ignore_index) {
      sweep<T>(args.classes, [&](int64_t c, auto lanes)
                                 TW_INLINE_LAMBDA { lanes.store(row + c, Vec<T>::zero()); });
      continue;
    }
    const T scale = g.scale * g.grad[r * g.grad_stride];
    const T at_label = scale * (1 - smooth) * (args.weight ? args.weight[label] : T(1));
    write(args, args.logits + r * args.row_stride, saved[r], saved[args.rows + r],
          {at_label + scale * share * g.weight_sum, scale * share, at_label}, row);
    row[label] -= at_label;
  }
  if (g.stream) stream_fence();
}

// Of d = a - b: a loss, and its derivative, each without a cancellation and within d's own range.
struct Square {
  template <class T>
  static TW_INLINE Vec<T> loss(Vec<T> d, Vec<T>) {
    return d * d;
  }
  template <class T>
  static TW_INLINE Vec<T> slope(Vec<T> d, Vec<T>) {
    return d + d;
  }
};
struct Absolute {
  template <class T>
  static TW_INLINE Vec<T> loss(Vec<T> d, Vec<T>) {
    return abs(d);
  }
  template <class T>
  static TW_INLINE Vec<T> slope(Vec<T> d, Vec<T>) {
    return select(abs(d) > Vec<T>::zero(), copysign(Vec<T>(T(1)), d), d);
  }
};
struct Huber {
  template <class T>
  static TW_INLINE Vec<T> loss(Vec<T> d, Vec<T> limit) {
    const Vec<T> size = abs(d), half(T(0.5));
    return select(size < limit, half * d * d, limit * (size - half * limit));
  }
  template <class T>
  static TW_INLINE Vec<T> slope(Vec<T> d, Vec<T> limit) {
    return max(-limit, min(limit, d));  // in this order NaN stays
  }
};
// Huber's over its limit.
struct Smooth {
  template <class T>
  static TW_INLINE Vec<T> loss(Vec<T> d, Vec<T> limit) {
    const Vec<T> size = abs(d), half(T(0.5));
    return select(size < limit, half * d * (d / limit), size - half * limit);
  }
  template <class T>
  static TW_INLINE Vec<T> slope(Vec<T> d, Vec<T> limit) {
    return max(Vec<T>(T(-1)), min(Vec<T>(T(1)), d / limit));
  }
};

template <class T, class Loss>
T distance_sum(const T* a, const T* b, int64_t n, T limit) {
  return fold_add<T>(n, [&](Vec<T> acc, int64_t i, auto lanes) TW_INLINE_LAMBDA {
    return acc + Loss::loss(lanes.load(a + i) - lanes.load(b + i), Vec<T>(limit));
  });
}

template <class T, class Loss>
void distances(const T* a, const T* b, int64_t n, T limit, T* out) {
  sweep<T>(n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    lanes.store(out + i, Loss::loss(lanes.load(a + i) - lanes.load(b + i), Vec<T>(limit)));
  });
}

// kEach: every element has a gradient of its own.
template <class T, class Loss, bool kEach>
void distance_gradient(const T* a, const T* b, int64_t n, T limit, T scale, const T* grad, T* dx) {
  const Vec<T> factor(kEach ? scale : scale * *grad);
  sweep<T>(n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    Vec<T> d = Loss::slope(lanes.load(a + i) - lanes.load(b + i), Vec<T>(limit)) * factor;
    if constexpr (kEach) d *= lanes.load(grad + i);
    lanes.store(dx + i, d);
  });
}

template <class T, class Loss>
constexpr DistanceTable<T> distance_table() {
  return {distance_sum<T, Loss>,
          distances<T, Loss>,
          {distance_gradient<T, Loss, false>, distance_gradient<T, Loss, true>}};
}

template <class T>
constexpr LossTable<T> table() {
  return {cross_entropy_forward<T>,
          cross_entropy_backward<T>,
          {distance_table<T, Square>(), distance_table<T, Absolute>(), distance_table<T, Huber>(),
           distance_table<T, Smooth>()}};
}

}  // namespace loss

extern const LossKernels loss_kernels;
const LossKernels loss_kernels = {loss::table<float>(), loss::table<double>()};

}  // namespace tilework::TW_ISA
