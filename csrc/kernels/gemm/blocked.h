// The blocked product (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication",
// ACM TOMS 34, 2008): K in blocks, so that a panel of B stays in L1; M in blocks, so that a block
// of packed A stays in L2; the tile's kernel inside.
//
// Each K block starts from zeroed registers and is added to C; within it, chains of roundings end
// after kChain products. Both are why long products keep their accuracy.
#pragma once

#include "base/arithmetic.h"
#include "kernels/gemm/blocks_done.h"
#include "kernels/gemm/kernels.h"
#include "kernels/tile/arena.h"
#include "kernels/tile/epilogue.h"
#include "kernels/tile/pack.h"

namespace tilework::TW_ISA {

template <class T>
struct Blocks {
  using Shape = Tile<T>;
  // Half of an L1 for a panel of A: the rest is for what streams by. Each block of B packs A anew,
  // which is why B's are as wide as an L2 allows.
  static constexpr int64_t kc_most = 1536 / sizeof(T);
  static constexpr int64_t b_most = kBlockOfB<T>;

  int64_t k_blocks, n_blocks, m_panels, kc, nc;

  Blocks(int64_t m, int64_t n, int64_t k) {
    k_blocks = k > 0 ? ceil_div(k, kc_most) : 1;
    kc = ceil_div(k, k_blocks);
    n_blocks = ceil_div(n, b_most / (kc > 0 ? kc : 1));
    nc = ceil_div(ceil_div(n, n_blocks), Shape::nr) * Shape::nr;
    m_panels = ceil_div(m, Shape::mr);
  }
  // Of a block of so many steps.
  static constexpr int64_t chain(int64_t steps) {
    if (steps <= kChain) return kChain;
    const int64_t each = ceil_div(steps, ceil_div(steps, kChain));
    return each + each % kStepsPerTurn;
  }
  static constexpr int64_t a_elements(int64_t kc) { return Shape::mr * kc + Vec<T>::width; }
};

// Few rows use each element of B too seldom to pay for its packing: A is packed whole instead, and
// B read where it lies. One or two panels of A are not worth that order: they take strips of B as
// they come.
inline constexpr int64_t kFewPanels = 5;
// A B packed earlier is in that order's favour, since it comes from memory: it is read once, for as
// many panels of A as leave room in an L2.
inline constexpr int64_t kFewPanelsOfPackedB = 16;

// A B of that many bytes needs no packing to be near. Low tiles read it more often: it must fit in
// L1.
inline constexpr int64_t kSmallB = kRegisters == 32 ? 64 << 10 : 16 << 10;

// Of a row of tiles that one call computes: `kTilesToFinish` where an epilogue follows, while they
// are in L1; else as many as take `kStepsInRow` steps, by when the next panel of A may be asked
// for.
inline constexpr int64_t kTilesToFinish = 8, kStepsInRow = 2048;

// Enough for smaller products too, whose blocks may come out larger than this one's.
template <class T>
struct BlockedSpace {
  T *panels_a, *block_b;
  size_t bytes;

  BlockedSpace(int64_t m, int64_t n, int64_t k, void* workspace) {
    constexpr int64_t nr = Tile<T>::nr, mr = Tile<T>::mr;
    const int64_t kc = least(k, Blocks<T>::kc_most);
    Arena arena(workspace);
    panels_a =
        arena.take<T>(Blocks<T>::a_elements(kc) * least(ceil_div(m, mr), kFewPanelsOfPackedB));
    block_b = arena.take<T>(least(round_up(n, nr) * kc, Blocks<T>::b_most + nr * kc));
    bytes = arena.used();
  }
};
template <class T>
size_t blocked_workspace(int64_t m, int64_t n, int64_t k) {
  return BlockedSpace<T>(m, n, k, nullptr).bytes;
}

template <class T>
class BlockedProduct {
  using Shape = Tile<T>;

