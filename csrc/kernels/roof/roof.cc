#include "kernels/roof/roof.h"

#include <algorithm>
#include <chrono>

#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "base/variants.h"

#define TW_FAMILY roof
#define TW_KERNELS RoofKernels
#include "base/family.inc"

namespace tilework {
namespace {

constexpr int kAttempts = 15;       // the best counts: a roof is what nothing disturbed
constexpr int64_t kSteps = 200000;  // about a millisecond at one multiply-add a cycle and chain
constexpr int64_t kTriadFloats = int64_t{16} << 20;  // 64 MiB an array: beyond every cache
constexpr int64_t kTriadTasks = 64;

// Work per second of the best attempt, where one attempt is `work`, cut into `tasks`.
template <class Body>
double best_rate(double work, int64_t tasks, Body body) {
  double best = 0;
  for (int i = 0; i < kAttempts; ++i) {
    const auto start = std::chrono::steady_clock::now();
    parallel_for(tasks, 1e9, body);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::max(best, work / took.count());
  }
  return best;
}

template <class T>
double best_flops(void (*chains)(int64_t, T*), int lanes) {
  const int threads = num_threads();
  Scratch<T> out(static_cast<std::size_t>(threads));
  return best_rate(2.0 * kRoofChains * lanes * kSteps * threads, threads,
                   [&](int64_t task) { chains(kSteps, out.get() + task); });
}

}  // namespace

double roof_flops_float32() { return best_flops(g_variants->chains_f32, g_variants->lanes_f32); }
double roof_flops_float64() { return best_flops(g_variants->chains_f64, g_variants->lanes_f64); }

double roof_bandwidth() {
  Scratch<float> a(kTriadFloats), b(kTriadFloats), out(kTriadFloats);
  std::fill_n(a.get(), kTriadFloats, 1.0f);  // pages that were never written all read from one
  std::fill_n(b.get(), kTriadFloats, 1.0f);
  const int64_t block = kTriadFloats / kTriadTasks;
  return best_rate(3.0 * sizeof(float) * kTriadFloats, kTriadTasks, [&](int64_t task) {
    const int64_t at = task * block;
    g_variants->triad(a.get() + at, b.get() + at, out.get() + at, block);
  });
}

}  // namespace tilework
