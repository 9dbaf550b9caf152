// All that the room has, for the ISA whose file includes this.
#pragma once

#include "kernels/tile/bf16_pack_body.h"
#include "kernels/tile/epilogue_instances.h"
#include "kernels/tile/micro_kernel.h"
#include "kernels/tile/pack_body.h"

namespace tilework::TW_ISA {

constexpr TileTable<float> tiles_f32 = make_tile_table<float>();
constexpr TileTable<double> tiles_f64 = make_tile_table<double>();

#define TW_PACKS(T)                                                                        \
  template void pack<T, Padding::none>(int, int, int64_t, const T*, int64_t, int64_t, T*); \
  template void pack<T, Padding::zero>(int, int, int64_t, const T*, int64_t, int64_t, T*); \
  template void pack_block<T>(int64_t, int64_t, const T*, int64_t, int64_t, T*);
TW_PACKS(float)
TW_PACKS(double)
#undef TW_PACKS

}  // namespace tilework::TW_ISA
