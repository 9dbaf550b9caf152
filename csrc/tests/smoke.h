// What the checks of smoke.cc share: operands, and how near a result must come.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "base/cpu.h"
#include "base/variants.h"

namespace tilework {

// Of long sums, which have to be nearer to the truth than the kernels' own.
using Longest = long double;

inline const char* g_check = "";  // what runs now, for the message

template <class T>
std::vector<T> values(int64_t n, double low = -2, double high = 2) {
  static std::minstd_rand random(1);
  std::vector<T> x(n);
  for (T& v : x) v = T(std::uniform_real_distribution<>(low, high)(random));
  return x;
}

// Within 16 eps of `size`: the sum of the magnitudes of what is rounded on the way to `want`.
template <class T>
void near(T got, Longest want, Longest size) {
  if (std::abs(got - want) <= 16 * std::numeric_limits<T>::epsilon() * (std::abs(want) + size))
    return;
  std::fprintf(stderr, "%s, %s, %d bytes: got %.17g; expected %.17g\n", g_check,
               isa_name(active_isa()), static_cast<int>(sizeof(T)), static_cast<double>(got),
               static_cast<double>(want));
  std::abort();
}

}  // namespace tilework
