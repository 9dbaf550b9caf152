// What attention's kernels share: a call, the rule between products and weights, and the copies of
// rows to shared memory. On it stand attention_cores.cuh and attention_bf16.cuh.
//
// A kernel meets tiles of queries with tiles of keys. Inside a tile places are 32-bit; what a call
// knows of its whole, 64-bit, goes into the tile's Rule once.
#pragma once

#include "base/elementwise.cuh"
#include "base/maths.cuh"
#include "base/philox.h"
#include "base/ptx.cuh"
#include "base/random_words.h"
#include "base/real.cuh"
#include "base/stored.cuh"
#include "base/warp.cuh"

namespace tilework::attention_cuda {

template <class W>
__device__ bool finite(W x) {
  return x - x == W(0);
}

// Rows of each head, (batch, heads, rows, width), the last axis adjacent.
template <class T>
struct HeadRows {
  T* data;
  int64_t batch, head, row;

  __device__ T* at(int64_t b, int64_t h, int64_t i) const {
    return data + b * batch + h * head + i * row;
  }
};

// A call of attention, as attention.h has it. `group` queries' heads share one head of keys.
// `threshold` is negative without dropout. With `vectors`, rows of all inputs are whole pieces of
// 16 bytes, aligned.
template <class T>
struct Call {
  using W = Wide<T>;
  HeadRows<const T> q, k, v;
  int64_t heads, group, queries, keys, width, value_width, vectors;
  double scale, softcap;
  const W* slopes;
  const W* bias;
  int64_t bias_batch, bias_head, bias_row, bias_col;
  int64_t diagonal, left, right;
  int64_t threshold;
  double kept;
  int64_t seed, call;

  __device__ bool hides() const {
    constexpr int64_t far = int64_t{1} << 60;
    return bias != nullptr || left < far || right < far;
  }
};

#define TW_ATTENTION_PARAMETERS(type, wide)                                                        \
  const type *q, int64_t q_batch, int64_t q_head, int64_t q_row, const type *k, int64_t k_batch,   \
      int64_t k_head, int64_t k_row, const type *v, int64_t v_batch, int64_t v_head,               \
      int64_t v_row, int64_t heads, int64_t group, int64_t queries, int64_t keys, int64_t width,   \
      int64_t value_width, int64_t vectors, double scale, double softcap, const wide *slopes,      \
      const wide *bias, int64_t bias_batch, int64_t bias_head, int64_t bias_row, int64_t bias_col, \
      int64_t diagonal, int64_t left, int64_t right, int64_t threshold, double kept, int64_t seed, \
      int64_t call_number
#define TW_ATTENTION_CALL       \
  {{q, q_batch, q_head, q_row}, \
   {k, k_batch, k_head, k_row}, \
   {v, v_batch, v_head, v_row}, \
   heads,                       \
   group,                       \
   queries,                     \
   keys,                        \
   width,                       \
   value_width,                 \
   vectors,                     \
   scale,                       \
   softcap,                     \
   slopes,                      \
   bias,                        \
   bias_batch,                  \
   bias_head,                   \
   bias_row,                    \
   bias_col,                    \
   diagonal,                    \
   left,                        \
   right,                       \
   threshold,                   \
   kept,                        \
   seed,                        \
   call_number}
// What a backward pass has beside it.
template <class T>
struct Gradients {
  HeadRows<const T> grad;
  const Wide<T>*log_sums, *dots;
};
#define TW_ATTENTION_GRADIENTS(type, wide)                                                         \
  const type *grad, int64_t grad_batch, int64_t grad_head, int64_t grad_row, const wide *log_sums, \
      const wide *dots

// The places that a tile of queries, or of keys, has to meet: [begin, end).
struct Span {
  int64_t begin, end;
};
__device__ inline int64_t within(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : x > high ? high : x;
}
// Of `size` keys those that some of queries [i, i + rows) may see.
template <class T>
__device__ Span keys_seen(const Call<T>& c, int64_t i, int64_t rows) {
  const int64_t last = i + rows < c.queries ? i + rows : c.queries;
  return {within(i + c.diagonal - c.left, 0, c.keys),
          within(last + c.diagonal + c.right, 0, c.keys)};
}
// The queries that may see some of keys [j, j + rows).
template <class T>
__device__ Span queries_seeing(const Call<T>& c, int64_t j, int64_t rows) {
  const int64_t last = j + rows < c.keys ? j + rows : c.keys;
  return {within(j - c.diagonal - c.right, 0, c.queries),
          within(last - c.diagonal + c.left, 0, c.queries)};
}

// The place of a block among `heads` heads of `count` rows.
struct Place {
  int64_t b, h, first;

