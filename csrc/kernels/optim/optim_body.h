// The update rules, written once for every vector width. Included by the ISA files alone.
//
// An update streams three to five arrays, so memory bounds it once the model leaves the caches. In
// L2, Adam's square root and division, which share one unit of the core, take half as long again as
// the traffic; estimates refined by Newton's steps would win a fifth, and lose the exact roots of
// zero and infinity. What a step has is a template parameter, so that the loops hold no branch.
#pragma once

#include "kernels/optim/optim.h"
#include "simd/pow.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {
namespace optim {

// The gradient that the rules see. No decay is not a decay of zero: 0 * Inf is NaN.
template <bool kDecay, class T, class Factors>
TW_INLINE Vec<T> effective_grad(const T* grad, Vec<T> param, const Factors& f, auto lanes) {
  const Vec<T> g = lanes.load(grad) * Vec<T>(f.grad_sign);
  if constexpr (kDecay) return fma(param, Vec<T>(f.decay), g);
  return g;
}

// An average, or zero where it is below `vanished`. NaN stays.
template <class T>
TW_INLINE Vec<T> unless_vanished(Vec<T> average, T vanished) {
  return select(abs(average) < Vec<T>(vanished), Vec<T>::zero(), average);
}

enum class Momentum { none, first, later };

template <class T, Momentum kMomentum, bool kNesterov, bool kDecay>
void sgd(const SgdTensor<T>& t, const SgdFactors<T>& f, int64_t begin, int64_t end) {
  T* param = t.param + begin;
  const T* grad = t.grad + begin;
  T* buffer = kMomentum == Momentum::none ? nullptr : t.momentum + begin;
  sweep<T>(end - begin, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> p = lanes.load(param + i);
    Vec<T> g = effective_grad<kDecay>(grad + i, p, f, lanes);
    if constexpr (kMomentum != Momentum::none) {
      Vec<T> b = g;
      if constexpr (kMomentum == Momentum::later)
        b = unless_vanished(
            fma(lanes.load(buffer + i), Vec<T>(f.momentum), g * Vec<T>(f.grad_share)), f.vanished);
      lanes.store(buffer + i, b);
      g = kNesterov ? fma(b, Vec<T>(f.momentum), g) : b;
    }
    lanes.store(param + i, fnma(g, Vec<T>(f.lr), p));
  });
}

template <class T, Momentum kMomentum>
void sgd_with(const SgdTensor<T>& t, const SgdFactors<T>& f, int64_t begin, int64_t end) {
  const bool decay = f.decay != 0;
  if (kMomentum != Momentum::none && f.nesterov)
    (decay ? sgd<T, kMomentum, true, true> : sgd<T, kMomentum, true, false>)(t, f, begin, end);
  else
    (decay ? sgd<T, kMomentum, false, true> : sgd<T, kMomentum, false, false>)(t, f, begin, end);
}

template <class T>
void sgd_any(const SgdTensor<T>& t, const SgdFactors<T>& f, int64_t begin, int64_t end) {
  (!t.momentum ? sgd_with<T, Momentum::none>
   : f.first   ? sgd_with<T, Momentum::first>
               : sgd_with<T, Momentum::later>)(t, f, begin, end);
}

// torch.lerp: from whichever end is nearer, so that a weight of 1 gives b exactly.
template <class T>
TW_INLINE Vec<T> lerp(Vec<T> a, Vec<T> b, T weight) {
  const Vec<T> difference = b - a;
  return weight < T(0.5) ? fma(difference, Vec<T>(weight), a)
                         : fnma(difference, Vec<T>(1 - weight), b);
}

template <class T, bool kAmsgrad, bool kDecay>
void adam(const AdamTensor<T>& t, const AdamFactors<T>& f, int64_t begin, int64_t end) {
  T* param = t.param + begin;
  const T* grad = t.grad + begin;
  T* exp_avg = t.exp_avg + begin;
  T* exp_avg_sq = t.exp_avg_sq + begin;
  T* max_exp_avg_sq = kAmsgrad ? t.max_exp_avg_sq + begin : nullptr;
  sweep<T>(end - begin, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> p = lanes.load(param + i);
    const Vec<T> g = effective_grad<kDecay>(grad + i, p, f, lanes);
    const Vec<T> m = unless_vanished(lerp(lanes.load(exp_avg + i), g, f.lerp), f.vanished);
    Vec<T> v = unless_vanished(
        fma(g * Vec<T>(f.square), g, lanes.load(exp_avg_sq + i) * Vec<T>(f.beta2)), f.vanished_sq);
    lanes.store(exp_avg + i, m);
    lanes.store(exp_avg_sq + i, v);
    if constexpr (kAmsgrad) {
      v = max_nan(lanes.load(max_exp_avg_sq + i), v);
      lanes.store(max_exp_avg_sq + i, v);
    }
    const Vec<T> denominator = fma(sqrt(v), Vec<T>(f.root_scale), Vec<T>(f.eps));
    lanes.store(param + i, fnma(m / denominator, Vec<T>(f.step_size), p * Vec<T>(f.param_scale)));
  });
}

template <class T>
void adam_any(const AdamTensor<T>& t, const AdamFactors<T>& f, int64_t begin, int64_t end) {
  const bool decay = f.decay != 0;
  if (t.max_exp_avg_sq)
    (decay ? adam<T, true, true> : adam<T, true, false>)(t, f, begin, end);
  else
    (decay ? adam<T, false, true> : adam<T, false, false>)(t, f, begin, end);
}

TW_INLINE Vec<double> squares(Vec<float> x, Vec<double> sum) {
  const Vec<double> low = low_doubles(x), high = high_doubles(x);
  return fma(low, low, fma(high, high, sum));
}
TW_INLINE Vec<double> squares(Vec<double> x, Vec<double> sum) { return fma(x, x, sum); }

template <class T>
double square_sum(const T* x, int64_t n) {
  constexpr int W = Vec<T>::width, kChains = 4;
  const Vec<double> zero = Vec<double>::zero();
  Vec<double> sum[kChains] = {zero, zero, zero, zero};
  int64_t i = 0;
  for (; i + kChains * W <= n; i += kChains * W) {
#pragma GCC unroll 4
    for (int k = 0; k < kChains; ++k) sum[k] = squares(Vec<T>::load(x + i + k * W), sum[k]);
  }
  sweep<T>(n - i, [&](int64_t j, auto lanes)
                      TW_INLINE_LAMBDA { sum[0] = squares(lanes.load(x + i + j), sum[0]); });
  return reduce_add((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <class T>
void scale(T* x, int64_t n, T factor) {
  sweep<T>(n, [&](int64_t i, auto lanes)
                  TW_INLINE_LAMBDA { lanes.store(x + i, lanes.load(x + i) * Vec<T>(factor)); });
}

template <class T>
inline constexpr OptimTable<T> kTable = {sgd_any<T>, adam_any<T>, square_sum<T>, scale<T>};

}  // namespace optim

extern const OptimKernels optim_kernels;
const OptimKernels optim_kernels = {optim::kTable<float>, optim::kTable<double>};

}  // namespace tilework::TW_ISA
