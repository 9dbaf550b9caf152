#include "kernels/loss/loss.h"

#include <algorithm>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/stream.h"
#include "base/thread_pool.h"
#include "base/variants.h"

#define TW_FAMILY loss
#define TW_KERNELS LossKernels
#include "base/family.inc"

namespace tilework {
namespace {

constexpr int64_t kTaskElements = 16384;

// body(begin, end) over [0, n) in blocks of `block`.
template <class Body>
void for_each_block(int64_t n, int64_t block, double cost_ns, Body body) {
  parallel_for(ceil_div(n, block), cost_ns,
               [&](int64_t task) { body(task * block, std::min(n, (task + 1) * block)); });
}

// In eight chains, joined in pairs.
template <class T>
double sum(const T* x, int64_t n) {
  double chain[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; ++k) chain[k] += static_cast<double>(x[i + k]);
  for (int k = 0; i < n; ++i, ++k) chain[k] += static_cast<double>(x[i]);
  for (int half = 4; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) chain[k] += chain[k + half];
  return chain[0];
}

template <class T>
double mean_divisor(const CrossEntropyArgs<T>& args) {
  double total = 0;
  for (int64_t r = 0; r < args.rows; ++r)
    if (args.target[r] != args.ignore_index)
      total += args.weight ? static_cast<double>(args.weight[args.target[r]]) : 1.0;
  return total;
}

template <class T>
int64_t rows_per_task(const CrossEntropyArgs<T>& args) {
  return std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, args.classes));
}

template <class T>
void cross_entropy_forward_of(const CrossEntropyArgs<T>& args, T* loss, T* saved) {
  const bool each = args.reduction == Reduction::none;
  const Scratch<T> scratch(each ? 0 : static_cast<size_t>(args.rows));
  T* losses = each ? loss : scratch.get();
  const auto kernel = g_variants.of<T>().cross_entropy_forward;
  for_each_block(args.rows, rows_per_task(args),
                 cross_entropy_cost_ns(args.rows, args.classes, sizeof(T)),
                 [&](int64_t begin, int64_t end) { kernel(args, begin, end, losses, saved); });
  const double divisor = args.reduction == Reduction::mean ? mean_divisor(args) : 1;
  saved[2 * args.rows] = static_cast<T>(divisor);
  if (!each) *loss = static_cast<T>(sum(losses, args.rows) / divisor);
}

// Rows long enough that the label's element, read back and written again, is little beside them,
// and an output that goes around the caches.
template <class T>
bool streams_rows(const CrossEntropyArgs<T>& args, const T* dx) {
  constexpr int64_t kRowBytes = 2048;
  return args.classes * static_cast<int64_t>(sizeof(T)) >= kRowBytes &&
         streams<T>({dx}, args.rows * args.classes, args.classes);
}

template <class T>
void cross_entropy_backward_of(const CrossEntropyArgs<T>& args, const T* grad, const T* saved,
                               T* dx) {
  const CrossEntropyGradient<T> gradient = {
      .grad = grad,
      .grad_stride = args.reduction == Reduction::none ? 1 : 0,
      .scale = 1 / saved[2 * args.rows],
      .weight_sum = args.weight ? static_cast<T>(sum(args.weight, args.classes))
                                : static_cast<T>(args.classes),
      .stream = streams_rows(args, dx)};
  const auto kernel = g_variants.of<T>().cross_entropy_backward;
  for_each_block(
      args.rows, rows_per_task(args), cross_entropy_cost_ns(args.rows, args.classes, sizeof(T)),
      [&](int64_t begin, int64_t end) { kernel(args, gradient, begin, end, saved, dx); });
}

}  // namespace

int64_t first_bad_target(const int64_t* target, int64_t rows, int64_t classes,
                         int64_t ignore_index) {
  const auto is_bad = [=](int64_t t) {
    return (static_cast<uint64_t>(t) >= static_cast<uint64_t>(classes)) & (t != ignore_index);
  };
  bool any = false;  // without a way out, so that it compiles to vectors
  for (int64_t r = 0; r < rows; ++r) any |= is_bad(target[r]);
  return any ? std::find_if(target, target + rows, is_bad) - target : -1;
}

double cross_entropy_cost_ns(int64_t rows, int64_t classes, size_t itemsize) {
  return 0.08 * static_cast<double>(itemsize) * static_cast<double>(rows) *
         static_cast<double>(classes + 16);
}

double distance_cost_ns(int64_t n, size_t itemsize) {
  return 0.04 * static_cast<double>(itemsize) * static_cast<double>(n);
}

void cross_entropy_forward(const CrossEntropyArgs<float>& args, float* loss, float* saved) {
  cross_entropy_forward_of(args, loss, saved);
}
void cross_entropy_forward(const CrossEntropyArgs<double>& args, double* loss, double* saved) {
  cross_entropy_forward_of(args, loss, saved);
}
void cross_entropy_backward(const CrossEntropyArgs<float>& args, const float* grad,
                            const float* saved, float* dx) {
  cross_entropy_backward_of(args, grad, saved, dx);
}
void cross_entropy_backward(const CrossEntropyArgs<double>& args, const double* grad,
                            const double* saved, double* dx) {
  cross_entropy_backward_of(args, grad, saved, dx);
}

template <class T>
void distance_forward(Distance distance, T limit, const T* a, const T* b, int64_t n,
                      Reduction reduction, T* loss) {
  const DistanceTable<T>& kernels = g_variants.of<T>().distance[static_cast<int>(distance)];
  const double cost = distance_cost_ns(n, sizeof(T));
  if (reduction == Reduction::none) {
    for_each_block(n, kTaskElements, cost, [&](int64_t begin, int64_t end) {
      kernels.each(a + begin, b + begin, end - begin, limit, loss + begin);
    });
    return;
  }
  const int64_t blocks = ceil_div(n, kTaskElements);
  const Scratch<T> parts(static_cast<size_t>(blocks));
  for_each_block(n, kTaskElements, cost, [&](int64_t begin, int64_t end) {
    parts.get()[begin / kTaskElements] = kernels.sum(a + begin, b + begin, end - begin, limit);
  });
  const double total = sum(parts.get(), blocks);
  *loss = static_cast<T>(reduction == Reduction::mean ? total / static_cast<double>(n) : total);
}

template <class T>
void distance_backward(Distance distance, T limit, const T* grad, const T* a, const T* b, int64_t n,
                       Reduction reduction, T* dx) {
  const bool each = reduction == Reduction::none;
  const T scale = static_cast<T>(reduction == Reduction::mean ? 1 / static_cast<double>(n) : 1);
  const auto kernel = g_variants.of<T>().distance[static_cast<int>(distance)].backward[each];
  for_each_block(n, kTaskElements, distance_cost_ns(n, sizeof(T)), [&](int64_t begin, int64_t end) {
    kernel(a + begin, b + begin, end - begin, limit, scale, each ? grad + begin : grad, dx + begin);
  });
}

#define TW_INSTANTIATE(T)                                                                        \
  template void distance_forward(Distance, T, const T*, const T*, int64_t, Reduction, T*);       \
  template void distance_backward(Distance, T, const T*, const T*, const T*, int64_t, Reduction, \
                                  T*);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
#undef TW_INSTANTIATE

}  // namespace tilework
