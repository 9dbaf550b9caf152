// Losses: cross entropy of logits against class indices, and those of a distance d = a - b.
//
// Cross entropy keeps two numbers a row, its maximum and the logarithm of its sum, apart: the
// softmax is never stored. A row goes by a warp, a block, or a block in passes, as for softmax; its
// gradient is one look at the logits. A target outside of the classes is told to words of the
// host's memory (base/indices.cuh).
// The losses of rows, and parts of a distance, are added by the kernels of reduce.cuh: in a fixed
// tree.
//
// on sm_80, 90a, 100       registers   shared  dynamic  threads  blocks an SM  holds
// cross_entropy_backward*  40, 40, 40  0       0        256      6, 6, 6       LDG.128 STG.128
// cross_entropy_by_*       77, 64, 57  128     0        256      3, 4, 4       LDG.128
// *_each_*                 38, 40, 36  0       0        256      6, 6, 6       LDG.128 STG.128
// *_parts_*                40, 40, 46  64      0        256      6, 6, 5       LDG.128
// *_backward_*             44, 48, 40  0       0        256      5, 5, 6       LDG.128 STG.128
// *                        23, 24, 24  0       0        1        32, 32, 32
#pragma once

#include "base/elementwise.cuh"
#include "base/indices.cuh"
#include "kernels/softmax/softmax_stats.cuh"

