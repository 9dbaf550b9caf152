// The blocked product (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication",
// ACM TOMS 34, 2008): K in blocks, so that a panel of B stays in L1; M in blocks, so that a block
// of packed A stays in L2; the tile's kernel inside.
//
// Each K block starts from zeroed registers and is added to C. That bounds the chain of roundings
// by the block, and is why long products keep their accuracy.
#pragma once

#include "kernels/gemm/epilogue.h"
#include "kernels/gemm/pack.h"
#include "kernels/gemm/tile.h"

namespace tilework::TW_ISA {

TW_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
template <class T>
TW_INLINE T least(T a, T b) {
  return a < b ? a : b;
}

// [begin, begin + size) is part i when `whole` units are cut into `parts` of nearly one size.
struct Part {
  int64_t begin, size;
};
TW_INLINE Part part(int64_t whole, int64_t parts, int64_t i) {
  const int64_t begin = whole * i / parts;
  return {begin, whole * (i + 1) / parts - begin};
}

template <class T>
struct Blocks {
  using Shape = Tile<T>;
  // A panel of B (kc x nr) takes two thirds of a 48 KiB L1, or all but a panel of A of 32 KiB.
  static constexpr int64_t kc_most = 256;
  static constexpr int64_t mc_panels_most = 168 / Shape::mr;  // of A: 172 KB of a float L2 block
  static constexpr int64_t nc_most = 2048;

  int64_t k_blocks, m_panels, m_blocks, n_blocks, kc, mc, nc;

  Blocks(int64_t m, int64_t n, int64_t k) {
    k_blocks = k > 0 ? ceil_div(k, kc_most) : 1;
    kc = ceil_div(k, k_blocks);
    m_panels = ceil_div(m, Shape::mr);
    m_blocks = ceil_div(m_panels, mc_panels_most);
    mc = ceil_div(m_panels, m_blocks) * Shape::mr;
    // With one block of A each panel of B is used once, right after it is packed: one panel's room.
    n_blocks = m_blocks == 1 ? 1 : ceil_div(n, nc_most);
    nc = ceil_div(ceil_div(n, n_blocks), Shape::nr) * Shape::nr;
  }
  int64_t a_elements() const { return mc * kc + Vec<T>::width; }
  int64_t b_elements() const { return (m_blocks == 1 ? Shape::nr : nc) * kc; }
};

inline constexpr size_t kAlign = 64;
template <class T>
TW_INLINE size_t aligned_bytes(int64_t elements) {
  return (elements * sizeof(T) + kAlign - 1) / kAlign * kAlign;
}

// Enough for smaller products too, whose blocks may come out larger than this one's.
template <class T>
size_t blocked_workspace(int64_t m, int64_t n, int64_t k) {
  using Shape = Tile<T>;
  const int64_t kc = least(k, Blocks<T>::kc_most);
  const int64_t mc = least(ceil_div(m, Shape::mr), Blocks<T>::mc_panels_most) * Shape::mr;
  const int64_t nc = least(ceil_div(n, Shape::nr), Blocks<T>::nc_most / Shape::nr) * Shape::nr;
  return aligned_bytes<T>(mc * kc + Vec<T>::width) +
         aligned_bytes<T>((Blocks<T>(m, n, k).m_blocks == 1 ? Shape::nr : nc) * kc);
}

template <class T>
class BlockedProduct {
  using Shape = Tile<T>;

 public:
  BlockedProduct(const GemmArgs<T>& args, void* workspace)
      : g_(args),
        blocks_(args.m, args.n, args.k),
        packed_a_(static_cast<T*>(workspace)),
        packed_b_(reinterpret_cast<T*>(static_cast<char*>(workspace) +
                                       aligned_bytes<T>(blocks_.a_elements()))) {}

  void run() {
    for (int64_t j = 0; j < g_.n; j += blocks_.nc)
      for (int64_t kb = 0; kb < blocks_.k_blocks; ++kb) {
        k_ = kb * blocks_.kc;
        kc_ = least(blocks_.kc, g_.k - k_);
        add_ = kb > 0 || g_.epilogue.accumulate;
        last_ = kb + 1 == blocks_.k_blocks;
        for (int64_t mb = 0; mb < blocks_.m_blocks; ++mb)
          multiply_block(mb, j, least(j + blocks_.nc, g_.n));
      }
  }

 private:
  // Rows of panel p: panels differ by one row at most, so that no short one is left at the end.
  Part panel(int64_t p) const { return part(g_.m, blocks_.m_panels, p); }

  void multiply_block(int64_t mb, int64_t n_begin, int64_t n_end) {
    const Part panels = part(blocks_.m_panels, blocks_.m_blocks, mb);
    const int64_t first_row = panel(panels.begin).begin;
    for (int64_t p = panels.begin; p < panels.begin + panels.size; ++p) {
      const Part rows = panel(p);
      pack<T, Padding::none>(static_cast<int>(rows.size), static_cast<int>(rows.size), kc_,
                             g_.a + rows.begin * g_.a_row + k_ * g_.a_col, g_.a_row, g_.a_col,
                             packed_a_ + (rows.begin - first_row) * kc_);
    }
    for (int64_t j = n_begin; j < n_end; j += Shape::nr) {
      const int cols = static_cast<int>(least<int64_t>(Shape::nr, n_end - j));
      const TileB<T> b = panel_of_b(j, n_begin, cols, mb == 0);
      for (int64_t p = panels.begin; p < panels.begin + panels.size; ++p) {
        const Part rows = panel(p);
        T* c = g_.c + rows.begin * g_.c_row + j;
        tile_kernel<T>(static_cast<int>(rows.size), cols, true)(
            kc_, {packed_a_ + (rows.begin - first_row) * kc_, 0, 0}, b, {c, g_.c_row, cols, add_});
        if (last_ && g_.epilogue.changes_result())
          finish(rows.size, cols, c, g_.c_row, epilogue_at(g_.epilogue, rows.begin, j));
      }
    }
  }

  TileB<T> panel_of_b(int64_t j, int64_t n_begin, int cols, bool first_use) {
    if (g_.packed.data)
      return {reinterpret_cast<const T*>(g_.packed.data) + j * g_.k + k_ * Shape::nr, Shape::nr};
    T* panel = packed_b_ + (blocks_.m_blocks == 1 ? 0 : (j - n_begin) * kc_);
    if (first_use)
      pack<T, Padding::zero>(cols, Shape::nr, kc_, g_.b + k_ * g_.b_row + j * g_.b_col, g_.b_col,
                             g_.b_row, panel);
    return {panel, Shape::nr};
  }

  const GemmArgs<T>& g_;
  const Blocks<T> blocks_;
  T* const packed_a_;
  T* const packed_b_;
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
  constexpr int nr = Tile<T>::nr;
  T* panel = static_cast<T*>(packed);
  for (int64_t j = 0; j < args.n; j += nr, panel += args.k * nr)
    pack<T, Padding::zero>(static_cast<int>(least<int64_t>(nr, args.n - j)), nr, args.k,
                           args.b + j * args.b_col, args.b_col, args.b_row, panel);
}

}  // namespace tilework::TW_ISA
