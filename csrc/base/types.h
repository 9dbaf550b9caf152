// Element types and the activations that kernels fuse, as numbers that cross every floor.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tilework {

enum class DType : int { float32, float64, bfloat16, int64, int32, uint8, uint32, boolean, other };

// What a fused epilogue applies last. The order is the binding's name table (bindings/array.cc).
enum class Activation : int { none, relu, gelu, gelu_tanh, silu, tanh, sigmoid };

// Whether the backward pass of `act` needs the input of the activation (its output is enough
// otherwise).
constexpr bool needs_preactivation(Activation act) {
  return act == Activation::gelu || act == Activation::gelu_tanh || act == Activation::silu;
}

}  // namespace tilework
