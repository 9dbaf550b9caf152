// Rows of attention by the definition, one warp a row: what a block falls back to where some scores
// are hidden and its result is not finite. A weight of zero takes no part here, so that what it
// meets may be NaN or Inf; tiles, whose products take all of a row, would multiply it by zero.
#pragma once

#include "kernels/attention/attention_rule.cuh"

namespace tilework::attention_cuda {

template <class T>
__device__ Wide<T> dot_by_warp(const T* a, const T* b, int64_t width) {
  Wide<T> sum = 0;
  for (int64_t at = threadIdx.x % kWarpLanes; at < width; at += kWarpLanes) {
    sum += wide(a[at]) * wide(b[at]);
  }
  return over_warp<Plus>(sum);
}

// A row of D elements at most, spread over a warp.
template <class T, int D>
struct WarpRow {
  using W = Wide<T>;
  static constexpr int kEach = D / kWarpLanes;
  W at[kEach] = {};

  __device__ void add(W by, const T* row, int width) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (lane + i * kWarpLanes < width) at[i] += by * wide(row[lane + i * kWarpLanes]);
    }
  }
  __device__ void write(T* row, int width) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (lane + i * kWarpLanes < width) row[lane + i * kWarpLanes] = narrowed<T>(at[i]);
    }
  }
};

// body(i) for i of [0, count), each by one of the block's warps.
template <class Body>
__device__ void by_warps(int count, Body body) {
  const int warps = static_cast<int>(blockDim.x) / kWarpLanes;
  for (int i = static_cast<int>(threadIdx.x) / kWarpLanes; i < count; i += warps) body(i);
}

// The result's row of query i, whose log_sum is known.
template <int D, class T>
__device__ void careful_result(const Call<T>& c, const HeadRows<T>& out, int64_t b, int64_t h,
                               int64_t i, Wide<T> log_sum) {
  using W = Wide<T>;
  WarpRow<T, D> sum;
  const Span seen = keys_seen(c, i, 1);
  for (int64_t j = seen.begin; j < seen.end; ++j) {
    const Rule<W> rule(c, b, h, i, 1, j, 1);
    W chain;
    const W product = dot_by_warp(c.q.at(b, h, i), c.k.at(b, h / c.group, j), c.width);
    W weight = Rule<W>::weight(rule.score(product, 0, 0, chain), log_sum);
    if (rule.drops()) weight = rule.dropped(weight, 0, 0);
    if (weight != W(0)) sum.add(weight, c.v.at(b, h / c.group, j), static_cast<int>(c.value_width));
  }
  sum.write(out.at(b, h, i), static_cast<int>(c.value_width));
}

template <class T>
__device__ typename Rule<Wide<T>>::Gradient careful_gradient(const Call<T>& c,
                                                             const Gradients<T>& g, int64_t b,
                                                             int64_t h, int64_t i, int64_t j) {
  const Rule<Wide<T>> rule(c, b, h, i, 1, j, 1);
  const int64_t row = (b * c.heads + h) * c.queries + i;
  const auto product = dot_by_warp(c.q.at(b, h, i), c.k.at(b, h / c.group, j), c.width);
  const auto grad = dot_by_warp(g.grad.at(b, h, i), c.v.at(b, h / c.group, j), c.value_width);
  return rule.gradient(product, grad, g.log_sums[row], g.dots[row], 0, 0);
}

// The gradient's row of query i.
template <int D, class T>
__device__ void careful_query(const Call<T>& c, const Gradients<T>& g, const HeadRows<T>& dq,
                              int64_t b, int64_t h, int64_t i) {
  WarpRow<T, D> sum;
  const Span seen = keys_seen(c, i, 1);
  for (int64_t j = seen.begin; j < seen.end; ++j) {
    const auto found = careful_gradient(c, g, b, h, i, j);
    if (found.product != 0) {
      sum.add(found.product, c.k.at(b, h / c.group, j), static_cast<int>(c.width));
    }
  }
  sum.write(dq.at(b, h, i), static_cast<int>(c.width));
}

// Those of key and value j, over all heads and queries that see them.
template <int D, class T>
__device__ void careful_key(const Call<T>& c, const Gradients<T>& g, const HeadRows<T>& dk,
                            const HeadRows<T>& dv, int64_t b, int64_t kv, int64_t j) {
  WarpRow<T, D> of_key, of_value;
  const Span seeing = queries_seeing(c, j, 1);
  for (int64_t h = kv * c.group; h < (kv + 1) * c.group; ++h) {
    for (int64_t i = seeing.begin; i < seeing.end; ++i) {
      const auto found = careful_gradient(c, g, b, h, i, j);
      if (found.weight != 0) {
        of_value.add(found.weight, g.grad.at(b, h, i), static_cast<int>(c.value_width));
      }
      if (found.product != 0) {
        of_key.add(found.product, c.q.at(b, h, i), static_cast<int>(c.width));
      }
    }
  }
  of_key.write(dk.at(b, kv, j), static_cast<int>(c.width));
  of_value.write(dv.at(b, kv, j), static_cast<int>(c.value_width));
}

}  // namespace tilework::attention_cuda
