// bfloat16 products through the tiles, in software (the ISA "twin"), held to the bit against those
// that widen: on whole numbers, whose products and sums are exact in float32, both have one answer.
// Built with TILEWORK_TILE_TWIN only.
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "kernels/gemm/kernels.h"
#include "simd/tiles.h"
#include "tests/check.h"
#include "tests/numbers.h"

namespace tilework::avx512 {
extern const GemmKernels gemm_kernels;
}
namespace tilework::twin {
extern const GemmKernels gemm_kernels;
}

using namespace tilework;

namespace {

using Routine = GemmRoutine<bfloat16>;
const Routine& tile_routine() { return twin::gemm_kernels.bf16[0]; }
const Routine& widening_routine() {
  return avx512::gemm_kernels.bf16[avx512::gemm_kernels.bf16_count - 1];
}

// --- operands, with NaN in memory that is not theirs ---

enum Layout { by_rows, by_columns, spaced };
constexpr Layout kLayouts[] = {by_rows, by_columns, spaced};
constexpr bfloat16 kNarrowNan = {0x7fc0};

struct Matrix {
  int64_t rows, cols, row, col;  // strides in elements
  std::vector<bfloat16> memory;

  Matrix(int64_t rows_, int64_t cols_, Layout layout) : rows(rows_), cols(cols_) {
    row = layout == by_rows ? cols + 3 : layout == by_columns ? 1 : 2 * cols + 5;
    col = layout == by_rows ? 1 : layout == by_columns ? rows + 5 : 2;
    memory.assign(rows * row + cols * col + 1, kNarrowNan);
  }
  bfloat16& at(int64_t i, int64_t j) { return memory[i * row + j * col]; }
  void fill(std::minstd_rand& random) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j)
        at(i, j) = to_bfloat16(static_cast<float>(static_cast<int>(random() % 17) - 8));
  }
};

struct Product {
  Matrix a, b;
  Product(int64_t m, int64_t n, int64_t k, Layout la = by_rows, Layout lb = by_rows)
      : a(m, k, la), b(k, n, lb) {
    std::minstd_rand random(static_cast<unsigned>(m * 7919 + n * 104729 + k));
    a.fill(random);
    b.fill(random);
  }
  int64_t m() const { return a.rows; }
  int64_t n() const { return b.cols; }
  int64_t k() const { return a.cols; }
};

// --- calls ---

constexpr int64_t kGap = 5;  // elements between C's rows that are nobody's
using Tune = std::function<void(GemmArgs<bfloat16>&)>;

// C's memory, gaps and all. T: what C is of.
template <class T>
std::vector<T> run(const Routine& routine, Product& p, const Tune& tune = {}) {
  const int64_t c_row = p.n() + kGap;
  std::vector<T> c(p.m() * c_row);
  std::memset(c.data(), 0x40, c.size() * sizeof(T));  // 3, or nearly
  GemmArgs<bfloat16> args{p.m(),
                          p.n(),
                          p.k(),
                          {p.a.memory.data(), p.a.row, p.a.col},
                          {p.b.memory.data(), p.b.row, p.b.col},
                          {reinterpret_cast<char*>(c.data()), sizeof(T) == sizeof(float)},
                          c_row};
  if (tune) tune(args);
  const Aligned workspace(routine.workspace_bytes(args.m, args.n, args.k));
  routine.run(args, workspace.data);
  CHECK(twin::tiles::state.config.palette == 0);  // nothing stays configured
  return c;
}

template <class T>
bool same_bits(const std::vector<T>& x, const std::vector<T>& y) {
  return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0;
}

template <class T>
void check_same(Product& p, const Tune& tune = {}) {
  CHECK(same_bits(run<T>(tile_routine(), p, tune), run<T>(widening_routine(), p, tune)));
}

// --- tests ---

// Each tail around the tiles' 16 and the panels' 32, each pair of layouts; K in one block, in
// several; several blocks of A and of B.
void tails() {
  const int64_t sizes[] = {1, 15, 16, 17, 31, 32, 33, 65};
  int turn = 0;
  for (int64_t m : sizes)
    for (int64_t n : sizes)
      for (int64_t k : {1, 2, 3, 15, 31, 32, 33, 63, 64, 65, 97}) {
        Product p(m, n, k, kLayouts[turn % 3], kLayouts[turn / 3 % 3]);
        ++turn;
        check_same<bfloat16>(p);
      }
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{33, 47, 511},
                                {33, 47, 513},
                                {32, 64, 1025},
                                {300, 40, 1100},
                                {600, 70, 70},
                                {20, 2100, 40},
                                {40, 300, 9000}})
    for (Layout la : kLayouts)
      for (Layout lb : kLayouts) {
        Product p(m, n, k, la, lb);
        check_same<bfloat16>(p);
        check_same<float>(p);
      }
}

