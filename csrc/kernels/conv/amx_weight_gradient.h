// The weights' gradient on AMX's tiles, float32 split into slices (amx_gemm.h):
//
//     32 channels x 32 outs of a tap's weights = the sum over k-steps of 32 pixels of x^T x grad
//
// The grid is one long row of pixels as in amx_planes.h, with margins between its rows, where grad
// counts as zero. x lies channel by channel, 32 pixels that follow on in a line of a tile: a tap is
// then a load a few pixels further along, and x is split and transposed once for all of them.
//
// Pixels are taken in units, cut by the grid alone; what does not split exactly in one goes, by
// panels of 32 channels and outs, through the AVX-512 routine. So no cut of channels or outs among
// threads can change an answer.
#pragma once

#include "kernels/conv/amx_correlation.h"

namespace tilework::TW_ISA::split {

inline const ConvRoutine<WeightGradient<float>>& plain_weight_gradient() {
  const ConvRoutines<float>& table = avx512::conv_kernels.f32;
  return table.weight_gradients[table.weight_gradient_count - 1];
}

// Of a unit, where an image has no more: enough for several K blocks, each of which reads and
// writes all totals.
inline constexpr int64_t kUnitPixels = 2048;

// The k-step at hand of a unit under one tap, and the line of the next that is to be asked for.
template <int S>
struct PixelSteps {
  const uint16_t* x;
  const int64_t* offset;  // of each step's pixels from x
  int64_t line_words, slice_words;
  const uint16_t* grad;

  TW_INLINE const uint16_t* a_slice(int slice) const { return x + *offset + slice * slice_words; }
  TW_INLINE const uint16_t* a_lower(int slice) const { return a_slice(slice) + 16 * line_words; }
  TW_INLINE ptrdiff_t a_row() const { return line_words * 2; }
  TW_INLINE const uint16_t* b_slice(int slice) const { return grad + slice * kSliceWords; }
  TW_INLINE const uint16_t* next_line(int line) const {
    return grad + S * kSliceWords + line * kLineWords;
  }
  TW_INLINE void advance() {
    ++offset;
    grad += S * kSliceWords;
  }
};

template <int S>
struct PixelPlan : PlanePlan {
  int64_t taps, channel_panels, out_panels;
  int64_t images_at_once, units, steps;  // images (or one's band) of a unit, units, k-steps of one
  int64_t line_words, slice_words, x_panel_words, grad_panel_words;

  explicit PixelPlan(const WeightGradient<float>& g) : PlanePlan(one_chunk(g), S) {
    taps = g.tap_count;
    channel_panels = ceil_div(g.channels, kPanel);
    out_panels = ceil_div(g.outs, kPanel);
    images_at_once = bands > 1 ? 1 : least(kUnitPixels / (blocks * kStep), g.images);
    if (images_at_once < 1) images_at_once = 1;
    units = bands > 1 ? g.images * bands : ceil_div(g.images, images_at_once);
    steps = images_at_once * blocks;
    // An odd number of lines: the rows of a tile must not meet in few sets of L1.
    line_words = round_up(images_at_once * image_words(), kLineWords);
    if (line_words / kLineWords % 2 == 0) line_words += kLineWords;
    slice_words = kPanel * line_words;
    x_panel_words = S * slice_words;
    grad_panel_words = steps * S * kSliceWords;
  }
  // Of a channel's line: an image's pixels in all phases.
  int64_t image_words() const { return PlanePlan::slice_words / kPixelWords; }
  int64_t sums() const { return out_panels * channel_panels * taps; }
  // Of a pixel in a channel's line.
  int64_t place(const ConvGeometry& g, const Tap& tap) const {
    return offset(g, tap, 0) / kPixelWords;
  }

 private:
  // Units must not depend on how many channels a piece has.
  static ConvGeometry one_chunk(ConvGeometry g) {
    g.channels = kStep;
    return g;
  }
};

template <int S>
class TiledWeightGradient {
 public:
  TiledWeightGradient(const WeightGradient<float>& g, void* workspace)
      : g_(g), plan_(g), arena_(workspace) {
    offsets_ = arena_.template take<int64_t>(plan_.steps + 1);
    x_ = arena_.template take<uint16_t>(plan_.channel_panels * plan_.x_panel_words);
    grad_ = arena_.template take<uint16_t>(plan_.out_panels * plan_.grad_panel_words);
    totals_ = arena_.template take<float>(plan_.sums() * kSums);
    sums_ = arena_.template take<float>(kSums);
    zeros_ = arena_.template take<float>(round_up(g.channels > g.outs ? g.channels : g.outs, 16));
    of_x_ = arena_.template take<Profile>(plan_.channel_panels);
    of_grad_ = arena_.template take<Profile>(plan_.out_panels);
    taps_ = arena_.template take<Tap>(plan_.taps);
    plain_workspace_ = arena_.template take<char>(plain_bytes());
  }
  size_t workspace_bytes() const { return arena_.used(); }

