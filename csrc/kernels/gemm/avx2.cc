#include "kernels/gemm/table.h"

namespace tilework::TW_ISA {

extern const GemmKernels gemm_kernels;
constexpr GemmKernels gemm_kernels = gemm_table();

}  // namespace tilework::TW_ISA
