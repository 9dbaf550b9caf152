#include "kernels/conv/table.h"

namespace tilework::TW_ISA {

extern const ConvKernels conv_kernels;
constexpr ConvKernels conv_kernels = conv_table();

}  // namespace tilework::TW_ISA
