// One last-in-first-out list of free blocks for each size class, each under its own spin lock.
//
// A lock that nobody else holds costs 5 ns: a cache for each thread would save that and bring what
// such caches bring, blocks stranded with the thread that freed them, and destructors at thread
// exit. Everything here is constant-initialised and trivially destructible, so that the pool works
// before the first static initialiser and after the last destructor.
#include "base/memory_pool.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>

#include "base/asan.h"
#include "base/cgroup.h"
#include "base/text_file.h"
#include "base/wait.h"

// Under AddressSanitizer a cached block is poisoned, and what a block in use has beyond its
// request: stale pointers are caught, and memory that is too small. Its leak checker reads no
// poisoned memory, so not the links of the lists either: it is told to leave blocks alone.

namespace tilework {
namespace {

constexpr std::size_t kAlign = 64, kHugePage = std::size_t{2} << 20;

// --- Size classes: 64 B to 256 B in steps of 64, then four to each power of two, so that a block
// is never more than a quarter larger than the request. ---

constexpr int kClasses = 160;
constexpr std::size_t kLargestBlock = std::size_t{1} << 45;

constexpr int class_of(std::size_t bytes) {
  const std::size_t last = bytes == 0 ? 0 : (bytes - 1) / kAlign;  // the last 64-byte unit's index
  if (last < 4) return static_cast<int>(last);
  const int octave = std::bit_width(last) - 3;
  return 4 * octave + static_cast<int>(last >> octave);
}

constexpr std::size_t class_bytes(int c) {
  if (c < 4) return (c + 1) * kAlign;
  const int octave = c / 4 - 1;
  return static_cast<std::size_t>(c % 4 + 5) * kAlign << octave;
}

static_assert(class_of(0) == 0 && class_of(64) == 0 && class_of(65) == 1 && class_of(256) == 3);
static_assert(class_bytes(class_of(257)) == 320 && class_bytes(class_of(1 << 20)) == 1 << 20);
static_assert(class_bytes(class_of((1 << 20) + 1)) == 5 << 18);
static_assert(class_of(kLargestBlock) < kClasses);

// --- The system's memory ---

void* map_huge(std::size_t bytes) {
  // Map one huge page too much, and give back what is not aligned.
  void* raw =
      mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  char* start = static_cast<char*>(raw);
  const std::size_t skip = -reinterpret_cast<uintptr_t>(start) % kHugePage;
  if (skip) munmap(start, skip);
  if (skip < kHugePage) munmap(start + skip + bytes, kHugePage - skip);
  madvise(start + skip, bytes, MADV_HUGEPAGE);  // advice: where the system has none, small pages do
  return start + skip;
}

// From here on, writing a block takes a hundred times longer than asking whether there is room.
constexpr std::size_t kLarge = std::size_t{128} << 20;

// What the machine and the cgroup have left. Linux lends address space beyond it, and ends the
// process when that is written: such a size is refused instead.
int64_t memory_left() {
  int64_t kilobytes = 0;
  for (const std::string& line : lines_of("/proc/meminfo")) {
    const std::vector<std::string> words = words_of(line);  // "MemAvailable:", a number, "kB"
    if (words.size() > 1 && (words[0] == "MemAvailable:" || words[0] == "SwapFree:"))
      kilobytes += static_cast<int64_t>(number_of(words[1]).value_or(0));
  }
  const int64_t group = read_cgroup_limits().memory_left;
  return kilobytes > 0 ? std::min(group, 1024 * kilobytes) : group;
}

void* system_allocate(std::size_t bytes) {
  if (bytes >= kLarge && static_cast<int64_t>(bytes) > memory_left()) return nullptr;
  if (bytes >= kHugePage) return map_huge(bytes);
  void* block = std::aligned_alloc(kAlign, bytes);
  __lsan_ignore_object(block);
  return block;
}

void system_free(void* block, std::size_t bytes) {
  if (bytes >= kHugePage)
    munmap(block, bytes);
  else
    std::free(block);
}

// --- The lists ---

struct FreeBlock {
  FreeBlock* next;
};

struct alignas(64) SizeClass {
  SpinLock lock;
  FreeBlock* top = nullptr;  // under the lock, like all below
  int64_t allocations = 0, hits = 0;
  std::atomic<int64_t> last_used{0};  // by the count of misses; read outside the lock too

