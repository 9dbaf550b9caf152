// Attention on CUDA cores, float32 and float64, forward and backward; no matrix of scores is ever
// in memory. What the passes share stands in attention_rule.cuh; bfloat16 has tensor cores
// (attention_bf16.cuh).
//
// A block keeps a tile of rows (queries, or keys) in shared memory and meets the tiles of columns
// (keys, or queries) that they may see, one after another; tiles outside of the window are never
// touched. Sixteen threads share kEach rows: a thread has of a tile of products the columns
// x + 16 c, so that the rows' sums and largest are shuffles among sixteen lanes, and weights go
// through shared memory within a warp, without a barrier. Rows of shared memory are 16 bytes longer
// than they need be: eight threads that read 16 bytes of a row each take all banks once.
//
// forward          rows are queries: an online softmax, whose logarithm of the sum is kept
// query_gradients  rows are queries: dq, the weights found again from that logarithm
// key_gradients    rows are keys, columns the queries of all heads that share them: dk and dv
//
// Each result is summed by one block, in the order of its columns: nothing is atomic, and bits do
// not depend on the schedule. The price is that backward finds its weights twice.
#pragma once

#include "kernels/attention/attention_careful.cuh"

namespace tilework::attention_cuda {

inline constexpr int kLanes = 16;  // threads that share rows

// Rows of D elements: a tile of kRows of them meets tiles of kCols; a thread has kEach rows.
template <class T, int D, int Rows, int Cols, int Each>
struct Tile {
  static constexpr int kRows = Rows, kCols = Cols, kEach = Each;
  static constexpr int kThreads = Rows / Each * kLanes;
  static constexpr int kRow = D + kPackOf<T>;
  // The two groups of a warp, `Each` rows apart, store to halves of the banks.
  static constexpr int kWeightRow = Cols + kPackOf<T> * 4 / Each;
  static constexpr int kOwn = Cols / kLanes;  // columns of products of a thread
  // A thread's columns of a result: kChunks runs of kTogether.
  static constexpr int kSums = D / kLanes;
  static constexpr int kTogether = kSums < kPackOf<T> ? kSums : kPackOf<T>;
  static constexpr int kChunks = kSums / kTogether;
};
template <int Bytes>  // of a row
inline constexpr int kColumns = Bytes <= 128   ? 64
                                : Bytes <= 512 ? 32
                                               : 16;
template <class T, int D, int Bytes = D * static_cast<int>(sizeof(T))>
using ForwardTile = Tile<T, D, (Bytes <= 512 ? 64 : 32), kColumns<Bytes>, 4>;
template <class T, int D, int Bytes = D * static_cast<int>(sizeof(T))>
using BackwardTile = Tile<T, D, (Bytes <= 512 ? 32 : 16), kColumns<Bytes>, (Bytes <= 512 ? 4 : 2)>;

__device__ inline int lane_of_row() { return static_cast<int>(threadIdx.x) % kLanes; }
__device__ inline int row_group() { return static_cast<int>(threadIdx.x) / kLanes; }

// Over the lanes that share rows.
template <class Join, class W>
__device__ W over_lanes(W value, Join join = {}) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value = join(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}
// A thread's part of a tile of products: of row own + r the column lane + 16 c.
template <class S, class T>
using Products = T[S::kEach][S::kOwn];
template <class S>
__device__ int row_of(int r) {
  return row_group() * S::kEach + r;
}
__device__ inline int col_of(int c) { return lane_of_row() + c * kLanes; }

// products[r][c] = row r of a . row 16 c of b, over `depth` elements.
template <class S, class T>
__device__ void multiply(Products<S, T>& products, const T* a, const T* b, int depth) {
  constexpr int N = kPackOf<T>;
#pragma unroll
  for (int r = 0; r < S::kEach; ++r) {
#pragma unroll
    for (int c = 0; c < S::kOwn; ++c) products[r][c] = 0;
  }
#pragma unroll 1  // two at once take a block of a multiprocessor its registers
  for (int k = 0; k < depth; k += N) {
    Pack<T, N> x[S::kEach], y[S::kOwn];
#pragma unroll
    for (int r = 0; r < S::kEach; ++r) {
      ptx::load_wide(x[r], a + r * S::kRow + k);
    }
#pragma unroll
    for (int c = 0; c < S::kOwn; ++c) {
      ptx::load_wide(y[c], b + c * kLanes * S::kRow + k);
    }
#pragma unroll
    for (int r = 0; r < S::kEach; ++r) {
#pragma unroll
      for (int c = 0; c < S::kOwn; ++c) {
#pragma unroll
        for (int n = 0; n < N; ++n) products[r][c] += x[r].at[n] * y[c].at[n];
      }
    }
  }
}

template <class S, class T>
using Sums = T[S::kEach][S::kSums];

// sums[r] += the sum over columns of weights[r][column] * row `column` of x.
template <class S, class T>
__device__ void accumulate(Sums<S, T>& sums, const T* weights, const T* x) {
  constexpr int N = kPackOf<T>;
#pragma unroll 1  // two at once take a block of a multiprocessor its registers
  for (int j = 0; j < S::kCols; j += N) {
    Pack<T, N> w[S::kEach];
#pragma unroll
    for (int r = 0; r < S::kEach; ++r) {
      ptx::load_wide(w[r], weights + r * S::kWeightRow + j);
    }
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
      for (int chunk = 0; chunk < S::kChunks; ++chunk) {
        Pack<T, S::kTogether> y;
        ptx::load_wide(y, x + (j + n) * S::kRow + chunk * kLanes * S::kTogether);
#pragma unroll
        for (int r = 0; r < S::kEach; ++r) {
#pragma unroll
          for (int e = 0; e < S::kTogether; ++e) {
            sums[r][chunk * S::kTogether + e] += w[r].at[n] * y.at[e];
          }
        }
      }
    }
  }
}

