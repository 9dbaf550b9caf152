// The pool: each participant of a job has a seat with its own range of tasks, and takes from the
// other ranges when its own is empty.
//
// Fixed seats and ranges keep a thread on the same part of an array from one kernel to the next, so
// that it finds its part in its own L2; taking keeps all busy when one is late. The result cannot
// depend on who ran what: bodies write disjoint outputs that the cut alone decides.
#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "base/wait.h"

namespace tilework {
namespace {

// What one more thread costs a job, in ns. A worker that is awake costs 800 (measured: an empty job
// on two threads); one that sleeps costs the caller 4000 for the system call, and comes 5000
// (bare metal) to 60000 (a virtual machine) later, while the caller works on. The price of a
// sleeping one rules: work that comes in a stream must be able to wake the pool, and then finds it
// awake.
constexpr double kThreadCostNs = 5000;

// How long a thread looks for work before it sleeps: about what waking it again may take, so that
// at worst it burns as much as it saves.
constexpr auto kSpin = std::chrono::microseconds(100);

thread_local bool t_inside_task = false;

// Until done() or kSpin is over. After a few microseconds of pauses it yields between them: the
// thread that is waited for may have been put on this very CPU. On a CPU of its own, a yield comes
// straight back.
template <class Done>
bool spin_until(Done done) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  for (auto now = start; now < start + kSpin; now = Clock::now()) {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      cpu_pause();
    }
    if (now > start + kSpin / 20) sched_yield();
  }
  return done();
}

class Pool {
 public:
  // False where the pool serves another thread: the caller runs its tasks itself.
  bool try_run(int threads, int64_t tasks, FunctionRef<void(int64_t)> body) {
    if (busy_.exchange(true, std::memory_order_acquire)) return false;
    threads_ = start_workers(threads);
    body_ = &body;
    for (int s = 0; s < threads_; ++s) {
      seats_[s].next.store(tasks * s / threads_, std::memory_order_relaxed);
      seats_[s].end = tasks * (s + 1) / threads_;
    }
    gate_.store(kOpen, std::memory_order_release);
    t_inside_task = true;
    take_part(0);
    t_inside_task = false;
    close();
    const std::exception_ptr error = std::exchange(error_, nullptr);
    failed_.store(false, std::memory_order_relaxed);
    busy_.store(false, std::memory_order_release);
    if (error) std::rethrow_exception(error);
    return true;
  }

 private:
  // The gate: whether a job may be joined, whether its caller sleeps, and how many workers are in.
  // A worker touches the job only between entering and leaving, so that a late one finds the gate
  // shut, never a job that is over.
  static constexpr uint32_t kOpen = 1u << 31, kCallerSleeps = 1u << 30;

  struct alignas(64) Seat {  // a cache line: its owner writes it while others look at theirs
    std::atomic<int64_t> next{0};
    int64_t end = 0;
    std::atomic<uint32_t> calls{0};  // raised to call the worker
    std::atomic<bool> asleep{false};
    std::atomic<int> cpu{-1};  // where it went to sleep
    std::atomic<pid_t> thread{0};
  };

