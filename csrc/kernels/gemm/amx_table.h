// AMX's table: float32 by splitting, bfloat16 as it is.
#pragma once

#include "kernels/gemm/amx_gemm.h"
#include "kernels/gemm/bf16_tiles.h"

namespace tilework::TW_ISA {

// float64, and what does not suit, is AVX-512's: on the CPUs with AMX, vdpbf16ps is slower.
inline constexpr GemmKernels kAmxTable = {.f32 = split::kRoutines,
                                          .f32_count = 3,
                                          .f64 = nullptr,
                                          .f64_count = 0,
                                          .bf16 = &bf16::kTileRoutine,
                                          .bf16_count = 1,
                                          .activation_backward_f32 = nullptr,
                                          .activation_backward_f64 = nullptr,
                                          .activation_backward_bf16 = nullptr,
                                          .next = &avx512::gemm_kernels};

}  // namespace tilework::TW_ISA
