// Few queries against many keys, as in decoding: keys and values are read once, as they lie, for
// all rows of the heads that share them, and nothing is packed.
//
// The keys are cut in pieces of one size, whatever the batch and the threads are, so that few heads
// keep many threads busy and the bits of a row depend on its own sequence alone. A piece leaves a
// state, the largest score, the sum and the mix of values under it, and the states of a row merge
// in the order of the keys.
//
// A page holds all heads, so that a task over pages takes several: one's rows of a page are soon
// read, and where the next page lies the hardware's prefetcher cannot know.
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
// Rows of scores of a task over pages, 64 KiB of float32; and its tasks, where it has as many.
inline constexpr int64_t kPagedRows = 32, kPagedTasks = 4;

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
        heads_at_once_(heads_of_task()),
        groups_(ceil_div(s().kv_heads, heads_at_once_)),
        state_size_(rows_ * (2 + s().value_width)),
        states_(static_cast<size_t>(heads() * pieces_ * state_size_)) {}

  int64_t heads() const { return s().batch * s().kv_heads; }
  int64_t tasks() const { return s().batch * groups_ * pieces_; }

  // One piece of the keys of some heads.
  void run(int64_t task) const {
    const int64_t piece = task % pieces_, key = piece * kPieceKeys;
    const int64_t b = task / pieces_ / groups_, first = task / pieces_ % groups_ * heads_at_once_;
    const int64_t end = std::min(first + heads_at_once_, s().kv_heads);
    for (int64_t kv = first; kv < end; ++kv) {
      W* const top = state(b * s().kv_heads + kv, piece);
      std::fill_n(top, rows_, std::numeric_limits<W>::lowest());
      std::fill_n(top + rows_, state_size_ - rows_, W(0));
    }
    const int64_t seen = t_.seen(0, s().queries, key, std::min(kPieceKeys, s().keys - key));
    if (seen > 0) attend(b, first, end, piece, seen);
  }

  // The states of one head's rows become results.
  void merge(int64_t head) const {
    const int64_t b = head / s().kv_heads, kv = head % s().kv_heads, cols = s().value_width;
    const Scratch<W> room(kOwnSums<T> ? cols : 0);
    for (int64_t r = 0; r < rows_; ++r) {
      const int64_t h = kv * t_.group + r / s().queries, i = r % s().queries;
      const W* const first = state(head, 0);
      W top = std::numeric_limits<W>::lowest(), sum = 0;
      for (int64_t p = 0; p < pieces_; ++p) top = std::max(top, first[p * state_size_ + r]);
      W* out;
      if constexpr (kOwnSums<T>)
        out = room.get();
      else
        out = a_.out.at(b, h, i);
      std::fill_n(out, cols, W(0));
      for (int64_t p = 0; p < pieces_; ++p) {
        const W *const own = first + p * state_size_, *const mix = own + 2 * rows_ + r * cols;
        const W factor = std::exp(own[r] - top);
        sum += factor * own[rows_ + r];
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

  int64_t heads_of_task() const {
    if (!a_.pages.table) return 1;
    const int64_t shared = s().kv_heads * s().batch * pieces_ / kPagedTasks;
    return std::clamp<int64_t>(std::min(shared, kPagedRows / std::max<int64_t>(rows_, 1)), 1,
                               std::max<int64_t>(s().kv_heads, 1));
  }

  // Largest scores, sums and mixes of a head's rows.
  W* state(int64_t head, int64_t piece) const {
    return states_.get() + (head * pieces_ + piece) * state_size_;
  }

  void attend(int64_t b, int64_t first, int64_t end, int64_t piece, int64_t keys) const {
    const int64_t width = s().width, cols = s().value_width, row = kPieceKeys;
    const int64_t key = piece * kPieceKeys, all_rows = (end - first) * rows_;
    const Scratch<W> all(static_cast<size_t>(all_rows * (width + row) + rows_ + 3 * row));
    W *const q = all.get(), *const scores = q + all_rows * width;
    W *const factor = scores + all_rows * row, *const room = factor + rows_;
    for (int64_t r = 0; r < all_rows; ++r) {
      const T* from = a_.q.at(b, first * t_.group + r / s().queries, r % s().queries);
      for (int64_t c = 0; c < width; ++c) q[r * width + c] = wide(from[c]);
    }
    // Of head kv: its first row among these.
    const auto row_of = [&](int64_t kv) { return (kv - first) * rows_; };
    const auto state_of = [&](int64_t kv) { return state(b * s().kv_heads + kv, piece); };
    for_each_run(a_.pages, b, key, keys, [&](int64_t block, int64_t i, int64_t j, int64_t count) {
      for (int64_t kv = first; kv < end; ++kv)
        products_.dots({q + row_of(kv) * width, width, rows_, a_.k.at(block, kv, i), a_.k.row,
                        count, width, row},
                       scores + row_of(kv) * row + j);
    });
    for (int64_t kv = first; kv < end; ++kv)
      for (int64_t g = 0; g < t_.group; ++g) {
        const int64_t r = g * s().queries;
        ScoreBlock<W> block = t_.block(b, kv * t_.group + g, 0, s().queries, key, keys,
                                       scores + (row_of(kv) + r) * row, room);
        block.row = row;
        kernels_.weights(block, state_of(kv) + r, state_of(kv) + rows_ + r, factor);
      }
    for_each_run(a_.pages, b, key, keys, [&](int64_t block, int64_t i, int64_t j, int64_t count) {
      for (int64_t kv = first; kv < end; ++kv)
        products_.mixes({scores + row_of(kv) * row + j, row, rows_, a_.v.at(block, kv, i), a_.v.row,
                         count, cols, cols},
                        j > 0, state_of(kv) + 2 * rows_);
    });
    for (int64_t kv = first; kv < end && hides(a_.rule); ++kv) {
      W* const mix = state_of(kv) + 2 * rows_;
      if (kernels_.finite(mix, cols, rows_, cols)) continue;
      std::fill_n(mix, rows_ * cols, W(0));
      for_each_run(a_.pages, b, key, keys, [&](int64_t block, int64_t i, int64_t j, int64_t count) {
        mix_what_is_seen(scores + row_of(kv) * row + j, row, a_.v.at(block, kv, i), a_.v.row, count,
                         cols, mix);
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
  const int64_t pieces_, rows_, heads_at_once_, groups_, state_size_;
  const Scratch<W> states_;
};

}  // namespace tilework::attention