void epilogues() {
  for (int64_t k : {100, 1100})
    for (bool accumulate : {false, true})
      for (bool wide : {false, true}) {
        Product p(70, 75, k);
        Matrix extra(71, 75, by_rows);
        std::minstd_rand random(3);
        extra.fill(random);
        std::vector<std::vector<bfloat16>> saved;
        const Tune tune = [&](GemmArgs<bfloat16>& args) {
          saved.emplace_back(70 * 77, kNarrowNan);
          args.epilogue = {accumulate,
                           Activation::relu,
                           &extra.at(70, 0),
                           &extra.at(0, 0),
                           extra.row,
                           saved.back().data(),
                           77};
        };
        wide ? check_same<float>(p, tune) : check_same<bfloat16>(p, tune);
        CHECK(same_bits(saved[0], saved[1]));
      }
}

// B packed ahead, and C computed in pieces as threads take them, give the bits of the whole.
void same_bits_by_other_ways() {
  const Routine& routine = tile_routine();
  for (Layout lb : kLayouts)
    for (int64_t k : {200, 1100}) {
      Product p(300, 170, k, by_rows, lb);
      const auto whole = run<bfloat16>(routine, p);
      const int64_t panel = routine.packed_panel_bytes(k, MatmulPrecision::highest);
      const Aligned packed(6 * panel);
      const auto ahead = run<bfloat16>(routine, p, [&](GemmArgs<bfloat16>& args) {
        routine.pack_panels(args, packed.data);
        args.packed = {&routine, packed.data};
        args.b = {};
      });
      CHECK(same_bits(whole, ahead));
      auto pieces = run<bfloat16>(routine, p, [](GemmArgs<bfloat16>& args) { args.m = 0; });
      const int64_t c_row = p.n() + kGap;
      for (int64_t row = 0; row < p.m(); row += 5 * routine.m_unit)
        for (int64_t col = 0; col < p.n(); col += 2 * routine.n_unit) {
          GemmArgs<bfloat16> args{std::min<int64_t>(5 * routine.m_unit, p.m() - row),
                                  std::min<int64_t>(2 * routine.n_unit, p.n() - col),
                                  k,
                                  {&p.a.at(row, 0), p.a.row, p.a.col},
                                  {&p.b.at(0, col), p.b.row, p.b.col},
                                  {reinterpret_cast<char*>(&pieces[row * c_row + col]), false},
                                  c_row};
          args.packed = {&routine, packed.data + col / routine.n_unit * panel};
          const Aligned workspace(routine.workspace_bytes(args.m, args.n, args.k));
          routine.run(args, workspace.data);
        }
      CHECK(same_bits(whole, pieces));
    }
}

// Inf and NaN as IEEE has them; denormals as zeros, where the widening routine keeps them.
void specials() {
  for (float value :
       {std::numeric_limits<float>::infinity(), -3e38f, std::numeric_limits<float>::quiet_NaN()}) {
    Product p(40, 50, 70);
    p.a.at(33, 69) = to_bfloat16(value);
    p.b.at(5, 49) = to_bfloat16(value);
    const auto tiles = run<float>(tile_routine(), p), wide = run<float>(widening_routine(), p);
    for (size_t i = 0; i < tiles.size(); ++i)
      CHECK(std::isnan(wide[i]) ? std::isnan(tiles[i]) : tiles[i] == wide[i]);
  }
  Product p(40, 50, 70);
  const auto before = run<float>(tile_routine(), p);
  for (int64_t k = 0; k < 70; ++k) p.a.at(3, k) = {static_cast<uint16_t>(1 + k)};
  const auto after = run<float>(tile_routine(), p);
  for (int64_t j = 0; j < 50; ++j)
    for (int64_t i = 0; i < 40; ++i)
      CHECK(after[i * 55 + j] == (i == 3 ? 0.0f : before[i * 55 + j]));
}

void which_products() {
  const auto suits = [](int64_t m, int64_t n, int64_t k) {
    GemmArgs<bfloat16> args{};
    args.m = m, args.n = n, args.k = k;
    return tile_routine().suits(args);
  };
  CHECK(suits(128, 128, 128) && suits(32, 3072, 768) && suits(2048, 2048, 2048));
  CHECK(!suits(1, 4096, 4096) && !suits(15, 4096, 4096) && !suits(128, 128, 0) &&
        !suits(16, 16, 16));
}

}  // namespace

int main() {
  which_products();
  tails();
  epilogues();
  same_bits_by_other_ways();
  specials();
  std::puts("bf16_twin: passed");
}
