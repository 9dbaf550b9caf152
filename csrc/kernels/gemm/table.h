// One ISA's table: the width-generic routines, built with that ISA's flags.
#pragma once

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

constexpr GemmKernels gemm_table() {
  return {.f32 = kGemmRoutines<float>,
          .f32_count = kGemmRoutineCount<float>,
          .f64 = kGemmRoutines<double>,
          .f64_count = kGemmRoutineCount<double>,
          .activation_backward_f32 = activation_backward<float>,
          .activation_backward_f64 = activation_backward<double>,
          .next = nullptr};
}

}  // namespace tilework::TW_ISA
