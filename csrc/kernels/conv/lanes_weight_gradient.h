// The weights' gradient over lanes (lanes.h): sums along the pixels of a block of rows, a few taps
// at once.
#pragma once

#include "kernels/conv/lanes.h"

namespace tilework::TW_ISA {

// Rows whose pixels go into one sum in registers, before it is added to the total: few enough that
// x and the gradient stay in L1 while every tap and term reads them.
inline constexpr int64_t kLaneSumRows = 4;
inline constexpr int kLaneSumTaps = 3;

// Sums of `Taps` taps, all of one row of the window, under `Terms` terms from one on: each vector
// of x serves all its terms while it is in a register.
template <int Taps, int Terms, class T, class Vector>
class LaneSums {
  using V = Vec<T>;
  static constexpr int kChains = Taps * Terms >= 8 ? 1 : Taps * Terms >= 4 ? 2 : 4;  // for latency

 public:
  TW_INLINE LaneSums(const Vector& v, int64_t term, int64_t step, int64_t grad_step)
      : v_(v), term_(term), step_(step), grad_step_(grad_step) {
    each([&](int tap, int term, int chain)
             TW_INLINE_LAMBDA { sum_[tap][term][chain] = V::zero(); });
  }

  TW_INLINE void add_row(const LaneTap<T>* taps, int64_t count, const T* grad) {
    const Span all = inside(taps, Taps, count);
    int64_t q = all.begin;
    for (; q + kChains <= all.end; q += kChains) {
#pragma GCC unroll 4
      for (int j = 0; j < kChains; ++j) {
        const V g = v_.out_lanes.load(grad + (q + j) * grad_step_ + v_.out);
#pragma GCC unroll 3
        for (int i = 0; i < Taps; ++i) add_pixel(i, j, taps[i].in + (q + j) * step_, g);
      }
    }
#pragma GCC unroll 3
    for (int i = 0; i < Taps; ++i) {
      for (int64_t at = taps[i].begin; at < least(all.begin, taps[i].end); ++at)
        add_border(i, taps[i].in, at, grad);
      for (int64_t at = q > taps[i].begin ? q : taps[i].begin; at < taps[i].end; ++at)
        add_border(i, taps[i].in, at, grad);
    }
  }

  // totals: [tap][term][out channel], from the first of these taps and terms on.
  TW_INLINE void add_to(int64_t tap_stride, int64_t term_stride, T* totals) const {
#pragma GCC unroll 3
    for (int i = 0; i < Taps; ++i)
#pragma GCC unroll 4
      for (int k = 0; k < Terms; ++k) {
        V all = sum_[i][k][0];
#pragma GCC unroll 4
        for (int j = 1; j < kChains; ++j) all += sum_[i][k][j];
        T* at = totals + i * tap_stride + k * term_stride + v_.out;
        v_.out_lanes.store(at, v_.out_lanes.load(at) + all);
      }
  }

 private:
  template <class Body>
  TW_INLINE void each(Body body) {
#pragma GCC unroll 3
    for (int i = 0; i < Taps; ++i)
#pragma GCC unroll 4
      for (int k = 0; k < Terms; ++k)
#pragma GCC unroll 4
        for (int j = 0; j < kChains; ++j) body(i, k, j);
  }
  TW_INLINE void add_pixel(int tap, int chain, const T* in, V g) {
    const V x = v_.in_lanes.load(in + v_.in);
#pragma GCC unroll 4
    for (int k = 0; k < Terms; ++k)
      sum_[tap][k][chain] = fma(v_.term(x, term_ + k), g, sum_[tap][k][chain]);
  }
  TW_INLINE void add_border(int tap, const T* in, int64_t q, const T* grad) {
    add_pixel(tap, 0, in + q * step_, v_.out_lanes.load(grad + q * grad_step_ + v_.out));
  }

  const Vector v_;
  int64_t term_, step_, grad_step_;
  V sum_[Taps][Terms][kChains];
};

template <class T>
class LaneWeightGradient {
 public:
  LaneWeightGradient(const WeightGradient<T>& g, void* workspace)
      : g_(g), arena_(workspace), picks_(g, arena_), source_(g, arena_) {
    reached_ = arena_.template take<Span>(g.tap_count);
    totals_ = arena_.template take<T>(g.tap_count * picks_.terms * picks_.out_channels);
    grad_copies_ = g.grad_out != 1 && picks_.out_channels > 1;
    grad_ = arena_.template take<T>(grad_copies_ ? kLaneSumRows * g.cols * picks_.out_channels : 0);
  }
  size_t workspace_bytes() const { return arena_.used(); }

  void run() {
    picks_.fill(g_.outs);
    for (int64_t t = 0; t < g_.tap_count; ++t) reached_[t] = pixels_reached(g_, g_.taps[t]);
    fill_zeros(g_.tap_count * picks_.terms * picks_.out_channels, totals_);
    for (int64_t n = 0; n < g_.images; ++n) {
      const Source<T> x = source_.image(g_, n);
      for (int64_t row = 0; row < g_.rows; row += kLaneSumRows)
        add_rows(x, n, row, least(kLaneSumRows, g_.rows - row));
    }
    put_totals();
  }