// A thread's rows of weights into shared memory, for the lanes that share them.
template <class S, class T>
__device__ void share(T* weights, const Products<S, T>& own) {
  __syncwarp();
#pragma unroll
  for (int r = 0; r < S::kEach; ++r) {
#pragma unroll
    for (int c = 0; c < S::kOwn; ++c) weights[r * S::kWeightRow + c * kLanes] = own[r][c];
  }
  __syncwarp();
}

// A thread's part of rows [i, i + kEach) of a result, those below `count`. Whether all is finite.
template <class S, class T>
__device__ bool write(const HeadRows<T>& out, int64_t b, int64_t h, int64_t i, int64_t count,
                      int width, const Sums<S, T>& sums) {
  bool sound = true;
#pragma unroll
  for (int r = 0; r < S::kEach; ++r) {
    if (i + r >= count) break;
    T* const row = out.at(b, h, i + r);
#pragma unroll
    for (int chunk = 0; chunk < S::kChunks; ++chunk) {
      const int col = (chunk * kLanes + lane_of_row()) * S::kTogether;
      Pack<T, S::kTogether> piece;
#pragma unroll
      for (int e = 0; e < S::kTogether; ++e) {
        piece.at[e] = sums[r][chunk * S::kTogether + e];
        sound = sound && finite(piece.at[e]);
      }
      if (width % S::kTogether == 0) {
        if (col < width) ptx::store_wide(row + col, piece);
        continue;
      }
#pragma unroll
      for (int e = 0; e < S::kTogether; ++e) {
        if (col + e < width) row[col + e] = piece.at[e];
      }
    }
  }
  return sound;
}

