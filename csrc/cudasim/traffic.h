// What the accesses of each line cost: bank passes of shared memory, sectors of global memory.
#pragma once

#include <stdint.h>

#include <string>
#include <vector>

#include "cudasim/memory.h"

namespace tilework::cudasim {

// The sums over all times that warps came to a line. Shared memory has 32 banks of 4 bytes, and a
// pass reads one word of each; global memory moves in sectors of 32 bytes. `ideal` is what the same
// bytes cost laid out best.
struct LineTraffic {
  std::string kernel, line;
  Region::Kind kind;
  int bytes;  // a thread's
  bool store;
  uint64_t warps, cost, ideal;
};

// Since the settings' `traffic` was put on, the costliest over their ideal first; and forgets.
std::vector<LineTraffic> take_traffic();
// As a table that a person reads.
std::string table(const std::vector<LineTraffic>& lines);

// --- For the monitor ---

// One thread's share of a warp's access.
void count_traffic(uint32_t line, const Region& region, uint64_t offset, int bytes, bool store);
// A block has ended: no warp comes to where it was again.
void end_traffic_block();

}  // namespace tilework::cudasim
