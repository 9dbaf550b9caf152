// What softmax and cross entropy need to know of a row: its maximum, and the sum of e^(x -
// maximum).
//
// One exponential an element and one pass over memory: the row is taken in blocks that stay in L1
// for their second reading, and the sum so far is rescaled when a block raises the maximum.
#pragma once

#include "simd/math.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {

template <class T>
struct RowLimits;
template <>
struct RowLimits<float> {
  static constexpr float lowest = -0x1.fffffep+127f, infinity = __builtin_huge_valf();
  static constexpr float exp_normal = -87.33f;  // just above the logarithm of the smallest normal
};
template <>
struct RowLimits<double> {
  static constexpr double lowest = -0x1.fffffffffffffp+1023, infinity = __builtin_huge_val();
  static constexpr double exp_normal = -708.39;
};

// e^d for d <= 0, and zero where that would be denormal: a denormal result takes the core 150
// cycles of microcode, and every masked element, -Inf, would make one on its way to zero.
template <class T>
TW_INLINE Vec<T> exp_or_zero(Vec<T> d) {
  const Vec<T> floor(RowLimits<T>::exp_normal);
  const ExpParts<T> e = exp_parts(max(floor, d));
  return select(d < floor, Vec<T>::zero(), scale_normal(e.tail + Vec<T>(T(1)), e.n));
}

template <class T>
struct RowStats {
  // Never below the lowest finite number, so that x - max is -Inf and not NaN where x is -Inf.
  // Lanes may lose a NaN here: it comes back through the sum.
  T max;
  T sum;
};

// The largest of x[0..n), under the rule of RowStats::max.
template <class T>
TW_INLINE T row_max(const T* x, int64_t n) {
  const Vec<T> lowest(RowLimits<T>::lowest);
  return reduce_max(fold<T>(
      n, lowest,
      [&](Vec<T> acc, int64_t i, auto lanes)
          TW_INLINE_LAMBDA { return max(lanes.load_or(x + i, lowest), acc); },
      [](Vec<T> a, Vec<T> b) TW_INLINE_LAMBDA { return max(a, b); }));
}

// Elements that a running sum takes before it joins the others: a longer chain would drift.
inline constexpr int64_t kRowBlock = 2048;

// The sum of e^below(x), below giving how far x is from the maximum; each term is given to
// keep(i, lanes, term) too. One chain is enough: the exponential takes longer than the addition.
template <class T, class Below, class Keep>
TW_INLINE Vec<T> sum_exp(const T* x, int64_t n, Below below, Keep keep) {
  Vec<T> total = Vec<T>::zero();
  for (int64_t begin = 0; begin < n; begin += kRowBlock) {
    const int64_t size = n - begin < kRowBlock ? n - begin : kRowBlock;
    Vec<T> sum = Vec<T>::zero();
    sweep<T>(size, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
      const Vec<T> d = below(lanes.load(x + begin + i));
      const Vec<T> term = lanes.keep(exp_or_zero(d), Vec<T>::zero());
      keep(begin + i, lanes, term);
      sum += term;
    });
    total += sum;
  }
  return total;
}

template <class T>
TW_INLINE auto below_top(T top) {
  return [top](Vec<T> x) TW_INLINE_LAMBDA { return x - Vec<T>(top); };
}

template <class T>
TW_INLINE RowStats<T> row_stats(const T* x, int64_t n) {
  const auto ignore = [](int64_t, auto, Vec<T>) TW_INLINE_LAMBDA {};
  T top = RowLimits<T>::lowest;
  Vec<T> sum = Vec<T>::zero();
  for (int64_t begin = 0; begin < n; begin += kRowBlock) {
    const int64_t size = n - begin < kRowBlock ? n - begin : kRowBlock;
    const T block_top = row_max(x + begin, size);
    if (block_top > top) {
      if (begin > 0) sum *= exp_or_zero(Vec<T>(top - block_top));
      top = block_top;
    }
    sum += sum_exp(x + begin, size, below_top(top), ignore);
  }
  return {top, reduce_add(sum)};
}

// The logarithm of one number, by the arithmetic that vectors of them get.
template <class T>
TW_INLINE T scalar_log(T x) {
  T lanes[Vec<T>::width];
  log(Vec<T>(x)).store(lanes);
  return lanes[0];
}

}  // namespace tilework::TW_ISA
