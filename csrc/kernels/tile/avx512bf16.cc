#include "kernels/tile/epilogue_instances.h"
#include "kernels/tile/micro_kernel.h"

namespace tilework::TW_ISA {
namespace {

struct PairDots {
  static TW_INLINE Vec<float> run(Vec<float> a, Vec<float> b, Vec<float> sum) {
    return _mm512_dpbf16_ps(sum.v, (__m512bh)a.v, (__m512bh)b.v);
  }
};

}  // namespace

constexpr TileTable<float> tiles_bf16_pairs = make_tile_table<float, PairDots>();

}  // namespace tilework::TW_ISA
