// The tile instructions in software, exact to the bit and strict about their rules: what the CPU
// answers with a fault ends the process here, naming the instruction. For tests only (slow).
//
// Semantics: Intel SDM, volume 2, LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TDPBF16PS.
#pragma once

#include <immintrin.h>
#include <stdio.h>

#if !defined(TILEWORK_TILE_TWIN)
#error "the software tiles are for tests: they belong in no shipped binary"
#endif

namespace tilework::TW_ISA::tiles {

struct TileState {
  Configuration config;
  // 32-bit cells: a float of C, or a pair of bfloat16 with the even one in the low half.
  alignas(64) uint32_t cell[kRegisters][kRows][kRowBytes / 4];
};
inline thread_local TileState state;

[[noreturn]] inline void fault(const char* instruction, const char* why) {
  fprintf(stderr, "tiles: %s would fault: %s\n", instruction, why);
  __builtin_abort();
}

inline void configure(const Configuration& c) {
  if (c.palette > 1) fault("ldtilecfg", "the palette is neither 0 nor 1");
  for (uint8_t byte : c.reserved)
    if (byte) fault("ldtilecfg", "a reserved byte is not zero");
  for (int i = 0; i < 16 && c.palette == 1; ++i) {
    if (i >= kRegisters && (c.rows[i] || c.row_bytes[i]))
      fault("ldtilecfg", "palette 1 has eight tiles");
    if (c.rows[i] > kRows) fault("ldtilecfg", "more than 16 rows");
    if (c.row_bytes[i] > kRowBytes) fault("ldtilecfg", "more than 64 bytes a row");
    if (!c.rows[i] != !c.row_bytes[i]) fault("ldtilecfg", "rows without bytes, or bytes without");
  }
  state = {};
  if (c.palette == 1) state.config = c;
}

inline void release() { state = {}; }

// A tile that an instruction may name: configured, with whole 32-bit cells.
inline void require(int tile, const char* instruction) {
  if (state.config.palette == 0) fault(instruction, "no tile is configured");
  if (state.config.rows[tile] == 0) fault(instruction, "this tile is not configured");
  if (state.config.row_bytes[tile] % 4) fault(instruction, "a row is not whole 32-bit cells");
  if (state.config.start_row >= state.config.rows[tile])
    fault(instruction, "start_row is past the tile");
}

template <int T>
void zero() {
  require(T, "tilezero");
  for (auto& row : state.cell[T])
    for (uint32_t& cell : row) cell = 0;
}

template <int T>
void load(const void* p, ptrdiff_t stride) {
  require(T, "tileloadd");
  zero<T>();
  for (int i = 0; i < state.config.rows[T]; ++i)
    __builtin_memcpy(state.cell[T][i], static_cast<const char*>(p) + i * stride,
                     state.config.row_bytes[T]);
}

template <int T>
void store(void* p, ptrdiff_t stride) {
  require(T, "tilestored");
  for (int i = 0; i < state.config.rows[T]; ++i)
    __builtin_memcpy(static_cast<char*>(p) + i * stride, state.cell[T][i],
                     state.config.row_bytes[T]);
}

// Rounding to nearest even and denormals as zero (both ways) are asked of the SSE unit, whose
// treatment of tiny results is the tile unit's. Out of line and behind barriers, so that no
// arithmetic moves across the switch. Half a row at a time, so that AVX2 is enough.
__attribute__((noinline)) inline void dot_row(const uint32_t* a, const uint32_t (*b)[16], int pairs,
                                              int cols, float* out) {
  const auto low = [](__m256i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)); };
  const auto high = [](__m256i x) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(x, _mm256_set1_epi32(static_cast<int>(0xffff0000))));
  };
  for (int col = 0; col < 16; col += 8) {
    __m256 even = _mm256_setzero_ps(), odd = _mm256_setzero_ps();
    for (int j = 0; j < pairs; ++j) {
      const __m256i x = _mm256_set1_epi32(static_cast<int>(a[j]));
      const __m256i y = _mm256_load_si256(reinterpret_cast<const __m256i*>(b[j] + col));
      even = _mm256_fmadd_ps(low(x), low(y), even);
      odd = _mm256_fmadd_ps(high(x), high(y), odd);
    }
    const __m256 sum = _mm256_add_ps(_mm256_loadu_ps(out + col), _mm256_add_ps(even, odd));
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32(cols - col), lane);
    _mm256_storeu_ps(out + col, _mm256_and_ps(sum, _mm256_castsi256_ps(there)));
  }
}

template <int T, int A, int B>
void dot_bf16() {
  constexpr const char* name = "tdpbf16ps";
  static_assert(T != A && T != B && A != B);
  require(T, name);
  require(A, name);
  require(B, name);
  const Configuration& c = state.config;
  const int pairs = c.row_bytes[A] / 4;
  if (c.rows[T] != c.rows[A]) fault(name, "rows of the sum and of the first factor differ");
  if (c.row_bytes[T] != c.row_bytes[B]) fault(name, "columns of the sum and of the second differ");
  if (pairs != c.rows[B]) fault(name, "pairs of the first factor and rows of the second differ");

  const unsigned before = _mm_getcsr();
  _mm_setcsr(_MM_MASK_MASK | _MM_ROUND_NEAREST | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON);
  __asm__ volatile("" ::: "memory");
  for (int m = 0; m < c.rows[T]; ++m)
    dot_row(state.cell[A][m], state.cell[B], pairs, c.row_bytes[T] / 4,
            reinterpret_cast<float*>(state.cell[T][m]));
  __asm__ volatile("" ::: "memory");
  _mm_setcsr(before);
}

}  // namespace tilework::TW_ISA::tiles
