// The block that runs: its threads, where each stands, and what they wait for.
#pragma once

#include <stdint.h>

#include <array>
#include <exception>
#include <memory>
#include <vector>

#include "cudasim/async_copies.h"
#include "cudasim/fault.h"
#include "cudasim/fiber.h"
#include "cudasim/vectors.h"

namespace tilework::cudasim {

inline constexpr int kWarp = 32;
inline constexpr uint32_t kFullWarp = 0xFFFFFFFFu;

struct Thread;
using Lanes = std::array<Thread*, kWarp>;  // null where the block has no such thread

// What the threads of a warp, or of a block, do together: each says what it brings and stands
// still; when all named have come, complete() gives each its result.
struct Collective {
  const char* name = nullptr;  // "__shfl_sync"
  uint32_t mask = 0;           // the lanes of the warp; a barrier of the block has none
  Site at;
  void (*complete)(const Lanes& lanes, uint32_t mask) = nullptr;
  const void* in = nullptr;
  void* out = nullptr;
  int number = 0;  // a source lane, a predicate
  int bytes = 0;   // of what in and out point to
};

struct Thread {
  enum class State { ready, at_barrier, in_warp, done };

  uint3 index;
  uint32_t linear, lane, warp;
  State state;
  Fiber fiber;
  Collective waits_for;
  AsyncCopies copies;
  int in_simulator = 0;  // how deep in calls of the simulator's own
};

struct Grid {
  const char* kernel;
  uint3 block;  // the index of the one that runs
  dim3 grid_size, block_size;
};

// Of the launch that runs; in kernels, what threadIdx and the like read.
Thread& this_thread();
// Whether a kernel's own code runs: not the scheduler's, nor what a kernel calls of the simulator.
bool inside_kernel();
const Grid& this_grid();

// Whether p lies in the launch's arguments, which kernels may read.
bool is_argument(const void* p);

// Stands at the head of what kernels call. The linker keeps one copy of each template that both the
// simulator and kernels use, and it may be the one that tells the monitor of every access.
class InSimulator {
 public:
  InSimulator();
  ~InSimulator();
  InSimulator(const InSimulator&) = delete;
  InSimulator& operator=(const InSimulator&) = delete;

 private:
  Thread* thread_;
};

// Ends the running thread where it stands, and the launch by what was found.
[[noreturn]] void end_thread(std::exception_ptr found);

// Called by a thread: stand still until all have come.
void wait_for_warp(const Collective& what);
int wait_for_block(const char* name, int predicate, Site at);

// Numbers that grow: of blocks begun; of barriers that the block has passed, or a warp by
// __syncwarp.
uint32_t block_number();
uint32_t first_block_of_launch();  // the last number before it
uint32_t barriers_passed();
uint32_t warp_barriers_passed(uint32_t warp);

}  // namespace tilework::cudasim
