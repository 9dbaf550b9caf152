// Short runs of bytes, for copies whose runs are their caller's to find.
#pragma once

#include <stdint.h>

#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace tilework {

// Of some bytes. A call of memcpy would take longer than a short run does: its last 16 bytes, or 8,
// are copied by themselves, and may be copied twice.
inline void copy_run(const char* from, char* to, int64_t bytes) {
  constexpr int64_t kShort = 128;
  if (bytes > kShort || bytes < 8) {
    std::memcpy(to, from, static_cast<size_t>(bytes));
  } else if (bytes >= 16) {
    for (int64_t i = 0; i + 16 <= bytes; i += 16) std::memcpy(to + i, from + i, 16);
    std::memcpy(to + bytes - 16, from + bytes - 16, 16);
  } else {
    std::memcpy(to, from, 8);
    std::memcpy(to + bytes - 8, from + bytes - 8, 8);
  }
}

// Around the cache: whole lines, to where one begins. end_runs() before another thread may read.
inline void stream_run(const char* from, char* to, int64_t bytes) {
#if defined(__SSE2__)
  for (int64_t i = 0; i < bytes; i += 64)
    for (int64_t k = i; k < i + 64; k += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + k),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k)));
#else
  std::memcpy(to, from, static_cast<size_t>(bytes));
#endif
}
inline void end_runs() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace tilework