// The online softmax of a thread's rows: products become weights, those dropped zero, and what was
// summed so far is brought to the new largest scores.
template <class S, class T>
__device__ void weigh(const Rule<T>& rule, Products<S, T>& products, T (&top)[S::kEach],
                      T (&total)[S::kEach], Sums<S, T>& sums) {
  if (rule.plain) {
#pragma unroll
    for (int r = 0; r < S::kEach; ++r) {
#pragma unroll
      for (int c = 0; c < S::kOwn; ++c) {
        products[r][c] = rule.plain_score(products[r][c], row_of<S>(r), col_of(c));
      }
    }
  } else {
    in_turn(products, [&](int r, int c, T& s) {
      T chain;
      s = rule.score(s, row_of<S>(r), col_of(c), chain);
    });
  }
#pragma unroll
  for (int r = 0; r < S::kEach; ++r) {
    T most = top[r], more = 0;
#pragma unroll
    for (int c = 0; c < S::kOwn; ++c) most = Greater{}(most, products[r][c]);
    most = over_lanes<Greater>(most);
#pragma unroll
    for (int c = 0; c < S::kOwn; ++c) {
      T& s = products[r][c];
      s = maths::exp(s - most);
      more += s;
    }
    const T factor = most == top[r] ? T(1) : maths::exp(top[r] - most);
    total[r] = total[r] * factor + more;
    top[r] = most;
#pragma unroll
    for (int e = 0; e < S::kSums; ++e) sums[r][e] *= factor;
  }
  if (rule.drops()) {
    in_turn(products, [&](int r, int c, T& w) { w = rule.dropped(w, row_of<S>(r), col_of(c)); });
  }
}

template <class T, int D>
__device__ void forward(const Call<T>& c, const HeadRows<T>& out, T* log_sums) {
  using S = ForwardTile<T, D>;
  TW_DYNAMIC_SHARED(T, room);
  T* const q_tile = room;
  T* const k_tile = q_tile + S::kRows * S::kRow;
  T* const v_tile = k_tile + S::kCols * S::kRow;
  T* const weights = v_tile + S::kCols * S::kRow + row_group() * S::kEach * S::kWeightRow;
  const Place at(c.heads, c.queries, S::kRows, true);
  const int64_t kv = at.h / c.group;
  const int rows = present(c.queries, at.first, S::kRows);
  const int width = static_cast<int>(c.width), value_width = static_cast<int>(c.value_width);
  const bool vectors = c.vectors != 0;
  const auto fetch_cols = [&](T* to, const HeadRows<const T>& x, int64_t j, int of) {
    fetch<S::kCols, D, S::kRow, S::kThreads>(to, x.at(at.b, kv, j), x.row,
                                             present(c.keys, j, S::kCols), of, vectors);
    ptx::commit_copies();
  };
  const Span seen = keys_seen(c, at.first, S::kRows);
  const int64_t begin = seen.begin / S::kCols * S::kCols;
  Sums<S, T> sums = {};
  T top[S::kEach], total[S::kEach] = {};
#pragma unroll
  for (int r = 0; r < S::kEach; ++r) top[r] = kLowest<T>;  // finite: -Inf less itself is NaN
  if (begin < seen.end) {
    fetch<S::kRows, D, S::kRow, S::kThreads>(q_tile, c.q.at(at.b, at.h, at.first), c.q.row, rows,
                                             width, vectors);
    fetch_cols(k_tile, c.k, begin, width);
  }
  for (int64_t j = begin; j < seen.end; j += S::kCols) {
    // Values come while their scores are found, the next keys while values are summed.
    ptx::wait_for_copies<0>();
    __syncthreads();
    fetch_cols(v_tile, c.v, j, value_width);
    Products<S, T> products;
    multiply<S>(products, q_tile + row_group() * S::kEach * S::kRow,
                k_tile + lane_of_row() * S::kRow, width);
    const Rule<T> rule(c, at.b, at.h, at.first, S::kRows, j, S::kCols);
    weigh<S>(rule, products, top, total, sums);
    share<S>(weights + lane_of_row(), products);
    ptx::wait_for_copies<0>();
    __syncthreads();
    if (j + S::kCols < seen.end) fetch_cols(k_tile, c.k, j + S::kCols, width);
    accumulate<S>(sums, weights, v_tile + lane_of_row() * S::kTogether);
  }
  T* const logs = log_sums + (at.b * c.heads + at.h) * c.queries + at.first;
#pragma unroll
  for (int r = 0; r < S::kEach; ++r) {
    const int i = row_group() * S::kEach + r;
    const T sum = over_lanes<Plus>(total[r]);
    const T scale = sum == T(0) ? T(0) : T(1) / sum;
#pragma unroll
    for (int e = 0; e < S::kSums; ++e) sums[r][e] *= scale;
    if (lane_of_row() == 0 && i < rows) logs[i] = top[r] + maths::log(sum);
  }
  const bool sound =
      write<S>(out, at.b, at.h, at.first + row_group() * S::kEach, c.queries, value_width, sums);
  if (c.hides() && __syncthreads_or(!sound)) {
    by_warps(rows, [&](int i) { careful_result<D>(c, out, at.b, at.h, at.first + i, logs[i]); });
  }
}

