// The correlation over lanes (lanes.h): a few pixels at once, for one vector of channels after
// another.
#pragma once

#include "kernels/conv/lanes.h"
#include "kernels/conv/streaming.h"

namespace tilework::TW_ISA {

// Pixels at once: as many chains as hide an FMA's latency on two ports, and each weight that is
// loaded serves them all.
inline constexpr int kLanePixels = 8;

// So many channels of a block of pixels, then the block below: what their windows share of x stays
// in L1, with the weights, and the sums that go around the caches. So many rows before the next
// block of pixels: what these share stays in L2.
inline constexpr int64_t kLaneChannels = 128, kLaneRows = 4;
// So many channels of a block go around the caches at once: more stores than a core can queue would
// hold up the sums that follow.
inline constexpr int64_t kStreamedChannels = 32;

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

// Pixels [q, q + Pixels), each of which every tap reaches, of some vectors of one kind. Not
// inlined: around it the compiler would keep addresses in the registers that its loops want.
template <int Pixels, bool permuted, class Lanes, class T>
__attribute__((noinline)) void lane_block(const LaneRow<T>& row, const LanePicks<T>& picks,
                                          const Part& vectors, int64_t q, T* out, int64_t out_step,
                                          LookAhead<T>& ahead) {
  using V = Vec<T>;
  const LaneRow<T> r = row;
  const LaneTap<T>* const taps_end = r.taps + r.tap_count;
  for (int64_t i = 0; i < vectors.size; ++i, out += V::width) {
    const auto v = lane_vector<T, permuted, Lanes>(picks, vectors.begin + i);
    V sum[Pixels];
#pragma GCC unroll 8
    for (int p = 0; p < Pixels; ++p) sum[p] = V::zero();
    for (const LaneTap<T>* tap = r.taps; tap != taps_end;) {
      const T* in = tap->in + q * r.in_step;
      const T* weight = r.weights + tap->weights + v.out;
      if (tap->starts_run) {
        add_lane_taps<3>(v, in, r.in_step, weight, v.terms * r.out_channels, r.out_channels, sum);
        tap += 3;
      } else {
        add_lane_taps<1>(v, in, r.in_step, weight, 0, r.out_channels, sum);
        ++tap;
      }
    }
    T* to = out;
#pragma GCC unroll 8
    for (int p = 0; p < Pixels; ++p, to += out_step) v.out_lanes.store(to, sum[p]);
    ahead.ask(Pixels * V::width * sizeof(T) / 64);
  }
}

template <class T>
class LaneCorrelation {
  static constexpr int64_t kVectors = kLaneChannels / Vec<T>::width;
  static constexpr int64_t kStreamedVectors = kStreamedChannels / Vec<T>::width;

 public:
  LaneCorrelation(const Correlation<T>& g, void* workspace)
      : g_(g),
        arena_(workspace),
        picks_(g, arena_),
        source_(g, arena_),
        streams_(can_stream(g, picks_.out_channels)),
        inside_(pixels_inside(g)) {
    weights_ = arena_.template take<T>(g.tap_count * picks_.terms * picks_.out_channels);
    taps_ = arena_.template take<LaneTap<T>>((kLaneRows + 1) * g.tap_count);
    sums_ = arena_.template take<T>(streams_ ? kLanePixels * kStreamedChannels : 0);
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
    row_count_ = count;
    for (int64_t i = 0; i < count; ++i) {
      LaneTap<T>* taps = taps_ + i * g_.tap_count;
      rows_[i] = {taps, list_lane_taps(g_, x, row + i, taps), g_.col_step * x.col, weights_,
                  picks_.out_channels};
    }
    const int64_t next = (g_.row_begin + row + count) * g_.row_step;
    ahead_ = {x.data + next * x.row, least(g_.in_rows - next, kLaneRows * g_.row_step) * x.row};
    const int64_t out = image * g_.y_image + row * g_.y_row;
    for (vector_ = 0; vector_ < picks_.vectors(); vector_ += kVectors) run_channels(out);
  }

