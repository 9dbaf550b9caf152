// Convolutions over tiles in software (the ISA "twin"), held against float64 and against the
// AVX-512 routines. Built with TILEWORK_TILE_TWIN only.
#include <array>
#include <string>
#include <tuple>

#include "kernels/conv/kernels.h"
#include "tests/check.h"
#include "tests/numbers.h"

namespace tilework::avx512 {
extern const ConvKernels conv_kernels;
}
namespace tilework::twin {
extern const ConvKernels conv_kernels;
}

using namespace tilework;

namespace {

using Routine = ConvRoutine<Correlation<float>>;
const Routine& twin_routine(MatmulPrecision precision = MatmulPrecision::highest) {
  return twin::conv_kernels.f32.correlations[static_cast<int>(precision)];
}
const Routine& plain_routine() {
  const auto& table = avx512::conv_kernels.f32;
  return table.correlations[table.correlation_count - 1];
}

// --- convolutions ---

struct Sizes {
  int64_t images, channels, outs, in_rows, in_cols;
  int64_t kernel_rows = 3, kernel_cols = 3, row_step = 1, col_step = 1;
  int64_t row_padding = 1, col_padding = 1, row_dilation = 1, col_dilation = 1;
  int64_t more_rows = 0, more_cols = 0;  // of the grid, beyond what a convolution has

  int64_t rows() const {
    return (in_rows + 2 * row_padding - row_dilation * (kernel_rows - 1) - 1) / row_step + 1 +
           more_rows;
  }
  int64_t cols() const {
    return (in_cols + 2 * col_padding - col_dilation * (kernel_cols - 1) - 1) / col_step + 1 +
           more_cols;
  }
};

enum class Layout { channels_last, channels_first, spaced };
const Layout kLayouts[] = {Layout::channels_last, Layout::channels_first, Layout::spaced};
enum class Order { taps_in_out, out_taps_in, out_in_taps };
const Order kOrders[] = {Order::taps_in_out, Order::out_taps_in, Order::out_in_taps};

// A correlation with its operands, NaN in memory that is not theirs.
struct Problem {
  Correlation<float> g;
  std::vector<Tap> taps;
  std::vector<float> x, weight;

  Problem(const Sizes& s, unsigned seed, const Values& of_x, const Values& of_weight,
          Layout layout = Layout::channels_last, Order order = Order::taps_in_out) {
    g.images = s.images, g.rows = s.rows(), g.cols = s.cols();
    g.in_rows = s.in_rows, g.in_cols = s.in_cols;
    g.groups = 1, g.channels = s.channels, g.outs = s.outs, g.row_begin = 0;
    g.row_step = s.row_step, g.col_step = s.col_step;
    const int64_t count = s.kernel_rows * s.kernel_cols;
    set_layout(layout);
    g.w_group = 0;
    int64_t w_tap = 1;
    if (order == Order::taps_in_out) {
      g.w_out = 1, g.w_channel = s.outs, w_tap = s.channels * s.outs;
    } else if (order == Order::out_taps_in) {
      g.w_out = count * s.channels, g.w_channel = 1, w_tap = s.channels;
    } else {
      g.w_out = count * s.channels, g.w_channel = count;
    }
    for (int64_t i = 0; i < s.kernel_rows; ++i)
      for (int64_t j = 0; j < s.kernel_cols; ++j)
        taps.push_back({i * s.row_dilation - s.row_padding, j * s.col_dilation - s.col_padding,
                        (i * s.kernel_cols + j) * w_tap});
    std::minstd_rand random(seed + 1);
    x.assign(g.images * g.x_image + 64, kNan);
    for (int64_t n = 0; n < g.images; ++n)
      for (int64_t c = 0; c < g.channels; ++c)
        for (int64_t i = 0; i < g.in_rows; ++i)
          for (int64_t j = 0; j < g.in_cols; ++j) at(n, c, i, j) = of_x(random);
    weight.resize(count * g.channels * g.outs);
    for (float& w : weight) w = of_weight(random);
  }

