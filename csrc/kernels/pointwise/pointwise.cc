#include "kernels/pointwise/pointwise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/merge_axes.h"
#include "base/random_words.h"
#include "base/stream.h"
#include "base/thread_pool.h"
#include "base/variants.h"

#define TW_FAMILY pointwise
#define TW_KERNELS PointwiseKernels
#include "base/family.inc"

namespace tilework {
namespace {

// A task's share: 64 KiB an array, which L2 holds for any op here; a multiple of every vector.
template <class T>
constexpr int64_t kChunk = 65536 / sizeof(T);

// Calls run(begin, count) over [0, n), in chunks.
template <class T, class Run>
void for_each_chunk(int64_t n, double ns_per_byte, Run run) {
  const int64_t tasks = ceil_div(n, kChunk<T>);
  parallel_for(tasks, ns_per_byte * sizeof(T) * static_cast<double>(n), [&](int64_t task) {
    const int64_t begin = task * kChunk<T>;
    run(begin, std::min(kChunk<T>, n - begin));
  });
}
constexpr double kNsPerByte = 0.1;  // of one array, arithmetic included; a core's share of memory

// --- Broadcasting ---

// Drops axes of size 1 and merges neighbours that both operands walk as one.
BinaryShape merged(const BinaryShape& s) {
  BinaryShape m{};
  MergedAxes axes{m.axes, m.size, m.a_stride, m.b_stride};
  for (int i = 0; i < s.axes; ++i)
    if (s.size[i] != 1) axes.append(s.size[i], s.a_stride[i], s.b_stride[i]);
  if (m.axes == 0) {
    m.axes = 1;
    m.size[0] = 1;
    m.a_stride[0] = m.b_stride[0] = 1;
  }
  return m;
}

// A run of an operand as the kernels want it: dense, or (stride 0) one element.
template <class T>
const T* packed(const T* p, int64_t stride, int64_t n, T* buffer) {
  if (stride <= 1 && stride >= 0) return p;
  for (int64_t i = 0; i < n; ++i) buffer[i] = p[i * stride];
  return buffer;
}

// Elements packed at a time: two buffers of them lie in L1.
constexpr int64_t kPack = 1024;

template <class T>
void binary_run(const typename PointwiseTable<T>::Binary (&kernels)[3], int64_t n, const T* a,
                int64_t a_stride, const T* b, int64_t b_stride, T* y, bool stream) {
  // Both constant: any one of them may pass for a vector once it is written out.
  const bool fill_a = a_stride == 0 && b_stride == 0;
  const Scalar scalar = b_stride == 0 ? Scalar::b : a_stride == 0 ? Scalar::a : Scalar::neither;
  const auto kernel = kernels[static_cast<int>(scalar)];
  const auto dense = [](int64_t stride) { return stride == 0 || stride == 1; };
  if (dense(a_stride) && dense(b_stride) && !fill_a) return kernel(a, b, y, n, stream);
  T a_buffer[kPack], b_buffer[kPack];
  if (fill_a) std::fill_n(a_buffer, std::min(n, kPack), *a);
  for (int64_t i = 0; i < n; i += kPack) {
    const int64_t step = std::min(kPack, n - i);
    const T* va = fill_a ? a_buffer : packed(a + i * a_stride, a_stride, step, a_buffer);
    const T* vb = packed(b + i * b_stride, b_stride, step, b_buffer);
    kernel(va, vb, y + i, step, stream);
  }
}

// Cuts one long inner run, or counts through the outer axes.
template <class T>
void binary_strided(BinaryOp op, const BinaryShape& m, const T* a, const T* b, T* y) {
  const auto& kernels = g_variants.of<T>().binary[static_cast<int>(op)];
  const int inner = m.axes - 1;
  const int64_t cols = m.size[inner];
  int64_t rows = 1;
  for (int i = 0; i < inner; ++i) rows *= m.size[i];
  const bool stream = streams<T>({y}, rows * cols, cols);
  const double ns_per_byte = op == BinaryOp::pow ? 1.0 : kNsPerByte;
  if (rows == 1)
    return for_each_chunk<T>(cols, ns_per_byte, [&](int64_t begin, int64_t n) {
      binary_run(kernels, n, a + begin * m.a_stride[inner], m.a_stride[inner],
                 b + begin * m.b_stride[inner], m.b_stride[inner], y + begin,
                 streams<T>({y}, cols, kChunk<T>));
    });
  const int64_t rows_a_task = std::max<int64_t>(1, kChunk<T> / cols);
  parallel_for(ceil_div(rows, rows_a_task),
               ns_per_byte * sizeof(T) * static_cast<double>(rows * cols), [&](int64_t task) {
                 const int64_t end = std::min(rows, (task + 1) * rows_a_task);
                 for (int64_t row = task * rows_a_task; row < end; ++row) {
                   int64_t rest = row, a_at = 0, b_at = 0;
                   for (int i = inner; i-- > 0; rest /= m.size[i]) {
                     a_at += rest % m.size[i] * m.a_stride[i];
                     b_at += rest % m.size[i] * m.b_stride[i];
                   }
                   binary_run(kernels, cols, a + a_at, m.a_stride[inner], b + b_at,
                              m.b_stride[inner], y + row * cols, stream);
                 }
               });
}

// Powers that have an exact and faster name: PyTorch's list, and the first power.
template <class T>
bool power_by_name(T exponent, const T* x, T* y, int64_t n) {
  const auto named = [&](UnaryOp op) { unary_forward(op, x, y, n); };
  if (exponent == T(1))
    std::memmove(y, x, static_cast<size_t>(n) * sizeof(T));
  else if (exponent == T(2))
    named(UnaryOp::square);
  else if (exponent == T(3))
    named(UnaryOp::cube);
  else if (exponent == T(0.5))
    named(UnaryOp::sqrt);
  else if (exponent == T(-0.5))
    named(UnaryOp::rsqrt);
  else if (exponent == T(-1))
    named(UnaryOp::reciprocal);
  else if (exponent == T(-2))
    named(UnaryOp::inverse_square);
  else
    return false;
  return true;
}

// --- Rows and column sums ---

// Rows of a task: enough for a chunk, few enough that running sums stay short.
template <class T>
int64_t rows_of_task(int64_t cols) {
  return std::clamp<int64_t>(kChunk<T> / std::max<int64_t>(cols, 1), 4, 512);
}

// --- Gates ---

template <class S>
const GatedTable<S>& gated_kernels() {
  const PointwiseKernels& kernels = *g_variants.best().table;
  if constexpr (std::is_same_v<S, float>)
    return kernels.gated_f32;
  else if constexpr (std::is_same_v<S, double>)
    return kernels.gated_f64;
  else
    return kernels.gated_bf16;
}

// Calls run(at, dense, count) on rows and parts of rows: where a piece begins in the operands, and
// in what is dense.
template <class S, class Run>
void for_each_piece(const GatedShape& s, Run run) {
  const int64_t rows_a_task = std::max<int64_t>(1, kChunk<S> / std::max<int64_t>(1, s.cols));
  const int64_t pieces = ceil_div(s.cols, kChunk<S>), groups = ceil_div(s.rows, rows_a_task);
  const double cost_ns = 2 * kNsPerByte * sizeof(S) * static_cast<double>(s.rows * s.cols);
  parallel_for(groups * pieces, cost_ns, [&](int64_t task) {
    const int64_t first = task / pieces * rows_a_task, begin = task % pieces * kChunk<S>;
    const int64_t count = std::min(kChunk<S>, s.cols - begin);
    for (int64_t row = first; row < std::min(s.rows, first + rows_a_task); ++row)
      run(row * s.stride + begin, row * s.cols + begin, count);
  });
}

}  // namespace

template <class T>
void unary_forward(UnaryOp op, const T* x, T* y, int64_t n) {
  const auto kernel = g_variants.of<T>().unary_forward[static_cast<int>(op)];
  const bool stream = streams<T>({y}, n, kChunk<T>);
  for_each_chunk<T>(n, kNsPerByte, [&](int64_t begin, int64_t count) {
    kernel(x + begin, y + begin, count, stream);
  });
}

template <class T>
void unary_backward(UnaryOp op, const T* grad, const T* saved, T* dx, int64_t n) {
  const auto kernel = g_variants.of<T>().unary_backward[static_cast<int>(op)];
  const bool stream = streams<T>({dx}, n, kChunk<T>);
  for_each_chunk<T>(n, kNsPerByte, [&](int64_t begin, int64_t count) {
    kernel(grad + begin, saved + begin, dx + begin, count, stream);
  });
}

template <class T>
void binary_forward(BinaryOp op, const BinaryShape& shape, const T* a, const T* b, T* y) {
  const BinaryShape m = merged(shape);
  for (int i = 0; i < m.axes; ++i)
    if (m.size[i] == 0) return;
  const bool one_power = std::all_of(shape.b_stride, shape.b_stride + shape.axes,
                                     [](int64_t stride) { return stride == 0; });
  if (op == BinaryOp::pow && one_power && m.axes == 1 && m.a_stride[0] == 1 &&
      power_by_name(*b, a, y, m.size[0]))
    return;
  binary_strided(op, m, a, b, y);
}

template <class T>
void bias_activation_forward(Activation act, int64_t rows, int64_t cols, const T* x, const T* bias,
                             T* y, T* z) {
  const auto kernel = g_variants.of<T>().bias_forward[static_cast<int>(act)];
  const bool stream = streams<T>({y, z}, rows * cols, cols);
  const int64_t step = rows_of_task<T>(cols);
  parallel_for(ceil_div(rows, step), kNsPerByte * sizeof(T) * static_cast<double>(rows * cols),
               [&](int64_t task) {
                 const int64_t begin = task * step, at = begin * cols;
                 kernel(x + at, bias, y + at, z ? z + at : nullptr, std::min(step, rows - begin),
                        cols, stream);
               });
}

template <class T>
void bias_activation_backward(Activation act, int64_t rows, int64_t cols, const T* grad,
                              const T* saved, T* dz, T* dbias) {
  const auto kernel = g_variants.of<T>().bias_backward[static_cast<int>(act)];
  const bool stream = streams<T>({dz}, rows * cols, cols);
  const int64_t step = rows_of_task<T>(cols), tasks = std::max<int64_t>(ceil_div(rows, step), 1);
  Scratch<T> partials(static_cast<size_t>(tasks * cols));
  T* sums = partials.get();
  std::memset(sums, 0, static_cast<size_t>(tasks * cols) * sizeof(T));
  parallel_for(tasks, kNsPerByte * sizeof(T) * static_cast<double>(rows * cols), [&](int64_t task) {
    const int64_t begin = task * step, at = begin * cols;
    kernel(grad + at, saved ? saved + at : nullptr, dz + at, sums + task * cols,
           std::min(step, rows - begin), cols, stream);
  });
  // Pairs, pairs of pairs, ...: one tree, whatever thread summed each block.
  const auto add = g_variants.of<T>().binary[static_cast<int>(BinaryOp::add)][0];
  for (int64_t gap = 1; gap < tasks; gap *= 2)
    for (int64_t i = 0; i + gap < tasks; i += 2 * gap)
      add(sums + i * cols, sums + (i + gap) * cols, sums + i * cols, cols, false);
  std::memcpy(dbias, sums, static_cast<size_t>(cols) * sizeof(T));
}

template <class S>
void gated_forward(GatedOp op, GatedShape shape, const S* a, const S* b, S* y) {
  const auto kernel = gated_kernels<S>().forward[static_cast<int>(op)];
  const bool stream = streams<S>({y}, shape.rows * shape.cols, shape.cols);
  for_each_piece<S>(shape, [&](int64_t at, int64_t dense, int64_t n) {
    kernel(a + at, b + at, y + dense, n, stream);
  });
}

template <class S>
void gated_backward(GatedOp op, GatedShape shape, const S* grad, const S* a, const S* b, S* da,
                    S* db) {
  const auto kernel = gated_kernels<S>().backward[static_cast<int>(op)];
  const bool stream = streams<S>({da, db}, shape.rows * shape.cols, shape.cols);
  for_each_piece<S>(shape, [&](int64_t at, int64_t dense, int64_t n) {
    kernel(grad + dense, a + at, b + at, da + at, db + at, n, stream);
  });
}

template <class T>
void clamp(T low, T high, const T* x, T* y, int64_t n) {
  const auto kernel = g_variants.of<T>().clamp;
  const bool stream = streams<T>({y}, n, kChunk<T>);
  for_each_chunk<T>(n, kNsPerByte, [&](int64_t begin, int64_t count) {
    kernel(low, high, x + begin, y + begin, count, stream);
  });
}

template <class T>
void clamp_backward(T low, T high, const T* grad, const T* x, T* dx, int64_t n) {
  const auto kernel = g_variants.of<T>().clamp_backward;
  const bool stream = streams<T>({dx}, n, kChunk<T>);
  for_each_chunk<T>(n, kNsPerByte, [&](int64_t begin, int64_t count) {
    kernel(low, high, grad + begin, x + begin, dx + begin, count, stream);
  });
}

template <class T>
void dropout(double p, uint64_t seed, uint64_t call, const T* x, T* y, int64_t n) {
  const uint64_t threshold = dropout_threshold(p);
  if (threshold >> 32) {
    std::fill_n(y, n, T(0));
    return;
  }
  const auto kernel = g_variants.of<T>().dropout;
  const bool stream = streams<T>({y}, n, kChunk<T>);
  for_each_chunk<T>(n, 2 * kNsPerByte, [&](int64_t begin, int64_t count) {
    kernel(static_cast<uint32_t>(threshold), T(1 / (1 - p)), seed, call,
           static_cast<uint64_t>(begin), x + begin, y + begin, count, stream);
  });
}

void widen(const bfloat16* x, float* y, int64_t n) {
  const bool stream = streams<float>({y}, n, kChunk<float>);
  for_each_chunk<float>(n, 1.5 * kNsPerByte, [&](int64_t begin, int64_t count) {
    g_variants->widen(x + begin, y + begin, count, stream);
  });
}

void narrow(const float* x, bfloat16* y, int64_t n) {
  const bool stream = streams<bfloat16>({y}, n, kChunk<float>);
  for_each_chunk<float>(n, 1.5 * kNsPerByte, [&](int64_t begin, int64_t count) {
    g_variants->narrow(x + begin, y + begin, count, stream);
  });
}

#define TW_INSTANTIATE(T)                                                                          \
  template void unary_forward(UnaryOp, const T*, T*, int64_t);                                     \
  template void unary_backward(UnaryOp, const T*, const T*, T*, int64_t);                          \
  template void binary_forward(BinaryOp, const BinaryShape&, const T*, const T*, T*);              \
  template void bias_activation_forward(Activation, int64_t, int64_t, const T*, const T*, T*, T*); \
  template void bias_activation_backward(Activation, int64_t, int64_t, const T*, const T*, T*,     \
                                         T*);                                                      \
  template void clamp(T, T, const T*, T*, int64_t);                                                \
  template void clamp_backward(T, T, const T*, const T*, T*, int64_t);                             \
  template void dropout(double, uint64_t, uint64_t, const T*, T*, int64_t);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
#undef TW_INSTANTIATE

#define TW_INSTANTIATE(S)                                                   \
  template void gated_forward(GatedOp, GatedShape, const S*, const S*, S*); \
  template void gated_backward(GatedOp, GatedShape, const S*, const S*, const S*, S*, S*);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
TW_INSTANTIATE(bfloat16)
#undef TW_INSTANTIATE

}  // namespace tilework
