// CTC for every vector width. Included by the ISA files alone.
//
// The states of an alignment are a blank, a label, a blank, and so on to a blank. Blanks and labels
// lie in two rows, so that a step from all states to all reads whole vectors and two thirds of the
// exponentials are those of labels; one number a step is gathered for each label. Sums are taken of
// logarithms, since a path that is 10^-300 at one step may be the only one at the end. Each step is
// measured against the largest of the step before: what float32 loses is lost near zero, not at a
// length's sum of logarithms.
#pragma once

#include "kernels/sequence/sequence.h"
#include "kernels/softmax/row_stats.h"

namespace tilework::TW_ISA {
namespace sequence {

// log(e^a + e^b), -Inf where both are; NaN where one is.
template <class T>
TW_INLINE Vec<T> log_add(Vec<T> a, Vec<T> b) {
  const Vec<T> top = max_nan(a, b), base = max(Vec<T>(RowLimits<T>::lowest), top);
  const Vec<T> sum = Vec<T>(T(1)) + exp_or_zero(min(a, b) - base);
  return top + log_of_parts(log_parts<T, false>(sum));
}

// The same of three: the two that are not the largest.
template <class T>
TW_INLINE Vec<T> log_add(Vec<T> a, Vec<T> b, Vec<T> c) {
  const Vec<T> high = max_nan(a, b), top = max_nan(high, c);
  const Vec<T> base = max(Vec<T>(RowLimits<T>::lowest), top);
  const Vec<T> rest = exp_or_zero(min(a, b) - base) + exp_or_zero(min(high, c) - base);
  const Vec<T> sum = Vec<T>(T(1)) + rest;
  return top + log_of_parts(log_parts<T, false>(sum));
}

// The two rows of one step, of count + 1 numbers each.
template <class T>
struct States {
  T *labels, *blanks;
};
template <class T>
TW_INLINE States<T> states_at(T* row, int64_t count) {
  return {row, row + count + 1};
}

// What the next step is measured against, of the largest of this one.
template <class T>
TW_INLINE T shift_of(T top) {
  return top > RowLimits<T>::lowest ? top : T(0);
}

// 0 where label j may follow label j - 1 without a blank between, else -Inf. skip[count] is -Inf.
template <class T>
void find_skips(const CtcSequence<T>& q, T* skip) {
  for (int64_t j = 0; j < q.count; ++j)
    skip[j] = j > 0 && q.labels[j] != q.labels[j - 1] ? T(0) : -RowLimits<T>::infinity;
  skip[q.count] = -RowLimits<T>::infinity;
}

// A label a step at most: the first label from which the last can still be reached after step t.
// States before it would only be what others are measured against.
template <class T>
TW_INLINE int64_t first_useful(const CtcSequence<T>& q, int64_t t) {
  const int64_t first = q.count - (q.steps - t);
  return first > 0 ? first : 0;
}

template <class T>
TW_INLINE void gather(const CtcSequence<T>& q, const T* x, int64_t first, T shift, T* emitted) {
  for (int64_t j = first; j < q.count; ++j) emitted[j] = x[q.labels[j]] - shift;
}

template <class T>
void clear(T* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = -RowLimits<T>::infinity;
}

// One step forward, in which label j stands at j + 1 and -Inf before the first; gives the largest.
template <class T>
T advance(const CtcSequence<T>& q, int64_t first, States<T> from, const T* skip, const T* emitted,
          T blank, States<T> to) {
  Vec<T> top(RowLimits<T>::lowest);
  const Vec<T> lowest = top;
  const auto widest = [&](Vec<T> v, auto lanes)
                          TW_INLINE_LAMBDA { top = max(lanes.keep(v, lowest), top); };
  sweep<T>(q.count + 1 - first, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const int64_t j = first + i;
    const Vec<T> v =
        log_add(lanes.load(from.blanks + j), lanes.load(from.labels + j)) + Vec<T>(blank);
    lanes.store(to.blanks + j, v);
    widest(v, lanes);
  });
  sweep<T>(q.count - first, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const int64_t j = first + i;
    const Vec<T> v = log_add(lanes.load(from.labels + j + 1), lanes.load(from.blanks + j),
                             lanes.load(from.labels + j) + lanes.load(skip + j)) +
                     lanes.load(emitted + j);
    lanes.store(to.labels + j + 1, v);
    widest(v, lanes);
  });
  return reduce_max(top);
}

// Saves, for each step, the logarithm of what leads to each state, but for a number that is the
// step's own.
template <class T>
T ctc_forward(const CtcSequence<T>& q, T* saved, T* scratch) {
  T *skip = scratch, *emitted = scratch + q.count + 1;
  find_skips(q, skip);
  clear(saved, q.saved_row);
  States<T> now = states_at(saved, q.count);
  now.blanks[0] = q.log_probs[q.blank];
  if (q.count > 0) now.labels[1] = q.log_probs[q.labels[0]];
  const bool label_leads = q.count > 0 && now.labels[1] > now.blanks[0];
  T shift = shift_of(label_leads ? now.labels[1] : now.blanks[0]);
  double away = 0;
  for (int64_t t = 1; t < q.steps; ++t) {
    const T* x = q.log_probs + t * q.step_stride;
    const int64_t first = first_useful(q, t);
    const States<T> next = states_at(saved + t * q.saved_row, q.count);
    clear(next.labels, first + 1);
    clear(next.blanks, first);
    clear(next.blanks + q.count + 1, q.saved_row - 2 * (q.count + 1));
    gather(q, x, first, shift, emitted);
    away += static_cast<double>(shift);
    shift = shift_of(advance(q, first, now, skip, emitted, x[q.blank] - shift, next));
    now = next;
  }
  T last[Vec<T>::width];
  log_add(Vec<T>(now.blanks[q.count]), Vec<T>(now.labels[q.count])).store(last);
  return static_cast<T>(-(away + static_cast<double>(last[0])));
}

