#include "kernels/norm/norm.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "base/variants.h"
#include "kernels/norm/blocks.h"
#include "kernels/norm/pixel_groups.h"

#define TW_FAMILY norm
#define TW_KERNELS NormKernels
#include "base/family.inc"

namespace tilework {
namespace {

// A view of the array as blocks of whole channels (planes) or of pixels (neighbours).
struct Cut {
  BatchShape shape;
  int64_t planes_block = 1, pixel_block = 1;

  Cut(const BatchShape& s, size_t itemsize) : shape(s) {
    const int64_t channel = std::max<int64_t>(1, s.outer * s.inner);
    planes_block = std::max<int64_t>(1, kTaskElements / channel);
    pixel_block = pixels_a_block(s.channels, itemsize);
  }
  bool neighbours() const { return shape.inner == 1; }
  int64_t elements() const { return shape.outer * shape.channels * shape.inner; }
  double per_channel() const { return static_cast<double>(shape.outer * shape.inner); }
  int64_t run() const { return neighbours() ? shape.channels : shape.inner; }
  NormRuns channel_runs() const { return {shape.outer, shape.channels * shape.inner, shape.inner}; }
  NormRuns pixel_runs(int64_t begin, int64_t end) const {
    return {end - begin, shape.channels, shape.channels};
  }
  int64_t pixel_blocks() const { return ceil_div(shape.outer, pixel_block); }

  template <class Body>
  void each_channel(double cost_ns, Body body) const {
    for_each_range(shape.channels, planes_block, cost_ns, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) body(c);
    });
  }
  // body(block, begin, end)
  template <class Body>
  void each_pixel_block(double cost_ns, Body body) const {
    const int64_t least = kTaskElements / std::max<int64_t>(1, pixel_block * shape.channels);
    for_each_range(pixel_blocks(), least, cost_ns, [&](int64_t first, int64_t last) {
      for (int64_t b = first; b < last; ++b)
        body(b, b * pixel_block, std::min(shape.outer, (b + 1) * pixel_block));
    });
  }
};

// --- batch norm, forward ---

// Training's statistics of a channel: what backward keeps, and the running ones' share.
template <class T>
void settle(const BatchNormForward<T>& a, int64_t c, NormMoments m) {
  a.mean[c] = static_cast<T>(m.mean);
  a.rstd[c] = static_cast<T>(1 / std::sqrt(m.m2 / m.count + a.eps));
  const auto update = [&](Running<T> running, double now) {
    if (!running.data) return;
    T& value = running.data[c * running.stride];
    value = static_cast<T>((1 - a.momentum) * value + a.momentum * now);
  };
  update(a.running_mean, m.mean);
  update(a.running_var, m.m2 / (m.count - 1));
}

// Blocks' moments joined, channel by channel: their count is known, so that no step divides.
template <class T>
void settle_blocks(const BatchNormForward<T>& a, const Cut& cut, const BlockMoments<T>& part) {
  const int64_t channels = a.shape.channels, blocks = cut.pixel_blocks();
  const double count = cut.per_channel();
  const auto pixels = [&](int64_t b) {
    return static_cast<double>(std::min(cut.pixel_block, a.shape.outer - b * cut.pixel_block));
  };
  Scratch<double> scratch(static_cast<size_t>(2 * channels));
  double *centre = scratch.get(), *squares = centre + channels;
  for (int64_t c = 0; c < channels; ++c) centre[c] = part.mean(c);
  std::fill_n(squares, channels, 0.0);
  for (int64_t b = 1; b < blocks; ++b) {
    const double share = pixels(b) / count;
    for (int64_t c = 0; c < channels; ++c) {
      const double mean = part.mean(b * channels + c), away = mean - part.mean(c);
      centre[c] += std::isfinite(away) ? share * away : mean;  // an infinity stays one
    }
  }
  for (int64_t b = 0; b < blocks; ++b) {
    const double n = pixels(b);
    for (int64_t c = 0; c < channels; ++c) {
      const double away = part.mean(b * channels + c) - centre[c];
      squares[c] += part.m2[b * channels + c] + n * away * away;
    }
  }
  for (int64_t c = 0; c < channels; ++c) settle(a, c, {count, centre[c], squares[c]});
}

template <class T>
void use_running(const BatchNormForward<T>& a) {
  for (int64_t c = 0; c < a.shape.channels; ++c) {
    a.mean[c] = a.running_mean.data[c * a.running_mean.stride];
    const double variance = a.running_var.data[c * a.running_var.stride];
    a.rstd[c] = static_cast<T>(1 / std::sqrt(variance + a.eps));
  }
}

