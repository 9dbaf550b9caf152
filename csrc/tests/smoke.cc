// Every kernel family on every ISA of this CPU, against plain loops in float64. CI runs it under
// sanitizers, and under `qemu-x86_64 -cpu Nehalem`, where an instruction that the baseline lacks
// ends it.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/cpu.h"
#include "base/memory_pool.h"
#include "base/philox.h"
#include "base/thread_pool.h"
#include "kernels/conv/conv.h"
#include "kernels/gemm/gemm.h"
#include "kernels/loss/loss.h"
#include "kernels/optim/optim.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/random/random.h"
#include "kernels/reduce/reduce.h"
#include "kernels/softmax/softmax.h"
#include "tests/check.h"

using namespace tilework;

namespace {

// Of long sums, which have to be nearer to the truth than the kernels' own.
using Wide = long double;

const char* g_check = "";  // what runs now, for the message

template <class T>
std::vector<T> values(int64_t n, double low = -2, double high = 2) {
  static std::minstd_rand random(1);
  std::vector<T> x(n);
  for (T& v : x) v = T(std::uniform_real_distribution<>(low, high)(random));
  return x;
}

// Within 16 eps of `size`: the sum of the magnitudes of what is rounded on the way to `want`.
template <class T>
void near(T got, Wide want, Wide size) {
  if (std::abs(got - want) <= 16 * std::numeric_limits<T>::epsilon() * (std::abs(want) + size))
    return;
  std::fprintf(stderr, "%s, %s, %d bytes: got %.17g; expected %.17g\n", g_check,
               isa_name(active_isa()), static_cast<int>(sizeof(T)), static_cast<double>(got),
               static_cast<double>(want));
  std::abort();
}

// --- gemm: C = relu(A B^T + bias + residual), B as it lies and packed; batches that accumulate ---

template <class T>
void check_gemm(int64_t m, int64_t n) {
  const int64_t k = 100;
  const auto a = values<T>(m * k), b = values<T>(n * k), bias = values<T>(n),
             residual = values<T>(m * n);
  std::vector<T> c(m * n), z(m * n), sums(2 * m * n, T(1));
  GemmArgs<T> args{m, n, k, a.data(), k, 1, b.data(), 1, k, c.data(), n};
  const int64_t shape[] = {2}, broadcast[] = {0}, step[] = {m * n};
  args.c = sums.data();
  args.epilogue.accumulate = true;
  gemm_batched(args, 1, shape, broadcast, broadcast, step);
  args.c = c.data();
  args.epilogue = {false, Activation::relu, bias.data(), residual.data(), n, z.data(), n};
  const auto compare = [&] {
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0, size = 3;
        for (int64_t x = 0; x < k; ++x) {
          const double product = static_cast<double>(a[i * k + x]) * b[j * k + x];
          sum += product;
          size += std::abs(product);
        }
        const double want = sum + bias[j] + residual[i * n + j];
        near(z[i * n + j], want, size);
        near(c[i * n + j], std::max(want, 0.0), size);
        near(sums[i * n + j], 1 + sum, size);
        near(sums[m * n + i * n + j], 1 + sum, size);
      }
  };
  gemm(args);
  compare();
  if (const PackPlan<T> plan = gemm_pack_plan(args); plan.routine) {
    const Scratch<char> packed(plan.bytes);
    gemm_pack(args, plan, packed.get());
    args.packed = {plan.routine, packed.get()};
    std::fill(c.begin(), c.end(), T(-1));
    gemm(args);
    compare();
  }

  std::vector<T> dz(m * n), dbias(n);
  activation_backward(ActivationBackwardArgs<T>{m, n, residual.data(), n, c.data(), n,
                                                Activation::relu, dz.data(), n, dbias.data()});
  for (int64_t j = 0; j < n; ++j) {
    double sum = 0;
    for (int64_t i = 0; i < m; ++i) {
      const double want = c[i * n + j] > 0 ? residual[i * n + j] : T(0);
      CHECK(dz[i * n + j] == want);
      sum += want;
    }
    near(dbias[j], sum, 2.0 * static_cast<double>(m));
  }
}

