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
#include "kernels/gemm/gemm.h"
#include "kernels/loss/loss.h"
#include "kernels/optim/optim.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/random/random.h"
#include "kernels/reduce/reduce.h"
#include "kernels/sequence/sequence.h"
#include "kernels/softmax/softmax.h"
#include "tests/check.h"
#include "tests/smoke.h"
#include "tests/smoke_conv.h"

using namespace tilework;

namespace {

// --- gemm: C = relu(A B^T + bias + residual), B as it lies and packed; batches that accumulate ---

template <class T>
void check_gemm(int64_t m, int64_t n) {
  const int64_t k = 100;
  const auto a = values<T>(m * k), b = values<T>(n * k), bias = values<T>(n),
             residual = values<T>(m * n);
  std::vector<T> c(m * n), z(m * n), sums(2 * m * n, T(1));
  GemmArgs<T> args{m, n, k, {a.data(), k, 1}, {b.data(), 1, k}, c.data(), n};
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
    Longest sum = 0, size = 0;
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
    const bool kept = philox_word(5, 6, i) >= 0x40000000;
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
    std::vector<Longest> sum(kept);
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
        Longest sum = 0, grad_sum = 0, grad_size = 0;
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

  Longest total = 0, divisor = 0, weights = 0;
  for (int64_t r = 0; r < rows; ++r)
    if (target[r] >= 0) divisor += weight[target[r]];
  for (T w : weight) weights += w;
  const double share = smooth / static_cast<double>(cols);
  for (int64_t r = 0; r < rows; ++r) {
    Longest sum = 0;
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
  Longest sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double difference = static_cast<double>(a[i]) - b[i], scale = 6 / static_cast<double>(n);
    sum += difference * difference;
    near(dx[i], scale * difference, 0);
  }
  near(loss, sum / static_cast<double>(n), 0);
}

// --- sequences ---

// Of one sequence, in long double, where the sums over all paths are numbers still.
template <class T>
Longest ctc_chance(const CtcArgs<T>& args) {
  const int64_t states = 2 * args.target_lengths[0] + 1;
  const auto symbol = [&](int64_t s) { return s % 2 ? args.targets[s / 2] : args.blank; };
  std::vector<Longest> reached(states);
  for (int64_t t = 0; t < args.input_lengths[0]; ++t) {
    const std::vector<Longest> before = reached;
    for (int64_t s = 0; s < states; ++s) {
      Longest sum = t == 0 ? s < 2 : before[s];
      if (t > 0 && s > 0) sum += before[s - 1];
      if (t > 0 && s > 2 && s % 2 && symbol(s) != symbol(s - 2)) sum += before[s - 2];
      reached[s] = sum * std::exp(Longest(args.log_probs[t * args.step_stride + symbol(s)]));
    }
  }
  return reached[states - 1] + (states > 1 ? reached[states - 2] : 0);
}

template <class T>
void check_ctc(int64_t rows, int64_t cols) {
  const int64_t steps = rows + 2, symbols = cols + 1, count = rows / 2 + 1;
  const auto x = values<T>(steps * symbols, -4, -1);
  std::vector<int64_t> targets(count);
  for (int64_t i = 0; i < count; ++i) targets[i] = 1 + i / 2 % cols;
  const CtcArgs<T> args{.steps = steps,
                        .batch = 1,
                        .symbols = symbols,
                        .log_probs = x.data(),
                        .step_stride = symbols,
                        .sequence_stride = symbols,
                        .targets = targets.data(),
                        .input_lengths = &steps,
                        .target_lengths = &count,
                        .most_labels = count,
                        .blank = 0};
  const T grad = 2;
  T loss;
  std::vector<T> saved(steps * ctc_saved_row(count)), dx(steps * symbols);
  ctc_forward(args, &loss, saved.data());
  ctc_backward(args, &grad, &loss, saved.data(), false, dx.data());
  near(loss, -std::log(ctc_chance(args)), 4 * std::sqrt(Longest(steps)));
  for (int64_t t = 0; t < steps; ++t) {  // what all alignments have of a step is 1
    Longest of_step = 0, expected = -1;
    for (int64_t c = 0; c < symbols; ++c) {
      of_step += dx[t * symbols + c];
      expected += std::exp(Longest(x[t * symbols + c]));
    }
    near(static_cast<T>(of_step), grad * expected, grad * (expected + 2));
  }
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
    const auto word = [](int64_t at) -> double { return philox_word(1, 2, at); };
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
    TW_CHECK(ctc),
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
