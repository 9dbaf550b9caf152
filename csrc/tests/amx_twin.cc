// The AMX routines over tiles in software (the ISA "twin"), held against float64 and against the
// AVX-512 routine; and the tiles in software themselves. Built with TILEWORK_TILE_TWIN only.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
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

using Routine = GemmRoutine<float>;
const Routine& twin_routine(MatmulPrecision precision = MatmulPrecision::highest) {
  return twin::gemm_kernels.f32[static_cast<int>(precision)];
}
const Routine& plain_routine() {
  return avx512::gemm_kernels.f32[avx512::gemm_kernels.f32_count - 1];
}

// --- matrices ---

// Rows x cols in memory of a given layout, with NaN between what belongs to it.
struct Matrix {
  int64_t rows, cols, row, col;  // strides in elements
  std::vector<float> memory;

  enum Layout { by_rows, by_columns, spaced };
  Matrix(int64_t rows_, int64_t cols_, Layout layout) : rows(rows_), cols(cols_) {
    row = layout == by_rows ? cols + 3 : layout == by_columns ? 1 : 2 * cols + 5;
    col = layout == by_rows ? 1 : layout == by_columns ? rows + 5 : 2;
    memory.assign(rows * row + cols * col + 1, kNan);
  }
  float& at(int64_t i, int64_t j) { return memory[i * row + j * col]; }
  float at(int64_t i, int64_t j) const { return memory[i * row + j * col]; }
  void fill(const std::function<float()>& next) {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j) at(i, j) = next();
  }
};

struct Product {
  Matrix a, b;
  Product(int64_t m, int64_t n, int64_t k, Matrix::Layout la, Matrix::Layout lb)
      : a(m, k, la), b(k, n, lb) {}
  static Product of(int64_t m, int64_t n, int64_t k, unsigned seed, const Values& values_a,
                    const Values& values_b, Matrix::Layout la = Matrix::by_rows,
                    Matrix::Layout lb = Matrix::by_rows) {
    Product p(m, n, k, la, lb);
    std::minstd_rand random(seed + 1);
    p.a.fill([&] { return values_a(random); });
    p.b.fill([&] { return values_b(random); });
    return p;
  }
  int64_t m() const { return a.rows; }
  int64_t n() const { return b.cols; }
  int64_t k() const { return a.cols; }
};

// --- calls, with guards around all that a routine may write ---

constexpr int64_t kGap = 7;  // columns of C that are not the product's
using Tune = std::function<void(GemmArgs<float>&)>;

std::vector<float> run(const Routine& routine, const Product& p, const Tune& tune = {},
                       float before = kNan) {
  const int64_t c_row = p.n() + kGap;
  std::vector<float> c(p.m() * c_row, before);
  GemmArgs<float> args{p.m(),
                       p.n(),
                       p.k(),
                       {p.a.memory.data(), p.a.row, p.a.col},
                       {p.b.memory.data(), p.b.row, p.b.col},
                       c.data(),
                       c_row};
  if (tune) tune(args);
  const Aligned workspace(routine.workspace_bytes(p.m(), p.n(), p.k()));
  routine.run(args, workspace.data);
  CHECK(twin::tiles::state.config.palette == 0);  // nothing stays configured
  std::vector<float> dense;
  for (int64_t i = 0; i < p.m(); ++i)
    for (int64_t j = 0; j < c_row; ++j) {
      const float x = c[i * c_row + j];
      if (j < p.n())
        dense.push_back(x);
      else
        CHECK(std::memcmp(&x, &before, sizeof x) == 0);
    }
  return dense;
}

// Adds the errors, relative to |A||B|.
void measure(const Product& p, const std::vector<float>& c, Error& error) {
  for (int64_t i = 0; i < p.m(); ++i)
    for (int64_t j = 0; j < p.n(); ++j) {
      double exact = 0, magnitude = 0;
      for (int64_t k = 0; k < p.k(); ++k) {
        const double product = static_cast<double>(p.a.at(i, k)) * p.b.at(k, j);
        exact += product;
        magnitude += std::abs(product);
      }
      error.add(c[i * p.n() + j], exact, magnitude);
    }
}

