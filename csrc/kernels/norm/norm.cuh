// The norms of rows (layer, RMS, group and instance norm): each row of `length` neighbours by its
// own mean and deviation, forward and the gradient of the row. Sums over rows, which weights'
// gradients and batch norm want, are in norm_channels.cuh.
//
// A row that fits stays in the registers of a warp or a block (row.cuh), so that memory is read
// once; a longer one is read by a block as often as it is looked at, mostly from L2. The squares
// are taken about the mean, in a second look, and what rounding left of the mean is taken off both
// (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983): a mean far above
// the deviation costs no digits.
//
// Element i of row r has the weight (r mod groups) channels + i / span: `channels` a row, for
// `span` neighbours each.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// *_by_warps_*        72, 72, 72  0       0        128      7, 7, 7       LDG.128 STG.128
// *_by_blocks_*       64, 64, 72  192     0        256      4, 4, 3       LDG.128 STG.128
// *                   62, 62, 54  192     0        256      4, 4, 4       LDG.128 STG.128
#pragma once

#include "base/real.cuh"
#include "base/row.cuh"

namespace tilework::norm_cuda {

inline constexpr int kThreads = 256;

// Where the weights of a row's elements lie.
struct Weights {
  int64_t first, span;

  __device__ Weights(int64_t row, int64_t groups, int64_t channels, int64_t span_)
      : first(row % groups * channels), span(span_) {}
  // Whether packs of a row have a pack of neighbours, or one weight.
  template <class T>
  static __device__ bool fit(const T* weight, const T* bias, int64_t span) {
    return span == 1 ? at_packs(weight, bias) : span % kPackOf<T> == 0;
  }
  // Of W neighbours from `at` on; `none` where there are no weights. Places in the row are of I.
  template <int W, class I, class T>
  __device__ Pack<T, W> at(const T* values, I at, T none) const {
    if (values != nullptr && span == 1) return load_pack<W>(values + first + at);
    const T one = values == nullptr ? none : values[first + at / static_cast<I>(span)];
    Pack<T, W> made;
#pragma unroll
    for (int k = 0; k < W; ++k) made.at[k] = one;
    return made;
  }
};
// A row that is held is short.
template <int Held>
struct PlaceOf {
  using type = uint32_t;
};
template <>
struct PlaceOf<0> {
  using type = int64_t;
};

template <class T>
struct Moments {
  T mean, rstd;
};

// The mean (0 where rows are not centred) and one over the deviation.
template <bool Center, class T, int Threads, int W, int Held>
__device__ Moments<T> moments_of(Row<T, Threads, W, Held>& row, int64_t length, T eps) {
  using Of = Team<Threads>;
  const T share = T{1} / static_cast<T>(length);
  T mean = 0, strand[2][W] = {};
  if constexpr (Center) {
    row.each([&](const auto& pack, int64_t) {
#pragma unroll
      for (int i = 0; i < W; ++i) strand[0][i] += pack.at[i];
    });
    mean = Of::sum(sum_of(strand[0])) * share;
#pragma unroll
    for (int i = 0; i < W; ++i) strand[0][i] = 0;
  }
  row.each([&](const auto& pack, int64_t) {
#pragma unroll
    for (int i = 0; i < W; ++i) {
      const T away = pack.at[i] - mean;
      strand[0][i] += away;
      strand[1][i] += away * away;
    }
  });
  T sums[2] = {sum_of(strand[0]), sum_of(strand[1])};
  Of::template join<Plus>(sums, T{0});
  const T rest = sums[0] * share;
  T square = sums[1] * share;
  if constexpr (Center) {
    square -= rest * rest;
    mean = mean - mean == 0 ? mean + rest : mean;  // an infinity stays one
  }
  return {mean, T{1} / maths::sqrt(square + eps)};
}

// y, mean (null where not centred), rstd of x or, where `residual` is not null, of x + residual,
// which goes to `sum`.
template <class T, bool Center, int Threads, int Held>
__device__ void forward(T* y, T* means, T* rstds, T* sum, const T* x, const T* residual,
                        const T* weight, const T* bias, int64_t groups, int64_t channels,
                        int64_t span, double eps, int64_t rows, int64_t length) {
  using Place = typename PlaceOf<Held>::type;
  const bool wide = at_packs(y, sum, x, residual) && Weights::fit(weight, bias, span);
  with_row<T, Threads>(rows, length, wide, [&](int64_t r, auto width) {
    constexpr int W = decltype(width)::value;
    const int64_t begin = r * length;
    Row<T, Threads, W, held_of<W, Held>> row(x + begin, length);
    if (residual != nullptr) {
      row.each([&](auto& pack, int64_t at) {
        const Pack<T, W> added = load_pack<W>(residual + begin + at);
#pragma unroll
        for (int i = 0; i < W; ++i) pack.at[i] += added.at[i];
        store_pack(sum + begin + at, pack);
      });
      row.look_at(sum + begin);  // each thread at what it wrote itself
    }
    const Moments<T> m = moments_of<Center>(row, length, static_cast<T>(eps));
    if (Team<Threads>::rank() == 0) {
      if (Center) means[r] = m.mean;
      rstds[r] = m.rstd;
    }
    const Weights weights(r, groups, channels, span);
    row.each([&](auto& pack, int64_t at) {
      const Pack<T, W> w = weights.template at<W>(weight, static_cast<Place>(at), T{1}),
                       b = weights.template at<W>(bias, static_cast<Place>(at), T{0});
      Pack<T, W> made;
#pragma unroll
      for (int i = 0; i < W; ++i) {
        made.at[i] = (pack.at[i] - m.mean) * (w.at[i] * m.rstd) + b.at[i];
      }
      store_pack(y + begin + at, made);
    });
  });
}

// dx = rstd (g w - mean(g w) - x' mean(g w x')), x' = (x - mean) rstd, with no mean(g w) where rows
// are not centred (means is null); plus `onto` where that is not null.
template <class T, int Threads, int Held>
__device__ void backward(T* dx, const T* grad, const T* x, const T* weight, const T* means,
                         const T* rstds, const T* onto, int64_t groups, int64_t channels,
                         int64_t span, int64_t rows, int64_t length) {
  using Place = typename PlaceOf<Held>::type;
  const bool wide = at_packs(dx, grad, x, onto) && Weights::fit(weight, weight, span);
  with_row<T, Threads>(rows, length, wide, [&](int64_t r, auto width) {
    constexpr int W = decltype(width)::value;
    const int64_t begin = r * length;
    Row<T, Threads, W, held_of<W, Held>> g_row(grad + begin, length), x_row(x + begin, length);
    const T mean = means == nullptr ? T{0} : means[r], rstd = rstds[r];
    const Weights weights(r, groups, channels, span);
    T strand[2][W] = {};
    g_row.each_with(x_row, [&](auto& g, auto& v, int64_t at) {
      const Pack<T, W> w = weights.template at<W>(weight, static_cast<Place>(at), T{1});
#pragma unroll
      for (int i = 0; i < W; ++i) {
        const T scaled = g.at[i] * w.at[i];
        strand[0][i] += scaled;
        strand[1][i] += scaled * (v.at[i] - mean);
      }
    });
    T sums[2] = {sum_of(strand[0]), sum_of(strand[1])};
    Team<Threads>::template join<Plus>(sums, T{0});
    const T share = rstd / static_cast<T>(length);
    const T offset = means == nullptr ? T{0} : share * sums[0];
    const T slope = share * sums[1] * rstd * rstd;
    g_row.each_with(x_row, [&](auto& g, auto& v, int64_t at) {
      const Pack<T, W> w = weights.template at<W>(weight, static_cast<Place>(at), T{1});
      Pack<T, W> made;
#pragma unroll
      for (int i = 0; i < W; ++i) {
        made.at[i] = g.at[i] * (rstd * w.at[i]) - offset - (v.at[i] - mean) * slope;
      }
      if (onto != nullptr) {
        const Pack<T, W> more = load_pack<W>(onto + begin + at);
#pragma unroll
        for (int i = 0; i < W; ++i) made.at[i] += more.at[i];
      }
      store_pack(dx + begin + at, made);
    });
  });
}

#define TW_NORM_ROWS(type, form, threads, launched, held)                                      \
  TW_KERNEL(launched, layer_norm_##form##_##type, type* y, type* mean, type* rstd, type* sum,  \
            const type* x, const type* residual, const type* weight, const type* bias,         \
            int64_t groups, int64_t channels, int64_t span, double eps, int64_t rows,          \
            int64_t length) {                                                                  \
    forward<type, true, threads, held>(y, mean, rstd, sum, x, residual, weight, bias, groups,  \
                                       channels, span, eps, rows, length);                     \
  }                                                                                            \
  TW_KERNEL(launched, rms_norm_##form##_##type, type* y, type* mean, type* rstd, type* sum,    \
            const type* x, const type* residual, const type* weight, const type* bias,         \
            int64_t groups, int64_t channels, int64_t span, double eps, int64_t rows,          \
            int64_t length) {                                                                  \
    forward<type, false, threads, held>(y, mean, rstd, sum, x, residual, weight, bias, groups, \
                                        channels, span, eps, rows, length);                    \
  }                                                                                            \
  TW_KERNEL(launched, norm_rows_backward_##form##_##type, type* dx, const type* grad,          \
            const type* x, const type* weight, const type* mean, const type* rstd,             \
            const type* onto, int64_t groups, int64_t channels, int64_t span, int64_t rows,    \
            int64_t length) {                                                                  \
    backward<type, threads, sizeof(type) == 4 ? (held) / 2 : 0>(                               \
        dx, grad, x, weight, mean, rstd, onto, groups, channels, span, rows, length);          \
  }
#define TW_NORM(type)                                                          \
  TW_NORM_ROWS(type, by_warps, kWarpLanes, kRowWarps* kWarpLanes, kHeld<type>) \
  TW_NORM_ROWS(type, by_blocks, kThreads, kThreads, kHeld<type>)               \
  TW_NORM_ROWS(type, by_passes, kThreads, kThreads, 0)
TW_NORM(float)
TW_NORM(double)
#undef TW_NORM
#undef TW_NORM_ROWS

}  // namespace tilework::norm_cuda
