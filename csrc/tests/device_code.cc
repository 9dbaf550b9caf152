// The headers that device code shares, as NVRTC meets them: alone, with no header of the system's
// beside them, the marks being words of its own.
#define __CUDACC__
#define __CUDACC_RTC__
#define __host__ [[nodiscard]]
#define __device__
#define __forceinline__ inline
#include "base/philox.h"
#include "base/random_words.h"

int main() {
  static_assert(tilework::philox_word(0, 0, 0) == 0x6627e8d5);
  static_assert(tilework::uniform_float(tilework::philox_word(0, 0, 0)) < 1);
  static_assert(sizeof(uint64_t) == 8 && sizeof(int64_t) == 8 && sizeof(uint32_t) == 4);
  return 0;
}
