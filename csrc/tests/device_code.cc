// The headers that device code shares, as a device's compiler meets them: alone, the marks being
// words of its own.
#include <cstdio>

#define __CUDACC__
#define __host__ [[nodiscard]]
#define __device__
#define __forceinline__ inline
#include "base/philox.h"
#include "base/random_words.h"
#undef __CUDACC__

int main() {
  static_assert(tilework::philox_word(0, 0, 0) == 0x6627e8d5);
  static_assert(tilework::uniform_float(tilework::philox_word(0, 0, 0)) < 1);
  std::printf("device_code: compiles as a device's\n");
}
