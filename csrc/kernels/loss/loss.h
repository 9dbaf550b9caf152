// Losses: cross entropy of logits against class indices, and those of a distance.
//
// Sums are taken in fixed blocks, in float64 across blocks: threads do not change a result. NaN in
// an input goes into the loss; a mean of nothing is NaN, and a sum of nothing zero. Nothing
// overlaps.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tilework {

enum class Reduction : int { none, mean, sum };

// Row i has logits[i * row_stride ...], `classes` of them. Targets are in [0, classes) or are
// ignore_index: the caller has asked first_bad_target.
template <class T>
struct CrossEntropyArgs {
  int64_t rows, classes;
  const T* logits;
  int64_t row_stride;
  const int64_t* target;
  const T* weight;  // of each class, or null: ones
  int64_t ignore_index;
  double label_smoothing;
  Reduction reduction;
};

// The first row whose target is neither a class nor ignore_index; -1 where there is none.
int64_t first_bad_target(const int64_t* target, int64_t rows, int64_t classes,
                         int64_t ignore_index);

// What backward needs of forward: each row's maximum, then each row's logarithm of the sum of
// e^(x - maximum) (kept apart, since their sum would round the small one off), then what a mean
// divides by.
inline int64_t cross_entropy_saved(int64_t rows) { return 2 * rows + 1; }

// loss: one number, or one a row where the reduction is none.
void cross_entropy_forward(const CrossEntropyArgs<float>& args, float* loss, float* saved);
void cross_entropy_forward(const CrossEntropyArgs<double>& args, double* loss, double* saved);
// grad: as loss. dx: rows of `classes`, one after another.
void cross_entropy_backward(const CrossEntropyArgs<float>& args, const float* grad,
                            const float* saved, float* dx);
void cross_entropy_backward(const CrossEntropyArgs<double>& args, const double* grad,
                            const double* saved, double* dx);

// Losses of d = a - b: d^2, |d|, Huber's (d^2 / 2 within `limit`, limit (|d| - limit / 2) beyond),
// and that over the limit. In the order of the binding's names.
enum class Distance : int { square, absolute, huber, smooth, count };

template <class T>
void distance_forward(Distance distance, T limit, const T* a, const T* b, int64_t n,
                      Reduction reduction, T* loss);
// The gradient of a.
template <class T>
void distance_backward(Distance distance, T limit, const T* grad, const T* a, const T* b, int64_t n,
                       Reduction reduction, T* dx);

// For the drivers and the GIL: nanoseconds on one thread.
double cross_entropy_cost_ns(int64_t rows, int64_t classes, size_t itemsize);
double distance_cost_ns(int64_t n, size_t itemsize);

// --- What a variant provides ---

// The gradient of row i is scale * grad[i * grad_stride] times that of its own loss.
template <class T>
struct CrossEntropyGradient {
  const T* grad;
  int64_t grad_stride;  // 0: one for every row
  T scale;
  T weight_sum;  // of all classes; used where labels are smoothed
  bool stream;   // dx goes around the cache: its rows are aligned to 64 bytes
};

template <class T>
struct DistanceTable {
  T (*sum)(const T* a, const T* b, int64_t n, T limit);
  void (*each)(const T* a, const T* b, int64_t n, T limit, T* out);
  // dx = slope * scale * grad: [0] one gradient for all, [1] one an element.
  void (*backward[2])(const T* a, const T* b, int64_t n, T limit, T scale, const T* grad, T* dx);
};

template <class T>
struct LossTable {
  // Rows [begin, end): their losses, unweighted by any reduction, and what is saved.
  void (*cross_entropy_forward)(const CrossEntropyArgs<T>&, int64_t begin, int64_t end, T* losses,
                                T* saved);
  void (*cross_entropy_backward)(const CrossEntropyArgs<T>&, const CrossEntropyGradient<T>&,
                                 int64_t begin, int64_t end, const T* saved, T* dx);
  DistanceTable<T> distance[static_cast<int>(Distance::count)];
};

struct LossKernels {
  LossTable<float> f32;
  LossTable<double> f64;
};

}  // namespace tilework
