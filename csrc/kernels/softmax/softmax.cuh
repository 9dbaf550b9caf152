// Softmax and its logarithm along one axis of a dense array, forward and backward.
//
// The last axis has rows. One of up to 1024 floats (256 doubles) stays in the registers of a warp,
// one of up to 8192 (2048) in a block's, half of that where two are read: memory is the roof. A
// longer row is read twice by a block: one pass finds maximum and sum together, a thread's sum
// rescaled whenever its maximum rises. Another axis is (outer, length, inner): neighbouring threads
// have neighbouring columns, and some share one where a column is long; these too take two passes,
// and nothing is copied. Rows that allow no accesses of 16 bytes are not held, but read again from
// L1.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// *_by_warps_*        68, 66, 56  0       0        128      7, 7, 9       LDG.128 STG.128
// *_by_blocks_*       72, 64, 62  128     0        256      3, 4, 4       LDG.128 STG.128
// *_by_passes_*       34, 40, 32  128     0        256      6, 6, 8       LDG.128 STG.128
// *_wide_columns_*    46, 48, 48  8192    0        256      5, 5, 5       LDG.128 STG.128
// *                   36, 40, 38  4096    0        256      6, 6, 6
#pragma once

#include "base/columns.cuh"
#include "base/row.cuh"
#include "kernels/softmax/softmax_stats.cuh"

