// The activations of fused kernels, told at run time: all threads of a launch take one way.
#pragma once

#include "base/functions.cuh"

namespace tilework {

// As plans number them (ACTIVATIONS of engines/cuda/gemm.py).
enum Activation : int { kNone, kRelu, kTanh, kSigmoid, kGelu, kGeluTanh, kSilu };

template <class T>
__device__ T activated(int activation, T x) {
  switch (activation) {
    case kRelu:
      return functions::relu::forward(x);
    case kTanh:
      return functions::tanh::forward(x);
    case kSigmoid:
      return functions::sigmoid::forward(x);
    case kGelu:
      return functions::gelu::forward(x);
    case kGeluTanh:
      return functions::gelu_tanh::forward(x);
    case kSilu:
      return functions::silu::forward(x);
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
      return functions::relu::backward(grad, saved);
    case kTanh:
      return functions::tanh::backward(grad, saved);
    case kSigmoid:
      return functions::sigmoid::backward(grad, saved);
    case kGelu:
      return functions::gelu::backward(grad, saved);
    case kGeluTanh:
      return functions::gelu_tanh::backward(grad, saved);
    case kSilu:
      return functions::silu::backward(grad, saved);
    default:
      return grad;
  }
}

}  // namespace tilework
