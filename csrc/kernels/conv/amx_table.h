// AMX's table: correlations of bfloat16, and all of float32 by splitting. The rest, and what does
// not suit, is AVX-512's.
#pragma once

#include "kernels/conv/amx_weight_gradient.h"

namespace tilework::TW_ISA {

inline constexpr ConvKernels kAmxTable = {
    {split::kCorrelations, 3, split::kWeightGradients, 3, nullptr},
    {},
    {&split::kBf16Correlation, 1, nullptr, 0, nullptr},
    &avx512::conv_kernels};

}  // namespace tilework::TW_ISA
