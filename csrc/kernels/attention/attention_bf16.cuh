// Attention in bfloat16 on tensor cores, forward and backward: mma.sync of 16 x 8 from 16 deep,
// sums in float32, rows by cp.async. No matrix of scores is ever in memory. What the passes share
// with those on CUDA cores, and the rule, stand in attention_rule.cuh.
//
// A warp has 16 rows (of queries, or of keys) of a block's tile. It multiplies them with a tile of
// columns (keys, or queries); the products lie in registers as an accumulator has them, which is
// how the next product wants its first operand: weights never leave the registers. They are rounded
// to bfloat16 there, as the result will be. Rows of shared memory are 16 bytes longer than they
// need be, so that the eight rows of a matrix that ldmatrix reads take all banks once.
//
// forward          rows are queries. Values come while scores are found, keys while values are
//                  summed: one tile of each, two barriers a tile.
// query_gradients  rows are queries; dq
// key_gradients    rows are keys, columns the queries of all heads that share them; dk and dv.
//                  Both have two tiles of columns: one comes while the other is read.
//
// Of width 256 two warps share 16 rows: both find the weights, each sums half of a result's
// columns.
//
// Each result is summed by one warp, in the order of its columns: nothing is atomic, and bits do
// not depend on the schedule. The price is that backward finds its weights twice.
//
// on sm_80, 90a, 100  registers      shared  dynamic  threads  blocks an SM  holds
// *forward_32_b*      136, 138, 158  0       15360    128      3, 3, 3       HMMA LDGSTS.128 LDSM
// *forward_64_b*      151, 153, 160  0       27648    128      3, 3, 3       HMMA LDGSTS.128 LDSM
// *forward_128_b*     185, 187, 220  0       52224    128      2, 2, 2       HMMA LDGSTS.128 LDSM
// *forward_256_b*     162, 160, 168  0       50688    128      3, 3, 3       HMMA LDGSTS.128 LDSM
// *query*_32_b*       176, 177, 205  0       30720    128      2, 2, 2       HMMA LDGSTS.128 LDSM
// *query*_64_b*       144, 155, 154  0       36864    128      3, 3, 3       HMMA LDGSTS.128 LDSM
// *query*_128_b*      160, 163, 160  0       52224    128      3, 3, 3       HMMA LDGSTS.128 LDSM
// *query*_256_b*      164, 174, 197  0       67584    128      2, 2, 2       HMMA LDGSTS.128 LDSM
// *key*_32_b*         184, 185, 214  0       30720    128      2, 2, 2       HMMA LDGSTS.128 LDSM
// *key*_64_b*         178, 177, 210  0       36864    128      2, 2, 2       HMMA LDGSTS.128 LDSM
// *key*_128_b*        249, 253, 255  0       52224    128      2, 2, 2       HMMA LDGSTS.128 LDSM
// *key*_256_b*        250, 253, 255  0       67584    128      2, 2, 2       HMMA LDGSTS.128 LDSM
#pragma once

#include "kernels/attention/attention_careful.cuh"

namespace tilework::attention_cuda {

using Bf16 = __nv_bfloat16;

inline constexpr int kBf16Warps = 4, kBf16Threads = kBf16Warps * kWarpLanes;
inline constexpr int kOwnRows = 16;  // of a warp: an mma's
inline constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

// Rows of D elements: a tile of kRows of them meets tiles of kCols, and kSplit warps share theirs.
template <int D, int Rows, int Cols, int Split>
struct Bf16Tile {
  static constexpr int kRows = Rows, kCols = Cols, kSplit = Split;
  static constexpr int kRow = D + kPackOf<Bf16>;
  static constexpr int kProducts = Cols / 8, kSums = D / Split / 8;  // accumulators of a warp
};
template <int D>
using Bf16Forward = Bf16Tile<D, (D <= 128 ? 64 : 32), (D <= 128 ? 64 : 32), (D <= 128 ? 1 : 2)>;
template <int D>
using Bf16Backward = Bf16Tile<D, (D <= 128 ? 64 : 32),
                              (D <= 32   ? 64
                               : D <= 64 ? 32
                                         : 16),
                              (D <= 128 ? 1 : 2)>;

// An accumulator's elements of a thread: e is of row quad + 8 (e / 2) and column
// 2 (lane % 4) + e % 2.
template <int N>
using Accumulators = float[N][4];

__device__ inline int lane_in_warp() { return static_cast<int>(threadIdx.x) % kWarpLanes; }
__device__ inline int warp_in_block() { return static_cast<int>(threadIdx.x) / kWarpLanes; }
__device__ inline int quad() { return lane_in_warp() / 4; }
__device__ inline int col_in_quad() { return lane_in_warp() % 4 * 2; }

template <class Join>
__device__ float over_quad(float value, Join join = {}) {
  value = join(value, __shfl_xor_sync(kAllLanes, value, 2));
  return join(value, __shfl_xor_sync(kAllLanes, value, 1));
}

__device__ inline uint32_t two_bf16(float low, float high) {
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &both, sizeof bits);
  return bits;
}

