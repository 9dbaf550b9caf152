// Matrix products of float and double on CUDA cores, and what goes before and after products.
//
// A block has 128 x 128 elements of C where that fills a card, else 64 x 64, and takes A and B in
// by tiles of 64 bytes along K, which cp.async brings while two others wait (gemm_tiles.cuh). A
// thread has 8 x 8 sums, or 8 x 4, of float: 16 FMA a read of 16 bytes. Two large blocks share a
// multiprocessor at 128 registers a thread, so that one computes while the other waits.
//
// gemm_LARGE|SMALL_ab_TYPE says whether A's memory runs along k or m, B's along k or n: the kernels
// read each as it lies. gemm_join adds the sums of a product that was split along K, always in one
// order; linear_slope goes back through a layer's activation and sums its rows for the bias.
//
// on sm_80, 90a, 100   registers      shared  dynamic  threads  blocks an SM  holds
// gemm_large_*_float   128, 128, 127  0       49184    256      2, 2, 2       LDGSTS.128 STG.128
// gemm_small_*_float   86, 95, 104    0       24608    128      5, 5, 4       LDGSTS.128 STG.128
// gemm_small_*_double  87, 87, 100    0       24608    256      2, 2, 2       LDGSTS.128 STG.128
// gemm_join_*          34, 34, 34     0       0        256      6, 6, 6       LDG.128
// linear_slope_*       50, 48, 44     4096    0        256      4, 5, 5
#pragma once

#include "kernels/gemm/gemm_product.cuh"

namespace tilework::gemm_cuda {

// Blocks of 128 x 128 for what fills a card by them, else of 64 x 64. k or m says what A's memory
// runs along, k or n what B's does.
template <bool AInner, bool BInner>
using Large = OnCores<float, 128, 128, 16, 16, AInner, BInner>;
template <class T, bool AInner, bool BInner>
using Small = OnCores<T, 64, 64, sizeof(T) == 4 ? 8 : 16, 16, AInner, BInner>;

#define TW_GEMM(name, type, threads, ...)                                \
  TW_KERNEL_TOGETHER(threads, 2, name, TW_GEMM_PARAMETERS(type, type)) { \
    product<__VA_ARGS__>(TW_GEMM_ARGUMENTS);                             \
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
