#include "kernels/embedding/embedding.h"

#include <algorithm>
#include <cstring>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/stream.h"
#include "base/thread_pool.h"
#include "base/variants.h"
#include "base/widen.h"

#define TW_FAMILY embedding
#define TW_KERNELS EmbeddingKernels
#include "base/family.inc"

namespace tilework {
namespace {

constexpr double kNsPerByte = 0.1;
constexpr int64_t kTaskBytes = 64 << 10;  // of rows

// Entries of a list put together by the row that they name, each row's in their order.
class Grouping {
 public:
  // Rows below 0 are left out.
  Grouping(const int64_t* row, int64_t m, int64_t rows)
      : starts_(static_cast<size_t>(rows + 1)), members_(static_cast<size_t>(m + kRowsAhead)) {
    int64_t* starts = starts_.get();
    std::memset(starts, 0, static_cast<size_t>(rows + 1) * sizeof(int64_t));
    for (int64_t i = 0; i < m; ++i)
      if (row[i] >= 0) ++starts[row[i] + 1];
    for (int64_t r = 0; r < rows; ++r) starts[r + 1] += starts[r];
    // Each row's start moves to its end, which is the next one's start.
    for (int64_t i = 0; i < m; ++i)
      if (row[i] >= 0) members_.get()[starts[row[i]]++] = i;
    std::copy_backward(starts, starts + rows, starts + rows + 1);
    starts[0] = 0;
    std::fill_n(members_.get() + starts[rows], kRowsAhead, 0);
  }
  const int64_t* starts() const { return starts_.get(); }
  const int64_t* members() const { return members_.get(); }

 private:
  Scratch<int64_t> starts_, members_;
};

template <class T>
using Kernel = void (*)(const RowGroups<T>&, int64_t, int64_t);

template <class T>
void run(Kernel<T> kernel, const RowGroups<T>& groups, int64_t count) {
  const int64_t row = std::max<int64_t>(1, groups.cols * static_cast<int64_t>(sizeof(T)));
  const int64_t members = groups.starts[count];
  // By what is read and written in all, as if groups were alike.
  const int64_t bytes = (members + count) * row;
  const int64_t step = std::clamp<int64_t>(count * kTaskBytes / std::max<int64_t>(1, bytes), 1,
                                           std::max<int64_t>(1, count));
  parallel_for(ceil_div(count, step), kNsPerByte * static_cast<double>(bytes), [&](int64_t task) {
    kernel(groups, task * step, std::min(count, (task + 1) * step));
  });
}

template <class T>
bool streams_rows(const T* y, int64_t rows, int64_t cols) {
  return sizeof(T) >= 4 && streams({y}, rows * cols, cols);
}

int64_t end_of(const Bags& bags, int64_t b) {
  return b + 1 < bags.count ? bags.starts[b + 1] : bags.m;
}

// The bag of each entry.
void name_bags(const Bags& bags, int64_t* bag) {
  for (int64_t b = 0; b < bags.count; ++b)
    std::fill(bag + bags.starts[b], bag + end_of(bags, b), b);
}

// The bags' entries that count, where each bag begins among them, and the bag of each where that is
// asked for.
template <class T>
struct Entries {
  Scratch<int64_t> row, starts, bag;
  Scratch<T> weight;
  bool inside;

  Entries(const Bags& bags, const T* weights, bool of_bags)
      : row(static_cast<size_t>(bags.m + kRowsAhead)),
        starts(static_cast<size_t>(bags.count + 1)),
        bag(static_cast<size_t>(of_bags ? bags.m : 0)),
        weight(static_cast<size_t>(weights ? bags.m : 0)) {
    inside = checked_copy(bags.index, bags.m, row.get());
    if (!inside) return;
    if (bags.padding < 0)
      take_all(bags, weights, of_bags);
    else
      take_those_that_count(bags, weights, of_bags);
    std::fill_n(row.get() + count(bags), kRowsAhead, 0);
  }
  int64_t count(const Bags& bags) const { return starts.get()[bags.count]; }

