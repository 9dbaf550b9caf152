// Sums down runs and columns: moments for the forward pass, gradients' sums for the backward.
#pragma once

#include "kernels/norm/norm.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {
namespace norm {

// A block's elements are read twice, the second time from L1.
template <class T>
inline constexpr int64_t kBlock = 16384 / sizeof(T);

template <class T>
struct Pair {
  Vec<T> first, second;

  TW_INLINE void add(Pair other) {
    first += other.first;
    second += other.second;
  }
};

// The sum of term(i, lanes), a Pair, over [0, n), in chains that hide the latency of addition.
template <class T, class Term>
TW_INLINE Pair<T> sum_pairs(int64_t n, Term term) {
  constexpr int W = Vec<T>::width, kChains = 4;
  const Vec<T> zero = Vec<T>::zero();
  Pair<T> sum[kChains] = {{zero, zero}, {zero, zero}, {zero, zero}, {zero, zero}};
  int64_t i = 0;
  for (; i + kChains * W <= n; i += kChains * W) {
#pragma GCC unroll 4
    for (int k = 0; k < kChains; ++k) sum[k].add(term(i + k * W, WholeVector<T>{}));
  }
  for (; i + W <= n; i += W) sum[0].add(term(i, WholeVector<T>{}));
  if (i < n) sum[1].add(term(i, PartVector<T>{static_cast<int>(n - i)}));
  sum[0].add(sum[1]);
  sum[2].add(sum[3]);
  sum[0].add(sum[2]);
  return sum[0];
}

TW_INLINE void join(NormMoments& total, NormMoments part) {
  const double count = total.count + part.count, away = part.mean - total.mean;
  total.mean +=
      away - away == 0 ? away * (part.count / count) : part.mean;  // an infinity stays one
  total.m2 += part.m2 + away * away * (total.count * part.count / count);
  total.count = count;
}

// The gradient before relu: nothing flows where the output was cut.
template <bool kCut, class T, class Lanes>
TW_INLINE Vec<T> load_gradient(const T* grad, const T* y, Lanes lanes) {
  const Vec<T> g = lanes.load(grad);
  if constexpr (kCut)
    return select(lanes.load(y) <= Vec<T>::zero(), Vec<T>::zero(), g);
  else
    return g;
}

// --- one channel's runs ---

// Calls f(runs, offset, next) on pieces of at most kBlock elements: several short runs, or a part
// of one. The next piece begins `next` elements on.
template <class T, class F>
TW_INLINE void for_each_block(NormRuns runs, F f) {
  const int64_t count = runs.n >= kBlock<T> ? 1 : kBlock<T> / runs.n;
  for (int64_t k = 0; k < runs.count; k += count)
    for (int64_t i = 0; i < runs.n; i += kBlock<T>) {
      const bool last = runs.n - i <= kBlock<T>;
      f(NormRuns{runs.count - k < count ? runs.count - k : count, runs.stride,
                 last ? runs.n - i : kBlock<T>},
        k * runs.stride + i, last ? count * runs.stride - i : kBlock<T>);
    }
}

// Memory would idle while a block is read again: the next one is fetched meanwhile, or what lies
// past the array's end, of which nothing comes.
template <class T>
TW_INLINE void fetch(const T* p) {
  __builtin_prefetch(p);
}

template <class T>
TW_INLINE NormMoments block_moments(const T* x, NormRuns runs, int64_t next) {
  const double count = static_cast<double>(runs.count * runs.n);
  Vec<T> sum = Vec<T>::zero();
  for (int64_t k = 0; k < runs.count; ++k) {
    const T* p = x + k * runs.stride;
    sum += fold<T>(
        runs.n, Vec<T>::zero(),
        [&](Vec<T> acc, int64_t i, auto lanes) TW_INLINE_LAMBDA { return acc + lanes.load(p + i); },
        [](Vec<T> a, Vec<T> b) TW_INLINE_LAMBDA { return a + b; });
  }
  const T about = static_cast<T>(reduce_add(sum) / count);
  const Vec<T> mean(about);
  Pair<T> sums = {Vec<T>::zero(), Vec<T>::zero()};
  for (int64_t k = 0; k < runs.count; ++k) {
    const T* p = x + k * runs.stride;
    sums.add(sum_pairs<T>(runs.n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
      fetch(p + next + i);
      const Vec<T> away = lanes.load_or(p + i, mean) - mean;
      return Pair<T>{away, away * away};
    }));
  }
  const double rest = reduce_add(sums.first) / count;
  const double found = about - about == 0 ? about + rest : about;  // of what holds an infinity
  return {count, found, reduce_add(sums.second) - rest * rest * count};
}

template <class T>
NormMoments plane_moments(const T* x, NormRuns runs) {
  NormMoments total{};
  for_each_block<T>(runs, [&](NormRuns part, int64_t at, int64_t next)
                              TW_INLINE_LAMBDA { join(total, block_moments(x + at, part, next)); });
  return total;
}

// How far ahead of a single reading memory is asked for: past the end of a page, where the
// hardware's own fetching stops.
inline constexpr int64_t kBytesAhead = 2048;

// The mean of squares of one run.
template <class T>
TW_INLINE double mean_square(const T* x, int64_t n) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock<T>) {
    const int64_t size = n - begin < kBlock<T> ? n - begin : kBlock<T>;
    total += fold_add<T>(size, [&](Vec<T> acc, int64_t i, auto lanes) TW_INLINE_LAMBDA {
      const T* p = x + begin + i;
      fetch(p + kBytesAhead / static_cast<int64_t>(sizeof(T)));
      const Vec<T> v = lanes.load(p);
      return fma(v, v, acc);
    });
  }
  return total / static_cast<double>(n);
}

