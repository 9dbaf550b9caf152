// The correlation on AMX's tiles: bfloat16 as it is, and float32 split into slices, as gemm's
// (amx_gemm.h says which products are kept, and when splitting is exact).
//
//     32 pixels x 32 outs of y = the sum over k-steps (chunk of 32 channels, tap) of
//                                32 pixels of a plane (amx_planes.h) x a k-step of packed weights
//
// Taps go innermost: those of a chunk read the same few rows of pixels, which stay in L1, so that
// what streams from L2 is the weights; their next k-step is what the products fetch ahead. K goes
// in blocks whose tiles start from zero, since long chains lose the small products of slices.
//
// What does not split exactly goes through the AVX-512 routine, a row of y and 32 outs at a time:
// by what the whole rows of x and all weights hold that meet there, so that neither the cut among
// threads nor where a tile begins can change an answer.
#pragma once

#include "kernels/conv/amx_planes.h"
#include "kernels/conv/streaming.h"
#include "kernels/gemm/amx_block.h"

namespace tilework::avx512 {
extern const ConvKernels conv_kernels;
}

namespace tilework::TW_ISA::split {

// Serves what the tiles cannot; it suits every correlation.
inline const ConvRoutine<Correlation<float>>& plain_correlation() {
  const ConvRoutines<float>& table = avx512::conv_kernels.f32;
  return table.correlations[table.correlation_count - 1];
}

// A K block, in k-steps: 288 products, a chunk under the nine taps of a 3x3 window. Sums at full
// size are rounded six times a step, so this many round about as often as the AVX-512 routine's
// chains of 128; and adding a block to the total hides behind the products of the next.
inline constexpr int64_t kStepsMost = 9;
// Weights that stay in L2 while blocks of pixels pass; larger ones pass themselves, panel by panel.
inline constexpr int64_t kWeightsInL2 = 1 << 20, kBlocksOfPixels = 8;

// The k-step at hand of a window, and the line of the next that is to be asked for.
template <int S>
struct TapSteps {
  const uint16_t* x;
  const int64_t* offset;  // of each step's pixels from x
  int64_t slice_words;
  const uint16_t* weights;

  TW_INLINE const uint16_t* a_slice(int slice) const { return x + *offset + slice * slice_words; }
  TW_INLINE const uint16_t* a_lower(int slice) const { return a_slice(slice) + kTileWords; }
  TW_INLINE ptrdiff_t a_row() const { return kLine; }
  TW_INLINE const uint16_t* b_slice(int slice) const { return weights + slice * kSliceWords; }
  TW_INLINE const uint16_t* next_line(int line) const {
    return weights + S * kSliceWords + line * kLineWords;
  }
  TW_INLINE void advance() {
    ++offset;
    weights += S * kSliceWords;
  }
};

template <class Way>
struct TilePlan : PlanePlan {
  int64_t steps, k_blocks, k_size;  // of K: steps in all, blocks, steps of one
  int64_t panels;                   // of weights
  int64_t units, units_at_once, blocks_at_once;

  explicit TilePlan(const ConvGeometry& g) : PlanePlan(g, Way::count) {
    steps = chunks * g.tap_count;
    k_size = ceil_div(steps, ceil_div(steps, kStepsMost));
    k_blocks = ceil_div(steps, k_size);
    panels = ceil_div(g.outs, kPanel);
    units = g.images * bands;
    const bool resident = weights_bytes() <= kWeightsInL2;
    // Weights that pass meet as many pixels as can be.
    const int64_t fit = kPlaneBytes / (unit_words * 2);
    units_at_once = resident || fit < 1 ? 1 : least(fit, units);
    blocks_at_once = resident ? kBlocksOfPixels : units_at_once * blocks;
  }
  int64_t weights_bytes() const { return panels * WeightPanel<Way>::bytes(steps); }
};

template <class Way>
class TiledCorrelation {
  using T = typename Way::Value;
  static constexpr int S = Way::count;

