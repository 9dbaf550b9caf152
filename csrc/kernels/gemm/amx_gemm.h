// Float32 products through bfloat16 tiles, by exact splitting (Henry, Tang and Heinecke,
// "Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations",
// ARITH 2019).
//
//     x = high + middle + low,  x y = the sum over the slices of x and y
//
// "highest" keeps the six largest of the nine products of slices: what it drops is below 2^-24 of
// |x||y|, and what it sums has fewer roundings than a chain of float32 FMAs. "high" keeps three, of
// two slices; "medium" one. Where splitting would not be exact (Inf, NaN, denormals, the very
// small or large: see Profile) 32 x 32 of C over one K block go through the AVX-512 routine
// instead.
#pragma once

#include "kernels/gemm/amx_block.h"
#include "kernels/gemm/amx_pack.h"
#include "kernels/gemm/blocks_done.h"

namespace tilework::avx512 {
extern const GemmKernels gemm_kernels;
}

namespace tilework::TW_ISA::split {

// Serves what the tiles cannot; it suits every product.
inline const GemmRoutine<float>& plain_routine() {
  return avx512::gemm_kernels.f32[avx512::gemm_kernels.f32_count - 1];
}

// Cuts of M and N: a block of A stays in L2 (8 panels of 96 KiB of the 2 MiB that AMX's CPUs have)
// while panels of B pass, each from memory or L3 once and then from L2 for all of A's panels.
inline constexpr int64_t kPanelsOfA = 8, kPanelsOfB = kPanelsMost;

// Tile products of a k-step, four for each product of slices.
template <int S>
inline constexpr int kProducts = products_of(S == 3   ? Sweep::six
                                             : S == 2 ? Sweep::three
                                                      : Sweep::high);

template <int S>
class Product {
 public:
  Product(const GemmArgs<float>& args, void* workspace)
      : Product(args, Sizes(args.m, args.n, args.k), static_cast<char*>(workspace)) {}

  static size_t workspace_bytes(int64_t m, int64_t n, int64_t k) {
    return Sizes(m, n, k).end + plain_routine().workspace_bytes(m, n, k);
  }

  void run() {
    const tiles::Configured held;
    const bool ahead = g_.packed.data != nullptr;
    const int64_t n_step = ahead ? n_panels_ : block_panels(n_panels_, kPanelsOfB);
    const int64_t m_step = block_panels(m_panels_, kPanelsOfA);
    for (int64_t n = 0; n < n_panels_; n += n_step)
      for (int64_t kb = 0; kb < k_blocks_.count; ++kb) {
        k_ = k_blocks_.begin(kb);
        k_length_ = k_blocks_.length(kb);
        add_ = kb > 0 || g_.epilogue.accumulate;
        last_ = kb + 1 == k_blocks_.count;
        b_block_ = ahead ? kb : 0;
        const Span b{n, least(n_step, n_panels_ - n)};
        if (!ahead) pack_b(b);
        for (int64_t m = 0; m < m_panels_; m += m_step) {
          const Span a{m, least(m_step, m_panels_ - m)};
          pack_a(a);
          if (multiply(a, b) > 0) multiply_plainly(a, b);
          if (last_) call_back(a, b);
        }
      }
  }

 private:
  // Panels [begin, begin + count) of A or B; they lie in the buffers from 0, B packed ahead as a
  // whole.
  struct Span {
    int64_t begin, count;
  };

  // The workspace: a block of A, a block of B, two blocks of sums.
  struct Sizes {
    int64_t k, b, sums, end;
    Sizes(int64_t m, int64_t n, int64_t k_whole) {
      k = KBlocks(k_whole).size;
      const int64_t panel = round_up(Panels<S>::panel_bytes(k), kLine);
      b = panel * least(ceil_div(m, kPanel), kPanelsOfA);
      sums = b + panel * least(ceil_div(n, kPanel), kPanelsOfB);
      end = sums + 2 * kSumsBytes;
    }
  };
  static constexpr int64_t kSums = kPanel * kPanel;
  static constexpr int64_t kSumsBytes = kSums * static_cast<int64_t>(sizeof(float));

  Product(const GemmArgs<float>& args, const Sizes& sizes, char* workspace)
      : g_(args),
        k_blocks_(args.k),
        m_panels_(ceil_div(args.m, kPanel)),
        n_panels_(ceil_div(args.n, kPanel)),
        a_(workspace, sizes.k),
        b_(args.packed.data ? Panels<S>(const_cast<char*>(args.packed.data), args.k)
                            : Panels<S>(workspace + sizes.b, sizes.k)),
        sums_(reinterpret_cast<float*>(workspace + sizes.sums)),
        plain_workspace_(workspace + sizes.end) {}

  // Blocks of nearly one size.
  static int64_t block_panels(int64_t panels, int64_t most) {
    return ceil_div(panels, ceil_div(panels, most));
  }