// products = 16 rows of x times rows of y, `depth` elements of each.
template <class S>
__device__ void multiply(Accumulators<S::kProducts>& products, const Bf16* x, const Bf16* y,
                         int depth) {
  const int lane = lane_in_warp();
  x += lane % 16 * S::kRow + lane / 16 * 8;
  y += (lane / 16 * 8 + lane % 8) * S::kRow + lane / 8 % 2 * 8;
#pragma unroll
  for (int n = 0; n < S::kProducts; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) products[n][e] = 0;
  }
#pragma unroll 2
  for (int k = 0; k < depth; k += 16) {
    uint32_t a[4];
    ptx::load_matrices(a, x + k);
#pragma unroll
    for (int n = 0; n < S::kProducts; n += 2) {
      uint32_t b[4];
      ptx::load_matrices(b, y + n * 8 * S::kRow + k);
      ptx::mma_bf16(products[n], a, {b[0], b[1]});
      ptx::mma_bf16(products[n + 1], a, {b[2], b[3]});
    }
  }
}

// Weights as the sum of two of bfloat16, 17 bits of the 24: those of two accumulators beside each
// other as a first operand's.
struct Halves {
  uint32_t high[4], low[4];

  __device__ Halves(const float (&left)[4], const float (&right)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* const w = (i < 2 ? left : right) + i % 2 * 2;
      const __nv_bfloat162 rounded = __floats2bfloat162_rn(w[0], w[1]);
      memcpy(&high[i], &rounded, sizeof rounded);
      const float2 back = __bfloat1622float2(rounded);
      low[i] = two_bf16(rest(w[0], back.x), rest(w[1], back.y));
    }
  }

 private:
  // What infinity leaves is nothing.
  __device__ static float rest(float w, float rounded) {
    const float r = w - rounded;
    return r == r ? r : 0.0f;
  }
};

// sums += weights times the rows of y, from its element `col` on.
template <class S>
__device__ void accumulate(Accumulators<S::kSums>& sums, const Accumulators<S::kProducts>& weights,
                           const Bf16* y, int col) {
  const int lane = lane_in_warp();
  y += lane % 16 * S::kRow + lane / 16 * 8 + col;
#pragma unroll
  for (int m = 0; m < S::kProducts; m += 2) {
    const Halves a(weights[m], weights[m + 1]);
#pragma unroll
    for (int n = 0; n < S::kSums; n += 2) {
      uint32_t b[4];
      ptx::load_matrices_transposed(b, y + m * 8 * S::kRow + n * 8);
      ptx::mma_bf16(sums[n], a.low, {b[0], b[1]});
      ptx::mma_bf16(sums[n + 1], a.low, {b[2], b[3]});
      ptx::mma_bf16(sums[n], a.high, {b[0], b[1]});
      ptx::mma_bf16(sums[n + 1], a.high, {b[2], b[3]});
    }
  }
}

// A warp's 16 rows of a result, through their place in shared memory, where columns begin at
// `col`, to rows [i, i + 16) below `count` of memory. Whether all of them is finite.
template <class S>
__device__ bool write(const HeadRows<Bf16>& out, int64_t b, int64_t h, int64_t i, int64_t count,
                      int width, const Accumulators<S::kSums>& sums, Bf16* room, int col) {
  bool sound = true;
#pragma unroll
  for (int n = 0; n < S::kSums; ++n) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float low = sums[n][2 * half], high = sums[n][2 * half + 1];
      sound = sound && finite(low) && finite(high);
      Bf16* const two = room + (quad() + 8 * half) * S::kRow + col + n * 8 + col_in_quad();
      *reinterpret_cast<__nv_bfloat162*>(two) = __floats2bfloat162_rn(low, high);
    }
  }
  __syncwarp();
  constexpr int N = kPackOf<Bf16>, kPieces = S::kSums * 8 / N;
