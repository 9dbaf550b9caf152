// Gradients of windows, for every vector width. Included by the ISA files alone.
//
// Each input gathers what flows back from the outputs that cover it, so that nothing is cleared
// first or read back; where no vector holds neighbouring windows, a row is cleared and scattered
// to. Either way a row of the input is one thread's.
#pragma once

#include "kernels/pool/lanes.h"
#include "kernels/pool/pool.h"
#include "kernels/pool/staged.h"

namespace tilework::TW_ISA {
namespace pool {

// What flows from outputs to the element at position t of their windows. `lanes` outputs from
// `at` on are neighbours in memory, with windows of one size.
template <class T, class S>
struct MaxFlow {
  const T* grad;
  const S* saved;
  template <class Lanes>
  TW_INLINE Vec<T> operator()(int64_t at, int64_t t, T, Lanes lanes) const {
    const Mask<T> here = equal_positions<T>(saved + at, count_of(lanes), static_cast<uint32_t>(t));
    return select(here, lanes.load(grad + at), Vec<T>::zero());
  }
  TW_INLINE T operator()(int64_t at, int64_t t, T) const {
    return static_cast<int64_t>(saved[at]) == t ? grad[at] : T(0);
  }
  // To the inputs of one row of a window, at positions t, t + 1, ...
  TW_INLINE void scatter(T* to, const Window& w, int64_t at, int64_t t, T) const {
    const int64_t tap = static_cast<int64_t>(saved[at]) - t;
    if (tap >= 0 && tap < w.taps) to[tap * w.step] += grad[at];
  }
};
template <class T>
struct AverageFlow {
  const T* grad;
  template <class Lanes>
  TW_INLINE Vec<T> operator()(int64_t at, int64_t, T share, Lanes lanes) const {
    return lanes.load(grad + at) * Vec<T>(share);
  }
  TW_INLINE T operator()(int64_t at, int64_t, T share) const { return grad[at] * share; }
  TW_INLINE void scatter(T* to, const Window& w, int64_t at, int64_t, T share) const {
    const T each = grad[at] * share;
    if (w.step == 1)
      sweep<T>(w.taps, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
        lanes.store(to + j, lanes.load(to + j) + Vec<T>(each));
      });
    else
      for (int64_t j = 0; j < w.taps; ++j) to[j * w.step] += each;
  }
};

// Those who cover an input, to walk over.
struct Coverers {
  const Coverer *first, *last;
  Coverers(const Coverage& all, int64_t p)
      : first(all.coverers + all.first[p]), last(all.coverers + all.first[p + 1]) {}
  bool one() const { return last - first == 1; }
  const Coverer* begin() const { return first; }
  const Coverer* end() const { return last; }
};

template <class T>
TW_INLINE T share_of(const Window& r, const Window& c) {
  return T(1) / (static_cast<T>(r.size) * static_cast<T>(c.size));
}

// --- Channels-last ---

template <int kVectors, class T, class Flow, class Lanes>
TW_INLINE void gather_channels(const Flow& flow, T* dx, const PoolBackwardJob& job, int64_t plane,
                               Coverers by_row, Coverers by_col, int64_t k, Lanes lanes) {
  constexpr int W = Vec<T>::width;
  Vec<T> total[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) total[v] = Vec<T>::zero();
  for (const Coverer& r : by_row)
    for (const Coverer& c : by_col) {
      const Window& w = job.cols[c.out];
      const int64_t at = (plane + r.out * job.out_width + c.out) * job.inner + k;
      const T share = share_of<T>(job.rows[r.out], w);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v)
        total[v] += flow(at + v * W, r.tap * w.taps + c.tap, share, lanes);
    }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) lanes.store(dx + v * W, total[v]);
}

// An input under one window: there is no sum to walk over.
template <class T, class Flow>
TW_INLINE void channels_of_one(const Flow& flow, T* dx, const PoolBackwardJob& job, int64_t plane,
                               const Coverer& r, const Coverer& c, bool room) {
  const Window& w = job.cols[c.out];
  const int64_t at = (plane + r.out * job.out_width + c.out) * job.inner;
  const int64_t t = r.tap * w.taps + c.tap;
  const T share = share_of<T>(job.rows[r.out], w);
  sweep_channels<T>(job.inner, room, [&](int64_t k, auto lanes) TW_INLINE_LAMBDA {
    lanes.store(dx + k, flow(at + k, t, share, lanes));
  });
}

template <class T, class Flow>
void channels_row(const Flow& flow, T* dx, const PoolBackwardJob& job, int64_t plane,
                  Coverers by_row) {
  constexpr int W = Vec<T>::width, kGroup = 4;
  for (int64_t x = 0; x < job.width; ++x, dx += job.inner) {
    const Coverers by_col(job.by_col, x);
    bool room = has_room<T>(x, job.width, job.inner);
    for (const Coverer& c : by_col) room = room && has_room<T>(c.out, job.out_width, job.inner);
    if (by_row.one() && by_col.one()) {
      channels_of_one(flow, dx, job, plane, *by_row.first, *by_col.first, room);
      continue;
    }
    int64_t k = 0;
    for (; k + kGroup * W <= job.inner; k += kGroup * W)
      gather_channels<kGroup>(flow, dx + k, job, plane, by_row, by_col, k, WholeVector<T>{});
    sweep_channels<T>(job.inner - k, room, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
      gather_channels<1>(flow, dx + k + i, job, plane, by_row, by_col, k + i, lanes);
    });
  }
}

// --- Planar ---

