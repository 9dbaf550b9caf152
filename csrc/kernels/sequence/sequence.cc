#include "kernels/sequence/sequence.h"

#include <algorithm>
#include <limits>

#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "base/variants.h"

#define TW_FAMILY sequence
#define TW_KERNELS SequenceKernels
#include "base/family.inc"

namespace tilework {
namespace {

// Where each sequence's labels begin.
class Starts {
 public:
  template <class T>
  explicit Starts(const CtcArgs<T>& args) : starts_(static_cast<size_t>(args.batch)) {
    int64_t at = 0;
    for (int64_t n = 0; n < args.batch; ++n) {
      starts_.get()[n] = at;
      at += args.target_lengths[n];
    }
  }
  int64_t operator[](int64_t n) const { return starts_.get()[n]; }

 private:
  Scratch<int64_t> starts_;
};

template <class T>
CtcSequence<T> sequence(const CtcArgs<T>& args, const Starts& starts, int64_t n) {
  return {.steps = args.input_lengths[n],
          .count = args.target_lengths[n],
          .symbols = args.symbols,
          .log_probs = args.log_probs + n * args.sequence_stride,
          .step_stride = args.step_stride,
          .labels = args.targets + starts[n],
          .blank = args.blank,
          .saved_row = ctc_saved_row(args.most_labels)};
}

template <class T>
double cost_ns(const CtcArgs<T>& args) {
  return ctc_cost_ns(args.steps, args.batch, args.symbols, args.most_labels, sizeof(T));
}

// A sequence's rows of the gradient from `first` to `last`.
template <class T>
void fill_rows(const CtcArgs<T>& args, T* dx, int64_t n, int64_t first, int64_t last, T value) {
  for (int64_t t = first; t < last; ++t)
    std::fill_n(dx + (t * args.batch + n) * args.symbols, args.symbols, value);
}

}  // namespace

double ctc_cost_ns(int64_t steps, int64_t batch, int64_t symbols, int64_t most_labels,
                   size_t itemsize) {
  return 0.25 * static_cast<double>(itemsize) * static_cast<double>(steps * batch) *
         static_cast<double>(2 * most_labels + symbols / 8 + 40);
}

template <class T>
void ctc_forward(const CtcArgs<T>& args, T* losses, T* saved) {
  const Starts starts(args);
  const auto kernel = g_variants.of<T>().ctc_forward;
  parallel_for(args.batch, cost_ns(args), [&](int64_t n) {
    const CtcSequence<T> one = sequence(args, starts, n);
    T* kept = saved + n * args.steps * one.saved_row;
    std::fill(kept + one.steps * one.saved_row, kept + args.steps * one.saved_row, T(0));
    if (one.steps == 0) {
      losses[n] = one.count == 0 ? T(0) : std::numeric_limits<T>::infinity();
      return;
    }
    const Scratch<T> scratch(static_cast<size_t>(ctc_scratch(args.most_labels)));
    losses[n] = kernel(one, kept, scratch.get());
  });
}

template <class T>
void ctc_backward(const CtcArgs<T>& args, const T* grad, const T* losses, const T* saved,
                  bool zero_infinity, T* dx) {
  const Starts starts(args);
  const auto kernel = g_variants.of<T>().ctc_backward;
  constexpr T infinity = std::numeric_limits<T>::infinity();
  parallel_for(args.batch, cost_ns(args), [&](int64_t n) {
    const CtcSequence<T> one = sequence(args, starts, n);
    fill_rows(args, dx, n, one.steps, args.steps, T(0));
    if (one.steps == 0) return;
    if (!(losses[n] < infinity)) {
      const bool zero = zero_infinity && losses[n] == infinity;
      fill_rows(args, dx, n, 0, one.steps, zero ? T(0) : std::numeric_limits<T>::quiet_NaN());
      return;
    }
    const Scratch<T> scratch(static_cast<size_t>(ctc_scratch(args.most_labels)));
    kernel(one, grad[n], saved + n * args.steps * one.saved_row, scratch.get(),
           dx + n * args.symbols, args.batch * args.symbols);
  });
}

#define TW_INSTANTIATE(T)                               \
  template void ctc_forward(const CtcArgs<T>&, T*, T*); \
  template void ctc_backward(const CtcArgs<T>&, const T*, const T*, const T*, bool, T*);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
#undef TW_INSTANTIATE

}  // namespace tilework
