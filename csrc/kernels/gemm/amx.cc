#include "kernels/gemm/amx_table.h"

namespace tilework::TW_ISA {

extern const GemmKernels gemm_kernels;
constexpr GemmKernels gemm_kernels = kAmxTable;

}  // namespace tilework::TW_ISA