template <bool kCut, class T>
TW_INLINE NormSums plane_sums_as(const T* grad, const T* x, const T* y, NormRuns runs, T mean) {
  NormSums total{};
  const Vec<T> centre(mean);
  for_each_block<T>(runs, [&](NormRuns part, int64_t at, int64_t) TW_INLINE_LAMBDA {
    Pair<T> sums = {Vec<T>::zero(), Vec<T>::zero()};
    for (int64_t k = 0; k < part.count; ++k, at += part.stride)
      sums.add(sum_pairs<T>(part.n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
        const Vec<T> g = load_gradient<kCut>(grad + at + i, kCut ? y + at + i : y, lanes);
        return Pair<T>{g, g * (lanes.load_or(x + at + i, centre) - centre)};
      }));
    total.grad += reduce_add(sums.first);
    total.moment += reduce_add(sums.second);
  });
  return total;
}

template <class T>
NormSums plane_sums(const T* grad, const T* x, const T* y, NormRuns runs, T mean) {
  return y ? plane_sums_as<true>(grad, x, y, runs, mean)
           : plane_sums_as<false>(grad, x, y, runs, mean);
}

// --- channels that are neighbours ---

// Vectors of a tile: their sums are chains enough to hide an addition's latency.
inline constexpr int kTileVectors = 4;

template <int N>
struct Vectors {
  static constexpr int count = N;
};

// f(c, lanes, Vectors<K>) over the columns: K vectors of whole lanes, or one.
template <class T, class F>
TW_INLINE void for_each_tile(int64_t columns, F f) {
  constexpr int W = Vec<T>::width;
  int64_t c = 0;
  for (; c + kTileVectors * W <= columns; c += kTileVectors * W)
    f(c, WholeVector<T>{}, Vectors<kTileVectors>{});
  sweep<T>(columns - c,
           [&](int64_t i, auto lanes) TW_INLINE_LAMBDA { f(c + i, lanes, Vectors<1>{}); });
}

// The hardware's own fetching stops at each 4 KiB page: we fetch so many pixels ahead of the sums.
inline constexpr int64_t kPixelsAhead = 16;

// The mean of the first n pixels stands for the block's, so that one reading is enough. By Cauchy
// and Schwarz the squares about it are at most 1 + count / n times those about the block's own:
// that is what the correction can cost, and with every outlier among the n alone.
inline constexpr int64_t kFirstPixels = 16;

template <class T>
void column_moments(const T* x, NormRuns runs, T* near, T* rest, T* m2) {
  const int64_t first = runs.count < kFirstPixels ? runs.count : kFirstPixels;
  const Vec<T> of_first(1 / static_cast<T>(first)), inverse(1 / static_cast<T>(runs.count));
  for_each_tile<T>(runs.n, [&](int64_t c, auto lanes, auto vectors) TW_INLINE_LAMBDA {
    constexpr int K = decltype(vectors)::count, W = Vec<T>::width;
    Vec<T> about[K], away[K], squares[K];
    for (int k = 0; k < K; ++k) about[k] = away[k] = squares[k] = Vec<T>::zero();
    for (int64_t r = 0; r < first; ++r)
      for (int k = 0; k < K; ++k) about[k] += lanes.load(x + r * runs.stride + c + k * W);
    for (int k = 0; k < K; ++k) about[k] *= of_first;
    for (int64_t r = 0; r < runs.count; ++r)
      for (int k = 0; k < K; ++k) {
        const T* p = x + r * runs.stride + c + k * W;
        fetch(p + kPixelsAhead * runs.stride);
        const Vec<T> d = lanes.load(p) - about[k];
        away[k] += d;
        squares[k] = fma(d, d, squares[k]);
      }
    for (int k = 0; k < K; ++k) {
      const Vec<T> correction = away[k] * inverse, zero = Vec<T>::zero();
      lanes.store(near + c + k * W, about[k]);
      // An infinite mean is not corrected.
      lanes.store(rest + c + k * W, select(about[k] - about[k] == zero, correction, zero));
      lanes.store(m2 + c + k * W, fnma(away[k], correction, squares[k]));
    }
  });
}

template <bool kCut, class T>
TW_INLINE void column_sums_as(const T* grad, const T* x, const T* y, NormRuns runs, const T* mean,
                              T* sum_grad, T* sum_moment) {
  for_each_tile<T>(runs.n, [&](int64_t c, auto lanes, auto vectors) TW_INLINE_LAMBDA {
    constexpr int K = decltype(vectors)::count, W = Vec<T>::width;
    Vec<T> centre[K], sum[K], moment[K];
    for (int k = 0; k < K; ++k) {
      centre[k] = lanes.load(mean + c + k * W);
      sum[k] = moment[k] = Vec<T>::zero();
    }
    for (int64_t r = 0; r < runs.count; ++r)
      for (int k = 0; k < K; ++k) {
        const int64_t at = r * runs.stride + c + k * W;
        fetch(grad + at + kPixelsAhead * runs.stride);
        fetch(x + at + kPixelsAhead * runs.stride);
        const Vec<T> g = load_gradient<kCut>(grad + at, kCut ? y + at : y, lanes);
        sum[k] += g;
        moment[k] = fma(g, lanes.load(x + at) - centre[k], moment[k]);
      }
    for (int k = 0; k < K; ++k) {
      lanes.store(sum_grad + c + k * W, sum[k]);
      lanes.store(sum_moment + c + k * W, moment[k]);
    }
  });
}

template <class T>
void column_sums(const T* grad, const T* x, const T* y, NormRuns runs, const T* mean, T* sum_grad,
                 T* sum_moment) {
  (y ? column_sums_as<true, T> : column_sums_as<false, T>)(grad, x, y, runs, mean, sum_grad,
                                                           sum_moment);
}

}  // namespace norm
}  // namespace tilework::TW_ISA
