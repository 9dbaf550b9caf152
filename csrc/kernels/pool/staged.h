// Writing rows around the cache: a cached store would first read from memory the line that it
// overwrites. Streaming stores take whole vectors on their own boundaries, which rows seldom begin
// on, so some rows are put together in L1 first.
#pragma once

#include "simd/vec.h"

namespace tilework::TW_ISA {
namespace pool {

template <class T>
TW_INLINE void stream_out(const T* from, int64_t n, T* to) {
  constexpr int W = Vec<T>::width;
  const int64_t past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) / sizeof(T) % W);
  int64_t i = past == 0 ? 0 : W - past;
  if (i > n) i = n;
  Vec<T>::load_partial(from, static_cast<int>(i)).store_partial(to, static_cast<int>(i));
  for (; i + W <= n; i += W) Vec<T>::load(from + i).stream(to + i);
  const int rest = static_cast<int>(n - i);
  Vec<T>::load_partial(from + i, rest).store_partial(to + i, rest);
}

// write(row, to) for each of `count` rows of `size` elements, the first at `to`; through `stage`,
// stage_rows at a time, or straight where that is 0.
template <class T, class Write>
TW_INLINE void write_rows(T* to, int64_t size, int64_t first, int64_t count, int64_t stage_rows,
                          T* stage, Write write) {
  if (stage_rows == 0) {
    for (int64_t k = 0; k < count; ++k) write(first + k, to + k * size);
    return;
  }
  for (int64_t done = 0; done < count; done += stage_rows) {
    const int64_t part = count - done < stage_rows ? count - done : stage_rows;
    for (int64_t k = 0; k < part; ++k) write(first + done + k, stage + k * size);
    stream_out(stage, part * size, to + done * size);
  }
  stream_fence();
}

}  // namespace pool
}  // namespace tilework::TW_ISA
