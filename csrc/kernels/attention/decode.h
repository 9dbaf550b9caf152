// Few queries against many keys, as in decoding: keys and values are read once, as they lie, for
// all rows of the heads that share them, and nothing is packed.
//
// The keys are cut in pieces of one size, whatever the batch and the threads are, so that few heads
// keep many threads busy and the bits of a row depend on its own sequence alone. A piece leaves a
// state, the largest score, the sum and the mix of values under it, and the states of a row merge
// in the order of the keys.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "kernels/attention/setting.h"

namespace tilework::attention {

// 128 KiB of keys of 64 float32, and as much of values: the start of a piece is nothing beside it.
inline constexpr int64_t kPieceKeys = 512;

inline bool decodes(const AttentionShape& s) { return s.queries < kPackedQueries; }

template <class T>
const FewTable<T>& few_table(const AttentionKernels& kernels) {
  if constexpr (std::is_same_v<T, float>)
    return kernels.few_f32;
  else if constexpr (std::is_same_v<T, double>)
    return kernels.few_f64;
  else
    return kernels.few_bf16;
}

// Nanoseconds of it on one thread: memory gives some ten bytes a nanosecond.
template <class T>
double decode_cost_ns(const AttentionShape& s) {
  const auto n = [](int64_t x) { return static_cast<double>(x); };
  const double keys = n(s.batch) * n(s.kv_heads) * n(s.keys);
  const double rows = n(s.heads / std::max<int64_t>(s.kv_heads, 1)) * n(s.queries);
  return keys * n(s.width + s.value_width) * (sizeof(T) / 10.0 + rows / 60);
}

template <class T>
class Decode {
  using W = Wide<T>;

 public:
  Decode(const Setting<T>& setting, const AttentionForward<T>& args,
         const AttentionTable<W>& kernels, const FewTable<T>& products)
      : t_(setting),
        a_(args),
        kernels_(kernels),
        products_(products),
        pieces_(std::max<int64_t>(1, ceil_div(s().keys, kPieceKeys))),
        rows_(t_.group * s().queries),
        state_size_(rows_ * (2 + s().value_width)),
        states_(static_cast<size_t>(tasks() * state_size_)) {}

  int64_t heads() const { return s().batch * s().kv_heads; }
  int64_t tasks() const { return heads() * pieces_; }

  // One piece of the keys of one head.
  void run(int64_t task) const {
    const int64_t head = task / pieces_, key = task % pieces_ * kPieceKeys;
    const int64_t b = head / s().kv_heads, kv = head % s().kv_heads;
    const int64_t size = std::min(kPieceKeys, s().keys - key);
    W *const top = states_.get() + task * state_size_, *const sum = top + rows_;
    std::fill_n(top, rows_, std::numeric_limits<W>::lowest());
    std::fill_n(sum, rows_ * (1 + s().value_width), W(0));
    const int64_t seen = t_.seen(0, s().queries, key, size);
    if (seen > 0) attend(b, kv, key, seen, top, sum, sum + rows_);
  }

  // The states of one head's rows become results.
  void merge(int64_t head) const {
    const int64_t b = head / s().kv_heads, kv = head % s().kv_heads, cols = s().value_width;
    const Scratch<W> room(kOwnSums<T> ? cols : 0);
    for (int64_t r = 0; r < rows_; ++r) {
      const int64_t h = kv * t_.group + r / s().queries, i = r % s().queries;
      const W* const first = states_.get() + head * pieces_ * state_size_;
      W top = std::numeric_limits<W>::lowest(), sum = 0;
      for (int64_t p = 0; p < pieces_; ++p) top = std::max(top, first[p * state_size_ + r]);
      W* out;
      if constexpr (kOwnSums<T>)
        out = room.get();
      else
        out = a_.out.at(b, h, i);
      std::fill_n(out, cols, W(0));
      for (int64_t p = 0; p < pieces_; ++p) {
        const W *const state = first + p * state_size_, *const mix = state + 2 * rows_ + r * cols;
        const W factor = std::exp(state[r] - top);
        sum += factor * state[rows_ + r];
        for (int64_t c = 0; c < cols; ++c) out[c] += factor * mix[c];
      }
      const W whole = sum == 0 ? W(0) : 1 / sum;
      for (int64_t c = 0; c < cols; ++c) out[c] *= whole;
      if constexpr (kOwnSums<T>) narrow_rows(out, cols, 1, cols, a_.out.at(b, h, i), 0);
      a_.log_sums[(b * s().heads + h) * s().queries + i] = top + std::log(sum);
    }
  }

 private:
  const AttentionShape& s() const { return t_.s; }

  void attend(int64_t b, int64_t kv, int64_t key, int64_t keys, W* top, W* sum, W* mix) const {
    const int64_t width = s().width, cols = s().value_width, row = kPieceKeys;
    const Scratch<W> all(static_cast<size_t>(rows_ * (width + row + 1) + 3 * row));
    W *const q = all.get(), *const scores = q + rows_ * width, *const factor = scores + rows_ * row;
    for (int64_t r = 0; r < rows_; ++r) {
      const T* from = a_.q.at(b, kv * t_.group + r / s().queries, r % s().queries);
      for (int64_t c = 0; c < width; ++c) q[r * width + c] = wide(from[c]);
    }
    for_each_run(a_.k, a_.pages, b, kv, key, keys, [&](const T* k, int64_t j, int64_t count) {
      products_.dots({q, width, rows_, k, a_.k.row, count, width, row}, scores + j);
    });
    for (int64_t g = 0; g < t_.group; ++g) {
      const int64_t r = g * s().queries;
      ScoreBlock<W> block = t_.block(b, kv * t_.group + g, 0, s().queries, key, keys,
                                     scores + r * row, factor + rows_);
      block.row = row;
      kernels_.weights(block, top + r, sum + r, factor + r);
    }
    for_each_run(a_.v, a_.pages, b, kv, key, keys, [&](const T* v, int64_t j, int64_t count) {
      products_.mixes({scores + j, row, rows_, v, a_.v.row, count, cols, cols}, j > 0, mix);
    });
    if (hides(a_.rule) && !kernels_.finite(mix, cols, rows_, cols)) {
      std::fill_n(mix, rows_ * cols, W(0));
      for_each_run(a_.v, a_.pages, b, kv, key, keys, [&](const T* v, int64_t j, int64_t count) {
        mix_what_is_seen(scores + j, row, v, a_.v.row, count, cols, mix);
      });
    }
  }

  // As `mixes`, but that a weight of zero takes no part: what it would meet may be hidden, and not
  // finite.
  void mix_what_is_seen(const W* weights, int64_t row, const T* v, int64_t v_row, int64_t keys,
                        int64_t cols, W* mix) const {
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t j = 0; j < keys; ++j) {
        const W weight = weights[r * row + j];
        if (weight == 0) continue;
        for (int64_t c = 0; c < cols; ++c) mix[r * cols + c] += weight * wide(v[j * v_row + c]);
      }
  }

  const Setting<T>& t_;
  const AttentionForward<T>& a_;
  const AttentionTable<W>& kernels_;
  const FewTable<T>& products_;
  const int64_t pieces_, rows_, state_size_;
  const Scratch<W> states_;
};

}  // namespace tilework::attention
