// The correlation over lanes (lanes.h): a few pixels at once, for each vector of channels.
#pragma once

#include "kernels/conv/lanes.h"
#include "kernels/gemm/epilogue.h"

namespace tilework::TW_ISA {

// Pixels at once: as many chains as hide an FMA's latency on two ports, and each weight that is
// loaded serves them all.
inline constexpr int kLanePixels = 8;

// A vector of channels goes down so many rows before the next, so that an input row that several of
// them read stays in L1.
inline constexpr int64_t kLaneRows = 8;

template <class T>
struct LaneRow {
  const LaneTap<T>* taps;
  int64_t tap_count;
  T* out;
};

template <class T>
struct LaneRows {
  const LaneRow<T>* rows;
  int64_t row_count;
  int64_t count, in_step, out_step;  // pixels of a row; elements from one to the next
  const T* weights;
  int64_t out_channels;
  LookAhead<T>* ahead;
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

// Blocks of `Pixels` pixels from q on, each of which every tap reaches, up to `end`; gives where
// they stop. Not inlined: around it the compiler would keep addresses in the registers that its
// loops want.
template <int Pixels, class T, class Vector>
__attribute__((noinline)) int64_t lane_blocks(const LaneRows<T>& a, const LaneRow<T>& r,
                                              const Vector& vector, int64_t q, int64_t end) {
  using V = Vec<T>;
  const Vector v = vector;
  const int64_t step = a.in_step, outs = a.out_channels, out_step = a.out_step;
  const LaneTap<T>* const taps_end = r.taps + r.tap_count;
  const T* const weights = a.weights + v.out;
  for (; q + Pixels <= end; q += Pixels) {
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
    a.ahead->ask(Pixels);
    T* out = r.out + q * out_step + v.out;
#pragma GCC unroll 8
    for (int i = 0; i < Pixels; ++i, out += out_step) v.out_lanes.store(out, sum[i]);
  }
  return q;
}

// A pixel near the border, which not every tap reaches: in the same order of taps.
template <class T, class Vector>
TW_INLINE void lane_border(const LaneRows<T>& a, const LaneRow<T>& r, const Vector& v, int64_t q) {
  using V = Vec<T>;
  V sum = V::zero();
  for (int64_t t = 0; t < r.tap_count; ++t) {
    const LaneTap<T>& tap = r.taps[t];
    if (q < tap.begin || q >= tap.end) continue;
    for (int64_t k = 0; k < v.terms; ++k) {
      const V w = v.out_lanes.load(a.weights + tap.weights + k * a.out_channels + v.out);
      sum = fma(v.read(tap.in + q * a.in_step, k), w, sum);
    }
  }
  v.out_lanes.store(r.out + q * a.out_step + v.out, sum);
}

template <class T, class Vector>
TW_INLINE void lane_row(const LaneRows<T>& a, const LaneRow<T>& r, const Vector& v) {
  const Inside all = inside(r.taps, r.tap_count, a.count);
  int64_t q = 0;
  for (; q < all.begin; ++q) lane_border(a, r, v, q);
  q = lane_blocks<kLanePixels>(a, r, v, q, all.end);
  if (q < all.end && all.end - all.begin >= kLanePixels) {
    // The last block overlaps the one before it: the same sums again cost less than a tail of
    // single pixels, each of which waits for its own chain.
    q = lane_blocks<kLanePixels>(a, r, v, all.end - kLanePixels, all.end);
  }
  q = lane_blocks<1>(a, r, v, q, all.end);
  for (; q < a.count; ++q) lane_border(a, r, v, q);
}

template <class T>
class LaneCorrelation {
 public:
  LaneCorrelation(const Correlation<T>& g, void* workspace)
      : g_(g), arena_(workspace), picks_(g, arena_), source_(g, arena_) {
    weights_ = arena_.template take<T>(g.tap_count * picks_.terms * picks_.out_channels);
    taps_ = arena_.template take<LaneTap<T>>(kLaneRows * g.tap_count);
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
    const int64_t at = image * g_.y_image + row * g_.y_row;
    for (int64_t i = 0; i < count; ++i) {
      LaneTap<T>* taps = taps_ + i * g_.tap_count;
      rows[i] = {taps, list_lane_taps(g_, x, row + i, taps), g_.y + at + i * g_.y_row};
    }
    const int64_t next = (g_.row_begin + row + count) * g_.row_step;
    LookAhead<T> ahead(x.data + next * x.row,
                       least(g_.in_rows - next, kLaneRows * g_.row_step) * x.row);
    const LaneRows<T> a{
        rows, count, g_.cols, g_.col_step * x.col, g_.y_col, weights_, picks_.out_channels, &ahead};
    for_each_lane_vector(picks_, [&](const auto& v) TW_INLINE_LAMBDA {
      for (int64_t i = 0; i < count; ++i) lane_row(a, rows[i], v);
    });
    if (!g_.epilogue.changes_result()) return;
    for (int64_t i = 0; i < count; ++i) {
      Epilogue<T> e = epilogue_at(g_.epilogue, 0, at + i * g_.y_row);
      e.bias = g_.epilogue.bias;
      e.residual_row = e.preactivation_row = g_.y_col;
      finish(g_.cols, picks_.out_channels, rows[i].out, g_.y_col, e);
    }
  }

  const Correlation<T>& g_;
  Arena arena_;
  const LanePicks<T> picks_;
  const LaneSource<T> source_;
  T* weights_;
  LaneTap<T>* taps_;
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