 public:
  BlockedProduct(const GemmArgs<T>& args, void* workspace)
      : g_(args),
        blocks_(args.m, args.n, args.k),
        space_(args.m, args.n, args.k, workspace),
        // Packing a panel of A pays when several panels of B use it; the other way round for B.
        pack_a_(args.n > 4 * Shape::nr || (args.a.col != 1 && args.a.row != 1)),
        rows_adjacent_(pack_a_ || args.a.col != 1),
        few_rows_(pack_a_ && (args.packed.data ? blocks_.m_panels <= kFewPanelsOfPackedB
                                               : args.b.col == 1 && blocks_.m_panels > 2 &&
                                                     blocks_.m_panels <= kFewPanels)),
        pack_b_(!args.packed.data && !few_rows_ &&
                (args.b.col != 1 ||
                 (blocks_.m_panels > 2 && args.n * args.k * int64_t{sizeof(T)} > kSmallB))) {}

  void run() {
    for (int64_t j = 0; j < g_.n; j += blocks_.nc)
      for (int64_t kb = 0; kb < blocks_.k_blocks; ++kb) {
        k_ = kb * blocks_.kc;
        kc_ = least(blocks_.kc, g_.k - k_);
        add_ = kb > 0 || g_.epilogue.accumulate;
        last_ = kb + 1 == blocks_.k_blocks;
        if (few_rows_)
          multiply_few_rows(j, least(j + blocks_.nc, g_.n));
        else
          multiply(j, least(j + blocks_.nc, g_.n));
      }
  }

 private:
  // Every panel of A meets a strip of B before the next strip does; meanwhile that one is asked
  // for. Its lines lie a row of B apart, where the hardware sees no stream.
  void multiply_few_rows(int64_t n_begin, int64_t n_end) {
    BlocksDone<T> done(g_, 0, g_.m, n_begin);
    if (!g_.packed.data) pack_b(n_end - (n_end - n_begin) % Shape::nr, n_begin, n_end);
    for (int64_t p = 0; p < blocks_.m_panels; ++p) {
      const Part rows = part(g_.m, blocks_.m_panels, p);
      panel_of_a(rows.begin, static_cast<int>(rows.size),
                 space_.panels_a + p * blocks_.a_elements(kc_));
    }
    for (int64_t j = n_begin; j < n_end; j += Shape::nr) {
      TileB<T> b = panel_of_b(j, n_begin, n_end);
      const T* next =
          n_end - j >= 2 * Shape::nr ? panel_of_b(j + Shape::nr, n_begin, n_end).data : nullptr;
      for (int64_t p = 0; p < blocks_.m_panels; ++p) {
        ask_for(next, p, b);
        const Part rows = part(g_.m, blocks_.m_panels, p);
        compute(rows, j, cols_at(j, n_end), 1,
                {space_.panels_a + p * blocks_.a_elements(kc_), 1, rows.size}, b);
      }
      if (last_) done.up_to(j + Shape::nr);
    }
  }

  // The next strip, which the first few panels' tiles ask for: a strip that lies adjacent in equal
  // shares, since a burst of requests would hold up those for this one; else a line of each row.
  void ask_for(const T* next, int64_t panel, TileB<T>& b) const {
    constexpr int64_t kLine = 64 / sizeof(T), kLines = (Shape::nr + kLine - 1) / kLine;
    const int64_t shares = g_.packed.data ? least<int64_t>(blocks_.m_panels, 4) : kLines;
    b.later = nullptr;
    if (!next || panel >= shares) return;
    b.later = next + panel * (g_.packed.data ? kc_ * Shape::nr / shares : kLine);
    b.later_step = g_.packed.data ? ceil_div(Shape::nr, shares) : b.row;
  }

  // A row of tiles of C, `cols` columns each.
  TW_INLINE void compute(const Part& rows, int64_t j, int cols, int tiles, const MatrixView<T>& a,
                         const TileB<T>& b) {
    const int height = static_cast<int>(rows.size);
    T* c = g_.c + rows.begin * g_.c_row + j;
    tile_kernel<T>(height, cols, rows_adjacent_)(
        kc_, a, b, {c, g_.c_row, cols, add_, tiles, blocks_.chain(kc_)});
    if (last_ && g_.epilogue.changes_result())
      finish(height, int64_t{cols} * tiles, c, g_.c_row, epilogue_at(g_.epilogue, rows.begin, j));
  }