template <class T>
void forward_planes(const BatchNormForward<T>& a, const Cut& cut, double cost_ns, bool stream) {
  const NormTable<T>& kernels = g_variants.of<T>();
  const NormRuns runs = cut.channel_runs();
  cut.each_channel(cost_ns, [&](int64_t c) {
    const int64_t at = c * a.shape.inner;
    if (a.training) settle(a, c, kernels.plane_moments(a.x + at, runs));
    const T scale = or_else(a.weight, c, T(1)) * a.rstd[c], bias = or_else(a.bias, c, T(0));
    kernels.apply[false](a.x + at, a.residual ? a.residual + at : nullptr, a.y + at, runs,
                         {a.mean + c, &scale, &bias}, a.relu, stream);
  });
}

template <class T>
void forward_pixels(const BatchNormForward<T>& a, const Cut& cut, double cost_ns, bool stream) {
  const NormTable<T>& kernels = g_variants.of<T>();
  const int64_t channels = a.shape.channels;
  if (a.training) {
    const int64_t size = cut.pixel_blocks() * channels;
    Scratch<T> scratch(static_cast<size_t>(3 * size));
    const BlockMoments<T> part = {scratch.get(), scratch.get() + size, scratch.get() + 2 * size};
    cut.each_pixel_block(cost_ns / 2, [&](int64_t block, int64_t begin, int64_t end) {
      const int64_t at = block * channels;
      kernels.column_moments(a.x + begin * channels, cut.pixel_runs(begin, end), part.near + at,
                             part.rest + at, part.m2 + at);
    });
    settle_blocks(a, cut, part);
  }
  Scratch<T> scratch(static_cast<size_t>(2 * channels));
  T *scale = scratch.get(), *bias = scale + channels;
  for (int64_t c = 0; c < channels; ++c) {
    scale[c] = or_else(a.weight, c, T(1)) * a.rstd[c];
    bias[c] = or_else(a.bias, c, T(0));
  }
  cut.each_pixel_block(cost_ns, [&](int64_t, int64_t begin, int64_t end) {
    const int64_t at = begin * channels;
    kernels.apply[true](a.x + at, a.residual ? a.residual + at : nullptr, a.y + at,
                        cut.pixel_runs(begin, end), {a.mean, scale, bias}, a.relu, stream);
  });
}

// --- batch norm, backward ---

// A channel's terms of dx, out of the sums of its gradients; writes dweight and dbias.
template <class T>
struct ChannelTerms {
  T scale, offset = 0, slope = 0;

  ChannelTerms(const BatchNormBackward<T>& a, int64_t c, double count, NormSums sums) {
    const double rstd = a.rstd[c], full = or_else(a.weight, c, T(1)) * rstd;
    a.dbias[c] = static_cast<T>(sums.grad);
    a.dweight[c] = static_cast<T>(sums.moment * rstd);
    scale = static_cast<T>(full);
    if (!a.training) return;
    offset = static_cast<T>(full * sums.grad / count);
    slope = static_cast<T>(full * rstd * rstd * sums.moment / count);
  }
};

template <class T>
void backward_planes(const BatchNormBackward<T>& a, const Cut& cut, double cost_ns, bool stream) {
  const NormTable<T>& kernels = g_variants.of<T>();
  const NormRuns runs = cut.channel_runs();
  cut.each_channel(cost_ns, [&](int64_t c) {
    const int64_t at = c * a.shape.inner;
    const auto shifted = [at](auto* p) { return p ? p + at : p; };
    const ChannelTerms<T> terms(
        a, c, cut.per_channel(),
        kernels.plane_sums(a.grad + at, a.x + at, shifted(a.y), runs, a.mean[c]));
    if (a.dx || a.dresidual)
      kernels.gradient[false](a.grad + at, a.x + at, shifted(a.y), shifted(a.dx),
                              shifted(a.dresidual), runs,
                              {a.mean + c, &terms.scale, &terms.offset, &terms.slope}, stream);
  });
}