namespace tilework::softmax_cuda {

inline constexpr int kThreads = 256;

template <class T, bool Log, int Threads, int Held>
__device__ void forward(T* y, const T* x, int64_t rows, int64_t length) {
  with_row<T, Threads>(rows, length, at_packs(x, y), [&](int64_t at_row, auto width) {
    constexpr int W = decltype(width)::value;
    constexpr int H = held_of<W, Held>;
    Row<T, Threads, W, H> row(x + at_row * length, length);
    const Stats<T> stats = stats_of<Log>(row);
    T* const to = y + at_row * length;
    const T scale = T{1} / stats.sum, log_sum = maths::log(stats.sum);
    row.each([&](auto& pack, int64_t at) {
#pragma unroll
      for (int i = 0; i < W; ++i) {
        const T v = pack.at[i];
        pack.at[i] = Log     ? (v - stats.most) - log_sum
                     : H > 0 ? v * scale
                             : real::exp(v - stats.most) * scale;
      }
      store_pack(to + at, pack);
    });
  });
}

// The gradient of an element: of softmax y (g - sum(g y)), of its logarithm g - exp(y) sum(g).
template <bool Log, class T>
__device__ T term(T g, T y) {
  return Log ? g : g * y;
}
template <bool Log, class T>
__device__ T gradient(T g, T y, T sum) {
  return Log ? g - real::exp(y) * sum : y * (g - sum);
}

template <class T, bool Log, int Threads, int Held>
__device__ void backward(T* dx, const T* grad, const T* y, int64_t rows, int64_t length) {
  with_row<T, Threads>(rows, length, at_packs(dx, grad, y), [&](int64_t at_row, auto width) {
    constexpr int W = decltype(width)::value;
    using Part = Row<T, Threads, W, held_of<W, Held>>;
    Part g_row(grad + at_row * length, length), y_row(y + at_row * length, length);
    T strand[W] = {};
    g_row.each_with(y_row, [&](const auto& g, const auto& v, int64_t) {
#pragma unroll
      for (int i = 0; i < W; ++i) strand[i] += term<Log>(g.at[i], v.at[i]);
    });
    const T sum = Team<Threads>::sum(sum_of(strand));
    T* const to = dx + at_row * length;
    g_row.each_with(y_row, [&](const auto& g, const auto& v, int64_t at) {
      Pack<T, W> made;
#pragma unroll
      for (int i = 0; i < W; ++i) made.at[i] = gradient<Log>(g.at[i], v.at[i], sum);
      store_pack(to + at, made);
    });
  });
}

template <class T, bool Log, int W>
__device__ void forward_by_columns(T* y, const T* x, int64_t length, int64_t inner, int64_t bits) {
  struct Value {
    Stats<T> of[W];
  };
  TW_SHARED(Value, partial, [kColumnThreads]);
  const Columns<T, W> columns(length, inner, bits, length, 1);
  Value own;
  columns.each([&](int64_t at, int64_t) {
    const Pack<T, W> pack = load_pack<W>(x + at);
#pragma unroll
    for (int i = 0; i < W; ++i) own.of[i].add(pack.at[i]);
  });
  const Value all = columns.joined(own, partial, [](Value& value, const Value& other) {
#pragma unroll
    for (int i = 0; i < W; ++i) value.of[i].add(other.of[i]);
  });
  columns.each([&](int64_t at, int64_t) {
    Pack<T, W> pack = load_pack<W>(x + at);
#pragma unroll
    for (int i = 0; i < W; ++i) {
      pack.at[i] = Log ? all.of[i].log_normal(pack.at[i]) : all.of[i].normal(pack.at[i]);
    }
    store_pack(y + at, pack);
  });
}

template <class T, bool Log, int W>
__device__ void backward_by_columns(T* dx, const T* grad, const T* y, int64_t length, int64_t inner,
                                    int64_t bits) {
  using Value = Packs<T, W, 1>;
  TW_SHARED(Value, partial, [kColumnThreads]);
  const Columns<T, W> columns(length, inner, bits, length, 1);
  Value own = {};
  columns.each([&](int64_t at, int64_t) {
    const Pack<T, W> g = load_pack<W>(grad + at), v = load_pack<W>(y + at);
#pragma unroll
    for (int i = 0; i < W; ++i) own.of[0].at[i] += term<Log>(g.at[i], v.at[i]);
  });
  const Pack<T, W> sum = columns.joined(own, partial, AddPacks{}).of[0];
  columns.each([&](int64_t at, int64_t) {
    const Pack<T, W> g = load_pack<W>(grad + at), v = load_pack<W>(y + at);
    Pack<T, W> made;
#pragma unroll
    for (int i = 0; i < W; ++i) made.at[i] = gradient<Log>(g.at[i], v.at[i], sum.at[i]);
    store_pack(dx + at, made);
  });
}

#define TW_SOFTMAX_ROWS(type, name, log, form, threads, launched, held)                           \
  TW_KERNEL(launched, name##_##form##_##type, type* y, const type* x, int64_t rows,               \
            int64_t length) {                                                                     \
    forward<type, log, threads, held>(y, x, rows, length);                                        \
  }                                                                                               \
  TW_KERNEL(launched, name##_backward_##form##_##type, type* dx, const type* grad, const type* y, \
            int64_t rows, int64_t length) {                                                       \
    backward<type, log, threads, (held) / 2>(dx, grad, y, rows, length);                          \
  }
#define TW_SOFTMAX_COLUMNS(type, name, log, form, width)                                          \
  TW_KERNEL(kColumnThreads, name##_##form##_##type, type* y, const type* x, int64_t length,       \
            int64_t inner, int64_t bits) {                                                        \
    forward_by_columns<type, log, width>(y, x, length, inner, bits);                              \
  }                                                                                               \
  TW_KERNEL(kThreads, name##_backward_##form##_##type, type* dx, const type* grad, const type* y, \
            int64_t length, int64_t inner, int64_t bits) {                                        \
    backward_by_columns<type, log, width>(dx, grad, y, length, inner, bits);                      \
  }
#define TW_SOFTMAX(type, name, log)                                                          \
  TW_SOFTMAX_ROWS(type, name, log, by_warps, kWarpLanes, kRowWarps* kWarpLanes, kHeld<type>) \
  TW_SOFTMAX_ROWS(type, name, log, by_blocks, kThreads, kThreads, kHeld<type>)               \
  TW_SOFTMAX_ROWS(type, name, log, by_passes, kThreads, kThreads, 0)                         \
  TW_SOFTMAX_COLUMNS(type, name, log, by_columns, 1)                                         \
  TW_SOFTMAX_COLUMNS(type, name, log, by_wide_columns, kPackOf<type>)
TW_SOFTMAX(float, softmax, false)
TW_SOFTMAX(float, log_softmax, true)
TW_SOFTMAX(double, softmax, false)
TW_SOFTMAX(double, log_softmax, true)
#undef TW_SOFTMAX
#undef TW_SOFTMAX_COLUMNS
#undef TW_SOFTMAX_ROWS

}  // namespace tilework::softmax_cuda
