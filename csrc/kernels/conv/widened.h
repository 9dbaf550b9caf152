// Convolutions of bfloat16 by the float routines: a band of rows is widened into memory that stays
// in the cache, the float routine sums it there, and what follows a sum is computed in float and
// rounded once, on its way out.
#pragma once

#include "kernels/conv/routines.h"
#include "kernels/conv/widened_images.h"

namespace tilework::TW_ISA::bf16 {

// Of a band, with the sums that it gives: a quarter of an L2; but no fewer pixels than make it
// worth the weights' going by.
inline constexpr int64_t kBandElements = 1 << 17, kFewestPixels = 256;

template <class T>
TW_INLINE T larger(T a, T b) {
  return a > b ? a : b;
}

// What a widened correlation goes by: the float routine at an index of the table, whose weights are
// packed or widened with the pixels,
template <int kAt, bool kPacks>
struct ByRoutine {
  static constexpr bool packs = kPacks;
  static constexpr const ConvRoutine<Correlation<float>>& routine() {
    return kCorrelations<float>[kAt];
  }
  static int64_t row_unit(const ConvGeometry&) { return 1; }
  static size_t workspace_bytes(const Correlation<float>& piece, const Correlation<bfloat16>&) {
    return routine().workspace_bytes(piece);
  }
  static void run(const Correlation<float>& piece, const Correlation<bfloat16>&, void* workspace) {
    routine().run(piece, workspace);
  }
};
// or minimal filtering, which reads weights as they lie for the few patches that need it.
template <class F>
struct ByMinimalFiltering {
  static constexpr bool packs = true;
  static int64_t row_unit(const ConvGeometry& g) { return winograd_row_unit<F>(g); }
  static size_t workspace_bytes(const Correlation<float>& piece, const Correlation<bfloat16>& g) {
    return winograd_workspace<F>(piece, g);
  }
  static void run(const Correlation<float>& piece, const Correlation<bfloat16>& g,
                  void* workspace) {
    winograd<F>(piece, g, workspace);
  }
};

template <class Inner>
class WidenedCorrelation {
 public:
  WidenedCorrelation(const Correlation<bfloat16>& g, void* workspace)
      : g_(g), bands_(g, rows_of_band(g)), arena_(workspace) {
    int64_t pixels = 0;
    size_t most = 0;
    bands_.each_size(g, [&](int64_t images, int64_t row, int64_t rows) {
      const Correlation<float> piece = outline(images, row, rows);
      pixels = larger(pixels, images * CopyExtent::of(piece, false).pixels(piece));
      most = larger(most, Inner::workspace_bytes(piece, g_));
    });
    images_ = arena_.take<float>(pixels * channels());
    sums_ = arena_.take<float>(bands_.images * bands_.rows * g.cols * outs());
    weights_ = arena_.take<float>(Inner::packs ? 0 : g.tap_count * g.channels * outs());
    taps_ = arena_.take<Tap>(Inner::packs ? 0 : g.tap_count);
    inner_workspace_ = arena_.take<char>(static_cast<int64_t>(most));
  }
  size_t workspace_bytes() const { return arena_.used(); }

  void run() {
    if constexpr (!Inner::packs) widen_weights();
    bands_.each(g_, [&](int64_t image, int64_t images, int64_t row, int64_t rows) {
      Inner::run(widened(image, images, row, rows), g_, inner_workspace_);
      finish_band(image, images, row, rows);
    });
  }

 private:
  int64_t channels() const { return g_.groups * g_.channels; }
  int64_t outs() const { return g_.groups * g_.outs; }

  static int64_t rows_of_band(const Correlation<bfloat16>& g) {
    const int64_t a_row = g.groups * (g.row_step * g.in_cols * g.channels + g.cols * g.outs);
    const int64_t most = larger(kBandElements / larger(a_row, int64_t{1}),
                                kFewestPixels / larger(g.cols, int64_t{1}));
    const int64_t unit = Inner::row_unit(g);
    return ceil_div(most, unit) * unit;
  }

  ImageStrides strides() const { return {g_.x_image, g_.x_row, g_.x_col, g_.x_channel}; }

