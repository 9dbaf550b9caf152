// The simulated device's memory: arrays that the host allocates, and a block's shared arrays, each
// with its bounds, poisoned before its first use.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <memory>
#include <vector>

#include "cudasim/fault.h"

namespace tilework::cudasim {

// Memory that the host takes for arrays, as cudaMalloc gives it: aligned to 256 bytes. Nothing but
// kernels, copy_in and copy_out may touch it. release(nullptr) does nothing.
void* allocate(size_t bytes);
void release(void* memory);
size_t allocated_bytes();  // of all such arrays
// Errors as for kernels: what is not allocated, or shorter, is a Fault.
void copy_in(void* device, const void* host, size_t bytes);
void copy_out(void* host, const void* device, size_t bytes);

// The arrays of the block that runs. One is known by where it is declared: a line
// each.
void* shared_array(size_t bytes, Site at = Site::current());
void* dynamic_shared(Site at = Site::current());

// --- For the simulator itself ---

// Who touched a cell of memory last: see monitor.cc.
struct Stamp {
  uint32_t block = 0;  // among all blocks that ever ran, from 1
  uint32_t barrier = 0, warp_barrier = 0;
  uint16_t thread = 0;
  bool atomic = false;
  uint32_t line = 0;  // lines.h
};
struct Cell {
  Stamp writer, reader, other_reader;
};

struct Region {
  enum class Kind { global, shared };
  char* begin;
  size_t bytes;
  Kind kind;
  size_t window;              // shared: where in the block's shared memory it lies, for banks
  std::vector<Cell> cells{};  // empty until touched
  size_t cell_bytes = 2;

  bool holds(const void* p, size_t n) const {
    const size_t offset = static_cast<size_t>(static_cast<const char*>(p) - begin);
    return static_cast<const char*>(p) >= begin && offset <= bytes && n <= bytes - offset;
  }
};

// The region that p lies in, or null. Constant memory is none.
Region* region_of(const void* p);

// A block's shared arrays live from begin to end.
void begin_shared(size_t dynamic_bytes);
void end_shared();

}  // namespace tilework::cudasim
