// cp.async: copies from global to shared memory that a thread asks for and waits for later, in
// groups. Nothing says when the bytes arrive before the wait, so the target is poison until then.
#pragma once

#include <stddef.h>

#include <deque>
#include <vector>

#include "cudasim/fault.h"

namespace tilework::cudasim {

class AsyncCopies {
 public:
  // The first `filled` of `bytes` (4, 8 or 16) from `from`, and zeros.
  void ask(void* to, const void* from, size_t bytes, size_t filled, Site at);
  void commit();              // what was asked for since is a group
  void wait(size_t pending);  // until at most so many groups are under way
  bool empty() const { return open_.empty() && groups_.empty(); }
  void clear();

 private:
  struct Copy {
    void* to;
    const void* from;
    size_t bytes, filled;
    Site at;
  };
  std::vector<Copy> open_;
  std::deque<std::vector<Copy>> groups_;
};

}  // namespace tilework::cudasim
