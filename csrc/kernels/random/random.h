// Random tensors from counters: a number is a function of (seed, call, position in dense memory
// order) alone, so that threads, variants and engines agree.
//
// With w[i] the Philox word of position i (base/philox.h), element p is
//
//   bits     w[p]
//   uniform  float32: (w[p] >> 8) * 2^-24                     24 bits, in [0, 1)
//            float64: (W[p] >> 11) * 2^-53                    53 bits, in [0, 1)
//   normal   float32 pairs (p, p + 1), p even: u = (w[p] + 0.5) * 2^-32,  t = w[p + 1] * 2^-32
//            float64 pairs (p, p + 1), p even: u = ((W[p] >> 12) + 0.5) * 2^-52,
//                                              t = (W[p + 1] >> 11) * 2^-53
//            r = sqrt(-2 ln u); element p is r cos(2 pi t), element p + 1 is r sin(2 pi t)
//
// where W[p] = w[2p] | w[2p + 1] << 32. Every u and t above is exact in float64, in which the
// normals of both types are computed; float32 rounds once, at the end (half an ulp, but for rare
// ties); float64 is within 3 eps, relative. (Box and Muller, "A note on the generation of random
// normal deviates", 1958.)
#pragma once

#include <stdint.h>

namespace tilework {

// What a variant offers: elements [begin, end) of a tensor that starts at `out`. `begin` is a
// multiple of kRandomStep.
inline constexpr int kRandomStep = 64;
template <class T>
using RandomFill = void (*)(T* out, int64_t begin, int64_t end, uint64_t seed, uint64_t call);
struct RandomKernels {
  RandomFill<uint32_t> bits;
  RandomFill<float> uniform_f32, normal_f32;
  RandomFill<double> uniform_f64, normal_f64;
};

// What an element costs one thread, in ns, about: for the cost models of the callers too.
inline constexpr double kRandomBitsNs = 0.5, kRandomNormalNs = 2;

void random_bits(uint32_t* out, int64_t n, uint64_t seed, uint64_t call);
void random_uniform(float* out, int64_t n, uint64_t seed, uint64_t call);
void random_uniform(double* out, int64_t n, uint64_t seed, uint64_t call);
void random_normal(float* out, int64_t n, uint64_t seed, uint64_t call);
void random_normal(double* out, int64_t n, uint64_t seed, uint64_t call);

}  // namespace tilework
