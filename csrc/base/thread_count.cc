// How many threads: physical cores that affinity and the cgroup's quota leave, or what the user
// says.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/cgroup.h"
#include "base/text_file.h"
#include "base/thread_pool.h"

namespace tilework {
namespace {

std::atomic<int> g_threads{0};  // 0: not yet asked for
std::atomic<bool> g_set_by_call{false};

// The CPUs this process may run on. Grows the mask until the kernel's own fits: machines of more
// than 1024 CPUs exist.
std::vector<int> allowed_cpus() {
  for (int capacity = 1024; capacity <= 1 << 20; capacity *= 2) {
    cpu_set_t* set = CPU_ALLOC(capacity);
    const std::size_t bytes = CPU_ALLOC_SIZE(capacity);
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    std::vector<int> cpus;
    for (int cpu = 0; known && cpu < capacity; ++cpu)
      if (CPU_ISSET_S(cpu, bytes, set)) cpus.push_back(cpu);
    CPU_FREE(set);
    if (known) return cpus;
  }
  std::vector<int> all(std::max(1u, std::thread::hardware_concurrency()));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
  return all;
}

// Hyperthreads share the units and the caches that kernels fill, so siblings count once.
int distinct_cores(const std::vector<int>& cpus) {
  std::set<std::string> cores;
  for (int cpu : cpus) {
    const std::string name = std::to_string(cpu);
    const std::vector<std::string> siblings =
        lines_of("/sys/devices/system/cpu/cpu" + name + "/topology/thread_siblings_list");
    cores.insert(siblings.empty() ? "cpu" + name : siblings[0]);
  }
  return static_cast<int>(cores.size());
}

int threads_from_environment() {
  const char* text = std::getenv("TILEWORK_NUM_THREADS");
  if (!text || !*text) return 0;
  char* end;
  const long n = std::strtol(text, &end, 10);
  if (*end || n < 1 || n > kMaxThreads)
    throw std::invalid_argument("[TILEWORK_NUM_THREADS] expected an integer from 1 to " +
                                std::to_string(kMaxThreads) + "; got '" + text +
                                "': set one, or none");
  return static_cast<int>(n);
}

ThreadInfo default_threads() {
  const std::vector<int> cpus = allowed_cpus();
  ThreadInfo info{};
  info.affinity = static_cast<int>(cpus.size());
  info.cores = distinct_cores(cpus);
  info.quota = read_cgroup_limits().cpus;
  info.threads = std::clamp(info.cores, 1, kMaxThreads);
  info.source = "cores";
  // Rounded up: a quota of 1.5 CPUs is spent by two threads, not by one.
  if (std::ceil(info.quota) < info.threads) {
    info.threads = std::max(1, static_cast<int>(std::ceil(info.quota)));
    info.source = "cgroup quota";
  }
  if (const int n = threads_from_environment()) {
    info.threads = n;
    info.source = "TILEWORK_NUM_THREADS";
  }
  return info;
}

}  // namespace

// No lock and no once-flag: a fork could leave either held for ever in the child.
int num_threads() {
  int n = g_threads.load(std::memory_order_relaxed);
  if (n == 0) {
    const int found = default_threads().threads;
    n = g_threads.compare_exchange_strong(n, found) ? found : n;
  }
  return n;
}

void set_num_threads(int n) {
  if (n < 1 || n > kMaxThreads)
    throw std::invalid_argument("[set_num_threads] expected an integer from 1 to " +
                                std::to_string(kMaxThreads) + "; got " + std::to_string(n));
  g_threads.store(n);
  g_set_by_call.store(true);
}

ThreadInfo thread_info() {
  ThreadInfo info = default_threads();
  info.threads = num_threads();
  if (g_set_by_call.load()) info.source = "set_num_threads";
  return info;
}

}  // namespace tilework
