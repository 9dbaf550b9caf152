// Stress of both pools without Python, for the sanitizers: many callers at once, nested calls,
// exceptions, fork while threads run, changing sizes, frees from other threads.
//
//     stress [rounds]        (default 5: under five seconds)
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "tests/check.h"

using namespace tilework;

// A child here starts threads of its own, which ThreadSanitizer otherwise refuses.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_options() {
  return "die_after_fork=0";
}

namespace {

constexpr double kAlwaysShare = 1e12;  // ns: a cost that pays for every thread

void run_threads(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(body, i);
  for (std::thread& t : threads) t.join();
}

// Where this is set, memory for a worker's start cannot be had.
std::atomic<bool> g_no_memory{false};

}  // namespace

void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return g_no_memory ? nullptr : ::operator new(bytes);
}

namespace {

// Each task runs once, whatever the number of threads, tasks and the cost.
void each_task_once(unsigned seed) {
  std::minstd_rand random(seed);
  for (int repeat = 0; repeat < 50; ++repeat) {
    const int64_t tasks = random() % 200;
    const double cost = repeat % 2 ? kAlwaysShare : static_cast<double>(random() % 200000);
    std::vector<int> runs(tasks, 0);  // not atomic: a task that ran twice at once is a race
    parallel_for(tasks, cost, [&](int64_t i) { runs[i] += 1; });
    for (int n : runs) CHECK(n == 1);
  }
}

// First of all: no worker is there yet. The pool must serve on.
void workers_that_cannot_start() {
  set_num_threads(3);
  g_no_memory = true;
  each_task_once(1);
  g_no_memory = false;
  std::atomic<int> arrived{0};
  parallel_for(2, kAlwaysShare, [&](int64_t) {  // ends only if two threads share it
    arrived += 1;
    while (arrived < 2) std::this_thread::yield();
  });
}

void many_callers(unsigned seed) {
  run_threads(4, [&](int caller) { each_task_once(seed + caller); });
}

void nested() {
  std::atomic<int> total{0};
  parallel_for(8, kAlwaysShare, [&](int64_t) {
    parallel_for(8, kAlwaysShare,
                 [&](int64_t) { parallel_for(2, kAlwaysShare, [&](int64_t) { total += 1; }); });
  });
  CHECK(total == 128);
}

// Whoever throws, the caller gets it, no task runs twice, and the pool serves on.
void exceptions(unsigned seed) {
  std::minstd_rand random(seed);
  for (int repeat = 0; repeat < 20; ++repeat) {
    const int64_t bad = random() % 64;
    std::atomic<int> ran{0};
    bool caught = false;
    try {
      parallel_for(64, kAlwaysShare, [&](int64_t i) {
        ran += 1;
        if (i == bad || i == bad + 1) throw std::runtime_error("task " + std::to_string(i));
      });
    } catch (const std::runtime_error& error) {
      caught = std::strncmp(error.what(), "task ", 5) == 0;
    }
    CHECK(caught);
    CHECK(ran <= 64);
    each_task_once(random());
  }
}

// Fills a block whole, so that an overlap of two live blocks, or of a block and the free list,
// shows.
struct Block {
  unsigned char* data;
  std::size_t bytes;
  unsigned char mark;

  Block(std::size_t n, unsigned char m) : bytes(n), mark(m) {
    data = static_cast<unsigned char*>(pool_allocate(n));
    CHECK(reinterpret_cast<uintptr_t>(data) % 64 == 0);
    std::memset(data, mark, n);
  }
  void release() const {
    for (std::size_t i = 0; i < bytes; i += bytes / 16 + 1) CHECK(data[i] == mark);
    if (bytes) CHECK(data[bytes - 1] == mark);
    pool_release(data, bytes);
  }
};

std::size_t random_size(std::minstd_rand& random) {
  return random() % (std::size_t{1} << (random() % 23));  // mostly small, to 4 MiB
}

void changing_sizes(unsigned seed) {
  std::minstd_rand random(seed);
  std::vector<Block> live;
  for (int step = 0; step < 300; ++step) {
    if (live.size() < 16 || random() % 2) {
      live.emplace_back(random_size(random), static_cast<unsigned char>(random()));
    } else {
      const std::size_t i = random() % live.size();
      live[i].release();
      live[i] = live.back();
      live.pop_back();
    }
    if (step % 100 == 99) pool_trim();
  }
  for (const Block& block : live) block.release();
}

// One thread allocates, the next one frees.
void cross_thread_frees(unsigned seed) {
  constexpr int kThreads = 4;
  std::vector<std::vector<Block>> made(kThreads);
  run_threads(kThreads, [&](int t) {
    std::minstd_rand random(seed + t);
    for (int i = 0; i < 100; ++i)
      made[t].emplace_back(random_size(random) / 8, static_cast<unsigned char>(t + 1));
  });
  run_threads(kThreads, [&](int t) {
    for (const Block& block : made[(t + 1) % kThreads]) block.release();
  });
}

// Whatever shapes come, what is cached and in use stays under the limit, and trimming returns it.
void stays_bounded(unsigned seed) {
  constexpr int64_t kLimit = 32 << 20;
  const int64_t before = pool_stats().limit_bytes;
  const int64_t in_use = pool_stats().in_use_bytes;
  pool_set_limit(kLimit);
  std::minstd_rand random(seed);
  for (int i = 0; i < 500; ++i) {
    Block(1 + random() % (8 << 20), 7).release();
    const PoolStats stats = pool_stats();
    CHECK(stats.cached_bytes + stats.in_use_bytes <= kLimit);
    CHECK(stats.in_use_bytes == in_use);
  }
  Block(2 * kLimit, 7).release();  // larger than the limit: served, and not kept
  CHECK(pool_stats().cached_bytes <= kLimit);
  pool_trim();
  CHECK(pool_stats().cached_bytes == 0);
  pool_set_limit(before);
}

// AddressSanitizer's own allocator (that of gcc 12) takes no care of fork: a child made while
// another thread is inside it waits for that thread's lock for ever.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kForkIsSafe = false;
#else
constexpr bool kForkIsSafe = true;
#endif

// A child made while other threads use both pools must be able to use them, and end.
void fork_while_running(unsigned seed) {
  std::atomic<bool> stop{false};
  std::thread user([&] {
    for (unsigned i = 0; !stop; ++i) {
      changing_sizes(seed + i);
      each_task_once(seed + i);
    }
  });
  for (int i = 0; i < 4; ++i) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(60);  // a child that hangs dies of it
      changing_sizes(seed);
      each_task_once(seed);
      nested();
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  stop = true;
  user.join();
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  CHECK(rounds > 0);
  workers_that_cannot_start();
  for (int round = 0; round < rounds; ++round) {
    set_num_threads(1 + (round + 2) % 5);  // 3 first: one round alone must share work
    const unsigned seed = 1000 * round + 1;
    each_task_once(seed);
    many_callers(seed);
    nested();
    exceptions(seed);
    changing_sizes(seed);
    run_threads(4, [&](int t) { changing_sizes(seed + t); });
    parallel_for(8, kAlwaysShare, [&](int64_t i) { changing_sizes(seed + i); });
    cross_thread_frees(seed);
    stays_bounded(seed);
    if (kForkIsSafe) fork_while_running(seed);
  }
  CHECK(pool_stats().in_use_bytes == 0);
  // While this returns, workers spin or sleep: the end of the process must not wait for them.
  std::printf("stress: %d rounds\n", rounds);
}
