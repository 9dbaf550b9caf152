// Group and instance norm where channels are neighbours: what the kernels give of each block of
// pixels, channel by channel, is joined to groups.
//
// A few samples at a time are taken through all passes, so that the second reading is from a cache.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "kernels/norm/blocks.h"
#include "kernels/norm/norm.h"

namespace tilework {

// Samples of [pixels][channels] as batches of some samples, and as blocks of some pixels of each.
struct SampleBlocks {
  RowsShape shape;
  int64_t channels, pixels, samples;
  int64_t block, blocks;  // pixels of a block, and blocks of a sample
  int64_t batch;          // samples
  size_t pixel_bytes;

  // bytes: what the passes read of an element.
  SampleBlocks(const RowsShape& s, size_t itemsize, size_t bytes)
      : shape(s), channels(s.channels), pixels(s.span()), samples(s.rows / s.groups) {
    constexpr int64_t kCacheBytes = 1 << 20;
    block = std::min(pixels, pixels_a_block(channels, itemsize));
    blocks = ceil_div(pixels, block);
    pixel_bytes = static_cast<size_t>(channels) * itemsize;
    const int64_t sample_bytes = pixels * channels * static_cast<int64_t>(bytes);
    batch = std::clamp<int64_t>(kCacheBytes / sample_bytes, 1, samples);
  }

  int64_t of_group() const { return channels / shape.groups; }
  double pixels_of(int64_t b) const {
    return static_cast<double>(std::min(block, pixels - b * block));
  }

  // body(first, count): samples of a batch.
  template <class Body>
  void each_batch(Body body) const {
    for (int64_t first = 0; first < samples; first += batch)
      body(first, std::min(batch, samples - first));
  }
  // body(k) for each of a batch's samples.
  template <class Body>
  void each_sample(int64_t count, Body body) const {
    const double cost_ns = 4.0 * static_cast<double>(count * blocks * channels);
    parallel_for(count, cost_ns, [&](int64_t k) { body(k); });
  }
  // body(k, i, at, runs): a block of sample k of the batch, the batch's i-th, `at` its elements.
  template <class Body>
  void each_block(int64_t first, int64_t count, Body body) const {
    const double cost_ns = norm_cost_ns(count * pixels, pixel_bytes);
    for_each_range(count * blocks, kTaskElements / (block * channels), cost_ns,
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) {
                       const int64_t k = i / blocks, b = i % blocks;
                       const int64_t pixel = (first + k) * pixels + b * block;
                       const int64_t count_of = std::min(block, pixels - b * block);
                       body(k, i, pixel * channels, NormRuns{count_of, channels, channels});
                     }
                   });
  }
};

// A sample's groups: their statistics, and each channel's numbers of the output.
template <class T>
void settle_sample(const NormRowsForward<T>& a, const SampleBlocks& cut, int64_t sample,
                   const BlockMoments<T>& part, T* mean, T* scale) {
  const double count = static_cast<double>(a.shape.length);
  for (int64_t g = 0; g < a.shape.groups; ++g) {
    const int64_t first = g * cut.of_group(), last = first + cut.of_group();
    const double about = part.mean(first);
    double away = 0, squares = 0;
    for (int64_t b = 0; b < cut.blocks; ++b)
      for (int64_t c = first; c < last; ++c)
        away += cut.pixels_of(b) * (part.mean(b * cut.channels + c) - about);
    const double centre = about + away / count;
    for (int64_t b = 0; b < cut.blocks; ++b)
      for (int64_t c = first; c < last; ++c) {
        const double d = part.mean(b * cut.channels + c) - centre;
        squares += part.m2[b * cut.channels + c] + cut.pixels_of(b) * d * d;
      }
    const int64_t row = sample * a.shape.groups + g;
    a.mean[row] = static_cast<T>(centre);
    a.rstd[row] = static_cast<T>(1 / std::sqrt(squares / count + a.eps));
    for (int64_t c = first; c < last; ++c) {
      mean[c] = a.mean[row];
      scale[c] = a.weight[c] * a.rstd[row];
    }
  }
}

template <class T>
void pixel_groups_forward(const NormRowsForward<T>& a, const NormTable<T>& kernels, bool stream) {
  const SampleBlocks cut(a.shape, sizeof(T), sizeof(T));
  const int64_t channels = cut.channels, size = cut.batch * cut.blocks * channels;
  Scratch<T> moments(static_cast<size_t>(3 * size));
  Scratch<T> terms(static_cast<size_t>(2 * cut.batch * channels));
  const BlockMoments<T> part = {moments.get(), moments.get() + size, moments.get() + 2 * size};
  T *mean = terms.get(), *scale = mean + cut.batch * channels;
  cut.each_batch([&](int64_t first, int64_t count) {
    cut.each_block(first, count, [&](int64_t, int64_t i, int64_t at, NormRuns runs) {
      const int64_t to = i * channels;
      kernels.column_moments(a.x + at, runs, part.near + to, part.rest + to, part.m2 + to);
    });
    cut.each_sample(count, [&](int64_t k) {
      const int64_t from = k * cut.blocks * channels, to = k * channels;
      settle_sample(a, cut, first + k, {part.near + from, part.rest + from, part.m2 + from},
                    mean + to, scale + to);
    });
    cut.each_block(first, count, [&](int64_t k, int64_t, int64_t at, NormRuns runs) {
      const int64_t from = k * channels;
      kernels.apply[true](a.x + at, nullptr, a.y + at, runs, {mean + from, scale + from, a.bias},
                          false, stream);
    });
  });
}

