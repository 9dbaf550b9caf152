// A list put in the order of the places that it names, those of one place in the order of the list:
// a stable radix sort, by 8 bits a pass, of keys and where they stood. What is summed by an index
// is summed in that order, without atomics on floats, and so to the same bits each time.
//
// A pass counts the digits of each tile (whole numbers: their atomics are exact), sums the counts
// over digits and tiles, and moves each tile's elements to their places: a warp takes 32 neighbours
// at a time, and ballots tell each lane how many before it have its digit. Of a short list one
// block, whose tile it is, makes all passes in one launch.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM
// group_scan          30, 30, 30  128     0        1024     2, 2, 2
// group_few           32, 42, 50  32800   0        1024     2, 1, 1
// *                   28, 30, 28  8192    0        256      8, 8, 8
#pragma once

#include "base/indices.cuh"
#include "base/warp.cuh"

namespace tilework::grouping_cuda {

inline constexpr int kThreads = 256, kFewThreads = 1024;
inline constexpr int kDigits = 256;  // one thread each
inline constexpr int kScanThreads = 1024, kScanEach = 4;

__device__ inline int lane() { return static_cast<int>(threadIdx.x) % kWarpLanes; }
__device__ inline int warp() { return static_cast<int>(threadIdx.x) / kWarpLanes; }

// The lanes with this lane's digit, of those that have one.
__device__ inline uint32_t peers_of(uint32_t digit, bool has_one) {
  uint32_t peers = __ballot_sync(kAllLanes, has_one);
#pragma unroll
  for (int bit = 0; bit < 8; ++bit) {
    const bool set = (digit >> bit & 1) != 0;
    const uint32_t those = __ballot_sync(kAllLanes, set);
    peers &= set ? those : ~those;
  }
  return peers;
}

// One pass over a tile by a block of Warps warps, each of which has a part of it.
template <int Warps>
struct Pass {
  const uint32_t *key, *member;  // member null: where an element stands
  uint32_t *to_key, *to_member;
  int64_t begin, m, tile, shift;
  uint32_t (&next)[Warps][kDigits];  // of each warp and digit how many, and then where they go

  __device__ uint32_t digit_of(uint32_t given) const { return given >> shift & (kDigits - 1); }

  // work(i, key, digit, peers) in the order of the list for the elements of this warp's part; lanes
  // beyond it come along with an i of -1. All lanes of the warp are in step between them.
  template <class Work>
  __device__ void for_each_of_warp(Work work) const {
    const int64_t part = tile / Warps, first = begin + warp() * part;
    const int64_t end = first + part < m ? first + part : m;
    for (int64_t at = first; at < end; at += kWarpLanes) {
      const int64_t i = at + lane();
      const uint32_t mine = i < end ? key[i] : 0, digit = digit_of(mine);
      work(i < end ? i : -1, mine, digit, peers_of(digit, i < end));
      __syncwarp();
    }
  }
  __device__ void count() const {
    for (int i = static_cast<int>(threadIdx.x); i < Warps * kDigits; i += Warps * kWarpLanes) {
      next[i / kDigits][i % kDigits] = 0;
    }
    __syncthreads();
    for_each_of_warp([&](int64_t i, uint32_t, uint32_t digit, uint32_t peers) {
      if (i >= 0 && __ffs(static_cast<int>(peers)) - 1 == lane()) {
        next[warp()][digit] += static_cast<uint32_t>(__popc(peers));
      }
    });
    __syncthreads();
  }
  // How many of a digit the block has.
  __device__ uint32_t total(int digit) const {
    uint32_t sum = 0;
#pragma unroll 8
    for (int w = 0; w < Warps; ++w) sum += next[w][digit];
    return sum;
  }
  // The block's first element of a digit goes to `at`, the others behind it.
  __device__ void begin_at(int digit, uint32_t at) const {
#pragma unroll 8
    for (int w = 0; w < Warps; ++w) {
      const uint32_t count = next[w][digit];
      next[w][digit] = at;
      at += count;
    }
  }
  __device__ void move() const {
    for_each_of_warp([&](int64_t i, uint32_t mine, uint32_t digit, uint32_t peers) {
      const uint32_t first = i >= 0 ? next[warp()][digit] : 0;
      const uint32_t before = peers & ((1u << lane()) - 1);
      __syncwarp();
      if (i < 0) return;
      if (before == 0) next[warp()][digit] = first + static_cast<uint32_t>(__popc(peers));
      const uint32_t to = first + static_cast<uint32_t>(__popc(before));
      to_key[to] = mine;
      to_member[to] = member == nullptr ? static_cast<uint32_t>(i) : member[i];
    });
  }
};

// The sum of the values of this warp's lanes before this one and in it.
__device__ inline uint32_t sum_upto(uint32_t value) {
#pragma unroll
  for (int distance = 1; distance < kWarpLanes; distance *= 2) {
    const uint32_t other = __shfl_up_sync(kAllLanes, value, distance);
    if (lane() >= distance) value += other;
  }
  return value;
}

// The key of each element of the list: the place that its index names; `none` for one outside and
// for what names `skipped`. Places are those of (outer, n, inner), as in index.cuh; `same`: there
// is one index (m,) for all.
TW_KERNEL(kThreads, group_keys, uint32_t* key, const int64_t* index, int64_t count, int64_t n,
          int64_t m, int64_t inner, int64_t same, int64_t wrap, int64_t skipped, int64_t none,
          int64_t* outside) {
  const int64_t p = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (p >= count) return;
  const int64_t line = p / inner, o = line / m;
  const int64_t at = index_below(index[same != 0 ? line - o * m : p], n, wrap, outside);
  const int64_t place = (o * n + at) * inner + (p - line * inner);
  key[p] = static_cast<uint32_t>(at < 0 || at == skipped ? none : place);
}

// counts[digit][block]: how many elements of the block's tile have the digit.
TW_KERNEL(kThreads, group_count, uint32_t* counts, const uint32_t* key, int64_t m, int64_t tile,
          int64_t shift) {
  TW_SHARED(uint32_t, count, [kDigits]);
  count[threadIdx.x] = 0;
  __syncthreads();
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * tile;
  const int64_t end = begin + tile < m ? begin + tile : m;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    atomicAdd(&count[key[i] >> shift & (kDigits - 1)], 1u);
  }
  __syncthreads();
  counts[static_cast<int64_t>(threadIdx.x) * gridDim.x + blockIdx.x] = count[threadIdx.x];
}

