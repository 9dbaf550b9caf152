// The pool that outputs and scratch come from: fresh pages cost more than most kernels do.
//
// Blocks are 64-byte aligned and come in size classes, four to each power of two; blocks of 2 MiB
// and more are advised as huge pages. Freed blocks are kept for the next request of their class, up
// to a bound, the last freed first. Any thread may free what another allocated, also after fork and
// while the interpreter exits: the pool is never destroyed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>

namespace tilework {

// The system has no room for so many bytes.
struct OutOfMemory : std::bad_alloc {
  explicit OutOfMemory(std::size_t asked) : bytes(asked) {}
  std::size_t bytes;
};

void* pool_allocate(std::size_t bytes);  // throws OutOfMemory; 0 bytes gives a valid block
void pool_release(void* block, std::size_t bytes) noexcept;  // bytes as asked for

// Bytes are those of whole blocks: what the pool holds of the system's memory.
struct PoolStats {
  int64_t in_use_bytes, cached_bytes, peak_in_use_bytes, limit_bytes;
  int64_t allocations, cache_hits;
};
PoolStats pool_stats();
void pool_trim() noexcept;  // gives every cached block back to the system

// Blocks are cached while those in use and those cached together stay within `bytes`: by default
// half of the memory that the cgroup, or the machine, has. What goes over is given back at once.
void pool_set_limit(int64_t bytes);  // throws std::invalid_argument below 0

// Scratch for one call, returned when it goes out of scope.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::size_t count)
      : bytes_(bytes_of(count)), data_(static_cast<T*>(pool_allocate(bytes_))) {}
  ~Scratch() { pool_release(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* get() const { return data_; }

 private:
  static std::size_t bytes_of(std::size_t count) {
    std::size_t bytes;
    if (__builtin_mul_overflow(count, sizeof(T), &bytes)) throw std::bad_alloc();
    return bytes;
  }

  std::size_t bytes_;
  T* data_;
};

}  // namespace tilework
