#include "kernels/index/index.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "base/widen.h"
#include "kernels/index/order.h"

namespace tilework {
namespace {

// --- order ---

constexpr int64_t kTaskElements = 1 << 13;

template <class T>
using ItemOf = std::conditional_t<sizeof(order::Key<T>) == 4, order::Packed, order::Wide>;

// Calls body<Item>() with what holds a T's key and an index below n.
template <class T, class Body>
void with_item(int64_t n, Body body) {
  if (n <= INT64_C(0xffffffff))
    body.template operator()<ItemOf<T>>();
  else
    body.template operator()<order::Wide>();
}

// run(row, scratch) for each row of the axis, each with room for `room` items.
template <class Item, class Run>
void for_each_row(const AxisShape& s, int64_t room, Run run) {
  const int64_t rows = s.outer * s.inner;
  const int64_t step = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, s.n));
  parallel_for(ceil_div(rows, step), sort_cost_ns(s), [&](int64_t task) {
    Scratch<Item> scratch(static_cast<size_t>(room));
    for (int64_t row = task * step; row < std::min(rows, (task + 1) * step); ++row)
      run(row, scratch.get());
  });
}

// Of `count` items, the elements and their indices.
template <class T, class Item>
void write_out(const Item* items, int64_t count, int64_t stride, const T* x, T* values,
               int64_t* indices) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t at = items[i].index();
    values[i * stride] = x[at * stride];
    indices[i * stride] = at;
  }
}

// keys[j] = the key of x[j * stride], turned over for a descending order.
template <class K, class T>
void make_keys(const T* x, int64_t stride, int64_t count, bool descending, K* keys) {
  const order::Key<T> turn = descending ? ~order::Key<T>(0) : 0;
  if (stride == 1)
    for (int64_t j = 0; j < count; ++j) keys[j] = order::key_of(x[j]) ^ turn;
  else
    for (int64_t j = 0; j < count; ++j) keys[j] = order::key_of(x[j * stride]) ^ turn;
}

// --- indices ---

// Another thread may write indices while they are read, so those that were checked must be the very
// ones that are used: each is read once, or a task works from a copy.

// Gives indices one by one, each read once, and says whether one was outside.
class Reader {
 public:
  Reader(const int64_t* index, int64_t n) : index_(index), n_(static_cast<uint64_t>(n)) {}
  // -1 for one outside.
  int64_t operator[](int64_t i) {
    const int64_t at = __atomic_load_n(index_ + i, __ATOMIC_RELAXED);
    if (static_cast<uint64_t>(at) < n_) return at;
    all_inside_ = false;
    return -1;
  }
  bool all_inside() const { return all_inside_; }

 private:
  const int64_t* index_;
  const uint64_t n_;
  bool all_inside_ = true;
};

// --- sums ---

// Sums that no chain of more than this many additions makes are taken in T itself.
constexpr int64_t kShortChain = 32;

inline void add_to(bfloat16& to, bfloat16 x) { to = to_bfloat16(to_float(to) + to_float(x)); }
template <class T>
void add_to(T& to, T x) {
  to += x;
}

// Whether no place of `size` is met more than `most` times; visit(meet) meets them all.
template <class Visit>
bool chains_are_short(int64_t size, int64_t most, Visit visit) {
  Scratch<uint8_t> counts(static_cast<size_t>(size));
  uint8_t* met = counts.get();
  std::memset(met, 0, static_cast<size_t>(size));
  bool longer = false;
  visit([&](int64_t at) {
    longer |= met[at] >= most;
    met[at] = static_cast<uint8_t>(met[at] + (met[at] < most));
  });
  return !longer;
}
template <class T>
constexpr int64_t kLongestChain = std::is_same_v<T, bfloat16> ? 1 : kShortChain;

// visit(add): add(i, at) for each element i of the source and the element of y that it belongs to.
template <class T, class Visit>
void add_in_double(const T* x, int64_t size, T* y, Visit visit) {
  Scratch<double> sums(static_cast<size_t>(size));
  double* s = sums.get();
  std::memset(s, 0, static_cast<size_t>(size) * sizeof(double));
  visit([&](int64_t i, int64_t at) { s[at] += widened(x[i]); });
  for (int64_t i = 0; i < size; ++i) y[i] = rounded<T>(s[i]);
}
template <class T, class Visit>
void add_directly(const T* x, int64_t size, T* y, Visit visit) {
  std::memset(static_cast<void*>(y), 0, static_cast<size_t>(size) * sizeof(T));
  visit([&](int64_t i, int64_t at) { add_to(y[at], x[i]); });
}

