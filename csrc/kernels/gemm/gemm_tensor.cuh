// Matrix products on tensor cores: of bfloat16, of float as tf32 ("high") or rounded to bfloat16
// ("medium"), and of half. Sums are float.
//
// Blocks, tiles and names are those of gemm.cuh. Eight warps have 64 x 32 of a large block each,
// four 32 x 32 of a small one: 64 sums a thread, or 32. Fragments come by ldmatrix, transposed for
// a side that lies across K; of float ones across K, which ldmatrix cannot turn, by single words.
// float is rounded to tf32 or to pairs of bfloat16 on its way from shared memory to a fragment.
//
// on sm_80, 90a, 100  registers      shared  dynamic  threads  blocks an SM  holds
// gemm_large_*        124, 128, 128  0       52256    256      2, 2, 2       HMMA LDGSTS.128
// gemm_small_*        116, 116, 128  0       27680    128      4, 4, 4       HMMA LDGSTS.128
#pragma once

#include "kernels/gemm/gemm_product.cuh"

namespace tilework::gemm_cuda {

template <class Kind, bool AInner, bool BInner>
using LargeTensor = OnTensorCores<Kind, 128, 128, 2, 4, AInner, BInner>;
template <class Kind, bool AInner, bool BInner>
using SmallTensor = OnTensorCores<Kind, 64, 64, 2, 2, AInner, BInner>;

#define TW_GEMM(threads, name, type, ...)                                 \
  TW_KERNEL_TOGETHER(threads, 2, name, TW_GEMM_PARAMETERS(type, float)) { \
    product<__VA_ARGS__>(TW_GEMM_ARGUMENTS);                              \
  }
#define TW_GEMM_SIZES(name, type, Kind, a, b, a_inner, b_inner)                       \
  TW_GEMM(256, gemm_large_##a##b##_##name, type, LargeTensor<Kind, a_inner, b_inner>) \
  TW_GEMM(128, gemm_small_##a##b##_##name, type, SmallTensor<Kind, a_inner, b_inner>)
#define TW_GEMM_ORDERS(name, type, Kind)             \
  TW_GEMM_SIZES(name, type, Kind, k, k, true, true)  \
  TW_GEMM_SIZES(name, type, Kind, k, n, true, false) \
  TW_GEMM_SIZES(name, type, Kind, m, k, false, true) \
  TW_GEMM_SIZES(name, type, Kind, m, n, false, false)
TW_GEMM_ORDERS(bf16, __nv_bfloat16, Bf16)
TW_GEMM_ORDERS(tf32_float, float, Tf32)
TW_GEMM_ORDERS(bf16_float, float, Bf16OfFloat)
// No array of tilework's is of half: this is for whoever launches it by its name.
TW_GEMM_SIZES(half, __half, F16, k, n, true, false)
#undef TW_GEMM_ORDERS
#undef TW_GEMM_SIZES
#undef TW_GEMM

}  // namespace tilework::gemm_cuda
