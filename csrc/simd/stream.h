// Storing around the cache, or not, in one kernel: base/stream.h says when.
#pragma once

#include "simd/sweep.h"

namespace tilework::TW_ISA {

// With kStream each run of `p` begins and ends on 64 bytes, and stream_fence() follows the last.
template <bool kStream, class T, class Lanes>
TW_INLINE void put(Lanes lanes, T* p, Vec<T> v) {
  if constexpr (kStream)
    v.stream(p);
  else
    lanes.store(p, v);
}

}  // namespace tilework::TW_ISA
