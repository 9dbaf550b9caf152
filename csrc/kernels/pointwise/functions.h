// The elementwise functions and their derivatives, one struct an op of pointwise_ops.inc.
// Included by pointwise_body.h alone.
#pragma once

#include "simd/activation.h"
#include "simd/pow.h"

namespace tilework::TW_ISA {

// g with the sign of x; 0 at 0, whatever g is, and NaN at NaN.
template <class T>
TW_INLINE Vec<T> abs_gradient(Vec<T> g, Vec<T> x) {
  return select(abs(x) > Vec<T>::zero(), g * copysign(Vec<T>(T(1)), x), x);
}

// f(x), and from the gradient g of f(x) and what was saved, the gradient of x.
#define TW_FUNCTION(name, f, df)                                            \
  struct name##_op {                                                        \
    template <class T>                                                      \
    static TW_INLINE Vec<T> forward(Vec<T> x) {                             \
      return f;                                                             \
    }                                                                       \
    template <class T>                                                      \
    static TW_INLINE Vec<T> backward(Vec<T> g, [[maybe_unused]] Vec<T> s) { \
      return df;                                                            \
    }                                                                       \
  };
TW_FUNCTION(relu, relu(x), relu_gradient(g, s))
TW_FUNCTION(gelu, gelu(x), gelu_gradient(g, s))
TW_FUNCTION(gelu_tanh, gelu_tanh(x), gelu_tanh_gradient(g, s))
TW_FUNCTION(silu, silu(x), silu_gradient(g, s))
TW_FUNCTION(tanh, tanh(x), tanh_gradient(g, s))
TW_FUNCTION(sigmoid, sigmoid(x), sigmoid_gradient(g, s))
TW_FUNCTION(exp, exp(x), g* s)
TW_FUNCTION(log, log(x), g / s)
TW_FUNCTION(sqrt, sqrt(x), g* Vec<T>(T(0.5)) / s)
TW_FUNCTION(rsqrt, Vec<T>(T(1)) / sqrt(x), g* Vec<T>(T(-0.5)) * (s * s * s))
TW_FUNCTION(abs, abs(x), abs_gradient(g, s))
TW_FUNCTION(neg, -x, -g)
TW_FUNCTION(square, x* x, g*(s + s))
TW_FUNCTION(cube, x* x* x, g*(Vec<T>(T(3)) * (s * s)))
TW_FUNCTION(reciprocal, Vec<T>(T(1)) / x, -g*(s* s))
TW_FUNCTION(softplus, softplus(x), g* sigmoid(s))
TW_FUNCTION(inverse_square, Vec<T>(T(1)) / (x * x), g*(Vec<T>(T(-2)) / (s * s * s)))
TW_FUNCTION(erf, erf(x), g* exp(-s* s) * Vec<T>(T(1.12837916709551257390)))
#undef TW_FUNCTION

// Of doubles the C library's, a lane at a time: within an ulp over all of its range, which takes
// more than twice the precision of double inside, and rare enough to leave there.
TW_INLINE Vec<double> pow(Vec<double> a, Vec<double> b) {
  constexpr int W = Vec<double>::width;
  double x[W], y[W];
  a.store(x);
  b.store(y);
  for (int i = 0; i < W; ++i) x[i] = __builtin_pow(x[i], y[i]);
  return Vec<double>::load(x);
}

#define TW_FUNCTION(name, f)                            \
  struct name##_op {                                    \
    template <class T>                                  \
    static TW_INLINE Vec<T> apply(Vec<T> a, Vec<T> b) { \
      return f;                                         \
    }                                                   \
  };
TW_FUNCTION(add, a + b)
TW_FUNCTION(sub, a - b)
TW_FUNCTION(mul, a* b)
TW_FUNCTION(div, a / b)
TW_FUNCTION(maximum, max_nan(a, b))
TW_FUNCTION(minimum, min_nan(a, b))
TW_FUNCTION(pow, pow(a, b))
#undef TW_FUNCTION

}  // namespace tilework::TW_ISA