  __device__ Place(int64_t heads, int64_t count, int rows, bool from_last) {
    const int64_t tiles = (count + rows - 1) / rows, at = blockIdx.x;
    b = at / tiles / heads;
    h = at / tiles % heads;
    // Late queries see most under a causal rule: they come first, that none is left at the end.
    first = (from_last ? tiles - 1 - at % tiles : at % tiles) * rows;
  }
};
// How many of `rows` from `first` on there are.
__device__ inline int present(int64_t count, int64_t first, int rows) {
  return static_cast<int>(within(count - first, 0, rows));
}

// The rule for a tile: query i0 + i and key j0 + j by their small places i and j.
template <class W>
struct Rule {
  W scale, softcap, slope;
  W away;  // of key 0 from query 0's diagonal
  const W* bias;
  int64_t bias_row, bias_col;
  int low, high;  // seen where low <= j - i <= high
  int queries, keys;
  bool whole;  // all of the tile is there and seen
  bool plain;  // nothing but the scale, dropout aside
  int64_t threshold;
  W kept;
  uint64_t seed, call, place, places;  // of weight (0, 0) in dense order; from a row to the next

  template <class T>
  __device__ Rule(const Call<T>& c, int64_t b, int64_t h, int64_t i0, int rows, int64_t j0,
                  int cols)
      : scale(static_cast<W>(c.scale)),
        softcap(static_cast<W>(c.softcap)),
        slope(c.slopes != nullptr ? c.slopes[h] : W(0)),
        away(static_cast<W>(j0 - i0 - c.diagonal)),
        bias(c.bias != nullptr
                 ? c.bias + b * c.bias_batch + h * c.bias_head + i0 * c.bias_row + j0 * c.bias_col
                 : nullptr),
        bias_row(c.bias_row),
        bias_col(c.bias_col),
        threshold(c.threshold),
        kept(static_cast<W>(c.kept)),
        seed(static_cast<uint64_t>(c.seed)),
        call(static_cast<uint64_t>(c.call)),
        place(static_cast<uint64_t>(((b * c.heads + h) * c.queries + i0) * c.keys + j0)),
        places(static_cast<uint64_t>(c.keys)) {
    constexpr int64_t far = 1 << 20;  // further than places of a tile lie apart
    const int64_t beside = i0 + c.diagonal - j0;
    low = static_cast<int>(within(beside - c.left, -far, far));
    high = static_cast<int>(within(beside + c.right, -far, far));
    queries = static_cast<int>(within(c.queries - i0, 0, rows));
    keys = static_cast<int>(within(c.keys - j0, 0, cols));
    whole = queries == rows && keys == cols && low <= 1 - rows && high >= cols - 1;
    plain = softcap == W(0) && slope == W(0) && bias == nullptr;
  }

  __device__ bool drops() const { return threshold >= 0; }
  __device__ bool seen(int i, int j) const {
    return whole || (j - i >= low && j - i <= high && i < queries && j < keys);
  }

  // What the exponential takes, -Inf where it is hidden, under a plain rule.
  __device__ W plain_score(W product, int i, int j) const {
    return seen(i, j) ? product * scale : -infinity<W>();
  }
  // Under any. `slope_of_cap` gets the derivative by the scaled product.
  __device__ W score(W product, int i, int j, W& slope_of_cap) const {
    slope_of_cap = W(1);
    if (!seen(i, j)) return -infinity<W>();
    W s = product * scale;
    if (softcap != W(0)) {
      const W t = maths::tanh(s / softcap);
      s = t * softcap;
      slope_of_cap = W(1) - t * t;
    }
    if (slope != W(0)) s += slope * (away + static_cast<W>(j - i));
    if (bias != nullptr) {
      const W more = bias[i * bias_row + j * bias_col];
      s = more == -infinity<W>() ? more : s + more;
    }
    return s;
  }

  // What dropout multiplies a weight by.
  __device__ W factor(int i, int j) const {
    const uint64_t at = place + static_cast<uint64_t>(i) * places + static_cast<uint64_t>(j);
    const Philox4 four = philox4x32(philox_key(seed), philox_counter(call, at));
    // By selections: an index would send the words through memory.
    const uint32_t even = at % 4 < 2 ? four.word[0] : four.word[2];
    const uint32_t odd = at % 4 < 2 ? four.word[1] : four.word[3];
    const uint32_t word = at % 2 == 0 ? even : odd;
    return dropout_keeps(word, static_cast<uint32_t>(threshold)) ? kept : W(0);
  }
  __device__ W dropped(W weight, int i, int j) const {
    const W by = factor(i, j);
    return by == W(0) ? by : weight * by;
  }

  // A weight out of its score and the logarithm of the row's sum.
  __device__ static W weight(W score, W log_sum) {
    if (score == -infinity<W>() || log_sum == -infinity<W>()) return W(0);
    return maths::exp(score - log_sum);
  }