template <class T>
void backward_pixels(const BatchNormBackward<T>& a, const Cut& cut, double cost_ns, bool stream) {
  const NormTable<T>& kernels = g_variants.of<T>();
  const int64_t channels = a.shape.channels, blocks = cut.pixel_blocks();
  Scratch<T> partial(static_cast<size_t>(2 * blocks * channels));
  T *grads = partial.get(), *moments = grads + blocks * channels;
  cut.each_pixel_block(cost_ns / 2, [&](int64_t block, int64_t begin, int64_t end) {
    const int64_t at = begin * channels;
    kernels.column_sums(a.grad + at, a.x + at, a.y ? a.y + at : nullptr, cut.pixel_runs(begin, end),
                        a.mean, grads + block * channels, moments + block * channels);
  });
  const std::vector<double> grad = sum_blocks(grads, blocks, channels);
  const std::vector<double> moment = sum_blocks(moments, blocks, channels);
  Scratch<T> scratch(static_cast<size_t>(3 * channels));
  T *scale = scratch.get(), *offset = scale + channels, *slope = offset + channels;
  for (int64_t c = 0; c < channels; ++c) {
    const auto i = static_cast<size_t>(c);
    const ChannelTerms<T> terms(a, c, cut.per_channel(), {grad[i], moment[i]});
    scale[c] = terms.scale;
    offset[c] = terms.offset;
    slope[c] = terms.slope;
  }
  if (!a.dx && !a.dresidual) return;
  cut.each_pixel_block(cost_ns, [&](int64_t, int64_t begin, int64_t end) {
    const auto shifted = [at = begin * channels](auto* p) { return p ? p + at : p; };
    kernels.gradient[true](shifted(a.grad), shifted(a.x), shifted(a.y), shifted(a.dx),
                           shifted(a.dresidual), cut.pixel_runs(begin, end),
                           {a.mean, scale, offset, slope}, stream);
  });
}

// --- moments of rows ---

constexpr int64_t kMomentBlock = 1 << 16;

template <class T>
NormMoments plain_moments(const T* x, int64_t n) {
  const auto count = static_cast<double>(n);
  double mean = 0, m2 = 0;
  for (int64_t i = 0; i < n; ++i) mean += x[i];
  mean /= count;
  for (int64_t i = 0; i < n; ++i) m2 += (x[i] - mean) * (x[i] - mean);
  return {count, mean, m2};
}

template <class T>
NormMoments block_moments(const T* x, int64_t n) {
  const NormMoments found = g_variants.of<T>().plane_moments(x, {1, 0, n});
  return squares_within<T>(found) ? found : plain_moments(x, n);
}

NormMoments joined(NormMoments a, NormMoments b) {
  const double count = a.count + b.count, away = b.mean - a.mean, share = b.count / count;
  return {count, a.mean + away * share, a.m2 + b.m2 + away * away * a.count * share};
}

// --- rows ---

// Rows of one task, and of one partial sum of the weights' gradients: few sums, each long.
int64_t rows_a_task(const RowsShape& s) {
  constexpr int64_t kMostSums = 64, kFewestRows = 8;
  return std::max(
      {ceil_div(s.rows, kMostSums), kFewestRows, kTaskElements / std::max<int64_t>(1, s.length)});
}

// Neighbours that the kernels write together.
int64_t row_run(const RowsShape& s) {
  return s.neighbours ? s.channels : s.span() == 1 ? s.length : s.span();
}

}  // namespace

template <class T>
void batch_norm_forward(const BatchNormForward<T>& args) {
  const Cut cut(args.shape, sizeof(T));
  if (!args.training) use_running(args);
  if (cut.elements() == 0) {
    if (args.training) {  // the statistics of nothing; the running ones stay
      std::fill_n(args.mean, args.shape.channels, std::numeric_limits<T>::quiet_NaN());
      std::fill_n(args.rstd, args.shape.channels, std::numeric_limits<T>::quiet_NaN());
    }
    return;
  }
  const double cost_ns = norm_cost_ns(cut.elements(), sizeof(T));
  const bool stream = streams<T>({args.y}, cut.elements(), cut.run());
  (cut.neighbours() ? forward_pixels<T> : forward_planes<T>)(args, cut, cost_ns, stream);
}

template <class T>
void batch_norm_backward(const BatchNormBackward<T>& args) {
  const Cut cut(args.shape, sizeof(T));
  const double cost_ns = norm_cost_ns(cut.elements(), sizeof(T));
  const bool stream = streams<T>({args.dx, args.dresidual}, cut.elements(), cut.run());
  if (cut.elements() == 0) {
    std::fill_n(args.dweight, args.shape.channels, T(0));
    std::fill_n(args.dbias, args.shape.channels, T(0));
    return;
  }
  (cut.neighbours() ? backward_pixels<T> : backward_planes<T>)(args, cut, cost_ns, stream);
}