  void pack_b(int64_t j, int64_t n_begin, int64_t n_end) {
    pack_block(n_end - j, kc_, g_.b.data + k_ * g_.b.row + j * g_.b.col, g_.b.row, g_.b.col,
               space_.block_b + (j - n_begin) * kc_);
  }

  void multiply(int64_t n_begin, int64_t n_end) {
    if (!g_.packed.data) {
      // Unless the whole block is packed, only columns that do not fill a panel are.
      pack_b(pack_b_ ? n_begin : n_end - (n_end - n_begin) % Shape::nr, n_begin, n_end);
    }
    const int64_t tiles = ceil_div(n_end - n_begin, Shape::nr);
    const int64_t in_row = last_ && (g_.epilogue.changes_result() || g_.on_block.run)
                               ? kTilesToFinish
                               : kTilesToFinish + kStepsInRow / (kc_ + 1);
    for (int64_t p = 0; p < blocks_.m_panels; ++p) {
      // Panels differ by one row at most, so that no short one is left at the end.
      const Part rows = part(g_.m, blocks_.m_panels, p);
      const MatrixView<T> a = panel_of_a(rows.begin, static_cast<int>(rows.size), space_.panels_a);
      const Part next = part(g_.m, blocks_.m_panels, p + 1 < blocks_.m_panels ? p + 1 : p);
      PanelPrefetch<T> prefetch(g_.a.data + next.begin * g_.a.row + k_ * g_.a.col, next.size, kc_,
                                g_.a.row, g_.a.col, pack_a_ ? tiles : 0);
      BlocksDone<T> done(g_, rows.begin, rows.size, n_begin);
      for (int64_t j = n_begin; j < n_end;) {
        const int count = static_cast<int>(
            least(in_row, n_end - j < Shape::nr ? int64_t{1} : (n_end - j) / Shape::nr));
        for (int i = 0; i < count; ++i) prefetch.next();
        TileB<T> b = panel_of_b(j, n_begin, n_end);
        if (count > 1) b.panel = panel_of_b(j + Shape::nr, n_begin, n_end).data - b.data;
        compute(rows, j, cols_at(j, n_end), count, a, b);
        j += count * int64_t{Shape::nr};
        if (last_) done.up_to(j);
      }
    }
  }

  static int cols_at(int64_t j, int64_t n_end) {
    return static_cast<int>(least<int64_t>(Shape::nr, n_end - j));
  }

  MatrixView<T> panel_of_a(int64_t row, int height, T* packed) {
    const T* a = g_.a.data + row * g_.a.row + k_ * g_.a.col;
    if (!pack_a_) return {a, g_.a.row, g_.a.col};
    pack<T, Padding::none>(height, height, kc_, a, g_.a.row, g_.a.col, packed);
    return {packed, 1, height};
  }

  TileB<T> panel_of_b(int64_t j, int64_t n_begin, int64_t n_end) const {
    if (g_.packed.data)
      return {reinterpret_cast<const T*>(g_.packed.data) + j * g_.k + k_ * Shape::nr, Shape::nr};
    // The tile loads whole vectors: columns past the end need the zeros of a packed panel.
    if (pack_b_ || n_end - j < Shape::nr) return {space_.block_b + (j - n_begin) * kc_, Shape::nr};
    return {g_.b.data + k_ * g_.b.row + j, g_.b.row};
  }

  const GemmArgs<T>& g_;
  const Blocks<T> blocks_;
  const BlockedSpace<T> space_;
  const bool pack_a_, rows_adjacent_, few_rows_, pack_b_;
  int64_t k_ = 0, kc_ = 0;  // the K block at hand
  bool add_ = false, last_ = false;
};

template <class T>
void blocked_run(const GemmArgs<T>& args, void* workspace) {
  BlockedProduct<T>(args, workspace).run();
}

template <class T>
bool blocked_suits(const GemmArgs<T>&) {
  return true;
}

template <class T>
size_t blocked_panel_bytes(int64_t k, MatmulPrecision) {
  return k * Tile<T>::nr * sizeof(T);
}

template <class T>
void blocked_pack(const GemmArgs<T>& args, void* packed) {
  pack_block(args.n, args.k, args.b.data, args.b.row, args.b.col, static_cast<T*>(packed));
}

}  // namespace tilework::TW_ISA
