// The workspace: memory that a driver lends to a routine for one call.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "simd/vec.h"

namespace tilework::TW_ISA {

inline constexpr size_t kAlign = 64;
template <class T>
TW_INLINE size_t aligned_bytes(int64_t elements) {
  return (elements * sizeof(T) + kAlign - 1) / kAlign * kAlign;
}

// Memory that the driver lent, handed out piece by piece; with a null base it only counts.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}
  template <class Item>
  Item* take(int64_t count) {
    const size_t at = used_;
    used_ += aligned_bytes<Item>(count);
    return base_ ? reinterpret_cast<Item*>(base_ + at) : nullptr;
  }
  size_t used() const { return used_; }

 private:
  char* base_;
  size_t used_ = 0;
};

}  // namespace tilework::TW_ISA