  // A weight and the gradient of its product, out of that product and of the weight's gradient.
  // The weight is dropped, where it is.
  struct Gradient {
    W weight, product;
  };
  __device__ Gradient plain_gradient(W product, W grad, W log_sum, W dot, int i, int j) const {
    const W w = weight(plain_score(product, i, j), log_sum);
    return {w, w == W(0) ? w : w * scale * (grad - dot)};
  }
  __device__ Gradient gradient(W product, W grad, W log_sum, W dot, int i, int j) const {
    W chain;
    const W w = weight(score(product, i, j, chain), log_sum);
    if (w == W(0)) return {w, w};
    chain *= w * scale;
    if (!drops()) return {w, chain * (grad - dot)};
    const W by = factor(i, j);
    return by == W(0) ? Gradient{by, chain * -dot} : Gradient{w * by, chain * (grad * by - dot)};
  }
};

// Under any rule, with what the row of the tile's query is known by, at `row` among all rows.
template <class T, class W = Wide<T>>
__device__ typename Rule<W>::Gradient found_gradient(const Rule<W>& rule, const Gradients<T>& g,
                                                     int64_t row, W product, W grad, int i, int j) {
  if (!rule.seen(i, j)) return {W(0), W(0)};
  return rule.gradient(product, grad, g.log_sums[row + i], g.dots[row + i], i, j);
}

// f(r, c, x[r][c]) for each, one after another: what is long, and not always there, would take the
// registers of all of them at once. A local array keeps them for that while.
template <int R, int C, class W, class F>
__device__ void in_turn(W (&x)[R][C], F f) {
  W held[R * C];
#pragma unroll
  for (int e = 0; e < R * C; ++e) held[e] = x[e / C][e % C];
#pragma unroll 1
  for (int e = 0; e < R * C; ++e) f(e / C, e % C, held[e]);
#pragma unroll
  for (int e = 0; e < R * C; ++e) x[e / C][e % C] = held[e];
}
// f(r, c, x[r][c], y[r][c])
template <int R, int C, class W, class F>
__device__ void in_turn(W (&x)[R][C], W (&y)[R][C], F f) {
  W held[R * C][2];
#pragma unroll
  for (int e = 0; e < R * C; ++e) {
    held[e][0] = x[e / C][e % C];
    held[e][1] = y[e / C][e % C];
  }
#pragma unroll 1
  for (int e = 0; e < R * C; ++e) f(e / C, e % C, held[e][0], held[e][1]);
#pragma unroll
  for (int e = 0; e < R * C; ++e) {
    x[e / C][e % C] = held[e][0];
    y[e / C][e % C] = held[e][1];
  }
}

// A NaN is left out of the largest: it shows in the sum.
struct Greater {
  template <class W>
  __device__ W operator()(W a, W b) const {
    return b > a ? b : a;
  }
};

// --- Rows into shared memory ---

// The row of the at-th piece of rows of kPieces. Eight threads go to shared memory together: two
// rows of four pieces, four rows apart, take all banks once.
template <int kPieces>
__device__ int row_of_piece(int at) {
  const int row = at / kPieces;
  return kPieces == 4 ? row / 8 * 8 + row % 2 * 4 + row % 8 / 2 : row;
}

// `Rows` rows of D elements into shared memory, one each Row elements, by all Threads of a block:
// of the `rows` that there are the first `width` elements, zero elsewhere. With `vectors` they come
// when the copies have been waited for, else at once; a barrier stands between this and reading.
template <int Rows, int D, int Row, int Threads, class T>
__device__ void fetch(T* to, const T* from, int64_t from_row, int rows, int width, bool vectors) {
  constexpr int N = kPackOf<T>, kPieces = D / N;
  const int first = static_cast<int>(threadIdx.x);
  if (vectors) {
#pragma unroll 1
    for (int at = first; at < Rows * kPieces; at += Threads) {
      const int row = row_of_piece<kPieces>(at), col = at % kPieces * N;
      const bool there = row < rows && col < width;
      ptx::copy_async(to + row * Row + col, there ? from + row * from_row + col : from,
                      there ? 16 : 0);
    }
    return;
  }
#pragma unroll 1
  for (int at = first; at < Rows * kPieces; at += Threads) {
    const int row = row_of_piece<kPieces>(at), col = at % kPieces * N;
    const int there = row < rows ? width - col : 0;
    Pack<T, N> piece;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      if (n < there) {
        piece.at[n] = from[row * from_row + col + n];
      } else {
        piece.at[n] = narrowed<T>(0);
      }
    }
    ptx::store_wide(to + row * Row + col, piece);
  }
}

}  // namespace tilework::attention_cuda
