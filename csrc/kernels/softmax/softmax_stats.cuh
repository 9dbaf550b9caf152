// What softmax and cross entropy need to know of a row or a column.
//
// A maximum is never below the lowest finite number, so that x - maximum is -Inf and not NaN where
// all are -Inf so far. It may lose a NaN, which comes back through the sum.
#pragma once

#include "base/real.cuh"
#include "base/row.cuh"

namespace tilework::softmax_cuda {

// Of numbers: the largest, and the sum of e^(x - largest).
template <class T>
struct Stats {
  T most = kLowest<T>, sum = 0;

  __device__ void add(T x) {
    const T e = real::exp(-maths::abs(x - most));
    if (x > most) {
      sum = sum * e + (T{1} + (x - x));  // NaN of infinity
      most = x;
    } else {
      sum += e;
    }
  }
  __device__ void add(Stats other) {
    if (other.most > most) {
      sum = sum * real::exp(most - other.most) + other.sum;
      most = other.most;
    } else {
      sum += other.sum * real::exp(other.most - most);
    }
  }
  __device__ T normal(T x) const { return real::exp(x - most) * (T{1} / sum); }
  // Apart: beside a large maximum the logarithm would be rounded away.
  __device__ T log_normal(T x) const { return (x - most) - maths::log(sum); }
};

// Of a row, the same in all threads of its team. Where it is held it is left as e^(x - largest),
// unless Keeps.
template <bool Keeps, class T, int Threads, int Width, int Held>
__device__ Stats<T> stats_of(Row<T, Threads, Width, Held>& row) {
  T most[1] = {kLowest<T>};
  row.each([&](const auto& pack, int64_t) {
#pragma unroll
    for (int i = 0; i < Width; ++i) most[0] = LargerNumber{}(most[0], pack.at[i]);
  });
  Team<Threads>::template join<LargerNumber>(most, kLowest<T>);
  T strand[Width] = {};
  row.each([&](auto& pack, int64_t) {
#pragma unroll
    for (int i = 0; i < Width; ++i) {
      const T e = real::exp(pack.at[i] - most[0]);
      strand[i] += e;
      if (!Keeps) pack.at[i] = e;
    }
  });
  return {most[0], Team<Threads>::sum(sum_of(strand))};
}
template <bool Keeps, class T, int Threads, int Width>
__device__ Stats<T> stats_of(Row<T, Threads, Width, 0>& row) {
  Stats<T> own;
  row.each([&](const auto& pack, int64_t) {
    T most = own.most, e[Width];
#pragma unroll
    for (int i = 0; i < Width; ++i) most = LargerNumber{}(most, pack.at[i]);
    if (most > own.most) own = {most, own.sum * real::exp(own.most - most)};
#pragma unroll
    for (int i = 0; i < Width; ++i) e[i] = real::exp(pack.at[i] - own.most);
    own.sum += sum_of(e);
  });
  T most[1] = {own.most};
  Team<Threads>::template join<LargerNumber>(most, kLowest<T>);
  return {most[0], Team<Threads>::sum(own.sum * real::exp(own.most - most[0]))};
}

}  // namespace tilework::softmax_cuda
