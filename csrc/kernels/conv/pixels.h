// Tiles of pixels for narrow images, 7 wide above all: a tile takes the image's pixels as they
// follow one another, row after row, where parts of a row would fill half of it and leave the FMAs
// waiting for one another and for B.
//
// Each of a tile's pixels has a pointer of its own. Where a window reaches over x's border, the
// pixel reads zeros (of an infinite weight they make NaN); a tap that no pixel of a tile reaches is
// left out. What a tile holds depends on the image alone, so that no cut of the work shows in a
// result.
#pragma once

#include "kernels/conv/arrange.h"
#include "kernels/conv/segments.h"

namespace tilework::TW_ISA {

// Fourteen pointers would not fit the registers; and there, low tiles wait less for B.
template <class T>
inline constexpr bool kHasPixelTiles = Tile<T>::mr <= 6;

// Where the window of one of y's pixels begins in x, apart from its taps.
struct Pixel {
  int64_t row, col;
};

// Bit i: pixel i of a tile does not meet x under the tap.
template <int count>
TW_INLINE uint32_t pixels_outside(const ConvGeometry& g, const Pixel* pixels, const Tap& tap) {
  uint32_t outside = 0;
  for (int i = 0; i < count; ++i) {
    const int64_t row = pixels[i].row + tap.row, col = pixels[i].col + tap.col;
    if (row < 0 || row >= g.in_rows || col < 0 || col >= g.in_cols) outside |= 1u << i;
  }
  return outside;
}

// A part of the channels under one tap.
struct PixelSegment {
  int64_t a;  // elements from each pixel's window to these
  int64_t b;  // elements from the panel's start
  int64_t k;
  uint32_t outside;  // bit i: pixel i reads zeros
  bool flush;        // as Segment's
};

template <class T>
struct PixelList {
  using Element = T;

  const PixelSegment* segments;
  int64_t count;
  const T* pixels[Tile<T>::mr];  // where each one's window begins
  const T* zeros;                // as many as the longest segment has
  const T* panel;                // as SegmentList's
  // Nothing is asked for: such an image is near while its pixels meet the weights.
  static constexpr const T* ahead = nullptr;
};

template <class T, int Rows, int Vectors>
TW_INLINE void add_segment(const PixelList<T>& list, const PixelSegment& s,
                           Vec<T> (&sum)[Rows][Vectors], const T*&) {
  using V = Vec<T>;
  const T* a[Rows];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) a[i] = s.outside >> i & 1 ? list.zeros : list.pixels[i] + s.a;
  const T* pb = list.panel + s.b;
  for (int64_t step = 0; step < s.k; ++step) {
    V vb[Vectors];
    load_step<T, Vectors>(pb, kSegmentAhead<T>, vb);
    pb += Tile<T>::nr;
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const V va = a[i][step];
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) sum[i][j] = fma(va, vb[j], sum[i][j]);
    }
  }
}

}  // namespace tilework::TW_ISA