  FreeBlock* pop(std::size_t bytes) {
    FreeBlock* block = top;
    if (block) {
      ASAN_UNPOISON_MEMORY_REGION(block, bytes);
      top = block->next;
    }
    static_cast<void>(bytes);
    return block;
  }
  void push(void* memory, std::size_t bytes) {
    auto* block = static_cast<FreeBlock*>(memory);
    block->next = top;
    top = block;
    ASAN_POISON_MEMORY_REGION(block, bytes);
    static_cast<void>(bytes);
  }
};

constinit SizeClass g_classes[kClasses];
// Blocks in use and in the lists together: changed on the slow paths alone.
constinit std::atomic<int64_t> g_held{0};
constinit std::atomic<int64_t> g_in_use{0}, g_peak{0}, g_misses{0};
constinit std::atomic<int64_t> g_limit{-1};  // -1: not yet read from the system

int64_t limit() {
  int64_t found = g_limit.load(std::memory_order_relaxed);
  if (found < 0) {
    const int64_t machine = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    const int64_t half = std::min(machine, read_cgroup_limits().memory_bytes) / 2;
    found = g_limit.compare_exchange_strong(found, half) ? half : found;
  }
  return found;
}

void count_in_use(int64_t bytes) {
  const int64_t now = g_in_use.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  int64_t peak = g_peak.load(std::memory_order_relaxed);
  while (now > peak && !g_peak.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

// Frees cached blocks of class `c` until the pool holds at most `target` bytes or the list is
// empty.
void evict(int c, int64_t target) {
  const std::size_t bytes = class_bytes(c);
  while (g_held.load(std::memory_order_relaxed) > target) {
    FreeBlock* block;
    {
      const std::lock_guard guard(g_classes[c].lock);
      block = g_classes[c].pop(bytes);
    }
    if (!block) return;
    system_free(block, bytes);
    g_held.fetch_sub(static_cast<int64_t>(bytes), std::memory_order_relaxed);
  }
}

// Frees cached blocks, those of the class that has been idle longest first.
void shrink_to(int64_t target) {
  int order[kClasses];
  int64_t last_used[kClasses];
  for (int c = 0; c < kClasses; ++c) {
    order[c] = c;
    last_used[c] = g_classes[c].last_used.load(std::memory_order_relaxed);
  }
  std::sort(order, order + kClasses, [&](int a, int b) { return last_used[a] < last_used[b]; });
  for (int c : order) evict(c, target);
}

void* allocate_fresh(int c, std::size_t asked) {
  const std::size_t bytes = class_bytes(c);
  g_misses.fetch_add(1, std::memory_order_relaxed);
  const int64_t held = g_held.load(std::memory_order_relaxed);
  const int64_t room = limit() - static_cast<int64_t>(bytes);
  if (held > room && held > g_in_use.load(std::memory_order_relaxed)) shrink_to(room);
  void* block = system_allocate(bytes);
  if (!block) {
    shrink_to(0);
    block = system_allocate(bytes);
  }
  if (!block) throw OutOfMemory(asked);
  g_held.fetch_add(static_cast<int64_t>(bytes), std::memory_order_relaxed);
  return block;
}

// A child of fork has only the forking thread: no other may hold a lock at that moment.
void lock_all() {
  for (SizeClass& c : g_classes) c.lock.lock();
}
void unlock_all() {
  for (SizeClass& c : g_classes) c.lock.unlock();
}
[[maybe_unused]] const int g_fork_handler = pthread_atfork(lock_all, unlock_all, unlock_all);

}  // namespace

void* pool_allocate(std::size_t bytes) {
  if (bytes > kLargestBlock) throw OutOfMemory(bytes);
  const int c = class_of(bytes);
  SizeClass& list = g_classes[c];
  void* block;
  {
    const std::lock_guard guard(list.lock);
    block = list.pop(class_bytes(c));
    list.allocations += 1;
    list.hits += block != nullptr;
    list.last_used.store(g_misses.load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
  if (!block) block = allocate_fresh(c, bytes);
  count_in_use(static_cast<int64_t>(class_bytes(c)));
  ASAN_POISON_MEMORY_REGION(static_cast<char*>(block) + bytes, class_bytes(c) - bytes);
  return block;
}

void pool_release(void* block, std::size_t bytes) noexcept {
  if (!block) return;
  const int c = class_of(bytes);
  const auto size = static_cast<int64_t>(class_bytes(c));
  ASAN_UNPOISON_MEMORY_REGION(block, class_bytes(c));
  g_in_use.fetch_sub(size, std::memory_order_relaxed);
  if (g_held.load(std::memory_order_relaxed) > g_limit.load(std::memory_order_relaxed)) {
    system_free(block, class_bytes(c));
    g_held.fetch_sub(size, std::memory_order_relaxed);
    return;
  }
  const std::lock_guard guard(g_classes[c].lock);
  g_classes[c].push(block, class_bytes(c));
}

PoolStats pool_stats() {
  PoolStats stats{};
  stats.limit_bytes = limit();
  for (SizeClass& c : g_classes) {
    const std::lock_guard guard(c.lock);
    stats.allocations += c.allocations;
    stats.cache_hits += c.hits;
  }
  stats.in_use_bytes = g_in_use.load();
  stats.peak_in_use_bytes = g_peak.load();
  stats.cached_bytes = std::max<int64_t>(0, g_held.load() - stats.in_use_bytes);
  return stats;
}

void pool_trim() noexcept {
  shrink_to(0);
#if defined(__GLIBC__)
  malloc_trim(0);  // blocks under 2 MiB went back to malloc, which keeps pages too
#endif
}

void pool_set_limit(int64_t bytes) {
  if (bytes < 0)
    throw std::invalid_argument("[pool_set_limit] expected at least 0 bytes; got " +
                                std::to_string(bytes));
  g_limit.store(bytes);
  if (g_held.load() > bytes) shrink_to(bytes);
}

}  // namespace tilework