  int64_t rows_of(int64_t panel) const { return least(kPanel, g_.m - panel * kPanel); }
  int64_t cols_of(int64_t panel) const { return least(kPanel, g_.n - panel * kPanel); }
  float* c_at(int64_t m_panel, int64_t n_panel) const {
    return g_.c + m_panel * kPanel * g_.c_row + n_panel * kPanel;
  }

  void pack_a(Span s) {
    const PanelSource<float> all{g_.a, g_.m, g_.k};
    const int64_t begin = s.begin * kPanel, rows = least(s.count * kPanel, g_.m - begin);
    pack_block<S, Side::a>(all.part(begin, rows, k_, k_length_), a_, 0);
  }
  void pack_b(Span s) {
    const PanelSource<float> all{g_.b.transposed(), g_.n, g_.k};
    const int64_t begin = s.begin * kPanel, cols = least(s.count * kPanel, g_.n - begin);
    pack_block<S, Side::b>(all.part(begin, cols, k_, k_length_), b_, 0);
  }

  bool splits(int64_t i, int64_t j) const {
    return splits_exactly(a_.profile(i, 0), b_.profile(j, b_block_));
  }

  // The blocks of C that split exactly; returns the number of those that do not.
  int64_t multiply(Span a, Span b) {
    constexpr int64_t step_bytes = Panels<S>::kStepBytes;
    const int64_t steps = ceil_div(k_length_, kStep);
    // Few panels of A give few products to fetch the next panel of B behind.
    const bool hurry = a.count * kProducts<S> * kLine < step_bytes;
    int64_t left_out = 0, used = 0;
    Meanwhile meanwhile{};
    for (int64_t j = 0; j < b.count; ++j) {
      const uint16_t* panel = b_.steps(j, b_block_);
      const char* fetched =
          reinterpret_cast<const char*>(b_.steps(j + 1 < b.count ? j + 1 : j, b_block_));
      const char* fetch_end = fetched + (j + 1 < b.count ? steps * step_bytes : 0);
      meanwhile.next_b = fetched;
      for (int64_t i = 0; i < a.count; ++i) {
        const Profile &of_a = a_.profile(i, 0), &of_b = b_.profile(j, b_block_);
        if (!splits_exactly(of_a, of_b)) {
          ++left_out;
          continue;
        }
        float* c = c_at(a.begin + i, b.begin + j);
        const bool down = i + 1 < a.count;
        meanwhile.next_c = down ? c + kPanel * g_.c_row : c_at(a.begin, b.begin + j + 1);
        meanwhile.next_c_row = g_.c_row;
        meanwhile.next_b_advance = meanwhile.next_b < fetch_end ? kLine * (hurry ? 4 : 1) : 0;
        const int waiting_rows = meanwhile.pending.rows;
        sum_products_for(hurry, few_products_matter(of_a, of_b))({a_.steps(i, 0), panel}, steps,
                                                                 meanwhile);
        finish_waiting(waiting_rows);

        const int64_t rows = rows_of(a.begin + i), cols = cols_of(b.begin + j);
        if (rows == kPanel && cols == kPanel && !add_ && !changes_result()) {
          store_sums(c, g_.c_row);
        } else {
          float* sums = sums_ + (used++ % 2) * kSums;
          store_sums(sums, kPanel);
          meanwhile.pending = Pending::of(sums, c, g_.c_row, rows, cols, add_);
          waiting_ = {a.begin + i, b.begin + j};
        }
      }
    }
    const int waiting_rows = meanwhile.pending.rows;
    while (meanwhile.pending.rows > 0) meanwhile.pending.finish_row();
    finish_waiting(waiting_rows);
    return left_out;
  }

  static auto sum_products_for(bool hurry, bool apart) {
    if constexpr (S == 3)
      if (apart) return hurry ? sum_products<S, 4, true> : sum_products<S, 1, true>;
    return hurry ? sum_products<S, 4, false> : sum_products<S, 1, false>;
  }

  bool changes_result() const { return last_ && g_.epilogue.changes_result(); }

  // The epilogue of the block that has just been put into C, while its lines are in L1.
  void finish_waiting(int rows) {
    if (rows == 0 || !changes_result()) return;
    const auto [m_panel, n_panel] = waiting_;
    finish<float>(rows, cols_of(n_panel), c_at(m_panel, n_panel), g_.c_row,
                  epilogue_at(g_.epilogue, m_panel * kPanel, n_panel * kPanel));
  }

  void call_back(Span a, Span b) const {
    const int64_t row = a.begin * kPanel, rows = least(a.count * kPanel, g_.m - row);
    BlocksDone<float>(g_, row, rows, b.begin * kPanel).up_to((b.begin + b.count) * kPanel);
  }

