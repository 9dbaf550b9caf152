// One ISA's table: the width-generic routines, built with that ISA's flags.
#pragma once

#include "kernels/gemm/activation_backward.h"
#include "kernels/gemm/bf16_blocked.h"
#include "kernels/gemm/bf16_narrow.h"
#include "kernels/gemm/bf16_vectors.h"
#include "kernels/gemm/blocked.h"
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/narrow.h"
#include "kernels/gemm/vectors.h"

namespace tilework::TW_ISA {

template <class T>
inline constexpr GemmRoutine<T> kGemmRoutines[] = {
    {"dots", dots_suit<T>, Tile<T>::mr, Tile<T>::nr, dots_workspace<T>, dots_run<T>, nullptr,
     nullptr},
    {"rows", rows_suit<T>, Tile<T>::mr, Tile<T>::nr, rows_workspace<T>, rows_run<T>, nullptr,
     nullptr},
    {"narrow", narrow_suits<T>, Tile<T>::nr, Tile<T>::mr, narrow_workspace<T>, narrow_run<T>,
     nullptr, nullptr},
    {"blocked", blocked_suits<T>, Tile<T>::mr, Tile<T>::nr, blocked_workspace<T>, blocked_run<T>,
     blocked_panel_bytes<T>, blocked_pack<T>},
};
template <class T>
inline constexpr int kGemmRoutineCount = sizeof(kGemmRoutines<T>) / sizeof(GemmRoutine<T>);

inline constexpr GemmRoutine<bfloat16> kBf16Routines[] = {
    {"bf16 dots", bf16::dots_suit, Tile<float>::mr, Tile<float>::nr, bf16::vectors_workspace,
     bf16::dots_run, nullptr, nullptr},
    {"bf16 rows", bf16::rows_suit, Tile<float>::mr, Tile<float>::nr, bf16::vectors_workspace,
     bf16::rows_run, nullptr, nullptr},
    {"bf16 narrow", bf16::narrow_suits, Tile<float>::nr, Tile<float>::mr, bf16::narrow_workspace,
     bf16::narrow_run, nullptr, nullptr},
    {"bf16 blocked", bf16::blocked_suits, Tile<float>::mr, Tile<float>::nr,
     bf16::BlockedProduct<bf16::Widened>::workspace_bytes, bf16::blocked_run<bf16::Widened>,
     bf16::blocked_panel_bytes<bf16::Widened>, bf16::blocked_pack<bf16::Widened>},
};

constexpr GemmKernels gemm_table() {
  return {.f32 = kGemmRoutines<float>,
          .f32_count = kGemmRoutineCount<float>,
          .f64 = kGemmRoutines<double>,
          .f64_count = kGemmRoutineCount<double>,
          .bf16 = kBf16Routines,
          .bf16_count = sizeof(kBf16Routines) / sizeof(kBf16Routines[0]),
          .activation_backward_f32 = activation_backward<float>,
          .activation_backward_f64 = activation_backward<double>,
          .activation_backward_bf16 = activation_backward<bfloat16>,
          .next = nullptr};
}

}  // namespace tilework::TW_ISA
