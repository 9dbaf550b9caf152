// Random tensors and dropout by the CPU's stream (kernels/random/random.h), the same words to the
// bit. A thread has the four words of one counter, so that none is made twice: ten rounds of two
// products an element's four bytes, which hides under the stores of a card.
//
// Normals are computed in double, as on the CPU, whose polynomials these are: float32 is then right
// but for rare ties, and no slow path of sincos takes a stack.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// dropout_*           40, 40, 43  0       0        256      6, 6, 5       LDG.128 STG.128
// normal_*            34, 34, 32  0       0        256      6, 6, 8       STG.128
// *                   20, 22, 22  0       0        256      8, 8, 8       STG.128
#pragma once

#include "base/elementwise.cuh"
#include "base/maths.cuh"
#include "base/philox.h"
#include "base/random_words.h"

namespace tilework::random_cuda {

// A Python number of 64 bits comes with a sign.
__device__ inline Philox4 words_of(int64_t seed, int64_t call, int64_t block) {
  return philox4x32(philox_key(static_cast<uint64_t>(seed)),
                    {static_cast<uint64_t>(block), static_cast<uint64_t>(call)});
}

// Of element p and the N - 1 behind it, where p is a multiple of N.
template <int N>
__device__ Pack<uint32_t, N> words_at(int64_t seed, int64_t call, int64_t p) {
  const Philox4 four = words_of(seed, call, p / kPhiloxWords);
  Pack<uint32_t, N> made;
  if constexpr (N == kPhiloxWords) {
    for (int i = 0; i < N; ++i) made.at[i] = four.word[i];
  } else {
    static_assert(N == 1);
    const int which = static_cast<int>(p % kPhiloxWords);
    made.at[0] = which == 0   ? four.word[0]
                 : which == 1 ? four.word[1]
                 : which == 2 ? four.word[2]
                              : four.word[3];
  }
  return made;
}

// A counter's elements, made by make(words), at y: all of them, or what the array has room for.
template <int kElements, class T, class Make>
__device__ void fill_by_counters(T* y, int64_t n, int64_t seed, int64_t call, Make make) {
  const int64_t block = static_cast<int64_t>(blockIdx.x) * kElementThreads + threadIdx.x;
  const int64_t first = block * kElements;
  if (first >= n) return;
  const Pack<T, kElements> made = make(words_of(seed, call, block));
  if (first + kElements <= n) return store_pack(y + first, made);
#pragma unroll
  for (int i = 0; i < kElements; ++i) {
    if (first + i < n) y[first + i] = made.at[i];
  }
}

__device__ inline Pack<uint32_t, 4> as_bits(const Philox4& w) {
  return {{w.word[0], w.word[1], w.word[2], w.word[3]}};
}
__device__ inline uint64_t joined(const Philox4& w, int i) {
  return joined_words(w.word[2 * i], w.word[2 * i + 1]);
}

struct Uniform {
  static __device__ Pack<float, 4> of(const Philox4& w, float) {
    Pack<float, 4> made;
    for (int i = 0; i < 4; ++i) made.at[i] = uniform_float(w.word[i]);
    return made;
  }
  static __device__ Pack<double, 2> of(const Philox4& w, double) {
    return {{uniform_double(joined(w, 0)), uniform_double(joined(w, 1))}};
  }
};

// c[0] + c[1] z + ..., the highest power first.
template <int N>
__device__ double polynomial(double z, const double (&c)[N]) {
  double sum = c[N - 1];
#pragma unroll
  for (int i = N - 2; i >= 0; --i) sum = fma(sum, z, c[i]);
  return sum;
}

// r cos(2 pi t) and r sin(2 pi t): quarter turns come off exactly.
__device__ inline Pack<double, 2> on_circle(double r, double t) {
  constexpr TurnPolynomials of = turn_polynomials();
  const double quarters = rint(t * 4.0);
  const double f = t - quarters * 0.25, z = f * f;
  const double sine = fma(f, of.two_pi, f * fma(z, polynomial(z, of.sine), of.two_pi_low));
  const double cosine = fma(z, polynomial(z, of.cosine), 1.0);
  const int quarter = static_cast<int>(quarters);
  const double x = quarter & 1 ? sine : cosine, y = quarter & 1 ? cosine : sine;
  return {{(quarter + 1) & 2 ? -(r * x) : r * x, quarter & 2 ? -(r * y) : r * y}};
}
__device__ inline Pack<double, 2> normal_pair(UnitPair pair) {
  return on_circle(sqrt(-2.0 * log(pair.u)), pair.t);
}
struct Normal {
  static __device__ Pack<float, 4> of(const Philox4& w, float) {
    const Pack<double, 2> a = normal_pair(unit_pair(w.word[0], w.word[1]));
    const Pack<double, 2> b = normal_pair(unit_pair(w.word[2], w.word[3]));
    return {{static_cast<float>(a.at[0]), static_cast<float>(a.at[1]), static_cast<float>(b.at[0]),
             static_cast<float>(b.at[1])}};
  }
  static __device__ Pack<double, 2> of(const Philox4& w, double) {
    return normal_pair(unit_pair(joined(w, 0), joined(w, 1)));
  }
};

// y = x scale where the word of its position reaches the threshold, else 0, NaN too.
template <class T>
__device__ void dropout(T* y, const T* x, int64_t threshold, T scale, int64_t seed, int64_t call,
                        int64_t n) {
  fill_flat<kPhiloxWords>(y, n, at_packs(y, x), [=](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    const auto words = words_at<N>(seed, call, i);
    auto pack = load_pack<N>(x + i);
    for (int k = 0; k < N; ++k) {
      pack.at[k] = static_cast<int64_t>(words.at[k]) >= threshold ? pack.at[k] * scale : T{0};
    }
    return pack;
  });
}

TW_KERNEL(kElementThreads, random_bits, uint32_t* y, int64_t seed, int64_t call, int64_t n) {
  fill_by_counters<4>(y, n, seed, call, as_bits);
}
#define TW_RANDOM(type, elements)                                                              \
  TW_KERNEL(kElementThreads, uniform_##type, type* y, int64_t seed, int64_t call, int64_t n) { \
    fill_by_counters<elements>(y, n, seed, call,                                               \
                               [](const Philox4& w) { return Uniform::of(w, type{}); });       \
  }                                                                                            \
  TW_KERNEL(kElementThreads, normal_##type, type* y, int64_t seed, int64_t call, int64_t n) {  \
    fill_by_counters<elements>(y, n, seed, call,                                               \
                               [](const Philox4& w) { return Normal::of(w, type{}); });        \
  }                                                                                            \
  TW_KERNEL(kElementThreads, dropout_##type, type* y, const type* x, int64_t threshold,        \
            double scale, int64_t seed, int64_t call, int64_t n) {                             \
    dropout(y, x, threshold, static_cast<type>(scale), seed, call, n);                         \
  }
TW_RANDOM(float, 4)
TW_RANDOM(double, 2)
#undef TW_RANDOM

}  // namespace tilework::random_cuda
