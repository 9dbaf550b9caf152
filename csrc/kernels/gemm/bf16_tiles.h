// Products of bfloat16 through AMX, by tdpbf16ps as the operands are: panels as of the split
// product's high slice (amx_layout.h), but with values 2 j and 2 j + 1 of K in a 32-bit cell, so
// that a row that is adjacent along K is copied as it lies.
//
// Tiles take denormals for zeros; Inf and NaN are as IEEE has them, so no panel needs another way.
#pragma once

#include "kernels/gemm/amx_block.h"
#include "kernels/gemm/amx_gemm.h"
#include "kernels/gemm/bf16_pairs.h"
#include "kernels/gemm/bf16_ways.h"
#include "kernels/tile/arena.h"

namespace tilework::TW_ISA::bf16 {

using split::KBlocks;
using split::kLine;
using split::kPanel;
using split::kPanelsMost;
using split::kStep;
using split::kTileWords;
using split::Meanwhile;
using split::Pending;
using Panels = split::Panels<1>;

using Source = split::PanelSource<bfloat16>;

inline constexpr int kTileItems = 16;

// One tile of B: its line j holds the pair j of up to 16 columns; zeros where there is none.
inline void pack_tile_of_b(const Source& in, uint16_t* out) {
  float* lines = reinterpret_cast<float*>(out);
  int64_t done = 0;
  if (in.items > 0)
    pairs_of(static_cast<int>(in.items), in.k, in.x.data, in.x.row, in.x.col,
             [&](int64_t pair, Vec<float> words) TW_INLINE_LAMBDA {
               words.store(lines + pair * kTileItems);
               done = pair + 1;
             });
  for (; done < kStep / 2; ++done) Vec<float>::zero().store(lines + done * kTileItems);
}

// One tile of A: its line i holds the values of row i.
inline void pack_tile_of_a(const Source& in, uint16_t* out) {
  float* lines = reinterpret_cast<float*>(out);
  if (in.x.col == 1) {
    for (int i = 0; i < kTileItems; ++i) {
      Vec<float>::zero().store(lines + i * kTileItems);
      if (i < in.items) copy_words(in.k, in.x.data + i * in.x.row, lines + i * kTileItems);
    }
  } else {
    alignas(64) float turned[kTileItems * kTileItems];
    pack_tile_of_b(in, reinterpret_cast<uint16_t*>(turned));
    const float* row[kTileItems];
    for (int j = 0; j < kTileItems; ++j) row[j] = turned + j * kTileItems;
    constexpr int group = kLaneGroup<float>;
    for (int i = 0; i < kTileItems; i += group) {
      Vec<float> out[group];
      load_transposed(row, i, out);
      for (int j = 0; j < group; ++j) out[j].store(lines + (i + j) * kTileItems);
    }
  }
}

// Packs `in`, K block `block` of it, where `out` has it. Steps go outside where K runs across
// memory, so that B's rows are read to their end.
template <split::Side side>
void pack_block(const Source& in, const Panels& out, int64_t block) {
  const int64_t panels = ceil_div(in.items, kPanel), steps = ceil_div(in.k, kStep);
  const auto pack_one = [&](int64_t p, int64_t s) {
    for (int half = 0; half < kPanel; half += kTileItems) {
      const int64_t item = p * kPanel + half, k = s * kStep;
      const int64_t items = in.items - item;
      const Source tile =
          in.part(items > 0 ? item : 0, items > 0 ? least<int64_t>(items, kTileItems) : 0, k,
                  least<int64_t>(in.k - k, kStep));
      uint16_t* to = out.steps(p, block) + s * Panels::kStepWords + half / kTileItems * kTileWords;
      side == split::Side::a ? pack_tile_of_a(tile, to) : pack_tile_of_b(tile, to);
    }
  };
  if (in.x.col == 1)
    for (int64_t p = 0; p < panels; ++p)
      for (int64_t s = 0; s < steps; ++s) pack_one(p, s);
  else
    for (int64_t s = 0; s < steps; ++s)
      for (int64_t p = 0; p < panels; ++p) pack_one(p, s);
}

inline void pack_all_of_b(const GemmArgs<bfloat16>& g, int64_t col, int64_t cols,
                          const Panels& out) {
  const Source all{g.b.transposed(), g.n, g.k};
  for (int64_t kb = 0; kb < out.blocks.count; ++kb)
    pack_block<split::Side::b>(all.part(col, cols, out.blocks.begin(kb), out.blocks.length(kb)),
                               out, kb);
}

// How C is cut: a block of A (one K block of up to 8 panels) stays in L2 while panels of B pass; B
// is packed over all of K, as many panels as fit kMostOfB. Sums wait in float32 where K has blocks.
struct TileSizes {
  static constexpr int64_t kPanelsOfA = 8, kMostOfB = 4 << 20, kSums = kPanel * kPanel;
  int64_t panels_of_b, b, blocks, sums, end;  // where each begins, in bytes: A at 0