  // What the float routine computes of a band, but for where the arrays lie.
  Correlation<float> outline(int64_t images, int64_t row, int64_t rows) const {
    Correlation<float> f{};
    static_cast<ConvGeometry&>(f) = band_of(g_, images, row, rows);
    const CopyExtent e = CopyExtent::of(f, false);
    const ImageStrides x = widened_strides(strides(), e.end - e.begin, g_.in_cols, channels());
    f.x_image = x.image;
    f.x_row = x.row;
    f.x_col = x.col;
    f.x_channel = x.channel;
    f.w_group = g_.outs;
    f.w_channel = outs();
    f.w_out = 1;
    f.y_col = outs();
    f.y_row = g_.cols * outs();
    f.y_image = rows * f.y_row;
    return f;
  }

  Correlation<float> widened(int64_t image, int64_t images, int64_t row, int64_t rows) const {
    Correlation<float> f = outline(images, row, rows);
    const CopyExtent e = CopyExtent::of(f, false);
    widen_images(g_.x + image * g_.x_image + e.begin * g_.x_row, strides(), images, e.end - e.begin,
                 g_.in_cols, channels(), {f.x_image, f.x_row, f.x_col, f.x_channel}, images_);
    f.x = images_ - e.begin * f.x_row;
    f.y = sums_;
    f.packed = g_.packed;
    if constexpr (!Inner::packs) {
      f.weight = weights_;
      f.taps = taps_;
    }
    return f;
  }

  // [tap][channel][group][out]
  void widen_weights() {
    float* out = weights_;
    for (int64_t t = 0; t < g_.tap_count; ++t) {
      taps_[t] = {g_.taps[t].row, g_.taps[t].col, t * g_.channels * outs()};
      for (int64_t c = 0; c < g_.channels; ++c)
        for (int64_t group = 0; group < g_.groups; ++group) {
          const bfloat16* w = g_.weight + g_.taps[t].weight + group * g_.w_group + c * g_.w_channel;
          for (int64_t o = 0; o < g_.outs; ++o) *out++ = to_float(w[o * g_.w_out]);
        }
    }
  }

  void finish_band(int64_t image, int64_t images, int64_t row, int64_t rows) const {
    Epilogue<bfloat16> all = g_.epilogue;
    all.residual_row = all.preactivation_row = g_.y_col;
    for (int64_t i = 0; i < images * rows; ++i) {
      const int64_t at = (image + i / rows) * g_.y_image + (row + i % rows) * g_.y_row;
      Epilogue<bfloat16> e = epilogue_at(all, 0, at);
      e.bias = all.bias;
      finish_sums<bfloat16, bfloat16>(g_.cols, outs(), sums_ + i * g_.cols * outs(), outs(),
                                      nullptr, g_.y + at, g_.y_col, e);
    }
  }

  const Correlation<bfloat16>& g_;
  const Bands bands_;
  Arena arena_;
  float *images_ = nullptr, *sums_ = nullptr, *weights_ = nullptr;
  Tap* taps_ = nullptr;
  char* inner_workspace_ = nullptr;
};

// Gradients of weights sum over bands in memory of their own, [group][tap][channel][out], and are
// rounded when all pixels are in.
template <int kInner>
class WidenedWeightGradient {
  static constexpr const ConvRoutine<WeightGradient<float>>& inner() {
    return kWeightGradients<float>[kInner];
  }

 public:
  WidenedWeightGradient(const WeightGradient<bfloat16>& g, void* workspace)
      : g_(g), bands_(g, rows_of_band(g)), arena_(workspace) {
    taps_ = arena_.take<Tap>(g.tap_count);
    sums_ = arena_.take<float>(g.groups * g.tap_count * g.channels * g.outs);
    int64_t pixels = 0;
    size_t most = inner().workspace_bytes(outline(0, 0, 0));
    bands_.each_size(g, [&](int64_t images, int64_t row, int64_t rows) {
      const WeightGradient<float> piece = outline(images, row, rows);
      pixels = larger(pixels, images * CopyExtent::of(piece, false).pixels(piece));
      most = larger(most, inner().workspace_bytes(piece));
    });
    images_ = arena_.take<float>(pixels * channels());
    grads_ = arena_.take<float>(bands_.images * bands_.rows * g.cols * outs());
    inner_workspace_ = arena_.take<char>(static_cast<int64_t>(most));
  }
  size_t workspace_bytes() const { return arena_.used(); }