  void run() {
    fill_zeros(plan_.channel_panels * plan_.x_panel_words / 2, reinterpret_cast<float*>(x_));
    fill_zeros(round_up(g_.channels > g_.outs ? g_.channels : g_.outs, 16), zeros_);
    for (int64_t t = 0; t < plan_.taps; ++t) taps_[t] = {g_.taps[t].row, g_.taps[t].col, t * kSums};
    for (int64_t i = 0; i <= plan_.steps; ++i)
      offsets_[i] = i / plan_.blocks * plan_.image_words() + i % plan_.blocks * kStep;
    const tiles::Configured held;
    for (unit_ = 0; unit_ < plan_.units; ++unit_) {
      for (int64_t p = 0; p < plan_.channel_panels; ++p) pack_x(p);
      for (int64_t p = 0; p < plan_.out_panels; ++p) pack_grad(p);
      for (int64_t o = 0; o < plan_.out_panels; ++o) multiply(o);
    }
    put_totals();
  }

 private:
  static constexpr int64_t kSums = kPanel * kPanel;

  // Of the unit at hand.
  int64_t image() const { return unit_ / plan_.bands * plan_.images_at_once; }
  int64_t images() const { return least(plan_.images_at_once, g_.images - image()); }
  int64_t steps() const { return images() * plan_.blocks; }
  int64_t band() const { return unit_ % plan_.bands * plan_.band_rows; }
  int64_t rows() const { return least(plan_.band_rows, g_.rows - band()); }
  int64_t channels_of(int64_t panel) const { return least(kPanel, g_.channels - panel * kPanel); }
  int64_t outs_of(int64_t panel) const { return least(kPanel, g_.outs - panel * kPanel); }
  float* total(int64_t out_panel, int64_t channel_panel, int64_t tap) const {
    return totals_ +
           ((out_panel * plan_.channel_panels + channel_panel) * plan_.taps + tap) * kSums;
  }

  // --- packing ---

  void pack_x(int64_t panel) {
    Watch watch = Watch::nothing();
    for (int64_t n = 0; n < images(); ++n) pack_image(panel, n, watch);
    of_x_[panel] = watch.profile(Profile::kWhole);
  }

  void pack_image(int64_t panel, int64_t n, Watch& watch) {
    const int64_t begin = (g_.row_begin + band() + plan_.row_low) * g_.row_step;
    for (int64_t i = 0; i < plan_.x_rows(g_); ++i)
      for (int64_t c = 0; c < g_.col_step; ++c) {
        const int64_t phase = plan_.number[i % g_.row_step * g_.col_step + c];
        if (phase < 0) continue;
        uint16_t* out = x_ + panel * plan_.x_panel_words + n * plan_.image_words() +
                        plan_.at(0, phase, i / g_.row_step, plan_.left) / kPixelWords;
        const int64_t row = begin + i;
        const int64_t cols = least(plan_.cols, ceil_div(g_.in_cols - c, g_.col_step));
        const float* x = row < 0 || row >= g_.in_rows
                             ? nullptr
                             : g_.x + (image() + n) * g_.x_image + row * g_.x_row + c * g_.x_col +
                                   panel * kPanel;
        for (int64_t at = 0; at < cols; at += kStep)
          pack_x_step(x, at, least(kStep, cols - at), panel, out + at, watch);
      }
  }

