// A stack of its own, to run a function on that can be left in the middle and gone on with: each
// CUDA thread of a simulated block is one. A switch is some ten instructions; the system knows
// nothing of it.
#pragma once

#include <stddef.h>

namespace tilework::cudasim {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next resume() begins entry(argument), which must not return or throw: its last act is
  // finish(). What ran here before is dropped, its destructors not called.
  void start(void (*entry)(void*), void* argument);
  // From outside of a fiber: runs it until it suspends or finishes.
  void resume();
  // From within: back to whoever resumed it.
  void suspend();
  [[noreturn]] void finish();

  bool owns(const void* p) const {
    const char* at = static_cast<const char*>(p);
    return at >= stack_ && at < stack_ + kStackBytes;
  }

 private:
  // A kernel's frame, the simulator's calls and, under a sanitizer, frames several times as large.
  static constexpr size_t kStackBytes = 256 * 1024;

  static void begin(Fiber* fiber);
  void leave(bool for_good);

  char* stack_;                    // above a page that may not be touched
  void* stack_pointer_ = nullptr;  // where it was left
  void* outside_ = nullptr;        // of whoever resumed it
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  // AddressSanitizer's: it has to be told of each switch.
  [[maybe_unused]] void* fake_stack_ = nullptr;
  [[maybe_unused]] void* outside_fake_stack_ = nullptr;
  [[maybe_unused]] const void* outside_bottom_ = nullptr;
  [[maybe_unused]] size_t outside_bytes_ = 0;
};

}  // namespace tilework::cudasim
