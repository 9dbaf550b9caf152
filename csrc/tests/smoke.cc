// The least that must run anywhere: on the oldest CPU of the baseline, nothing here may meet an
// instruction that it lacks. CI runs it under `qemu-x86_64 -cpu Nehalem`.
#include <cmath>
#include <cstring>
#include <vector>

#include "base/cpu.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "kernels/random/random.h"
#include "tests/check.h"

using namespace tilework;

int main() {
  std::printf("%s: best ISA %s, serving %s, %d threads\n", cpu_info().model.c_str(),
              isa_name(cpu_info().best), isa_name(active_isa()), num_threads());

  set_num_threads(2);
  std::vector<double> x(1000);
  parallel_for(static_cast<int64_t>(x.size()), 1e9,
               [&](int64_t i) { x[i] = std::sqrt(static_cast<double>(i)); });
  CHECK(x[100] == 10);

  for (std::size_t bytes : {0, 100, 100'000, 10'000'000}) {
    const Scratch<char> scratch(bytes);
    std::memset(scratch.get(), 1, bytes);
  }
  CHECK(pool_stats().in_use_bytes == 0);
  pool_trim();
  CHECK(pool_stats().cached_bytes == 0);

  std::vector<float> normal(1000);
  random_normal(normal.data(), 1000, 1, 2);
  for (float z : normal) CHECK(std::abs(z) < 7);
}
