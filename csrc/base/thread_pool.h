// One pool of threads for the process, and the rule that says when work is worth sharing.
#pragma once

#include <cstdint>

#include "base/function_ref.h"

namespace tilework {

// Threads that parallel_for may use, the caller included. The default is what affinity and the
// cgroup's CPU quota leave (TILEWORK_NUM_THREADS overrides it).
int num_threads();
void set_num_threads(int n);  // throws std::invalid_argument below 1

// Calls body(i) once for each i in [0, tasks), on the calling thread and, where `cost_ns` (an
// estimate of the whole work on one thread) pays for waking them, on the pool's. The cut into tasks
// is the caller's, by shape alone, so that results do not depend on the number of threads. Calls
// from inside a task run inline. The first exception of a body is rethrown here when all have
// ended.
void parallel_for(int64_t tasks, double cost_ns, FunctionRef<void(int64_t)> body);

}  // namespace tilework