// --- tests ---

const Matrix::Layout kLayouts[] = {Matrix::by_rows, Matrix::by_columns, Matrix::spaced};

// The most that "highest" can be off: a unit for each rounding that a sum can meet (17 in a tile's
// own chain, six a k-step, one a K block), and one for the products of slices that are dropped.
double worst(int64_t k) {
  const int64_t blocks = (k + 511) / 512, steps = (std::min<int64_t>(k, 512) + 31) / 32;
  return static_cast<double>(17 + 6 * steps + blocks + 1) * kUnit;
}

// Each tail of M, N and K around the tiles' 16 and the panels' 32, each pair of layouts.
void tails() {
  const int64_t sizes[] = {1, 15, 16, 17, 31, 32, 33, 65};
  unsigned seed = 0;
  for (int64_t m : sizes)
    for (int64_t n : sizes)
      for (int64_t k : {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97}) {
        const auto la = kLayouts[seed % 3], lb = kLayouts[seed / 3 % 3];
        const Product p = Product::of(m, n, k, seed++, normal, normal, la, lb);
        Error error;
        measure(p, run(twin_routine(), p), error);
        // Few sums tell little of the rms: one alone may be off by half a unit.
        CHECK(error.most <= worst(k) && error.rms() <= (error.count < 64 ? 1 : 0.5) * kUnit);
      }
  // Long K, in one block and in several; several blocks of A and of B.
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{33, 47, 511},
                                {33, 47, 513},
                                {32, 64, 1025},
                                {300, 40, 70},
                                {20, 2100, 40}})
    for (auto la : kLayouts)
      for (auto lb : kLayouts) {
        const Product p = Product::of(m, n, k, seed++, normal, normal, la, lb);
        Error error;
        measure(p, run(twin_routine(), p), error);
        CHECK(error.most <= worst(k) && error.rms() <= kUnit / 2);
      }
}

// "highest" is at least as accurate as a chain of float32 FMAs over the same blocks.
void accuracy() {
  struct Kind {
    const char* name;
    Values a, b;
    bool tiled = true;  // else left to the AVX-512 routine, cut elsewhere along K: as good, by rms
  };
  const Kind kinds[] = {
      {"normal", normal, normal},
      {"uniform positive", positive, positive},
      {"over 12 decades", spread(6), spread(6)},
      {"over 20 decades", spread(10), spread(10)},
      {"A over 20 decades", spread(10), normal},
      {"A half zero", sparse(0.5), normal},
      {"A mostly zero", sparse(0.05), normal},
      {"B nearly all zero", normal, sparse(0.02)},
      {"both mostly zero", sparse(0.2), sparse(0.3)},
      {"denormal times large", scaled(1e-42f), scaled(1e10f), false},
      {"low slices denormal", scaled(1e-32f), scaled(1e10f), false},
      {"small products", scaled(1e-18f), scaled(1e-18f), false},
  };
  for (const Kind& kind : kinds)
    for (int64_t k : {64, 512, 700, 4096, 16384}) {
      const int64_t side = k > 1000 ? 64 : 128;
      Error tiles, plain;
      for (unsigned seed = 0; seed < 3; ++seed) {
        const Product p = Product::of(side, side, k, seed, kind.a, kind.b);
        measure(p, run(twin_routine(), p), tiles);
        measure(p, run(plain_routine(), p), plain);
      }
      const bool good = kind.tiled ? tiles.at_most(plain) : tiles.rms_at_most(plain);
      if (!good)
        std::fprintf(stderr, "%s, K = %ld: rms %.3g against %.3g, most %.3g against %.3g\n",
                     kind.name, static_cast<long>(k), tiles.rms(), plain.rms(), tiles.most,
                     plain.most);
      CHECK(good);
    }
}

