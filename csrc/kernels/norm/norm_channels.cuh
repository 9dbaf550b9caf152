// Sums over all but the channels of (outer, channels, inner), for the gradients of norms' weights
// and for batch norm: each block has a part, whose sums go to (..., parts, channels), and another
// launch joins them. Where inner is 1 a block's threads lie along the channels (columns.cuh), else
// it has planes of one channel.
//
// A part's moments are taken about its mean, in a second look that finds it in L1 or L2, and what
// rounding left of the mean is taken off (Chan, Golub and LeVeque, 1983). Parts are joined in
// double.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// *_wide_*            48, 56, 62  8192    0        256      5, 4, 4       LDG.128
// *                   50, 48, 56  4096    0        256      4, 5, 4
#pragma once

#include "base/columns.cuh"
#include "base/real.cuh"

namespace tilework::norm_cuda {

// The gradient, which is cut where relu cut the output (y, null without one).
template <int W, class T>
__device__ Pack<T, W> load_gradient(const T* grad, const T* y, int64_t at) {
  Pack<T, W> g = load_pack<W>(grad + at);
  if (y != nullptr) {
    const Pack<T, W> cut = load_pack<W>(y + at);
#pragma unroll
    for (int i = 0; i < W; ++i) g.at[i] = cut.at[i] <= 0 ? T{0} : g.at[i];
  }
  return g;
}

// The sums of g and of g (x - mean), or of g (x - mean) rstd where each row has its own moments:
// `groups` of a row of outer, each of `of_row` channels. sums: (2, parts, channels).
template <class T, int W, bool OfRows>
__device__ void sums_by_columns(T* sums, const T* grad, const T* x, const T* y, const T* mean,
                                const T* rstd, int64_t groups, int64_t of_row, int64_t outer,
                                int64_t channels, int64_t bits, int64_t part, int64_t parts) {
  using Value = Packs<T, W, 2>;
  TW_SHARED(Value, partial, [kColumnThreads]);
  const Columns<T, W> columns(outer, channels, bits, part, parts);
  const int64_t group = OfRows ? columns.column / of_row : 0;
  Pack<T, W> centre = {};
  if (!OfRows && columns.within()) centre = load_pack<W>(mean + columns.column);
  Value own = {};
  columns.each([&](int64_t at, int64_t r) {
    const Pack<T, W> g = load_gradient<W>(grad, y, at), v = load_pack<W>(x + at);
    const T of_row_mean = OfRows && mean != nullptr ? mean[r * groups + group] : T{0};
    const T scale = OfRows ? rstd[r * groups + group] : T{1};
#pragma unroll
    for (int i = 0; i < W; ++i) {
      own.of[0].at[i] += g.at[i];
      own.of[1].at[i] += g.at[i] * ((v.at[i] - (OfRows ? of_row_mean : centre.at[i])) * scale);
    }
  });
  const Value all = columns.joined(own, partial, AddPacks{});
  if (columns.row == 0 && columns.within()) {
    T* const to = sums + columns.at * channels + columns.column;
    store_pack(to, all.of[0]);
    store_pack(to + parts * channels, all.of[1]);
  }
}

template <class T, int W, bool OfRows>
__device__ void sums_by_planes(T* sums, const T* grad, const T* x, const T* y, const T* mean,
                               const T* rstd, int64_t groups, int64_t of_row, int64_t outer,
                               int64_t channels, int64_t inner, int64_t rows, int64_t piece,
                               int64_t bits) {
  const Planes<T, W> planes(outer, channels, inner, rows, piece, bits);
  const int64_t group = OfRows ? planes.channel / of_row : 0;
  const T centre = OfRows ? T{0} : mean[planes.channel];
  T strand[2][W] = {};
  planes.each([&](int64_t at, int64_t r) {
    const Pack<T, W> g = load_gradient<W>(grad, y, at), v = load_pack<W>(x + at);
    const T middle = !OfRows ? centre : mean != nullptr ? mean[r * groups + group] : T{0};
    const T scale = OfRows ? rstd[r * groups + group] : T{1};
#pragma unroll
    for (int i = 0; i < W; ++i) {
      strand[0][i] += g.at[i];
      strand[1][i] += g.at[i] * ((v.at[i] - middle) * scale);
    }
  });
  T both[2] = {sum_of(strand[0]), sum_of(strand[1])};
  Team<kColumnThreads>::join<Plus>(both, T{0});
  if (threadIdx.x == 0) {
    const int64_t parts = planes.parts();
    sums[planes.part * channels + planes.channel] = both[0];
    sums[(parts + planes.part) * channels + planes.channel] = both[1];
  }
}

// What is left of a part's mean, rounded to T, after a look from there.
template <class T>
__device__ void write_moments(double* moments, int64_t part, int64_t channel, int64_t parts,
                              int64_t channels, double count, T near, T rest, T squares) {
  const double left = static_cast<double>(rest) / count;
  double* const to = moments + part * channels + channel;
  to[0] = near - near == 0 ? near + left : near;  // an infinity stays one
  to[parts * channels] = static_cast<double>(squares) - left * left * count;
}

// A part's mean and the sum of the squares about it, in double: (2, parts, channels).
template <class T, int W>
__device__ void moments_by_columns(double* moments, const T* x, int64_t outer, int64_t channels,
                                   int64_t bits, int64_t part, int64_t parts) {
  using Value = Packs<T, W, 2>;
  TW_SHARED(Value, partial, [kColumnThreads]);
  const Columns<T, W> columns(outer, channels, bits, part, parts);
  const double count = static_cast<double>(columns.end - columns.begin);
  Value own = {};
  columns.each([&](int64_t at, int64_t) {
    const Pack<T, W> v = load_pack<W>(x + at);
#pragma unroll
    for (int i = 0; i < W; ++i) own.of[0].at[i] += v.at[i];
  });
  Pack<T, W> near = columns.joined(own, partial, AddPacks{}).of[0];
#pragma unroll
  for (int i = 0; i < W; ++i) near.at[i] = static_cast<T>(near.at[i] / count);
  own = {};
  columns.each([&](int64_t at, int64_t) {
    const Pack<T, W> v = load_pack<W>(x + at);
#pragma unroll
    for (int i = 0; i < W; ++i) {
      const T away = v.at[i] - near.at[i];
      own.of[0].at[i] += away;
      own.of[1].at[i] += away * away;
    }
  });
  const Value all = columns.joined(own, partial, AddPacks{});
  if (columns.row != 0 || !columns.within()) return;
#pragma unroll
  for (int i = 0; i < W; ++i) {
    write_moments(moments, columns.at, columns.column + i, parts, channels, count, near.at[i],
                  all.of[0].at[i], all.of[1].at[i]);
  }
}

template <class T, int W>
__device__ void moments_by_planes(double* moments, const T* x, int64_t outer, int64_t channels,
                                  int64_t inner, int64_t rows, int64_t piece, int64_t bits) {
  const Planes<T, W> planes(outer, channels, inner, rows, piece, bits);
  const double count = static_cast<double>(planes.count());
  T strand[W] = {}, strands[2][W] = {};
  planes.each([&](int64_t at, int64_t) {
    const Pack<T, W> v = load_pack<W>(x + at);
#pragma unroll
    for (int i = 0; i < W; ++i) strand[i] += v.at[i];
  });
  const T near = static_cast<T>(Team<kColumnThreads>::sum(sum_of(strand)) / count);
  planes.each([&](int64_t at, int64_t) {
    const Pack<T, W> v = load_pack<W>(x + at);
#pragma unroll
    for (int i = 0; i < W; ++i) {
      const T away = v.at[i] - near;
      strands[0][i] += away;
      strands[1][i] += away * away;
    }
  });
  T sums[2] = {sum_of(strands[0]), sum_of(strands[1])};
  Team<kColumnThreads>::join<Plus>(sums, T{0});
  if (threadIdx.x == 0) {
    write_moments(moments, planes.part, planes.channel, planes.parts(), channels, count, near,
                  sums[0], sums[1]);
  }
}

// Batch norm's statistics of a channel from its parts', of `rows` rows and pieces of `piece`; the
// running ones, null or `stride` apart, move by `momentum`.
template <class T>
__device__ void settle(T* mean, T* rstd, T* running_mean, int64_t mean_stride, T* running_var,
                       int64_t var_stride, const double* moments, int64_t outer, int64_t channels,
                       int64_t inner, int64_t rows, int64_t piece, int64_t parts, double momentum,
                       double eps) {
  using Value = Packs<double, 1, 1>;
  TW_SHARED(Value, partial, [kColumnThreads]);
  const Columns<double, 1> columns(parts, channels, 5, parts, 1);
  const int64_t pieces = (inner + piece - 1) / piece;
  const double count = static_cast<double>(outer) * static_cast<double>(inner);
  // What share of the elements a part has.
  const auto share = [&](int64_t p) {
    const int64_t begin = p / pieces * rows, from = p % pieces * piece;
    const int64_t high = outer - begin < rows ? outer - begin : rows;
    const int64_t long_ = inner - from < piece ? inner - from : piece;
    return static_cast<double>(high * long_) / count;
  };
  Value own = {};
  columns.each([&](int64_t at, int64_t p) { own.of[0].at[0] += share(p) * moments[at]; });
  const double middle = columns.joined(own, partial, AddPacks{}).of[0].at[0];
  own = {};
  columns.each([&](int64_t at, int64_t p) {
    const double away = moments[at] - middle;
    own.of[0].at[0] += moments[parts * channels + at] + share(p) * count * away * away;
  });
  const double squares = columns.joined(own, partial, AddPacks{}).of[0].at[0];
  if (columns.row != 0 || !columns.within()) return;
  const int64_t c = columns.column;
  mean[c] = static_cast<T>(middle);
  rstd[c] = static_cast<T>(1 / maths::sqrt(squares / count + eps));
  const auto move = [&](T& value, double now) {
    value = static_cast<T>((1 - momentum) * static_cast<double>(value) + momentum * now);
  };
  if (running_mean != nullptr) move(running_mean[c * mean_stride], middle);
  if (running_var != nullptr) move(running_var[c * var_stride], squares / (count - 1));
}

// max((x - mean) rstd weight + bias + residual, 0 where relu), channel by channel.
template <class T, int W>
struct Affine {
  Pack<T, W> mean, scale, bias;
  bool relu;

