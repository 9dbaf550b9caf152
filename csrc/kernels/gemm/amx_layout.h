// How operands lie in memory for the split product: panels of 32 rows of A or columns of B.
//
//     panel = [profile of each K block][k-step 0][k-step 1] ... [padding]
//     k-step = one slice after another (high, middle, low), 32 values of k each
//     slice = two tiles of 16 rows of 64 bytes
//
// Row r of a tile of A is row r of the matrix, row j of a tile of B the pair (j, j + 16) of the
// step's 32 rows; in both, 32-bit cell number j (of A) or the whole row j (of B) holds k = j in its
// low half and k = j + 16 in its high half. So both are made from whole vectors by one shift and
// one blend, where pairs (2j, 2j + 1) would need a permutation.
#pragma once

#include "base/arithmetic.h"
#include "kernels/gemm/kernels.h"

namespace tilework::TW_ISA::split {

inline constexpr int kPanel = 32;                   // rows of A or columns of B
inline constexpr int kStep = 32;                    // of K
inline constexpr int kTileWords = 16 * 32;          // bfloat16 values in a tile register
inline constexpr int kSliceWords = 2 * kTileWords;  // of one slice of a k-step
inline constexpr int64_t kLine = 64, kLineWords = kLine / 2, kPage = 4096;

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

// What packing saw of the values in a panel's K block. Exponents are biased (2^e has e + 127) and
// of values rounded to bfloat16.
struct Profile {
  int16_t low, high;  // exponents of the smallest value that is not zero, and of the largest
  int16_t filled;     // the share of values that are not zero, in 1/kWhole, by a sample

  static constexpr int kWhole = 128;
  static constexpr int kSmallest = 25, kLargest = 253;
};

// Whether the products of two panels go through the tiles as exactly as through FMAs. Splitting is
// exact, and products of slices neither underflow nor overflow, within these bounds:
//   - each |x| >= 2^-103 (Profile::kSmallest): the low slice is then a multiple of 2^-126, and no
//     denormal, which tiles take for zero; and |x| < 2^127 (kLargest), or rounding to bfloat16
//     could give Inf;
//   - the smallest product of both panels >= 2^-94: each of the at most six products of slices that
//     is flushed to zero is below 2^-126, together 2^-29 of the product they belong to;
//   - the largest product times the length of a block < 2^127: no partial sum overflows.
// A panel beyond the first bound, or with Inf or NaN, has a profile that fits no other.
inline constexpr int kSmallestProduct = 160, kLargestProduct = 369;
// Two factors below 2 beside their exponents; the length of a block; one more for the rounding of
// slices.
static_assert(kLargestProduct - 2 * 127 + 2 + 9 + 1 <= 127 && KBlocks::kMost <= 1 << 9);

inline bool splits_exactly(const Profile& a, const Profile& b) {
  return a.low + b.low >= kSmallestProduct && a.high + b.high <= kLargestProduct;
}

inline Profile make_profile(int low, int high, bool inexact, int filled) {
  const bool fits = !inexact && low >= Profile::kSmallest && high <= Profile::kLargest;
  return {static_cast<int16_t>(fits ? low : -1024), static_cast<int16_t>(fits ? high : 1024),
          static_cast<int16_t>(filled)};
}

// Whether few products of a k-step matter to a sum, because most are zero or the magnitudes of both
// panels spread far (normal variates spread over some 2^40). A chain of FMAs has one rounding for
// each that matters, the tiles six for each k-step where any does: six of sums at full size, unless
// the small products of slices are summed apart.
inline bool few_products_matter(const Profile& a, const Profile& b) {
  constexpr int kFar = 72, kMostlyZero = Profile::kWhole * Profile::kWhole * 45 / 100;
  return a.high - a.low + b.high - b.low > kFar || a.filled * b.filled < kMostlyZero;
}

// A or B as its panels see it: items are rows of A or columns of B, whose view is transposed.
template <class T>
struct PanelSource {
  MatrixView<T> x;  // (item, k)
  int64_t items, k;

  PanelSource part(int64_t item, int64_t item_count, int64_t k_begin, int64_t k_length) const {
    return {{x.at(item, k_begin), x.row, x.col}, item_count, k_length};
  }
};

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
    return round_up(b.count * static_cast<int64_t>(sizeof(Profile)), kLine);
  }
  // Panels lie 320 bytes off a multiple of the page: at the same distance modulo 4096, the eight
  // panels of a block of A would fall into the same few sets of L1 and L2.
  static int64_t panel_bytes(int64_t k) {
    const KBlocks b(k);
    const int64_t bytes = header_bytes(b) + ceil_div(k, kStep) * kStepBytes;
    return round_up(bytes - 320, kPage) + 320;
  }
  Profile& profile(int64_t panel, int64_t block) const {
    return reinterpret_cast<Profile*>(data + panel * stride)[block];
  }
  uint16_t* steps(int64_t panel, int64_t block) const {
    return reinterpret_cast<uint16_t*>(data + panel * stride + header_bytes(blocks) +
                                       block * (blocks.size / kStep) * kStepBytes);
  }
};

}  // namespace tilework::TW_ISA::split
