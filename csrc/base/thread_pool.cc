// Each participant of a job has a seat with its own range of tasks, and takes from the other ranges
// when its own is empty.
//
// Fixed seats and ranges keep a thread on the same part of an array from one kernel to the next, so
// that it finds its part in its own L2; taking keeps all busy when one is late. The result cannot
// depend on who ran what: bodies write disjoint outputs that the cut alone decides.
#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <exception>

#include "base/workers.h"

namespace tilework {
namespace {

class Tasks {
 public:
  Tasks(Job& job, int64_t tasks, FunctionRef<void(int64_t)> body)
      : job_(job), body_(body), threads_(job.threads()) {
    for (int s = 0; s < threads_; ++s) {
      job.seat(s).next.store(tasks * s / threads_, std::memory_order_relaxed);
      job.seat(s).end = tasks * (s + 1) / threads_;
    }
  }

  void run() {
    job_.run([this](int seat) { take_part(seat); });
    if (error_) std::rethrow_exception(error_);
  }

 private:
  // Works through its own range, and the others'.
  void take_part(int seat) {
    for (int k = 0; k < threads_; ++k) {
      Seat& from = job_.seat((seat + k) % threads_);
      while (from.next.load(std::memory_order_relaxed) < from.end) {
        if (failed_.load(std::memory_order_relaxed)) return;
        const int64_t task = from.next.fetch_add(1, std::memory_order_relaxed);
        if (task < from.end) run_task(task);
      }
    }
  }

  void run_task(int64_t task) {
    try {
      body_(task);
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
  }

  Job& job_;
  const FunctionRef<void(int64_t)> body_;
  const int threads_;
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

}  // namespace

void parallel_for(int64_t tasks, double cost_ns, FunctionRef<void(int64_t)> body) {
  const int worthwhile = worthwhile_threads(cost_ns, kThreadCostNs);
  if (worthwhile > 1 && tasks > 1 && !inside_job()) {
    const int threads = static_cast<int>(std::min<int64_t>({tasks, worthwhile, num_threads()}));
    if (threads > 1) {
      Job job(threads);
      if (job.threads() > 0) return Tasks(job, tasks, body).run();
    }
  }
  for (int64_t i = 0; i < tasks; ++i) body(i);
}

}  // namespace tilework
