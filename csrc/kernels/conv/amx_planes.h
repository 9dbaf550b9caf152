// How x lies for the tiles: planes of pixels of 32 channels, split into slices.
//
//     unit = a band of rows of one image, with the rows above and below that its windows reach
//     unit = [chunk of 32 channels][slice][phase][pixel][channel]
//
// Sixteen pixels that follow on are a tile, so that every tap of a window, whatever its place, is
// one load of sixteen whole lines; nothing is copied for a tap. What makes them follow on:
//   - a phase holds the pixels whose row and column leave one remainder by the steps. Windows that
//     are neighbours then read neighbours in it, also where a step is above 1;
//   - a row of pixels is followed by zeros that serve both as its right margin and as the next
//     row's left one. A tile may so run on from row to row: where it crosses a margin it computes
//     pixels that nobody stores, one or two a row, where tiles that end with each row would lose
//     half a tile to a row of 7 or 14.
#pragma once

#include "kernels/conv/amx_ways.h"

namespace tilework::TW_ISA::split {

inline constexpr int64_t kPixelWords = kStep;
// Of the 2 MiB of L2 that AMX's CPUs have, planes get so much at once; the weights that meet them
// have most of what is left.
inline constexpr int64_t kPlaneBytes = 768 << 10;

struct PlanePlan {
  static constexpr int64_t kMostPhases = 16;

  int64_t phases = 0;                 // that a tap reads
  int64_t number[kMostPhases];        // of phase row * col_step + col; -1: no tap reads it
  int64_t chunks;                     // of 32 channels
  int64_t row_low = 0, row_high = 0;  // of taps, in rows of a phase
  int64_t left, cols;                 // zeros before a row, columns that are read
  int64_t pitch;                      // pixels from row to row
  int64_t band_rows, bands;           // rows of the grid in a unit; units in an image
  int64_t blocks;                     // of 32 pixels in a unit
  int64_t slice_words, chunk_words, unit_words;

  // g.row_step * g.col_step is at most kMostPhases.
  PlanePlan(const ConvGeometry& g, int slices) {
    for (int64_t& n : number) n = -1;
    int64_t col_low = 0, col_high = 0;
    for (int64_t i = 0; i < g.tap_count; ++i) {
      const int64_t row = floor_div(g.taps[i].row, g.row_step);
      const int64_t col = floor_div(g.taps[i].col, g.col_step);
      if (i == 0 || row < row_low) row_low = row;
      if (i == 0 || row > row_high) row_high = row;
      if (i == 0 || col < col_low) col_low = col;
      if (i == 0 || col > col_high) col_high = col;
      int64_t& n = number[remainder(g, g.taps[i])];
      if (n < 0) n = phases++;
    }
    chunks = ceil_div(g.channels, kStep);
    left = col_low < 0 ? -col_low : 0;
    cols = least(ceil_div(g.in_cols, g.col_step), g.cols + col_high);
    if (cols < 0) cols = 0;
    const int64_t right = g.cols + col_high - cols;
    pitch = cols + (left > right ? left : right);
    if (pitch < g.cols) pitch = g.cols;

    const int64_t halo = row_high - row_low;
    const int64_t row_bytes = chunks * slices * phases * pitch * kPixelWords * 2;
    // A band repeats the packing of its halo.
    int64_t most = kPlaneBytes / row_bytes - halo;
    if (most < 2 * halo + 1) most = 2 * halo + 1;
    bands = ceil_div(g.rows, most);
    band_rows = ceil_div(g.rows, bands);
    blocks = ceil_div((band_rows - 1) * pitch + g.cols, kPanel);
    // The last tile's last pixel, under the tap that is furthest down and right.
    const int64_t pixels = blocks * kPanel + halo * pitch + col_high + left;
    slice_words = phases * pixels * kPixelWords;
    chunk_words = slices * slice_words;
    unit_words = chunks * chunk_words;
  }

  static int64_t remainder(const ConvGeometry& g, const Tap& tap) {
    const int64_t row = tap.row - floor_div(tap.row, g.row_step) * g.row_step;
    return row * g.col_step + tap.col - floor_div(tap.col, g.col_step) * g.col_step;
  }
  // Words from a unit's start, and pixel 0 of its grid, to what a tap meets there.
  int64_t offset(const ConvGeometry& g, const Tap& tap, int64_t chunk) const {
    const int64_t row = floor_div(tap.row, g.row_step) - row_low;
    const int64_t col = floor_div(tap.col, g.col_step) + left;
    return at(chunk, number[remainder(g, tap)], row, col);
  }
  // Words from a unit's start to a pixel: rows from the unit's first, columns from the left zeros.
  int64_t at(int64_t chunk, int64_t phase, int64_t row, int64_t col) const {
    const int64_t phase_words = slice_words / phases;
    return chunk * chunk_words + phase * phase_words + (row * pitch + col) * kPixelWords;
  }
  // Rows of x that a unit holds, the first of them at row_low.
  int64_t x_rows(const ConvGeometry& g) const {
    return (band_rows + row_high - row_low) * g.row_step;
  }
};

// Packs rows of x into a unit whose margins are zeros already.
template <class Way>
class PlanePacker {
  using T = typename Way::Value;

