// Sees the loads and stores of a kernel: bounds, alignment, races, and what they cost.
//
// Kernels for the simulator are compiled with -fsanitize=thread, which calls a function before each
// access; monitor.cc has these functions in place of ThreadSanitizer's own, which knows nothing of
// blocks and warps.
//
// Two accesses to a byte by two threads, one of them at least a store and not both atomic, are a
// race unless something stands between them: in a block, a barrier of the block; in a warp, also a
// __syncwarp; between blocks of one launch, nothing. Shuffles and votes order no memory.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cudasim/fault.h"

namespace tilework::cudasim {

// What an instruction reaches: those of CUDA C++ any memory, those of PTX what they name.
enum class Space { any, global, shared };

struct Access {
  void* at;
  size_t bytes;
  bool store;
  bool atomic = false;
  bool counted = true;   // in the traffic report
  size_t alignment = 0;  // 0: its size
  Space space = Space::any;
};

// From the simulator's own calls, which the compiler does not see.
void see(const Access& access, Site at);

}  // namespace tilework::cudasim
