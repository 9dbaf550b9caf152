#include "cudasim/async_copies.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "cudasim/block.h"
#include "cudasim/monitor.h"

namespace tilework::cudasim {

void AsyncCopies::ask(void* to, const void* from, size_t bytes, size_t filled, Site at) {
  const InSimulator inside;
  if ((bytes != 4 && bytes != 8 && bytes != 16) || filled > bytes) {
    fault("cp.async of " + std::to_string(filled) + " of " + std::to_string(bytes) +
              " bytes: 4, 8 or 16 are copied at a time",
          at);
  }
  see({.at = to, .bytes = bytes, .store = true, .space = Space::shared}, at);
  if (filled > 0) {
    see({.at = const_cast<void*>(from),
         .bytes = filled,
         .store = false,
         .alignment = bytes,
         .space = Space::global},
        at);
  }
  std::memset(to, 0xFF, bytes);
  open_.push_back({to, from, bytes, filled, at});
}

void AsyncCopies::commit() {
  const InSimulator inside;
  groups_.push_back(std::exchange(open_, {}));
}

void AsyncCopies::wait(size_t pending) {
  const InSimulator inside;
  for (; groups_.size() > pending; groups_.pop_front()) {
    for (const Copy& copy : groups_.front()) {
      see({.at = copy.to, .bytes = copy.bytes, .store = true, .counted = false}, copy.at);
      std::memcpy(copy.to, copy.from, copy.filled);
      std::memset(static_cast<char*>(copy.to) + copy.filled, 0, copy.bytes - copy.filled);
    }
  }
}

void AsyncCopies::clear() {
  open_.clear();
  groups_.clear();
}

}  // namespace tilework::cudasim
