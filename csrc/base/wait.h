// How threads wait for one another: a pause, a bounded spin, a spin lock, and sleep on a word
// (Linux's futex).
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>

namespace tilework {

inline void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Sleeps while `word` holds `expected`; may return early.
inline void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

inline void futex_wake_one(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

inline void futex_wake_all(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

inline int64_t now_ns() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Until done() or limit_ns is over. After a few microseconds of pauses it yields between them: the
// thread that is waited for may have been put on this very CPU. On a CPU of its own, a yield comes
// straight back.
template <class Done>
bool spin_until(Done done, int64_t limit_ns) {
  constexpr int64_t kPausesNs = 5000;
  const int64_t start = now_ns();
  for (int64_t now = start; now < start + limit_ns; now = now_ns()) {
    for (int i = 0; i < 16; ++i) {
      if (done()) return true;
      cpu_pause();
    }
    if (now > start + kPausesNs) sched_yield();
  }
  return done();
}

// For sections of a few instructions. It yields after a while: its holder may have been put off the
// CPU, which under a quota can last for milliseconds.
class SpinLock {
 public:
  void lock() {
    for (int tries = 0; held_.exchange(true, std::memory_order_acquire); ++tries)
      while (held_.load(std::memory_order_relaxed)) {
        if (++tries % 64 == 0)
          sched_yield();
        else
          cpu_pause();
      }
  }
  void unlock() { held_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> held_{false};
};

}  // namespace tilework