 public:
  TiledCorrelation(const Correlation<T>& g, void* workspace) : g_(g), plan_(g), arena_(workspace) {
    offsets_ = arena_.template take<int64_t>(plan_.steps + 1);
    planes_ = arena_.template take<uint16_t>(plan_.units_at_once * plan_.unit_words);
    of_x_rows_ = arena_.template take<Profile>(plan_.x_rows(g));
    of_rows_ = arena_.template take<Profile>(plan_.units_at_once * plan_.band_rows);
    row_ = arena_.template take<T>(PlanePacker<Way>::row_room(g));
    sums_ = arena_.template take<float>(kSums);
    total_ = arena_.template take<float>(kSums);
    if constexpr (Way::splits) plain_workspace_ = arena_.template take<char>(plain_bytes());
  }
  size_t workspace_bytes() const { return arena_.used(); }

  void run() {
    list_steps();
    const int64_t words = plan_.units_at_once * plan_.unit_words;
    fill_zeros(words / 2, reinterpret_cast<float*>(planes_));
    const tiles::Configured held;
    for (unit_ = 0; unit_ < plan_.units; unit_ += plan_.units_at_once) {
      const int64_t count = least(plan_.units_at_once, plan_.units - unit_);
      for (int64_t i = 0; i < count; ++i) pack_unit(i);
      multiply(count);
      if constexpr (Way::splits)
        for (int64_t i = 0; i < count; ++i)
          for (int64_t p = 0; p < plan_.panels; ++p) multiply_plainly(i, p);
    }
  }

 private:
  static constexpr int64_t kSums = kPanel * kPanel;
  enum class Route { tiles, tiles_apart, plain };

  // 32 pixels of a unit and 32 outs, by one route; their sums wait to be put into y.
  struct Block {
    int64_t unit, pixel, panel;
    Route route;
    const float* sums;  // null: nothing waits
  };

  int64_t image_of(int64_t unit) const { return (unit_ + unit) / plan_.bands; }
  int64_t band_of(int64_t unit) const { return (unit_ + unit) % plan_.bands * plan_.band_rows; }
  int64_t rows_of(int64_t unit) const { return least(plan_.band_rows, g_.rows - band_of(unit)); }
  int64_t outs_of(int64_t panel) const { return least(kPanel, g_.outs - panel * kPanel); }
  WeightPanel<Way> weights(int64_t panel) const {
    return {const_cast<char*>(g_.packed) + panel * WeightPanel<Way>::bytes(plan_.steps)};
  }

  void list_steps() {
    for (int64_t c = 0, step = 0; c < plan_.chunks; ++c)
      for (int64_t t = 0; t < g_.tap_count; ++t) offsets_[step++] = plan_.offset(g_, g_.taps[t], c);
    offsets_[plan_.steps] = 0;
  }

  // --- packing ---

  void pack_unit(int64_t unit) {
    const PlanePacker<Way> packer(g_, plan_, row_);
    const T* image = g_.x + image_of(unit) * g_.x_image;
    const int64_t begin = (g_.row_begin + band_of(unit) + plan_.row_low) * g_.row_step;
    for (int64_t i = 0; i < plan_.x_rows(g_); ++i)
      of_x_rows_[i] = packer.run(image, begin + i, i, planes_ + unit * plan_.unit_words);
    for (int64_t row = 0; row < plan_.band_rows; ++row)
      of_rows_[unit * plan_.band_rows + row] = profile_of_windows(row);
  }

  // Of all that a row of the grid reads.
  Profile profile_of_windows(int64_t row) const {
    Profile all = of_x_rows_[row * g_.row_step + g_.taps[0].row - plan_.row_low * g_.row_step];
    int64_t filled = 0;
    for (int64_t t = 0; t < g_.tap_count; ++t) {
      const int64_t from = row * g_.row_step + g_.taps[t].row - plan_.row_low * g_.row_step;
      const Profile& one = of_x_rows_[from];
      if (one.low < all.low) all.low = one.low;
      if (one.high > all.high) all.high = one.high;
      filled += one.filled;
    }
    all.filled = static_cast<int16_t>(filled / g_.tap_count);
    return all;
  }

  Route route_of(int64_t unit, int64_t row, int64_t panel) const {
    if (!Way::splits) return Route::tiles;
    const Profile &x = of_rows_[unit * plan_.band_rows + row], &w = weights(panel).profile();
    if (!splits_exactly(x, w)) return Route::plain;
    return S == 3 && few_products_matter(x, w) ? Route::tiles_apart : Route::tiles;
  }

  // --- products ---

