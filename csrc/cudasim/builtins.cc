#include "cudasim/builtins.h"

#include <cstring>
#include <string>

#include "cudasim/block.h"

namespace tilework::cudasim {
namespace {

void complete_vote(const Lanes& lanes, uint32_t mask) {
  uint32_t holds = 0;
  for (uint32_t i = 0; i < kWarp; ++i) {
    if (mask >> i & 1 && lanes[i]->waits_for.number != 0) holds |= 1u << i;
  }
  for (uint32_t i = 0; i < kWarp; ++i) {
    if (mask >> i & 1) std::memcpy(lanes[i]->waits_for.out, &holds, sizeof holds);
  }
}

void complete_exchange(const Lanes& lanes, uint32_t mask) {
  for (uint32_t i = 0; i < kWarp; ++i) {
    if (!(mask >> i & 1)) continue;
    const Collective& mine = lanes[i]->waits_for;
    if (!(mask >> mine.number & 1)) {
      fault(std::string(mine.name) + " takes the value of lane " + std::to_string(mine.number) +
                ", which its mask does not name",
            mine.at);
    }
    const Collective& theirs = lanes[mine.number]->waits_for;
    std::memcpy(mine.out, theirs.in, static_cast<size_t>(mine.bytes));
  }
}

}  // namespace

uint3 thread_index() { return this_thread().index; }
uint3 block_index() { return this_grid().block; }
dim3 block_size() { return this_grid().block_size; }
dim3 grid_size() { return this_grid().grid_size; }
uint32_t lane() { return this_thread().lane; }

int barrier(const char* name, int predicate, Site at) {
  return wait_for_block(name, predicate, at);
}

void warp_barrier(uint32_t mask, Site at) {
  wait_for_warp({.name = "__syncwarp", .mask = mask, .at = at});
}

uint32_t vote(const char* name, uint32_t mask, int predicate, Site at) {
  uint32_t holds = 0;
  wait_for_warp({.name = name,
                 .mask = mask,
                 .at = at,
                 .complete = complete_vote,
                 .out = &holds,
                 .number = predicate});
  return holds;
}

void exchange(const char* name, uint32_t mask, const void* in, void* out, int bytes, int source,
              Site at) {
  wait_for_warp({.name = name,
                 .mask = mask,
                 .at = at,
                 .complete = complete_exchange,
                 .in = in,
                 .out = out,
                 .number = source,
                 .bytes = bytes});
}

}  // namespace tilework::cudasim