  // 32 pixels at most, from column `at` of a phase's row (null: zeros) on.
  void pack_x_step(const float* x, int64_t at, int64_t count, int64_t panel, uint16_t* out,
                   Watch& watch) {
    const float *even_pixel[16], *odd_pixel[16];
    const auto pixel = [&](int64_t i) {
      return x && i < count ? x + (at + i) * g_.col_step * g_.x_col : zeros_;
    };
    for (int j = 0; j < 16; ++j) even_pixel[j] = pixel(2 * j), odd_pixel[j] = pixel(2 * j + 1);
    constexpr int group = kLaneGroup<float>;
    alignas(64) uint16_t lines[S * kLineWords];
    for (int64_t c = 0; c < channels_of(panel); c += group) {
      Vec<float> even[group], odd[group];
      load_transposed(even_pixel, c, even);
      load_transposed(odd_pixel, c, odd);
      for (int j = 0; j < group; ++j) {
        split_line<S>(even[j].v, odd[j].v, lines, watch, kLineWords);
        for (int s = 0; s < S; ++s)
          __builtin_memcpy(out + s * plan_.slice_words + (c + j) * plan_.line_words,
                           lines + s * kLineWords, static_cast<size_t>(count) * 2);
      }
    }
  }

  void pack_grad(int64_t panel) {
    Watch watch = Watch::nothing();
    uint16_t* step = grad_ + panel * plan_.grad_panel_words;
    const int outs = static_cast<int>(outs_of(panel)), first = outs < 16 ? outs : 16;
    const float* grad =
        g_.grad + image() * g_.grad_image + (g_.row_begin + band()) * g_.grad_row + panel * kPanel;
    const auto pixel = [&](int64_t q) {
      const int64_t n = q / (plan_.blocks * kStep), within = q % (plan_.blocks * kStep);
      const int64_t row = within / plan_.pitch, col = within % plan_.pitch;
      return row < rows() && col < g_.cols
                 ? grad + n * g_.grad_image + row * g_.grad_row + col * g_.grad_col
                 : zeros_;
    };
    for (int64_t b = 0; b < steps(); ++b, step += S * kSliceWords)
      for (int64_t j = 0; j < 16; ++j) {
        const float *even = pixel(b * kStep + 2 * j), *odd = pixel(b * kStep + 2 * j + 1);
        uint16_t* line = step + j * kLineWords;
        split_line<S>(Vec<float>::load_partial(even, first).v,
                      Vec<float>::load_partial(odd, first).v, line, watch);
        split_line<S>(Vec<float>::load_partial(even + first, outs - first).v,
                      Vec<float>::load_partial(odd + first, outs - first).v, line + kTileWords,
                      watch);
      }
    of_grad_[panel] = watch.profile(Profile::kWhole);
  }

  // --- products ---

  // The unit's for a panel of outs. Taps go innermost: they read the same pixels.
  void multiply(int64_t out_panel) {
    Meanwhile meanwhile{};
    meanwhile.next_b = reinterpret_cast<const char*>(grad_);
    meanwhile.next_c = totals_;
    const int64_t size = ceil_div(steps(), ceil_div(steps(), kStepsMost));
    for (int64_t step = 0; step < steps(); step += size)
      for (int64_t p = 0; p < plan_.channel_panels; ++p) {
        if (!splits_exactly(of_x_[p], of_grad_[out_panel])) continue;
        for (int64_t t = 0; t < plan_.taps; ++t) {
          const PixelSteps<S> at{
              x_ + p * plan_.x_panel_words + plan_.place(g_, g_.taps[t]), offsets_ + step,
              plan_.line_words, plan_.slice_words,
              grad_ + out_panel * plan_.grad_panel_words + step * S * kSliceWords};
          // The large products apart: the AVX-512 routine's chains are of two rows of pixels at
          // most, and six roundings a step at full size would be more than theirs.
          sum_products<S, 0, S == 3, PixelSteps<S>>(at, least(size, steps() - step), meanwhile);
          store_sums(sums_, kPanel);
          meanwhile.pending = Pending::of(sums_, total(out_panel, p, t), kPanel, kPanel, kPanel,
                                          unit_ > 0 || step > 0);
        }
      }
    while (meanwhile.pending.rows > 0) meanwhile.pending.finish_row();
    for (int64_t p = 0; p < plan_.channel_panels; ++p)
      if (!splits_exactly(of_x_[p], of_grad_[out_panel]))
        plain_weight_gradient().run(piece(out_panel, p), plain_workspace_);
  }