  // Of W neighbours' channels, or of one that they share.
  __device__ Affine(int64_t c, bool neighbours, const T* means, const T* rstds, const T* weights,
                    const T* biases, bool relu_)
      : relu(relu_) {
#pragma unroll
    for (int i = 0; i < W; ++i) {
      const int64_t at = neighbours ? c + i : c;
      mean.at[i] = means[at];
      scale.at[i] = rstds[at] * (weights == nullptr ? T{1} : weights[at]);
      bias.at[i] = biases == nullptr ? T{0} : biases[at];
    }
  }
  __device__ void write(T* y, const T* x, const T* residual, int64_t at) const {
    Pack<T, W> v = load_pack<W>(x + at);
#pragma unroll
    for (int i = 0; i < W; ++i) {
      v.at[i] = (v.at[i] - mean.at[i]) * scale.at[i] + bias.at[i];
    }
    if (residual != nullptr) {
      const Pack<T, W> more = load_pack<W>(residual + at);
#pragma unroll
      for (int i = 0; i < W; ++i) v.at[i] += more.at[i];
    }
    if (relu) {
#pragma unroll
      for (int i = 0; i < W; ++i) v.at[i] = v.at[i] < 0 ? T{0} : v.at[i];
    }
    store_pack(y + at, v);
  }
};

// dx = scale g - offset - (x - mean) slope; terms: (3, channels) of these.
template <class T, int W>
struct Gradient {
  Pack<T, W> mean, scale, offset, slope;

