#include "kernels/mask/mask.h"

#include <algorithm>
#include <cstring>

#include "base/arithmetic.h"
#include "base/element_width.h"
#include "base/thread_pool.h"

namespace tilework {
namespace {

constexpr int64_t kTask = 1 << 14;  // elements
constexpr double kNsEach = 0.5;

// --- where ---

// Axes of size 1 dropped, and neighbours made one that all three operands walk as one.
WhereShape merged(const WhereShape& s) {
  WhereShape m{};
  for (int i = 0; i < s.axes; ++i) {
    if (s.size[i] == 1) continue;
    const int64_t n = s.size[i];
    const int last = m.axes - 1;
    const bool one = last >= 0 && m.condition[last] == s.condition[i] * n &&
                     m.a[last] == s.a[i] * n && m.b[last] == s.b[i] * n;
    const int to = one ? last : m.axes++;
    m.size[to] = one ? m.size[to] * n : n;
    m.condition[to] = s.condition[i];
    m.a[to] = s.a[i];
    m.b[to] = s.b[i];
  }
  return m;
}

// Steps of 0 or of an element, known to the compiler: it then makes vectors of the loop.
template <class T, int kA, int kB>
void where_dense(const uint8_t* __restrict c, const T* __restrict a, const T* __restrict b,
                 int64_t n, T* __restrict y) {
  for (int64_t i = 0; i < n; ++i) {
    const T first = a[i * kA], second = b[i * kB];
    y[i] = c[i] ? first : second;
  }
}

template <class T>
void where_row(const char* c, int64_t c_step, const char* a, int64_t a_step, const char* b,
               int64_t b_step, int64_t n, T* y) {
  constexpr int64_t size = sizeof(T);
  const auto* mask = reinterpret_cast<const uint8_t*>(c);
  const auto *first = reinterpret_cast<const T*>(a), *second = reinterpret_cast<const T*>(b);
  if (c_step == 1 && a_step == size && b_step == size)
    return where_dense<T, 1, 1>(mask, first, second, n, y);
  if (c_step == 1 && a_step == 0 && b_step == size)
    return where_dense<T, 0, 1>(mask, first, second, n, y);
  if (c_step == 1 && a_step == size && b_step == 0)
    return where_dense<T, 1, 0>(mask, first, second, n, y);
  for (int64_t i = 0; i < n; ++i) {
    const bool holds = c[i * c_step] != 0;
    std::memcpy(y + i, holds ? a + i * a_step : b + i * b_step, sizeof(T));
  }
}

// --- under a mask ---

// Blocks of a mask, by tasks.
template <class Work>
void for_each_block(const Chosen& chosen, Work work) {
  constexpr int64_t step = kTask / Chosen::kBlock;
  parallel_for(ceil_div(chosen.blocks(), step), 2 * kNsEach * static_cast<double>(chosen.size()),
               [&](int64_t task) {
                 for (int64_t b = task * step; b < std::min(chosen.blocks(), (task + 1) * step);
                      ++b)
                   work(b, b * Chosen::kBlock, std::min(chosen.size(), (b + 1) * Chosen::kBlock));
               });
}

template <class T>
bool is_set(T x) {
  return x != T(0);
}
bool is_set(bfloat16 x) { return (x.bits & 0x7fff) != 0; }

}  // namespace

void where(size_t itemsize, const WhereShape& shape, const void* condition, const void* a,
           const void* b, void* y) {
  const WhereShape s = merged(shape);
  int64_t rows = 1, n = 1;
  if (s.axes > 0) n = s.size[s.axes - 1];
  for (int i = 0; i + 1 < s.axes; ++i) rows *= s.size[i];
  if (rows == 0 || n == 0) return;
  const int64_t c_step = s.axes ? s.condition[s.axes - 1] : 0;
  const int64_t a_step = s.axes ? s.a[s.axes - 1] : 0, b_step = s.axes ? s.b[s.axes - 1] : 0;
  const int64_t pieces = ceil_div(n, kTask), step = std::max<int64_t>(1, kTask / n);
  with_width(itemsize, [&]<class T>(T) {
    const double cost = kNsEach * static_cast<double>(rows * n);
    parallel_for(ceil_div(rows, step) * pieces, cost, [&](int64_t task) {
      const int64_t from = task % pieces * kTask, count = std::min(kTask, n - from);
      const int64_t begin = task / pieces * step, end = std::min(rows, begin + step);
      for (int64_t r = begin; r < end; ++r) {
        int64_t at_c = from * c_step, at_a = from * a_step, at_b = from * b_step;
        for (int64_t i = s.axes - 1, rest = r; i-- > 0; rest /= s.size[i]) {
          const int64_t place = rest % s.size[i];
          at_c += place * s.condition[i];
          at_a += place * s.a[i];
          at_b += place * s.b[i];
        }
        where_row(static_cast<const char*>(condition) + at_c, c_step,
                  static_cast<const char*>(a) + at_a, a_step, static_cast<const char*>(b) + at_b,
                  b_step, count, static_cast<T*>(y) + r * n + from);
      }
    });
  });
}

template <class T>
Chosen::Chosen(const T* x, int64_t n)
    : n_(n),
      blocks_(ceil_div(n, kBlock)),
      mask_(static_cast<size_t>(n)),
      before_(static_cast<size_t>(blocks_ + 1)) {
  uint8_t* mask = mask_.get();
  int64_t* before = before_.get();
  for_each_block(*this, [&](int64_t b, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) mask[i] = is_set(x[i]);
    int32_t count = 0;
    for (int64_t i = begin; i < end; ++i) count += mask[i];
    before[b + 1] = count;
  });
  before[0] = 0;
  for (int64_t b = 0; b < blocks_; ++b) before[b + 1] += before[b];
}
template Chosen::Chosen(const uint8_t*, int64_t);
template Chosen::Chosen(const uint32_t*, int64_t);
template Chosen::Chosen(const uint64_t*, int64_t);
template Chosen::Chosen(const float*, int64_t);
template Chosen::Chosen(const double*, int64_t);
template Chosen::Chosen(const bfloat16*, int64_t);

