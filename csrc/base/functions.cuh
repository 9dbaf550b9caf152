// The elementwise functions of device code, a struct each: forward(x), and backward(g, s) from the
// gradient of the result and what was saved, which kernels/pointwise/pointwise_ops.inc tells. For
// pointwise kernels and the epilogues of others; their limits are those of simd/activation.h.
#pragma once

#include "base/maths.cuh"

namespace tilework::functions {

inline constexpr double kSqrtHalf = 0.70710678118654752440;
inline constexpr double kInverseSqrtTwoPi = 0.39894228040143267794;
// 2u = 2 sqrt(2 / pi) (x + 0.044715 x^3), by which gelu_tanh is x sigmoid(2u)
inline constexpr double kGeluLinear = 1.59576912160573071176, kGeluCubic = 0.07135481627260025;

// A gate's activation and its slope, of one exponential.
template <class T>
struct Gate {
  T value, slope;
};
struct sigmoid_gate {
  template <class T>
  static __device__ Gate<T> at(T x) {
    const maths::Sigmoids<T> s = maths::sigmoids(x);
    return {s.of_x, s.of_x * s.of_minus_x};
  }
};
struct silu_gate {
  template <class T>
  static __device__ Gate<T> at(T x) {
    const T low = maths::above_limit(x), z = maths::within_limits(x);
    const maths::Sigmoids<T> s = maths::sigmoids(z);
    return {low * s.of_x, s.of_x * maths::fma(z, s.of_minus_x, T{1})};
  }
};
struct gelu_gate {
  template <class T>
  static __device__ Gate<T> at(T x) {
    constexpr T half = T(0.5);
    const T low = maths::above_limit(x), z = maths::within_limits(x), half_x = low * half;
    const T e = maths::erf(z * static_cast<T>(kSqrtHalf));
    const T density = maths::exp(z * z * -half) * static_cast<T>(kInverseSqrtTwoPi);
    return {maths::fma(half_x, e, half_x), maths::fma(z, density, maths::fma(half, e, half))};
  }
};
struct gelu_tanh_gate {
  template <class T>
  static __device__ Gate<T> at(T x) {
    constexpr T linear = static_cast<T>(kGeluLinear), cubic = static_cast<T>(kGeluCubic);
    const T low = maths::above_limit(x), z = maths::within_limits(x), square = z * z;
    const maths::Sigmoids<T> s = maths::sigmoids(z * maths::fma(square, cubic, linear));
    const T slope = maths::fma(square, cubic * T{3}, linear);
    return {low * s.of_x, s.of_x * maths::fma(z * s.of_minus_x, slope, T{1})};
  }
};

// g with the sign of x; 0 at 0, whatever g is, and NaN at NaN.
template <class T>
__device__ T abs_gradient(T g, T x) {
  return x > T{0} ? g : x < T{0} ? -g : x;
}

#define TW_FUNCTION(name, f, df)                              \
  struct name {                                               \
    template <class T>                                        \
    static __device__ T forward(T x) {                        \
      return f;                                               \
    }                                                         \
    template <class T>                                        \
    static __device__ T backward(T g, [[maybe_unused]] T s) { \
      return df;                                              \
    }                                                         \
  };
TW_FUNCTION(none, x, g)
TW_FUNCTION(relu, x <= T{0} ? T{0} : x, s <= T{0} ? T{0} : g)
TW_FUNCTION(gelu, gelu_gate::at(x).value, g* gelu_gate::at(s).slope)
TW_FUNCTION(gelu_tanh, gelu_tanh_gate::at(x).value, g* gelu_tanh_gate::at(s).slope)
TW_FUNCTION(silu, silu_gate::at(x).value, g* silu_gate::at(s).slope)
TW_FUNCTION(tanh, maths::tanh(x), g* maths::fma(-s, s, T{1}))
TW_FUNCTION(sigmoid, maths::sigmoid(x), g* s*(T{1} - s))
TW_FUNCTION(exp, maths::exp(x), g* s)
TW_FUNCTION(log, maths::log(x), g / s)
TW_FUNCTION(sqrt, maths::sqrt(x), g* T(0.5) / s)
TW_FUNCTION(rsqrt, T{1} / maths::sqrt(x), g* T(-0.5) * (s * s * s))
TW_FUNCTION(abs, maths::abs(x), abs_gradient(g, s))
TW_FUNCTION(neg, -x, -g)
TW_FUNCTION(square, x* x, g*(s + s))
TW_FUNCTION(cube, x* x* x, g*(T{3} * (s * s)))
TW_FUNCTION(inverse_square, T{1} / (x * x), g*(T{-2} / (s * s * s)))
TW_FUNCTION(reciprocal, T{1} / x, -g*(s* s))
TW_FUNCTION(erf, maths::erf(x), g* maths::exp(-s* s) * T(1.12837916709551257390))
TW_FUNCTION(softplus, maths::larger(x, T{0}) + maths::log1p(maths::exp(-maths::abs(x))),
            g* maths::sigmoid(s))
#undef TW_FUNCTION

#define TW_FUNCTION(name, f)              \
  struct name {                           \
    template <class T>                    \
    static __device__ T apply(T a, T b) { \
      return f;                           \
    }                                     \
  };
TW_FUNCTION(add, a + b)
TW_FUNCTION(sub, a - b)
TW_FUNCTION(mul, a* b)
TW_FUNCTION(div, a / b)
TW_FUNCTION(maximum, maths::larger(a, b))
TW_FUNCTION(minimum, maths::smaller(a, b))
TW_FUNCTION(pow, maths::pow(a, b))
#undef TW_FUNCTION

}  // namespace tilework::functions
