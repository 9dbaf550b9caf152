// The loops over elements, written once for every vector width. Included by the ISA files alone.
//
// All of these are bound by memory once arrays leave the caches: gelu's 12.6 million elements of
// 4096x3072 are 100 MB to move, and its arithmetic is kept short enough (simd/math.h) to hide under
// that. Two things then count. An output larger than the cache is stored around it, since an
// ordinary store first reads the line that it is about to overwrite: three transfers an element
// become two. And an op that needs two results (the activation and what its backward wants, a
// gradient and its column sums) makes both in the one pass.
#pragma once

#include "base/random_words.h"
#include "kernels/pointwise/functions.h"
#include "kernels/pointwise/pointwise.h"
#include "simd/bfloat16.h"
#include "simd/philox_vec.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {
namespace pointwise {

// How far ahead of the loads a large input is fetched: the hardware's own fetching stops at each
// 4 KiB page, and starts again late.
inline constexpr int kPrefetchBytes = 2048;

// Half a vector around the cache, on its own size: the processor joins neighbours to a line.
TW_INLINE void stream_half(Vec<float> v, bfloat16* p) {
#if defined(__AVX512F__)
  bfloat16 words[16];
  store_rounded(v, words);
  const void* from = words;
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p),
                      _mm256_loadu_si256(static_cast<const __m256i*>(from)));
#elif defined(__AVX2__)
  bfloat16 words[8];
  store_rounded(v, words);
  const void* from = words;
  _mm_stream_si128(reinterpret_cast<__m128i*>(p),
                   _mm_loadu_si128(static_cast<const __m128i*>(from)));
#else
  store_rounded(v, p);
#endif
}

template <class Lanes, bool kStream>
struct Output : Lanes {
  template <class T>
  TW_INLINE auto read(const T* p) const {
    if constexpr (kStream) __builtin_prefetch(reinterpret_cast<const char*>(p) + kPrefetchBytes);
    return load(static_cast<const Lanes&>(*this), p);
  }
  template <class T>
  TW_INLINE void write(T* p, Vec<T> v) const {
    if constexpr (kStream)
      v.stream(p);
    else
      Lanes::store(p, v);
  }
  TW_INLINE void write(bfloat16* p, Vec<float> v) const {
    if constexpr (kStream)
      stream_half(v, p);
    else
      store(static_cast<const Lanes&>(*this), p, v);
  }
};

// As sweep(), but whole vectors that the body write()s go around the cache where `stream` says so;
// they are then 64-byte aligned, and the kernel ends with a fence.
template <class T, bool kStream, class Body>
TW_INLINE void sweep_out_as(int64_t n, Body body) {
  constexpr int W = Vec<T>::width;
  int64_t i = 0;
  for (; i + W <= n; i += W) body(i, Output<WholeVector<T>, kStream>{});
  if (i < n) body(i, Output<PartVector<T>, false>{{static_cast<int>(n - i)}});
}
template <class T, class Body>
TW_INLINE void sweep_out(int64_t n, bool stream, Body body) {
  if (stream)
    sweep_out_as<T, true>(n, body);
  else
    sweep_out_as<T, false>(n, body);
}
TW_INLINE void end_output(bool stream) {
  if (stream) stream_fence();
}

template <class T, class Op>
void unary_forward(const T* x, T* y, int64_t n, bool stream) {
  sweep_out<T>(n, stream, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    lanes.write(y + i, Op::forward(lanes.read(x + i)));
  });
  end_output(stream);
}

template <class T, class Op, bool kReadsSaved>
void unary_backward(const T* grad, const T* saved, T* dx, int64_t n, bool stream) {
  sweep_out<T>(n, stream, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> s = kReadsSaved ? lanes.read(saved + i) : Vec<T>::zero();
    lanes.write(dx + i, Op::backward(lanes.read(grad + i), s));
  });
  end_output(stream);
}

template <class T, class Op, Scalar kScalar>
void binary(const T* a, const T* b, T* y, int64_t n, bool stream) {
  const Vec<T> one_a = kScalar == Scalar::a ? Vec<T>(*a) : Vec<T>::zero();
  const Vec<T> one_b = kScalar == Scalar::b ? Vec<T>(*b) : Vec<T>::zero();
  sweep_out<T>(n, stream, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> va = kScalar == Scalar::a ? one_a : lanes.read(a + i);
    const Vec<T> vb = kScalar == Scalar::b ? one_b : lanes.read(b + i);
    lanes.write(y + i, Op::apply(va, vb));
  });
  end_output(stream);
}

template <class T, Activation act>
void bias_forward(const T* x, const T* bias, T* y, T* z, int64_t rows, int64_t cols, bool stream) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r * cols;
    sweep_out<T>(cols, stream, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
      const Vec<T> sum = lanes.read(x + at + j) + lanes.load(bias + j);
      if (z) lanes.write(z + at + j, sum);
      lanes.write(y + at + j, activate<act>(sum));
    });
  }
  end_output(stream);
}

// Four rows at once, so that the running sums are read and written a quarter as often.
template <class T, Activation act>
void bias_backward(const T* grad, const T* saved, T* dz, T* partial, int64_t rows, int64_t cols,
                   bool stream) {
  const auto row = [&](int64_t at, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> s = act == Activation::none ? Vec<T>::zero() : lanes.read(saved + at);
    const Vec<T> d = activation_gradient<act>(lanes.read(grad + at), s);
    lanes.write(dz + at, d);
    return d;
  };
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4)
    sweep_out<T>(cols, stream, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
      const int64_t at = r * cols + j;
      const Vec<T> first = row(at, lanes) + row(at + cols, lanes);
      const Vec<T> second = row(at + 2 * cols, lanes) + row(at + 3 * cols, lanes);
      lanes.store(partial + j, lanes.load(partial + j) + (first + second));
    });
  for (; r < rows; ++r)
    sweep_out<T>(cols, stream, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
      lanes.store(partial + j, lanes.load(partial + j) + row(r * cols + j, lanes));
    });
  end_output(stream);
}