// Few rows beside those of y: each destination's own are found by sorting, and summed together.
template <class T>
void index_add_sorted(int64_t rows, int64_t cols, int64_t count, const T* x, Reader& read, T* y) {
  std::memset(static_cast<void*>(y), 0, static_cast<size_t>(rows * cols) * sizeof(T));
  Scratch<order::Wide> room(static_cast<size_t>(2 * count));
  Scratch<double> sums(static_cast<size_t>(cols));
  order::Wide* items = room.get();
  int64_t inside = 0;
  for (int64_t i = 0; i < count; ++i)
    if (const int64_t row = read[i]; row >= 0) items[inside++] = {static_cast<uint64_t>(row), i};
  order::sort_items(items, items + count, inside);
  for (int64_t i = 0; i < inside;) {
    const uint64_t row = items[i].key();
    std::fill_n(sums.get(), cols, 0.0);
    for (; i < inside && items[i].key() == row; ++i)
      for (int64_t j = 0; j < cols; ++j) sums.get()[j] += widened(x[items[i].index() * cols + j]);
    T* to = y + static_cast<int64_t>(row) * cols;
    for (int64_t j = 0; j < cols; ++j) to[j] = rounded<T>(sums.get()[j]);
  }
}

// --- along an axis ---

int64_t product(const int64_t* size, int from, int to) {
  int64_t n = 1;
  for (int i = from; i < to; ++i) n *= size[i];
  return n;
}

// row(first, base): the index's run along its last axis begins at `first`, and element 0 of the
// gathered axis for it at `base`.
template <class Row>
void for_each_run(const GatherShape& s, int64_t begin, int64_t end, Row row) {
  const int last = s.axes - 1;
  int64_t stride[GatherShape::kMaxAxes], place[GatherShape::kMaxAxes], base = 0;
  for (int64_t i = last, step = 1; i >= 0; step *= s.size[i], --i)
    stride[i] = i == s.axis ? 0 : step;
  for (int64_t i = last - 1, rest = begin; i >= 0; rest /= s.index_size[i], --i) {
    place[i] = rest % s.index_size[i];
    base += place[i] * stride[i];
  }
  for (int64_t r = begin; r < end;) {
    // As far as the innermost of the outer axes goes: short runs take less time than a carry.
    const int64_t run = last == 0 ? 1 : std::min(end - r, s.index_size[last - 1] - place[last - 1]);
    const int64_t step = last == 0 ? 0 : stride[last - 1];
    for (const int64_t stop = r + run; r < stop; ++r, base += step)
      row(r * s.index_size[last], base);
    if (last > 0) place[last - 1] += run;
    for (int i = last - 1; i >= 0 && place[i] == s.index_size[i]; --i) {
      base -= place[i] * stride[i];
      place[i] = 0;
      if (i > 0) {
        base += stride[i - 1];
        ++place[i - 1];
      }
    }
  }
}

// How far apart elements of the gathered axis are, and those of the run.
struct Steps {
  int64_t along, run;
  explicit Steps(const GatherShape& s)
      : along(product(s.size, s.axis + 1, s.axes)), run(s.axis == s.axes - 1 ? 0 : 1) {}
};

constexpr int64_t kChecked = 2048;  // indices of a task: L1 keeps them

template <class T>
bool gather_of(const GatherShape& s, const T* x, const int64_t* index, T* y) {
  const int last = s.axes - 1;
  const int64_t runs = product(s.index_size, 0, last), n = s.index_size[last];
  if (n == 0) return true;
  const int64_t block = std::max<int64_t>(1, kChecked / n);  // runs a task, or
  const int64_t pieces = ceil_div(n, kChecked);              // tasks a run
  const Steps step(s);
  std::atomic<bool> outside{false};
  const int64_t tasks = ceil_div(runs, block) * pieces;
  parallel_for(tasks, 2.0 * static_cast<double>(runs * n), [&](int64_t task) {
    const int64_t begin = task / pieces * block, end = std::min(runs, begin + block);
    const int64_t from = task % pieces * kChecked, count = std::min(kChecked, n - from);
    int64_t checked[kChecked];
    std::copy_n(index + begin * n + from, (end - begin) * count, checked);
    if (first_outside(checked, (end - begin) * count, s.size[s.axis]) >= 0) {
      outside.store(true, std::memory_order_relaxed);
      return;
    }
    for_each_run(s, begin, end, [&](int64_t first, int64_t base) {
      const int64_t* at = checked + (first - begin * n);
      T* to = y + first + from;
      if (step.along == 1)
        for (int64_t j = 0; j < count; ++j) to[j] = x[base + at[j]];
      else if (step.run == 0)
        for (int64_t j = 0; j < count; ++j) to[j] = x[base + at[j] * step.along];
      else
        for (int64_t j = 0; j < count; ++j) to[j] = x[base + at[j] * step.along + from + j];
    });
  });
  return !outside.load();
}

}  // namespace

double sort_cost_ns(const AxisShape& s) {
  return 10.0 * static_cast<double>(s.outer * s.n) * static_cast<double>(s.inner);
}

template <class T>
void sort_axis(const AxisShape& s, bool descending, const T* x, T* values, int64_t* indices) {
  if (s.n == 0) return;
  with_item<T>(s.n, [&]<class Item>() {
    for_each_row<Item>(s, 2 * s.n, [&](int64_t row, Item* items) {
      const int64_t at = row / s.inner * s.n * s.inner + row % s.inner;
      typename Item::KeyType keys[order::kBlock];
      for (int64_t i = 0; i < s.n; i += order::kBlock) {
        const int64_t count = std::min(order::kBlock, s.n - i);
        make_keys(x + at + i * s.inner, s.inner, count, descending, keys);
        for (int64_t j = 0; j < count; ++j) items[i + j] = Item(keys[j], i + j);
      }
      order::sort_items(items, items + s.n, s.n);
      write_out(items, s.n, s.inner, x + at, values + at, indices + at);
    });
  });
}

