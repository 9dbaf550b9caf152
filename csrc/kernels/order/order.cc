#include "kernels/order/order.h"

#include <algorithm>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "kernels/order/items.h"

namespace tilework {
namespace {

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

}  // namespace tilework
