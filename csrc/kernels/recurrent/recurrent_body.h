// The cells' arithmetic, at any vector width: what follows a product with U, on a block of units
// that lies in cache.
#pragma once

#include "base/arithmetic.h"
#include "kernels/recurrent/recurrent.h"
#include "simd/activation.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {
namespace recurrent {

// Calls body(unit, its place in groups, lanes) for all units of a row.
template <class T, class Body>
TW_INLINE void for_units(int64_t units, int64_t group, int64_t group_of_dgates, Body body) {
  for (int64_t u = 0, k = 0; u < units; u += kGroup, ++k)
    sweep<T>(least(kGroup, units - u), [&](int64_t lane, auto lanes) TW_INLINE_LAMBDA {
      body(u + lane, k * group + lane, k * group_of_dgates + lane, lanes);
    });
}

// The next block's gates lie rows apart from each other, where the hardware sees no stream: they
// are asked for a block ahead, and come while its product is computed. They are too many for an L1,
// in which rows of 4 KB compete for the same few places.
template <int count, class T>
TW_INLINE void ask_for_next(const T* gates, int64_t units, int64_t group, int64_t gate) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t u = 0, k = 0; u < units; u += kGroup, ++k)
    for (int g = 0; g < count; ++g)
      for (int64_t line = 0; line < kGroup; line += kLine)
        __builtin_prefetch(gates + units + k * group + g * gate + line, 1, 2);
}

template <class T>
TW_INLINE Vec<T> one_minus(Vec<T> x) {
  return Vec<T>(T(1)) - x;
}

// --- Forward ---

template <bool relus, class T>
void rnn_forward(const CellForward<T>& c) {
  for (int64_t i = 0; i < c.rows; ++i) {
    const T* sums = c.sums.data + i * c.sums.row;
    const T* gates = c.gates.data + i * c.gates.row;
    T* out = c.out.at(i);
    ask_for_next<1>(gates, c.units, c.gates.group, 0);
    for_units<T>(c.units, c.sums.group, c.gates.group,
                 [&](int64_t u, int64_t s, int64_t g, auto lanes) TW_INLINE_LAMBDA {
                   const Vec<T> a = lanes.load(gates + g) + lanes.load(sums + s);
                   lanes.store(out + u, relus ? relu(a) : tanh(a));
                 });
  }
}

template <class T>
void lstm_forward(const CellForward<T>& c) {
  const int64_t from = c.sums.gate, to = c.gates.gate;
  for (int64_t i = 0; i < c.rows; ++i) {
    const T *sums = c.sums.data + i * c.sums.row, *before = c.before.at(i);
    T *gates = c.gates.data + i * c.gates.row, *state = c.extra.at(i), *out = c.out.at(i);
    ask_for_next<4>(gates, c.units, c.gates.group, to);
    for_units<T>(c.units, c.sums.group, c.gates.group,
                 [&](int64_t u, int64_t s, int64_t g, auto lanes) TW_INLINE_LAMBDA {
                   const auto of = [&](int gate) TW_INLINE_LAMBDA {
                     return lanes.load(gates + g + gate * to) + lanes.load(sums + s + gate * from);
                   };
                   const Vec<T> in = sigmoid(of(0)), forget = sigmoid(of(1)), new_c = tanh(of(2)),
                                shown = sigmoid(of(3));
                   const Vec<T> now = fma(forget, lanes.load(before + u), in * new_c);
                   if (c.keeps) {
                     lanes.store(gates + g, in);
                     lanes.store(gates + g + to, forget);
                     lanes.store(gates + g + 2 * to, new_c);
                     lanes.store(gates + g + 3 * to, shown);
                   }
                   lanes.store(state + u, now);
                   lanes.store(out + u, shown * tanh(now));
                 });
  }
}

template <class T>
void gru_forward(const CellForward<T>& c) {
  const int64_t from = c.sums.gate, to = c.gates.gate;
  for (int64_t i = 0; i < c.rows; ++i) {
    const T *sums = c.sums.data + i * c.sums.row, *before = c.before.at(i);
    T *gates = c.gates.data + i * c.gates.row, *extra = c.keeps ? c.extra.at(i) : nullptr;
    T* out = c.out.at(i);
    ask_for_next<3>(gates, c.units, c.gates.group, to);
    for_units<T>(c.units, c.sums.group, c.gates.group,
                 [&](int64_t u, int64_t s, int64_t g, auto lanes) TW_INLINE_LAMBDA {
                   const auto of = [&](int gate) TW_INLINE_LAMBDA {
                     return lanes.load(gates + g + gate * to) + lanes.load(sums + s + gate * from);
                   };
                   const Vec<T> reset = sigmoid(of(0)), keep = sigmoid(of(1));
                   Vec<T> through = lanes.load(sums + s + 2 * from);
                   if (c.bias) through += lanes.load(c.bias + u);
                   const Vec<T> fresh = tanh(fma(reset, through, lanes.load(gates + g + 2 * to)));
                   if (c.keeps) {
                     lanes.store(gates + g, reset);
                     lanes.store(gates + g + to, keep);
                     lanes.store(gates + g + 2 * to, fresh);
                     lanes.store(extra + u, through);
                   }
                   lanes.store(out + u, fma(keep, lanes.load(before + u) - fresh, fresh));
                 });
  }
}

