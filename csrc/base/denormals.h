// Numbers below the smallest normal one as zero, in this thread while the object lives: what is so
// small costs a hundred cycles an operation on some processors.
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace tilework {

class DenormalsAreZero {
 public:
#if defined(__SSE2__)
  DenormalsAreZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kFlushToZero | kReadAsZero); }
  ~DenormalsAreZero() { _mm_setcsr(before_); }

 private:
  static constexpr unsigned kFlushToZero = 0x8000, kReadAsZero = 0x0040;
  const unsigned before_;
#else
  DenormalsAreZero() {}  // 64-bit ARM is as quick with them

 public:
#endif
  DenormalsAreZero(const DenormalsAreZero&) = delete;
  DenormalsAreZero& operator=(const DenormalsAreZero&) = delete;
};

}  // namespace tilework