  // The blocks of C that do not: whole rows of them at once, and runs within a row.
  void multiply_plainly(Span a, Span b) {
    for (int64_t i = 0; i < a.count;) {
      int64_t whole = i;
      while (whole < a.count && run_from(whole, 0, b.count, false) == b.count) ++whole;
      if (whole > i) {
        plain(a.begin + i, whole - i, b.begin, b.count);
        i = whole;
        continue;
      }
      for (int64_t j = 0; j < b.count;) {
        const int64_t from = run_from(i, j, b.count, true);
        const int64_t to = run_from(i, from, b.count, false);
        if (to > from) plain(a.begin + i, 1, b.begin + from, to - from);
        j = to;
      }
      ++i;
    }
  }

  // The end of the run, from j on, of blocks that split exactly or that do not.
  int64_t run_from(int64_t i, int64_t j, int64_t end, bool exact) const {
    while (j < end && splits(i, j) == exact) ++j;
    return j;
  }

  void plain(int64_t m_panel, int64_t m_count, int64_t n_panel, int64_t n_count) {
    const int64_t row = m_panel * kPanel, col = n_panel * kPanel;
    GemmArgs<float> piece = g_;
    piece.m = least(m_count * kPanel, g_.m - row);
    piece.n = least(n_count * kPanel, g_.n - col);
    piece.k = k_length_;
    piece.a.data = g_.a.at(row, k_);
    piece.b.data = g_.b.at(k_, col);
    piece.c += row * g_.c_row + col;
    piece.packed = {nullptr, nullptr};
    piece.on_block = {};
    piece.epilogue = last_ ? epilogue_at(g_.epilogue, row, col) : Epilogue<float>{};
    piece.epilogue.accumulate = add_;
    plain_routine().run(piece, plain_workspace_);
  }

  const GemmArgs<float>& g_;
  const KBlocks k_blocks_;
  const int64_t m_panels_, n_panels_;
  const Panels<S> a_, b_;
  float* const sums_;
  void* const plain_workspace_;
  // The K block at hand.
  int64_t k_ = 0, k_length_ = 0, b_block_ = 0;
  bool add_ = false, last_ = false;
  // Where in C the block is whose sums wait.
  struct {
    int64_t m_panel, n_panel;
  } waiting_{};
};

template <int S>
void run(const GemmArgs<float>& args, void* workspace) {
  Product<S>(args, workspace).run();
}

template <int S>
size_t panel_bytes(int64_t k, MatmulPrecision) {
  return Panels<S>::panel_bytes(k);
}

template <int S>
void pack_panels(const GemmArgs<float>& args, void* packed) {
  const PanelSource<float> all{args.b.transposed(), args.n, args.k};
  Panels<S> out(packed, args.k);
  for (int64_t n = 0; n < args.n; n += kPanelsMost * kPanel, out.data += kPanelsMost * out.stride)
    for (int64_t kb = 0; kb < out.blocks.count; ++kb)
      pack_block<S, Side::b>(all.part(n, least(kPanelsMost * kPanel, args.n - n),
                                      out.blocks.begin(kb), out.blocks.length(kb)),
                             out, kb);
}

// Whether tiles gain by what they lose in packing: times in units of one float32 multiply-add of
// the AVX-512 routine. Splitting an element takes some 40 (the plain packing 10), six tile products
// 0.45, on whole panels; configuring tiles and the longer set-up some 20,000.
template <int S>
bool suits(const GemmArgs<float>& args) {
  constexpr MatmulPrecision served = S == 3   ? MatmulPrecision::highest
                                     : S == 2 ? MatmulPrecision::high
                                              : MatmulPrecision::medium;
  if (args.precision != served || args.k == 0) return false;
  // Few rows are bound by reading B, of which split values are half as long again.
  constexpr int64_t kLeast = 16;
  if (args.m < kLeast || args.n < kLeast) return false;
  constexpr double kSplit = 40, kPack = 10, kTile = 0.45 * kProducts<S> / kProducts<3>,
                   kSetup = 20e3;
  const bool ahead = args.packed.data && args.packed.routine->run == run<S>;
  const auto real = [](int64_t x) { return static_cast<double>(x); };
  const double m = real(args.m), n = real(args.n), k = real(args.k);
  const double whole_m = real(round_up(args.m, kPanel)), whole_n = real(round_up(args.n, kPanel));
  const double tiles = kTile * whole_m * whole_n + kSplit * (whole_m + (ahead ? 0 : whole_n));
  const double plain = m * n + kPack * (m + n);
  return tiles * real(round_up(args.k, kStep)) + kSetup < plain * k;
}

template <int S>
inline constexpr GemmRoutine<float> kRoutine = {
    S == 3   ? "bf16x6"
    : S == 2 ? "bf16x3"
             : "bf16",
    suits<S>,
    kPanel,
    kPanel,
    Product<S>::workspace_bytes,
    run<S>,
    panel_bytes<S>,
    pack_panels<S>,
};

inline constexpr GemmRoutine<float> kRoutines[] = {kRoutine<3>, kRoutine<2>, kRoutine<1>};

}  // namespace tilework::TW_ISA::split
