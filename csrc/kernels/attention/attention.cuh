// Attention of float32, by attention_cores.cuh; and of any type what a backward pass begins with,
// the sums of each row's result times its gradient, one warp a row.
//
// on sm_80, 90a, 100          registers      shared  dynamic  threads  blocks an SM  holds
// attention_dots_*            30, 32, 40     0       0        128      16, 16, 12
// *forward_32_float           109, 112, 112  0       45056    256      2, 2, 2       LDGSTS.128
// *forward_64_float           111, 113, 108  0       44032    256      2, 2, 2       LDGSTS.128
// *forward_128_float          117, 127, 128  0       76800    256      2, 2, 2       LDGSTS.128
// *forward_256_float          160, 166, 243  0       69120    128      2, 3, 2       LDGSTS.128
// *query_gradients_32_float   139, 148, 140  0       36352    128      3, 3, 3       LDGSTS.128
// *query_gradients_64_float   139, 148, 133  0       39424    128      3, 3, 3       LDGSTS.128
// *query_gradients_128_float  146, 156, 145  0       72192    128      2, 3, 3       LDGSTS.128
// *query_gradients_256_float  151, 164, 151  0       68096    128      2, 3, 3       LDGSTS.128
// *key_gradients_32_float     156, 162, 194  0       36352    128      3, 3, 2       LDGSTS.128
// *key_gradients_64_float     162, 168, 196  0       39424    128      3, 3, 2       LDGSTS.128
// *key_gradients_128_float    186, 195, 194  0       72192    128      2, 2, 2       LDGSTS.128
// *key_gradients_256_float    202, 210, 202  0       68096    128      2, 2, 2       LDGSTS.128
#pragma once

#include "kernels/attention/attention_cores.cuh"

namespace tilework::attention_cuda {

TW_ATTENTION(float, 32, 32_float)
TW_ATTENTION(float, 64, 64_float)
TW_ATTENTION(float, 128, 128_float)
TW_ATTENTION(float, 256, 256_float)

inline constexpr int kDotWarps = 4;

template <class T>
__device__ void row_dots(Wide<T>* dots, const HeadRows<const T>& out, const HeadRows<const T>& grad,
                         int64_t heads, int64_t queries, int64_t rows, int64_t width) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kDotWarps + threadIdx.x / kWarpLanes;
  if (row >= rows) return;
  const int64_t b = row / queries / heads, h = row / queries % heads, i = row % queries;
  const Wide<T> sum = dot_by_warp(out.at(b, h, i), grad.at(b, h, i), width);
  if (threadIdx.x % kWarpLanes == 0) dots[row] = sum;
}

#define TW_ATTENTION_DOTS(type, wide, name)                                               \
  TW_KERNEL(kDotWarps* kWarpLanes, attention_dots_##name, wide* dots, const type* out,    \
            int64_t out_batch, int64_t out_head, int64_t out_row, const type* grad,       \
            int64_t grad_batch, int64_t grad_head, int64_t grad_row, int64_t heads,       \
            int64_t queries, int64_t rows, int64_t width) {                               \
    row_dots<type>(dots, {out, out_batch, out_head, out_row},                             \
                   {grad, grad_batch, grad_head, grad_row}, heads, queries, rows, width); \
  }
TW_ATTENTION_DOTS(float, float, float)
TW_ATTENTION_DOTS(double, double, double)
TW_ATTENTION_DOTS(__nv_bfloat16, float, bfloat16)
#undef TW_ATTENTION_DOTS

}  // namespace tilework::attention_cuda
