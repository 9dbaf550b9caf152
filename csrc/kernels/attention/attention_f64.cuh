// Attention of float64, by attention_cores.cuh: to a width of 128, beyond which a tile does not fit
// in the shared memory of every card.
//
// on sm_80, 90a, 100         registers      shared  dynamic  threads  blocks an SM  holds
// *forward_*_double          179, 190, 200  0       84992    256      1, 1, 1       LDGSTS.128
// *query_gradients_*_double  181, 192, 181  0       76288    128      2, 2, 2       LDGSTS.128
// *key_gradients_*_double    225, 236, 218  0       76288    128      2, 2, 2       LDGSTS.128
#pragma once

#include "kernels/attention/attention_cores.cuh"

namespace tilework::attention_cuda {

TW_ATTENTION(double, 32, 32_double)
TW_ATTENTION(double, 64, 64_double)
TW_ATTENTION(double, 128, 128_double)

}  // namespace tilework::attention_cuda
