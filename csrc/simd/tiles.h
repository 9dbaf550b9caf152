// AMX: eight tile registers of up to 16 rows by 64 bytes, and the product of two of them.
//
// Kernels use the registers through this layer alone. In a file built with AMX's flags it is the
// instructions themselves; elsewhere it is their twin in software (tiles_twin.h), which tests run
// the same kernels over, also on machines without AMX.
//
//   Configured held;               // all eight tiles 16 x 64 bytes, released at the end of scope
//   zero<T>()                      // T, A, B: register numbers, 0 to 7
//   load<T>(p, stride)             // row i from p + i * stride bytes
//   store<T>(p, stride)
//   dot_bf16<T, A, B>()            // T += A * B: floats from pairs of bfloat16, see dot_bf16
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tilework::TW_ISA::tiles {

inline constexpr int kRegisters = 8, kRows = 16, kRowBytes = 64;

// What LDTILECFG reads (Intel SDM, volume 1, chapter 18, palette 1).
struct alignas(64) Configuration {
  uint8_t palette = 0;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  static constexpr Configuration whole_tiles() {
    Configuration c;
    c.palette = 1;
    for (int i = 0; i < kRegisters; ++i) {
      c.row_bytes[i] = kRowBytes;
      c.rows[i] = kRows;
    }
    return c;
  }
};
static_assert(sizeof(Configuration) == 64);

}  // namespace tilework::TW_ISA::tiles

#if defined(__AMX_BF16__) || defined(__AMXBF16__)  // the latter: clang before 15

namespace tilework::TW_ISA::tiles {

// Not the compilers' intrinsics: those of gcc take register numbers as literal tokens only, and do
// not tell it that loads read memory (it may then sink a store below the load that needs it).

inline void configure(const Configuration& c) { __asm__ volatile("ldtilecfg %0" ::"m"(c)); }
inline void release() { __asm__ volatile("tilerelease"); }

template <int T>
inline __attribute__((always_inline)) void zero() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(T));
}

template <int T>
inline __attribute__((always_inline)) void load(const void* p, ptrdiff_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(T) : "memory");
}

template <int T>
inline __attribute__((always_inline)) void store(void* p, ptrdiff_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(T) : "memory");
}

// T[m][n] += sum over j of A[m][2j] * B[j][2n] + A[m][2j + 1] * B[j][2n + 1]. The even and the odd
// products are each summed by a chain of FMAs from zero, in the order of j; the two sums are added,
// and that sum to T. All rounds to nearest even; denormals count as zero, going in and coming out.
template <int T, int A, int B>
inline __attribute__((always_inline)) void dot_bf16() {
  static_assert(T != A && T != B && A != B);
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(T), "i"(A), "i"(B));
}

}  // namespace tilework::TW_ISA::tiles

#else
#include "simd/tiles_twin.h"
#endif

namespace tilework::TW_ISA::tiles {

// The registers are the thread's, not ours: other libraries configure them too, and a thread that
// leaves them configured makes every context switch save 8 KB more.
class Configured {
 public:
  Configured() {
    alignas(64) static constexpr Configuration kWhole = Configuration::whole_tiles();
    configure(kWhole);
  }
  ~Configured() { release(); }
  Configured(const Configured&) = delete;
  Configured& operator=(const Configured&) = delete;
};

}  // namespace tilework::TW_ISA::tiles
