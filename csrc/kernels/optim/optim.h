// Optimisers: one call updates every parameter of a model, in place.
//
// All arrays of one parameter are flat, of its size, and in the same memory order. None may overlap
// another. NaN and Inf in a gradient go into state and parameter as IEEE arithmetic says. Elements
// are independent, so that no cut of the work changes a result.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tilework {

template <class T>
struct SgdTensor {
  T* param;
  const T* grad;
  T* momentum;  // null where the step has no momentum
  int64_t size;
};

struct SgdOptions {
  bool first;  // the momentum buffers hold nothing yet: they become the gradient
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize;
};

template <class T>
struct AdamTensor {
  T* param;
  const T* grad;
  T* exp_avg;
  T* exp_avg_sq;
  T* max_exp_avg_sq;  // null where the step is not amsgrad
  int64_t size;
};

struct AdamOptions {
  int64_t step;  // of this update, counted from 1
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled;  // AdamW's weight decay
  bool maximize;
};

void sgd_step(const SgdTensor<float>* tensors, size_t count, const SgdOptions& options);
void sgd_step(const SgdTensor<double>* tensors, size_t count, const SgdOptions& options);
void adam_step(const AdamTensor<float>* tensors, size_t count, const AdamOptions& options);
void adam_step(const AdamTensor<double>* tensors, size_t count, const AdamOptions& options);

// --- Gradients as one vector ---

template <class T>
struct GradTensor {
  T* grad;
  int64_t size;
};

// The sum of the squares of all elements, in float64: no float32 gradient overflows it. Blocks of
// the tensors laid end to end make its tree, whatever the number of threads.
template <class T>
double squares_of(const GradTensor<T>* tensors, size_t count);
// Each element times `factor`.
template <class T>
void scale(const GradTensor<T>* tensors, size_t count, double factor);

// --- What a variant provides: elements [begin, end) of one tensor ---

template <class T>
struct SgdFactors {
  T grad_sign, decay;      // g = grad_sign * grad + decay * param
  T momentum, grad_share;  // buffer = momentum * buffer + grad_share * g; the first step's is g
  bool first, nesterov;    // nesterov steps along g + momentum * buffer
  T lr;
  T vanished;  // see AdamFactors
};

template <class T>
struct AdamFactors {
  T grad_sign, decay;  // g = grad_sign * grad + decay * param
  T param_scale;       // decoupled weight decay
  T lerp;              // 1 - beta1
  T beta2, square;     // v = beta2 * v + square * g * g
  T root_scale, eps;   // denominator = root_scale * sqrt(v) + eps
  T step_size;
  // Averages below these become zero: far too small to move a parameter, they would go on decaying
  // into denormals, each of which costs a microcode assist. A unit that no longer fires (a dead
  // ReLU) gets there within a thousand steps, and made a step fifteen times slower.
  T vanished, vanished_sq;
};

template <class T>
struct OptimTable {
  void (*sgd)(const SgdTensor<T>&, const SgdFactors<T>&, int64_t begin, int64_t end);
  void (*adam)(const AdamTensor<T>&, const AdamFactors<T>&, int64_t begin, int64_t end);
  double (*squares)(const T* x, int64_t n);
  void (*scale)(T* x, int64_t n, T factor);
};

struct OptimKernels {
  OptimTable<float> f32;
  OptimTable<double> f64;
};

}  // namespace tilework
