// Element types and the activations that kernels fuse, as numbers that cross every floor.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tilework {

enum class DType : int { float32, float64, bfloat16, int64, int32, uint8, uint32, boolean, other };

// The upper half of a float32, as it lies in memory (ml_dtypes.bfloat16).
struct bfloat16 {
  uint16_t bits;
};

// Always inlined, so that an ISA file leaves no symbol of them behind.
inline __attribute__((always_inline)) float to_float(bfloat16 x) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16);
}
// To nearest, ties to even; a NaN becomes the quiet one of its sign, as ml_dtypes has it.
inline __attribute__((always_inline)) bfloat16 to_bfloat16(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return {static_cast<uint16_t>(x == x ? rounded : ((bits >> 16 & 0x8000) | 0x7fc0))};
}

// What T is computed in.
template <class T>
struct WideOf {
  using type = T;
};
template <>
struct WideOf<bfloat16> {
  using type = float;
};
template <class T>
using Wide = typename WideOf<T>::type;

// What a fused epilogue applies last. The order is the binding's name table (bindings/array.cc).
enum class Activation : int { none, relu, gelu, gelu_tanh, silu, tanh, sigmoid };

// Whether the backward pass of `act` needs the input of the activation (its output is enough
// otherwise).
constexpr bool needs_preactivation(Activation act) {
  return act == Activation::gelu || act == Activation::gelu_tanh || act == Activation::silu;
}

}  // namespace tilework