#pragma unroll 1
  for (int at = lane_in_warp(); at < kOwnRows * kPieces; at += kWarpLanes) {
    const int row = row_of_piece<kPieces>(at), c = col + at % kPieces * N;
    if (i + row >= count || c >= width) continue;
    const Bf16* const from = room + row * S::kRow + c;
    Bf16* const to = out.at(b, h, i + row) + c;
    if (width % N == 0) {
      uint4 piece;
      ptx::load_wide(piece, from);
      ptx::store_wide(to, piece);
    } else {
      for (int n = 0; n < N && c + n < width; ++n) to[n] = from[n];
    }
  }
  return sound;
}

// Scores by the base of 2, of which the hardware has the exponential.
template <class S>
__device__ void find_scores(const Rule<float>& rule, Accumulators<S::kProducts>& products,
                            int own) {
  if (!rule.plain) {
    in_turn(products, [&](int n, int e, float& s) {
      float chain;
      s = rule.score(s, own + e / 2 * 8, n * 8 + col_in_quad() + e % 2, chain) * kLog2E;
    });
    return;
  }
  const float scale = rule.scale * kLog2E;
#pragma unroll
  for (int n = 0; n < S::kProducts; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const bool seen = rule.seen(own + e / 2 * 8, n * 8 + col_in_quad() + e % 2);
      products[n][e] = seen ? products[n][e] * scale : -infinity<float>();
    }
  }
}

// The online softmax of a thread's two rows, `own` and `own` + 8.
template <class S>
__device__ void weigh(const Rule<float>& rule, Accumulators<S::kProducts>& products, int own,
                      float (&top)[2], float (&total)[2], Accumulators<S::kSums>& sums) {
  find_scores<S>(rule, products, own);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float most = top[half], more = 0;
#pragma unroll
    for (int n = 0; n < S::kProducts; ++n) {
      most = Greater{}(most, Greater{}(products[n][2 * half], products[n][2 * half + 1]));
    }
    most = over_quad<Greater>(most);
#pragma unroll
    for (int n = 0; n < S::kProducts; ++n) {
#pragma unroll
      for (int e = 2 * half; e < 2 * half + 2; ++e) {
        products[n][e] = exp2f(products[n][e] - most);
        more += products[n][e];
      }
    }
    const float factor = most == top[half] ? 1.0f : exp2f(top[half] - most);
    total[half] = total[half] * factor + more;
    top[half] = most;
#pragma unroll
    for (int n = 0; n < S::kSums; ++n) {
      sums[n][2 * half] *= factor;
      sums[n][2 * half + 1] *= factor;
    }
  }
  if (rule.drops()) {
    in_turn(products, [&](int n, int e, float& w) {
      w = rule.dropped(w, own + e / 2 * 8, n * 8 + col_in_quad() + e % 2);
    });
  }
}

