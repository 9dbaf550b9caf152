// What a product's contract says of memory that its operands share: a residual that is C itself.
#include <cmath>
#include <random>
#include <type_traits>
#include <vector>

#include "base/cpu.h"
#include "base/variants.h"
#include "kernels/gemm/gemm.h"
#include "tests/check.h"
#include "tests/products.h"

using namespace tilework;

namespace {

// Small whole numbers: every sum is exact, in whatever order it is made.
template <class T>
std::vector<T> whole_numbers(int64_t n) {
  return drawn<T>(n, std::uniform_int_distribution<>(-2, 2));
}

// C = A B + bias + C, by each way that a product is made: blocked, narrow, dots, rows.
template <class T>
void residual_is_c(int64_t m, int64_t n, int64_t k, bool b_along_k) {
  const auto a = whole_numbers<T>(m * k), b = whole_numbers<T>(n * k), bias = whole_numbers<T>(n),
             before = whole_numbers<T>(m * n);
  std::vector<T> c = before;
  GemmArgs<T> g{.m = m,
                .n = n,
                .k = k,
                .a = {a.data(), k, 1},
                .b = {b.data(), b_along_k ? 1 : n, b_along_k ? k : 1},
                .c = output_of(c),
                .c_row = n};
  g.epilogue.bias = bias.data();
  g.epilogue.residual = c.data();
  g.epilogue.residual_row = n;
  gemm(g);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double want = widened(bias[j]) + widened(before[i * n + j]);
      for (int64_t x = 0; x < k; ++x) want += widened(a[i * k + x]) * widened(*g.b.at(x, j));
      const double unit = std::is_same_v<T, bfloat16> ? std::abs(want) / 128 : 0;  // one rounding
      CHECK(std::abs(widened(c[i * n + j]) - want) <= unit);
    }
}

template <class T>
void all_ways() {
  for (const bool b_along_k : {false, true})
    for (const int64_t m : {1, 3, 20, 70})
      for (const int64_t n : {1, 3, 20, 130})
        for (const int64_t k : {1, 20, 100, 900}) residual_is_c<T>(m, n, k, b_along_k);
}

}  // namespace

int main() {
  for (const char* isa : {"generic", "avx2", "avx512", "avx512bf16", "neon"}) {
    try {
      set_isa(isa);
    } catch (const std::exception&) {
      continue;  // not on this CPU
    }
    all_ways<float>();
    all_ways<double>();
    all_ways<bfloat16>();
  }
}
