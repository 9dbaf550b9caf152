// Normalisation for every vector width. Included by the ISA files alone.
//
// One pass over runs writes the output and one the gradient, whatever a channel's numbers are to
// a vector: the same in all lanes, or neighbours in memory.
#pragma once

#include "kernels/norm/moments.h"
#include "simd/stream.h"

namespace tilework::TW_ISA {
namespace norm {

// --- where a vector's numbers come from ---

// Element i of an array, as the lanes of the run have it.
template <class T>
struct Each {
  const T* p;
  template <class Lanes>
  TW_INLINE Vec<T> at(int64_t i, Lanes lanes) const {
    return lanes.load(p + i);
  }
};
// One number in every lane.
template <class T>
struct Same {
  Vec<T> v;
  TW_INLINE explicit Same(T x) : v(x) {}
  TW_INLINE explicit Same(const T* p) : v(*p) {}
  template <class Lanes>
  TW_INLINE Vec<T> at(int64_t, Lanes) const {
    return v;
  }
};
// An array's element times a number.
template <class T>
struct Scaled {
  const T* p;
  Vec<T> by;
  template <class Lanes>
  TW_INLINE Vec<T> at(int64_t i, Lanes lanes) const {
    return lanes.load(p + i) * by;
  }
};

// --- passes over one run ---

// Writing takes its time, in which memory could be read: the next channel's planes, which lie right
// behind this one's, are fetched into L2 on the way, where it has room for them.
template <class T>
TW_INLINE int64_t fetch_distance(NormRuns runs) {
  constexpr int64_t kRoom = 256 << 10;
  const bool planes = runs.stride > runs.n;
  return planes && runs.count * runs.n * static_cast<int64_t>(sizeof(T)) <= kRoom ? runs.n : 0;
}
template <class T>
TW_INLINE void fetch_to_l2(const T* p) {
  __builtin_prefetch(p, 0, 2);
}

// Below `floor` the output is cut: zero for relu, else -Inf. NaN stays NaN, as max's second
// operand.
template <bool kResidual, bool kStream, class T, class Mean, class Scale, class Bias>
TW_INLINE void apply_run(const T* x, const T* residual, T* y, int64_t n, Mean mean, Scale scale,
                         Bias bias, Vec<T> floor, int64_t ahead) {
  sweep<T>(n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    fetch_to_l2(x + ahead + i);
    Vec<T> v = fma(lanes.load(x + i) - mean.at(i, lanes), scale.at(i, lanes), bias.at(i, lanes));
    if constexpr (kResidual) v += lanes.load(residual + i);
    put<kStream>(lanes, y + i, max(floor, v));
  });
}

// `onto`, where not null, is added to dx.
template <bool kCut, bool kStream, class T, class Mean, class Scale, class Offset, class Slope>
TW_INLINE void gradient_run(const T* grad, const T* x, const T* y, T* dx, T* dresidual, int64_t n,
                            Mean mean, Scale scale, Offset offset, Slope slope, int64_t ahead,
                            const T* onto = nullptr) {
  sweep<T>(n, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    fetch_to_l2(grad + ahead + i);
    fetch_to_l2(x + ahead + i);
    const Vec<T> g = load_gradient<kCut>(grad + i, kCut ? y + i : y, lanes);
    if (kCut && dresidual) put<kStream>(lanes, dresidual + i, g);
    if (kCut && !dx) return;
    const Vec<T> away = lanes.load(x + i) - mean.at(i, lanes);
    Vec<T> v = fma(g, scale.at(i, lanes), fma(-away, slope.at(i, lanes), -offset.at(i, lanes)));
    if (onto) v += lanes.load(onto + i);
    put<kStream>(lanes, dx + i, v);
  });
}

// --- batch norm ---

template <class Source, bool kResidual, bool kStream, class T>
void apply_as(const T* x, const T* residual, T* y, NormRuns runs, NormAffine<T> affine, bool relu) {
  const Vec<T> floor(relu ? T(0) : T(-__builtin_inf()));
  const Source mean{affine.mean}, scale{affine.scale}, bias{affine.bias};
  for (int64_t k = 0, at = 0; k < runs.count; ++k, at += runs.stride)
    apply_run<kResidual, kStream>(x + at, kResidual ? residual + at : residual, y + at, runs.n,
                                  mean, scale, bias, floor, fetch_distance<T>(runs));
  if constexpr (kStream) stream_fence();
}

