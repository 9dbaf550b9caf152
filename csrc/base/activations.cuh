// The activation functions of fused kernels, on float and double. Each keeps its limits at the ends
// of its range, where a product of infinity and what has vanished would be NaN, and hands NaN on.
#pragma once

#include "base/cuda.cuh"

namespace tilework {

// As engines/cuda plans number them.
enum Activation : int { kNone, kRelu, kTanh, kSigmoid, kGelu, kGeluTanh, kSilu };

namespace activations {

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }
__device__ inline float complement_of_erf(float x) { return erfcf(x); }
__device__ inline double complement_of_erf(double x) { return erfc(x); }
__device__ inline float tangent(float x) { return tanhf(x); }
__device__ inline double tangent(double x) { return tanh(x); }

// 1 / (1 + exp(-x)) by the side that does not overflow: small ones keep their digits.
template <class T>
__device__ T sigmoid(T x) {
  const T small = exponential(x < T(0) ? x : -x);
  return (x < T(0) ? small : T(1)) / (T(1) + small);
}
// Below this, x times what multiplies it has vanished.
template <class T>
__device__ bool vanished(T x) {
  return x < T(-1e4);
}
template <class T>
__device__ T relu(T x) {
  return x > T(0) || x != x ? x : T(0);
}
template <class T>
__device__ T silu(T x) {
  return vanished(x) ? T(-0.0) : x * sigmoid(x);
}
// By erfc: 1 + erf(x) would cancel for negative x.
template <class T>
__device__ T gelu(T x) {
  return vanished(x) ? T(-0.0) : T(0.5) * x * complement_of_erf(x * T(-0.70710678118654752440));
}
// 0.5 (1 + tanh(u)) is the sigmoid of 2u, which does not cancel.
template <class T>
__device__ T gelu_tanh(T x) {
  const T twice = T(1.5957691216057307118) * x * (T(1) + T(0.044715) * x * x);
  return vanished(x) ? T(-0.0) : x * sigmoid(twice);
}

// Past this a slope is at its limit: x times what has vanished there would be NaN at infinity.
template <class T>
__device__ T within(T x) {
  return x > T(1e4) ? T(1e4) : x < T(-1e4) ? T(-1e4) : x;
}
template <class T>
__device__ T silu_slope(T input) {
  const T x = within(input);
  return sigmoid(x) * (T(1) + x * sigmoid(-x));
}
template <class T>
__device__ T gelu_slope(T input) {
  const T x = within(input);
  return T(0.5) * complement_of_erf(x * T(-0.70710678118654752440)) +
         x * T(0.39894228040143267794) * exponential(T(-0.5) * x * x);
}
template <class T>
__device__ T gelu_tanh_slope(T input) {
  const T x = within(input);
  const T twice = T(1.5957691216057307118) * x * (T(1) + T(0.044715) * x * x);
  const T slope = T(1.5957691216057307118) * (T(1) + T(3 * 0.044715) * x * x);
  return sigmoid(twice) * (T(1) + x * sigmoid(-twice) * slope);
}

}  // namespace activations

// One of them, told at run time: all threads of a launch take one way.
template <class T>
__device__ T activated(int activation, T x) {
  switch (activation) {
    case kRelu:
      return activations::relu(x);
    case kTanh:
      return activations::tangent(x);
    case kSigmoid:
      return activations::sigmoid(x);
    case kGelu:
      return activations::gelu(x);
    case kGeluTanh:
      return activations::gelu_tanh(x);
    case kSilu:
      return activations::silu(x);
    default:
      return x;
  }
}

// The gradient of what went in, from that of what came out; `saved` is the output of relu, tanh and
// sigmoid, and the input of the rest.
template <class T>
__device__ T activation_gradient(int activation, T grad, T saved) {
  switch (activation) {
    case kRelu:
      return saved <= T(0) ? T(0) : grad;
    case kTanh:
      return grad * (T(1) - saved * saved);
    case kSigmoid:
      return grad * saved * (T(1) - saved);
    case kGelu:
      return grad * activations::gelu_slope(saved);
    case kGeluTanh:
      return grad * activations::gelu_tanh_slope(saved);
    case kSilu:
      return grad * activations::silu_slope(saved);
    default:
      return grad;
  }
}

}  // namespace tilework