template <class T, int D>
__device__ void query_gradients(const Call<T>& c, const Gradients<T>& g, const HeadRows<T>& dq) {
  using S = BackwardTile<T, D>;
  TW_DYNAMIC_SHARED(T, room);
  T* const q_tile = room;
  T* const grad_tile = q_tile + S::kRows * S::kRow;
  T* const k_tile = grad_tile + S::kRows * S::kRow;
  T* const v_tile = k_tile + S::kCols * S::kRow;
  T* const weights = v_tile + S::kCols * S::kRow + row_group() * S::kEach * S::kWeightRow;
  const Place at(c.heads, c.queries, S::kRows, true);
  const int64_t kv = at.h / c.group;
  const int rows = present(c.queries, at.first, S::kRows), own = row_group() * S::kEach;
  const int width = static_cast<int>(c.width), value_width = static_cast<int>(c.value_width);
  const bool vectors = c.vectors != 0;
  fetch<S::kRows, D, S::kRow, S::kThreads>(q_tile, c.q.at(at.b, at.h, at.first), c.q.row, rows,
                                           width, vectors);
  fetch<S::kRows, D, S::kRow, S::kThreads>(grad_tile, g.grad.at(at.b, at.h, at.first), g.grad.row,
                                           rows, value_width, vectors);
  ptx::commit_copies();
  const int64_t row = (at.b * c.heads + at.h) * c.queries + at.first;
  T log_sums[S::kEach], dots[S::kEach];
#pragma unroll
  for (int r = 0; r < S::kEach; ++r) {
    log_sums[r] = own + r < rows ? g.log_sums[row + own + r] : T(0);
    dots[r] = own + r < rows ? g.dots[row + own + r] : T(0);
  }
  Sums<S, T> sums = {};
  const Span seen = keys_seen(c, at.first, S::kRows);
  for (int64_t j = seen.begin / S::kCols * S::kCols; j < seen.end; j += S::kCols) {
    const int cols = present(c.keys, j, S::kCols);
    __syncthreads();
    fetch<S::kCols, D, S::kRow, S::kThreads>(k_tile, c.k.at(at.b, kv, j), c.k.row, cols, width,
                                             vectors);
    fetch<S::kCols, D, S::kRow, S::kThreads>(v_tile, c.v.at(at.b, kv, j), c.v.row, cols,
                                             value_width, vectors);
    ptx::commit_copies();
    ptx::wait_for_copies<0>();
    __syncthreads();
    Products<S, T> products, grads;
    multiply<S>(products, q_tile + own * S::kRow, k_tile + lane_of_row() * S::kRow, width);
    multiply<S>(grads, grad_tile + own * S::kRow, v_tile + lane_of_row() * S::kRow, value_width);
    const Rule<T> rule(c, at.b, at.h, at.first, S::kRows, j, S::kCols);
    if (rule.plain && !rule.drops()) {
#pragma unroll
      for (int r = 0; r < S::kEach; ++r) {
#pragma unroll
        for (int e = 0; e < S::kOwn; ++e) {
          T& product = products[r][e];
          product =
              rule.plain_gradient(product, grads[r][e], log_sums[r], dots[r], own + r, col_of(e))
                  .product;
        }
      }
    } else {
      in_turn(products, grads, [&](int r, int e, T& product, T& grad) {
        product = found_gradient(rule, g, row, product, grad, row_of<S>(r), col_of(e)).product;
      });
    }
    share<S>(weights + lane_of_row(), products);
    accumulate<S>(sums, weights, k_tile + lane_of_row() * S::kTogether);
  }
  const bool sound = write<S>(dq, at.b, at.h, at.first + own, c.queries, width, sums);
  // Copies of a tile that met none are under way yet.
  ptx::wait_for_copies<0>();
  if (c.hides() && __syncthreads_or(!sound)) {
    by_warps(rows, [&](int i) { careful_query<D>(c, g, dq, at.b, at.h, at.first + i); });
  }
}