// --- pointwise ---

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double gelu_tanh_inner(double x) { return std::sqrt(8 / M_PI) * (x + 0.044715 * x * x * x); }

struct Unary {
  UnaryOp op;
  double low;  // of its inputs, which reach to 2
  bool saves_output;
  double (*f)(double x);
  double (*slope)(double x);
};
const Unary kUnary[] = {
    {UnaryOp::relu, -2, true, [](double x) { return std::max(x, 0.0); },
     [](double x) { return x > 0 ? 1.0 : 0.0; }},
    {UnaryOp::gelu, -2, false, [](double x) { return x * normal_cdf(x); },
     [](double x) { return normal_cdf(x) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }},
    {UnaryOp::gelu_tanh, -2, false, [](double x) { return x * sigmoid(gelu_tanh_inner(x)); },
     [](double x) {
       const double s = sigmoid(gelu_tanh_inner(x));
       return s + x * s * (1 - s) * std::sqrt(8 / M_PI) * (1 + 3 * 0.044715 * x * x);
     }},
    {UnaryOp::silu, -2, false, [](double x) { return x * sigmoid(x); },
     [](double x) { return sigmoid(x) * (1 + x * (1 - sigmoid(x))); }},
    {UnaryOp::tanh, -2, true, [](double x) { return std::tanh(x); },
     [](double x) { return 1 - std::tanh(x) * std::tanh(x); }},
    {UnaryOp::sigmoid, -2, true, sigmoid, [](double x) { return sigmoid(x) * (1 - sigmoid(x)); }},
    {UnaryOp::exp, -2, true, [](double x) { return std::exp(x); },
     [](double x) { return std::exp(x); }},
    {UnaryOp::log, 0.1, false, [](double x) { return std::log(x); },
     [](double x) { return 1 / x; }},
    {UnaryOp::sqrt, 0.1, true, [](double x) { return std::sqrt(x); },
     [](double x) { return 0.5 / std::sqrt(x); }},
    {UnaryOp::rsqrt, 0.1, true, [](double x) { return 1 / std::sqrt(x); },
     [](double x) { return -0.5 / (x * std::sqrt(x)); }},
    {UnaryOp::abs, -2, false, [](double x) { return std::abs(x); },
     [](double x) { return x > 0 ? 1.0 : -1.0; }},
    {UnaryOp::neg, -2, false, [](double x) { return -x; }, [](double) { return -1.0; }},
    {UnaryOp::square, -2, false, [](double x) { return x * x; }, [](double x) { return 2 * x; }},
    {UnaryOp::cube, -2, false, [](double x) { return x * x * x; },
     [](double x) { return 3 * x * x; }},
    {UnaryOp::inverse_square, 0.5, false, [](double x) { return 1 / (x * x); },
     [](double x) { return -2 / (x * x * x); }},
    {UnaryOp::reciprocal, 0.1, true, [](double x) { return 1 / x; },
     [](double x) { return -1 / (x * x); }},
    {UnaryOp::erf, -2, false, [](double x) { return std::erf(x); },
     [](double x) { return 2 / std::sqrt(M_PI) * std::exp(-x * x); }},
    {UnaryOp::softplus, -2, false, [](double x) { return std::log1p(std::exp(x)); }, sigmoid},
};
static_assert(std::size(kUnary) == static_cast<size_t>(UnaryOp::count));

template <class T>
void check_unary(int64_t rows, int64_t cols) {
  const int64_t n = rows * cols;
  for (const Unary& unary : kUnary) {
    const auto x = values<T>(n, unary.low), grad = values<T>(n);
    std::vector<T> y(n), dx(n);
    unary_forward(unary.op, x.data(), y.data(), n);
    unary_backward(unary.op, grad.data(), unary.saves_output ? y.data() : x.data(), dx.data(), n);
    for (int64_t i = 0; i < n; ++i) {
      near(y[i], unary.f(x[i]), 1);
      near(dx[i], grad[i] * unary.slope(x[i]), std::abs(grad[i]));
    }
  }
}