// "high" drops middle x middle and what is smaller: 2^-16 of each product at most; "medium" keeps
// bfloat16's 8 bits: 2^-8 of each factor.
void lower_precisions() {
  for (const auto& [precision, most, least] :
       {std::tuple{MatmulPrecision::high, 0x1p-16, 0x1p-26},
        std::tuple{MatmulPrecision::medium, 0x1.02p-7, 0x1p-16}})
    for (auto la : kLayouts)
      for (auto lb : kLayouts) {
        const Product p = Product::of(70, 75, 130, 5, normal, normal, la, lb);
        Error error;
        measure(p, run(twin_routine(precision), p), error);
        CHECK(error.most <= most && error.rms() >= least);
        CHECK(error.rms() <= most / std::sqrt(130.0));
      }
}

// One special value anywhere: what IEEE says where it meets C, and full accuracy elsewhere.
void specials() {
  float all_ones;
  const uint32_t bits = 0x7fffffff;  // a NaN that rounding would carry into -0
  std::memcpy(&all_ones, &bits, sizeof bits);
  const float values[] = {kInf,   -kInf,  kNan,   all_ones, 3.4e38f,
                          -1e38f, 1e-45f, 1e-40f, 2e-38f,   1e-31f};
  constexpr int64_t m = 70, n = 75, k = 600;
  const auto check = [&](const Product& p) {
    for (auto precision :
         {MatmulPrecision::highest, MatmulPrecision::high, MatmulPrecision::medium}) {
      Error tiles, plain;
      measure(p, run(twin_routine(precision), p), tiles);
      measure(p, run(plain_routine(), p), plain);
      if (precision == MatmulPrecision::highest) CHECK(tiles.rms() <= plain.rms());
    }
  };
  for (float value : values)
    for (const auto& [i, kk, j] :
         {std::array<int64_t, 3>{0, 0, 0}, {31, 303, 31}, {32, 304, 32}, {69, 599, 74}}) {
      Product p = Product::of(m, n, k, 11, normal, normal);
      p.a.at(i, kk) = value;
      check(p);
      p = Product::of(m, n, k, 12, normal, normal, Matrix::by_columns, Matrix::by_columns);
      p.b.at(kk, j) = value;
      for (int64_t x = 0; x < k; ++x) p.a.at(40, x) = 0;  // 0 * Inf is NaN
      check(p);
    }
  // Tiny and huge everywhere, in one K block: nothing is left for the tiles.
  for (const auto& [by_a, by_b] :
       {std::pair{1e-38f, 1.0f}, {1e-20f, 1e-20f}, {1e-42f, 1e-2f}, {1e19f, 1e18f}}) {
    const Product p = Product::of(m, n, 300, 13, scaled(by_a), scaled(by_b));
    CHECK(same_bits(run(twin_routine(), p), run(plain_routine(), p)));
  }
}

// The epilogue, on blocks of either route, from one K block and from several.
void epilogues() {
  for (int64_t k : {100, 900})
    for (bool special : {false, true})
      for (bool accumulate : {false, true}) {
        Product p = Product::of(70, 75, k, 21, normal, normal);
        if (special) p.a.at(33, k / 2) = 1e-40f;
        std::minstd_rand random(3);
        std::vector<float> bias(75), residual(70 * 80), z(70 * 77, kNan), plain_z(70 * 77, kNan);
        for (float& x : bias) x = normal(random);
        for (float& x : residual) x = normal(random);
        const auto with = [&](std::vector<float>& preactivation) {
          return [&](GemmArgs<float>& args) {
            args.epilogue = {accumulate, Activation::relu,     bias.data(), residual.data(),
                             80,         preactivation.data(), 77};
          };
        };
        const float before = accumulate ? 0.5f : kNan;
        const auto got = run(twin_routine(), p, with(z), before);
        const auto plain = run(plain_routine(), p, with(plain_z), before);
        // Two sums of k products, each within its bound of the exact one.
        const double bound = 2 * kUnit * static_cast<double>(k) * 8;
        for (size_t i = 0; i < got.size(); ++i) CHECK(std::abs(got[i] - plain[i]) <= bound);
        for (size_t i = 0; i < z.size(); ++i)
          CHECK(std::isnan(z[i]) ? std::isnan(plain_z[i]) : std::abs(z[i] - plain_z[i]) <= bound);
      }
}

