// What the driver's passes over attention share: sizes of blocks, rows as they are computed with,
// and what a call knows of itself.
#pragma once

#include <algorithm>
#include <type_traits>

#include "base/random_words.h"
#include "base/widen.h"
#include "kernels/attention/attention.h"
#include "kernels/gemm/gemm.h"

namespace tilework::attention {

// A block of scores: 128 KiB of float32, of which backward holds two, beside what one block of keys
// and of values takes of an L2.
inline constexpr int64_t kQueries = 64, kKeys = 512;
// Where rows see few keys of a block: what the product with values may be cut to, and what a block
// has where keys far back are hidden too.
inline constexpr int64_t kFewKeys = 128;
// Queries of a task: enough to pay for packing keys and values.
inline constexpr int64_t kTaskQueries = 256;
// Below so many queries packing does not pay.
inline constexpr int64_t kPackedQueries = 8;
// Tasks that a forward pass is cut into at least, if it has the queries for it.
inline constexpr int64_t kTasks = 32;

template <class W>
bool hides(const ScoreRule<W>& r) {
  return r.bias.data || r.left < kFarAway || r.right < kFarAway;
}

// Rows of a head as W: where they lie, or widened.
template <class W>
struct Rows {
  const W* data;
  int64_t row;

  Rows from(int64_t i) const { return {data + i * row, row}; }
};
template <class W>
Rows<W> widened(const HeadRows<const W>& x, int64_t b, int64_t h, int64_t i, int64_t, int64_t, W*) {
  return {x.at(b, h, i), x.row};
}
inline Rows<float> widened(const HeadRows<const bfloat16>& x, int64_t b, int64_t h, int64_t i,
                           int64_t rows, int64_t cols, float* room) {
  for (int64_t r = 0; r < rows; ++r) {
    const bfloat16* from = x.at(b, h, i + r);
    for (int64_t c = 0; c < cols; ++c) room[r * cols + c] = to_float(from[c]);
  }
  return {room, cols};
}

inline void narrow_rows(const float* x, int64_t row, int64_t rows, int64_t cols, bfloat16* y,
                        int64_t y_row) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) y[r * y_row + c] = to_bfloat16(x[r * row + c]);
}

// body(block, i, j, count) where keys key + j to key + j + count lie at one stride, in rows from i
// on of a page, or of batch b: at HeadRows' at(block, head, i).
template <class Body>
void for_each_run(const PageTable& pages, int64_t b, int64_t key, int64_t keys, Body body) {
  if (!pages.table) return body(b, key, int64_t{0}, keys);
  for (int64_t j = 0; j < keys;) {
    const int64_t i = (key + j) % pages.size, count = std::min(keys - j, pages.size - i);
    body(pages.table[b * pages.row + (key + j) / pages.size], i, j, count);
    j += count;
  }
}

// All `keys` rows of a head: where they lie, or gathered from pages and widened.
template <class T>
Rows<Wide<T>> all_rows(const HeadRows<const T>& x, const PageTable& pages, int64_t b, int64_t h,
                       int64_t keys, int64_t cols, Wide<T>* room) {
  if (!pages.table) return widened(x, b, h, 0, keys, cols, room);
  for_each_run(pages, b, 0, keys, [&](int64_t block, int64_t i, int64_t j, int64_t count) {
    for (int64_t r = 0; r < count; ++r)
      for (int64_t c = 0; c < cols; ++c) room[(j + r) * cols + c] = wide(x.at(block, h, i + r)[c]);
  });
  return {room, cols};
}

// Where a result is summed: in place, or in room of its own that is rounded at the end.
template <class T>
inline constexpr bool kOwnSums = !std::is_same_v<T, Wide<T>>;

template <class W>
void clear(W* x, int64_t row, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows; ++i) std::fill_n(x + i * row, cols, W(0));
}

// What a pass and its tasks know.
template <class T>
struct Setting {
  using W = Wide<T>;
  AttentionShape s;
  ScoreRule<W> rule;
  AttentionDropout dropout;
  MatmulPrecision precision = matmul_precision();
  bool limited = rule.right < kFarAway || rule.left < kFarAway;
  int64_t keys_at_once = std::min(s.keys, rule.left < kFarAway ? kFewKeys : kKeys);
  // Rows a power of two apart would share a few sets of an L1.
  int64_t score_row = keys_at_once + 64 / int64_t{sizeof(W)};
  int64_t values_at_once = limited ? std::min(s.keys, kFewKeys) : keys_at_once;
  int64_t queries_at_once = std::min(s.queries, kQueries);
  int64_t group = s.heads / s.kv_heads;
  bool packs = s.queries >= kPackedQueries;

  // The keys of [key, key + size) that some of the queries may see: none where it is not positive.
  int64_t seen(int64_t query, int64_t queries, int64_t key, int64_t size) const {
    if (query + rule.diagonal - rule.left >= key + size) return 0;
    return std::min(size, query + queries + rule.diagonal + rule.right - key);
  }

  ScoreBlock<W> block(int64_t b, int64_t h, int64_t query, int64_t queries, int64_t key,
                      int64_t keys, W* scores, W* room) const {
    const ScoreBias<W>& bias = rule.bias;
    const W* first = nullptr;
    if (bias.data)
      first = bias.data + b * bias.batch + h * bias.head + query * bias.row + key * bias.col;
    const auto position =
        static_cast<uint64_t>(((b * s.heads + h) * s.queries + query) * s.keys + key);
    return {.scores = scores,
            .row = score_row,
            .rows = queries,
            .query = query,
            .keys = keys,
            .key = key,
            .scale = rule.scale,
            .softcap = rule.softcap,
            .slope = rule.slopes ? rule.slopes[h] : W(0),
            .bias = first,
            .bias_row = bias.row,
            .bias_col = bias.col,
            .diagonal = rule.diagonal,
            .left = rule.left,
            .right = rule.right,
            .drops = dropout.p > 0,
            .threshold =
                static_cast<uint32_t>(std::min<uint64_t>(dropout_threshold(dropout.p), UINT32_MAX)),
            .kept = dropout.p < 1 ? static_cast<W>(1 / (1 - dropout.p)) : W(0),
            .seed = dropout.seed,
            .call = dropout.call,
            .position = position,
            .position_row = static_cast<uint64_t>(s.keys),
            .room = room};
  }
};

}  // namespace tilework::attention