  __device__ Gradient(int64_t c, bool neighbours, const T* means, const T* terms,
                      int64_t channels) {
#pragma unroll
    for (int i = 0; i < W; ++i) {
      const int64_t at = neighbours ? c + i : c;
      mean.at[i] = means[at];
      scale.at[i] = terms[at];
      offset.at[i] = terms[channels + at];
      slope.at[i] = terms[2 * channels + at];
    }
  }
  __device__ void write(T* dx, T* dresidual, const T* grad, const T* x, const T* y,
                        int64_t at) const {
    const Pack<T, W> g = load_gradient<W>(grad, y, at);
    if (dresidual != nullptr) store_pack(dresidual + at, g);
    if (dx == nullptr) return;
    const Pack<T, W> v = load_pack<W>(x + at);
    Pack<T, W> made;
#pragma unroll
    for (int i = 0; i < W; ++i) {
      made.at[i] = g.at[i] * scale.at[i] - offset.at[i] - (v.at[i] - mean.at[i]) * slope.at[i];
    }
    store_pack(dx + at, made);
  }
};

#define TW_CHANNEL_SUMS(type, width, form, name, of_rows)                                        \
  TW_KERNEL(kColumnThreads, name##_sums_by_##form##columns_##type, type* sums, const type* grad, \
            const type* x, const type* y, const type* mean, const type* rstd, int64_t groups,    \
            int64_t of_row, int64_t outer, int64_t channels, int64_t bits, int64_t part,         \
            int64_t parts) {                                                                     \
    sums_by_columns<type, width, of_rows>(sums, grad, x, y, mean, rstd, groups, of_row, outer,   \
                                          channels, bits, part, parts);                          \
  }                                                                                              \
  TW_KERNEL(kColumnThreads, name##_sums_by_##form##planes_##type, type* sums, const type* grad,  \
            const type* x, const type* y, const type* mean, const type* rstd, int64_t groups,    \
            int64_t of_row, int64_t outer, int64_t channels, int64_t inner, int64_t rows,        \
            int64_t piece, int64_t bits) {                                                       \
    sums_by_planes<type, width, of_rows>(sums, grad, x, y, mean, rstd, groups, of_row, outer,    \
                                         channels, inner, rows, piece, bits);                    \
  }
#define TW_BATCH_NORM(type, width, form)                                                          \
  TW_KERNEL(kColumnThreads, batch_norm_moments_by_##form##columns_##type, double* moments,        \
            const type* x, int64_t outer, int64_t channels, int64_t bits, int64_t part,           \
            int64_t parts) {                                                                      \
    moments_by_columns<type, width>(moments, x, outer, channels, bits, part, parts);              \
  }                                                                                               \
  TW_KERNEL(kColumnThreads, batch_norm_moments_by_##form##planes_##type, double* moments,         \
            const type* x, int64_t outer, int64_t channels, int64_t inner, int64_t rows,          \
            int64_t piece, int64_t bits) {                                                        \
    moments_by_planes<type, width>(moments, x, outer, channels, inner, rows, piece, bits);        \
  }                                                                                               \
  TW_KERNEL(kColumnThreads, batch_norm_apply_by_##form##columns_##type, type* y, const type* x,   \
            const type* residual, const type* mean, const type* rstd, const type* weight,         \
            const type* bias, int64_t relu, int64_t outer, int64_t channels, int64_t bits,        \
            int64_t part, int64_t parts) {                                                        \
    const Columns<type, width> columns(outer, channels, bits, part, parts);                       \
    if (!columns.within()) return;                                                                \
    const Affine<type, width> affine(columns.column, true, mean, rstd, weight, bias, relu != 0);  \
    columns.each([&](int64_t at, int64_t) { affine.write(y, x, residual, at); });                 \
  }                                                                                               \
  TW_KERNEL(kColumnThreads, batch_norm_apply_by_##form##planes_##type, type* y, const type* x,    \
            const type* residual, const type* mean, const type* rstd, const type* weight,         \
            const type* bias, int64_t relu, int64_t outer, int64_t channels, int64_t inner,       \
            int64_t rows, int64_t piece, int64_t bits) {                                          \
    const Planes<type, width> planes(outer, channels, inner, rows, piece, bits);                  \
    const Affine<type, width> affine(planes.channel, false, mean, rstd, weight, bias, relu != 0); \
    planes.each([&](int64_t at, int64_t) { affine.write(y, x, residual, at); });                  \
  }                                                                                               \
  TW_KERNEL(kColumnThreads, batch_norm_gradient_by_##form##columns_##type, type* dx,              \
            type* dresidual, const type* grad, const type* x, const type* y, const type* mean,    \
            const type* terms, int64_t outer, int64_t channels, int64_t bits, int64_t part,       \
            int64_t parts) {                                                                      \
    const Columns<type, width> columns(outer, channels, bits, part, parts);                       \
    if (!columns.within()) return;                                                                \
    const Gradient<type, width> gradient(columns.column, true, mean, terms, channels);            \
    columns.each([&](int64_t at, int64_t) { gradient.write(dx, dresidual, grad, x, y, at); });    \
  }                                                                                               \
  TW_KERNEL(kColumnThreads, batch_norm_gradient_by_##form##planes_##type, type* dx,               \
            type* dresidual, const type* grad, const type* x, const type* y, const type* mean,    \
            const type* terms, int64_t outer, int64_t channels, int64_t inner, int64_t rows,      \
            int64_t piece, int64_t bits) {                                                        \
    const Planes<type, width> planes(outer, channels, inner, rows, piece, bits);                  \
    const Gradient<type, width> gradient(planes.channel, false, mean, terms, channels);           \
    planes.each([&](int64_t at, int64_t) { gradient.write(dx, dresidual, grad, x, y, at); });     \
  }
#define TW_CHANNELS(type, width, form)                  \
  TW_CHANNEL_SUMS(type, width, form, norm_rows, true)   \
  TW_CHANNEL_SUMS(type, width, form, batch_norm, false) \
  TW_BATCH_NORM(type, width, form)
// By channels: what training's moments give; what the running ones do; the terms of a gradient.
#define TW_BATCH_NORM_CHANNELS(type)                                                               \
  TW_KERNEL(kColumnThreads, batch_norm_settle_##type, type* mean, type* rstd, type* running_mean,  \
            int64_t mean_stride, type* running_var, int64_t var_stride, const double* moments,     \
            int64_t outer, int64_t channels, int64_t inner, int64_t rows, int64_t piece,           \
            int64_t parts, double momentum, double eps) {                                          \
    settle(mean, rstd, running_mean, mean_stride, running_var, var_stride, moments, outer,         \
           channels, inner, rows, piece, parts, momentum, eps);                                    \
  }                                                                                                \
  TW_KERNEL(kColumnThreads, batch_norm_running_##type, type* mean, type* rstd,                     \
            const type* running_mean, int64_t mean_stride, const type* running_var,                \
            int64_t var_stride, int64_t channels, double eps) {                                    \
    const int64_t c = static_cast<int64_t>(blockIdx.x) * kColumnThreads + threadIdx.x;             \
    if (c >= channels) return;                                                                     \
    mean[c] = running_mean[c * mean_stride];                                                       \
    const double variance = running_var[c * var_stride];                                           \
    rstd[c] = static_cast<type>(1 / maths::sqrt(variance + eps));                                  \
  }                                                                                                \
  TW_KERNEL(kColumnThreads, batch_norm_terms_##type, type* dweight, type* terms, const type* sums, \
            const type* weight, const type* rstd, int64_t channels, double share) {                \
    const int64_t c = static_cast<int64_t>(blockIdx.x) * kColumnThreads + threadIdx.x;             \
    if (c >= channels) return;                                                                     \
    const double inverse = rstd[c], moment = sums[channels + c];                                   \
    const double scale = (weight == nullptr ? 1.0 : static_cast<double>(weight[c])) * inverse;     \
    dweight[c] = static_cast<type>(moment * inverse);                                              \
    terms[c] = static_cast<type>(scale);                                                           \
    /* In inference nothing of it goes through the moments, be the sums NaN. */                    \
    terms[channels + c] = share == 0 ? 0 : static_cast<type>(share * scale * sums[c]);             \
    terms[2 * channels + c] =                                                                      \
        share == 0 ? 0 : static_cast<type>(share * scale * inverse * inverse * moment);            \
  }
TW_CHANNELS(float, 1, )
TW_CHANNELS(float, 4, wide_)
TW_CHANNELS(double, 1, )
TW_CHANNELS(double, 2, wide_)
TW_BATCH_NORM_CHANNELS(float)
TW_BATCH_NORM_CHANNELS(double)
#undef TW_BATCH_NORM_CHANNELS
#undef TW_CHANNELS
#undef TW_BATCH_NORM
#undef TW_CHANNEL_SUMS

}  // namespace tilework::norm_cuda