struct Binary {
  BinaryOp op;
  double (*f)(double a, double b);
};
const Binary kBinary[] = {
    {BinaryOp::add, [](double a, double b) { return a + b; }},
    {BinaryOp::sub, [](double a, double b) { return a - b; }},
    {BinaryOp::mul, [](double a, double b) { return a * b; }},
    {BinaryOp::div, [](double a, double b) { return a / b; }},
    {BinaryOp::maximum, [](double a, double b) { return std::max(a, b); }},
    {BinaryOp::minimum, [](double a, double b) { return std::min(a, b); }},
    {BinaryOp::pow, [](double a, double b) { return std::pow(a, b); }},
};
static_assert(std::size(kBinary) == static_cast<size_t>(BinaryOp::count));

// b whole, one row of it, one column of it, one element of it.
template <class T>
void check_binary(int64_t rows, int64_t cols) {
  const auto a = values<T>(rows * cols, 0.1), b = values<T>(rows * cols, 0.1);
  std::vector<T> y(rows * cols);
  for (const Binary& binary : kBinary)
    for (const auto& [row, col] : {std::pair{cols, int64_t{1}}, {0, 1}, {cols, 0}, {0, 0}}) {
      binary_forward(binary.op, {2, {rows, cols}, {cols, 1}, {row, col}}, a.data(), b.data(),
                     y.data());
      for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < cols; ++j)
          near(y[i * cols + j], binary.f(a[i * cols + j], b[i * row + j * col]), 0);
    }
}

template <class T>
void check_bias(int64_t rows, int64_t cols) {
  const auto x = values<T>(rows * cols), bias = values<T>(cols), grad = values<T>(rows * cols);
  std::vector<T> y(rows * cols), z(rows * cols), dz(rows * cols), dbias(cols);
  bias_activation_forward(Activation::gelu, rows, cols, x.data(), bias.data(), y.data(), z.data());
  bias_activation_backward(Activation::gelu, rows, cols, grad.data(), z.data(), dz.data(),
                           dbias.data());
  const Unary& gelu = kUnary[static_cast<int>(UnaryOp::gelu)];
  for (int64_t j = 0; j < cols; ++j) {
    Wide sum = 0, size = 0;
    for (int64_t i = j; i < rows * cols; i += cols) {
      CHECK(z[i] == x[i] + bias[j]);
      near(y[i], gelu.f(z[i]), std::abs(z[i]));
      const double slope = gelu.slope(z[i]);
      near(dz[i], grad[i] * slope, std::abs(grad[i]));
      sum += grad[i] * slope;
      size += std::abs(grad[i]);
    }
    near(dbias[j], sum, size);
  }
}

template <class T>
void check_dropout(int64_t rows, int64_t cols) {
  const auto x = values<T>(rows * cols);
  std::vector<T> y(rows * cols);
  dropout(0.25, 5, 6, x.data(), y.data(), rows * cols);
  for (int64_t i = 0; i < rows * cols; ++i) {
    const bool kept = philox4x32(5, i / 4, 6).word[i % 4] >= 0x40000000;
    near(y[i], kept ? x[i] / 0.75 : 0, 0);
  }
}

// --- reduce: each set of the axes (2, rows, cols) ---

