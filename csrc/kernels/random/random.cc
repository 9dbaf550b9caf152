#include "kernels/random/random.h"

#include <algorithm>

#include "base/arithmetic.h"
#include "base/thread_pool.h"
#include "base/variants.h"

#define TW_FAMILY random
#define TW_KERNELS RandomKernels
#include "base/family.inc"

namespace tilework {
namespace {

// Elements of one task: 64 KiB of float32, some ten microseconds of the cheapest fill.
constexpr int64_t kChunk = 16384;
static_assert(kChunk % kRandomStep == 0);

template <class T>
void fill_chunks(RandomFill<T> fill, double ns_each, T* out, int64_t n, uint64_t seed,
                 uint64_t call) {
  parallel_for(ceil_div(n, kChunk), ns_each * static_cast<double>(n), [&](int64_t task) {
    fill(out, task * kChunk, std::min(n, (task + 1) * kChunk), seed, call);
  });
}

}  // namespace

void random_bits(uint32_t* out, int64_t n, uint64_t seed, uint64_t call) {
  fill_chunks(g_variants->bits, kRandomBitsNs, out, n, seed, call);
}
void random_uniform(float* out, int64_t n, uint64_t seed, uint64_t call) {
  fill_chunks(g_variants->uniform_f32, kRandomBitsNs, out, n, seed, call);
}
void random_uniform(double* out, int64_t n, uint64_t seed, uint64_t call) {
  fill_chunks(g_variants->uniform_f64, 2 * kRandomBitsNs, out, n, seed, call);
}
void random_normal(float* out, int64_t n, uint64_t seed, uint64_t call) {
  fill_chunks(g_variants->normal_f32, kRandomNormalNs, out, n, seed, call);
}
void random_normal(double* out, int64_t n, uint64_t seed, uint64_t call) {
  fill_chunks(g_variants->normal_f64, 2 * kRandomNormalNs, out, n, seed, call);
}

}  // namespace tilework
