// Activations over vectors and their derivatives: what pointwise ops and fused epilogues share.
//
// gelu is x/2 (1 + erf(x / sqrt 2)) (Hendrycks and Gimpel, "Gaussian error linear units", 2016):
// its error is a few eps of |x|, not of the result, where x is far below zero. gelu_tanh, the same
// paper's approximation, is written x sigmoid(2u), which cancels nowhere.
#pragma once

#include "base/types.h"
#include "simd/math.h"

namespace tilework::TW_ISA {

// NaN stays NaN: it is the second operand of max.
template <class T>
TW_INLINE Vec<T> relu(Vec<T> x) {
  return max(Vec<T>::zero(), x);
}
template <class T>
TW_INLINE Vec<T> relu_gradient(Vec<T> grad, Vec<T> y) {
  return select(y <= Vec<T>::zero(), Vec<T>::zero(), grad);
}

// x where its functions are at their limits already, so that none multiplies 0 by infinity. NaN
// stays NaN.
template <class T>
TW_INLINE Vec<T> above(Vec<T> x, T lowest) {
  return max(Vec<T>(lowest), x);
}
template <class T>
TW_INLINE Vec<T> within(Vec<T> x, T limit) {
  return max(Vec<T>(-limit), min(Vec<T>(limit), x));
}

template <class T>
TW_INLINE Vec<T> gelu(Vec<T> x) {
  x = above(x, T(-1e4));
  const Vec<T> half_x = x * Vec<T>(T(0.5));
  return fma(half_x, erf(x * Vec<T>(T(0.70710678118654752440))), half_x);
}
template <class T>
TW_INLINE Vec<T> gelu_gradient(Vec<T> grad, Vec<T> x) {
  x = within(x, T(1e4));
  const Vec<T> half = T(0.5), inv_sqrt_2pi = T(0.39894228040143267794);
  const Vec<T> cdf = fma(half, erf(x * Vec<T>(T(0.70710678118654752440))), half);
  const Vec<T> density = exp(x * x * -half) * inv_sqrt_2pi;
  return grad * fma(x, density, cdf);
}

// 2u = 2 sqrt(2 / pi) (x + 0.044715 x^3)
template <class T>
TW_INLINE Vec<T> gelu_tanh(Vec<T> x) {
  const Vec<T> linear = T(1.59576912160573071176), cubic = T(0.07135481627260025);
  x = above(x, T(-1e4));
  return x * sigmoid(x * fma(x * x, cubic, linear));
}
template <class T>
TW_INLINE Vec<T> gelu_tanh_gradient(Vec<T> grad, Vec<T> x) {
  const Vec<T> linear = T(1.59576912160573071176), cubic = T(0.07135481627260025);
  x = within(x, T(1e4));
  const Vec<T> square = x * x, one = T(1);
  const Sigmoids<T> s = sigmoids(x * fma(square, cubic, linear));
  const Vec<T> slope = fma(square, cubic * Vec<T>(T(3)), linear);
  return grad * s.of_x * fma(x * s.of_minus_x, slope, one);
}

template <class T>
TW_INLINE Vec<T> silu(Vec<T> x) {
  x = above(x, T(-1e4));
  return x * sigmoid(x);
}
template <class T>
TW_INLINE Vec<T> silu_gradient(Vec<T> grad, Vec<T> x) {
  x = within(x, T(1e4));
  const Sigmoids<T> s = sigmoids(x);
  return grad * s.of_x * fma(x, s.of_minus_x, Vec<T>(T(1)));
}

template <class T>
TW_INLINE Vec<T> tanh_gradient(Vec<T> grad, Vec<T> y) {
  return grad * fnma(y, y, Vec<T>(T(1)));
}
template <class T>
TW_INLINE Vec<T> sigmoid_gradient(Vec<T> grad, Vec<T> y) {
  return grad * y * (Vec<T>(T(1)) - y);
}

// A gate's activation and its slope, of one exponential.
template <class T>
struct Gate {
  Vec<T> value, slope;
};
template <class T>
TW_INLINE Gate<T> sigmoid_gate(Vec<T> x) {
  const Sigmoids<T> s = sigmoids(x);
  return {s.of_x, s.of_x * s.of_minus_x};
}
template <class T>
TW_INLINE Gate<T> silu_gate(Vec<T> x) {
  const Vec<T> low = above(x, T(-1e4)), z = within(x, T(1e4));
  const Sigmoids<T> s = sigmoids(z);
  return {low * s.of_x, s.of_x * fma(z, s.of_minus_x, Vec<T>(T(1)))};
}
template <class T>
TW_INLINE Gate<T> gelu_gate(Vec<T> x) {
  const Vec<T> low = above(x, T(-1e4)), z = within(x, T(1e4));
  const Vec<T> half = T(0.5), inv_sqrt_2pi = T(0.39894228040143267794), half_x = low * half;
  const Vec<T> e = erf(z * Vec<T>(T(0.70710678118654752440)));
  const Vec<T> density = exp(z * z * -half) * inv_sqrt_2pi;
  return {fma(half_x, e, half_x), fma(z, density, fma(half, e, half))};
}
template <class T>
TW_INLINE Gate<T> gelu_tanh_gate(Vec<T> x) {
  const Vec<T> linear = T(1.59576912160573071176), cubic = T(0.07135481627260025);
  const Vec<T> low = above(x, T(-1e4)), z = within(x, T(1e4)), square = z * z;
  const Sigmoids<T> s = sigmoids(z * fma(square, cubic, linear));
  const Vec<T> slope = fma(square, cubic * Vec<T>(T(3)), linear);
  return {low * s.of_x, s.of_x * fma(z * s.of_minus_x, slope, Vec<T>(T(1)))};
}

template <Activation act, class T>
TW_INLINE Vec<T> activate(Vec<T> z) {
  if constexpr (act == Activation::relu) return relu(z);
  if constexpr (act == Activation::gelu) return gelu(z);
  if constexpr (act == Activation::gelu_tanh) return gelu_tanh(z);
  if constexpr (act == Activation::silu) return silu(z);
  if constexpr (act == Activation::tanh) return tanh(z);
  if constexpr (act == Activation::sigmoid) return sigmoid(z);
  return z;
}

// The gradient before the activation; `saved` is its input where needs_preactivation(act), else its
// output.
template <Activation act, class T>
TW_INLINE Vec<T> activation_gradient(Vec<T> grad, Vec<T> saved) {
  if constexpr (act == Activation::relu) return relu_gradient(grad, saved);
  if constexpr (act == Activation::gelu) return gelu_gradient(grad, saved);
  if constexpr (act == Activation::gelu_tanh) return gelu_tanh_gradient(grad, saved);
  if constexpr (act == Activation::silu) return silu_gradient(grad, saved);
  if constexpr (act == Activation::tanh) return tanh_gradient(grad, saved);
  if constexpr (act == Activation::sigmoid) return sigmoid_gradient(grad, saved);
  return grad;
}

}  // namespace tilework::TW_ISA
