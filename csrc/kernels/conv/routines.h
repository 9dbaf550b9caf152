// The routines of float and double, in order of preference.
#pragma once

#include "kernels/conv/blocked.h"
#include "kernels/conv/gathered.h"
#include "kernels/conv/kernels.h"
#include "kernels/conv/lanes_correlation.h"
#include "kernels/conv/lanes_weight_gradient.h"
#include "kernels/conv/packed.h"
#include "kernels/conv/winograd.h"
#include "kernels/conv/winograd_weight_gradient.h"

namespace tilework::TW_ISA {

#define TW_WHY_LANES                                                                              \
  "at most 8 channels a group: a vector's lanes are output channels, none of them multiplied by " \
  "zero"
#define TW_WHY_GATHERED \
  "few channels: one list of offsets holds all that a window reads, and serves every pixel"
#define TW_WHY_BLOCKED \
  "any convolution: blocks of packed weights stay in L2 while the pixels stream by"

template <class T>
inline constexpr ConvRoutine<Correlation<T>> kLaneCorrelation = {"lanes",
                                                                 TW_WHY_LANES,
                                                                 lane_correlation_suits<T>,
                                                                 1,
                                                                 1,
                                                                 lane_correlation_workspace<T>,
                                                                 lane_correlation<T>};
template <class T>
inline constexpr ConvRoutine<Correlation<T>> kGatheredCorrelation = {
    "gathered",
    TW_WHY_GATHERED,
    gathered_correlation_suits<T>,
    Tile<T>::nr,
    1,
    gathered_correlation_workspace<T>,
    gathered_correlation<T>};
template <class T>
inline constexpr ConvRoutine<Correlation<T>> kBlockedCorrelation = {
    "blocked",
    TW_WHY_BLOCKED,
    blocked_correlation_suits<T>,
    Tile<T>::nr,
    1,
    blocked_correlation_workspace<T>,
    blocked_correlation<T>,
    packed_panel_bytes<T>,
    pack_panels<T>};

template <class T>
inline constexpr ConvRoutine<Correlation<T>> kCorrelations[] = {
    kLaneCorrelation<T>, kGatheredCorrelation<T>, kBlockedCorrelation<T>};
template <>
inline constexpr ConvRoutine<Correlation<float>> kCorrelations<float>[] = {
    kLaneCorrelation<float>,
    kGatheredCorrelation<float>,
    winograd_correlation<F4x4, float>(),
    winograd_correlation<F2x2, float>(),
    winograd_correlation<F2x2Of2x2, float>(),
    kBlockedCorrelation<float>};
template <class T>
inline constexpr ConvRoutine<WeightGradient<T>> kLaneWeightGradient = {
    "lanes",
    TW_WHY_LANES,
    lane_weight_gradient_suits<T>,
    1,
    1,
    lane_weight_gradient_workspace<T>,
    lane_weight_gradient<T>};
template <class T>
inline constexpr ConvRoutine<WeightGradient<T>> kBlockedWeightGradient = {
    "blocked",
    TW_WHY_BLOCKED,
    blocked_weight_gradient_suits<T>,
    Tile<T>::nr,
    Tile<T>::mr,
    blocked_weight_gradient_workspace<T>,
    blocked_weight_gradient<T>};

template <class F>
inline constexpr ConvRoutine<WeightGradient<float>> kWinogradWeightGradient = {
    F::name,
    F::why,
    winograd_weight_gradient_suits<F, float>,
    Tile<float>::nr,
    kFewChannels,
    winograd_weight_gradient_workspace<F, float>,
    winograd_weight_gradient<F, float>};

template <class T>
inline constexpr ConvRoutine<WeightGradient<T>> kWeightGradients[] = {kLaneWeightGradient<T>,
                                                                      kBlockedWeightGradient<T>};
template <>
inline constexpr ConvRoutine<WeightGradient<float>> kWeightGradients<float>[] = {
    kLaneWeightGradient<float>, kWinogradWeightGradient<F4x4>, kWinogradWeightGradient<F2x2>,
    kBlockedWeightGradient<float>};

// Where bfloat16's routines find those of float that they widen for.
inline constexpr int kLanesAt = 0, kGatheredAt = 1, kBlockedAt = 5;
inline constexpr int kWinograd4x4GradientAt = 1, kWinograd2x2GradientAt = 2, kBlockedGradientAt = 3;

}  // namespace tilework::TW_ISA
