// Normalisation: batch norm, and the norms of rows (layer, RMS, group and instance norm).
//
// Means and variances are taken block by block: squares about a number near the block's mean, and
// then corrected (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983).
// Blocks are joined in double. So a mean far above the standard deviation costs no digits of the
// variance, and memory is read once.
// Blocks and the order in which they are joined follow from the shape alone, so that threads do not
// change a result. Outputs may not overlap inputs.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <limits>

namespace tilework {

// A dense array in the order of its memory. Channels-last and (N, C) have inner = 1.
struct BatchShape {
  int64_t outer, channels, inner;
};

// A statistic that training updates in place: its elements lie `stride` apart; null where there is
// none.
template <class T>
struct Running {
  T* data;
  int64_t stride;
};

// y = max((x - mean) rstd weight + bias + residual, 0 where relu). Null: residual, weight, bias.
template <class T>
struct BatchNormForward {
  BatchShape shape;
  const T *x, *residual, *weight, *bias;
  T *y, *mean, *rstd;  // mean and rstd are results too, one a channel
  Running<T> running_mean, running_var;
  bool training;  // statistics of x, which update the running ones; else these serve
  double momentum, eps;
  bool relu;
};
template <class T>
void batch_norm_forward(const BatchNormForward<T>& args);

template <class T>
struct BatchNormBackward {
  BatchShape shape;
  const T *grad, *x, *weight, *mean, *rstd;
  const T* y;         // the output where relu cut it, else null
  bool training;      // mean and rstd depended on x
  T *dx, *dresidual;  // null where not asked for; dresidual wants y
  T *dweight, *dbias;
};
template <class T>
void batch_norm_backward(const BatchNormBackward<T>& args);

// `rows` rows of `length`, each normalised by itself. Weight and bias have `channels` elements: one
// for each `span` neighbours of a row and, since a row of group norm is a group, for `groups` rows
// before they repeat. Layer norm has span = groups = 1.
// With `neighbours` a sample's groups lie beside each other: [span][channels], as channels-last
// images do; it wants mean.
struct RowsShape {
  int64_t rows, length, groups, channels;
  bool neighbours = false;

  int64_t row_channels() const { return channels / groups; }
  int64_t span() const { return length / row_channels(); }
};

template <class T>
struct NormRowsForward {
  RowsShape shape;
  const T *x, *weight, *bias;  // weight, bias: null where there is none
  T *y, *mean, *rstd;          // mean is null for RMS norm, which does not centre
  double eps;
  // Where not null it is x + residual that is normalised, and a result too. Not with neighbours.
  const T* residual = nullptr;
  T* sum = nullptr;
  T* row = nullptr;  // room for a row of sums, which then go around the caches
};
template <class T>
void norm_rows_forward(const NormRowsForward<T>& args);

template <class T>
struct NormRowsBackward {
  RowsShape shape;
  const T *grad, *x, *weight, *mean, *rstd;
  T* dx;  // null where not asked for
  T *dweight, *dbias;
  const T* onto = nullptr;  // what dx is added to, where not null. Not with neighbours.
};
template <class T>
void norm_rows_backward(const NormRowsBackward<T>& args);

// Of `count` numbers: their mean, and the sum of the squares about it.
struct NormMoments {
  double count, mean, m2;
};

// Whether the sum of the squares is one that T's arithmetic can have: float's leaves its range
// soon.
template <class T>
bool squares_within(const NormMoments& m) {
  using Limits = std::numeric_limits<T>;
  const bool small = sizeof(T) == sizeof(float) && m.m2 <= double{Limits::min()};
  return m.m2 < double{Limits::infinity()} && !small;
}

// Of each row. Squares that leave float's range are taken in double.
template <class T>
void row_moments(int64_t rows, int64_t length, const T* x, NormMoments* moments);

// For the driver and the GIL: nanoseconds on one thread.
inline double norm_cost_ns(int64_t elements, size_t itemsize) {
  return 0.1 * static_cast<double>(elements) * static_cast<double>(itemsize);
}

// --- What a variant provides ---

// `count` runs of `n` neighbours each, `stride` elements from one to the next. Where channels lie
// in planes, the runs are the planes of one channel; where they are neighbours, a run is a pixel.
struct NormRuns {
  int64_t count, stride, n;
};

// dx = scale grad - offset - (x - mean) slope: one number a channel in each.
template <class T>
struct NormGradient {
  const T *mean, *scale, *offset, *slope;
};
template <class T>
struct NormAffine {
  const T *mean, *scale, *bias;
};
// The sums of g and of g (x - mean).
struct NormSums {
  double grad, moment;
};

template <class T>
struct NormTable {
  // A channel in planes: what an affine or a gradient points at is that channel's number.
  NormMoments (*plane_moments)(const T* x, NormRuns runs);
  NormSums (*plane_sums)(const T* grad, const T* x, const T* y, NormRuns runs, T mean);
  // Channels that are neighbours: one number for each of the runs' n.
  // The mean is near + rest: a block's mean, rounded, would cost the joined variance digits.
  void (*column_moments)(const T* x, NormRuns runs, T* near, T* rest, T* m2);
  void (*column_sums)(const T* grad, const T* x, const T* y, NormRuns runs, const T* mean,
                      T* sum_grad, T* sum_moment);
  // Of both: [channels are neighbours]. With stream, output goes around the cache and each run of
  // it begins and ends on 64 bytes.
  void (*apply[2])(const T* x, const T* residual, T* y, NormRuns runs, NormAffine<T> affine,
                   bool relu, bool stream);
  void (*gradient[2])(const T* grad, const T* x, const T* y, T* dx, T* dresidual, NormRuns runs,
                      NormGradient<T> terms, bool stream);
  // `rows` rows from `first` on. dweight and dbias, of all channels, are added to.
  void (*rows_forward)(const NormRowsForward<T>& args, int64_t first, int64_t rows, bool stream);
  void (*rows_backward)(const NormRowsBackward<T>& args, int64_t first, int64_t rows, T* dweight,
                        T* dbias, bool stream);
};

struct NormKernels {
  NormTable<float> f32;
  NormTable<double> f64;
};

}  // namespace tilework