  TileSizes(int64_t m, int64_t n, int64_t k) {
    const KBlocks k_blocks(k);
    const int64_t panels_of_a = least(ceil_div(m, kPanel), kPanelsOfA);
    const int64_t fit = kMostOfB / Panels::panel_bytes(k);
    panels_of_b = least(ceil_div(n, kPanel), least(fit > 1 ? fit : 1, kPanelsMost));
    b = round_up(Panels::panel_bytes(k_blocks.size), kLine) * panels_of_a;
    blocks = b + round_up(Panels::panel_bytes(k), kLine) * panels_of_b;
    sums = blocks + aligned_bytes<float>(kSums);
    end = sums + (k_blocks.count > 1 ? aligned_bytes<float>(kSums * panels_of_a * panels_of_b) : 0);
  }
};

class TileProduct {
 public:
  TileProduct(const GemmArgs<bfloat16>& args, void* workspace)
      : g_(args),
        at_(args.m, args.n, args.k),
        a_(workspace, KBlocks(args.k).size),
        b_(static_cast<char*>(workspace) + at_.b, args.k),
        block_(reinterpret_cast<float*>(static_cast<char*>(workspace) + at_.blocks)),
        sums_(reinterpret_cast<float*>(static_cast<char*>(workspace) + at_.sums)) {}

  static size_t workspace_bytes(int64_t m, int64_t n, int64_t k) { return TileSizes(m, n, k).end; }

  void run() {
    const tiles::Configured held;
    const Source a{g_.a, g_.m, g_.k};
    for (int64_t col = 0; col < g_.n; col += at_.panels_of_b * kPanel) {
      const int64_t cols = least(at_.panels_of_b * kPanel, g_.n - col);
      const Panels b = g_.packed.data ? packed_from(col) : b_;
      if (!g_.packed.data) pack_all_of_b(g_, col, cols, b);
      for (int64_t row = 0; row < g_.m; row += TileSizes::kPanelsOfA * kPanel) {
        const int64_t rows = least(TileSizes::kPanelsOfA * kPanel, g_.m - row);
        for (int64_t kb = 0; kb < b.blocks.count; ++kb) {
          const int64_t length = b.blocks.length(kb);
          pack_block<split::Side::a>(a.part(row, rows, b.blocks.begin(kb), length), a_, 0);
          multiply({row, col, rows, cols}, b, kb, ceil_div(length, kStep));
        }
      }
    }
  }

 private:
  struct Place {
    int64_t row, col, rows, cols;
  };

  Panels packed_from(int64_t col) const {
    Panels p(const_cast<char*>(g_.packed.data), g_.k);
    p.data += col / kPanel * p.stride;
    return p;
  }