// Each count becomes the sum of those before it. One block.
TW_KERNEL(kScanThreads, group_scan, uint32_t* counts, int64_t size) {
  TW_SHARED(uint32_t, of_warps, [kScanThreads / kWarpLanes]);
  uint32_t before = 0;
  for (int64_t begin = 0; begin < size; begin += kScanThreads * kScanEach) {
    const int64_t mine = begin + static_cast<int64_t>(threadIdx.x) * kScanEach;
    uint32_t held[kScanEach], sum = 0;
#pragma unroll
    for (int k = 0; k < kScanEach; ++k) {
      held[k] = mine + k < size ? counts[mine + k] : 0;
      sum += held[k];
    }
    const uint32_t upto = sum_upto(sum);
    if (lane() == kWarpLanes - 1) of_warps[warp()] = upto;
    __syncthreads();
    uint32_t at = before + upto - sum;
    for (int w = 0; w < kScanThreads / kWarpLanes; ++w) {
      if (w < warp()) at += of_warps[w];
      before += of_warps[w];
    }
#pragma unroll
    for (int k = 0; k < kScanEach; ++k) {
      if (mine + k < size) counts[mine + k] = at;
      at += held[k];
    }
    __syncthreads();
  }
}

// `member` is where an element stood in the list; null in the first pass: it is where it stands.
TW_KERNEL(kThreads, group_move, uint32_t* to_key, uint32_t* to_member, const uint32_t* key,
          const uint32_t* member, const uint32_t* counts, int64_t m, int64_t tile, int64_t shift) {
  TW_SHARED(uint32_t, next, [kThreads / kWarpLanes][kDigits]);
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * tile;
  const Pass<kThreads / kWarpLanes> pass{key, member, to_key, to_member, begin,
                                         m,   tile,   shift,  next};
  pass.count();
  const int digit = static_cast<int>(threadIdx.x);
  pass.begin_at(digit, counts[static_cast<int64_t>(digit) * gridDim.x + blockIdx.x]);
  __syncthreads();
  pass.move();
}

// All passes over a list that one block takes: from `key` to the first pair of arrays, from that to
// the second, and so on in turn.
TW_KERNEL(kFewThreads, group_few, uint32_t* key_1, uint32_t* member_1, uint32_t* key_2,
          uint32_t* member_2, const uint32_t* key, int64_t m, int64_t tile, int64_t passes) {
  constexpr int kWarps = kFewThreads / kWarpLanes;
  TW_SHARED(uint32_t, next, [kWarps][kDigits]);
  TW_SHARED(uint32_t, of_warps, [kDigits / kWarpLanes]);
  const int digit = static_cast<int>(threadIdx.x);
  for (int64_t i = 0; i < passes; ++i) {
    const bool odd = i % 2 != 0;
    const Pass<kWarps> pass{i == 0 ? key
                            : odd  ? key_1
                                   : key_2,
                            i == 0 ? nullptr
                            : odd  ? member_1
                                   : member_2,
                            odd ? key_2 : key_1,
                            odd ? member_2 : member_1,
                            0,
                            m,
                            tile,
                            8 * i,
                            next};
    pass.count();
    const uint32_t total = digit < kDigits ? pass.total(digit) : 0;
    const uint32_t upto = sum_upto(total);
    if (digit < kDigits && lane() == kWarpLanes - 1) of_warps[warp()] = upto;
    __syncthreads();
    if (digit < kDigits) {
      uint32_t at = upto - total;
      for (int w = 0; w < warp(); ++w) at += of_warps[w];
      pass.begin_at(digit, at);
    }
    __syncthreads();
    pass.move();
    __syncthreads();
  }
}

}  // namespace tilework::grouping_cuda