template <class T, int D>
__device__ void key_gradients(const Call<T>& c, const Gradients<T>& g, const HeadRows<T>& dk,
                              const HeadRows<T>& dv) {
  using S = BackwardTile<T, D>;
  TW_DYNAMIC_SHARED(T, room);
  T* const k_tile = room;
  T* const v_tile = k_tile + S::kRows * S::kRow;
  T* const q_tile = v_tile + S::kRows * S::kRow;
  T* const grad_tile = q_tile + S::kCols * S::kRow;
  T* const weights = grad_tile + S::kCols * S::kRow + row_group() * S::kEach * S::kWeightRow;
  const int64_t kv_heads = c.heads / c.group;
  const Place at(kv_heads, c.keys, S::kRows, false);
  const int rows = present(c.keys, at.first, S::kRows), own = row_group() * S::kEach;
  const int width = static_cast<int>(c.width), value_width = static_cast<int>(c.value_width);
  const bool vectors = c.vectors != 0;
  fetch<S::kRows, D, S::kRow, S::kThreads>(k_tile, c.k.at(at.b, at.h, at.first), c.k.row, rows,
                                           width, vectors);
  fetch<S::kRows, D, S::kRow, S::kThreads>(v_tile, c.v.at(at.b, at.h, at.first), c.v.row, rows,
                                           value_width, vectors);
  ptx::commit_copies();
  Sums<S, T> of_keys = {}, of_values = {};
  const Span seeing = queries_seeing(c, at.first, S::kRows);
  const int64_t begin = seeing.begin / S::kCols * S::kCols;
  for (int64_t h = at.h * c.group; h < (at.h + 1) * c.group; ++h) {
    for (int64_t i = begin; i < seeing.end; i += S::kCols) {
      const int cols = present(c.queries, i, S::kCols);
      __syncthreads();
      fetch<S::kCols, D, S::kRow, S::kThreads>(q_tile, c.q.at(at.b, h, i), c.q.row, cols, width,
                                               vectors);
      fetch<S::kCols, D, S::kRow, S::kThreads>(grad_tile, g.grad.at(at.b, h, i), g.grad.row, cols,
                                               value_width, vectors);
      ptx::commit_copies();
      ptx::wait_for_copies<0>();
      __syncthreads();
      Products<S, T> products, grads;
      multiply<S>(products, k_tile + own * S::kRow, q_tile + lane_of_row() * S::kRow, width);
      multiply<S>(grads, v_tile + own * S::kRow, grad_tile + lane_of_row() * S::kRow, value_width);
      const Rule<T> rule(c, at.b, h, i, S::kCols, at.first, S::kRows);
      const int64_t row = (at.b * c.heads + h) * c.queries + i;
      if (rule.plain && !rule.drops()) {
#pragma unroll
        for (int e = 0; e < S::kOwn; ++e) {
          const int query = col_of(e);
          const T log_sum = query < cols ? g.log_sums[row + query] : T(0);
          const T dot = query < cols ? g.dots[row + query] : T(0);
#pragma unroll
          for (int r = 0; r < S::kEach; ++r) {
            const auto found =
                rule.plain_gradient(products[r][e], grads[r][e], log_sum, dot, query, own + r);
            products[r][e] = found.weight;
            grads[r][e] = found.product;
          }
        }
      } else {
        in_turn(products, grads, [&](int r, int e, T& product, T& grad) {
          const auto found = found_gradient(rule, g, row, product, grad, col_of(e), row_of<S>(r));
          product = found.weight;
          grad = found.product;
        });
      }
      share<S>(weights + lane_of_row(), products);
      accumulate<S>(of_values, weights, grad_tile + lane_of_row() * S::kTogether);
      share<S>(weights + lane_of_row(), grads);
      accumulate<S>(of_keys, weights, q_tile + lane_of_row() * S::kTogether);
    }
  }
  const int64_t first = at.first + own;
  bool sound = write<S>(dk, at.b, at.h, first, c.keys, width, of_keys);
  sound = write<S>(dv, at.b, at.h, first, c.keys, value_width, of_values) && sound;
  ptx::wait_for_copies<0>();
  if (c.hides() && __syncthreads_or(!sound)) {
    by_warps(rows, [&](int j) { careful_key<D>(c, g, dk, dv, at.b, at.h, at.first + j); });
  }
}