template <int D>
__device__ void forward_bf16(const Call<Bf16>& c, const HeadRows<Bf16>& out, float* log_sums) {
  using S = Bf16Forward<D>;
  TW_DYNAMIC_SHARED(Bf16, room);
  Bf16* const q_tile = room;
  Bf16* const k_tile = q_tile + S::kRows * S::kRow;
  Bf16* const v_tile = k_tile + S::kCols * S::kRow;
  const Place at(c.heads, c.queries, S::kRows, true);
  const int64_t kv = at.h / c.group;
  const int rows = present(c.queries, at.first, S::kRows);
  const int width = static_cast<int>(c.width), value_width = static_cast<int>(c.value_width);
  const bool vectors = c.vectors != 0;
  const auto fetch_cols = [&](Bf16* to, const HeadRows<const Bf16>& x, int64_t j, int of) {
    fetch<S::kCols, D, S::kRow, kBf16Threads>(to, x.at(at.b, kv, j), x.row,
                                              present(c.keys, j, S::kCols), of, vectors);
    ptx::commit_copies();
  };
  const Span seen = keys_seen(c, at.first, S::kRows);
  const int64_t begin = seen.begin / S::kCols * S::kCols;
  const int warp_row = warp_in_block() / S::kSplit * kOwnRows, own = warp_row + quad();
  const int col = warp_in_block() % S::kSplit * (D / S::kSplit);
  Bf16* const own_rows = q_tile + warp_row * S::kRow;
  Accumulators<S::kSums> sums = {};
  // Finite: -Inf less itself is NaN.
  float top[2] = {kLowest<float>, kLowest<float>}, total[2] = {};
  if (begin < seen.end) {
    fetch<S::kRows, D, S::kRow, kBf16Threads>(q_tile, c.q.at(at.b, at.h, at.first), c.q.row, rows,
                                              width, vectors);
    fetch_cols(k_tile, c.k, begin, width);
  }
  for (int64_t j = begin; j < seen.end; j += S::kCols) {
    ptx::wait_for_copies<0>();
    __syncthreads();
    fetch_cols(v_tile, c.v, j, value_width);
    Accumulators<S::kProducts> products;
    multiply<S>(products, own_rows, k_tile, width);
    const Rule<float> rule(c, at.b, at.h, at.first, S::kRows, j, S::kCols);
    weigh<S>(rule, products, own, top, total, sums);
    ptx::wait_for_copies<0>();
    __syncthreads();
    if (j + S::kCols < seen.end) fetch_cols(k_tile, c.k, j + S::kCols, width);
    accumulate<S>(sums, products, v_tile, col);
  }
  float* const logs = log_sums + (at.b * c.heads + at.h) * c.queries + at.first;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int i = own + 8 * half;
    const float sum = over_quad<Plus>(total[half]);
    const float scale = sum == 0 ? 0.0f : 1.0f / sum;
#pragma unroll
    for (int n = 0; n < S::kSums; ++n) {
      sums[n][2 * half] *= scale;
      sums[n][2 * half + 1] *= scale;
    }
    if (col + col_in_quad() == 0 && i < rows) logs[i] = (top[half] + log2f(sum)) * kLn2;
  }
  __syncthreads();  // nobody reads the queries any more: results go through their place
  const bool sound =
      write<S>(out, at.b, at.h, at.first + warp_row, c.queries, value_width, sums, own_rows, col);
  if (c.hides() && __syncthreads_or(!sound)) {
    by_warps(rows, [&](int i) { careful_result<D>(c, out, at.b, at.h, at.first + i, logs[i]); });
  }
}

// What a backward kernel's tiles meet. Of keys: rows are keys and values, columns the queries of
// all heads that share them, and their gradients; of queries the other way about.
template <class S, bool OfKeys>
struct Sides {
  const Call<Bf16>& c;
  const Gradients<Bf16>& g;
  const Place at;
  const int64_t row_count, col_count;
  Span cols;
  int tiles;  // of columns, of a head

  __device__ Sides(const Call<Bf16>& call, const Gradients<Bf16>& gradients)
      : c(call),
        g(gradients),
        at(OfKeys ? c.heads / c.group : c.heads, OfKeys ? c.keys : c.queries, S::kRows, !OfKeys),
        row_count(OfKeys ? c.keys : c.queries),
        col_count(OfKeys ? c.queries : c.keys) {
    cols = OfKeys ? queries_seeing(c, at.first, S::kRows) : keys_seen(c, at.first, S::kRows);
    cols.begin = cols.begin / S::kCols * S::kCols;
    const int64_t count = (cols.end - cols.begin + S::kCols - 1) / S::kCols;
    tiles = count > 0 ? static_cast<int>(count) : 0;
  }

  // A tile of columns: of the block's heads of queries, and of the tiles that its rows meet.
  struct Step {
    int head, tile;
  };
  __device__ bool there(Step step) const { return tiles > 0 && step.head < (OfKeys ? c.group : 1); }
  __device__ Step after(Step step) const {
    return step.tile + 1 < tiles ? Step{step.head, step.tile + 1} : Step{step.head + 1, 0};
  }
  __device__ int64_t head(Step step) const { return OfKeys ? at.h * c.group + step.head : at.h; }
  __device__ int64_t first(Step step) const {
    return cols.begin + static_cast<int64_t>(step.tile) * S::kCols;
  }

