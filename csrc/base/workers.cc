#include "base/workers.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>

#include "base/thread_pool.h"
#include "base/wait.h"

namespace tilework {
namespace {

thread_local bool t_inside_job = false;
std::atomic<unsigned> g_forks{0};

}  // namespace

class Pool {
 public:
  bool take() { return !busy_.exchange(true, std::memory_order_acquire); }
  void give_back() { busy_.store(false, std::memory_order_release); }
  Seat& seat(int i) { return seats_[i]; }

  // Opens the gate, and is the caller's part.
  void open(int threads, const FunctionRef<void(int)>& work) {
    threads_ = threads;
    work_ = &work;
    gate_.store(kOpen, std::memory_order_release);
    take_part(0);
  }

  void call_all(int threads, void (*follow)(int)) {
    follow_.store(follow, std::memory_order_release);
    for (int seat = 1; seat < threads; ++seat) call(seat);
  }

  // Shuts the gate and waits for those inside.
  void close() {
    gate_.fetch_and(~kOpen, std::memory_order_acquire);
    if (!spin_until([&] { return gate_.load(std::memory_order_acquire) == 0; }, kSpinNs)) {
      uint32_t gate = gate_.fetch_or(kCallerSleeps) | kCallerSleeps;
      for (; gate != kCallerSleeps; gate = gate_.load(std::memory_order_acquire))
        futex_wait(gate_, gate);
      gate_.store(0, std::memory_order_relaxed);
    }
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

 private:
  // The gate: whether a job may be joined, whether its caller sleeps, and how many workers are in.
  // A worker touches the job only between entering and leaving, so that a late one finds the gate
  // shut, never a job that is over.
  static constexpr uint32_t kOpen = 1u << 31, kCallerSleeps = 1u << 30;

  bool enter() {
    uint32_t gate = gate_.load(std::memory_order_relaxed);
    while (gate & kOpen)
      if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) return true;
    return false;
  }

  void leave() {
    if (gate_.fetch_sub(1, std::memory_order_acq_rel) - 1 == kCallerSleeps) futex_wake_one(gate_);
  }

  // Calls two more participants, who each call two, so that no one pays for waking them all.
  void take_part(int seat) {
    for (int child = 2 * seat + 1; child <= 2 * seat + 2 && child < threads_; ++child) call(child);
    (*work_)(seat);
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
    if (spin_until([&] { return seat.calls.load(std::memory_order_relaxed) != seen; }, kSpinNs))
      return seat.calls.load(std::memory_order_acquire);
    seat.cpu.store(sched_getcpu(), std::memory_order_relaxed);
    seat.asleep.store(true);
    while (seat.calls.load() == seen) futex_wait(seat.calls, seen);
    seat.asleep.store(false, std::memory_order_relaxed);
    return seat.calls.load(std::memory_order_acquire);
  }

  [[noreturn]] void serve(int seat) {
    t_inside_job = true;
    seats_[seat].thread.store(static_cast<pid_t>(syscall(SYS_gettid)), std::memory_order_relaxed);
    const unsigned forks = forks_seen();
    for (uint32_t seen = 0;;) {
      seen = wait_for_call(seats_[seat], seen);
      const bool entered = enter();
      if (entered && seat < threads_) take_part(seat);
      if (const auto follow = follow_.load(std::memory_order_acquire); follow && !entered)
        follow(seat);
      // A child that a body forked here has this one thread, and nowhere to return to.
      if (forks != forks_seen()) _exit(EXIT_FAILURE);
      if (entered) leave();
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

  std::atomic<bool> busy_{false};
  int started_ = 1;  // threads that exist, the caller counted
  const FunctionRef<void(int)>* work_ = nullptr;
  std::atomic<void (*)(int)> follow_{nullptr};
  int threads_ = 0;
  alignas(64) std::atomic<uint32_t> gate_{0};
  const std::unique_ptr<Seat[]> seats_{new Seat[kMaxThreads]};
};

namespace {

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

[[maybe_unused]] const int g_fork_handler = pthread_atfork(nullptr, nullptr, [] {
  g_pool.store(nullptr);
  g_forks.fetch_add(1);
});

}  // namespace

bool inside_job() { return t_inside_job; }
unsigned forks_seen() { return g_forks.load(std::memory_order_relaxed); }

int worthwhile_threads(double cost_ns, double thread_ns) {
  if (cost_ns < 2 * thread_ns) return 1;
  const double t = (1 + std::sqrt(1 + 4 * cost_ns / thread_ns)) / 2;
  return static_cast<int>(std::min<double>(t, kMaxThreads));
}

Job::Job(int threads) : pool_(&pool()), forks_(forks_seen()), threads_(0) {
  if (pool_->take()) threads_ = pool_->start_workers(threads);
}
Job::~Job() {
  if (threads_ == 0) return;
  t_inside_job = false;
  if (!forked()) pool_->give_back();
}

Seat& Job::seat(int i) const { return pool_->seat(i); }

void Job::call(void (*follow)(int)) {
  t_inside_job = true;
  if (!forked()) pool_->call_all(threads_, follow);
}

void Job::run(FunctionRef<void(int)> work) {
  t_inside_job = true;
  pool_->open(threads_, work);
  if (forked())
    throw std::logic_error("a body that threads share forked, and its child cannot end their work");
  pool_->close();
}

}  // namespace tilework