template <class T>
void check_reduce(int64_t rows, int64_t cols) {
  const auto x = values<T>(2 * rows * cols);
  for (int set = 0; set < 8; ++set) {
    const bool first = set & 1, second = set & 2, third = set & 4;
    const ReduceShape shape{3, {2, rows, cols}, {first, second, third}};
    const int64_t kept_cols = third ? 1 : cols, kept_rows = second ? 1 : rows;
    const int64_t kept = (first ? 1 : 2) * kept_rows * kept_cols;
    constexpr double kInf = std::numeric_limits<double>::infinity();
    std::vector<Wide> sum(kept);
    std::vector<double> size(kept), most(kept, -kInf), least(kept, kInf);
    for (int64_t i = 0; i < 2 * rows * cols; ++i) {
      const int64_t a = first ? 0 : i / (rows * cols), b = second ? 0 : i / cols % rows,
                    c = third ? 0 : i % cols, at = (a * kept_rows + b) * kept_cols + c;
      sum[at] += x[i];
      size[at] += std::abs(x[i]);
      most[at] = std::max<double>(most[at], x[i]);
      least[at] = std::min<double>(least[at], x[i]);
    }
    const double count = 2.0 * static_cast<double>(rows * cols) / static_cast<double>(kept);
    std::vector<T> sums(kept), means(kept), tops(kept), bottoms(kept);
    reduce(ReduceOp::sum, shape, x.data(), sums.data());
    reduce(ReduceOp::max, shape, x.data(), tops.data());
    reduce(ReduceOp::min, shape, x.data(), bottoms.data());
    reduce_mean(shape, x.data(), means.data());
    for (int64_t i = 0; i < kept; ++i) {
      near(sums[i], sum[i], size[i]);
      near(means[i], sum[i] / count, size[i] / count);
      CHECK(tops[i] == most[i] && bottoms[i] == least[i]);
    }
  }
  std::vector<T> untouched(rows, T(7));
  for (const bool reverse : {false, true})  // of (1, rows, 0), which has no elements
    running_sums(1, rows, 0, reverse, x.data(), untouched.data());
  CHECK(untouched == std::vector<T>(rows, T(7)));
}

// --- conv: 3x3 windows that reach over every border, either layout, all three directions ---

template <class T>
void compare_conv(int64_t images, int64_t c, int64_t o, int64_t step, bool channels_last) {
  constexpr int64_t in = 6;
  const int64_t out = (in - 1) / step + 1;
  const ConvShape s{images, c, o, 1, in, in, out, out, 3, 3, step, step, 1, 1, 1, 1};
  const auto view = [&]<class E>(E* data, int64_t channels, int64_t size) {
    const int64_t image = channels * size * size;
    return channels_last ? ImageView<E>{data, image, 1, size * channels, channels}
                         : ImageView<E>{data, image, size * size, size, 1};
  };
  const auto x = values<T>(images * c * in * in), w = values<T>(o * c * 9),
             dy = values<T>(images * o * out * out);
  std::vector<T> y(dy.size()), dx(x.size()), dw(w.size());
  const auto xs = view(x.data(), c, in), dys = view(dy.data(), o, out);
  const KernelView<const T> ws{w.data(), c * 9, 9, 3, 1};
  conv_forward<T>(s, xs, ws, y.data(), {});
  conv_input_gradient<T>(s, dys, ws, dx.data(), {});
  conv_weight_gradient<T>(s, xs, dys, {dw.data(), c * 9, 9, 3, 1});

  struct Sum {
    Wide value = 0, size = 0;
    void add(Wide term) { value += term, size += std::abs(term); }
  };
  std::vector<Sum> y_sum(y.size()), dx_sum(x.size()), dw_sum(w.size());
  for (int64_t i = 0; i < images * out * out * o; ++i)
    for (int64_t j = 0; j < 9 * c; ++j) {
      const int64_t n = i / (out * out * o), row = i / (out * o) % out, col = i / o % out;
      const int64_t in_row = row * step + j / 3 % 3 - 1, in_col = col * step + j % 3 - 1;
      if (in_row < 0 || in_row >= in || in_col < 0 || in_col >= in) continue;
      const int64_t ch = j / 9, wi = i % o * c * 9 + j;
      const Wide a = xs.data[n * xs.image + ch * xs.channel + in_row * xs.row + in_col * xs.col];
      const Wide g = dys.data[n * dys.image + i % o * dys.channel + row * dys.row + col * dys.col];
      y_sum[i].add(a * w[wi]);
      dx_sum[((n * in + in_row) * in + in_col) * c + ch].add(g * w[wi]);
      dw_sum[wi].add(a * g);
    }
  for (std::size_t i = 0; i < y.size(); ++i) near(y[i], y_sum[i].value, y_sum[i].size);
  for (std::size_t i = 0; i < dx.size(); ++i) near(dx[i], dx_sum[i].value, dx_sum[i].size);
  for (std::size_t i = 0; i < dw.size(); ++i) near(dw[i], dw_sum[i].value, dw_sum[i].size);
}
template <class T>
void check_conv(int64_t rows, int64_t cols) {
  for (const int64_t step : {1, 2})
    for (const bool channels_last : {false, true})
      compare_conv<T>(2, std::min<int64_t>(rows, 18), std::min<int64_t>(cols, 35), step,
                      channels_last);
}