  void multiply(int64_t units) {
    const int64_t count = units * plan_.blocks;
    meanwhile_ = {};
    meanwhile_.next_b = g_.packed;
    waiting_ = {};
    for (int64_t begin = 0; begin < count; begin += plan_.blocks_at_once)
      for (int64_t p = 0; p < plan_.panels; ++p)
        for (int64_t i = begin; i < least(begin + plan_.blocks_at_once, count); ++i) {
          Block block{i / plan_.blocks, i % plan_.blocks * kPanel, p, Route::tiles, nullptr};
          multiply_block<false>(block);
          if constexpr (S == 3) multiply_block<true>(block);
        }
    while (meanwhile_.pending.rows > 0) meanwhile_.pending.finish_row();
    put_waiting();
  }

  template <bool apart>
  void multiply_block(Block block) {
    block.route = apart ? Route::tiles_apart : Route::tiles;
    const T* y = nullptr;
    for_each_run(block, [&](int64_t, int64_t row, int64_t col, int64_t) {
      if (!y) y = g_.y + offset_of(block, row, col);
    });
    if (!y) return;
    meanwhile_.next_c_row = g_.y_col * static_cast<int64_t>(sizeof(T)) / 4;
    TapSteps<S> at{planes_ + block.unit * plan_.unit_words + block.pixel * kPixelWords, offsets_,
                   plan_.slice_words, weights(block.panel).steps()};
    for (int64_t kb = 0; kb < plan_.k_blocks; ++kb) {
      const int64_t steps = least(plan_.k_size, plan_.steps - kb * plan_.k_size);
      meanwhile_.next_c = reinterpret_cast<const float*>(y);
      sum_products<S, 0, apart, TapSteps<S>>(at, steps, meanwhile_);
      put_waiting();
      store_sums(sums_, kPanel);
      if (plan_.k_blocks > 1)
        meanwhile_.pending = Pending::of(sums_, total_, kPanel, kPanel, kPanel, kb > 0);
      at.offset += steps;
      at.weights += steps * S * kSliceWords;
    }
    block.sums = plan_.k_blocks > 1 ? total_ : sums_;
    waiting_ = block;
  }

  // --- y ---

  // Calls body(pixel of the block, row of the unit, column, count) for each run of its pixels that
  // are y's and go its way.
  template <class Body>
  TW_INLINE void for_each_run(const Block& b, Body&& body) const {
    const int64_t end = b.pixel + kPanel, rows = rows_of(b.unit);
    for (int64_t row = b.pixel / plan_.pitch; row < rows && row * plan_.pitch < end; ++row) {
      const int64_t start = row * plan_.pitch, from = b.pixel > start ? b.pixel : start;
      const int64_t count = least(start + g_.cols, end) - from;
      if (count > 0 && route_of(b.unit, row, b.panel) == b.route)
        body(from - b.pixel, row, from - start, count);
    }
  }
  int64_t offset_of(const Block& b, int64_t row, int64_t col) const {
    return image_of(b.unit) * g_.y_image + (band_of(b.unit) + row) * g_.y_row + col * g_.y_col +
           b.panel * kPanel;
  }

  void put_waiting() {
    if (!waiting_.sums) return;
    const Block b = waiting_;
    waiting_.sums = nullptr;
    for_each_run(b, [&](int64_t pixel, int64_t row, int64_t col, int64_t count) {
      const int64_t at = offset_of(b, row, col);
      finish_sums<T, T>(count, outs_of(b.panel), b.sums + pixel * kPanel, kPanel, nullptr,
                        g_.y + at, g_.y_col, epilogue_from(at, b.panel));
    });
  }

  Epilogue<T> epilogue_from(int64_t at, int64_t panel) const {
    return epilogue_of(g_, at, panel * kPanel);
  }

  // --- the other route ---

  // The rows of a unit that do not split, as few calls as can be.
  void multiply_plainly(int64_t unit, int64_t panel) {
    const int64_t rows = rows_of(unit);
    const auto plain = [&](int64_t row) { return route_of(unit, row, panel) == Route::plain; };
    for (int64_t row = 0; row < rows;) {
      int64_t end = row;
      while (end < rows && plain(end)) ++end;
      if (end > row) plain_correlation().run(piece(unit, panel, row, end - row), plain_workspace_);
      row = end + 1;
    }
  }

