// Optimisers: one launch updates all parameters of a dtype, in place; and gradients as one vector.
//
// The arrays' addresses come in a table, a row a parameter, which stays on the device for as long
// as they do (engines/cuda/optim.py). A block takes a chunk of one parameter, and finds which in
// the table. An update streams three to five arrays, so memory is the roof: accesses of 16 bytes
// where all of a parameter's arrays are aligned to that. What a step has is told by flags, the same
// for all threads. Arithmetic is the CPU's to the bit (optim_body.h): fused where that is, no
// other.
//
// The sum of squares is taken in float64, each chunk's by its block and these by one block, in an
// order that depends on sizes alone.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// squares_total       28, 30, 30  256     0        256      8, 8, 8
// squares_*           28, 26, 24  256     0        256      8, 8, 8       LDG.128
// adam*               58, 58, 58  0       0        256      4, 4, 4       LDG.128 STG.128
// *                   36, 40, 36  0       0        256      6, 6, 6       LDG.128 STG.128
#pragma once

#include "base/maths.cuh"
#include "base/ptx.cuh"
#include "base/warp.cuh"

namespace tilework::optim_cuda {

inline constexpr int kThreads = 256;
inline constexpr int kChunk = 2048;  // elements of a block

// A row of the table.
inline constexpr int kArrays = 5;  // param, grad, and what the optimiser keeps; unused ones are 0
struct Row {
  int64_t arrays[kArrays];
  int64_t size;
  int64_t first;  // the number of its first chunk
};
static_assert(sizeof(Row) == 7 * sizeof(int64_t));

// An average, or zero where it is below `vanished`; NaN stays.
template <class T>
__device__ T unless_vanished(T average, T vanished) {
  return maths::abs(average) < vanished ? T{0} : average;
}

// --- who works on what ---

// The last row that begins at this block's chunk or before it.
__device__ inline const Row& row_of_block(const Row* table, int64_t rows) {
  int64_t low = 0, high = rows;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (table[middle].first <= static_cast<int64_t>(blockIdx.x) ? low : high) = middle;
  }
  return table[low];
}

// 16 bytes of elements.
template <class T>
union Pack {
  static constexpr int kSize = 16 / sizeof(T);
  uint4 words;
  T of[kSize];
};

// work(arrays' elements) for each element of this block's chunk: `Arrays` of them are read, and
// those whose bit is set in `written` written back.
template <class T, int Arrays, class Work>
__device__ void for_each_element(const Row* table, int64_t rows, unsigned written, Work work) {
  const Row& row = row_of_block(table, rows);
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) - row.first) * kChunk;
  const int count = static_cast<int>(row.size - begin < kChunk ? row.size - begin : kChunk);
  T* arrays[Arrays];
  int64_t bits = 0;
#pragma unroll
  for (int a = 0; a < Arrays; ++a) {
    bits |= row.arrays[a];
    arrays[a] = reinterpret_cast<T*>(row.arrays[a]) + begin;
  }
  constexpr int kSize = Pack<T>::kSize;
  const int whole = bits % 16 == 0 ? count / kSize * kSize : 0;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x) * kSize; i < whole; i += kThreads * kSize) {
    Pack<T> held[Arrays];
#pragma unroll
    for (int a = 0; a < Arrays; ++a) ptx::load_global(held[a].words, arrays[a] + i);
#pragma unroll
    for (int k = 0; k < kSize; ++k) {
      T element[Arrays];
#pragma unroll
      for (int a = 0; a < Arrays; ++a) element[a] = held[a].of[k];
      work(element);
#pragma unroll
      for (int a = 0; a < Arrays; ++a) held[a].of[k] = element[a];
    }
#pragma unroll
    for (int a = 0; a < Arrays; ++a) {
      if (written >> a & 1) ptx::store_global(arrays[a] + i, held[a].words);
    }
  }
#pragma unroll 1
  for (int i = whole + static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    T element[Arrays];
#pragma unroll
    for (int a = 0; a < Arrays; ++a) element[a] = arrays[a][i];
    work(element);
#pragma unroll
    for (int a = 0; a < Arrays; ++a) {
      if (written >> a & 1) arrays[a][i] = element[a];
    }
  }
}

// --- the rules ---

// The gradient that they see. No decay is not a decay of zero: 0 * Inf is NaN.
template <class T>
__device__ T effective_grad(T grad, T param, T sign, T decay) {
  const T g = grad * sign;
  return decay != 0 ? maths::fma(param, decay, g) : g;
}

template <class T>
__device__ void sgd(const Row* table, int64_t rows, T lr, T decay, T sign) {
  for_each_element<T, 2>(table, rows, 1, [=](T(&x)[2]) {
    x[0] = maths::fma(-effective_grad(x[1], x[0], sign, decay), lr, x[0]);
  });
}

