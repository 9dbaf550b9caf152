// Runs a launch: block after block, and in each the threads in the order of the settings, until
// all have ended or none can go on.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <numeric>
#include <random>
#include <string>
#include <utility>

#include "cudasim/block.h"
#include "cudasim/launch.h"
#include "cudasim/memory.h"
#include "cudasim/traffic.h"

namespace tilework::cudasim {
namespace {

constexpr uint32_t kMostThreads = 1024, kMostDeep = 64, kMostGridYZ = 65535;

struct Launch {
  Grid grid;
  void (*body)(void*) = nullptr;
  char* arguments = nullptr;
  size_t argument_bytes = 0;
};

Settings the_settings;
Launch current;
Thread* running;
std::exception_ptr thrown;
std::vector<std::unique_ptr<Thread>> threads;  // kept from launch to launch, for their stacks
std::mt19937_64 random_order;

uint32_t blocks_begun, blocks_before, barriers;
std::array<uint32_t, kMostThreads / kWarp> warp_barriers;
int barrier_result;

template <class Three>  // uint3 or dim3
std::string text(const Three& of) {
  char written[40];
  std::snprintf(written, sizeof written, "(%u, %u, %u)", of.x, of.y, of.z);
  return written;
}

void thread_main(void*) {
  Thread& self = *running;
  try {
    current.body(current.arguments);
    const InSimulator inside;
    if (!self.copies.empty()) fault("a thread ends with cp.async copies not waited for", "its end");
  } catch (...) {
    thrown = std::current_exception();
  }
  self.state = Thread::State::done;
  self.fiber.finish();
}

void stand_still(Thread::State state, const Collective& what) {
  running->waits_for = what;
  running->state = state;
  running->fiber.suspend();
}

class Block {
 public:
  explicit Block(uint32_t count)
      : count_(count), left_(count), warps_((count + kWarp - 1) / kWarp) {
    for (uint32_t i = 0; i < count; ++i) begin(*threads[i], i);
  }

  void run() {
    while (left_ > 0) {
      bool moved = false;
      if (the_settings.order == Order::random) moved = run_at_random();
      for (uint32_t i = 0; i < warps_; ++i) {
        const uint32_t warp = the_settings.order == Order::reverse ? warps_ - 1 - i : i;
        while (step(warp, true)) moved = true;
      }
      if (left_ > 0 && !pass_barrier() && !moved) report_deadlock();
    }
  }

 private:
  static void begin(Thread& thread, uint32_t linear) {
    const dim3& size = current.grid.block_size;
    thread.index = {linear % size.x, linear / size.x % size.y, linear / (size.x * size.y)};
    thread.linear = linear;
    thread.lane = linear % kWarp;
    thread.warp = linear / kWarp;
    thread.state = Thread::State::ready;
    thread.copies.clear();
    thread.in_simulator = 0;
    thread.fiber.start(thread_main, nullptr);
  }

  // Any warp, any half of its threads, until all stand: what no card would do is done here too.
  bool run_at_random() {
    bool moved = false;
    for (uint32_t idle = 0; idle < 4 * warps_ && left_ > 0;) {
      const uint32_t warp = static_cast<uint32_t>(random_order() % warps_);
      const bool stepped = step(warp, random_order() % 2 == 0);
      idle = stepped ? 0 : idle + 1;
      moved |= stepped;
    }
    return moved;
  }

  // Lets the ready threads of a warp run, or some of them, and completes what they then all wait
  // for. False where nothing could go on.
  bool step(uint32_t warp, bool all) {
    const uint32_t lanes = std::min<uint32_t>(kWarp, count_ - warp * kWarp);
    std::array<uint32_t, kWarp> order;
    std::iota(order.begin(), order.begin() + lanes, 0u);
    if (the_settings.order == Order::reverse) std::reverse(order.begin(), order.begin() + lanes);
    if (the_settings.order == Order::random) {
      std::shuffle(order.begin(), order.begin() + lanes, random_order);
    }
    bool moved = false;
    for (uint32_t i = 0; i < lanes; ++i) {
      Thread& thread = *threads[warp * kWarp + order[i]];
      if (thread.state != Thread::State::ready) continue;
      moved = true;
      if (all || random_order() % 2 == 0) resume(thread);
    }
    return complete_collectives(warp, lanes) || moved;
  }

