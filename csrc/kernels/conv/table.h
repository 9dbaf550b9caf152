// One ISA's table: the width-generic routines, built with that ISA's flags.
#pragma once

#include "kernels/conv/routines.h"
#include "kernels/conv/widened.h"

namespace tilework::TW_ISA {

#define TW_WIDENED "; bfloat16 is widened to float32, a band of rows at a time"
inline constexpr const char* kWhyWideLanes = TW_WHY_LANES TW_WIDENED;
inline constexpr const char* kWhyWideGathered = TW_WHY_GATHERED TW_WIDENED;
inline constexpr const char* kWhyWideBlocked = TW_WHY_BLOCKED TW_WIDENED;
#undef TW_WIDENED

inline constexpr ConvRoutine<Correlation<bfloat16>> kBf16Correlations[] = {
    bf16::widened_correlation<kLanesAt, false>("lanes", kWhyWideLanes),
    bf16::widened_correlation<kGatheredAt, false>("gathered", kWhyWideGathered),
    bf16::widened_winograd<F4x4>(),
    bf16::widened_winograd<F2x2>(),
    bf16::widened_winograd<F2x2Of2x2>(),
    bf16::widened_correlation<kBlockedAt, true>("blocked", kWhyWideBlocked),
};
inline constexpr ConvRoutine<WeightGradient<bfloat16>> kBf16WeightGradients[] = {
    bf16::widened_weight_gradient<kLanesAt>("lanes", kWhyWideLanes),
    bf16::widened_weight_gradient<kWinograd4x4GradientAt>(F4x4::name, F4x4::why),
    bf16::widened_weight_gradient<kWinograd2x2GradientAt>(F2x2::name, F2x2::why),
    bf16::widened_weight_gradient<kBlockedGradientAt>("blocked", kWhyWideBlocked),
};

template <class T, int Correlations, int WeightGradients>
constexpr ConvRoutines<T> conv_routines(
    const ConvRoutine<Correlation<T>> (&correlations)[Correlations],
    const ConvRoutine<WeightGradient<T>> (&weight_gradients)[WeightGradients],
    decltype(ConvRoutines<T>::arrange_row) arrange) {
  return {correlations, Correlations, weight_gradients, WeightGradients, arrange};
}
constexpr ConvKernels conv_table() {
  return {
      conv_routines<float>(kCorrelations<float>, kWeightGradients<float>, arrange_row<float>),
      conv_routines<double>(kCorrelations<double>, kWeightGradients<double>, arrange_row<double>),
      conv_routines<bfloat16>(kBf16Correlations, kBf16WeightGradients, bf16::arrange_bfloat16_row),
      nullptr};
}

}  // namespace tilework::TW_ISA