// The grids of a dilated window's pixels have residuals of their own, and the bias in common.
template <class T>
void compare_dilated_epilogue() {
  constexpr int64_t n = 12, c = 32, o = 35, in = 12, pixels = n * in * in;
  const ConvShape s{n, c, o, 1, in, in, in, in, 3, 3, 1, 1, 2, 2, 2, 2};
  const auto x = values<T>(pixels * c), w = values<T>(o * c * 9), bias = values<T>(o),
             residual = values<T>(pixels * o);
  const ImageView<const T> xs{x.data(), in * in * c, 1, in * c, c};
  std::vector<T> plain(pixels * o), y(pixels * o);
  conv_forward<T>(s, xs, {w.data(), c * 9, 9, 3, 1}, plain.data(), {});
  Epilogue<T> e;
  e.bias = bias.data();
  e.residual = residual.data();
  conv_forward<T>(s, xs, {w.data(), c * 9, 9, 3, 1}, y.data(), e);
  for (int64_t i = 0; i < pixels * o; ++i) CHECK(y[i] == plain[i] + bias[i % o] + residual[i]);
}

// Enough pixels for it; double takes the definition all the same. Then the way around a NaN, of
// which the last few channels have one of their own.
template <class T>
void compare_minimal_filtering(MatmulPrecision precision, const char* routine) {
  constexpr int64_t n = 22, c = 26, o = 35, in = 6;
  set_matmul_precision(precision);
  if (sizeof(T) == 4) set_conv_routine(routine);
  compare_conv<T>(n, c, o, 1, true);
  const ConvShape s{n, c, o, 1, in, in, in, in, 3, 3, 1, 1, 1, 1, 1, 1};
  const auto w = values<T>(o * c * 9), dy = values<T>(n * in * in * o);
  auto x = values<T>(n * in * in * c);
  x[c - 1] = std::numeric_limits<T>::quiet_NaN();
  std::vector<T> y(dy.size()), dw(w.size());
  const ImageView<const T> xs{x.data(), in * in * c, 1, in * c, c};
  const ImageView<const T> dys{dy.data(), in * in * o, 1, in * o, o};
  conv_forward<T>(s, xs, {w.data(), c * 9, 9, 3, 1}, y.data(), {});
  conv_weight_gradient<T>(s, xs, dys, {dw.data(), c * 9, 9, 3, 1});
  // Of the first image the pixels up to (1, 1), and the last channel's weights but those that meet
  // its first pixel nowhere.
  for (int64_t i = 0; i < n * in * in * o; ++i)
    CHECK(std::isnan(y[i]) == (i / o < in * 2 && i / o % in < 2));
  for (int64_t i = 0; i < o * c * 9; ++i)
    CHECK(std::isnan(dw[i]) == (i / 9 % c == c - 1 && i % 9 / 3 < 2 && i % 3 < 2));
  compare_dilated_epilogue<T>();
  set_conv_routine("");
  set_matmul_precision(MatmulPrecision::highest);
}
template <class T>
void check_minimal_filtering(int64_t rows, int64_t) {
  if (rows < 16) return;
  compare_minimal_filtering<T>(MatmulPrecision::highest, "winograd_2x2");
  compare_minimal_filtering<T>(MatmulPrecision::high, "winograd_4x4");
}