  Correlation<T> piece(int64_t unit, int64_t panel, int64_t row, int64_t rows) const {
    const int64_t at = offset_of({unit, 0, panel, Route::plain, nullptr}, row, 0);
    Correlation<T> p = g_;
    p.images = 1;
    p.row_begin += band_of(unit) + row;
    p.rows = rows;
    p.outs = outs_of(panel);
    p.x += image_of(unit) * g_.x_image;
    p.weight += panel * kPanel * g_.w_out;
    p.packed = nullptr;
    p.y += at;
    p.epilogue = epilogue_from(at, panel);
    return p;
  }
  // Enough for every piece: all rows, and beginning where lines do, which may take more.
  size_t plain_bytes() const {
    Correlation<T> p = g_;
    p.images = 1;
    p.outs = least(g_.outs, kPanel);
    p.packed = nullptr;
    p.y = p.epilogue.preactivation = nullptr;
    return plain_correlation().workspace_bytes(p);
  }

  const Correlation<T>& g_;
  const TilePlan<Way> plan_;
  Arena arena_;
  int64_t* offsets_;
  uint16_t* planes_;
  Profile *of_x_rows_, *of_rows_;
  T* row_;
  float *sums_, *total_;
  void* plain_workspace_;
  int64_t unit_ = 0;  // the first of those at hand
  Meanwhile meanwhile_;
  Block waiting_;
};

template <class Way>
size_t tiled_workspace(const Correlation<typename Way::Value>& g) {
  return TiledCorrelation<Way>(g, nullptr).workspace_bytes();
}
template <class Way>
void tiled_run(const Correlation<typename Way::Value>& g, void* workspace) {
  TiledCorrelation<Way>(g, workspace).run();
}

// As gemm's (amx_gemm.h), in units of one float32 multiply-add of the AVX-512 routine: what tiles
// gain against what they lose in packing, in margins and in channels and outs that are no multiples
// of 32.
template <class Way>
bool tiles_suit(const Correlation<typename Way::Value>& g) {
  constexpr int64_t kLeast = 16, kMostWeights = 64 << 20;
  if (g.groups != 1 || g.channels < kLeast || g.outs < kLeast || g.tap_count == 0 ||
      g.row_step * g.col_step > PlanePlan::kMostPhases)
    return false;
  if constexpr (Way::splits)
    if (g.precision != Way::precision) return false;
  const TilePlan<Way> plan(g);
  if (plan.weights_bytes() > kMostWeights) return false;
  constexpr double kTile = 0.45 * Way::products / products_of(Sweep::six), kSetup = 20e3;
  const auto real = [](int64_t x) { return static_cast<double>(x); };
  const double whole_outs = real(plan.panels * kPanel), whole_k = real(plan.steps * kStep);
  const double pixels = real(plan.units * plan.blocks * kPanel);
  const double packed =
      real(plan.units * plan.x_rows(g) * g.in_cols) * real(g.channels) + whole_outs * whole_k;
  const double plain =
      real(g.images * g.rows * g.cols) * real(g.outs) * real(g.channels * g.tap_count);
  return kTile * pixels * whole_outs * whole_k + Way::pack_cost * packed + kSetup < plain;
}

template <class Way>
constexpr ConvRoutine<Correlation<typename Way::Value>> tiled_correlation(const char* name,
                                                                          const char* why) {
  return {name,
          why,
          tiles_suit<Way>,
          kPanel,
          1,
          tiled_workspace<Way>,
          tiled_run<Way>,
          WeightPanel<Way>::bytes_for,
          pack_weights<Way>,
          true};
}

#define TW_WHY_TILES "; each tap of a window is one load of 16 pixels"
inline constexpr const char* kWhySplit =
    "float32 split into slices for bfloat16 tiles" TW_WHY_TILES;
inline constexpr const char* kWhyStored = "bfloat16 tiles" TW_WHY_TILES;
#undef TW_WHY_TILES

inline constexpr ConvRoutine<Correlation<float>> kCorrelations[] = {
    tiled_correlation<Slices<3>>("bf16x6", kWhySplit),
    tiled_correlation<Slices<2>>("bf16x3", kWhySplit),
    tiled_correlation<Slices<1>>("bf16", kWhySplit),
};
inline constexpr ConvRoutine<Correlation<bfloat16>> kBf16Correlation =
    tiled_correlation<AsStored>("bf16 tiles", kWhyStored);

}  // namespace tilework::TW_ISA::split
