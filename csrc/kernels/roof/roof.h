// The machine's limits, measured: what benchmarks hold a kernel's rate against.
#pragma once

#include <stdint.h>

namespace tilework {

// Floating-point operations a second that num_threads() threads reach from registers alone, with
// the active ISA's multiply-adds (two operations each).
double roof_flops_float32();
double roof_flops_float64();

// Bytes a second that they move through memory: two arrays read and one written, none of which any
// cache holds.
double roof_bandwidth();

// --- What a variant provides ---

inline constexpr int kRoofChains = 12;

struct RoofKernels {
  // `steps` dependent multiply-adds in each of kRoofChains chains of `lanes` numbers.
  void (*chains_f32)(int64_t steps, float* out);
  void (*chains_f64)(int64_t steps, double* out);
  int lanes_f32, lanes_f64;
  // out = a + 0.5 b. All aligned to 64 bytes; n is a multiple of 64.
  void (*triad)(const float* a, const float* b, float* out, int64_t n);
};

}  // namespace tilework
