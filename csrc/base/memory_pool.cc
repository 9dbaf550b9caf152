#include "base/memory_pool.h"

#include <cstdlib>
#include <new>

namespace tilework {

void* pool_allocate(std::size_t bytes) {
  void* block = std::aligned_alloc(64, (bytes + 64) / 64 * 64);
  if (!block) throw std::bad_alloc();
  return block;
}
void pool_release(void* block, std::size_t) noexcept { std::free(block); }
PoolStats pool_stats() { return {}; }
void pool_trim() noexcept {}
void pool_set_limit(int64_t) {}

}  // namespace tilework