// Of one sample: sums of g and of g (x - mean), and each channel's terms of dx.
template <class T>
struct SampleTerms {
  double *grad, *moment;
  T *mean, *scale, *offset, *slope;

  SampleTerms(double* sums, T* terms, int64_t channels)
      : grad(sums),
        moment(sums + channels),
        mean(terms),
        scale(terms + channels),
        offset(terms + 2 * channels),
        slope(terms + 3 * channels) {}
};

template <class T>
void settle_sample(const NormRowsBackward<T>& a, const SampleBlocks& cut, int64_t sample,
                   const T* grads, const T* moments, const SampleTerms<T>& to) {
  std::ranges::copy(sum_blocks(grads, cut.blocks, cut.channels), to.grad);
  std::ranges::copy(sum_blocks(moments, cut.blocks, cut.channels), to.moment);
  for (int64_t g = 0; g < a.shape.groups; ++g) {
    const int64_t first = g * cut.of_group(), last = first + cut.of_group();
    const double rstd = a.rstd[sample * a.shape.groups + g];
    double grad = 0, moment = 0;
    for (int64_t c = first; c < last; ++c) {
      grad += to.grad[c] * a.weight[c];
      moment += to.moment[c] * a.weight[c];
      to.moment[c] *= rstd;
      to.scale[c] = static_cast<T>(rstd * a.weight[c]);
    }
    const double over = rstd / static_cast<double>(a.shape.length);
    std::fill(to.offset + first, to.offset + last, static_cast<T>(grad * over));
    std::fill(to.slope + first, to.slope + last, static_cast<T>(moment * over * rstd * rstd));
  }
}

template <class T>
void pixel_groups_backward(const NormRowsBackward<T>& a, const NormTable<T>& kernels, bool stream) {
  const SampleBlocks cut(a.shape, sizeof(T), 2 * sizeof(T));
  const int64_t channels = cut.channels, size = cut.batch * cut.blocks * channels;
  Scratch<T> partial(static_cast<size_t>(2 * size));
  Scratch<T> terms(static_cast<size_t>(4 * cut.batch * channels));
  Scratch<double> sums(static_cast<size_t>(2 * cut.batch * channels));
  T *grads = partial.get(), *moments = grads + size;
  const auto of = [&](int64_t k) {
    return SampleTerms<T>(sums.get() + 2 * k * channels, terms.get() + 4 * k * channels, channels);
  };
  std::vector<double> dweight(static_cast<size_t>(channels)), dbias(dweight);
  cut.each_batch([&](int64_t first, int64_t count) {
    cut.each_sample(count, [&](int64_t k) {
      for (int64_t c = 0; c < channels; ++c)
        of(k).mean[c] = a.mean[(first + k) * a.shape.groups + c / cut.of_group()];
    });
    cut.each_block(first, count, [&](int64_t k, int64_t i, int64_t at, NormRuns runs) {
      kernels.column_sums(a.grad + at, a.x + at, nullptr, runs, of(k).mean, grads + i * channels,
                          moments + i * channels);
    });
    cut.each_sample(count, [&](int64_t k) {
      const int64_t from = k * cut.blocks * channels;
      settle_sample(a, cut, first + k, grads + from, moments + from, of(k));
    });
    for (int64_t k = 0; k < count; ++k)
      for (int64_t c = 0; c < channels; ++c) {
        dweight[static_cast<size_t>(c)] += of(k).moment[c];
        dbias[static_cast<size_t>(c)] += of(k).grad[c];
      }
    if (!a.dx) return;
    cut.each_block(first, count, [&](int64_t k, int64_t, int64_t at, NormRuns runs) {
      const SampleTerms<T> t = of(k);
      kernels.gradient[true](a.grad + at, a.x + at, nullptr, a.dx + at, nullptr, runs,
                             {t.mean, t.scale, t.offset, t.slope}, stream);
    });
  });
  for (int64_t c = 0; c < channels; ++c) {
    a.dweight[c] = static_cast<T>(dweight[static_cast<size_t>(c)]);
    a.dbias[c] = static_cast<T>(dbias[static_cast<size_t>(c)]);
  }
}

}  // namespace tilework
