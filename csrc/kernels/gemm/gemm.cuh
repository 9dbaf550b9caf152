// Matrix products of float and double on CUDA cores.
#pragma once

#include "kernels/gemm/gemm_product.cuh"

namespace tilework::gemm_cuda {

// Blocks of 128 x 128 for what fills a card by them, else of 64 x 64. k or m says what A's memory
// runs along, k or n what B's does.
template <bool AInner, bool BInner>
using Large = OnCores<float, 128, 128, 16, 16, AInner, BInner>;
template <class T, bool AInner, bool BInner>
using Small = OnCores<T, 64, 64, sizeof(T) == 4 ? 8 : 16, 16, AInner, BInner>;

#define TW_GEMM(name, type, threads, ...)                    \
  TW_KERNEL(threads, name, TW_GEMM_PARAMETERS(type, type)) { \
    product<__VA_ARGS__>(TW_GEMM_ARGUMENTS);                 \
  }
#define TW_GEMM_ORDERS(a, b, a_inner, b_inner)                                   \
  TW_GEMM(gemm_large_##a##b##_float, float, 256, Large<a_inner, b_inner>)        \
  TW_GEMM(gemm_small_##a##b##_float, float, 128, Small<float, a_inner, b_inner>) \
  TW_GEMM(gemm_small_##a##b##_double, double, 256, Small<double, a_inner, b_inner>)
TW_GEMM_ORDERS(k, k, true, true)
TW_GEMM_ORDERS(k, n, true, false)
TW_GEMM_ORDERS(m, k, false, true)
TW_GEMM_ORDERS(m, n, false, false)
#undef TW_GEMM_ORDERS
#undef TW_GEMM

#define TW_JOIN(name, type, sum)                                                      \
  TW_KERNEL(256, gemm_join_##name, TW_JOIN_PARAMETERS(type, sum)) {                   \
    join<type, sum>(c, bias, residual, before, partial, splits, batches, m, n, c_row, \
                    residual_row, inner, c_outer, c_inner, flags);                    \
  }
#define TW_SLOPE(name, type, sum)                                                       \
  TW_KERNEL(kSlopeWarps* kWarpLanes, linear_slope_##name, type* dz, sum* partial,       \
            const type* grad, const type* saved, int64_t rows, int64_t n, int64_t slab, \
            int64_t flags) {                                                            \
    linear_slope<type, sum>(dz, partial, grad, saved, rows, n, slab, flags);            \
  }
#define TW_AROUND(name, type, sum) TW_JOIN(name, type, sum) TW_SLOPE(name, type, sum)
TW_AROUND(float, float, float)
TW_AROUND(double, double, double)
TW_AROUND(bf16, __nv_bfloat16, float)
#undef TW_AROUND
#undef TW_SLOPE
#undef TW_JOIN

}  // namespace tilework::gemm_cuda
