#include "kernels/conv/amx_table.h"

namespace tilework::TW_ISA {

extern const ConvKernels conv_kernels;
constexpr ConvKernels conv_kernels = kAmxTable;

}  // namespace tilework::TW_ISA