  void resume(Thread& thread) {
    running = &thread;
    thread.fiber.resume();
    if (thrown != nullptr) std::rethrow_exception(std::exchange(thrown, nullptr));
    if (thread.state == Thread::State::done) --left_;
  }

  bool complete_collectives(uint32_t warp, uint32_t count) {
    Lanes lanes{};
    for (uint32_t i = 0; i < count; ++i) lanes[i] = threads[warp * kWarp + i].get();
    bool moved = false;
    for (uint32_t i = 0; i < count; ++i) {
      if (lanes[i]->state != Thread::State::in_warp || !have_all_come(lanes, *lanes[i])) continue;
      const Collective what = lanes[i]->waits_for;
      running = lanes[i];
      if (what.complete != nullptr) {
        what.complete(lanes, what.mask);
      } else {
        ++warp_barriers[warp];
      }
      for (uint32_t k = 0; k < count; ++k) {
        if (what.mask >> k & 1) lanes[k]->state = Thread::State::ready;
      }
      moved = true;
    }
    return moved;
  }

  static bool have_all_come(const Lanes& lanes, Thread& one) {
    const Collective& what = one.waits_for;
    for (uint32_t k = 0; k < kWarp; ++k) {
      if (!(what.mask >> k & 1)) continue;
      running = &one;
      if (lanes[k] == nullptr || lanes[k]->state == Thread::State::done) {
        fault(std::string(what.name) + " names lane " + std::to_string(k) +
                  (lanes[k] == nullptr ? ", which the block has not" : ", which has ended"),
              what.at);
      }
      const Collective& other = lanes[k]->waits_for;
      if (lanes[k]->state != Thread::State::in_warp) return false;
      if (other.mask != what.mask || std::string(other.name) != what.name) return false;
    }
    return true;
  }

  // When all that are left stand at the barrier: it must be the same one.
  bool pass_barrier() {
    Thread* first = nullptr;
    int holds = 0;
    for (uint32_t i = 0; i < count_; ++i) {
      Thread& thread = *threads[i];
      if (thread.state == Thread::State::done) continue;
      if (thread.state != Thread::State::at_barrier) return false;
      if (first == nullptr) first = &thread;
      const Collective &mine = thread.waits_for, &theirs = first->waits_for;
      if (std::string(mine.name) != theirs.name || line_of(mine.at) != line_of(theirs.at)) {
        running = &thread;
        fault(std::string(mine.name) + " is reached by some threads, and by others " + theirs.name +
                  " at " + line_of(theirs.at) + ": a barrier is for all of a block",
              mine.at);
      }
      holds += mine.number != 0;
    }
    barrier_result = holds;
    ++barriers;
    for (uint32_t i = 0; i < count_; ++i) {
      if (threads[i]->state == Thread::State::at_barrier) threads[i]->state = Thread::State::ready;
    }
    return true;
  }

  [[noreturn]] void report_deadlock() {
    for (uint32_t i = 0; i < count_; ++i) {
      if (threads[i]->state != Thread::State::in_warp) continue;
      running = threads[i].get();
      fault(std::string("deadlock: ") + running->waits_for.name +
                " waits for lanes that never come to it",
            running->waits_for.at);
    }
    fault("deadlock: some threads wait at a barrier that others never come to",
          first_at_barrier().waits_for.at);
  }

  Thread& first_at_barrier() {
    for (uint32_t i = 0; i < count_; ++i) {
      running = threads[i].get();
      if (running->state == Thread::State::at_barrier) break;
    }
    return *running;
  }