  // The vectors at hand of all rows at hand; `out` counts elements of y.
  void run_channels(int64_t out) {
    int64_t q = 0;
    for (; q < inside_.begin; ++q) run_border(q, out);
    for (; q + kLanePixels <= inside_.end; q += kLanePixels) run_pixels<kLanePixels>(q, out);
    if (q < inside_.end && inside_.end - inside_.begin >= kLanePixels) {
      // The last block overlaps the one before it: the same sums again cost less than a tail of
      // single pixels, each of which waits for its own chain.
      run_pixels<kLanePixels>(inside_.end - kLanePixels, out);
      q = inside_.end;
    }
    for (; q < inside_.end; ++q) run_pixels<1>(q, out);
    for (; q < g_.cols; ++q) run_border(q, out);
  }

  template <int Pixels>
  void run_pixels(int64_t q, int64_t out) {
    for (int64_t i = 0; i < row_count_; ++i)
      run_block<Pixels>(rows_[i], q, out + i * g_.y_row + q * g_.y_col);
  }
  // A pixel near the border: under the taps that reach it, in the same order.
  void run_border(int64_t q, int64_t out) {
    LaneTap<T>* const reached = taps_ + kLaneRows * g_.tap_count;
    for (int64_t i = 0; i < row_count_; ++i) {
      LaneRow<T> row = rows_[i];
      int64_t count = 0;
      for (int64_t t = 0; t < row.tap_count; ++t) {
        if (q < row.taps[t].begin || q >= row.taps[t].end) continue;
        reached[count] = row.taps[t];
        reached[count++].starts_run = false;
      }
      row.taps = reached;
      row.tap_count = count;
      run_block<1>(row, q, out + i * g_.y_row + q * g_.y_col);
    }
  }

  // The vectors at hand of a block of pixels, whose first lies at `out`, then what is fused. A
  // pixel's lines go around the caches whole, which the sums of one vector are not: those wait in
  // L1, a few at a time.
  template <int Pixels>
  TW_INLINE void run_block(const LaneRow<T>& r, int64_t q, int64_t out) {
    const int64_t end = least(vector_ + kVectors, picks_.vectors());
    const int64_t at_once = streams_ ? kStreamedVectors : kVectors;
    for (int64_t v = vector_; v < end; v += at_once)
      run_vectors<Pixels>(r, q, out, v, least(v + at_once, end));
  }

  template <int Pixels>
  TW_INLINE void run_vectors(const LaneRow<T>& r, int64_t q, int64_t out, int64_t begin,
                             int64_t end) {
    const int64_t first = begin * Vec<T>::width, at = out + first;
    T* const sums = streams_ ? sums_ : g_.y + at;
    const int64_t row = streams_ ? kStreamedChannels : g_.y_col;
    for_each_lane_kind(
        picks_, begin, end, [&]<bool permuted, class Lanes>(const Part& vectors) TW_INLINE_LAMBDA {
          lane_block<Pixels, permuted, Lanes>(
              r, picks_, vectors, q, sums + vectors.begin * Vec<T>::width - first, row, ahead_);
        });
    if (!streams_ && !g_.epilogue.changes_result()) return;
    const int64_t channels = least(end * Vec<T>::width, picks_.out_channels) - first;
    const Epilogue<T> e = epilogue_of(g_, at, first);
    if (streams_)
      finish_streaming(Pixels, channels, sums, row, g_.y + at, g_.y_col, e);
    else
      finish(Pixels, channels, sums, row, e);
  }

  const Correlation<T>& g_;
  Arena arena_;
  LanePicks<T> picks_;
  const LaneSource<T> source_;
  const bool streams_;
  T* weights_;
  LaneTap<T>* taps_;
  T* sums_;  // of a block of pixels on their way out
  const Span inside_;
  LookAhead<T> ahead_ = {nullptr, 0};
  // At hand: rows, and from vector_ on channels.
  LaneRow<T> rows_[kLaneRows];
  int64_t row_count_ = 0, vector_ = 0;
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
