// The pool's threads: started when first wanted, asleep between jobs, and of one job at a time.
// What they do in it is the job's: tasks (thread_pool.h) or steps (team.h).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>

#include "base/function_ref.h"

namespace tilework {

// What one more thread costs a job, in ns. A worker that is awake costs 800 (measured: an empty job
// on two threads); one that sleeps costs the caller 4000 for the system call, and comes 5000
// (bare metal) to 60000 (a virtual machine) later, while the caller works on. The price of a
// sleeping one rules: work that comes in a stream must be able to wake the pool, and then finds it
// awake.
inline constexpr double kThreadCostNs = 5000;

// How long a thread looks for work before it sleeps: about what waking it again may take, so that
// at worst it burns as much as it saves.
inline constexpr int64_t kSpinNs = 100'000;

// The number t of threads with the least cost_ns / t + t * thread_ns, rounded down to where the
// last one still gains: it grows with the square root of the work, and no step of it is a cliff.
int worthwhile_threads(double cost_ns, double thread_ns);

// Whether this thread is in a job, as its caller or as a worker.
bool inside_job();

// How many forks this process has come out of as the child.
unsigned forks_seen();

struct alignas(64) Seat {  // a cache line: its owner writes it while others look at theirs
  // The seat's own tasks: on the line that a call of its worker moves anyway.
  std::atomic<int64_t> next{0};
  int64_t end = 0;
  std::atomic<uint32_t> calls{0};  // raised to call the worker
  std::atomic<bool> asleep{false};
  std::atomic<int> cpu{-1};  // where it went to sleep
  std::atomic<pid_t> thread{0};
};

class Pool;

// Holds the pool for one job.
class Job {
 public:
  explicit Job(int threads);
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // Threads that there are, the caller counted: fewer than wanted where the system refuses some,
  // and 0 where the pool serves another thread.
  int threads() const { return threads_; }
  Seat& seat(int i) const;

  // work(seat) on the calling thread, as seat 0, and on each worker that comes meanwhile, seats 1
  // to threads() - 1; returns when all that came have left. It must not throw.
  // Throws std::logic_error in a child forked inside of work(0): the workers are the parent's.
  void run(FunctionRef<void(int)> work);

  // Calls each worker to come and do follow(seat), whenever it does, though it be after the job's
  // end: nobody waits for it. One function of the program, and nothing of the job's, is meant.
  void call(void (*follow)(int seat));

  bool forked() const { return forks_ != forks_seen(); }

 private:
  Pool* pool_;
  const unsigned forks_;
  int threads_;
};

}  // namespace tilework