template <class T, class Flow>
T gather_one(const Flow& flow, const PoolBackwardJob& job, int64_t plane, Coverers by_row,
             int64_t x) {
  T total = 0;
  for (const Coverer& r : by_row)
    for (const Coverer& c : Coverers(job.by_col, x))
      total += flow(plane + r.out * job.out_width + c.out, r.tap * job.cols[c.out].taps + c.tap,
                    share_of<T>(job.rows[r.out], job.cols[c.out]));
  return total;
}

// What flows to input `phase` of each stretch of kStride inputs, stretch o beginning where output o
// does: from the taps phase, phase + kStride, ... of outputs o, o - 1, ...
template <int kStride, class T, class Flow, class Lanes>
TW_INLINE Vec<T> gather_phase(const Flow& flow, const PoolBackwardJob& job, int64_t plane,
                              Coverers by_row, int64_t o, int phase, Lanes lanes) {
  const Window& w = job.cols[job.run.begin];
  Vec<T> total = Vec<T>::zero();
  for (const Coverer& r : by_row) {
    const int64_t at = plane + r.out * job.out_width + o;
    const T share = share_of<T>(job.rows[r.out], w);
    for (int64_t j = phase; j < w.taps; j += kStride)
      total += flow(at - j * w.step / kStride, r.tap * w.taps + j, share, lanes);
  }
  return total;
}

// Inputs that whole windows of the run alone cover: all in vectors.
template <int kStride, class T, class Flow>
TW_INLINE void regular_inputs(const Flow& flow, T* dx, const PoolBackwardJob& job, int64_t plane,
                              Coverers by_row, int64_t begin, int64_t end) {
  const int64_t origin = job.cols[job.run.begin].start - kStride * job.run.begin;
  sweep<T>(end - begin, [&](int64_t i, auto lanes) TW_INLINE_LAMBDA {
    const int64_t o = begin + i;
    T* to = dx + origin + kStride * o;
    const Vec<T> even = gather_phase<kStride, T>(flow, job, plane, by_row, o, 0, lanes);
    if constexpr (kStride == 1) {
      lanes.store(to, even);
    } else {
      constexpr int W = Vec<T>::width;
      const Vec<T> odd = gather_phase<kStride, T>(flow, job, plane, by_row, o, 1, lanes);
      const int n = 2 * count_of(lanes);
      Vec<T> low, high;
      interleave(even, odd, low, high);
      low.store_partial(to, n < W ? n : W);
      if (n > W) high.store_partial(to + W, n - W);
    }
  });
}

template <int kStride, class T, class Flow>
void strided_row(const Flow& flow, T* dx, const PoolBackwardJob& job, int64_t plane,
                 Coverers by_row) {
  const Window& w = job.cols[job.run.begin];
  const int64_t origin = w.start - kStride * job.run.begin;
  // Stretches that reach back to outputs of the run only, and do not reach past the row.
  const int64_t begin = job.run.begin + (w.taps - 1) * w.step / kStride;
  const int64_t fits = (job.width - origin) / kStride;
  const int64_t end = job.run.end < fits ? job.run.end : fits;
  int64_t x = 0;
  if (begin < end) {
    for (; x < origin + kStride * begin; ++x) dx[x] = gather_one<T>(flow, job, plane, by_row, x);
    regular_inputs<kStride>(flow, dx, job, plane, by_row, begin, end);
    x = origin + kStride * end;
  }
  for (; x < job.width; ++x) dx[x] = gather_one<T>(flow, job, plane, by_row, x);
}

// Windows that are no vector's: output by output.
template <class T, class Flow>
void scattered_row(const Flow& flow, T* dx, const PoolBackwardJob& job, int64_t plane,
                   Coverers by_row) {
  sweep<T>(job.width,
           [&](int64_t x, auto lanes) TW_INLINE_LAMBDA { lanes.store(dx + x, Vec<T>::zero()); });
  for (const Coverer& r : by_row)
    for (int64_t o = 0; o < job.out_width; ++o) {
      const Window& w = job.cols[o];
      flow.scatter(dx + w.start, w, plane + r.out * job.out_width + o, r.tap * w.taps,
                   share_of<T>(job.rows[r.out], w));
    }
}

template <class T, class Flow>
void gather(const Flow& flow, T* dx, const PoolBackwardJob& job, int64_t first, int64_t count,
            T* stage) {
  const int64_t stride = job.run.stride, size = job.width * job.inner;
  const bool strided = stride == 1 || (stride == 2 && job.cols[job.run.begin].step == 1);
  write_rows(dx + first * size, size, first, count, job.stage_rows, stage,
             [&](int64_t row, T* to) TW_INLINE_LAMBDA {
               const Coverers by_row(job.by_row, row % job.height);
               const int64_t plane = row / job.height * job.out_height * job.out_width;
               if (job.inner > 1)
                 channels_row(flow, to, job, plane, by_row);
               else if (!strided)
                 scattered_row(flow, to, job, plane, by_row);
               else if (stride == 1)
                 strided_row<1>(flow, to, job, plane, by_row);
               else
                 strided_row<2>(flow, to, job, plane, by_row);
             });
}

template <class T>
void max_backward(const T* grad, const void* saved, T* dx, const PoolBackwardJob& job,
                  int64_t first, int64_t count, T* stage) {
  if (job.wide_positions)
    gather(MaxFlow<T, uint32_t>{grad, static_cast<const uint32_t*>(saved)}, dx, job, first, count,
           stage);
  else
    gather(MaxFlow<T, uint8_t>{grad, static_cast<const uint8_t*>(saved)}, dx, job, first, count,
           stage);
}

template <class T>
void average_backward(const T* grad, T* dx, const PoolBackwardJob& job, int64_t first,
                      int64_t count, T* stage) {
  gather(AverageFlow<T>{grad}, dx, job, first, count, stage);
}

}  // namespace pool
}  // namespace tilework::TW_ISA