void masked_select(size_t itemsize, const Chosen& chosen, const void* x, void* y) {
  const uint8_t* mask = chosen.mask();
  with_width(itemsize, [&]<class T>(T) {
    for_each_block(chosen, [&](int64_t b, int64_t begin, int64_t) {
      const T* from = static_cast<const T*>(x) + begin;
      T* to = static_cast<T*>(y) + chosen.before(b);
      const int64_t count = chosen.before(b + 1) - chosen.before(b);
      // Every element is written, where the next that is chosen overwrites it: no branch, which
      // would be missed for every other one. It ends with the last: the next block's begins there.
      for (int64_t i = 0, k = 0; k < count; ++i) {
        to[k] = from[i];
        k += mask[begin + i];
      }
    });
  });
}

void masked_scatter(size_t itemsize, const Chosen& chosen, const void* x, const void* source,
                    void* y) {
  const uint8_t* mask = chosen.mask();
  with_width(itemsize, [&]<class T>(T) {
    for_each_block(chosen, [&](int64_t b, int64_t begin, int64_t end) {
      const T* before = x ? static_cast<const T*>(x) + begin : nullptr;
      const T* from = static_cast<const T*>(source) + chosen.before(b);
      T* to = static_cast<T*>(y) + begin;
      const int64_t count = chosen.before(b + 1) - chosen.before(b), n = end - begin;
      int64_t i = 0;
      for (int64_t k = 0; k < count; ++i) {
        // By bits: a branch would be missed for every other element.
        const T there = before ? before[i] : T(0), chosen = static_cast<T>(-mask[begin + i]);
        to[i] = static_cast<T>((from[k] & chosen) | (there & ~chosen));
        k += mask[begin + i];
      }
      if (before)
        std::copy(before + i, before + n, to + i);
      else
        std::fill(to + i, to + n, T(0));
    });
  });
}

void coordinates(const Chosen& chosen, int axes, const intptr_t* size, int64_t step,
                 int64_t axis_step, int64_t* y) {
  const uint8_t* mask = chosen.mask();
  const int64_t row = axes ? size[axes - 1] : 1;
  for_each_block(chosen, [&](int64_t b, int64_t begin, int64_t) {
    const int64_t count = chosen.before(b + 1) - chosen.before(b);
    int64_t places[Chosen::kBlock + 1];
    for (int64_t i = begin, k = 0; k < count; ++i) {
      places[k] = i;
      k += mask[i];
    }
    int64_t* to = y + chosen.before(b) * step;
    int64_t first = 0, place[WhereShape::kMaxAxes] = {};  // of the row that one lies in
    for (int64_t k = 0, end = 0; k < count; ++k, to += step) {
      if (places[k] >= end) {
        int64_t rest = places[k] / row;
        first = rest * row;
        end = first + row;
        for (int d = axes - 1; d-- > 0; rest /= size[d]) place[d] = rest % size[d];
      }
      for (int d = 0; d + 1 < axes; ++d) to[d * axis_step] = place[d];
      if (axes) to[(axes - 1) * axis_step] = places[k] - first;
    }
  });
}

}  // namespace tilework