  // A panel of channels and one of outs of the unit, into their totals.
  WeightGradient<float> piece(int64_t out_panel, int64_t channel_panel) const {
    WeightGradient<float> p = g_;
    p.images = images();
    p.row_begin += band();
    p.rows = rows();
    p.channels = channels_of(channel_panel);
    p.outs = outs_of(out_panel);
    p.taps = taps_;
    p.x += image() * g_.x_image + channel_panel * kPanel;
    p.grad += image() * g_.grad_image + out_panel * kPanel;
    p.dweight = total(out_panel, channel_panel, 0);
    p.w_channel = kPanel;
    p.w_out = 1;
    p.add = unit_ > 0;
    return p;
  }
  size_t plain_bytes() const {
    WeightGradient<float> p = g_;
    p.images = plan_.images_at_once;
    p.rows = g_.rows;
    p.w_out = 1;
    p.outs = least(kPanel, g_.outs);
    p.channels = least(kPanel, g_.channels);
    const size_t whole = plain_weight_gradient().workspace_bytes(p);
    p.channels = channels_of(plan_.channel_panels - 1);  // few channels go another way
    const size_t last = plain_weight_gradient().workspace_bytes(p);
    return whole > last ? whole : last;
  }

  void put_totals() const {
    for (int64_t o = 0; o < plan_.out_panels; ++o)
      for (int64_t p = 0; p < plan_.channel_panels; ++p)
        for (int64_t t = 0; t < plan_.taps; ++t)
          for (int64_t c = 0; c < channels_of(p); ++c) {
            const float* from = total(o, p, t) + c * kPanel;
            float* to = g_.dweight + g_.taps[t].weight + (p * kPanel + c) * g_.w_channel +
                        o * kPanel * g_.w_out;
            if (g_.w_out == 1)
              copy(from, outs_of(o), to);
            else
              for (int64_t i = 0; i < outs_of(o); ++i) to[i * g_.w_out] = from[i];
          }
  }

  const WeightGradient<float>& g_;
  const PixelPlan<S> plan_;
  Arena arena_;
  int64_t* offsets_;
  uint16_t *x_, *grad_;
  float *totals_, *sums_, *zeros_;
  Profile *of_x_, *of_grad_;
  Tap* taps_;
  void* plain_workspace_;
  int64_t unit_ = 0;
};

template <int S>
size_t weight_gradient_workspace(const WeightGradient<float>& g) {
  return TiledWeightGradient<S>(g, nullptr).workspace_bytes();
}
template <int S>
void weight_gradient_run(const WeightGradient<float>& g, void* workspace) {
  TiledWeightGradient<S>(g, workspace).run();
}

// As tiles_suit(). Transpositions read whole groups of four channels.
template <int S>
bool weight_gradient_suits(const WeightGradient<float>& g) {
  constexpr int64_t kLeast = 16;
  if (g.precision != Slices<S>::precision || g.groups != 1 || g.channels < kLeast ||
      g.outs < kLeast || g.channels % kLaneGroup<float> != 0 || g.x_channel != 1 ||
      g.grad_out != 1 || g.images * g.rows * g.cols == 0 || g.tap_count == 0 ||
      g.row_step * g.col_step > PlanePlan::kMostPhases)
    return false;
  const PixelPlan<S> plan(g);
  constexpr double kTile = 0.45 * Slices<S>::products / products_of(Sweep::six),
                   kTranspose = 1.5 * Slices<S>::pack_cost, kSetup = 20e3;
  const auto real = [](int64_t x) { return static_cast<double>(x); };
  const double whole = real(plan.sums() * kPanel * kPanel);
  const int64_t bands = g.images * plan.bands;
  const double pixels = real(bands * plan.blocks * kStep);
  const double packed = kTranspose * real(bands * plan.x_rows(g) * g.in_cols * g.channels) +
                        Slices<S>::pack_cost * pixels * real(g.outs);
  const double plain =
      real(g.images * g.rows * g.cols) * real(g.outs) * real(g.channels * g.tap_count);
  return kTile * pixels * whole + packed + kSetup < plain;
}

template <int S>
constexpr ConvRoutine<WeightGradient<float>> tiled_weight_gradient(const char* name) {
  return {name,
          kWhySplit,
          weight_gradient_suits<S>,
          kPanel,
          kPanel,
          weight_gradient_workspace<S>,
          weight_gradient_run<S>};
}
inline constexpr ConvRoutine<WeightGradient<float>> kWeightGradients[] = {
    tiled_weight_gradient<3>("bf16x6"),
    tiled_weight_gradient<2>("bf16x3"),
    tiled_weight_gradient<1>("bf16"),
};

}  // namespace tilework::TW_ISA::split