namespace tilework::loss_cuda {

inline constexpr int kThreads = 256;

// --- cross entropy ---

// A row's loss to `losses`, the weight that a mean divides by to `counted`, what backward needs to
// `saved`: the rows' maxima, then their logarithms.
template <class T, int Threads, int Held>
__device__ void cross_entropy(T* losses, T* counted, T* saved, const T* logits,
                              const int64_t* target, const T* weight, int64_t ignored,
                              double smoothing, int64_t* words, int64_t rows, int64_t classes) {
  const bool wide = at_packs(logits, weight);
  with_row<T, Threads>(rows, classes, wide, [&](int64_t r, auto width) {
    constexpr int W = decltype(width)::value;
    const T* const x = logits + r * classes;
    Row<T, Threads, W, held_of<W, Held>> row(x, classes);
    const softmax_cuda::Stats<T> stats = softmax_cuda::stats_of<true>(row);
    const T top = stats.most, log_sum = maths::log(stats.sum);
    T all = 0;  // of -log p of every class
    if (smoothing > 0) {
      T strand[W] = {};
      row.each([&](const auto& pack, int64_t at) {
        Pack<T, W> w;
        if (weight != nullptr) w = load_pack<W>(weight + at);
#pragma unroll
        for (int i = 0; i < W; ++i) {
          const T loss = log_sum - (pack.at[i] - top);
          strand[i] += weight != nullptr ? w.at[i] * loss : loss;
        }
      });
      all = Team<Threads>::sum(sum_of(strand));
    }
    if (Team<Threads>::rank() != 0) return;
    saved[r] = top;
    saved[rows + r] = log_sum;
    const int64_t label = target[r];
    T loss = 0, own = 0;
    if (label != ignored) {
      if (index_below(label, classes, 0, words) < 0) {
        loss = own = not_a_number<T>();
      } else {
        own = weight != nullptr ? weight[label] : T{1};
        loss = own * (log_sum - (x[label] - top));
        if (smoothing > 0) {
          const T share = static_cast<T>(smoothing / static_cast<double>(classes));
          loss = static_cast<T>(1 - smoothing) * loss + share * all;
        }
      }
    }
    losses[r] = loss;
    counted[r] = own;
  });
}

// The gradient of row r's loss, times grad[r * stride] over `divisor` (null: one): pull p - push of
// a class, and less at the label. weight_sum: of all classes' weights, null without any.
template <class T, int Threads>
__device__ void cross_entropy_gradient(T* dx, const T* grad, const T* logits, const int64_t* target,
                                       const T* weight, const T* saved, const T* divisor,
                                       const T* weight_sum, int64_t stride, int64_t ignored,
                                       double smoothing, int64_t rows, int64_t classes) {
  const bool wide = at_packs(dx, logits, weight);
  with_row<T, Threads>(rows, classes, wide, [&](int64_t r, auto width) {
    constexpr int W = decltype(width)::value;
    const int64_t label = target[r];
    const bool counts = label != ignored && label >= 0 && label < classes;
    T top = 0, log_sum = 0, pull = 0, push = 0, at_label = 0;
    if (counts) {
      const T scale = grad[r * stride] / (divisor == nullptr ? T{1} : *divisor);
      const T total = weight_sum == nullptr ? static_cast<T>(classes) : *weight_sum;
      top = saved[r];
      log_sum = saved[rows + r];
      push = scale * static_cast<T>(smoothing / static_cast<double>(classes));
      at_label = scale * static_cast<T>(1 - smoothing) * (weight == nullptr ? T{1} : weight[label]);
      pull = smoothing > 0 ? at_label + push * total : at_label;
    }
    T* const to = dx + r * classes;
    Row<T, Threads, W, 0> row(logits + r * classes, classes);
    row.each([&](auto& pack, int64_t at) {
      Pack<T, W> made, w;
      if (smoothing > 0 && weight != nullptr) w = load_pack<W>(weight + at);
#pragma unroll
      for (int i = 0; i < W; ++i) {
        T v = real::exp((pack.at[i] - top) - log_sum) * pull;
        if (smoothing > 0) v -= weight != nullptr ? push * w.at[i] : push;
        if (at + i == label) v -= at_label;
        made.at[i] = counts ? v : T{0};
      }
      store_pack(to + at, made);
    });
  });
}

#define TW_CROSS_ENTROPY_FORM(type, form, threads, launched, held)                              \
  TW_KERNEL(launched, cross_entropy_##form##_##type, type* losses, type* counted, type* saved,  \
            const type* logits, const int64_t* target, const type* weight, int64_t ignored,     \
            double smoothing, int64_t* words, int64_t rows, int64_t classes) {                  \
    cross_entropy<type, threads, held>(losses, counted, saved, logits, target, weight, ignored, \
                                       smoothing, words, rows, classes);                        \
  }
#define TW_CROSS_ENTROPY_GRADIENT(type, form, threads, launched)                                  \
  TW_KERNEL(launched, cross_entropy_backward_##form##_##type, type* dx, const type* grad,         \
            const type* logits, const int64_t* target, const type* weight, const type* saved,     \
            const type* divisor, const type* weight_sum, int64_t stride, int64_t ignored,         \
            double smoothing, int64_t rows, int64_t classes) {                                    \
    cross_entropy_gradient<type, threads>(dx, grad, logits, target, weight, saved, divisor,       \
                                          weight_sum, stride, ignored, smoothing, rows, classes); \
  }
#define TW_CROSS_ENTROPY(type)                                                             \
  TW_CROSS_ENTROPY_FORM(type, by_warps, kWarpLanes, kRowWarps* kWarpLanes, kHeld<type>)    \
  TW_CROSS_ENTROPY_FORM(type, by_blocks, kThreads, kThreads, kHeld<type>)                  \
  TW_CROSS_ENTROPY_FORM(type, by_passes, kThreads, kThreads, 0)                            \
  TW_CROSS_ENTROPY_GRADIENT(type, by_warps, kWarpLanes, kRowWarps* kWarpLanes)             \
  TW_CROSS_ENTROPY_GRADIENT(type, by_blocks, kThreads, kThreads)                           \
  /* The mean: totals are those of losses and of what counts. */                           \
  TW_KERNEL(1, cross_entropy_mean_##type, type* loss, type* divisor, const type* totals) { \
    *divisor = totals[1];                                                                  \
    *loss = totals[0] / totals[1];                                                         \
  }
TW_CROSS_ENTROPY(float)
TW_CROSS_ENTROPY(double)
#undef TW_CROSS_ENTROPY
#undef TW_CROSS_ENTROPY_GRADIENT
#undef TW_CROSS_ENTROPY_FORM

// --- distances ---

// A loss of d and its derivative, each without a cancellation and within d's own range.
struct Square {
  template <class T>
  static __device__ T loss(T d, T) {
    return d * d;
  }
  template <class T>
  static __device__ T slope(T d, T) {
    return d + d;
  }
};
struct Absolute {
  template <class T>
  static __device__ T loss(T d, T) {
    return maths::abs(d);
  }
  template <class T>
  static __device__ T slope(T d, T) {
    return d > 0 ? T{1} : d < 0 ? T{-1} : d;
  }
};
struct Huber {
  template <class T>
  static __device__ T loss(T d, T limit) {
    const T size = maths::abs(d), half = T(0.5);
    return size < limit ? half * d * d : limit * (size - half * limit);
  }
  template <class T>
  static __device__ T slope(T d, T limit) {
    return d > limit ? limit : d < -limit ? -limit : d;
  }
};
// Huber's over its limit.
struct Smooth {
  template <class T>
  static __device__ T loss(T d, T limit) {
    const T size = maths::abs(d), half = T(0.5);
    return size < limit ? half * d * (d / limit) : size - half * limit;
  }
  template <class T>
  static __device__ T slope(T d, T limit) {
    return d > limit ? T{1} : d < -limit ? T{-1} : d / limit;
  }
};

template <class Loss, class T>
__device__ void each(T* y, const T* a, const T* b, T limit, int64_t n) {
  fill_flat<kPackOf<T>>(y, n, at_packs(y, a, b), [&](auto width, int64_t at) {
    constexpr int W = decltype(width)::value;
    const Pack<T, W> p = load_pack<W>(a + at), q = load_pack<W>(b + at);
    Pack<T, W> made;
#pragma unroll
    for (int i = 0; i < W; ++i) made.at[i] = Loss::loss(p.at[i] - q.at[i], limit);
    return made;
  });
}

// The sum of a block's `part` neighbours.
template <class Loss, class T>
__device__ void parts(T* y, const T* a, const T* b, T limit, int64_t n, int64_t part) {
  const int64_t begin = blockIdx.x * part, count = n - begin < part ? n - begin : part;
  const bool wide = at_packs(a, b) && part % kPackOf<T> == 0;
  T sum = 0;
  by_width<T>(wide, [&](auto width) {
    constexpr int W = decltype(width)::value;
    T strand[W] = {};
    const int whole = static_cast<int>(count - count % W), end = static_cast<int>(count);
    const T *p = a + begin, *q = b + begin;
#pragma unroll 2
    for (int at = static_cast<int>(threadIdx.x) * W; at < whole; at += kThreads * W) {
      const Pack<T, W> u = load_pack<W>(p + at), v = load_pack<W>(q + at);
#pragma unroll
      for (int i = 0; i < W; ++i) strand[i] += Loss::loss(u.at[i] - v.at[i], limit);
    }
    const int rest = whole + static_cast<int>(threadIdx.x);
    if (rest < end) strand[0] += Loss::loss(p[rest] - q[rest], limit);
    sum = sum_of(strand);
  });
  sum = Team<kThreads>::sum(sum);
  if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

// The gradient of a: slope * scale * grad, of which there is one, or one an element.
template <class Loss, class T>
__device__ void backward(T* dx, const T* grad, const T* a, const T* b, T limit, T scale, bool one,
                         int64_t n) {
  if (one) scale *= *grad;
  const bool wide = at_packs(dx, a, b) && (one || at_packs(grad));
  fill_flat<kPackOf<T>>(dx, n, wide, [&](auto width, int64_t at) {
    constexpr int W = decltype(width)::value;
    const Pack<T, W> p = load_pack<W>(a + at), q = load_pack<W>(b + at);
    Pack<T, W> made, g = {};
    if (!one) g = load_pack<W>(grad + at);
#pragma unroll
    for (int i = 0; i < W; ++i) {
      made.at[i] = Loss::slope(p.at[i] - q.at[i], limit) * scale;
      if (!one) made.at[i] *= g.at[i];
    }
    return made;
  });
}

#define TW_DISTANCE(type, name, Loss)                                                            \
  TW_KERNEL(kElementThreads, name##_each_##type, type* y, const type* a, const type* b,          \
            double limit, int64_t n) {                                                           \
    each<Loss>(y, a, b, static_cast<type>(limit), n);                                            \
  }                                                                                              \
  TW_KERNEL(kThreads, name##_parts_##type, type* y, const type* a, const type* b, double limit,  \
            int64_t n, int64_t part) {                                                           \
    parts<Loss>(y, a, b, static_cast<type>(limit), n, part);                                     \
  }                                                                                              \
  TW_KERNEL(kElementThreads, name##_backward_##type, type* dx, const type* grad, const type* a,  \
            const type* b, double limit, double scale, int64_t one, int64_t n) {                 \
    backward<Loss>(dx, grad, a, b, static_cast<type>(limit), static_cast<type>(scale), one != 0, \
                   n);                                                                           \
  }
#define TW_DISTANCES(type)                       \
  TW_DISTANCE(type, distance_square, Square)     \
  TW_DISTANCE(type, distance_absolute, Absolute) \
  TW_DISTANCE(type, distance_huber, Huber)       \
  TW_DISTANCE(type, distance_smooth, Smooth)
TW_DISTANCES(float)
TW_DISTANCES(double)
#undef TW_DISTANCES
#undef TW_DISTANCE

}  // namespace tilework::loss_cuda