// The same in bfloat16, beside float; and the weights of both packed ahead.
void compare_bfloat16_conv(int64_t n, int64_t c, int64_t o, int64_t groups, int64_t in,
                           bool channels_last) {
  const int64_t image = c * in * in, outs = o * in * in;
  const ConvShape s{n, c, o, groups, in, in, in, in, 3, 3, 1, 1, 1, 1, 1, 1};
  const auto rounded = [](const std::vector<float>& from) {
    std::vector<bfloat16> to(from.size());
    narrow(from.data(), to.data(), static_cast<int64_t>(from.size()));
    return to;
  };
  const auto x = rounded(values<float>(n * image)), dy = rounded(values<float>(n * outs)),
             w = rounded(values<float>(o * c / groups * 9));
  const auto run = [&]<class T>(const std::vector<T>& xs, const std::vector<T>& ws,
                                const std::vector<T>& dys) {
    const ImageView<const T> from = channels_last
                                        ? ImageView<const T>{xs.data(), image, 1, in * c, c}
                                        : ImageView<const T>{xs.data(), image, in * in, in, 1};
    const ImageView<const T> grad{dys.data(), outs, 1, in * o, o};
    const int64_t out_step = c / groups * 9;
    const KernelView<const T> kernel{ws.data(), out_step, 9, 3, 1};
    std::vector<T> y(dys.size()), dx(xs.size()), dw(ws.size()), again(dys.size());
    conv_forward<T>(s, from, kernel, y.data(), {});
    conv_input_gradient<T>(s, grad, kernel, dx.data(), {});
    conv_weight_gradient<T>(s, from, grad, {dw.data(), out_step, 9, 3, 1});
    const KernelPacking packing = conv_packing<T>(s, from, kernel);
    const Scratch<char> packed(packing.bytes);
    if (packing.routine) conv_pack<T>(s, from, kernel, packing, packed.get());
    conv_forward<T>(s, from, kernel, again.data(), {}, {packing.routine, packed.get()});
    CHECK(std::memcmp(y.data(), again.data(), y.size() * sizeof(T)) == 0);
    return std::vector<std::vector<T>>{y, dx, dw};
  };
  const auto widened = [](const std::vector<bfloat16>& from) {
    std::vector<float> to(from.size());
    widen(from.data(), to.data(), static_cast<int64_t>(from.size()));
    return to;
  };
  const auto got = run(x, w, dy);
  const auto want = run(widened(x), widened(w), widened(dy));
  // Of the longest sum's terms together.
  const float size = 4.0f * static_cast<float>(std::max({9 * c, 9 * o, n * in * in}));
  for (std::size_t k = 0; k < got.size(); ++k)
    for (std::size_t i = 0; i < got[k].size(); ++i)
      CHECK(std::abs(to_float(got[k][i]) - want[k][i]) <=
            0x1p-8f * std::abs(want[k][i]) + 0x1p-19f * size);
}
template <bool Depthwise>
void check_bfloat16_conv(int64_t rows, int64_t cols) {
  const int64_t c = std::min<int64_t>(rows, 18), o = Depthwise ? c : std::min<int64_t>(cols, 35);
  compare_bfloat16_conv(2, c, o, Depthwise ? c : 1, 6, false);
  if (Depthwise || rows < 16) return;
  // Widened by 14 images at a time; the last four of them make the larger block of patches.
  const int threads = num_threads();
  set_num_threads(1);
  compare_bfloat16_conv(18, 32, 32, 1, 8, true);
  set_num_threads(threads);
}

// --- softmax: along the rows, and along the columns ---

template <class T>
void check_softmax(int64_t rows, int64_t cols) {
  const int64_t n = rows * cols;
  const auto x = values<T>(n, -8, 8), grad = values<T>(n);
  std::vector<T> y(n), dx(n);
  for (const bool log : {false, true})
    for (const SoftmaxShape& shape : {SoftmaxShape{rows, cols, 1}, SoftmaxShape{1, rows, cols}}) {
      softmax_forward(x.data(), y.data(), shape, log);
      softmax_backward(grad.data(), y.data(), dx.data(), shape, log);
      for (int64_t r = 0; r < shape.outer * shape.inner; ++r) {
        const auto at = [&](int64_t i) { return shape.inner == 1 ? r * cols + i : i * cols + r; };
        Wide sum = 0, grad_sum = 0, grad_size = 0;
        for (int64_t i = 0; i < shape.length; ++i) sum += std::exp(double{x[at(i)]});
        for (int64_t i = 0; i < shape.length; ++i) {
          const double p = std::exp(double{x[at(i)]}) / sum;
          // Of the logarithm and its gradient x is a part, of e^x a factor's exponent.
          near(y[at(i)], log ? std::log(p) : p, log ? 16 : 16 * p);
          grad_sum += (log ? 1 : p) * grad[at(i)];
          grad_size += (log ? 1 : p) * std::abs(grad[at(i)]);
        }
        for (int64_t i = 0; i < shape.length; ++i) {
          const double p = std::exp(double{x[at(i)]}) / sum, g = grad[at(i)];
          near(dx[at(i)], log ? g - p * grad_sum : p * (g - grad_sum),
               16 * p * (std::abs(g) + grad_size) + std::abs(g));
        }
      }
    }
}

