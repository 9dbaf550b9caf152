#include "cudasim/wide.h"

#include <cstring>

#include "cudasim/monitor.h"

namespace tilework::cudasim {

void load_wide(void* to, const void* from, size_t bytes, size_t alignment, Space space, Site at) {
  see({.at = const_cast<void*>(from),
       .bytes = bytes,
       .store = false,
       .alignment = alignment,
       .space = space},
      at);
  std::memcpy(to, from, bytes);
}

void store_wide(void* to, const void* from, size_t bytes, size_t alignment, Space space, Site at) {
  see({.at = to, .bytes = bytes, .store = true, .alignment = alignment, .space = space}, at);
  std::memcpy(to, from, bytes);
}

}  // namespace tilework::cudasim