  // Adds K block kb's products for a block of C, and puts them into C after the last.
  void multiply(const Place& at, const Panels& b, int64_t kb, int64_t steps) {
    const int64_t panels_a = ceil_div(at.rows, kPanel), panels_b = ceil_div(at.cols, kPanel);
    const bool one = b.blocks.count == 1, last = kb + 1 == b.blocks.count;
    // Few panels of A give few products to fetch the next panel of B behind.
    const bool hurry =
        panels_a * split::products_of(split::Sweep::high) * kLine < Panels::kStepBytes;
    Meanwhile meanwhile{};
    meanwhile.next_c = block_;
    for (int64_t j = 0; j < panels_b; ++j) {
      const bool more = j + 1 < panels_b;
      const char* fetch = reinterpret_cast<const char*>(b.steps(more ? j + 1 : j, kb));
      const char* fetch_end = fetch + (more ? steps * Panels::kStepBytes : 0);
      meanwhile.next_b = fetch;
      for (int64_t i = 0; i < panels_a; ++i) {
        meanwhile.next_b_advance = meanwhile.next_b < fetch_end ? kLine * (hurry ? 4 : 1) : 0;
        (hurry ? split::sum_products<1, 4, false>
               : split::sum_products<1, 1, false>)({a_.steps(i, 0), b.steps(j, kb)}, steps,
                                                   meanwhile);
        float* sums = one ? block_ : sums_ + (j * panels_a + i) * TileSizes::kSums;
        if (kb == 0) {
          split::store_sums(sums, kPanel);
        } else {
          split::store_sums(block_, kPanel);
          Pending added = Pending::of(block_, sums, kPanel, kPanel, kPanel, true);
          while (added.rows > 0) added.finish_row();
        }
        if (last)
          finish(g_, at.row + i * kPanel, at.col + j * kPanel,
                 least<int64_t>(kPanel, at.rows - i * kPanel),
                 least<int64_t>(kPanel, at.cols - j * kPanel), sums, kPanel);
      }
    }
    if (last) BlocksDone<bfloat16>(g_, at.row, at.rows, at.col).up_to(at.col + at.cols);
  }

  const GemmArgs<bfloat16>& g_;
  const TileSizes at_;
  const Panels a_, b_;
  float *const block_, *const sums_;
};

inline void tiles_run(const GemmArgs<bfloat16>& args, void* workspace) {
  TileProduct(args, workspace).run();
}
inline size_t tiles_panel_bytes(int64_t k, MatmulPrecision) { return Panels::panel_bytes(k); }
inline void tiles_pack(const GemmArgs<bfloat16>& args, void* packed) {
  pack_all_of_b(args, 0, args.n, Panels(packed, args.k));
}

// As split::suits(), in units of one float32 multiply-add; tiles pack two thirds of what the
// widening product does.
inline bool tiles_suit(const GemmArgs<bfloat16>& g) {
  constexpr int64_t kLeast = 16;
  if (g.k == 0 || g.m < kLeast || g.n < kLeast) return false;
  constexpr double kPackTiles = 8, kPack = 12, kTile = 0.45 * 4 / 24, kSetup = 20e3;
  const bool ahead = g.packed.data && g.packed.routine->run == tiles_run;
  const auto real = [](int64_t x) { return static_cast<double>(x); };
  const double whole_m = real(round_up(g.m, kPanel)), whole_n = real(round_up(g.n, kPanel));
  const double tiles = kTile * whole_m * whole_n + kPackTiles * (whole_m + (ahead ? 0 : whole_n));
  const double plain = real(g.m) * real(g.n) + kPack * real(g.m + g.n);
  return tiles * real(round_up(g.k, kStep)) + kSetup < plain * real(g.k);
}

inline constexpr GemmRoutine<bfloat16> kTileRoutine = {
    "bf16 tiles", tiles_suit,        kPanel,     kPanel, TileProduct::workspace_bytes,
    tiles_run,    tiles_panel_bytes, tiles_pack,
};

}  // namespace tilework::TW_ISA::bf16