 private:
  void take_all(const Bags& bags, const T* weights, bool of_bags) {
    std::copy_n(bags.starts, bags.count, starts.get());
    starts.get()[bags.count] = bags.m;
    if (weights) std::copy_n(weights, bags.m, weight.get());
    if (of_bags) name_bags(bags, bag.get());
  }
  // `row` is written in place: entry `kept` never stands behind the one that is read.
  void take_those_that_count(const Bags& bags, const T* weights, bool of_bags) {
    int64_t kept = 0;
    for (int64_t b = 0; b < bags.count; ++b) {
      starts.get()[b] = kept;
      for (int64_t i = bags.starts[b], end = end_of(bags, b); i < end; ++i) {
        const int64_t at = row.get()[i];
        if (at == bags.padding) continue;
        row.get()[kept] = at;
        if (of_bags) bag.get()[kept] = b;
        if (weights) weight.get()[kept] = weights[i];
        ++kept;
      }
    }
    starts.get()[bags.count] = kept;
  }
};

template <class T>
T quotient(T x, double divisor) {
  return rounded<T>(widened(x) / divisor);
}

}  // namespace

template <class T>
bool add_rows(const Lines& s, const T* start, const T* x, const Index& index, int64_t skipped,
              bool mean, T* y) {
  Scratch<int64_t> row(static_cast<size_t>(s.m));
  if (!checked_copy(index, s.m, row.get())) return false;
  if (skipped >= 0)
    for (int64_t i = 0; i < s.m; ++i)
      if (row.get()[i] == skipped) row.get()[i] = -1;
  const Grouping by_row(row.get(), s.m, s.n);
  for (int64_t o = 0; o < s.outer; ++o) {
    const int64_t to = o * s.n * s.inner;
    const RowGroups<T> groups{x + o * s.m * s.inner,
                              s.inner,
                              by_row.starts(),
                              by_row.members(),
                              nullptr,
                              start ? start + to : nullptr,
                              mean,
                              streams_rows(y + to, s.n, s.inner),
                              y + to,
                              nullptr};
    run(g_variants.of<T>().sum, groups, s.n);
  }
  return true;
}

template <class T>
bool largest_rows(int64_t m, int64_t cols, const T* x, const Index& index, T* y, int64_t* from) {
  Scratch<int64_t> row(static_cast<size_t>(m));
  if (!checked_copy(index, m, row.get())) return false;
  const Grouping groups(row.get(), m, index.n);
  run(g_variants.of<T>().largest,
      {x, cols, groups.starts(), groups.members(), nullptr, nullptr, false, false, y, from},
      index.n);
  return true;
}

bool bags_are_whole(const Bags& bags) {
  int64_t before = 0;
  for (int64_t b = 0; b < bags.count; ++b) {
    if (bags.starts[b] < before || (b == 0 && bags.starts[b] != 0)) return false;
    before = bags.starts[b];
  }
  return before <= bags.m;
}

template <class T>
bool bag_forward(const Bags& bags, BagMode mode, int64_t cols, const T* table, const T* weights,
                 T* y, int64_t* from) {
  const Entries<T> entries(bags, weights, false);
  if (!entries.inside) return false;
  const auto& kernels = g_variants.of<T>();
  run(mode == BagMode::max ? kernels.largest : kernels.sum,
      {table, cols, entries.starts.get(), entries.row.get(),
       weights ? entries.weight.get() : nullptr, nullptr, mode == BagMode::mean,
       streams_rows(y, bags.count, cols), y, from},
      bags.count);
  return true;
}

template <class T>
bool bag_backward(const Bags& bags, BagMode mode, int64_t cols, const T* grad, const T* weights,
                  bool by_frequency, T* y) {
  const Entries<T> entries(bags, weights, true);
  if (!entries.inside) return false;
  const int64_t m = entries.count(bags), rows = bags.index.n;
  const Grouping entry(entries.row.get(), m, rows);
  // What a row of the gradient is multiplied by, where that is not 1, and which row it is.
  const bool weighted = weights || mode == BagMode::mean;
  Scratch<T> factors(static_cast<size_t>(weighted ? m : 0));
  Scratch<int64_t> bag(static_cast<size_t>(m + kRowsAhead));
  for (int64_t k = 0; k < m; ++k) {
    const int64_t i = entry.members()[k], b = entries.bag.get()[i];
    bag.get()[k] = b;
    if (!weighted) continue;
    const T weight = weights ? entries.weight.get()[i] : rounded<T>(1.0);
    const int64_t size = entries.starts.get()[b + 1] - entries.starts.get()[b];
    factors.get()[k] = mode == BagMode::mean ? quotient(weight, static_cast<double>(size)) : weight;
  }
  std::fill_n(bag.get() + m, kRowsAhead, 0);
  run(g_variants.of<T>().sum,
      {grad, cols, entry.starts(), bag.get(), weighted ? factors.get() : nullptr, nullptr,
       by_frequency, streams_rows(y, rows, cols), y, nullptr},
      rows);
  return true;
}

template <class T>
bool bag_weights_backward(const Bags& bags, int64_t cols, const T* grad, const T* table, T* y) {
  Scratch<int64_t> row(static_cast<size_t>(bags.m)), bag(static_cast<size_t>(bags.m));
  if (!checked_copy(bags.index, bags.m, row.get())) return false;
  name_bags(bags, bag.get());
  for (int64_t i = 0; i < bags.m; ++i)
    if (row.get()[i] == bags.padding) row.get()[i] = -1;
  const int64_t step = std::max<int64_t>(1, kTaskBytes / std::max<int64_t>(1, cols * 8));
  parallel_for(ceil_div(bags.m, step), 0.2 * static_cast<double>(bags.m * cols), [&](int64_t task) {
    const int64_t first = task * step, count = std::min(step, bags.m - first);
    g_variants.of<T>().dots(grad, bag.get() + first, table, row.get() + first, count, cols,
                            y + first);
  });
  return true;
}

#define TW_EMBEDDING(T)                                                                       \
  template bool add_rows(const Lines&, const T*, const T*, const Index&, int64_t, bool, T*);  \
  template bool largest_rows(int64_t, int64_t, const T*, const Index&, T*, int64_t*);         \
  template bool bag_forward(const Bags&, BagMode, int64_t, const T*, const T*, T*, int64_t*); \
  template bool bag_backward(const Bags&, BagMode, int64_t, const T*, const T*, bool, T*);    \
  template bool bag_weights_backward(const Bags&, int64_t, const T*, const T*, T*);
TW_EMBEDDING(float)
TW_EMBEDDING(double)
TW_EMBEDDING(bfloat16)
#undef TW_EMBEDDING

}  // namespace tilework
