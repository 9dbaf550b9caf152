#include "kernels/gemm/amx_gemm.h"

namespace tilework::TW_ISA {

extern const GemmKernels gemm_kernels;
constexpr GemmKernels gemm_kernels = split::kTable;

}  // namespace tilework::TW_ISA
