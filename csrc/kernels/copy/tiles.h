// A transposing copy by tiles of one cache line a side.
//
// A tile is transposed in L1 and leaves as whole lines. Where rows lie a power of two apart, the
// lines of a tile share one set of the cache: so its sources are read four lines at a time, each
// whole, and its lines can be written around the cache.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace tilework {
namespace copying {

inline constexpr int64_t kLine = 64;

// A tile's side in elements of T.
template <class T>
inline constexpr int64_t kSide = kLine / sizeof(T);

// Element (i, j) of the source: from + i * row + j * sizeof(T). stage[j][i] gets it.
template <class T>
inline void stage_tile(const char* from, int64_t row, T (*stage)[kSide<T>]) {
  for (int64_t i = 0; i < kSide<T>; ++i) {
    T line[kSide<T>];
    memcpy(line, from + i * row, kLine);
    for (int64_t j = 0; j < kSide<T>; ++j) stage[j][i] = line[j];
  }
}
#if defined(__SSE2__)
inline __m128i load_piece(const char* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
inline void store_piece(void* to, __m128i piece) {
  _mm_storeu_si128(static_cast<__m128i*>(to), piece);
}
// Four lines at a time, as squares of four elements.
template <>
inline void stage_tile<uint32_t>(const char* from, int64_t row, uint32_t (*stage)[16]) {
  for (int64_t i = 0; i < 16; i += 4)
    for (int64_t j = 0; j < 16; j += 4) {
      const char* at = from + i * row + j * 4;
      const __m128i a = load_piece(at), b = load_piece(at + row);
      const __m128i c = load_piece(at + 2 * row), d = load_piece(at + 3 * row);
      const __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
      const __m128i ef = _mm_unpackhi_epi32(a, b), gh = _mm_unpackhi_epi32(c, d);
      store_piece(&stage[j][i], _mm_unpacklo_epi64(ab, cd));
      store_piece(&stage[j + 1][i], _mm_unpackhi_epi64(ab, cd));
      store_piece(&stage[j + 2][i], _mm_unpacklo_epi64(ef, gh));
      store_piece(&stage[j + 3][i], _mm_unpackhi_epi64(ef, gh));
    }
}
template <>
inline void stage_tile<uint64_t>(const char* from, int64_t row, uint64_t (*stage)[8]) {
  for (int64_t i = 0; i < 8; i += 2)
    for (int64_t j = 0; j < 8; j += 2) {
      const __m128i a = load_piece(from + i * row + j * 8);
      const __m128i b = load_piece(from + (i + 1) * row + j * 8);
      store_piece(&stage[j][i], _mm_unpacklo_epi64(a, b));
      store_piece(&stage[j + 1][i], _mm_unpackhi_epi64(a, b));
    }
}
#endif

// Around the cache where kStream says so; `to` is then aligned to a line.
template <bool kStream>
inline void write_line(const void* line, char* to) {
#if defined(__SSE2__)
  if constexpr (kStream) {
    const auto* from = static_cast<const __m128i*>(line);
    for (int k = 0; k < 4; ++k)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to) + k, _mm_load_si128(from + k));
    return;
  }
#endif
  memcpy(to, line, kLine);
}
inline void end_stream() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <class T, bool kStream>
void transpose_tile(const char* from, int64_t from_row, char* to, int64_t to_row) {
  alignas(64) T stage[kSide<T>][kSide<T>];
  stage_tile<T>(from, from_row, stage);
  for (int64_t j = 0; j < kSide<T>; ++j) write_line<kStream>(stage[j], to + j * to_row);
}

// `rows` by `cols` elements of the source, which lie rows apart by `from_row`; those of the result,
// as many as `cols`, by `to_row`.
template <class T, bool kStream>
void transpose_block(const char* from, int64_t from_row, int64_t rows, int64_t cols, char* to,
                     int64_t to_row) {
  constexpr int64_t side = kSide<T>, size = sizeof(T);
  const int64_t whole_rows = rows / side * side, whole_cols = cols / side * side;
  const auto element = [&](int64_t i, int64_t j) {
    memcpy(to + j * to_row + i * size, from + i * from_row + j * size, sizeof(T));
  };
  for (int64_t i = 0; i < whole_rows; i += side)
    for (int64_t j = 0; j < whole_cols; j += side)
      transpose_tile<T, kStream>(from + i * from_row + j * size, from_row,
                                 to + j * to_row + i * size, to_row);
  for (int64_t j = 0; j < whole_cols; ++j)
    for (int64_t i = whole_rows; i < rows; ++i) element(i, j);
  for (int64_t j = whole_cols; j < cols; ++j)
    for (int64_t i = 0; i < rows; ++i) element(i, j);
}

}  // namespace copying
}  // namespace tilework