  void set_layout(Layout layout) {
    if (layout == Layout::channels_first) {
      g.x_col = 1, g.x_row = g.in_cols + 3, g.x_channel = g.in_rows * g.x_row + 5;
      g.x_image = g.channels * g.x_channel + 7;
    } else {
      g.x_channel = layout == Layout::spaced ? 2 : 1;
      g.x_col = g.x_channel * g.channels + (layout == Layout::spaced ? 3 : 0);
      g.x_row = g.in_cols * g.x_col, g.x_image = g.in_rows * g.x_row;
    }
  }
  float& at(int64_t n, int64_t c, int64_t i, int64_t j) {
    return x[n * g.x_image + c * g.x_channel + i * g.x_row + j * g.x_col];
  }
  float& weight_at(int64_t tap, int64_t c, int64_t o) {
    return weight[taps[tap].weight + c * g.w_channel + o * g.w_out];
  }
  int64_t outputs() const { return g.images * g.rows * g.cols * g.outs; }
  int64_t products() const { return g.channels * static_cast<int64_t>(taps.size()); }
};

using Tune = std::function<void(Correlation<float>&)>;
constexpr int64_t kGap = 7;  // elements of y beside each pixel that are not the correlation's

// What the routine's whole call, or the pieces that `cut` calls it with, make of y, dense.
using Cut = std::function<void(const Correlation<float>&,
                               const std::function<void(const Correlation<float>&)>&)>;
std::vector<float> run(const Routine& routine, Problem& p, const Tune& tune = {},
                       const Cut& cut = {}) {
  Correlation<float> g = p.g;
  g.taps = p.taps.data(), g.tap_count = static_cast<int64_t>(p.taps.size());
  g.x = p.x.data(), g.weight = p.weight.data();
  g.y_col = g.outs + kGap, g.y_row = g.cols * g.y_col, g.y_image = g.rows * g.y_row;
  std::vector<float> y(g.images * g.y_image, kNan);
  g.y = y.data();
  if (tune) tune(g);
  const auto call = [&](Correlation<float> piece) {
    const int64_t units = (piece.outs + routine.out_unit - 1) / routine.out_unit;
    const Aligned packed(routine.needs_packed ? units * routine.packed_unit_bytes(piece) : 0);
    if (routine.needs_packed) {
      routine.pack(piece, packed.data);
      piece.packed = packed.data;
    }
    const Aligned workspace(routine.workspace_bytes(piece));
    routine.run(piece, workspace.data);
  };
  cut ? cut(g, call) : call(g);
  std::vector<float> dense;
  for (size_t i = 0; i < y.size(); ++i)
    if (static_cast<int64_t>(i) % g.y_col < g.outs)
      dense.push_back(y[i]);
    else
      CHECK(std::isnan(y[i]));
  return dense;
}

void measure(Problem& p, const std::vector<float>& y, Error& error) {
  const Correlation<float>& g = p.g;
  size_t at = 0;
  for (int64_t n = 0; n < g.images; ++n)
    for (int64_t r = 0; r < g.rows; ++r)
      for (int64_t col = 0; col < g.cols; ++col)
        for (int64_t o = 0; o < g.outs; ++o) {
          double exact = 0, magnitude = 0;
          for (size_t t = 0; t < p.taps.size(); ++t) {
            const int64_t i = r * g.row_step + p.taps[t].row, j = col * g.col_step + p.taps[t].col;
            if (i < 0 || i >= g.in_rows || j < 0 || j >= g.in_cols) continue;
            for (int64_t c = 0; c < g.channels; ++c) {
              const double product = static_cast<double>(p.at(n, c, i, j)) *
                                     p.weight_at(static_cast<int64_t>(t), c, o);
              exact += product;
              magnitude += std::abs(product);
            }
          }
          if (magnitude == 0)
            CHECK(y[at] == 0);
          else
            error.add(y[at], exact, magnitude);
          ++at;
        }
}

// --- tests ---

// The most that "highest" can be off: amx_twin.cc's bound, for blocks of at most nine k-steps.
double worst(const Problem& p) {
  const int64_t steps = (p.g.channels + 31) / 32 * static_cast<int64_t>(p.taps.size());
  const int64_t blocks = (steps + 8) / 9;
  return static_cast<double>(17 + 6 * std::min<int64_t>(steps, 9) + blocks + 1) * kUnit;
}

const Sizes kSizes[] = {
    {1, 32, 32, 4, 4},
    {2, 33, 40, 5, 7},
    {1, 16, 16, 9, 33},
    {3, 70, 17, 7, 7},
    {1, 16, 16, 3, 3},
    {1, 40, 33, 1, 1},
    {2, 20, 65, 3, 2, 3, 3, 1, 1, 4, 5},          // padding over the image
    {1, 17, 20, 8, 9, 1, 1, 1, 1, 0, 0},          // 1x1
    {1, 17, 20, 8, 9, 1, 1, 2, 2, 0, 0},          // 1x1, every second pixel
    {2, 33, 18, 15, 16, 3, 3, 2, 2},              // steps of two
    {1, 18, 20, 8, 8, 3, 3, 2, 2},                // on even sizes
    {1, 18, 20, 11, 9, 3, 3, 3, 1, 0, 2},         // steps of three and one
    {1, 18, 20, 13, 10, 3, 3, 4, 4, 1, 1},        // steps above the kernel
    {1, 18, 20, 13, 12, 3, 3, 1, 1, 2, 2, 2, 2},  // dilated
    {1, 18, 20, 17, 14, 3, 2, 2, 2, 3, 1, 3, 2},  // both
    {1, 19, 40, 1, 50, 1, 5, 1, 1, 0, 2},
    {1, 18, 20, 40, 1, 3, 1, 1, 1, 1, 0},
    {1, 20, 20, 9, 11, 7, 7, 2, 2, 3, 3},
    {1, 20, 20, 6, 6, 2, 2, 1, 1, 0, 0, 1, 1, -2, -1},  // x not read to its end
    {1, 20, 20, 4, 4, 2, 2, 1, 1, 0, 0, 1, 1, 3, 40},   // a grid far beyond x
    {1, 20, 20, 9, 7, 2, 2, 1, 1, -2, -1},              // windows that begin within x
    {1, 450, 20, 5, 4},                                 // K in many blocks
};

void sizes() {
  unsigned seed = 0;
  for (const Sizes& s : kSizes)
    for (Layout layout : kLayouts)
      for (Order order : kOrders) {
        Problem p(s, seed++, normal, normal, layout, order);
        Error error;
        measure(p, run(twin_routine(), p), error);
        // Few sums tell little of the rms: one alone may be off by half a unit.
        CHECK(error.most <= worst(p) && error.rms() <= (error.count < 64 ? 1 : 0.5) * kUnit);
      }
}

// Several bands of an image, several images at once, weights beyond L2.
void large() {
  const Sizes more[] = {{1, 96, 33, 70, 66}, {5, 130, 260, 6, 5}, {2, 130, 260, 20, 30}};
  for (const Sizes& s : more) {
    Problem p(s, 3, normal, normal);
    const auto y = run(twin_routine(), p), plain = run(plain_routine(), p);
    double most = 0;
    for (size_t i = 0; i < y.size(); ++i) most = std::max<double>(most, std::abs(y[i] - plain[i]));
    CHECK(most > 0 && most <= 2 * worst(p) * static_cast<double>(p.products()));
  }
}

// "highest" is at least as accurate as the AVX-512 routine.
void accuracy() {
  struct Kind {
    const char* name;
    Values x, weight;
  };
  const auto relu = [](std::minstd_rand& r) { return std::max(normal(r), 0.0f); };
  const Kind kinds[] = {
      {"normal", normal, normal},
      {"uniform positive", positive, positive},
      {"relu", relu, normal},
      {"x mostly zero", sparse(0.05), normal},
      {"weights mostly zero", normal, sparse(0.05)},
      {"both mostly zero", sparse(0.2), sparse(0.3)},
      {"over 12 decades", spread(6), spread(6)},
      {"x over 20 decades", spread(10), normal},
      {"denormal times large", scaled(1e-42f), scaled(1e10f)},
      {"small products", scaled(1e-18f), scaled(1e-18f)},
  };
  const Sizes shapes[] = {{1, 32, 32, 10, 10},
                          {1, 64, 64, 12, 12},
                          {1, 128, 64, 10, 10},
                          {1, 512, 40, 7, 7},
                          {1, 64, 64, 16, 16, 3, 3, 2, 2}};
  for (const Kind& kind : kinds)
    for (const Sizes& s : shapes) {
      Error tiles, plain;
      for (unsigned seed = 0; seed < 3; ++seed) {
        Problem p(s, seed, kind.x, kind.weight);
        measure(p, run(twin_routine(), p), tiles);
        measure(p, run(plain_routine(), p), plain);
      }
      const bool good = tiles.at_most(plain);
      if (!good)
        std::fprintf(stderr, "%s, %ld channels: rms %.3g against %.3g, most %.3g against %.3g\n",
                     kind.name, static_cast<long>(s.channels), tiles.rms(), plain.rms(), tiles.most,
                     plain.most);
      CHECK(good);
    }
}

// As amx_twin.cc has it.
void lower_precisions() {
  for (const auto& [precision, most, least] :
       {std::tuple{MatmulPrecision::high, 0x1p-16, 0x1p-26},
        std::tuple{MatmulPrecision::medium, 0x1.02p-7, 0x1p-16}})
    for (Layout layout : kLayouts) {
      Problem p({1, 70, 75, 7, 8}, 5, normal, normal, layout);
      Error error;
      measure(p, run(twin_routine(precision), p), error);
      CHECK(error.most <= most && error.rms() >= least);
      CHECK(error.rms() <= most / 8);
    }
}

// One special value anywhere: what IEEE says where it meets y, and full accuracy elsewhere.
void specials() {
  const float values[] = {kInf, -kInf, kNan, 3.4e38f, -1e38f, 1e-45f, 1e-40f, 2e-38f, 1e-31f};
  const Sizes shapes[] = {{2, 40, 70, 7, 9}, {2, 40, 70, 9, 8, 3, 3, 2, 2}};
  const auto check = [](Problem& p) {
    for (auto precision :
         {MatmulPrecision::highest, MatmulPrecision::high, MatmulPrecision::medium}) {
      Error tiles, plain;
      measure(p, run(twin_routine(precision), p), tiles);
      measure(p, run(plain_routine(), p), plain);
      if (precision == MatmulPrecision::highest) CHECK(tiles.rms() <= plain.rms());
    }
  };
  for (const Sizes& s : shapes)
    for (float value : values) {
      for (const auto& [n, c, i, j] :
           {std::array<int64_t, 4>{0, 0, 0, 0}, {1, 33, 3, 4}, {1, 39, 6, 7}}) {
        Problem p(s, 11, normal, normal);
        p.at(n, c, i, j) = value;
        check(p);
      }
      Problem p(s, 12, normal, normal);
      p.weight_at(4, 5, 33) = value;
      check(p);
    }
  // Tiny and huge everywhere: nothing is left for the tiles.
  for (const auto& [by_x, by_w] :
       {std::pair{1e-38f, 1.0f}, {1e-20f, 1e-20f}, {1e-42f, 1e-2f}, {1e19f, 1e18f}}) {
    Problem p(shapes[0], 13, scaled(by_x), scaled(by_w));
    CHECK(same_bits(run(twin_routine(), p), run(plain_routine(), p)));
  }
}

// --- the weights' gradient ---

using GradientRoutine = ConvRoutine<WeightGradient<float>>;

// dweight dense in (tap, channel, out) order, as the routine's call or calls on pieces of
// `channels` by `outs` make it.
std::vector<float> run_gradient(const GradientRoutine& routine, const Problem& p,
                                const std::vector<float>& grad, int64_t channels = 1 << 30,
                                int64_t outs = 1 << 30) {
  const Correlation<float>& c = p.g;
  std::vector<Tap> taps = p.taps;
  for (size_t t = 0; t < taps.size(); ++t)
    taps[t].weight = static_cast<int64_t>(t) * c.channels * c.outs;
  WeightGradient<float> g{};
  static_cast<ConvGeometry&>(g) = c;
  g.taps = taps.data(), g.tap_count = static_cast<int64_t>(taps.size());
  g.x = p.x.data(), g.grad = grad.data();
  g.x_image = c.x_image, g.x_row = c.x_row, g.x_col = c.x_col, g.x_channel = c.x_channel;
  g.grad_out = 1, g.grad_col = c.outs, g.grad_row = c.cols * c.outs;
  g.grad_image = c.rows * g.grad_row;
  std::vector<float> dweight(p.products() * c.outs, kNan);
  g.w_channel = c.outs, g.w_out = 1;
  for (int64_t i = 0; i < c.channels; i += channels)
    for (int64_t o = 0; o < c.outs; o += outs) {
      WeightGradient<float> piece = g;
      piece.channels = std::min(channels, c.channels - i), piece.x += i * g.x_channel;
      piece.outs = std::min(outs, c.outs - o), piece.grad += o;
      piece.dweight = dweight.data() + i * g.w_channel + o;
      const Aligned workspace(routine.workspace_bytes(piece));
      routine.run(piece, workspace.data);
    }
  return dweight;
}

void measure_gradient(Problem& p, const std::vector<float>& grad, const std::vector<float>& got,
                      Error& error) {
  const Correlation<float>& g = p.g;
  std::vector<double> exact(got.size()), magnitude(got.size());
  for (int64_t n = 0; n < g.images; ++n)
    for (int64_t r = 0; r < g.rows; ++r)
      for (int64_t col = 0; col < g.cols; ++col)
        for (size_t t = 0; t < p.taps.size(); ++t) {
          const int64_t i = r * g.row_step + p.taps[t].row, j = col * g.col_step + p.taps[t].col;
          if (i < 0 || i >= g.in_rows || j < 0 || j >= g.in_cols) continue;
          const float* dy = grad.data() + ((n * g.rows + r) * g.cols + col) * g.outs;
          for (int64_t c = 0; c < g.channels; ++c) {
            const double x = p.at(n, c, i, j);
            const size_t at = (t * g.channels + c) * g.outs;
            for (int64_t o = 0; o < g.outs; ++o) {
              exact[at + o] += x * dy[o];
              magnitude[at + o] += std::abs(x * dy[o]);
            }
          }
        }
  for (size_t i = 0; i < got.size(); ++i)
    if (magnitude[i] == 0)
      CHECK(got[i] == 0);
    else
      error.add(got[i], exact[i], magnitude[i]);
}

std::vector<float> gradient_of(const Problem& p, unsigned seed, const Values& values) {
  std::minstd_rand random(seed + 1);
  std::vector<float> grad(p.outputs());
  for (float& x : grad) x = values(random);
  return grad;
}

const GradientRoutine& gradient_routine() { return twin::conv_kernels.f32.weight_gradients[0]; }

// Of every shape, the pieces' bits the whole's.
void gradients() {
  const GradientRoutine& tiles = gradient_routine();
  // Transpositions take channels by fours.
  unsigned seed = 0;
  for (Sizes s : kSizes) {
    s.channels = (s.channels + 3) / 4 * 4;
    Problem p(s, seed, normal, normal);
    const std::vector<float> grad = gradient_of(p, ++seed, normal);
    Error of_shape;
    const auto whole = run_gradient(tiles, p, grad);
    measure_gradient(p, grad, whole, of_shape);
    CHECK(of_shape.rms() <= kUnit && of_shape.most <= 80 * kUnit);
    CHECK(same_bits(whole, run_gradient(tiles, p, grad, tiles.channel_unit, tiles.out_unit)));
  }
}

void gradient_accuracy() {
  const auto& table = avx512::conv_kernels.f32;
  const GradientRoutine& plain = table.weight_gradients[table.weight_gradient_count - 1];
  const auto relu = [](std::minstd_rand& r) { return std::max(normal(r), 0.0f); };
  const std::pair<Values, Values> kinds[] = {
      {normal, normal},       {positive, positive},       {relu, normal},
      {sparse(0.05), normal}, {sparse(0.2), sparse(0.3)}, {spread(10), normal}};
  const Sizes shapes[] = {
      {2, 36, 40, 20, 21}, {9, 32, 32, 7, 7}, {1, 32, 32, 70, 66}, {3, 40, 32, 21, 20, 3, 3, 2, 2}};
  for (const auto& [of_x, of_grad] : kinds)
    for (const Sizes& s : shapes) {
      Error ours, theirs;
      for (unsigned i = 0; i < 3; ++i) {
        Problem p(s, i, of_x, normal);
        const std::vector<float> grad = gradient_of(p, i + 9, of_grad);
        measure_gradient(p, grad, run_gradient(gradient_routine(), p, grad), ours);
        measure_gradient(p, grad, run_gradient(plain, p, grad), theirs);
      }
      CHECK(ours.rms_at_most(theirs));
    }
}

// What is left to the AVX-512 routine, unit by unit.
void gradient_specials() {
  const GradientRoutine& tiles = gradient_routine();
  Problem tiny({9, 32, 32, 7, 7}, 1, scaled(1e-42f), normal);
  const std::vector<float> huge = gradient_of(tiny, 2, scaled(1e10f));
  Error error;
  measure_gradient(tiny, huge, run_gradient(tiles, tiny, huge), error);
  CHECK(error.rms() <= kUnit);
  for (float value : {kInf, 1e-40f})
    for (bool in_x : {false, true}) {
      Problem p({2, 36, 40, 60, 70}, 5, normal, normal);
      std::vector<float> grad = gradient_of(p, 6, normal);
      if (in_x)
        p.at(1, 33, 30, 69) = value;
      else
        grad[((60 + 30) * 70 + 35) * 40 + 37] = value;  // all of its taps reach x
      Error ours;
      const auto whole = run_gradient(tiles, p, grad);
      measure_gradient(p, grad, whole, ours);
      CHECK(ours.rms() <= kUnit);
      const auto pieces = run_gradient(tiles, p, grad, tiles.channel_unit, tiles.out_unit);
      for (size_t i = 0; i < whole.size(); ++i)
        CHECK(whole[i] == pieces[i] || (std::isnan(whole[i]) && std::isnan(pieces[i])));
    }
}

// bfloat16 on whole numbers, whose sums are exact in float32: the bits of the routine that widens.
void whole_numbers() {
  const auto small = [](std::minstd_rand& r) {
    return static_cast<float>(static_cast<int>(r() % 17) - 8);
  };
  const auto narrow = [](const std::vector<float>& x) {
    std::vector<bfloat16> out;
    for (float v : x) out.push_back(to_bfloat16(v));
    return out;
  };
  const auto& plain = avx512::conv_kernels.bf16;
  unsigned seed = 0;
  for (const Sizes& s : kSizes)
    for (Layout layout : kLayouts)
      for (Order order : kOrders) {
        const Problem p(s, seed++, small, small, layout, order);
        const std::vector<bfloat16> x = narrow(p.x), weight = narrow(p.weight);
        Correlation<bfloat16> g{};
        static_cast<ConvGeometry&>(g) = p.g;
        g.taps = p.taps.data(), g.tap_count = static_cast<int64_t>(p.taps.size());
        g.x = x.data(), g.weight = weight.data();
        g.x_image = p.g.x_image, g.x_row = p.g.x_row;
        g.x_col = p.g.x_col, g.x_channel = p.g.x_channel;
        g.w_channel = p.g.w_channel, g.w_out = p.g.w_out;
        g.y_col = g.outs, g.y_row = g.cols * g.y_col, g.y_image = g.rows * g.y_row;
        std::vector<bfloat16> y[2];
        for (int i = 0; i < 2; ++i) {
          const auto& routine = i == 0 ? twin::conv_kernels.bf16.correlations[0]
                                       : plain.correlations[plain.correlation_count - 1];
          y[i].assign(g.images * g.y_image, bfloat16{0x7fc0});
          g.y = y[i].data();
          const int64_t units = (g.outs + routine.out_unit - 1) / routine.out_unit;
          const Aligned packed(units * routine.packed_unit_bytes(g));
          routine.pack(g, packed.data);
          g.packed = packed.data;
          const Aligned workspace(routine.workspace_bytes(g));
          routine.run(g, workspace.data);
        }
        CHECK(std::memcmp(y[0].data(), y[1].data(), y[0].size() * sizeof(bfloat16)) == 0);
      }
}

// Rows, outs and images of their own give the bits that the whole gives.
void pieces() {
  const Cut cut = [](const Correlation<float>& g, const auto& call) {
    const int64_t unit = twin_routine().out_unit;
    for (int64_t n = 0; n < g.images; ++n)
      for (int64_t row = 0; row < g.rows; row += 3)
        for (int64_t o = 0; o < g.outs; o += 2 * unit) {
          Correlation<float> p = g;
          p.images = 1, p.x += n * g.x_image;
          p.row_begin += row, p.rows = std::min<int64_t>(3, g.rows - row);
          p.outs = std::min(2 * unit, g.outs - o), p.weight += o * g.w_out;
          const int64_t at = n * g.y_image + row * g.y_row + o;
          p.y += at;
          p.epilogue.bias += o, p.epilogue.residual += at, p.epilogue.preactivation += at;
          call(p);
        }
  };
  const Sizes shapes[] = {
      {2, 70, 140, 11, 9}, {3, 40, 90, 14, 13, 3, 3, 2, 2}, {1, 96, 40, 70, 66}};
  for (const Sizes& s : shapes)
    for (auto precision :
         {MatmulPrecision::highest, MatmulPrecision::high, MatmulPrecision::medium})
      for (bool special : {false, true}) {
        Problem p(s, 31, normal, normal);
        if (special) {
          p.at(0, 3, 5, 5) = kInf;
          p.weight_at(2, 7, s.outs - 1) = 1e-40f;
          for (int64_t row : {2, 3, 4})  // few products matter
            for (int64_t j = 0; j < s.in_cols; ++j)
              for (int64_t c = 0; c < s.channels; ++c)
                if (c % 5 != 0) p.at(s.images - 1, c, row, j) = 0;
        }
        std::minstd_rand random(3);
        std::vector<float> bias(s.outs), residual(s.images * s.rows() * s.cols() * (s.outs + kGap));
        for (float& b : bias) b = normal(random);
        for (float& r : residual) r = normal(random);
        std::vector<float> whole_z(residual.size(), kNan), z(residual.size(), kNan);
        const auto with = [&](std::vector<float>& preactivation) {
          return [&](Correlation<float>& g) {
            g.epilogue.activation = Activation::gelu;
            g.epilogue.bias = bias.data(), g.epilogue.residual = residual.data();
            g.epilogue.preactivation = preactivation.data();
          };
        };
        const Routine& routine = twin_routine(precision);
        const auto whole = run(routine, p, with(whole_z));
        CHECK(same_bits(whole, run(routine, p, with(z), cut)) && same_bits(whole_z, z));
        if (precision != MatmulPrecision::highest || special) continue;
        std::vector<float> plain_z(residual.size(), kNan);
        run(plain_routine(), p, with(plain_z));
        const double bound = 2 * worst(p) * static_cast<double>(p.products()) * 4;
        for (size_t i = 0; i < z.size(); ++i)
          CHECK(std::isnan(z[i]) ? std::isnan(plain_z[i]) : std::abs(z[i] - plain_z[i]) <= bound);
      }
}

// Which correlations go to the tiles at all.
void which_correlations() {
  const auto suits = [](const Sizes& s, MatmulPrecision precision, int64_t groups = 1) {
    Problem p(s, 0, [](auto&) { return 0.0f; }, [](auto&) { return 0.0f; });
    p.g.taps = p.taps.data(), p.g.tap_count = static_cast<int64_t>(p.taps.size());
    p.g.precision = precision, p.g.groups = groups;
    int found = -1;
    for (int i = 0; i < twin::conv_kernels.f32.correlation_count; ++i)
      if (twin::conv_kernels.f32.correlations[i].suits(p.g)) {
        CHECK(found < 0);
        found = i;
      }
    CHECK(found < 0 || found == static_cast<int>(precision));
    return found >= 0;
  };
  for (auto precision :
       {MatmulPrecision::highest, MatmulPrecision::high, MatmulPrecision::medium}) {
    CHECK(suits({1, 64, 64, 56, 56}, precision) && suits({4, 256, 256, 14, 14}, precision) &&
          suits({8, 128, 128, 28, 28, 3, 3, 2, 2}, precision));
    CHECK(!suits({1, 64, 64, 56, 56}, precision, 2) && !suits({1, 3, 64, 56, 56}, precision) &&
          !suits({1, 64, 8, 56, 56}, precision) && !suits({1, 16, 16, 4, 4}, precision) &&
          !suits({1, 64, 64, 56, 56, 5, 5, 5, 5}, precision));
  }
}

}  // namespace

// conv_twin [without-accuracy]: see amx_twin.cc.
int main(int argc, char**) {
  which_correlations();
  sizes();
  large();
  lower_precisions();
  specials();
  gradients();
  gradient_specials();
  whole_numbers();
  pieces();
  if (argc == 1) {
    accuracy();
    gradient_accuracy();
  }
  std::puts("conv_twin: passed");
}