// --- losses ---

template <class T>
void check_cross_entropy(int64_t rows, int64_t cols) {
  const auto x = values<T>(rows * cols, -8, 8), weight = values<T>(cols, 0.5);
  std::vector<int64_t> target(rows);
  for (int64_t i = 0; i < rows; ++i) target[i] = i % 3 == 1 ? -100 : i * 7 % cols;
  CHECK(first_bad_target(target.data(), rows, cols, -100) == -1);
  const double smooth = 0.1;
  const CrossEntropyArgs<T> args{rows,          cols, x.data(), cols,           target.data(),
                                 weight.data(), -100, smooth,   Reduction::mean};
  const T grad = 3;
  T loss;
  std::vector<T> saved(cross_entropy_saved(rows)), dx(rows * cols);
  cross_entropy_forward(args, &loss, saved.data());
  cross_entropy_backward(args, &grad, saved.data(), dx.data());

  Wide total = 0, divisor = 0, weights = 0;
  for (int64_t r = 0; r < rows; ++r)
    if (target[r] >= 0) divisor += weight[target[r]];
  for (T w : weight) weights += w;
  const double share = smooth / static_cast<double>(cols);
  for (int64_t r = 0; r < rows; ++r) {
    Wide sum = 0;
    for (int64_t c = 0; c < cols; ++c) sum += std::exp(double{x[r * cols + c]});
    const bool counts = target[r] >= 0;
    const double own = counts ? (1 - smooth) * weight[target[r]] : 0;
    for (int64_t c = 0; c < cols; ++c) {
      const double p = std::exp(double{x[r * cols + c]}) / sum;
      const double label = (c == target[r] ? own : 0) + share * weight[c];
      if (counts) total -= label * std::log(p);
      const double scale = counts ? 3 / divisor : 0;
      near(dx[r * cols + c], scale * ((own + share * weights) * p - label),
           scale * (16 * (own + share * weights) * p + label));
    }
  }
  near(loss, total / divisor, 16);
}

template <class T>
void check_mse(int64_t rows, int64_t cols) {
  const int64_t n = rows * cols;
  const auto a = values<T>(n), b = values<T>(n);
  const T grad = 3;
  T loss;
  std::vector<T> dx(n);
  distance_forward(Distance::square, T(0), a.data(), b.data(), n, Reduction::mean, &loss);
  distance_backward(Distance::square, T(0), &grad, a.data(), b.data(), n, Reduction::mean,
                    dx.data());
  Wide sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double difference = static_cast<double>(a[i]) - b[i], scale = 6 / static_cast<double>(n);
    sum += difference * difference;
    near(dx[i], scale * difference, 0);
  }
  near(loss, sum / static_cast<double>(n), 0);
}

// --- optimisers: one later step each, over two tensors ---