template <class Source, class T>
void apply(const T* x, const T* residual, T* y, NormRuns runs, NormAffine<T> affine, bool relu,
           bool stream) {
  constexpr decltype(&apply_as<Source, true, true, T>) kPasses[2][2] = {
      {apply_as<Source, false, false, T>, apply_as<Source, false, true, T>},
      {apply_as<Source, true, false, T>, apply_as<Source, true, true, T>}};
  kPasses[residual != nullptr][stream](x, residual, y, runs, affine, relu);
}

template <class Source, bool kCut, bool kStream, class T>
void gradient_as(const T* grad, const T* x, const T* y, T* dx, T* dresidual, NormRuns runs,
                 NormGradient<T> terms) {
  const Source mean{terms.mean}, scale{terms.scale}, offset{terms.offset}, slope{terms.slope};
  for (int64_t k = 0, at = 0; k < runs.count; ++k, at += runs.stride)
    gradient_run<kCut, kStream>(grad + at, x + at, kCut ? y + at : y, dx ? dx + at : dx,
                                dresidual ? dresidual + at : dresidual, runs.n, mean, scale, offset,
                                slope, fetch_distance<T>(runs));
  if constexpr (kStream) stream_fence();
}

template <class Source, class T>
void gradient(const T* grad, const T* x, const T* y, T* dx, T* dresidual, NormRuns runs,
              NormGradient<T> terms, bool stream) {
  constexpr decltype(&gradient_as<Source, true, true, T>) kPasses[2][2] = {
      {gradient_as<Source, false, false, T>, gradient_as<Source, false, true, T>},
      {gradient_as<Source, true, false, T>, gradient_as<Source, true, true, T>}};
  kPasses[y != nullptr][stream](grad, x, y, dx, dresidual, runs, terms);
}

// --- rows ---

template <class T>
TW_INLINE void add_run(const T* a, const T* b, T* y, int64_t n) {
  sweep<T>(n, [&](int64_t i, auto lanes)
                  TW_INLINE_LAMBDA { lanes.store(y + i, lanes.load(a + i) + lanes.load(b + i)); });
}

template <class T>
TW_INLINE void stream_run(const T* x, T* y, int64_t n) {
  sweep<T>(n, [&](int64_t i, auto lanes)
                  TW_INLINE_LAMBDA { put<true>(lanes, y + i, lanes.load(x + i)); });
}

template <bool kStream, class T>
void rows_forward_as(const NormRowsForward<T>& a, int64_t first, int64_t rows) {
  const RowsShape& s = a.shape;
  const int64_t n = s.length, channels = s.row_channels(), span = s.span();
  const Vec<T> floor(T(-__builtin_inf()));
  for (int64_t r = first; r < first + rows; ++r) {
    const T *x = a.x + r * n, *weight = a.weight + r % s.groups * channels;
    const T* bias = a.bias + r % s.groups * channels;
    T* y = a.y + r * n;
    if (a.residual) {  // read again while it lies in L1
      T* sum = kStream ? a.row : a.sum + r * n;
      add_run(x, a.residual + r * n, sum, n);
      if constexpr (kStream) stream_run(sum, a.sum + r * n, n);
      x = sum;
    }
    NormMoments m{};
    if (a.mean)
      m = plane_moments(x, {1, n, n});
    else
      m.m2 = mean_square(x, n) * (m.count = static_cast<double>(n));
    const T mean = static_cast<T>(m.mean);
    const T rstd = static_cast<T>(1 / __builtin_sqrt(m.m2 / m.count + a.eps));
    if (a.mean) a.mean[r] = mean;
    a.rstd[r] = rstd;
    if (span == 1) {
      apply_run<false, kStream>(x, x, y, n, Same<T>(mean), Scaled<T>{weight, Vec<T>(rstd)},
                                Each<T>{bias}, floor, 0);
    } else {
      for (int64_t c = 0, i = 0; c < channels; ++c, i += span)
        apply_run<false, kStream>(x + i, x, y + i, span, Same<T>(mean), Same<T>(rstd * weight[c]),
                                  Same<T>(bias[c]), floor, 0);
    }
  }
  if constexpr (kStream) stream_fence();
}

template <class T>
void rows_forward(const NormRowsForward<T>& args, int64_t first, int64_t rows, bool stream) {
  (stream ? rows_forward_as<true, T> : rows_forward_as<false, T>)(args, first, rows);
}