template <class T>
void row_moments(int64_t rows, int64_t length, const T* x, NormMoments* moments) {
  if (length == 0) {
    std::fill_n(moments, rows, NormMoments{0, std::numeric_limits<double>::quiet_NaN(), 0});
    return;
  }
  const double cost_ns = norm_cost_ns(rows * length, sizeof(T));
  const int64_t blocks = ceil_div(length, kMomentBlock);
  if (blocks == 1) {
    for_each_range(rows, std::max<int64_t>(1, kTaskElements / length), cost_ns,
                   [&](int64_t begin, int64_t end) {
                     for (int64_t r = begin; r < end; ++r)
                       moments[r] = block_moments(x + r * length, length);
                   });
    return;
  }
  std::vector<NormMoments> parts(static_cast<size_t>(rows * blocks));
  parallel_for(rows * blocks, cost_ns, [&](int64_t task) {
    const int64_t begin = task % blocks * kMomentBlock;
    parts[static_cast<size_t>(task)] =
        block_moments(x + task / blocks * length + begin, std::min(kMomentBlock, length - begin));
  });
  for (int64_t r = 0; r < rows; ++r) {
    const NormMoments* part = parts.data() + r * blocks;
    moments[r] = std::accumulate(part + 1, part + blocks, part[0], joined);
  }
}

template <class T>
void norm_rows_forward(const NormRowsForward<T>& args) {
  const RowsShape& s = args.shape;
  if (s.rows == 0) return;
  const OrConstant<T> weight(args.weight, s.channels, 1), bias(args.bias, s.channels, 0);
  NormRowsForward<T> a = args;
  a.weight = weight.get();
  a.bias = bias.get();
  const int64_t elements = s.rows * s.length;
  const bool stream = streams<T>({a.y, a.sum}, elements, row_run(s));
  if (s.neighbours) return pixel_groups_forward(a, g_variants.of<T>(), stream);
  for_each_range(s.rows, rows_a_task(s), norm_cost_ns(elements, sizeof(T)),
                 [&, kernel = g_variants.of<T>().rows_forward](int64_t begin, int64_t end) {
                   const Scratch<T> row(static_cast<size_t>(a.residual && stream ? s.length : 0));
                   NormRowsForward<T> part = a;
                   part.row = row.get();
                   kernel(part, begin, end - begin, stream);
                 });
}

template <class T>
void norm_rows_backward(const NormRowsBackward<T>& args) {
  const RowsShape& s = args.shape;
  if (s.rows == 0) {
    std::fill_n(args.dweight, s.channels, T(0));
    std::fill_n(args.dbias, s.channels, T(0));
    return;
  }
  const int64_t channels = s.channels, block = rows_a_task(s);
  const int64_t blocks = ceil_div(s.rows, block), elements = s.rows * s.length;
  const OrConstant<T> weight(args.weight, channels, 1);
  NormRowsBackward<T> a = args;
  a.weight = weight.get();
  const bool stream = streams<T>({a.dx}, elements, row_run(s));
  if (s.neighbours) return pixel_groups_backward(a, g_variants.of<T>(), stream);
  Scratch<T> partial(static_cast<size_t>(2 * blocks * channels));
  T *dweights = partial.get(), *dbiases = dweights + blocks * channels;
  for_each_range(s.rows, block, norm_cost_ns(elements, sizeof(T)),
                 [&, kernel = g_variants.of<T>().rows_backward](int64_t begin, int64_t end) {
                   const int64_t at = begin / block * channels;
                   std::fill_n(dweights + at, channels, T(0));
                   std::fill_n(dbiases + at, channels, T(0));
                   kernel(a, begin, end - begin, dweights + at, dbiases + at, stream);
                 });
  std::ranges::copy(sum_blocks(dweights, blocks, channels), args.dweight);
  std::ranges::copy(sum_blocks(dbiases, blocks, channels), args.dbias);
}

#define TW_INSTANTIATE(T)                                              \
  template void batch_norm_forward(const BatchNormForward<T>&);        \
  template void batch_norm_backward(const BatchNormBackward<T>&);      \
  template void row_moments(int64_t, int64_t, const T*, NormMoments*); \
  template void norm_rows_forward(const NormRowsForward<T>&);          \
  template void norm_rows_backward(const NormRowsBackward<T>&);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
#undef TW_INSTANTIATE

}  // namespace tilework
