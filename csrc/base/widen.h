// Elements of any float dtype as what they are computed in, and as the double that a long sum of
// them is kept in, and back.
#pragma once

#include <type_traits>

#include "base/types.h"

namespace tilework {

// Always inlined, so that an ISA file leaves no symbol of it behind.
template <class T>
inline __attribute__((always_inline)) Wide<T> wide(T x) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return to_float(x);
  else
    return x;
}

inline double widened(bfloat16 x) { return static_cast<double>(to_float(x)); }
template <class T>
double widened(T x) {
  return static_cast<double>(x);
}

template <class T>
T rounded(double x) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return to_bfloat16(static_cast<float>(x));
  else
    return static_cast<T>(x);
}

}  // namespace tilework