  static bool suits(const WeightGradient<bfloat16>& g) {
    WeightGradient<float> f{};
    static_cast<ConvGeometry&>(f) = g;
    f.x_channel = g.x_channel;
    f.grad_out = g.grad_out;
    return inner().suits(f);
  }

  void run() {
    for (int64_t t = 0; t < g_.tap_count; ++t)
      taps_[t] = {g_.taps[t].row, g_.taps[t].col, t * g_.channels * g_.outs};
    bool add = false;
    const auto sum = [&](int64_t image, int64_t images, int64_t row, int64_t rows) {
      WeightGradient<float> piece = widened(image, images, row, rows);
      piece.add = add;
      inner().run(piece, inner_workspace_);
      add = true;
    };
    bands_.each(g_, sum);
    if (!add) sum(0, 0, 0, 0);  // of no pixels: zeros
    put_sums();
  }

 private:
  // Bands decide where sums are cut: by pixels alone, which no piece has fewer of than the whole.
  // Of whole patches, as minimal filtering has them.
  static int64_t rows_of_band(const WeightGradient<bfloat16>& g) {
    return ceil_div(2 * kPixelBlock / larger(g.cols, int64_t{1}), F4x4::side) * F4x4::side;
  }

  int64_t channels() const { return g_.groups * g_.channels; }
  int64_t outs() const { return g_.groups * g_.outs; }
  ImageStrides strides_of_x() const { return {g_.x_image, g_.x_row, g_.x_col, g_.x_channel}; }
  ImageStrides strides_of_grad() const {
    return {g_.grad_image, g_.grad_row, g_.grad_col, g_.grad_out};
  }

  // What the float routine computes of a band, but for where the arrays lie.
  WeightGradient<float> outline(int64_t images, int64_t row, int64_t rows) const {
    WeightGradient<float> f{};
    static_cast<ConvGeometry&>(f) = band_of(g_, images, row, rows);
    const CopyExtent e = CopyExtent::of(f, false);
    const ImageStrides x = widened_strides(strides_of_x(), e.end - e.begin, g_.in_cols, channels());
    f.x_image = x.image;
    f.x_row = x.row;
    f.x_col = x.col;
    f.x_channel = x.channel;
    const ImageStrides grad = widened_strides(strides_of_grad(), rows, g_.cols, outs());
    f.grad_image = grad.image;
    f.grad_row = grad.row;
    f.grad_col = grad.col;
    f.grad_out = grad.channel;
    f.w_out = 1;
    f.w_channel = g_.outs;
    f.w_group = g_.tap_count * g_.channels * g_.outs;
    return f;
  }

  WeightGradient<float> widened(int64_t image, int64_t images, int64_t row, int64_t rows) const {
    WeightGradient<float> f = outline(images, row, rows);
    const CopyExtent e = CopyExtent::of(f, false);
    widen_images(g_.x + image * g_.x_image + e.begin * g_.x_row, strides_of_x(), images,
                 e.end - e.begin, g_.in_cols, channels(),
                 {f.x_image, f.x_row, f.x_col, f.x_channel}, images_);
    widen_images(g_.grad + image * g_.grad_image + f.row_begin * g_.grad_row, strides_of_grad(),
                 images, rows, g_.cols, outs(), {f.grad_image, f.grad_row, f.grad_col, f.grad_out},
                 grads_);
    f.x = images_ - e.begin * f.x_row;
    f.grad = grads_ - f.row_begin * f.grad_row;
    f.taps = taps_;
    f.dweight = sums_;
    return f;
  }

  void put_sums() const {
    const float* from = sums_;
    for (int64_t group = 0; group < g_.groups; ++group)
      for (int64_t t = 0; t < g_.tap_count; ++t)
        for (int64_t c = 0; c < g_.channels; ++c, from += g_.outs) {
          bfloat16* to = g_.dweight + group * g_.w_group + g_.taps[t].weight + c * g_.w_channel;
          if (g_.w_out == 1)
            sweep<float>(g_.outs, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
              store(lanes, to + i, lanes.load(from + i));
            });
          else
            for (int64_t o = 0; o < g_.outs; ++o) to[o * g_.w_out] = to_bfloat16(from[o]);
        }
  }