// With `first` a buffer becomes the gradient, whatever it held.
template <class T>
__device__ void sgd_momentum(const Row* table, int64_t rows, bool first, bool nesterov, T lr,
                             T momentum, T grad_share, T decay, T sign, T vanished) {
  for_each_element<T, 3>(table, rows, 0b101, [=](T(&x)[3]) {
    const T g = effective_grad(x[1], x[0], sign, decay);
    x[2] = first ? g : unless_vanished(maths::fma(x[2], momentum, g * grad_share), vanished);
    const T step = nesterov ? maths::fma(x[2], momentum, g) : x[2];
    x[0] = maths::fma(-step, lr, x[0]);
  });
}

// torch.lerp: from whichever end is nearer, so that a weight of 1 gives b exactly.
template <class T>
__device__ T between(T a, T b, T weight) {
  const T difference = b - a;
  return weight < T(0.5) ? maths::fma(difference, weight, a)
                         : maths::fma(-difference, 1 - weight, b);
}

// With amsgrad Arrays is 5: the largest of the squares' averages is divided by.
template <class T, int Arrays>
__device__ void adam(const Row* table, int64_t rows, T step_size, T root_scale, T lerp, T beta2,
                     T square, T eps, T param_scale, T decay, T sign, T vanished, T vanished_sq) {
  for_each_element<T, Arrays>(table, rows, 0b11101, [=](T(&x)[Arrays]) {
    const T g = effective_grad(x[1], x[0], sign, decay);
    x[2] = unless_vanished(between(x[2], g, lerp), vanished);
    x[3] = unless_vanished(maths::fma(g * square, g, x[3] * beta2), vanished_sq);
    T second = x[3];
    if constexpr (Arrays == 5) second = x[4] = Larger{}(x[4], second);
    const T denominator = maths::fma(maths::sqrt(second), root_scale, eps);
    x[0] = maths::fma(-(x[2] / denominator), step_size, x[0] * param_scale);
  });
}

template <class T>
__device__ void squares(double* sums, const Row* table, int64_t rows) {
  TW_SHARED(double, partial, [kWarpLanes]);
  double sum = 0;
  for_each_element<T, 1>(table, rows, 0, [&](T(&x)[1]) {
    const auto wide = static_cast<double>(x[0]);
    sum = maths::fma(wide, wide, sum);
  });
  sum = over_block<Plus>(sum, 0.0, partial);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

#define TW_OPTIM(type)                                                                      \
  TW_KERNEL(kThreads, sgd_##type, const void* table, int64_t rows, double lr, double decay, \
            double sign) {                                                                  \
    sgd<type>(static_cast<const Row*>(table), rows, static_cast<type>(lr),                  \
              static_cast<type>(decay), static_cast<type>(sign));                           \
  }                                                                                         \
  TW_KERNEL(kThreads, sgd_momentum_##type, const void* table, int64_t rows, int64_t first,  \
            int64_t nesterov, double lr, double momentum, double grad_share, double decay,  \
            double sign, double vanished) {                                                 \
    sgd_momentum<type>(static_cast<const Row*>(table), rows, first != 0, nesterov != 0,     \
                       static_cast<type>(lr), static_cast<type>(momentum),                  \
                       static_cast<type>(grad_share), static_cast<type>(decay),             \
                       static_cast<type>(sign), static_cast<type>(vanished));               \
  }                                                                                         \
  TW_KERNEL(kThreads, squares_##type, double* sums, const void* table, int64_t rows) {      \
    squares<type>(sums, static_cast<const Row*>(table), rows);                              \
  }                                                                                         \
  TW_KERNEL(kThreads, scale_##type, const void* table, int64_t rows, double factor) {       \
    for_each_element<type, 1>(static_cast<const Row*>(table), rows, 1,                      \
                              [=](type(&x)[1]) { x[0] *= static_cast<type>(factor); });     \
  }
#define TW_ADAM(type, name, arrays)                                                               \
  TW_KERNEL(kThreads, name##_##type, const void* table, int64_t rows, double step_size,           \
            double root_scale, double lerp, double beta2, double square, double eps,              \
            double param_scale, double decay, double sign, double vanished, double vanished_sq) { \
    adam<type, arrays>(static_cast<const Row*>(table), rows, static_cast<type>(step_size),        \
                       static_cast<type>(root_scale), static_cast<type>(lerp),                    \
                       static_cast<type>(beta2), static_cast<type>(square),                       \
                       static_cast<type>(eps), static_cast<type>(param_scale),                    \
                       static_cast<type>(decay), static_cast<type>(sign),                         \
                       static_cast<type>(vanished), static_cast<type>(vanished_sq));              \
  }
TW_OPTIM(float)
TW_OPTIM(double)
TW_ADAM(float, adam, 4)
TW_ADAM(double, adam, 4)
TW_ADAM(float, adam_amsgrad, 5)
TW_ADAM(double, adam_amsgrad, 5)
#undef TW_OPTIM
#undef TW_ADAM

// One block.
TW_KERNEL(kThreads, squares_total, double* total, const double* sums, int64_t count) {
  TW_SHARED(double, partial, [kWarpLanes]);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += sums[i];
  sum = over_block<Plus>(sum, 0.0, partial);
  if (threadIdx.x == 0) *total = sum;
}

}  // namespace tilework::optim_cuda
