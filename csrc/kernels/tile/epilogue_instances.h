// What follows a product, for the ISA whose file includes this.
#pragma once

#include "kernels/tile/epilogue_body.h"

namespace tilework::TW_ISA {

#define TW_FINISH(T, Out)                                                                        \
  template void finish_sums<T, Out>(int64_t, int64_t, const Wide<T>*, int64_t, const Out*, Out*, \
                                    int64_t, const Epilogue<T>&);
TW_FINISH(float, float)
TW_FINISH(double, double)
TW_FINISH(bfloat16, bfloat16)
TW_FINISH(bfloat16, float)
#undef TW_FINISH

template void finish_streaming<float>(int64_t, int64_t, const float*, int64_t, float*, int64_t,
                                      const Epilogue<float>&);
template void finish_streaming<double>(int64_t, int64_t, const double*, int64_t, double*, int64_t,
                                       const Epilogue<double>&);

}  // namespace tilework::TW_ISA