// Of a multiprocessor: for float32 what registers allow without a spill.
template <class T>
inline constexpr int kForwardBlocks = sizeof(T) == 4 ? 2 : 1;
template <class T>
inline constexpr int kQueryBlocks = sizeof(T) == 4 ? 3 : 1;
template <class T>
inline constexpr int kKeyBlocks = sizeof(T) == 4 ? 2 : 1;

#define TW_ATTENTION(type, width_, name)                                                           \
  TW_KERNEL_TOGETHER((ForwardTile<type, width_>::kThreads), kForwardBlocks<type>,                  \
                     attention_forward_##name, TW_ATTENTION_PARAMETERS(type, type), type* out,     \
                     int64_t out_batch, int64_t out_head, int64_t out_row, type* log_sums) {       \
    forward<type, width_>(TW_ATTENTION_CALL, {out, out_batch, out_head, out_row}, log_sums);       \
  }                                                                                                \
  TW_KERNEL_TOGETHER((BackwardTile<type, width_>::kThreads), kQueryBlocks<type>,                   \
                     attention_query_gradients_##name, TW_ATTENTION_PARAMETERS(type, type),        \
                     TW_ATTENTION_GRADIENTS(type, type), type* dq, int64_t dq_batch,               \
                     int64_t dq_head, int64_t dq_row) {                                            \
    query_gradients<type, width_>(TW_ATTENTION_CALL,                                               \
                                  {{grad, grad_batch, grad_head, grad_row}, log_sums, dots},       \
                                  {dq, dq_batch, dq_head, dq_row});                                \
  }                                                                                                \
  TW_KERNEL_TOGETHER((BackwardTile<type, width_>::kThreads), kKeyBlocks<type>,                     \
                     attention_key_gradients_##name, TW_ATTENTION_PARAMETERS(type, type),          \
                     TW_ATTENTION_GRADIENTS(type, type), type* dk, int64_t dk_batch,               \
                     int64_t dk_head, int64_t dk_row, type* dv, int64_t dv_batch, int64_t dv_head, \
                     int64_t dv_row) {                                                             \
    key_gradients<type, width_>(TW_ATTENTION_CALL,                                                 \
                                {{grad, grad_batch, grad_head, grad_row}, log_sums, dots},         \
                                {dk, dk_batch, dk_head, dk_row}, {dv, dv_batch, dv_head, dv_row}); \
  }

}  // namespace tilework::attention_cuda