// One step back: from what follows each state after a step to what follows it from the step before
// on, label j at j and -Inf behind the last; gives the largest. `after` and `before` may be one.
template <class T>
T retreat(const CtcSequence<T>& q, States<T> after, const T* skip, const T* emitted, T blank,
          States<T> with, States<T> before) {
  const int64_t n = q.count;
  sweep<T>(n + 1, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
    lanes.store(with.blanks + j, lanes.load(after.blanks + j) + Vec<T>(blank));
  });
  sweep<T>(n, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
    lanes.store(with.labels + j, lanes.load(after.labels + j) + lanes.load(emitted + j));
  });
  Vec<T> top(RowLimits<T>::lowest);
  const Vec<T> lowest = top;
  sweep<T>(n + 1, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> v = log_add(lanes.load(with.blanks + j), lanes.load(with.labels + j));
    lanes.store(before.blanks + j, v);
    top = max(lanes.keep(v, lowest), top);
  });
  sweep<T>(n, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> v = log_add(lanes.load(with.labels + j), lanes.load(with.blanks + j + 1),
                             lanes.load(with.labels + j + 1) + lanes.load(skip + j + 1));
    lanes.store(before.labels + j, v);
    top = max(lanes.keep(v, lowest), top);
  });
  return reduce_max(top);
}

// How much of the alignments is in each label at a step, into `share`, and in blanks, which is
// returned: all of them are 1.
template <class T>
T shares(const CtcSequence<T>& q, int64_t first, States<const T> to_here, States<T> from_here,
         T* share) {
  const Vec<T> lowest(RowLimits<T>::lowest);
  Vec<T> tops = lowest;
  const auto widest = [&](const T* a, const T* b, int64_t n) TW_INLINE_LAMBDA {
    sweep<T>(n, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
      tops = max(lanes.keep(lanes.load(a + j) + lanes.load(b + j), lowest), tops);
    });
  };
  const int64_t count = q.count - first;
  widest(to_here.blanks + first, from_here.blanks + first, count + 1);
  widest(to_here.labels + first + 1, from_here.labels + first, count);
  const Vec<T> top(reduce_max(tops));
  Vec<T> labels = Vec<T>::zero(), blanks = Vec<T>::zero();
  sweep<T>(count + 1, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const int64_t j = first + i;
    const Vec<T> e =
        exp_or_zero(lanes.load(to_here.blanks + j) + lanes.load(from_here.blanks + j) - top);
    blanks += lanes.keep(e, Vec<T>::zero());
  });
  sweep<T>(count, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const int64_t j = first + i;
    const Vec<T> e =
        exp_or_zero(lanes.load(to_here.labels + j + 1) + lanes.load(from_here.labels + j) - top);
    lanes.store(share + j, e);
    labels += lanes.keep(e, Vec<T>::zero());
  });
  const T of_blanks = reduce_add(blanks), all = of_blanks + reduce_add(labels);
  sweep<T>(count, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    T* at = share + first + i;
    lanes.store(at, lanes.load(at) / Vec<T>(all));
  });
  return of_blanks / all;
}

template <class T>
void ctc_backward(const CtcSequence<T>& q, T grad, const T* saved, T* scratch, T* dx,
                  int64_t dx_stride) {
  const int64_t n = q.count + 1;
  T *skip = scratch, *emitted = scratch + n;
  const States<T> with = states_at(scratch + 2 * n, q.count);
  const States<T> from_here = states_at(scratch + 4 * n, q.count);
  find_skips(q, skip);
  clear(scratch + 2 * n, 4 * n);
  from_here.blanks[q.count] = 0;
  if (q.count > 0) from_here.labels[q.count - 1] = 0;
  T shift = 0;
  for (int64_t t = q.steps - 1; t >= 0; --t) {
    const T* x = q.log_probs + t * q.step_stride;
    if (t < q.steps - 1) {
      const T* later = x + q.step_stride;
      gather(q, later, 0, shift, emitted);
      shift =
          shift_of(retreat(q, from_here, skip, emitted, later[q.blank] - shift, with, from_here));
    }
    const int64_t first = first_useful(q, t);
    const States<const T> to_here = states_at(saved + t * q.saved_row, q.count);
    const T blanks = shares(q, first, to_here, from_here, emitted);
    T* row = dx + t * dx_stride;
    sweep<T>(q.symbols, [&](int64_t c, auto lanes) TW_INLINE_LAMBDA {
      lanes.store(row + c, exp_or_zero(lanes.load(x + c)) * Vec<T>(grad));
    });
    row[q.blank] -= grad * blanks;
    for (int64_t j = first; j < q.count; ++j) row[q.labels[j]] -= grad * emitted[j];
  }
}

template <class T>
constexpr SequenceTable<T> table() {
  return {ctc_forward<T>, ctc_backward<T>};
}

}  // namespace sequence

extern const SequenceKernels sequence_kernels;
const SequenceKernels sequence_kernels = {sequence::table<float>(), sequence::table<double>()};

}  // namespace tilework::TW_ISA
