// What tests of products share: random operands of any float dtype, and C as a product takes it.
#pragma once

#include <random>
#include <type_traits>
#include <vector>

#include "base/widen.h"
#include "kernels/gemm/kernels.h"

namespace tilework {

// n numbers of a distribution.
template <class T, class Distribution>
std::vector<T> drawn(int64_t n, Distribution next) {
  static std::minstd_rand random(1);
  std::vector<T> x(n);
  for (T& v : x) v = rounded<T>(next(random));
  return x;
}

template <class T>
Output<T> output_of(std::vector<T>& c) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return {reinterpret_cast<char*>(c.data()), false};
  else
    return c.data();
}

}  // namespace tilework
