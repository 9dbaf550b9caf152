#include "base/thread_pool.h"

#include <stdexcept>

namespace tilework {

int num_threads() { return 1; }

void set_num_threads(int n) {
  if (n < 1) throw std::invalid_argument("[set_num_threads] expected at least 1");
}

void parallel_for(int64_t tasks, double, FunctionRef<void(int64_t)> body) {
  for (int64_t i = 0; i < tasks; ++i) body(i);
}

}  // namespace tilework
