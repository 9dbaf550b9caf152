#include "cudasim/atomics.h"

#include <cstring>

#include "cudasim/monitor.h"

namespace tilework::cudasim {

void atomic_read(const void* p, void* old, size_t bytes, Site at) {
  see({.at = const_cast<void*>(p), .bytes = bytes, .store = true, .atomic = true}, at);
  std::memcpy(old, p, bytes);
}

void atomic_write(void* p, const void* value, size_t bytes) { std::memcpy(p, value, bytes); }

}  // namespace tilework::cudasim
