// One ISA's table: the width-generic routines, built with that ISA's flags.
#pragma once

#include "kernels/conv/blocked.h"
#include "kernels/conv/gathered.h"
#include "kernels/conv/kernels.h"
#include "kernels/conv/lanes_correlation.h"
#include "kernels/conv/lanes_weight_gradient.h"
#include "kernels/conv/weight_gradient.h"

namespace tilework::TW_ISA {

template <class T>
inline constexpr ConvRoutine<Correlation<T>> kCorrelations[] = {
    {"lanes", lane_correlation_suits<T>, 1, 1, lane_correlation_workspace<T>, lane_correlation<T>},
    {"gathered", gathered_correlation_suits<T>, Tile<T>::nr, 1, gathered_correlation_workspace<T>,
     gathered_correlation<T>},
    {"blocked", blocked_correlation_suits<T>, Tile<T>::nr, 1, blocked_correlation_workspace<T>,
     blocked_correlation<T>},
};
template <class T>
inline constexpr ConvRoutine<WeightGradient<T>> kWeightGradients[] = {
    {"lanes", lane_weight_gradient_suits<T>, 1, 1, lane_weight_gradient_workspace<T>,
     lane_weight_gradient<T>},
    {"blocked", blocked_weight_gradient_suits<T>, Tile<T>::nr, Tile<T>::mr,
     blocked_weight_gradient_workspace<T>, blocked_weight_gradient<T>},
};

template <class T>
constexpr ConvRoutines<T> conv_routines() {
  return {kCorrelations<T>, sizeof(kCorrelations<T>) / sizeof(*kCorrelations<T>),
          kWeightGradients<T>, sizeof(kWeightGradients<T>) / sizeof(*kWeightGradients<T>),
          arrange_row<T>};
}
constexpr ConvKernels conv_table() { return {conv_routines<float>(), conv_routines<double>()}; }

}  // namespace tilework::TW_ISA
