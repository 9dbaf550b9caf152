// The pool that outputs and scratch come from: fresh pages cost more than most kernels do.
//
// Blocks are 64-byte aligned and come in size classes; blocks of 2 MiB and more are advised as huge
// pages. Freed blocks are kept for the next request of their class, up to a bound. Any thread may
// free what another allocated, also after fork and while the interpreter exits: the pool is never
// destroyed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tilework {

void* pool_allocate(std::size_t bytes);  // throws std::bad_alloc; 0 bytes gives a valid block
void pool_release(void* block, std::size_t bytes) noexcept;  // bytes as asked for

struct PoolStats {
  int64_t in_use_bytes, cached_bytes, peak_in_use_bytes, limit_bytes;
  int64_t allocations, cache_hits;
};
PoolStats pool_stats();
void pool_trim() noexcept;  // gives every cached block back to the system
void pool_set_limit(
    int64_t bytes);  // the most that in-use and cached blocks together may keep cached

// Scratch for one call, returned when it goes out of scope.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::size_t count)
      : bytes_(count * sizeof(T)), data_(static_cast<T*>(pool_allocate(bytes_))) {}
  ~Scratch() { pool_release(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* get() const { return data_; }

 private:
  std::size_t bytes_;
  T* data_;
};

}  // namespace tilework