template <class T>
void clamp(T low, T high, const T* x, T* y, int64_t n, bool stream) {
  const Vec<T> least(low), most(high);
  sweep_out<T>(n, stream, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    lanes.write(y + i, min_nan(max_nan(lanes.read(x + i), least), most));
  });
  end_output(stream);
}

template <class T>
void clamp_backward(T low, T high, const T* grad, const T* x, T* dx, int64_t n, bool stream) {
  const Vec<T> least(low), most(high), zero = Vec<T>::zero();
  sweep_out<T>(n, stream, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> v = lanes.read(x + i);
    lanes.write(dx + i, select((least <= v) & (v <= most), lanes.read(grad + i), zero));
  });
  end_output(stream);
}

template <class T>
void dropout(uint32_t threshold, T scale, uint64_t seed, uint64_t call, uint64_t position,
             const T* x, T* y, int64_t n, bool stream) {
  uint32_t words[kPhiloxStep];
  T factor[kPhiloxStep];
  for (int64_t at = 0; at < n; at += kPhiloxStep) {
    philox_step(seed, call, position + static_cast<uint64_t>(at), words);
    for (int i = 0; i < kPhiloxStep; ++i)
      factor[i] = dropout_keeps(words[i], threshold) ? scale : T(0);
    const int64_t step = n - at < kPhiloxStep ? n - at : kPhiloxStep;
    sweep_out<T>(step, stream, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
      const Vec<T> f = lanes.load(factor + i), zero = Vec<T>::zero();
      lanes.write(y + at + i, select(f == zero, zero, lanes.read(x + at + i) * f));
    });
  }
  end_output(stream);
}

template <class From, class To>
void convert(const From* x, To* y, int64_t n, bool stream) {
  sweep_out<float>(n, stream, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    lanes.write(y + i, lanes.read(x + i));
  });
  end_output(stream);
}

// --- gates ---

template <class S, class Act, bool kGateFirst>
void gated_forward(const S* a, const S* b, S* y, int64_t n, bool stream) {
  using T = Wide<S>;
  sweep_out<T>(n, stream, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> first = lanes.read(a + i), second = lanes.read(b + i);
    lanes.write(y + i, Act::forward(kGateFirst ? first : second) * (kGateFirst ? second : first));
  });
  end_output(stream);
}

template <class S, auto gate, bool kGateFirst>
void gated_backward(const S* grad, const S* a, const S* b, S* da, S* db, int64_t n, bool stream) {
  using T = Wide<S>;
  sweep_out<T>(n, stream, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const Vec<T> g = lanes.read(grad + i), first = lanes.read(a + i), second = lanes.read(b + i);
    const Gate<T> at = gate(kGateFirst ? first : second);
    const Vec<T> d_value = g * at.value, d_gate = g * (kGateFirst ? second : first) * at.slope;
    lanes.write(da + i, kGateFirst ? d_gate : d_value);
    lanes.write(db + i, kGateFirst ? d_value : d_gate);
  });
  end_output(stream);
}

template <class S>
inline constexpr GatedTable<S> kGated = {
    .forward =
        {
#define TW_GATED(name, activation, gate_first) gated_forward<S, activation##_op, gate_first>,
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_GATED
        },
    .backward =
        {
#define TW_GATED(name, activation, gate_first) \
  gated_backward<S, activation##_gate<Wide<S>>, gate_first>,
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_GATED
        },
};

enum class Saved { none, input, output };

template <class T>
inline constexpr PointwiseTable<T> kTable = {
    .unary_forward =
        {
#define TW_UNARY(name, saved) unary_forward<T, name##_op>,
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_UNARY
        },
    .unary_backward =
        {
#define TW_UNARY(name, saved) unary_backward<T, name##_op, Saved::saved != Saved::none>,
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_UNARY
        },
    .binary =
        {
#define TW_BINARY(name)                                                    \
  {binary<T, name##_op, Scalar::neither>, binary<T, name##_op, Scalar::a>, \
   binary<T, name##_op, Scalar::b>},
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_BINARY
        },
#define TW_BY_ACTIVATION(kernel)                                                               \
  {kernel<T, Activation::none>,      kernel<T, Activation::relu>, kernel<T, Activation::gelu>, \
   kernel<T, Activation::gelu_tanh>, kernel<T, Activation::silu>, kernel<T, Activation::tanh>, \
   kernel<T, Activation::sigmoid>}
    .bias_forward = TW_BY_ACTIVATION(bias_forward),
    .bias_backward = TW_BY_ACTIVATION(bias_backward),
#undef TW_BY_ACTIVATION
    .clamp = clamp<T>,
    .clamp_backward = clamp_backward<T>,
    .dropout = dropout<T>,
};

}  // namespace pointwise

extern const PointwiseKernels pointwise_kernels;
const PointwiseKernels pointwise_kernels = {
    pointwise::kTable<float>,           pointwise::kTable<double>,
    pointwise::kGated<float>,           pointwise::kGated<double>,
    pointwise::kGated<bfloat16>,        pointwise::convert<bfloat16, float>,
    pointwise::convert<float, bfloat16>};

}  // namespace tilework::TW_ISA
