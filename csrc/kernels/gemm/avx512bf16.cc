#include "kernels/gemm/bf16_dots.h"

namespace tilework::TW_ISA {

extern const GemmKernels gemm_kernels;
constexpr GemmKernels gemm_kernels = bf16::kPairedTable;

}  // namespace tilework::TW_ISA
