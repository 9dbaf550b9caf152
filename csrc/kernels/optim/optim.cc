#include "kernels/optim/optim.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "base/variants.h"

#define TW_FAMILY optim
#define TW_KERNELS OptimKernels
#include "base/family.inc"

namespace tilework {
namespace {

// Elements of one task: with four arrays, 256 KiB of float32, which lies in any L2.
constexpr int64_t kChunk = 16384;

// Calls visit(tensor, begin, end) for the parts of [begin, end) of the tensors laid end to end.
template <class Tensor, class Visit>
void for_each_part(const Tensor* tensors, int64_t begin, int64_t end, Visit visit) {
  for (const Tensor* t = tensors; end > 0; begin -= t->size, end -= t->size, ++t) {
    const int64_t from = std::max<int64_t>(begin, 0), to = std::min(end, t->size);
    if (from < to) visit(*t, from, to);
  }
}

// Calls update(tensor, begin, end) over the tensors laid end to end and cut into equal chunks: a
// model of many small tensors makes few tasks, and one large tensor many.
template <class Tensor, class Update>
void for_each_chunk(const Tensor* tensors, size_t count, double ns_per_element, Update update) {
  int64_t total = 0;
  for (size_t i = 0; i < count; ++i) total += tensors[i].size;
  parallel_for(
      ceil_div(total, kChunk), ns_per_element * static_cast<double>(total), [&](int64_t task) {
        for_each_part(tensors, task * kChunk, std::min(total, (task + 1) * kChunk), update);
      });
}

// Some 2^26 times the smallest normal number: a decaying average passes through [this, denormal) in
// many steps, so it cannot slip by.
template <class T>
constexpr double kVanished = double{std::numeric_limits<T>::min()} * (1 << 26);

template <class T>
void sgd_step_of(const SgdTensor<T>* tensors, size_t count, const SgdOptions& o) {
  const SgdFactors<T> f = {.grad_sign = T(o.maximize ? -1 : 1),
                           .decay = T(o.weight_decay),
                           .momentum = T(o.momentum),
                           .grad_share = T(1 - o.dampening),
                           .first = o.first,
                           .nesterov = o.nesterov,
                           .lr = T(o.lr),
                           .vanished = T(kVanished<T>)};
  const auto update = g_variants.of<T>().sgd;
  for_each_chunk(tensors, count, 0.05 * sizeof(T),
                 [&](const auto& t, int64_t begin, int64_t end) { update(t, f, begin, end); });
}

template <class T>
void adam_step_of(const AdamTensor<T>* tensors, size_t count, const AdamOptions& o) {
  const double correction1 = 1 - std::pow(o.beta1, o.step);
  const double correction2 = 1 - std::pow(o.beta2, o.step);
  const double squared_eps = std::ldexp(o.eps, -30) * std::ldexp(o.eps, -30);
  const AdamFactors<T> f = {.grad_sign = T(o.maximize ? -1 : 1),
                            .decay = T(o.decoupled ? 0 : o.weight_decay),
                            .param_scale = T(o.decoupled ? 1 - o.lr * o.weight_decay : 1),
                            .lerp = T(1 - o.beta1),
                            .beta2 = T(o.beta2),
                            .square = T(1 - o.beta2),
                            .root_scale = T(1 / std::sqrt(correction2)),
                            .eps = T(o.eps),
                            .step_size = T(o.lr / correction1),
                            // Relative to eps, which is what they are divided by or added to here.
                            .vanished = T(std::min(kVanished<T>, std::ldexp(o.eps, -60))),
                            .vanished_sq = T(std::min(kVanished<T>, squared_eps))};
  const auto update = g_variants.of<T>().adam;
  for_each_chunk(tensors, count, 0.1 * sizeof(T),
                 [&](const auto& t, int64_t begin, int64_t end) { update(t, f, begin, end); });
}

}  // namespace

template <class T>
double squares_of(const GradTensor<T>* tensors, size_t count) {
  int64_t total = 0;
  for (size_t i = 0; i < count; ++i) total += tensors[i].size;
  const int64_t tasks = ceil_div(total, kChunk);
  Scratch<double> parts(static_cast<size_t>(tasks));
  double* sums = parts.get();
  const auto squares = g_variants.of<T>().squares;
  parallel_for(tasks, 0.06 * sizeof(T) * static_cast<double>(total), [&](int64_t task) {
    sums[task] = 0;
    for_each_part(tensors, task * kChunk, std::min(total, (task + 1) * kChunk),
                  [&](const auto& t, int64_t begin, int64_t end) {
                    sums[task] += squares(t.grad + begin, end - begin);
                  });
  });
  for (int64_t gap = 1; gap < tasks; gap *= 2)
    for (int64_t i = 0; i + gap < tasks; i += 2 * gap) sums[i] += sums[i + gap];
  return tasks ? sums[0] : 0;
}

template <class T>
void scale(const GradTensor<T>* tensors, size_t count, double factor) {
  const auto kernel = g_variants.of<T>().scale;
  for_each_chunk(tensors, count, 0.08 * sizeof(T), [&](const auto& t, int64_t begin, int64_t end) {
    kernel(t.grad + begin, end - begin, static_cast<T>(factor));
  });
}

#define TW_INSTANTIATE(T)                                   \
  template double squares_of(const GradTensor<T>*, size_t); \
  template void scale(const GradTensor<T>*, size_t, double);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
#undef TW_INSTANTIATE

void sgd_step(const SgdTensor<float>* tensors, size_t count, const SgdOptions& options) {
  sgd_step_of(tensors, count, options);
}
void sgd_step(const SgdTensor<double>* tensors, size_t count, const SgdOptions& options) {
  sgd_step_of(tensors, count, options);
}
void adam_step(const AdamTensor<float>* tensors, size_t count, const AdamOptions& options) {
  adam_step_of(tensors, count, options);
}
void adam_step(const AdamTensor<double>* tensors, size_t count, const AdamOptions& options) {
  adam_step_of(tensors, count, options);
}

}  // namespace tilework
