// From an activation that is only known at run time to code compiled for it.
#pragma once

#include "simd/activation.h"

namespace tilework::TW_ISA {

// Calls run.operator()<activation>() for the activation that is only known at run time.
template <class Run>
TW_INLINE void with_activation(Activation activation, Run&& run) {
  switch (activation) {
    case Activation::none:
      return run.template operator()<Activation::none>();
    case Activation::relu:
      return run.template operator()<Activation::relu>();
    case Activation::gelu:
      return run.template operator()<Activation::gelu>();
    case Activation::gelu_tanh:
      return run.template operator()<Activation::gelu_tanh>();
    case Activation::silu:
      return run.template operator()<Activation::silu>();
    case Activation::tanh:
      return run.template operator()<Activation::tanh>();
    case Activation::sigmoid:
      return run.template operator()<Activation::sigmoid>();
  }
}

}  // namespace tilework::TW_ISA
