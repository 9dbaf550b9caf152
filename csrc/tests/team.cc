// Teams without Python, for the sanitizers too: results beside one thread's,
// members that come late, throw, fork or find the pool busy. And what a barrier
// costs, and a CPU that others take:
//
//     team [rounds]       (default 3)
//     team barrier        the time of a barrier, on an idle machine
//     team hogs           a recurrent cell beside one thread, on CPUs that two
//     loops share
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/team.h"
#include "base/thread_pool.h"
#include "base/wait.h"
#include "tests/check.h"

using namespace tilework;

// A child here starts threads of its own, which ThreadSanitizer otherwise
// refuses.
extern "C" [[gnu::visibility("default")]] const char* __tsan_default_options() {
  return "die_after_fork=0";
}

namespace {

constexpr double kAlwaysShare = 1e9;  // ns: work that pays for every thread
constexpr double kStepNs = 20'000;    // what most steps here take

void run_threads(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(body, i);
  for (std::thread& t : threads) t.join();
}

// --- what a team computes ---

// Each unit of a step reads all of the step before, as a recurrent cell does.
uint64_t mixed(const std::vector<uint64_t>& from, int64_t unit) {
  uint64_t sum = static_cast<uint64_t>(unit);
  for (uint64_t x : from) sum = sum * 6364136223846793005u + x;
  return sum;
}

void same_as_one_thread(unsigned seed) {
  std::minstd_rand random(seed);
  for (int repeat = 0; repeat < 20; ++repeat) {
    const int64_t units = 1 + random() % 40, steps = random() % 200;
    const int threads = 1 + static_cast<int>(random() % 8);
    std::vector<uint64_t> state[2], expected(units, 1);
    state[0] = expected;
    state[1].resize(units);
    for (int64_t t = 0; t < steps; ++t) {
      std::vector<uint64_t> next(units);
      for (int64_t i = 0; i < units; ++i) next[i] = mixed(expected, i);
      expected = next;
    }
    // Not atomic: a unit that two members have, or one that reads before the
    // barrier, is a race.
    std::vector<int> runs(units, 0);
    parallel_team(threads, {steps, units, repeat % 2 ? kAlwaysShare : 1000.0},
                  [&](int64_t t, int64_t i) {
                    state[(t + 1) % 2][i] = mixed(state[t % 2], i);
                    CHECK(runs[i]++ == t);
                  });
    CHECK(state[steps % 2] == expected);
    for (int n : runs) CHECK(n == steps);
  }
}

void work_for(int64_t ns) {
  const int64_t end = now_ns() + ns;
  while (now_ns() < end) cpu_pause();
}

// Calls of teams with four units a step, until one has shared twenty steps:
// workers wake, and those that were late before stay away for a while.
// body(is_caller, step) in each unit.
constexpr int64_t kSteps = 200;
void share(const std::function<void(bool, int64_t)>& body) {
  const std::thread::id caller = std::this_thread::get_id();
  for (int met = 0; met < 20;) {
    std::vector<int> others(kSteps * 4, 0);
    parallel_team(3, {kSteps, 4, kStepNs}, [&](int64_t t, int64_t i) {
      const bool is_caller = std::this_thread::get_id() == caller;
      others[t * 4 + i] = !is_caller;
      body(is_caller, t);
      work_for(5000);
    });
    for (int n : others) met += n;
  }
}

// --- one thread alone ---

bool is_shared(int threads, TeamCost cost) {
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<bool> shared{false};
  parallel_team(threads, cost, [&](int64_t, int64_t) {
    if (std::this_thread::get_id() != caller) shared = true;
    work_for(1000);
  });
  return shared;
}

void teams_of_one() {
  while (!is_shared(2, {1000, 2, kStepNs})) continue;
  for (int i = 0; i < 20; ++i) {
    CHECK(!is_shared(8, {1000, 2, 100}));  // steps shorter than their barrier
    CHECK(!is_shared(8, {5, 2, 1000}));    // work shorter than waking a thread
    CHECK(!is_shared(8, {100, 1, 1e6}));   // nothing to share
    CHECK(!is_shared(1, {100, 8, 1e6}));
  }
  CHECK(!is_shared(8, {1, kMostUnits + 1, 1e9}));
  parallel_for(4, kAlwaysShare, [](int64_t) {
    CHECK(!is_shared(8, {20, 8, 1e6}));
    same_as_one_thread(1);
  });
  share([](bool, int64_t) { CHECK(!is_shared(8, {2, 2, 1e6})); });
  std::atomic<bool> inside{false}, done{false};
  std::thread other([&] {
    parallel_for(2, kAlwaysShare, [&](int64_t) {  // holds the pool
      inside = true;
      while (!done) std::this_thread::yield();
    });
  });
  while (!inside) std::this_thread::yield();
  CHECK(!is_shared(8, {1000, 2, 1e6}));
  done = true;
  other.join();
}

// --- exceptions ---

enum class Thrower { caller, worker, both };

// Whoever throws, at whichever of its units: all leave, the caller gets it, no
// unit is begun twice, no step after it begins, and the pool serves on.
void throws_from(Thrower who, int64_t at) {
  for (bool caught = false; !caught;) {
    std::atomic<int64_t> mine{0}, theirs{0}, threw_at{-1};
    try {
      share([&](bool is_caller, int64_t t) {
        const int64_t over = threw_at;
        CHECK(over < 0 || over == t);          // no step begins after that one
        if (theirs == 0 && is_caller) return;  // not shared yet
        std::atomic<int64_t>& count = is_caller ? mine : theirs;
        const bool chosen = who == Thrower::both || (who == Thrower::caller) == is_caller;
        if (count++ < at || !chosen) return;
        threw_at = t;
        throw std::runtime_error("step " + std::to_string(t));
      });
    } catch (const std::runtime_error& error) {
      caught = std::strncmp(error.what(), "step ", 5) == 0;
      CHECK(caught);
    }
  }
}

void exceptions() {
  for (const Thrower who : {Thrower::caller, Thrower::worker, Thrower::both})
    for (const int64_t at : {0, 1, 7}) throws_from(who, at);
  for (int i = 0; i < 20; ++i) {
    bool caught = false;
    try {
      parallel_team(3, {100, 4, kAlwaysShare}, [](int64_t t, int64_t) {
        if (t == 0) throw std::runtime_error("at once, and all");
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
    CHECK(caught);
  }
  same_as_one_thread(7);
}

// --- members whose CPU is taken ---

// A worker that is kept from each of its units, as by another process, keeps
// the caller waiting now and then and not at each step: the caller does the
// rest, while the worker stays away.
void late_members() {
  const std::thread::id caller = std::this_thread::get_id();
  for (int seen = 0; seen < 3;) {
    std::atomic<int64_t> taken_ns{0}, longest_ns{0};  // one worker writes them
    const int64_t start = now_ns();
    parallel_team(2, {300, 4, kStepNs}, [&](int64_t, int64_t) {
      if (std::this_thread::get_id() == caller) return work_for(5000);
      const int64_t begin = now_ns();
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      const int64_t ns = now_ns() - begin;
      taken_ns += ns;
      longest_ns = std::max(longest_ns.load(), ns);
    });
    // Away for ten times as long as it was waited for, it is in its units for a
    // small part of the time, however long a busy machine makes them; one that
    // never stays away, for all of it.
    CHECK(taken_ns <= (now_ns() - start) / 2 + 3 * longest_ns);
    seen += taken_ns > 0;
  }
}

// While the caller is kept from its unit the others do the rest and go to
// sleep: they are called again, within the same call.
void late_caller() {
  std::atomic<int64_t> halt{kSteps}, together{kSteps};
  while (together == kSteps) {
    halt = kSteps;
    share([&](bool is_caller, int64_t t) {
      if (!is_caller && t > halt) together = t;
      if (is_caller && t >= 20 && halt == kSteps) {
        halt = t;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    });
  }
}

// --- forks ---

// AddressSanitizer's own allocator (that of gcc 12) takes no care of fork: a
// child made while another thread is inside it waits for that thread's lock for
// ever.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kForkIsSafe = false;
#else
constexpr bool kForkIsSafe = true;
#endif

void expect_exit(pid_t child, int code) {
  int status;
  CHECK(child > 0 && waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

// A child that another thread makes meanwhile has its own pool.
void fork_beside() {
  std::atomic<bool> stop{false};
  std::thread user([&] {
    for (unsigned i = 0; !stop; ++i) same_as_one_thread(i);
  });
  for (int i = 0; i < 4; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);  // a child that hangs dies of it
      same_as_one_thread(1);
      _exit(0);
    }
    expect_exit(child, 0);
  }
  stop = true;
  user.join();
}

// A child made inside of a body does not wait for members that it does not
// have: the caller's gets an error where another had begun a unit, a worker's
// ends. The parent's team goes on.
void fork_inside(bool by_caller) {
  std::atomic<pid_t> child{-1};
  std::atomic<int> theirs{0};
  bool refused = false;
  const std::thread::id caller = std::this_thread::get_id();
  const auto in_step = [&](bool is_caller) {
    if (!is_caller) ++theirs;
    if (theirs == 0 || is_caller != by_caller || child >= 0) return;
    child = fork();
    if (child == 0) alarm(60);
  };
  try {
    while (child < 0)
      parallel_team(2, {kSteps, 4, kStepNs}, [&](int64_t, int64_t) {
        in_step(std::this_thread::get_id() == caller);
        work_for(5000);
      });
  } catch (const std::logic_error&) {
    refused = true;
  }
  if (child == 0) {
    same_as_one_thread(2);
    _exit(refused ? 0 : 4);  // 4: no other had begun a unit then
  }
  CHECK(!refused);
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
  const int code = WEXITSTATUS(status);
  CHECK(by_caller ? code == 0 || code == 4 : code == EXIT_FAILURE);
  same_as_one_thread(3);
}

// The same of tasks.
void fork_inside_a_task() {
  std::atomic<pid_t> child{-1};
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> arrived{0};
  bool refused = false;
  try {
    parallel_for(2, kAlwaysShare, [&](int64_t) {
      arrived += 1;
      while (arrived < 2) std::this_thread::yield();
      if (std::this_thread::get_id() != caller) {
        while (child < 0) std::this_thread::yield();
        return;
      }
      child = fork();
      if (child == 0) alarm(60);
    });
  } catch (const std::logic_error&) {
    refused = true;
  }
  if (child == 0) _exit(refused ? 0 : 3);
  CHECK(!refused);
  expect_exit(child, 0);
}

// --- measured ---

double seconds_since(int64_t start) { return static_cast<double>(now_ns() - start) * 1e-9; }

uint64_t chain(int64_t turns) {
  uint64_t x = 1;
  for (int64_t i = 0; i < turns; ++i) {
    x = x * 6364136223846793005u + 1;
    __asm__ volatile("" : "+r"(x));  // not folded
  }
  return x;
}

// Steps of a microsecond for each member, beside as many without a barrier, in
// windows of 100 steps: of these only the ones count in which the two threads
// had a unit of every step each, since on a machine with other work most are
// not the barrier's time. How many count is printed too.
void measure_barrier() {
  constexpr int64_t kTurns = 1000, kWindow = 100, kCount = 20'000;
  const auto middle = [](std::vector<double>& x) {
    std::sort(x.begin(), x.end());
    return x[x.size() / 2];
  };
  std::vector<double> with, without;
  const std::thread::id caller = std::this_thread::get_id();
  int64_t windows = 0;
  for (int repeat = 0; repeat < 20; ++repeat) {
    int64_t own = 0, begun = -1, own_then = 0, start = 0;
    parallel_team(2, {kCount, 2, 1e5}, [&](int64_t t, int64_t) {
      if (std::this_thread::get_id() == caller) {
        if (t % kWindow == 0 && t != begun) {
          const int64_t now = now_ns();
          windows += begun >= 0;
          if (begun == t - kWindow && own - own_then == kWindow)
            with.push_back(static_cast<double>(now - start) / kWindow);
          begun = t, own_then = own, start = now;
        }
        ++own;
      }
      chain(kTurns);
    });
    for (int64_t i = 0; i < kCount / kWindow; ++i) {
      const int64_t alone = now_ns();
      for (int64_t t = 0; t < kWindow; ++t) chain(kTurns);
      without.push_back(static_cast<double>(now_ns() - alone) / kWindow);
    }
  }
  std::printf("%zu of %lld windows were shared\n", with.size(), static_cast<long long>(windows));
  if (with.empty()) return;
  const double alone = middle(without), shared = middle(with);
  std::printf(
      "a step %.0f ns, without a barrier %.0f: %.0f ns a barrier (the "
      "best window %.0f)\n",
      shared, alone, shared - alone, with[0] - without[0]);
}

// h = W h over 64 steps, W of 512x512 float32: half of it is what a core's L2
// holds well.
class Cell {
 public:
  static constexpr int64_t kSize = 512, kSteps = 64, kUnit = 16;

  double seconds(int threads) {
    const int64_t start = now_ns();
    parallel_team(threads, {kSteps, kSize / kUnit, 20'000}, [&](int64_t t, int64_t unit) {
      for (int64_t i = unit * kUnit; i < (unit + 1) * kUnit; ++i) {
        float sum[16] = {};
        for (int64_t k = 0; k < kSize; k += 16)
          for (int64_t j = 0; j < 16; ++j)
            sum[j] += weights_[i * kSize + k + j] * state_[t % 2][k + j];
        for (int64_t j = 1; j < 16; ++j) sum[0] += sum[j];
        state_[(t + 1) % 2][i] = sum[0];
      }
    });
    return seconds_since(start);
  }

 private:
  std::vector<float> weights_ = std::vector<float>(kSize * kSize, 1.0f / kSize);
  std::vector<float> state_[2] = {std::vector<float>(kSize, 1), std::vector<float>(kSize)};
};

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  CHECK(sched_setaffinity(0, sizeof set, &set) == 0);
}

// One thread's calls and a team's in turns, so that both meet the same machine.
void beside_one_thread(const char* title, double limit_s) {
  Cell cell;
  std::vector<double> alone, team;
  for (const int64_t start = now_ns(); seconds_since(start) < limit_s;)
    for (int i = 0; i < 50; ++i) {
      alone.push_back(cell.seconds(1));
      team.push_back(cell.seconds(num_threads()));
    }
  const auto say = [](const char* name, std::vector<double>& s) {
    double sum = 0;
    for (double x : s) sum += x;
    std::sort(s.begin(), s.end());
    std::printf(
        "  %-11s mean %7.0f us, median %6.0f, 99 of 100 below %7.0f, "
        "longest %7.0f\n",
        name, 1e6 * sum / static_cast<double>(s.size()), 1e6 * s[s.size() / 2],
        1e6 * s[s.size() * 99 / 100], 1e6 * s.back());
    return sum;
  };
  std::printf("%s, %zu calls\n", title, alone.size());
  const double one = say("one thread", alone), more = say("team", team);
  std::printf("  team over one thread: %.2f\n", more / one);
}

void measure_hogs() {
  const int cpus[] = {0, 1};
  beside_one_thread("idle CPUs", 2);
  for (int count = 1; count <= 2; ++count) {
    pid_t hogs[2];
    for (int i = 0; i < count; ++i) {
      hogs[i] = fork();
      CHECK(hogs[i] >= 0);
      if (hogs[i] == 0) {
        alarm(60);
        pin(cpus[1 - i]);
        for (;;) chain(1000);
      }
    }
    beside_one_thread(count == 1 ? "a loop on CPU 1" : "a loop on each CPU", 6);
    for (int i = 0; i < count; ++i) {
      kill(hogs[i], SIGKILL);
      waitpid(hogs[i], nullptr, 0);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "3";
  if (mode == "barrier") return measure_barrier(), 0;
  if (mode == "hogs") return measure_hogs(), 0;
  const int rounds = std::atoi(mode.c_str());
  CHECK(rounds > 0);
  alarm(280);  // what hangs dies of it
  for (int round = 0; round < rounds; ++round) {
    for (int threads = 1; threads <= 8; ++threads) {
      set_num_threads(threads);
      same_as_one_thread(100 * round + threads);
    }
    set_num_threads(2 + round % 4);
    run_threads(4, [&](int user) { same_as_one_thread(1000 * round + user); });
    teams_of_one();
    exceptions();
    late_members();
    late_caller();
    if (kForkIsSafe) {
      fork_beside();
      fork_inside(true);
      fork_inside(false);
      fork_inside_a_task();
    }
  }
  std::printf("team: %d rounds\n", rounds);
}
