// How the driver cuts operations among threads: by images and rows, by outs, by channels; and a
// weights' gradient with few of the latter by slices of the pixels that it sums over.
#pragma once

#include <algorithm>

#include "base/grid.h"
#include "kernels/conv/operations.h"

namespace tilework {

template <class T>
Correlation<T> images_of(Correlation<T> g, int64_t begin, int64_t count) {
  g.images = count;
  g.x += begin * g.x_image;
  g.y += begin * g.y_image;
  if (g.epilogue.residual) g.epilogue.residual += begin * g.y_image;
  if (g.epilogue.preactivation) g.epilogue.preactivation += begin * g.y_image;
  return g;
}
template <class T>
Correlation<T> rows_of(Correlation<T> g, int64_t begin, int64_t count) {
  g.rows = count;
  g.row_begin += begin;
  g.y += begin * g.y_row;
  if (g.epilogue.residual) g.epilogue.residual += begin * g.y_row;
  if (g.epilogue.preactivation) g.epilogue.preactivation += begin * g.y_row;
  return g;
}
// What outs_of() cuts at: groups, or units of the one group's outs.
struct OutUnits {
  int64_t count, size, end;
  size_t packed_bytes;  // of each, where the routine packs

  template <class T>
  OutUnits(const Correlation<T>& g, const ConvRoutine<Correlation<T>>& routine) {
    const int64_t in_group = ceil_div(g.outs, routine.out_unit);
    const bool groups = g.groups > 1;
    count = groups ? g.groups : in_group;
    size = groups ? 1 : routine.out_unit;
    end = groups ? g.groups : g.outs;
    packed_bytes = routine.pack ? routine.packed_unit_bytes(g) * (groups ? in_group : 1) : 0;
  }
};

// Outs of the one group, or whole groups of several.
template <class T>
Correlation<T> outs_of(Correlation<T> g, int64_t begin, int64_t count, const OutUnits& units) {
  int64_t outs = begin;
  if (g.packed) g.packed += begin / units.size * static_cast<int64_t>(units.packed_bytes);
  if (g.groups > 1) {
    outs = begin * g.outs;
    g.groups = count;
    g.x += begin * g.channels * g.x_channel;
    g.weight += begin * g.w_group;
  } else {
    g.outs = count;
    g.weight += begin * g.w_out;
  }
  g.y += outs;
  if (g.epilogue.bias) g.epilogue.bias += outs;
  if (g.epilogue.residual) g.epilogue.residual += outs;
  if (g.epilogue.preactivation) g.epilogue.preactivation += outs;
  return g;
}

// Rows of the grid are pixels, or a weights' gradient's channels and taps.
inline Grid choose_grid(int64_t rows, int64_t most_row_cuts, int64_t outs, int64_t out_units,
                        int threads) {
  return cheapest_grid(
      threads, most_row_cuts, out_units, [&](int64_t cuts) { return ceil_div(rows, cuts); },
      [&](int64_t cuts) { return ceil_div(outs, cuts); });
}

template <class T>
WeightGradient<T> piece_of(WeightGradient<T> g, int64_t out, int64_t outs, int64_t channel,
                           int64_t channels) {
  if (g.groups > 1) {
    g.x += out * g.channels * g.x_channel;
    g.grad += out * g.outs * g.grad_out;
    g.dweight += out * g.w_group;
    g.groups = outs;
    return g;
  }
  g.outs = outs;
  g.channels = channels;
  g.x += channel * g.x_channel;
  g.grad += out * g.grad_out;
  g.dweight += out * g.w_out + channel * g.w_channel;
  return g;
}

// A weights' gradient in slices of its pixels, summed up after: where channels and outs give fewer
// pieces than this, other cores would have nothing to do. The shape alone decides, so that the bits
// do not depend on the number of threads.
struct PixelSlices {
  int64_t images = 1, bands = 1;  // slices of the images, and of each one's rows

  int64_t count() const { return images * bands; }

  static PixelSlices of(const ConvGeometry& g, int64_t pieces) {
    constexpr int64_t kPieces = 16;
    constexpr int64_t kPixels = 1024;  // at least: so many sums a weight for one addition
    const int64_t wanted =
        std::min(ceil_div(kPieces, pieces), g.images * g.rows * g.cols / kPixels);
    if (wanted < 2) return {};
    if (g.images >= wanted) return {wanted, 1};
    return {g.images, std::min(wanted / g.images, g.rows)};
  }

  template <class T>
  WeightGradient<T> slice(WeightGradient<T> g, int64_t i) const {
    const int64_t image = g.images * (i / bands) / images;
    const int64_t row = g.rows * (i % bands) / bands;
    g.images = g.images * (i / bands + 1) / images - image;
    g.rows = g.rows * (i % bands + 1) / bands - row;
    g.row_begin += row;
    g.x += image * g.x_image;
    g.grad += image * g.grad_image;
    return g;
  }
};

}  // namespace tilework