 public:
  // `row` has room for in_cols pixels, where channels are not adjacent in x.
  PlanePacker(const Correlation<T>& g, const PlanePlan& plan, T* row)
      : g_(g), plan_(plan), row_(row) {}

  static int64_t row_room(const Correlation<T>& g) {
    return g.x_channel == 1 ? 0 : g.in_cols * g.channels;
  }

  // Row `in_row` of an image as row `at` (of x's own rows) of the unit, zeros where x has no such;
  // returns what it holds.
  Profile run(const T* image, int64_t in_row, int64_t at, uint16_t* unit) const {
    auto seen = Way::nothing();
    if (in_row < 0 || in_row >= g_.in_rows) {
      for_each_pixel(unit, at, [&](int64_t, uint16_t* pixel) {
        for (int64_t i = 0; i < plan_.chunks * Way::count; ++i)
          _mm512_store_si512(pixel + i * plan_.slice_words, _mm512_setzero_si512());
      });
      return profile_of(seen, 0);
    }
    const T* x = image + in_row * g_.x_row;
    int64_t x_col = g_.x_col;
    if (g_.x_channel != 1) {
      Way::arrange(g_.in_cols, g_.channels, x, x_col, g_.x_channel, row_);
      x = row_;
      x_col = g_.channels;
    }
    for_each_pixel(unit, at, [&](int64_t col, uint16_t* pixel) TW_INLINE_LAMBDA {
      put_pixel(x + col * x_col, pixel, seen);
    });
    return profile_of(seen, share_filled(in_row, at, unit));
  }

 private:
  // Calls body(col of x, its pixel in chunk 0) for what is read of a row.
  template <class Body>
  TW_INLINE void for_each_pixel(uint16_t* unit, int64_t at, Body&& body) const {
    const int64_t remainder = at % g_.row_step, row = at / g_.row_step;
    for (int64_t c = 0; c < g_.col_step; ++c) {
      const int64_t phase = plan_.number[remainder * g_.col_step + c];
      if (phase < 0) continue;
      const int64_t cols = least(plan_.cols, ceil_div(g_.in_cols - c, g_.col_step));
      uint16_t* pixel = unit + plan_.at(0, phase, row, plan_.left);
      for (int64_t i = 0; i < cols; ++i, pixel += kPixelWords) body(i * g_.col_step + c, pixel);
    }
  }

  // All chunks of a pixel in turn: a line of each slice is written whole, wherever it lies.
  TW_INLINE void put_pixel(const T* x, uint16_t* pixel, typename Way::Seen& seen) const {
    int64_t left = g_.channels;
    for (; left >= kStep; left -= kStep, x += kStep, pixel += plan_.chunk_words)
      Way::put(x, pixel, plan_.slice_words, seen);
    if (left > 0) Way::put_part(x, static_cast<int>(left), pixel, plan_.slice_words, seen);
  }

  static Profile profile_of(const typename Way::Seen& seen, int filled) {
    if constexpr (Way::splits)
      return seen.profile(filled);
    else
      return {};
  }

  // As of a panel (amx_pack.h): by every eighth pixel, staggered over rows and chunks.
  int share_filled(int64_t in_row, int64_t at, uint16_t* unit) const {
    if (!Way::splits) return 0;
    int64_t seen = 0, values = 0;
    for_each_pixel(unit, at, [&](int64_t col, uint16_t* pixel) {
      for (int64_t chunk = 0; chunk < plan_.chunks; ++chunk) {
        if ((in_row * 5 + chunk * 3 + col / g_.col_step) % 8 != 0) continue;
        const __m512i words = _mm512_load_si512(pixel + chunk * plan_.chunk_words);
        seen += __builtin_popcount(_mm512_test_epi16_mask(words, _mm512_set1_epi16(0x7fff)));
        values += least(kStep, g_.channels - chunk * kStep);
      }
    });
    return static_cast<int>(values ? seen * Profile::kWhole / values : Profile::kWhole);
  }

  const Correlation<T>& g_;
  const PlanePlan& plan_;
  T* row_;
};

}  // namespace tilework::TW_ISA::split
