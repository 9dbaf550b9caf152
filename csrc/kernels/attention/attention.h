// Attention: out = softmax(rule(Q K^T)) V for each head, in memory that grows with the rows alone.
//
// A task takes some queries of the heads that share one head of keys. Blocks of queries meet blocks
// of keys; a block of scores lives in L2 and is never written out. A row's softmax has a state, its
// largest score and the sum of exponentials so far, which the next block of keys brings up to date
// (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al.,
// "FlashAttention", 2022). What backward needs is the logarithm of each row's sum.
//
// A score that is hidden counts for nothing, whatever Q, K and V hold there, NaN included. A row to
// which all is hidden gives zeros, and zero gradients. Anything else that is not finite goes where
// the definition takes it. Results do not depend on the number of threads: the cut goes by shape.
#pragma once

#include "base/types.h"

namespace tilework {

struct AttentionShape {
  // Queries of head h meet the keys and values of head h / (heads / kv_heads).
  int64_t batch, heads, kv_heads, queries, keys;
  int64_t width, value_width;  // of a query and a key; of a value and a row of the result
};

// Rows of each head, (batch, heads, rows, width). The last axis is adjacent; other strides count
// elements and may be anything, but outputs overlap nothing.
template <class T>
struct HeadRows {
  T* data;
  int64_t batch, head, row;

  T* at(int64_t b, int64_t h, int64_t i) const { return data + b * batch + h * head + i * row; }
};

// Where the keys and values of a call lie in pages: key j of batch b is row j % size of page
// table[b * row + j / size], and HeadRows' batch is a page. Without a table it is a batch.
struct PageTable {
  const int64_t* table = nullptr;
  int64_t row = 0, size = 1;
};

// Added to the scores, (batch, heads, queries, keys), in what they are computed in. -Inf hides a
// score. Strides count elements, and are 0 where it is broadcast; `col` is 0 or 1.
template <class W>
struct ScoreBias {
  const W* data = nullptr;
  int64_t batch = 0, head = 0, row = 0, col = 0;
};

inline constexpr int64_t kFarAway = int64_t{1} << 60;

// From a product q . k to what the exponential takes:
//     s = scale * product;  s = softcap * tanh(s / softcap);  s += slope * (j - i - diagonal);
//     s += bias;  hidden unless -left <= j - i - diagonal <= right
// for query i and key j.
template <class W>
struct ScoreRule {
  W scale = 1;
  W softcap = 0;              // 0: none
  const W* slopes = nullptr;  // one a head (ALiBi), or none
  ScoreBias<W> bias;
  int64_t diagonal = 0;  // the key that stands beside query 0
  int64_t left = kFarAway, right = kFarAway;
};

// Weight (b, h, i, j) is kept where the Philox word of its place in dense order reaches
// round(p * 2^32), and scaled by 1 / (1 - p).
struct AttentionDropout {
  double p = 0;
  uint64_t seed = 0, call = 0;
};

template <class T>
struct AttentionForward {
  AttentionShape shape;
  HeadRows<const T> q, k, v;
  ScoreRule<Wide<T>> rule;
  AttentionDropout dropout;
  HeadRows<T> out;
  // The logarithm of each row's sum of exponentials, (batch, heads, queries); -Inf where all is
  // hidden.
  Wide<T>* log_sums;
  PageTable pages = {};
};

template <class T>
struct AttentionBackward {
  AttentionShape shape;
  HeadRows<const T> q, k, v, out, grad;
  ScoreRule<Wide<T>> rule;
  AttentionDropout dropout;
  const Wide<T>* log_sums;
  HeadRows<T> dq, dk, dv;
};

// Several calls of their own shapes, whose tasks share the threads: sequences of a batch. Their
// bits are those of each alone.
template <class T>
void attention_forward(const AttentionForward<T>* calls, int64_t count);
template <class T>
void attention_backward(const AttentionBackward<T>* calls, int64_t count);
template <class T>
void attention_forward(const AttentionForward<T>& args) {
  attention_forward(&args, 1);
}
template <class T>
void attention_backward(const AttentionBackward<T>& args) {
  attention_backward(&args, 1);
}

// For the GIL: nanoseconds of a forward pass on one thread.
template <class T>
double attention_cost_ns(const AttentionShape& shape);

// --- What a variant provides ---

// A block of scores: those of `rows` queries from `query` on, for `keys` keys from `key` on.
template <class W>
struct ScoreBlock {
  W* scores;
  int64_t row;  // elements from one query's scores to the next one's
  int64_t rows, query, keys, key;
  W scale, softcap, slope;
  const W* bias;  // of its first element, or null
  int64_t bias_row, bias_col;
  int64_t diagonal, left, right;
  // Of dropout, where `drops`.
  bool drops;
  uint32_t threshold;
  W kept;
  uint64_t seed, call;
  uint64_t position, position_row;  // of the block's first weight; from one row to the next
  W* room;                          // for one row of the block, thrice
};

template <class W>
struct AttentionTable {
  // The products become weights e^(s - top), those dropped zero; top[i] and sum[i] are brought up
  // to date, and factor[i] is what the results so far are to be multiplied by.
  void (*weights)(const ScoreBlock<W>& block, W* top, W* sum, W* factor);
  // Products and, in `grads`, which lies as the scores do, the gradients of weights: these become
  // gradients of products, and the products the weights, those dropped zero. `dots` are the sums of
  // each row's result times its gradient.
  void (*gradients)(const ScoreBlock<W>& block, W* grads, const W* log_sums, const W* dots);
  // x[i, :] *= factor[i].
  void (*scale_rows)(W* x, int64_t row, int64_t rows, int64_t cols, const W* factor);
  // The sums of x[i, :] * y[i, :].
  void (*dots)(const W* x, int64_t x_row, const W* y, int64_t y_row, int64_t rows, int64_t cols,
               W* sums);
  bool (*finite)(const W* x, int64_t row, int64_t rows, int64_t cols);
};

// Few rows x, as they are computed with, and the rows y of some keys or values as they lie.
template <class T>
struct FewRows {
  const Wide<T>* x;
  int64_t x_row, rows;
  const T* y;
  int64_t y_row, keys, cols;
  int64_t out_row;
};

template <class T>
struct FewTable {
  // out[r, key] = x[r, :] . y[key, :]
  void (*dots)(const FewRows<T>& p, Wide<T>* out);
  // out[r, :] = the sum over keys of x[r, key] y[key, :]; with `add`, what is there and that.
  void (*mixes)(const FewRows<T>& p, bool add, Wide<T>* out);
};

struct AttentionKernels {
  AttentionTable<float> f32;
  AttentionTable<double> f64;
  FewTable<float> few_f32;
  FewTable<double> few_f64;
  FewTable<bfloat16> few_bf16;
};

}  // namespace tilework
