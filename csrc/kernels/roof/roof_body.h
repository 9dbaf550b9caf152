// The probes, at the width of the ISA being built.
#pragma once

#include "kernels/roof/roof.h"
#include "simd/vec.h"

namespace tilework::TW_ISA {

// A core of today retires two multiply-adds a cycle, each four or five cycles long: ten chains keep
// it busy. Twelve and the two operands still fit the sixteen registers of AVX2.
template <class T>
void roof_chains(int64_t steps, T* out) {
  Vec<T> chain[kRoofChains];
  for (int c = 0; c < kRoofChains; ++c) chain[c] = Vec<T>(static_cast<T>(c));
  // The fixed point of x * 0.5 + 0.25 is a plain number: no overflow, no denormals.
  const Vec<T> half(static_cast<T>(0.5)), quarter(static_cast<T>(0.25));
  for (int64_t i = 0; i < steps; ++i)
    for (int c = 0; c < kRoofChains; ++c) chain[c] = fma(chain[c], half, quarter);
  Vec<T> sum = Vec<T>::zero();
  for (int c = 0; c < kRoofChains; ++c) sum = sum + chain[c];
  *out = reduce_add(sum);  // or the compiler would drop it all
}

inline void roof_triad(const float* a, const float* b, float* out, int64_t n) {
  const Vec<float> half(0.5f);
  for (int64_t i = 0; i < n; i += Vec<float>::width)
    fma(Vec<float>::load(b + i), half, Vec<float>::load(a + i)).stream(out + i);
  stream_fence();
}

extern const RoofKernels roof_kernels;
const RoofKernels roof_kernels = {&roof_chains<float>, &roof_chains<double>, Vec<float>::width,
                                  Vec<double>::width, &roof_triad};

}  // namespace tilework::TW_ISA