// The sums of g weight and of g weight (x - mean) over a row, whose g and g (x - mean) rstd are
// added to the channels' gradients on the way.
template <class T>
TW_INLINE NormSums row_sums(const T* grad, const T* x, const T* weight, const RowsShape& s, T mean,
                            T rstd, T* dweight, T* dbias) {
  NormSums total{};
  const int64_t span = s.span();
  if (span > 1) {
    for (int64_t c = 0, i = 0; c < s.row_channels(); ++c, i += span) {
      const NormSums sums = plane_sums_as<false>(grad + i, x + i, x, {1, 0, span}, mean);
      total.grad += sums.grad * weight[c];
      total.moment += sums.moment * weight[c];
      dbias[c] += static_cast<T>(sums.grad);
      dweight[c] += static_cast<T>(sums.moment * rstd);
    }
    return total;
  }
  const Vec<T> centre(mean), scale(rstd);
  for (int64_t begin = 0; begin < s.length; begin += kBlock<T>) {
    const int64_t size = s.length - begin < kBlock<T> ? s.length - begin : kBlock<T>;
    const Pair<T> sums = sum_pairs<T>(size, [&](int64_t k, auto lanes) TW_INLINE_LAMBDA {
      const int64_t i = begin + k;
      const Vec<T> g = lanes.load(grad + i), away = lanes.load(x + i) - centre;
      const Vec<T> weighted = g * lanes.load(weight + i);  // zero past the end
      lanes.store(dbias + i, lanes.load(dbias + i) + g);
      lanes.store(dweight + i, fma(g, away * scale, lanes.load(dweight + i)));
      return Pair<T>{weighted, weighted * away};
    });
    total.grad += reduce_add(sums.first);
    total.moment += reduce_add(sums.second);
  }
  return total;
}

template <bool kStream, class T>
void rows_backward_as(const NormRowsBackward<T>& a, int64_t first, int64_t rows, T* dweight,
                      T* dbias) {
  const RowsShape& s = a.shape;
  const int64_t n = s.length, channels = s.row_channels(), span = s.span();
  for (int64_t r = first; r < first + rows; ++r) {
    const int64_t channel = r % s.groups * channels;
    const T *grad = a.grad + r * n, *x = a.x + r * n, *weight = a.weight + channel;
    const T mean = a.mean ? a.mean[r] : T(0), rstd = a.rstd[r];
    const NormSums sums =
        row_sums(grad, x, weight, s, mean, rstd, dweight + channel, dbias + channel);
    if (!a.dx) continue;
    const double over = rstd / static_cast<double>(n);
    const Same<T> centre(mean), offset(static_cast<T>(a.mean ? sums.grad * over : 0.0));
    const Same<T> slope(static_cast<T>(sums.moment * over * rstd * rstd));
    T* dx = a.dx + r * n;
    const T* onto = a.onto ? a.onto + r * n : nullptr;
    if (span == 1) {
      gradient_run<false, kStream>(grad, x, x, dx, dx, n, centre, Scaled<T>{weight, Vec<T>(rstd)},
                                   offset, slope, n, onto);
    } else {
      for (int64_t c = 0, i = 0; c < channels; ++c, i += span)
        gradient_run<false, kStream>(grad + i, x + i, x, dx + i, dx, span, centre,
                                     Same<T>(rstd * weight[c]), offset, slope, n,
                                     onto ? onto + i : onto);
    }
  }
  if constexpr (kStream) stream_fence();
}

template <class T>
void rows_backward(const NormRowsBackward<T>& args, int64_t first, int64_t rows, T* dweight,
                   T* dbias, bool stream) {
  (stream ? rows_backward_as<true, T> : rows_backward_as<false, T>)(args, first, rows, dweight,
                                                                    dbias);
}

template <class T>
inline constexpr NormTable<T> kTable = {plane_moments<T>,
                                        plane_sums<T>,
                                        column_moments<T>,
                                        column_sums<T>,
                                        {apply<Same<T>, T>, apply<Each<T>, T>},
                                        {gradient<Same<T>, T>, gradient<Each<T>, T>},
                                        rows_forward<T>,
                                        rows_backward<T>};

}  // namespace norm

extern const NormKernels norm_kernels;
const NormKernels norm_kernels = {norm::kTable<float>, norm::kTable<double>};

}  // namespace tilework::TW_ISA