  // Rows [begin, begin + Rows) of the two arrays of a side, one after the other in shared memory.
  template <int Rows, int D>
  __device__ void fetch_two(Bf16* to, bool keys, int64_t h, int64_t begin) const {
    const HeadRows<const Bf16>&a = keys ? c.k : c.q, &b = keys ? c.v : g.grad;
    const int64_t head = keys ? h / c.group : h;
    const int there = present(keys ? c.keys : c.queries, begin, Rows);
    fetch<Rows, D, S::kRow, kBf16Threads>(to, a.at(at.b, head, begin), a.row, there,
                                          static_cast<int>(c.width), c.vectors != 0);
    fetch<Rows, D, S::kRow, kBf16Threads>(to + Rows * S::kRow, b.at(at.b, head, begin), b.row,
                                          there, static_cast<int>(c.value_width), c.vectors != 0);
  }
};

// Products and weights' gradients become weights and gradients of products, of the tile of a step.
template <class S, bool OfKeys>
__device__ void find_gradients(const Sides<S, OfKeys>& sides, const Rule<float>& rule, int64_t row,
                               int own, Accumulators<S::kProducts>& products,
                               Accumulators<S::kProducts>& grads) {
  const Gradients<Bf16>& g = sides.g;
  const auto query = [&](int n, int e) {
    return OfKeys ? n * 8 + col_in_quad() + e % 2 : own + e / 2 * 8;
  };
  const auto key = [&](int n, int e) {
    return OfKeys ? own + e / 2 * 8 : n * 8 + col_in_quad() + e % 2;
  };
  if (!rule.plain || rule.drops()) {
    in_turn(products, grads, [&](int n, int e, float& product, float& grad) {
      const auto found = found_gradient(rule, g, row, product, grad, query(n, e), key(n, e));
      product = found.weight;
      grad = found.product;
    });
    return;
  }
  // Two of the four elements are of one query in the one case, and two of another in the other.
  constexpr int kEach = OfKeys ? 1 : 2;
  const float scale = rule.scale * kLog2E;
#pragma unroll
  for (int n = 0; n < S::kProducts; ++n) {
#pragma unroll
    for (int two = 0; two < 2; ++two) {
      const int i = query(n, two * kEach);
      const bool there = i < rule.queries;
      const float log_sum = there ? g.log_sums[row + i] * kLog2E : -infinity<float>();
      const float dot = there ? g.dots[row + i] : 0.0f;
#pragma unroll
      for (int other = 0; other < 2; ++other) {
        const int e = OfKeys ? two + 2 * other : 2 * two + other;
        const bool seen = log_sum != -infinity<float>() && rule.seen(i, key(n, e));
        const float w = seen ? exp2f(products[n][e] * scale - log_sum) : 0.0f;
        products[n][e] = w;
        grads[n][e] = w == 0 ? 0.0f : w * rule.scale * (grads[n][e] - dot);
      }
    }
  }
}

// The gradients of a tile of rows: of_first those of the keys, or queries; of_second of the values.
template <int D, bool OfKeys>
__device__ void gradients_bf16(const Call<Bf16>& c, const Gradients<Bf16>& g,
                               const HeadRows<Bf16>& of_first, const HeadRows<Bf16>& of_second) {
  using S = Bf16Backward<D>;
  TW_DYNAMIC_SHARED(Bf16, room);
  constexpr int kSecond = S::kCols * S::kRow;
  const Sides<S, OfKeys> sides(c, g);
  Bf16* const rows = room;
  Bf16* const stages = rows + 2 * S::kRows * S::kRow;
  Bf16 *coming = stages, *here = stages + 2 * kSecond;
  const auto fetch_step = [&](typename Sides<S, OfKeys>::Step step) {
    if (sides.there(step)) {
      sides.template fetch_two<S::kCols, D>(coming, !OfKeys, sides.head(step), sides.first(step));
    }
    ptx::commit_copies();
  };
  const int warp_row = warp_in_block() / S::kSplit * kOwnRows, own = warp_row + quad();
  const int col = warp_in_block() % S::kSplit * (D / S::kSplit);
  const int width = static_cast<int>(c.width), value_width = static_cast<int>(c.value_width);
  Bf16* const own_first = rows + warp_row * S::kRow;
  Bf16* const own_second = own_first + S::kRows * S::kRow;
  const Place& at = sides.at;
  Accumulators<S::kSums> first = {}, second = {};
  sides.template fetch_two<S::kRows, D>(rows, OfKeys, OfKeys ? at.h * c.group : at.h, at.first);
  fetch_step({0, 0});
  for (typename Sides<S, OfKeys>::Step step{0, 0}; sides.there(step); step = sides.after(step)) {
    ptx::wait_for_copies<0>();
    __syncthreads();
    Bf16* const cols = coming;
    coming = here;
    here = cols;
    fetch_step(sides.after(step));
    const int64_t h = sides.head(step), begin = sides.first(step);
    Accumulators<S::kProducts> products, grads;
    multiply<S>(products, own_first, cols, width);
    multiply<S>(grads, own_second, cols + kSecond, value_width);
    const int64_t i0 = OfKeys ? begin : at.first;
    const Rule<float> rule(c, at.b, h, i0, OfKeys ? S::kCols : S::kRows, OfKeys ? at.first : begin,
                           OfKeys ? S::kRows : S::kCols);
    find_gradients(sides, rule, (at.b * c.heads + h) * c.queries + i0, own, products, grads);
    accumulate<S>(first, grads, cols, col);
    if constexpr (OfKeys) accumulate<S>(second, products, cols + kSecond, col);
  }
  ptx::wait_for_copies<0>();
  __syncthreads();  // nobody reads the rows any more: results go through their place
  const int64_t i = at.first + warp_row;
  bool sound = write<S>(of_first, at.b, at.h, i, sides.row_count, width, first, own_first, col);
  if constexpr (OfKeys) {
    sound =
        write<S>(of_second, at.b, at.h, i, sides.row_count, value_width, second, own_second, col) &&
        sound;
  }
  if (c.hides() && __syncthreads_or(!sound)) {
    by_warps(present(sides.row_count, at.first, S::kRows), [&](int r) {
      if constexpr (OfKeys) {
        careful_key<D>(c, g, of_first, of_second, at.b, at.h, at.first + r);
      } else {
        careful_query<D>(c, g, of_first, at.b, at.h, at.first + r);
      }
    });
  }
}

