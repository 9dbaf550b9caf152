// Whole-number arithmetic of cutting work into pieces. Always inlined, so that an ISA file leaves
// no symbol of it behind.
#pragma once

#include <cstdint>

namespace tilework {

#define TW_ARITHMETIC __attribute__((always_inline)) constexpr

TW_ARITHMETIC int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
TW_ARITHMETIC int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -ceil_div(-a, b); }
TW_ARITHMETIC int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// std::min, which ISA files may not instantiate.
template <class T>
TW_ARITHMETIC T least(T a, T b) {
  return a < b ? a : b;
}
TW_ARITHMETIC int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// [begin, begin + size) is part i when `whole` units are cut into `parts` of nearly one size.
struct Part {
  int64_t begin, size;
};
TW_ARITHMETIC Part part(int64_t whole, int64_t parts, int64_t i) {
  const int64_t begin = whole * i / parts;
  return {begin, whole * (i + 1) / parts - begin};
}

#undef TW_ARITHMETIC

}  // namespace tilework
