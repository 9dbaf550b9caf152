// When an output goes around the caches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>

namespace tilework {

// An output that the caches cannot hold is written around them, where its runs begin on cache
// lines: a cached store would first read from memory the line that it overwrites.
inline constexpr int64_t kStreamBytes = 4 << 20;

// Null outputs do not count.
template <class T>
bool streams(std::initializer_list<const T*> outputs, int64_t elements, int64_t run) {
  constexpr int64_t size = sizeof(T);
  return elements * size >= kStreamBytes && run * size % 64 == 0 &&
         std::all_of(outputs.begin(), outputs.end(),
                     [](const T* p) { return reinterpret_cast<uintptr_t>(p) % 64 == 0; });
}

}  // namespace tilework