// Of a multiprocessor: what registers allow without a spill. Of keys it is two.
template <int D>
inline constexpr int kBf16ForwardBlocks = D == 128 ? 2 : 3;
template <int D>
inline constexpr int kBf16QueryBlocks = D == 64 || D == 128 ? 3 : 2;

#define TW_ATTENTION_BF16(width_, name)                                                         \
  TW_KERNEL_TOGETHER(kBf16Threads, kBf16ForwardBlocks<width_>, attention_forward_##name,        \
                     TW_ATTENTION_PARAMETERS(Bf16, float), Bf16* out, int64_t out_batch,        \
                     int64_t out_head, int64_t out_row, float* log_sums) {                      \
    forward_bf16<width_>(TW_ATTENTION_CALL, {out, out_batch, out_head, out_row}, log_sums);     \
  }                                                                                             \
  TW_KERNEL_TOGETHER(kBf16Threads, kBf16QueryBlocks<width_>, attention_query_gradients_##name,  \
                     TW_ATTENTION_PARAMETERS(Bf16, float), TW_ATTENTION_GRADIENTS(Bf16, float), \
                     Bf16* dq, int64_t dq_batch, int64_t dq_head, int64_t dq_row) {             \
    gradients_bf16<width_, false>(TW_ATTENTION_CALL,                                            \
                                  {{grad, grad_batch, grad_head, grad_row}, log_sums, dots},    \
                                  {dq, dq_batch, dq_head, dq_row}, {});                         \
  }                                                                                             \
  TW_KERNEL_TOGETHER(kBf16Threads, 2, attention_key_gradients_##name,                           \
                     TW_ATTENTION_PARAMETERS(Bf16, float), TW_ATTENTION_GRADIENTS(Bf16, float), \
                     Bf16* dk, int64_t dk_batch, int64_t dk_head, int64_t dk_row, Bf16* dv,     \
                     int64_t dv_batch, int64_t dv_head, int64_t dv_row) {                       \
    gradients_bf16<width_, true>(                                                               \
        TW_ATTENTION_CALL, {{grad, grad_batch, grad_head, grad_row}, log_sums, dots},           \
        {dk, dk_batch, dk_head, dk_row}, {dv, dv_batch, dv_head, dv_row});                      \
  }
TW_ATTENTION_BF16(32, 32_bfloat16)
TW_ATTENTION_BF16(64, 64_bfloat16)
TW_ATTENTION_BF16(128, 128_bfloat16)
TW_ATTENTION_BF16(256, 256_bfloat16)
#undef TW_ATTENTION_BF16

}  // namespace tilework::attention_cuda
