// Activations of a gate times a second operand: two arrays, or the halves of longer rows. bfloat16
// is computed in float32 and rounded once.
//
// on sm_80, 90a, 100  registers   shared  dynamic  threads  blocks an SM  holds
// *_double            40, 40, 40  0       0        256      6, 6, 6       LDG.128 STG.128
// *                   40, 40, 40  0       0        256      6, 6, 6       LDG.128 STG.128
#pragma once

#include "base/elementwise.cuh"
#include "base/functions.cuh"
#include "base/stored.cuh"

namespace tilework::gated_cuda {

// Where a group of elements begins, in the operands and in what is dense: its rows begin `stride`
// elements apart there, `cols` here.
struct Spot {
  int64_t at, dense;
};

// run(Width<N>, Spot) for this thread's elements: a pack, where `wide` says so, else one.
template <int kWide, class Run>
__device__ void over_rows(int64_t rows, int64_t cols, int64_t stride, bool wide, Run run) {
  const int64_t each = wide ? kWide : 1, groups = cols / each;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kElementThreads + threadIdx.x;
  if (i >= rows * groups) return;
  int64_t row = 0;
  if (rows > 1) {  // a short division, where both fit
    row =
        (i | groups) >> 32 ? i / groups : static_cast<uint32_t>(i) / static_cast<uint32_t>(groups);
  }
  const int64_t col = (i - row * groups) * each;
  const Spot spot{row * stride + col, row * cols + col};
  if (wide) return run(Width<kWide>{}, spot);
  run(Width<1>{}, spot);
}

template <class Gate, bool kGateFirst, class S>
__device__ void forward(S* y, const S* a, const S* b, int64_t rows, int64_t cols, int64_t stride,
                        bool packs) {
  using T = Wide<S>;
  over_rows<kPackOf<S>>(rows, cols, stride, packs, [=](auto width, Spot spot) {
    constexpr int N = decltype(width)::value;
    const auto gate = load_pack<N>((kGateFirst ? a : b) + spot.at);
    const auto other = load_pack<N>((kGateFirst ? b : a) + spot.at);
    Pack<S, N> made;
    for (int i = 0; i < N; ++i) {
      made.at[i] = narrowed<S>(Gate::at(T{wide(gate.at[i])}).value * wide(other.at[i]));
    }
    store_pack(y + spot.dense, made);
  });
}

template <class Gate, bool kGateFirst, class S>
__device__ void backward(S* da, S* db, const S* grad, const S* a, const S* b, int64_t rows,
                         int64_t cols, int64_t stride, bool packs) {
  using T = Wide<S>;
  over_rows<kPackOf<S>>(rows, cols, stride, packs, [=](auto width, Spot spot) {
    constexpr int N = decltype(width)::value;
    const auto g = load_pack<N>(grad + spot.dense);
    const auto gate = load_pack<N>((kGateFirst ? a : b) + spot.at);
    const auto other = load_pack<N>((kGateFirst ? b : a) + spot.at);
    Pack<S, N> dgate, dother;
    for (int i = 0; i < N; ++i) {
      const functions::Gate<T> of = Gate::at(T{wide(gate.at[i])});
      dgate.at[i] = narrowed<S>(wide(g.at[i]) * wide(other.at[i]) * of.slope);
      dother.at[i] = narrowed<S>(wide(g.at[i]) * of.value);
    }
    store_pack((kGateFirst ? da : db) + spot.at, dgate);
    store_pack((kGateFirst ? db : da) + spot.at, dother);
  });
}

#define TW_GATED_OF(type, ctype, op, activation, gate_first)                                    \
  TW_KERNEL(kElementThreads, gated_##op##_##type, ctype* y, const ctype* a, const ctype* b,     \
            int64_t rows, int64_t cols, int64_t stride, int64_t packs) {                        \
    forward<functions::activation##_gate, gate_first>(y, a, b, rows, cols, stride, packs != 0); \
  }                                                                                             \
  TW_KERNEL(kElementThreads, gated_##op##_backward_##type, ctype* da, ctype* db,                \
            const ctype* grad, const ctype* a, const ctype* b, int64_t rows, int64_t cols,      \
            int64_t stride, int64_t packs) {                                                    \
    backward<functions::activation##_gate, gate_first>(da, db, grad, a, b, rows, cols, stride,  \
                                                       packs != 0);                             \
  }
#define TW_GATED(op, activation, gate_first)              \
  TW_GATED_OF(float, float, op, activation, gate_first)   \
  TW_GATED_OF(double, double, op, activation, gate_first) \
  TW_GATED_OF(bfloat16, __nv_bfloat16, op, activation, gate_first)
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_GATED
#undef TW_GATED_OF

}  // namespace tilework::gated_cuda