template <class T>
void forward(const CellForward<T>& c) {
  switch (c.cell) {
    case Cell::rnn_tanh:
      return rnn_forward<false>(c);
    case Cell::rnn_relu:
      return rnn_forward<true>(c);
    case Cell::lstm:
      return lstm_forward(c);
    case Cell::gru:
      return gru_forward(c);
  }
}

// --- Backward ---

template <class T>
struct Gradient {
  const T *dh, *more;

  TW_INLINE Gradient(const CellBackward<T>& c, int64_t i)
      : dh(c.dh.at(i)), more(c.more.data ? c.more.at(i) : nullptr) {}
  template <class Lanes>
  TW_INLINE Vec<T> operator()(int64_t u, Lanes lanes) const {
    const Vec<T> d = lanes.load(dh + u);
    return more ? d + lanes.load(more + u) : d;
  }
};

template <bool relus, class T>
void rnn_backward(const CellBackward<T>& c) {
  for (int64_t i = 0; i < c.rows; ++i) {
    const Gradient<T> gradient(c, i);
    const T* out = c.out.at(i);
    T* dgates = c.dgates.data + i * c.dgates.row;
    for_units<T>(c.units, c.gates.group, c.dgates.group,
                 [&](int64_t u, int64_t, int64_t d, auto lanes) TW_INLINE_LAMBDA {
                   const Vec<T> dh = gradient(u, lanes), y = lanes.load(out + u);
                   lanes.store(dgates + d, relus ? relu_gradient(dh, y) : tanh_gradient(dh, y));
                 });
  }
}

template <class T>
void lstm_backward(const CellBackward<T>& c) {
  const int64_t from = c.gates.gate, to = c.dgates.gate;
  for (int64_t i = 0; i < c.rows; ++i) {
    const Gradient<T> gradient(c, i);
    const T* gates = c.gates.data + i * c.gates.row;
    const T *state = c.extra.at(i), *before = c.before.at(i);
    T *dgates = c.dgates.data + i * c.dgates.row, *carry = c.carry.at(i);
    T* projected = c.projected.data ? c.projected.at(i) : nullptr;
    ask_for_next<4>(gates, c.units, c.gates.group, from);
    for_units<T>(
        c.units, c.gates.group, c.dgates.group,
        [&](int64_t u, int64_t g, int64_t d, auto lanes) TW_INLINE_LAMBDA {
          const auto gate = [&](int k)
                                TW_INLINE_LAMBDA { return lanes.load(gates + g + k * from); };
          const Vec<T> in = gate(0), forget = gate(1), new_c = gate(2), shown = gate(3);
          const Vec<T> dh = gradient(u, lanes), top = tanh(lanes.load(state + u));
          const Vec<T> dc = lanes.load(carry + u) + tanh_gradient(dh * shown, top);
          lanes.store(dgates + d, sigmoid_gradient(dc * new_c, in));
          lanes.store(dgates + d + to, sigmoid_gradient(dc * lanes.load(before + u), forget));
          lanes.store(dgates + d + 2 * to, tanh_gradient(dc * in, new_c));
          lanes.store(dgates + d + 3 * to, sigmoid_gradient(dh * top, shown));
          lanes.store(carry + u, dc * forget);
          if (projected) lanes.store(projected + u, shown * top);
        });
  }
}

template <class T>
void gru_backward(const CellBackward<T>& c) {
  const int64_t from = c.gates.gate, to = c.dgates.gate;
  for (int64_t i = 0; i < c.rows; ++i) {
    const Gradient<T> gradient(c, i);
    const T* gates = c.gates.data + i * c.gates.row;
    const T *extra = c.extra.at(i), *before = c.before.at(i);
    T *dgates = c.dgates.data + i * c.dgates.row, *carry = c.carry.at(i);
    ask_for_next<3>(gates, c.units, c.gates.group, from);
    for_units<T>(c.units, c.gates.group, c.dgates.group,
                 [&](int64_t u, int64_t g, int64_t d, auto lanes) TW_INLINE_LAMBDA {
                   const Vec<T> reset = lanes.load(gates + g), keep = lanes.load(gates + g + from),
                                fresh = lanes.load(gates + g + 2 * from);
                   const Vec<T> dh = gradient(u, lanes) + lanes.load(carry + u);
                   const Vec<T> da = tanh_gradient(dh * one_minus(keep), fresh);
                   lanes.store(dgates + d, sigmoid_gradient(da * lanes.load(extra + u), reset));
                   lanes.store(dgates + d + to,
                               sigmoid_gradient(dh * (lanes.load(before + u) - fresh), keep));
                   lanes.store(dgates + d + 2 * to, da * reset);
                   lanes.store(dgates + d + 3 * to, da);
                   lanes.store(carry + u, dh * keep);
                 });
  }
}

template <class T>
void backward(const CellBackward<T>& c) {
  switch (c.cell) {
    case Cell::rnn_tanh:
      return rnn_backward<false>(c);
    case Cell::rnn_relu:
      return rnn_backward<true>(c);
    case Cell::lstm:
      return lstm_backward(c);
    case Cell::gru:
      return gru_backward(c);
  }
}

}  // namespace recurrent

extern const RecurrentKernels recurrent_kernels;
const RecurrentKernels recurrent_kernels = {
    {recurrent::forward<float>, recurrent::backward<float>},
    {recurrent::forward<double>, recurrent::backward<double>}};

}  // namespace tilework::TW_ISA
