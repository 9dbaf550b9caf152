// One pool of threads for the process, and the rule that says when work is worth sharing.
#pragma once

#include <cstdint>

#include "base/function_ref.h"

namespace tilework {

inline constexpr int kMaxThreads = 1024;

// Threads that parallel_for may use, the caller included. The default is the physical cores that
// affinity and the cgroup's CPU quota leave (TILEWORK_NUM_THREADS overrides it).
int num_threads();
void set_num_threads(int n);  // throws std::invalid_argument outside 1 to kMaxThreads

// Where num_threads() comes from.
struct ThreadInfo {
  int threads;
  int affinity;        // CPUs that this process may run on
  int cores;           // physical cores among them: what the default counts
  double quota;        // CPUs that the cgroup's quota allows; infinity where it sets none
  const char* source;  // "cores", "cgroup quota", "TILEWORK_NUM_THREADS" or "set_num_threads"
};
ThreadInfo thread_info();

// Calls body(i) once for each i in [0, tasks), on the calling thread and, where `cost_ns` (an
// estimate of the whole work on one thread) pays for waking them, on the pool's. The cut into tasks
// is the caller's, by shape alone, so that results do not depend on the number of threads. Calls
// from inside a task run inline, and so does a call that finds the pool serving another thread.
// The first exception of a body is rethrown here when all running tasks have ended; tasks not yet
// begun are then left out. A body must not fork but to become another program: in the child, the
// caller gets std::logic_error, and a worker ends the process.
void parallel_for(int64_t tasks, double cost_ns, FunctionRef<void(int64_t)> body);

}  // namespace tilework
