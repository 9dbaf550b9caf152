// How operands lie in memory for the split product: panels of 32 rows of A or columns of B.
//
//     panel = [range of each K block][k-step 0][k-step 1] ... [padding]
//     k-step = one slice after another (high, middle, low), 32 values of k each
//     slice = two tiles of 16 rows of 64 bytes
//
// Row r of a tile of A is row r of the matrix, row j of a tile of B the pair (j, j + 16) of the
// step's 32 rows; in both, 32-bit cell number j (of A) or the whole row j (of B) holds k = j in its
// low half and k = j + 16 in its high half. So both are made from whole vectors by one shift and
// one blend, where pairs (2j, 2j + 1) would need a permutation.
#pragma once

#include "kernels/gemm/kernels.h"

namespace tilework::TW_ISA::split {

inline constexpr int kPanel = 32;                   // rows of A or columns of B
inline constexpr int kStep = 32;                    // of K
inline constexpr int kTileWords = 16 * 32;          // bfloat16 values in a tile register
inline constexpr int kSliceWords = 2 * kTileWords;  // of one slice of a k-step
inline constexpr int64_t kLine = 64, kPage = 4096;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// K in blocks of nearly one size, each a whole number of steps. A block's products are summed in
// tiles that start from zero, so a block bounds the chain of roundings: longer ones lose accuracy,
// shorter ones touch C more often. Cut by K alone, so that every piece of a product has the same.
struct KBlocks {
  static constexpr int64_t kMost = 512;
  int64_t k, size, count;

  explicit KBlocks(int64_t k_) : k(k_) {
    size = k > 0 ? round_up(ceil_div(k, ceil_div(k, kMost)), kStep) : kStep;
    count = k > 0 ? ceil_div(k, size) : 0;
  }
  int64_t begin(int64_t block) const { return block * size; }
  int64_t length(int64_t block) const { return least(size, k - block * size); }
};

// The magnitudes in a panel's K block, as biased exponents (of 2^e: e + 127) after rounding to
// bfloat16: that of the smallest value that is not zero, and that of the largest.
//
// Splitting is exact, and products of slices neither underflow nor overflow, within these bounds:
//   - each |x| >= 2^-103: the low slice is then a multiple of 2^-126, since tiles take denormals
//   for
//     zero; and |x| < 2^127, or rounding to bfloat16 could give Inf;
//   - the smallest product of both panels >= 2^-94: each of the at most six products of slices that
//     is flushed to zero is below 2^-126, together 2^-29 of the product they belong to;
//   - the largest product times the length of a block < 2^127: no partial sum overflows.
// A panel beyond the first bound, or with Inf or NaN, is marked as fitting no other.
struct Range {
  int16_t low, high;

  static constexpr int kSmallest = 25, kLargest = 253;
  static constexpr int kSmallestProduct = 160, kLargestProduct = 369;

  static Range of(int low, int high, bool inexact) {
    if (inexact || low < kSmallest || high > kLargest) return {-1024, 1024};
    return {static_cast<int16_t>(low), static_cast<int16_t>(high)};
  }
};
// Two exponents count factors below 2 each; a block is at most 2^9 long; one more for the rounding
// of the slices.
static_assert(Range::kLargestProduct - 2 * 127 + 2 + 9 + 1 <= 127 && KBlocks::kMost <= 1 << 9);

inline bool splits_exactly(Range a, Range b) {
  return a.low + b.low >= Range::kSmallestProduct && a.high + b.high <= Range::kLargestProduct;
}

// Panels in memory, each covering `blocks.k` of K in S slices.
template <int S>
struct Panels {
  static constexpr int64_t kStepWords = S * kSliceWords;
  static constexpr int64_t kStepBytes = kStepWords * 2;

  char* data;
  KBlocks blocks;
  int64_t stride;  // bytes from panel to panel

  Panels(void* at, int64_t k) : data(static_cast<char*>(at)), blocks(k), stride(panel_bytes(k)) {}

  static int64_t header_bytes(const KBlocks& b) {
    return round_up(b.count * static_cast<int64_t>(sizeof(Range)), kLine);
  }
  // Panels lie 320 bytes off a multiple of the page: at the same distance modulo 4096, the eight
  // panels of a block of A would fall into the same few sets of L1 and L2.
  static int64_t panel_bytes(int64_t k) {
    const KBlocks b(k);
    const int64_t bytes = header_bytes(b) + ceil_div(k, kStep) * kStepBytes;
    return round_up(bytes - 320, kPage) + 320;
  }
  Range& range(int64_t panel, int64_t block) const {
    return reinterpret_cast<Range*>(data + panel * stride)[block];
  }
  uint16_t* steps(int64_t panel, int64_t block) const {
    return reinterpret_cast<uint16_t*>(data + panel * stride + header_bytes(blocks) +
                                       block * (blocks.size / kStep) * kStepBytes);
  }
};

}  // namespace tilework::TW_ISA::split