  uint32_t count_, left_, warps_;
};

void check_shape(const char* kernel, const Shape& shape) {
  const auto refuse = [&](const std::string& what) {
    throw Fault("[" + std::string(kernel) + "] " + what);
  };
  const dim3 &grid = shape.grid, &block = shape.block;
  const uint64_t count = uint64_t{block.x} * block.y * block.z;
  if (count == 0 || count > kMostThreads || block.z > kMostDeep) {
    refuse("a block of " + text(block) + " threads: 1 to 1024 in all, and 64 deep");
  }
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > INT32_MAX || grid.y > kMostGridYZ ||
      grid.z > kMostGridYZ) {
    refuse("a grid of " + text(grid) + " blocks: 1 to 2147483647, and 65535 along y and z");
  }
  const Architecture& card = the_settings.architecture;
  if (shape.dynamic_shared > card.shared) {
    refuse("dynamic shared memory of " + std::to_string(shape.dynamic_shared) +
           " bytes: " + card.name + " has " + std::to_string(card.shared) + " for a block");
  }
}

void run_block(uint64_t number, const Shape& shape) {
  const uint64_t x = shape.grid.x, y = shape.grid.y;
  current.grid.block = {static_cast<uint32_t>(number % x), static_cast<uint32_t>(number / x % y),
                        static_cast<uint32_t>(number / (x * y))};
  ++blocks_begun;
  ++barriers;
  running = nullptr;
  begin_shared(shape.dynamic_shared);
  Block(shape.block.x * shape.block.y * shape.block.z).run();
}

// However a block ends, by a Fault too, its shared arrays go with it.
struct EndOfBlock {
  ~EndOfBlock() {
    running = nullptr;
    end_shared();
    end_traffic_block();
  }
};

}  // namespace

Settings& settings() { return the_settings; }
Thread& this_thread() { return *running; }
bool inside_kernel() {
  return running != nullptr && running->in_simulator == 0 &&
         running->fiber.owns(__builtin_frame_address(0));
}
InSimulator::InSimulator() : thread_(running) {
  if (thread_ != nullptr) ++thread_->in_simulator;
}
InSimulator::~InSimulator() {
  if (thread_ != nullptr) --thread_->in_simulator;
}
const Grid& this_grid() { return current.grid; }
uint32_t block_number() { return blocks_begun; }
uint32_t first_block_of_launch() { return blocks_before; }
uint32_t barriers_passed() { return barriers; }
uint32_t warp_barriers_passed(uint32_t warp) { return warp_barriers[warp]; }

bool is_argument(const void* p) {
  const char* at = static_cast<const char*>(p);
  return at >= current.arguments && at < current.arguments + current.argument_bytes;
}

void wait_for_warp(const Collective& what) {
  const InSimulator inside;
  if (!(what.mask >> running->lane & 1)) {
    fault(std::string(what.name) + " is called by a lane that its mask does not name", what.at);
  }
  stand_still(Thread::State::in_warp, what);
}

void end_thread(std::exception_ptr found) {
  thrown = std::move(found);
  running->fiber.finish();
}

int wait_for_block(const char* name, int predicate, Site at) {
  const InSimulator inside;
  stand_still(Thread::State::at_barrier, {.name = name, .at = at, .number = predicate});
  return barrier_result;
}

void fault(const std::string& what, const std::string& line) {
  const InSimulator inside;
  std::string where = " at " + line;
  if (running != nullptr) {
    where += ", block " + text(current.grid.block) + ", thread " + text(running->index);
  }
  const char* kernel = current.grid.kernel == nullptr ? "launch" : current.grid.kernel;
  throw Fault("[" + std::string(kernel) + "] " + what + where);
}

void fault(const std::string& what, Site at) { fault(what, line_of(at)); }

void run(const char* kernel, const Shape& shape, void (*body)(void*), void* arguments,
         size_t bytes) {
  check_shape(kernel, shape);
  current = {{kernel, {}, shape.grid, shape.block}, body, static_cast<char*>(arguments), bytes};
  blocks_before = blocks_begun;
  random_order.seed(the_settings.seed);
  while (threads.size() < shape.block.x * shape.block.y * shape.block.z) {
    threads.push_back(std::make_unique<Thread>());
  }
  const uint64_t blocks = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  std::vector<uint64_t> order(blocks);
  std::iota(order.begin(), order.end(), uint64_t{0});
  if (the_settings.order == Order::reverse) std::reverse(order.begin(), order.end());
  if (the_settings.order == Order::random) std::shuffle(order.begin(), order.end(), random_order);
  for (uint64_t number : order) {
    const EndOfBlock end;
    run_block(number, shape);
  }
}

}  // namespace tilework::cudasim