template <class T>
void check_optim(int64_t rows, int64_t cols) {
  const int64_t n = rows * cols, half = n / 2;
  const auto param = values<T>(n), grad = values<T>(n), average = values<T>(n),
             square = values<T>(n, 0.1);
  auto p = param, m = average, v = square;
  const SgdTensor<T> sgd[] = {{p.data(), grad.data(), m.data(), half},
                              {p.data() + half, grad.data() + half, m.data() + half, n - half}};
  sgd_step(sgd, 2, {false, 0.1, 0.9, 0.2, 0.01, true, false});
  for (int64_t i = 0; i < n; ++i) {
    const double g = grad[i] + 0.01 * param[i], buffer = 0.9 * average[i] + 0.8 * g;
    near(m[i], buffer, 4);
    near(p[i], param[i] - 0.1 * (g + 0.9 * buffer), 4);
  }
  p = param, m = average;
  const AdamTensor<T> adam[] = {
      {p.data(), grad.data(), m.data(), v.data(), nullptr, half},
      {p.data() + half, grad.data() + half, m.data() + half, v.data() + half, nullptr, n - half}};
  adam_step(adam, 2, {3, 0.1, 0.9, 0.99, 1e-8, 0.01, true, false});
  for (int64_t i = 0; i < n; ++i) {
    const double first = 0.9 * average[i] + 0.1 * grad[i],
                 second = 0.99 * square[i] + 0.01 * grad[i] * grad[i],
                 root = std::sqrt(second / (1 - std::pow(0.99, 3))) + 1e-8,
                 step = 0.1 / (1 - std::pow(0.9, 3)) / root;
    near(m[i], first, 4);
    near(v[i], second, 0);
    near(p[i], param[i] * (1 - 0.1 * 0.01) - step * first, 4 * (1 + step));
  }
}

// --- random numbers, by the formulas of random.h for float32; float64 by their range ---

template <class T>
void check_random(int64_t rows, int64_t cols) {
  const int64_t n = rows * cols;
  std::vector<T> uniform(n), normal(n);
  random_uniform(uniform.data(), n, 1, 2);
  random_normal(normal.data(), n, 1, 2);
  for (int64_t i = 0; i < n; ++i) {
    CHECK(uniform[i] >= 0 && uniform[i] < 1 && std::abs(normal[i]) < 9);
    if (sizeof(T) == 8) continue;
    const auto word = [](int64_t at) -> double { return philox4x32(1, at / 4, 2).word[at % 4]; };
    CHECK(uniform[i] == std::floor(word(i) * 0x1p-8) * 0x1p-24);
    const double u = (word(i & ~1) + 0.5) * 0x1p-32, t = 2 * M_PI * word(i | 1) * 0x1p-32,
                 radius = std::sqrt(-2 * std::log(u));
    near(normal[i], radius * (i % 2 ? std::sin(t) : std::cos(t)), 0);
  }
}

struct Check {
  const char* name;
  void (*in_float)(int64_t rows, int64_t cols);
  void (*in_double)(int64_t rows, int64_t cols);
};
#define TW_CHECK(name) {#name, check_##name<float>, check_##name<double>}
const Check kChecks[] = {
    {"bfloat16 conv", check_bfloat16_conv<false>, check_bfloat16_conv<true>},
    TW_CHECK(gemm),
    TW_CHECK(conv),
    TW_CHECK(minimal_filtering),
    TW_CHECK(unary),
    TW_CHECK(binary),
    TW_CHECK(bias),
    TW_CHECK(dropout),
    TW_CHECK(reduce),
    TW_CHECK(softmax),
    TW_CHECK(cross_entropy),
    TW_CHECK(mse),
    TW_CHECK(optim),
    TW_CHECK(random),
};

void memory_pool_serves() {
  for (std::size_t bytes : {0, 100, 100'000, 10'000'000}) {
    const Scratch<char> scratch(bytes);
    std::memset(scratch.get(), 1, bytes);
  }
  CHECK(pool_stats().in_use_bytes == 0);
  pool_trim();
  CHECK(pool_stats().cached_bytes == 0);
}

}  // namespace

int main() {
  const int threads = num_threads();
  set_num_threads(3);
  for (int i = 0; i <= static_cast<int>(cpu_info().best); ++i) {
    set_isa(isa_name(static_cast<Isa>(i)));
    // One element, a tail of any vector, and enough for several tasks.
    for (const auto& [rows, cols] : {std::pair{1, 1}, {3, 37}, {130, 301}})
      for (const Check& check : kChecks) {
        g_check = check.name;
        check.in_float(rows, cols);
        check.in_double(rows, cols);
      }
  }
  memory_pool_serves();
  std::printf("smoke: %s, %d threads, ISAs up to %s\n", cpu_info().model.c_str(), threads,
              isa_name(cpu_info().best));
}