// B packed ahead, and C computed in pieces, give the bits that the whole gives.
void same_bits_by_other_ways() {
  for (auto precision : {MatmulPrecision::highest, MatmulPrecision::high, MatmulPrecision::medium})
    for (auto lb : kLayouts)
      for (bool special : {false, true}) {
        Product p = Product::of(300, 170, 700, 31, normal, normal, Matrix::by_rows, lb);
        if (special) {
          p.a.at(100, 650) = kInf;
          p.b.at(3, 140) = 1e-40f;
          for (int64_t i = 32; i < 96; ++i)
            for (int64_t x = 0; x < 700; ++x) p.a.at(i, x) *= 1e-25f;
        }
        const Routine& routine = twin_routine(precision);
        const auto whole = run(routine, p);
        const Aligned packed((p.n() + 31) / 32 * routine.packed_panel_bytes(p.k(), precision));
        run(routine, p, [&](GemmArgs<float>& args) { routine.pack_panels(args, packed.data); });
        CHECK(same_bits(whole, run(routine, p, [&](GemmArgs<float>& args) {
                          args.packed = {&routine, packed.data};
                        })));

        std::vector<float> pieces(whole.size());
        for (int64_t i = 0; i < p.m(); i += 32 * 3)
          for (int64_t j = 0; j < p.n(); j += 32 * 2) {
            GemmArgs<float> args{std::min<int64_t>(96, p.m() - i),
                                 std::min<int64_t>(64, p.n() - j),
                                 p.k(),
                                 {&p.a.at(i, 0), p.a.row, p.a.col},
                                 {&p.b.at(0, j), p.b.row, p.b.col},
                                 pieces.data() + i * p.n() + j,
                                 p.n()};
            const Aligned workspace(routine.workspace_bytes(args.m, args.n, args.k));
            routine.run(args, workspace.data);
          }
        CHECK(same_bits(whole, pieces));
      }
}

// Which products go to the tiles at all.
void which_products() {
  const auto suits = [](int64_t m, int64_t n, int64_t k, const Routine* packed_by = nullptr) {
    GemmArgs<float> args{};
    args.m = m, args.n = n, args.k = k;
    const char nothing = 0;
    if (packed_by) args.packed = {packed_by, &nothing};
    return twin_routine().suits(args);
  };
  CHECK(suits(128, 128, 128) && suits(512, 3072, 768) && suits(64, 768, 768));
  CHECK(!suits(64, 64, 64) && !suits(1, 4096, 4096) && !suits(32, 3072, 768) &&
        !suits(128, 128, 0));
  CHECK(suits(32, 3072, 768, &twin_routine()) && !suits(8, 3072, 768, &twin_routine()));
  CHECK(!suits(32, 3072, 768, &twin_routine(MatmulPrecision::high)));
  for (auto precision :
       {MatmulPrecision::highest, MatmulPrecision::high, MatmulPrecision::medium}) {
    GemmArgs<float> args{};
    args.m = args.n = args.k = 1024, args.precision = precision;
    for (int i = 0; i < twin::gemm_kernels.f32_count; ++i) {
      const Routine& routine = twin::gemm_kernels.f32[i];
      CHECK(routine.suits(args) == (&routine == &twin_routine(precision)));
    }
  }
}

// --- the tiles themselves ---

using namespace twin::tiles;