  const WeightGradient<bfloat16>& g_;
  const Bands bands_;
  Arena arena_;
  Tap* taps_ = nullptr;
  float *sums_ = nullptr, *images_ = nullptr, *grads_ = nullptr;
  char* inner_workspace_ = nullptr;
};

// Sums that go by at a time: they are rounded while they are near. Of more, x is widened again.
inline constexpr int64_t kSumElements = 1 << 18;

inline int64_t outs_at_once(const WeightGradient<bfloat16>& g) {
  constexpr int64_t unit = Tile<float>::nr;
  const int64_t of_an_out = larger(g.tap_count * g.channels, int64_t{1});
  return g.groups > 1 ? g.outs : larger(kSumElements / of_an_out / unit, int64_t{1}) * unit;
}
inline WeightGradient<bfloat16> outs_from(WeightGradient<bfloat16> g, int64_t out) {
  g.outs = least(outs_at_once(g), g.outs - out);
  g.grad += out * g.grad_out;
  g.dweight += out * g.w_out;
  return g;
}
template <int kInner>
size_t weight_gradient_workspace(const WeightGradient<bfloat16>& g) {
  const auto bytes_from = [&](int64_t out) {
    return WidenedWeightGradient<kInner>(outs_from(g, out), nullptr).workspace_bytes();
  };
  const int64_t last = g.outs > 0 ? (g.outs - 1) / outs_at_once(g) * outs_at_once(g) : 0;
  return larger(bytes_from(0), bytes_from(last));
}
template <int kInner>
void weight_gradient_run(const WeightGradient<bfloat16>& g, void* workspace) {
  for (int64_t out = 0; out < g.outs; out += outs_at_once(g)) {
    const WeightGradient<bfloat16> piece = outs_from(g, out);
    WidenedWeightGradient<kInner>(piece, workspace).run();
  }
}

template <class Inner>
size_t correlation_workspace(const Correlation<bfloat16>& g) {
  return WidenedCorrelation<Inner>(g, nullptr).workspace_bytes();
}
template <class Inner>
void correlation_run(const Correlation<bfloat16>& g, void* workspace) {
  WidenedCorrelation<Inner>(g, workspace).run();
}

// The float routine at kAt, under a name of its own.
template <int kAt, bool kPacks>
constexpr ConvRoutine<Correlation<bfloat16>> widened_correlation(const char* name,
                                                                 const char* why) {
  using Inner = ByRoutine<kAt, kPacks>;
  constexpr const ConvRoutine<Correlation<float>>& inner = Inner::routine();
  return {name,
          why,
          [](const Correlation<bfloat16>& g) {
            Correlation<float> f{};
            static_cast<ConvGeometry&>(f) = g;
            return Inner::routine().suits(f);
          },
          inner.out_unit,
          inner.channel_unit,
          correlation_workspace<Inner>,
          correlation_run<Inner>,
          kPacks ? packed_panel_bytes<bfloat16> : nullptr,
          kPacks ? pack_panels<bfloat16> : nullptr,
          kPacks};
}
template <class F>
constexpr ConvRoutine<Correlation<bfloat16>> widened_winograd() {
  using Inner = ByMinimalFiltering<F>;
  return {F::name,
          F::why,
          [](const Correlation<bfloat16>& g) { return winograd_suits<F>(g); },
          Tile<float>::nr,
          1,
          correlation_workspace<Inner>,
          correlation_run<Inner>,
          winograd_unit_bytes<F, bfloat16>,
          winograd_pack<F, bfloat16>,
          true,
          [](const Correlation<bfloat16>& g) { return winograd_row_unit<F>(g); }};
}
template <int kInner>
constexpr ConvRoutine<WeightGradient<bfloat16>> widened_weight_gradient(const char* name,
                                                                        const char* why) {
  constexpr const ConvRoutine<WeightGradient<float>>& inner = kWeightGradients<float>[kInner];
  return {name,
          why,
          WidenedWeightGradient<kInner>::suits,
          inner.out_unit,
          inner.channel_unit,
          weight_gradient_workspace<kInner>,
          weight_gradient_run<kInner>};
}

}  // namespace tilework::TW_ISA::bf16