  bool enter() {
    uint32_t gate = gate_.load(std::memory_order_relaxed);
    while (gate & kOpen)
      if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) return true;
    return false;
  }

  void leave() {
    if (gate_.fetch_sub(1, std::memory_order_acq_rel) - 1 == kCallerSleeps) futex_wake_one(gate_);
  }

  // Shuts the gate and waits for those inside.
  void close() {
    gate_.fetch_and(~kOpen, std::memory_order_acquire);
    if (!spin_until([&] { return gate_.load(std::memory_order_acquire) == 0; })) {
      uint32_t gate = gate_.fetch_or(kCallerSleeps) | kCallerSleeps;
      for (; gate != kCallerSleeps; gate = gate_.load(std::memory_order_acquire))
        futex_wait(gate_, gate);
      gate_.store(0, std::memory_order_relaxed);
    }
  }

  // Calls two more participants, who each call two, so that no one pays for waking them all; then
  // works through its own range, and the others'.
  void take_part(int seat) {
    for (int child = 2 * seat + 1; child <= 2 * seat + 2 && child < threads_; ++child) call(child);
    for (int k = 0; k < threads_; ++k) {
      Seat& from = seats_[(seat + k) % threads_];
      while (from.next.load(std::memory_order_relaxed) < from.end) {
        if (failed_.load(std::memory_order_relaxed)) return;
        const int64_t task = from.next.fetch_add(1, std::memory_order_relaxed);
        if (task < from.end) run_task(task);
      }
    }
  }

  void run_task(int64_t task) {
    try {
      (*body_)(task);
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
  }

  // Either the caller sees that the worker sleeps, or the worker sees the call before it sleeps:
  // both store first and load second, in one total order.
  void call(int seat) {
    Seat& called = seats_[seat];
    called.calls.fetch_add(1);
    if (!called.asleep.load()) return;
    const int here = sched_getcpu();
    if (called.cpu.load(std::memory_order_relaxed) == here) move_away(called, here);
    futex_wake_one(called.calls);
  }

  // The kernel likes to wake a thread where it last ran, and where that is the caller's own CPU
  // the worker waits there for the end of the caller's time slice, milliseconds long, while
  // another CPU idles. Allow it all of the caller's CPUs but this one.
  static void move_away(Seat& called, int here) {
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) return;
    CPU_CLR(here, &cpus);
    if (CPU_COUNT(&cpus) > 0)
      sched_setaffinity(called.thread.load(std::memory_order_relaxed), sizeof cpus, &cpus);
  }

  uint32_t wait_for_call(Seat& seat, uint32_t seen) {
    if (spin_until([&] { return seat.calls.load(std::memory_order_relaxed) != seen; }))
      return seat.calls.load(std::memory_order_acquire);
    seat.cpu.store(sched_getcpu(), std::memory_order_relaxed);
    seat.asleep.store(true);
    while (seat.calls.load() == seen) futex_wait(seat.calls, seen);
    seat.asleep.store(false, std::memory_order_relaxed);
    return seat.calls.load(std::memory_order_acquire);
  }

  [[noreturn]] void serve(int seat) {
    t_inside_task = true;
    seats_[seat].thread.store(static_cast<pid_t>(syscall(SYS_gettid)), std::memory_order_relaxed);
    for (uint32_t seen = 0;;) {
      seen = wait_for_call(seats_[seat], seen);
      if (!enter()) continue;
      if (seat < threads_) take_part(seat);
      leave();
    }
  }

  struct Start {
    Pool* pool;
    int seat;
  };
  static void* worker_main(void* argument) {
    const std::unique_ptr<Start> start(static_cast<Start*>(argument));
    start->pool->serve(start->seat);
  }

  // Workers start when a job first wants them. Returns how many threads there are for it: fewer
  // than wanted where the system refuses. It throws nothing: the pool is the caller's by now.
  int start_workers(int wanted) noexcept {
    if (started_ >= wanted) return wanted;
    // Signals are for the application's own threads (Python's handlers expect the main one).
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (; started_ < wanted; ++started_) {
      std::unique_ptr<Start> start(new (std::nothrow) Start{this, started_});
      pthread_t thread;
      if (!start || pthread_create(&thread, &detached, worker_main, start.get()) != 0) break;
      start.release();
      char name[16];  // all that the system keeps
      std::snprintf(name, sizeof name, "tilework-%d", started_);
      pthread_setname_np(thread, name);
    }
    pthread_attr_destroy(&detached);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return std::min(started_, wanted);
  }

  std::atomic<bool> busy_{false};
  int started_ = 1;  // threads that exist, the caller counted
  const FunctionRef<void(int64_t)>* body_ = nullptr;
  int threads_ = 0;
  alignas(64) std::atomic<uint32_t> gate_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
  const std::unique_ptr<Seat[]> seats_{new Seat[kMaxThreads]};
};

// Never destroyed: workers use it until the process ends. A forked child has none of them, so it
// leaves the parent's pool as it is, whatever state that was in, and makes its own.
std::atomic<Pool*> g_pool{nullptr};

Pool& pool() {
  Pool* found = g_pool.load(std::memory_order_acquire);
  if (!found) {
    auto made = std::make_unique<Pool>();
    if (g_pool.compare_exchange_strong(found, made.get())) found = made.release();
  }
  return *found;
}

[[maybe_unused]] const int g_fork_handler =
    pthread_atfork(nullptr, nullptr, [] { g_pool.store(nullptr); });

// The number t of threads with the least cost_ns / t + t * kThreadCostNs, rounded down to where the
// last one still gains: it grows with the square root of the work, and no step of it is a cliff.
int worthwhile_threads(double cost_ns) {
  if (cost_ns < 2 * kThreadCostNs) return 1;
  const double t = (1 + std::sqrt(1 + 4 * cost_ns / kThreadCostNs)) / 2;
  return static_cast<int>(std::min<double>(t, kMaxThreads));
}

}  // namespace

void parallel_for(int64_t tasks, double cost_ns, FunctionRef<void(int64_t)> body) {
  const int worthwhile = worthwhile_threads(cost_ns);
  if (worthwhile > 1 && tasks > 1 && !t_inside_task) {
    const int threads = static_cast<int>(std::min<int64_t>({tasks, worthwhile, num_threads()}));
    if (threads > 1 && pool().try_run(threads, tasks, body)) return;
  }
  for (int64_t i = 0; i < tasks; ++i) body(i);
}

}  // namespace tilework