// What a careless kernel would meet on hardware: a fault.
void faults(const std::function<void()>& misuse) {
  const pid_t child = fork();
  if (child == 0) {
    std::fclose(stderr);
    misuse();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

void misuse() {
  static char memory[1024];
  const auto with = [](const std::function<void(Configuration&)>& change) {
    Configuration c = Configuration::whole_tiles();
    change(c);
    return c;
  };
  faults([] { zero<0>(); });
  faults([] { load<0>(memory, 64); });
  faults([] { store<0>(memory, 64); });
  faults([] { dot_bf16<0, 1, 2>(); });
  faults([] {
    {
      Configured held;
    }
    zero<0>();
  });
  for (const auto& change : std::vector<std::function<void(Configuration&)>>{
           [](auto& c) { c.palette = 2; }, [](auto& c) { c.reserved[3] = 1; },
           [](auto& c) { c.rows[2] = 17; }, [](auto& c) { c.row_bytes[2] = 65; },
           [](auto& c) { c.rows[2] = 0; }, [](auto& c) { c.rows[8] = 1, c.row_bytes[8] = 4; }})
    faults([&] { configure(with(change)); });
  for (const auto& change : std::vector<std::function<void(Configuration&)>>{
           [](auto& c) { c.rows[1] = 15; }, [](auto& c) { c.row_bytes[1] = 60; },
           [](auto& c) { c.rows[2] = 8; }, [](auto& c) { c.row_bytes[0] = 32; },
           [](auto& c) { c.row_bytes[2] = 62; }, [](auto& c) { c.rows[1] = c.row_bytes[1] = 0; },
           [](auto& c) { c.start_row = 16; }})
    faults([&] {
      configure(with(change));
      dot_bf16<0, 1, 2>();
    });
}

float from_bf16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float x;
  std::memcpy(&x, &wide, sizeof x);
  return x;
}
float flushed(float x) { return std::abs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }

// tdpbf16ps by its published definition, in scalars, on tiles of any shape and values of any kind.
void dots() {
  std::minstd_rand random(7);
  for (int repeat = 0; repeat < 200; ++repeat) {
    const int rows = 1 + random() % 16, pairs = 1 + random() % 16, cols = 1 + random() % 16;
    Configuration c;
    c.palette = 1;
    c.rows[0] = c.rows[1] = rows, c.rows[2] = pairs;
    c.row_bytes[0] = c.row_bytes[2] = 4 * cols, c.row_bytes[1] = 4 * pairs;
    uint16_t a[16][32], b[16][32];
    float sum[16][16], got[16][16] = {};
    const bool tiny = repeat % 2;  // products around the smallest normal number
    const auto any = [&] {
      const uint32_t exponent = (tiny ? 60 : 120) + random() % 10;
      return static_cast<uint16_t>(random() % 16 == 0 ? random() % 256
                                                      : (random() & 0x807f) | (exponent << 7));
    };
    for (auto& row : a) std::generate(std::begin(row), std::end(row), any);
    for (auto& row : b) std::generate(std::begin(row), std::end(row), any);
    for (auto& row : sum)
      for (float& x : row) x = tiny ? std::ldexp(normal(random), -127) : normal(random);

    configure(c);
    load<0>(sum, sizeof sum[0]), load<1>(a, sizeof a[0]), load<2>(b, sizeof b[0]);
    dot_bf16<0, 1, 2>();
    store<0>(got, sizeof got[0]);
    release();
    for (int m = 0; m < 16; ++m)
      for (int n = 0; n < 16; ++n) {
        float chain[2] = {0, 0};
        for (int j = 0; j < pairs; ++j)
          for (int odd = 0; odd < 2; ++odd)
            chain[odd] = flushed(std::fma(flushed(from_bf16(a[m][2 * j + odd])),
                                          flushed(from_bf16(b[j][2 * n + odd])), chain[odd]));
        const float want = flushed(flushed(sum[m][n]) + flushed(chain[0] + chain[1]));
        CHECK(m < rows && n < cols ? got[m][n] == want : got[m][n] == 0);
      }
  }
}

}  // namespace

// amx_twin [without-accuracy]: the accuracy sweep takes minutes under sanitizers, which it would
// tell nothing new.
int main(int argc, char**) {
  misuse();
  dots();
  which_products();
  tails();
  lower_precisions();
  specials();
  epilogues();
  same_bits_by_other_ways();
  if (argc == 1) accuracy();
  std::puts("amx_twin: passed");
}
