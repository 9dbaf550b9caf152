// bfloat16 images as float32, a band of rows at a time: what the float routines read of them, in
// memory that stays in the cache.
#pragma once

#include "kernels/conv/arrange.h"
#include "simd/bfloat16.h"

namespace tilework::TW_ISA::bf16 {

struct ImageStrides {
  int64_t image, row, col, channel;
};

// Widened, images keep the order of planes where they have it, which the float routines know to
// arrange; else channels are adjacent.
TW_INLINE ImageStrides widened_strides(const ImageStrides& from, int64_t rows, int64_t cols,
                                       int64_t channels) {
  const int64_t image = rows * cols * channels;
  if (from.col == 1 && from.channel != 1) return {image, cols, 1, rows * cols};
  return {image, cols * channels, channels, 1};
}

TW_INLINE void widen(const bfloat16* x, int64_t count, float* out) {
  sweep<float>(count, [&](int64_t i, auto lanes)
                          TW_INLINE_LAMBDA { lanes.store(out + i, load(lanes, x + i)); });
}

// One row of pixels, into the order that widened_strides() gives.
inline void widen_row(const bfloat16* x, const ImageStrides& from, int64_t cols, int64_t channels,
                      const ImageStrides& to, float* out) {
  if (to.col == 1 && to.channel != 1) {
    for (int64_t c = 0; c < channels; ++c) widen(x + c * from.channel, cols, out + c * to.channel);
  } else if (channels == 1 || from.channel == 1) {
    if (from.col == channels) return widen(x, cols * channels, out);
    for (int64_t i = 0; i < cols; ++i) widen(x + i * from.col, channels, out + i * channels);
  } else {
    for (int64_t i = 0; i < cols; ++i)
      for (int64_t c = 0; c < channels; ++c)
        out[i * channels + c] = to_float(x[i * from.col + c * from.channel]);
  }
}

inline void widen_images(const bfloat16* x, const ImageStrides& from, int64_t images, int64_t rows,
                         int64_t cols, int64_t channels, const ImageStrides& to, float* out) {
  for (int64_t n = 0; n < images; ++n)
    for (int64_t r = 0; r < rows; ++r)
      widen_row(x + n * from.image + r * from.row, from, cols, channels, to,
                out + n * to.image + r * to.row);
}

// arrange_row() of bfloat16: in the float routine's way, a stretch of pixels at a time.
inline void arrange_bfloat16_row(int64_t cols, int64_t channels, const bfloat16* x, int64_t x_col,
                                 int64_t x_channel, bfloat16* out) {
  constexpr int W = Vec<float>::width;
  constexpr int64_t kStretch = 64;
  if (x_col != 1 || x_channel == 1) {
    for (int64_t i = 0; i < cols; ++i)
      for (int64_t c = 0; c < channels; ++c) out[i * channels + c] = x[i * x_col + c * x_channel];
    return;
  }
  float planes[W * kStretch];
  for (int64_t c = 0; c < channels; c += W) {
    const int lanes = static_cast<int>(least<int64_t>(W, channels - c));
    for (int64_t i = 0; i < cols; i += kStretch) {
      const int64_t count = least(kStretch, cols - i);
      for (int l = 0; l < lanes; ++l)
        widen(x + (c + l) * x_channel + i, count, planes + l * kStretch);
      bfloat16* to = out + i * channels + c;
      for_each_column(lanes, count, planes, kStretch, [&](int64_t at, Vec<float> v) {
        store_rounded_partial(v, to + at * channels, lanes);
      });
    }
  }
}

// What is widened at a time: whole images, or rows of one.
struct Bands {
  int64_t images, rows;

  // `most` rows, but at least one.
  Bands(const ConvGeometry& g, int64_t most) {
    rows = most < 1 ? 1 : least(most, g.rows);
    images = rows < g.rows ? 1 : least(g.images, most / (g.rows > 0 ? g.rows : 1));
    if (images < 1) images = 1;
  }
  // body(image, images, row, rows)
  template <class Body>
  void each(const ConvGeometry& g, Body body) const {
    for (int64_t n = 0; n < g.images; n += images)
      for (int64_t row = 0; row < g.rows; row += rows)
        body(n, least(images, g.images - n), row, least(rows, g.rows - row));
  }
  // body(images, row, rows) for bands of each size: fewer images than most bands have may take more
  // of a routine's workspace.
  template <class Body>
  void each_size(ConvGeometry g, Body body) const {
    g.images = g.images > 0 ? least(g.images, images + g.images % images) : 1;
    each(g, [&](int64_t, int64_t n, int64_t row, int64_t some) { body(n, row, some); });
  }
};

// g of some of its images and rows.
TW_INLINE ConvGeometry band_of(ConvGeometry g, int64_t images, int64_t row, int64_t rows) {
  g.images = images;
  g.row_begin += row;
  g.rows = rows;
  return g;
}

}  // namespace tilework::TW_ISA::bf16
