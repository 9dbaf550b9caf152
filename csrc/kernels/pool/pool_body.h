// The table of a variant. Included by the ISA files alone.
#pragma once

#include "kernels/pool/backward.h"
#include "kernels/pool/forward.h"

namespace tilework::TW_ISA {
namespace pool {

template <class T>
inline constexpr PoolTable<T> kTable = {reduce<Max, T>, reduce<Sum, T>, max_with_positions<T>,
                                        max_backward<T>, average_backward<T>};

}  // namespace pool

extern const PoolKernels pool_kernels;
const PoolKernels pool_kernels = {pool::kTable<float>, pool::kTable<double>};

}  // namespace tilework::TW_ISA