template <class T>
void topk_axis(const AxisShape& s, int64_t k, bool largest, const T* x, T* values,
               int64_t* indices) {
  if (k == 0) return;
  with_item<T>(s.n, [&]<class Item>() {
    const int64_t candidates = order::candidates(s.n, k);
    for_each_row<Item>(s, candidates + k, [&](int64_t row, Item* items) {
      const int64_t outer = row / s.inner, inner = row % s.inner;
      const T* from = x + outer * s.n * s.inner + inner;
      const auto keys = [&](int64_t i, int64_t count, typename Item::KeyType* to) {
        make_keys(from + i * s.inner, s.inner, count, largest, to);
      };
      order::first_of(s.n, k, items, keys);
      order::sort_items(items, items + candidates, k);
      const int64_t to = outer * k * s.inner + inner;
      write_out(items, k, s.inner, from, values + to, indices + to);
    });
  });
}

int64_t first_outside(const int64_t* index, int64_t count, int64_t n) {
  const auto outside = [=](int64_t i) {
    return static_cast<uint64_t>(i) >= static_cast<uint64_t>(n);
  };
  // The sign of i, or of n - 1 - i where i has none: vectors of 64 bits have no unsigned order, and
  // a way out would leave no vectors.
  uint64_t signs = 0;
  const auto most = static_cast<uint64_t>(n) - 1;
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<uint64_t>(index[i]);
    signs |= at | (most - at);
  }
  return signs >> 63 ? std::find_if(index, index + count, outside) - index : -1;
}

bool gather(const GatherShape& shape, size_t itemsize, const void* x, const int64_t* index,
            void* y) {
  const auto of = [&]<class T>(T) {
    return gather_of(shape, static_cast<const T*>(x), index, static_cast<T*>(y));
  };
  switch (itemsize) {
    case 1:
      return of(uint8_t());
    case 2:
      return of(uint16_t());
    case 4:
      return of(uint32_t());
    default:
      return of(uint64_t());
  }
}

template <class T>
bool scatter_add(const GatherShape& s, const T* x, const int64_t* index, T* y) {
  const int last = s.axes - 1;
  const int64_t runs = product(s.index_size, 0, last), n = s.index_size[last];
  const Steps step(s);
  Reader read(index, s.size[s.axis]);
  const auto visit = [&](auto add) {
    for_each_run(s, 0, runs, [&](int64_t first, int64_t base) {
      for (int64_t j = 0; j < n; ++j)
        if (const int64_t to = read[first + j]; to >= 0)
          add(first + j, base + to * step.along + j * step.run);
    });
  };
  const int64_t size = product(s.size, 0, s.axes);
  const auto meets = [&](auto meet) { visit([&](int64_t, int64_t at) { meet(at); }); };
  if (std::is_same_v<T, double> || s.index_size[s.axis] <= kLongestChain<T> ||
      chains_are_short(size, kLongestChain<T>, meets))
    add_directly(x, size, y, visit);
  else
    add_in_double(x, size, y, visit);
  return read.all_inside();
}

template <class T>
bool index_add(int64_t rows, int64_t cols, int64_t count, const T* x, const int64_t* index, T* y) {
  Reader read(index, rows);
  const auto visit = [&](auto add) {
    for (int64_t i = 0; i < count; ++i)
      if (const int64_t row = read[i]; row >= 0)
        for (int64_t j = 0; j < cols; ++j) add(i * cols + j, row * cols + j);
  };
  const auto meets = [&](auto meet) {
    for (int64_t i = 0; i < count; ++i)
      if (const int64_t row = read[i]; row >= 0) meet(row);
  };
  if (std::is_same_v<T, double> || count <= kLongestChain<T> ||
      chains_are_short(rows, kLongestChain<T>, meets))
    add_directly(x, rows * cols, y, visit);
  else if (count >= rows / 4)
    add_in_double(x, rows * cols, y, visit);
  else
    index_add_sorted(rows, cols, count, x, read, y);
  return read.all_inside();
}

#define TW_ORDERED(T)                                                      \
  template void sort_axis(const AxisShape&, bool, const T*, T*, int64_t*); \
  template void topk_axis(const AxisShape&, int64_t, bool, const T*, T*, int64_t*);
TW_ORDERED(float)
TW_ORDERED(double)
TW_ORDERED(bfloat16)
TW_ORDERED(int64_t)
TW_ORDERED(int32_t)
TW_ORDERED(uint32_t)
TW_ORDERED(uint8_t)
#undef TW_ORDERED

#define TW_ADDED(T)                                                            \
  template bool scatter_add(const GatherShape&, const T*, const int64_t*, T*); \
  template bool index_add(int64_t, int64_t, int64_t, const T*, const int64_t*, T*);
TW_ADDED(float)
TW_ADDED(double)
TW_ADDED(bfloat16)
#undef TW_ADDED

}  // namespace tilework
