#include "kernels/reduce/reduce.h"

#include <algorithm>
#include <cstring>

#include "base/arithmetic.h"
#include "base/cpu.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "base/variants.h"
#include "kernels/reduce/running_sums.h"

#define TW_FAMILY reduce
#define TW_KERNELS ReduceKernels
#include "base/family.inc"

namespace tilework {
namespace {

constexpr double kNsPerByte = 0.06;         // a core's share of memory, reading alone
constexpr int64_t kTaskElements = 1 << 14;  // less is not worth a task of its own

// Neighbouring axes of one kind as one; size-1 axes dropped, so that kinds alternate.
ReduceShape merged(const ReduceShape& s) {
  ReduceShape m{};
  for (int i = 0; i < s.axes; ++i) {
    if (s.size[i] == 1) continue;
    if (m.axes > 0 && m.reduced[m.axes - 1] == s.reduced[i]) {
      m.size[m.axes - 1] *= s.size[i];
    } else {
      m.size[m.axes] = s.size[i];
      m.reduced[m.axes++] = s.reduced[i];
    }
  }
  return m;
}

// x[outer][n][inner] to y[outer][inner]. The middle axis is cut into blocks of fixed length, whose
// results are reduced again.
template <class T>
void reduce_middle(ReduceOp op, int64_t outer, int64_t n, int64_t inner, const T* x, T* y) {
  const ReduceTable<T>& kernels = g_variants.of<T>();
  const auto rows = kernels.rows[static_cast<int>(op)];
  const auto columns = kernels.columns[static_cast<int>(op)];
  const int64_t ahead = read_ahead_bytes();
  const int64_t block = inner == 1 ? kRowBlock : kColumnBlock;
  const int64_t blocks = ceil_div(n, block), items = outer * blocks;
  const int64_t items_a_task = std::max<int64_t>(1, kTaskElements / (std::min(n, block) * inner));

  const auto run = [&](T* to) {
    parallel_for(
        ceil_div(items, items_a_task),
        kNsPerByte * sizeof(T) * static_cast<double>(outer * n * inner), [&](int64_t task) {
          const int64_t begin = task * items_a_task;
          const int64_t end = std::min(items, begin + items_a_task);
          if (inner == 1 && blocks == 1)
            return rows(x + begin * n, to + begin, end - begin, n, ahead);
          for (int64_t item = begin; item < end; ++item) {
            const int64_t first = item % blocks * block, count = std::min(block, n - first);
            const T* from = x + (item / blocks * n + first) * inner;
            if (inner == 1)
              rows(from, to + item, 1, count, ahead);
            else
              columns(from, to + item * inner, count, inner, ahead);
          }
        });
  };
  if (blocks == 1) return run(y);
  Scratch<T> partial(static_cast<size_t>(items * inner));
  run(partial.get());
  reduce_middle(op, outer, blocks, inner, partial.get(), y);
}

// The fastest reduced run goes first: it leaves the least for the others.
template <class T>
void reduce_runs(ReduceOp op, const ReduceShape& shape, const T* x, T* y) {
  ReduceShape m = merged(shape);
  int64_t total = 1, inner = 1;
  int reduced = 0, last = -1;
  for (int i = 0; i < m.axes; ++i) {
    total *= m.size[i];
    inner *= m.size[i];
    if (!m.reduced[i]) continue;
    ++reduced;
    last = i;
    inner = 1;
  }
  if (reduced == 0) {
    std::memcpy(y, x, static_cast<size_t>(total) * sizeof(T));
    return;
  }
  const int64_t outer = total / inner / m.size[last];
  if (reduced == 1) return reduce_middle(op, outer, m.size[last], inner, x, y);
  Scratch<T> rest(static_cast<size_t>(outer * inner));
  reduce_middle(op, outer, m.size[last], inner, x, rest.get());
  m.size[last] = 1;
  reduce_runs(op, m, rest.get(), y);
}

struct Counts {
  int64_t kept = 1, reduced = 1;
  explicit Counts(const ReduceShape& s) {
    for (int i = 0; i < s.axes; ++i) (s.reduced[i] ? reduced : kept) *= s.size[i];
  }
};

}  // namespace

template <class T>
void reduce(ReduceOp op, const ReduceShape& shape, const T* x, T* y) {
  const Counts counts(shape);
  if (counts.kept == 0) return;
  if (counts.reduced == 0)
    std::fill_n(y, counts.kept, T(0));
  else
    reduce_runs(op, shape, x, y);
}

template <class T>
void reduce_mean(const ReduceShape& shape, const T* x, T* y) {
  reduce(ReduceOp::sum, shape, x, y);
  const Counts counts(shape);
  const T n = static_cast<T>(counts.reduced);
  for (int64_t i = 0; i < counts.kept; ++i) y[i] /= n;
}

template <class T>
void running_sums(int64_t outer, int64_t n, int64_t inner, bool reverse, const T* x, T* y) {
  if (outer == 0 || n == 0 || inner == 0) return;  // however long the other two are
  const int64_t block = std::max<int64_t>(1, kTaskElements / (n * inner));
  parallel_for(ceil_div(outer, block), 1.0 * static_cast<double>(outer * n * inner),
               [&](int64_t task) {
                 for (int64_t o = task * block; o < std::min(outer, (task + 1) * block); ++o) {
                   const int64_t at = o * n * inner;
                   if (inner > 1)
                     running::columns(x + at, y + at, n, inner, inner, reverse);
                   else if (reverse)
                     running::row<-1>(x + at, y + at, n);
                   else
                     running::row<1>(x + at, y + at, n);
                 }
               });
}
template void running_sums(int64_t, int64_t, int64_t, bool, const bfloat16*, bfloat16*);

#define TW_INSTANTIATE(T)                                           \
  template void reduce(ReduceOp, const ReduceShape&, const T*, T*); \
  template void reduce_mean(const ReduceShape&, const T*, T*);      \
  template void running_sums(int64_t, int64_t, int64_t, bool, const T*, T*);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
#undef TW_INSTANTIATE

}  // namespace tilework
