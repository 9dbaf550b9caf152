// The correlation over lanes (lanes.h): a few pixels at once, for one vector of channels after
// another.
#pragma once

#include "kernels/conv/lanes.h"
#include "kernels/conv/streaming.h"

namespace tilework::TW_ISA {

// Pixels at once: as many chains as hide an FMA's latency on two ports, and each weight that is
// loaded serves them all.
inline constexpr int kLanePixels = 8;

// So many channels of a pixel before the next pixels: their weights stay in L1, and so do the sums
// that go around the caches, a block at a time. So many rows before further channels: a row that
// several others read stays in L2.
inline constexpr int64_t kLaneChannels = 128, kLaneRows = 8;

// One row of windows.
template <class T>
struct LaneRow {
  const LaneTap<T>* taps;
  int64_t tap_count;
  int64_t in_step;  // from one pixel to the next
  const T* weights;
  int64_t out_channels;
};

// sum[i] += pixel i + t of `in` times weight t, over the terms and over `Taps` taps, each of which
// reads what its neighbour does a pixel further on: what is loaded, and permuted, serves them all.
template <int Taps, int Pixels, class T, class Vector>
TW_INLINE void add_lane_taps(const Vector& v, const T* in, int64_t step, const T* weight,
                             int64_t tap_stride, int64_t term_stride, Vec<T> (&sum)[Pixels]) {
  using V = Vec<T>;
  constexpr int kReads = Pixels + Taps - 1;
  // Three pixels share a base: base, base + step, base + 2 * step are x86 addressing modes.
  constexpr int kBases = (kReads + 2) / 3;
  const T* base[kBases];
#pragma GCC unroll 4
  for (int i = 0; i < kBases; ++i) base[i] = in + 3 * i * step;
  for (int64_t k = 0; k < v.terms; ++k, weight += term_stride) {
    V w[Taps];
#pragma GCC unroll 3
    for (int t = 0; t < Taps; ++t) w[t] = v.out_lanes.load(weight + t * tap_stride);
#pragma GCC unroll 10
    for (int i = 0; i < kReads; ++i) {
      const V x = v.read(base[i / 3] + (i % 3) * step, k);
#pragma GCC unroll 3
      for (int t = 0; t < Taps; ++t)
        if (i >= t && i - t < Pixels) sum[i - t] = fma(x, w[t], sum[i - t]);
    }
  }
}

// Pixels [q, q + Pixels), each of which every tap reaches. Not inlined: around it the compiler
// would keep addresses in the registers that its loops want.
template <int Pixels, class T, class Vector>
__attribute__((noinline)) void lane_block(const LaneRow<T>& r, const Vector& vector, int64_t q,
                                          T* out, int64_t out_step) {
  using V = Vec<T>;
  const Vector v = vector;
  const int64_t step = r.in_step, outs = r.out_channels;
  const LaneTap<T>* const taps_end = r.taps + r.tap_count;
  const T* const weights = r.weights + v.out;
  V sum[Pixels];
#pragma GCC unroll 8
  for (int i = 0; i < Pixels; ++i) sum[i] = V::zero();
  for (const LaneTap<T>* tap = r.taps; tap != taps_end;) {
    const T* in = tap->in + q * step;
    const T* weight = weights + tap->weights;
    if (tap->starts_run) {
      add_lane_taps<3>(v, in, step, weight, v.terms * outs, outs, sum);
      tap += 3;
    } else {
      add_lane_taps<1>(v, in, step, weight, 0, outs, sum);
      ++tap;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Pixels; ++i, out += out_step) v.out_lanes.store(out, sum[i]);
}

// A pixel near the border, which not every tap reaches: in the same order of taps.
template <class T, class Vector>
TW_INLINE void lane_border(const LaneRow<T>& r, const Vector& v, int64_t q, T* out) {
  using V = Vec<T>;
  V sum = V::zero();
  for (int64_t t = 0; t < r.tap_count; ++t) {
    const LaneTap<T>& tap = r.taps[t];
    if (q < tap.begin || q >= tap.end) continue;
    for (int64_t k = 0; k < v.terms; ++k) {
      const V w = v.out_lanes.load(r.weights + tap.weights + k * r.out_channels + v.out);
      sum = fma(v.read(tap.in + q * r.in_step, k), w, sum);
    }
  }
  v.out_lanes.store(out, sum);
}

template <class T>
class LaneCorrelation {
  static constexpr int64_t kVectors = kLaneChannels / Vec<T>::width;

 public:
  LaneCorrelation(const Correlation<T>& g, void* workspace)
      : g_(g),
        arena_(workspace),
        picks_(g, arena_),
        source_(g, arena_),
        streams_(can_stream(g, picks_.out_channels)) {
    weights_ = arena_.template take<T>(g.tap_count * picks_.terms * picks_.out_channels);
    taps_ = arena_.template take<LaneTap<T>>(kLaneRows * g.tap_count);
    sums_ = arena_.template take<T>(streams_ ? kLanePixels * kLaneChannels : 0);
  }
  size_t workspace_bytes() const { return arena_.used(); }

  void run() {
    picks_.fill(g_.outs);
    pack_weights();
    for (int64_t n = 0; n < g_.images; ++n) {
      const Source<T> x = source_.image(g_, n);
      for (int64_t row = 0; row < g_.rows; row += kLaneRows)
        run_rows(x, n, row, least(kLaneRows, g_.rows - row));
    }
    if (streams_) stream_fence();
  }

 private:
  // [tap][term][out channel], whatever order they come in.
  void pack_weights() {
    T* to = weights_;
    for (int64_t t = 0; t < g_.tap_count; ++t)
      for (int64_t k = 0; k < g_.channels; ++k)
        for (int64_t group = 0; group < g_.groups; ++group) {
          const T* from = g_.weight + g_.taps[t].weight + group * g_.w_group + k * g_.w_channel;
          for (int64_t out = 0; out < g_.outs; ++out) *to++ = from[out * g_.w_out];
        }
  }

  void run_rows(const Source<T>& x, int64_t image, int64_t row, int64_t count) {
    LaneRow<T> rows[kLaneRows];
    for (int64_t i = 0; i < count; ++i) {
      LaneTap<T>* taps = taps_ + i * g_.tap_count;
      rows[i] = {taps, list_lane_taps(g_, x, row + i, taps), g_.col_step * x.col, weights_,
                 picks_.out_channels};
    }
    const int64_t next = (g_.row_begin + row + count) * g_.row_step;
    ahead_ = {x.data + next * x.row, least(g_.in_rows - next, kLaneRows * g_.row_step) * x.row};
    for (vector_ = 0; vector_ < picks_.vectors(); vector_ += kVectors)
      for (int64_t i = 0; i < count; ++i)
        run_row(rows[i], image * g_.y_image + (row + i) * g_.y_row);
  }

  // `out_row` counts elements of y.
  void run_row(const LaneRow<T>& r, int64_t out_row) {
    const Inside all = inside(r.taps, r.tap_count, g_.cols);
    int64_t q = 0;
    for (; q < all.begin; ++q) run_border(r, q, out_row);
    for (; q + kLanePixels <= all.end; q += kLanePixels) run_pixels<kLanePixels>(r, q, out_row);
    if (q < all.end && all.end - all.begin >= kLanePixels) {
      // The last block overlaps the one before it: the same sums again cost less than a tail of
      // single pixels, each of which waits for its own chain.
      run_pixels<kLanePixels>(r, all.end - kLanePixels, out_row);
      q = all.end;
    }
    for (; q < all.end; ++q) run_pixels<1>(r, q, out_row);
    for (; q < g_.cols; ++q) run_border(r, q, out_row);
  }

  template <int Pixels>
  void run_pixels(const LaneRow<T>& r, int64_t q, int64_t out_row) {
    run<Pixels>(q, out_row, [&](const auto& v, T* out, int64_t out_step) TW_INLINE_LAMBDA {
      lane_block<Pixels>(r, v, q, out, out_step);
    });
  }
  void run_border(const LaneRow<T>& r, int64_t q, int64_t out_row) {
    run<1>(q, out_row,
           [&](const auto& v, T* out, int64_t) TW_INLINE_LAMBDA { lane_border(r, v, q, out); });
  }

  // sum(vector, where its sums go, from one pixel to the next) for the vectors at hand, then what
  // is fused. A pixel's lines go around the caches whole, which the sums of one vector are not:
  // those wait in L1.
  template <int64_t Pixels, class Sum>
  TW_INLINE void run(int64_t q, int64_t out_row, Sum sum) {
    const int64_t first = vector_ * Vec<T>::width;
    const int64_t at = out_row + q * g_.y_col + first;
    T* const sums = streams_ ? sums_ : g_.y + at;
    const int64_t row = streams_ ? kLaneChannels : g_.y_col;
    for_each_lane_vector(picks_, vector_, least(vector_ + kVectors, picks_.vectors()),
                         [&](const auto& v) TW_INLINE_LAMBDA {
                           sum(v, sums + v.out - first, row);
                           ahead_.ask(Pixels * Vec<T>::width * sizeof(T) / 64);
                         });
    if (!streams_ && !g_.epilogue.changes_result()) return;
    const int64_t channels = least(kLaneChannels, picks_.out_channels - first);
    Epilogue<T> e = epilogue_at(g_.epilogue, 0, at);
    if (e.bias) e.bias = g_.epilogue.bias + first;
    e.residual_row = e.preactivation_row = g_.y_col;
    if (streams_)
      finish_streaming(Pixels, channels, sums, row, g_.y + at, g_.y_col, e);
    else
      finish(Pixels, channels, sums, row, e);
  }

  const Correlation<T>& g_;
  Arena arena_;
  const LanePicks<T> picks_;
  const LaneSource<T> source_;
  const bool streams_;
  T* weights_;
  LaneTap<T>* taps_;
  T* sums_;  // of a block of pixels on their way out
  LookAhead<T> ahead_ = {nullptr, 0};
  int64_t vector_ = 0;  // the first of those at hand
};

template <class T>
bool lane_correlation_suits(const Correlation<T>& g) {
  return lanes_suit<T>(g);
}
template <class T>
size_t lane_correlation_workspace(const Correlation<T>& g) {
  return LaneCorrelation<T>(g, nullptr).workspace_bytes();
}
template <class T>
void lane_correlation(const Correlation<T>& g, void* workspace) {
  LaneCorrelation<T>(g, workspace).run();
}

}  // namespace tilework::TW_ISA