 private:
  void add_rows(const Source<T>& x, int64_t image, int64_t row, int64_t count) {
    const T* grad = g_.grad + image * g_.grad_image + (g_.row_begin + row) * g_.grad_row;
    int64_t grad_row = g_.grad_row, grad_step = g_.grad_col;
    if (grad_copies_) {
      grad_step = picks_.out_channels;
      grad_row = g_.cols * grad_step;
      for (int64_t i = 0; i < count; ++i)
        arrange_row(g_.cols, picks_.out_channels, grad + i * g_.grad_row, g_.grad_col, g_.grad_out,
                    grad_ + i * grad_row);
      grad = grad_;
    }
    const int64_t next = (g_.row_begin + row + count) * g_.row_step;
    ahead_x_ = {x.data + next * x.row,
                least(g_.in_rows - next, kLaneSumRows * g_.row_step) * x.row};
    ahead_grad_ = {grad + count * grad_row,
                   grad_copies_ ? 0 : least(g_.rows - row - count, kLaneSumRows) * grad_row};
    for_each_lane_kind(picks_, 0, picks_.vectors(),
                       [&]<bool permuted, class Lanes>(const Part& vectors) TW_INLINE_LAMBDA {
                         for (int64_t i = 0; i < vectors.size; ++i)
                           add_vector(x, row, count, grad, grad_row, grad_step,
                                      lane_vector<T, permuted, Lanes>(picks_, vectors.begin + i));
                       });
  }

  // The taps of a vector's channels, as many at a time as lie in a row of the window.
  template <class Vector>
  TW_INLINE void add_vector(const Source<T>& x, int64_t row, int64_t count, const T* grad,
                            int64_t grad_row, int64_t grad_step, const Vector& v) {
    int64_t tap = 0;
    while (tap < g_.tap_count) {
      int taps = 1;
      while (taps < kLaneSumTaps && tap + taps < g_.tap_count &&
             g_.taps[tap + taps].row == g_.taps[tap].row)
        ++taps;
      const auto add = [&]<int Taps>() TW_INLINE_LAMBDA {
        int64_t k = 0;
        for (; Vector::permuted && k + 4 <= v.terms; k += 4)
          add_taps<Taps, 4>(x, row, count, grad, grad_row, grad_step, v, tap, k);
        for (; k < v.terms; ++k)
          add_taps<Taps, 1>(x, row, count, grad, grad_row, grad_step, v, tap, k);
      };
      if (taps == 3)
        add.template operator()<3>();
      else if (taps == 2)
        add.template operator()<2>();
      else
        add.template operator()<1>();
      tap += taps;
    }
  }

  template <int Taps, int Terms, class Vector>
  __attribute__((noinline)) void add_taps(const Source<T>& x, int64_t row, int64_t count,
                                          const T* grad, int64_t grad_row, int64_t grad_step,
                                          const Vector& v, int64_t tap, int64_t term) {
    LaneSums<Taps, Terms, T, Vector> sums(v, term, g_.col_step * x.col, grad_step);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t in_row = (g_.row_begin + row + i) * g_.row_step + g_.taps[tap].row;
      if (in_row < 0 || in_row >= g_.in_rows) continue;
      LaneTap<T> taps[Taps];
#pragma GCC unroll 3
      for (int t = 0; t < Taps; ++t) {
        const Span reached = reached_[tap + t];
        taps[t] = {x.data + in_row * x.row + g_.taps[tap + t].col * x.col, 0, reached.begin,
                   reached.end, false};
      }
      ahead_x_.ask(g_.cols / 2);
      ahead_grad_.ask(g_.cols / 2);
      sums.add_row(taps, g_.cols, grad + i * grad_row);
    }
    const int64_t tap_stride = picks_.terms * picks_.out_channels;
    sums.add_to(tap_stride, picks_.out_channels,
                totals_ + tap * tap_stride + term * picks_.out_channels);
  }

  void put_totals() const {
    const T* from = totals_;
    for (int64_t t = 0; t < g_.tap_count; ++t)
      for (int64_t k = 0; k < g_.channels; ++k)
        for (int64_t group = 0; group < g_.groups; ++group) {
          T* to = g_.dweight + g_.taps[t].weight + group * g_.w_group + k * g_.w_channel;
          for (int64_t out = 0; out < g_.outs; ++out)
            to[out * g_.w_out] = (g_.add ? to[out * g_.w_out] : T(0)) + *from++;
        }
  }

  const WeightGradient<T>& g_;
  Arena arena_;
  LanePicks<T> picks_;
  const LaneSource<T> source_;
  Span* reached_;  // by each tap
  T *totals_, *grad_;
  bool grad_copies_;
  LookAhead<T> ahead_x_ = {nullptr, 0}, ahead_grad_ = {nullptr, 0};
};

template <class T>
bool lane_weight_gradient_suits(const WeightGradient<T>& g) {
  return lanes_suit<T>(g);
}
template <class T>
size_t lane_weight_gradient_workspace(const WeightGradient<T>& g) {
  return LaneWeightGradient<T>(g, nullptr).workspace_bytes();
}
template <class T>
void lane_weight_gradient(const WeightGradient<T>& g, void* workspace) {
  LaneWeightGradient<T>(g, workspace).run();
}

}  // namespace tilework::TW_ISA
