// Reductions into the places that an index names: scatter_add and its like.
//
// A task owns a part of the result: some of `outer`, and a block of columns. Its accumulators, of
// double or int64_t, are few enough for L2, and take the sources in the order of the list, so that
// nothing depends on the threads. Where they would not fit, sums of float are taken where they
// lie, and taken again in double if one of them turns out to be a long chain.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <type_traits>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "base/widen.h"
#include "kernels/index/index.h"

namespace tilework {
namespace reducing {

// Gives indices, counted from the front, each read once; 0 for one outside, and says so.
class Reader {
 public:
  explicit Reader(const Index& index)
      : n_(static_cast<uint64_t>(index.n)), wrap_(index.wraps ? index.n : 0) {}
  int64_t operator()(const int64_t* p) {
    const int64_t at = __atomic_load_n(p, __ATOMIC_RELAXED);
    return static_cast<uint64_t>(at) < n_ ? at : from_end(at);
  }
  bool all_inside() const { return !outside_; }

 private:
  int64_t from_end(int64_t at) {
    at += wrap_;
    const bool inside = static_cast<uint64_t>(at) < n_;
    outside_ |= !inside;
    return inside ? at : 0;
  }

  uint64_t n_;
  int64_t wrap_;
  bool outside_ = false;
};

// --- one step ---

struct Add {
  template <class A>
  static A neutral() {
    return A(0);
  }
  template <class A>
  static A apply(A a, A b) {
    if constexpr (std::is_integral_v<A>)
      return static_cast<A>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
    else
      return a + b;
  }
};
struct Multiply {
  template <class A>
  static A neutral() {
    return A(1);
  }
  template <class A>
  static A apply(A a, A b) {
    if constexpr (std::is_integral_v<A>)
      return static_cast<A>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
    else
      return a * b;
  }
};
template <class A>
constexpr A lowest() {
  if constexpr (std::is_integral_v<A>)
    return std::numeric_limits<A>::min();
  else
    return -std::numeric_limits<A>::infinity();
}
template <class A>
constexpr A highest() {
  if constexpr (std::is_integral_v<A>)
    return std::numeric_limits<A>::max();
  else
    return std::numeric_limits<A>::infinity();
}
// NaN stays, once it is there. It is asked for apart, where the answer is foreseen: the comparison
// of numbers becomes an instruction, which no branch that is missed for every other element would.
struct Largest {
  template <class A>
  static A neutral() {
    return lowest<A>();
  }
  template <class A>
  static A apply(A a, A b) {
    const A larger = a > b ? a : b;
    return __builtin_expect(a != a, 0) ? a : larger;
  }
};
struct Smallest {
  template <class A>
  static A neutral() {
    return highest<A>();
  }
  template <class A>
  static A apply(A a, A b) {
    const A smaller = a < b ? a : b;
    return __builtin_expect(a != a, 0) ? a : smaller;
  }
};

// --- elements as accumulators, and back ---

template <class A, class T>
inline A accumulator_of(T x) {
  return static_cast<A>(wide(x));
}
template <class T, class A>
inline T element_of(A a) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return to_bfloat16(static_cast<float>(a));
  else
    return static_cast<T>(a);
}

// --- the reduction ---

// Sums that no chain of more than this many additions makes are taken in float itself.
inline constexpr unsigned kShortChain = 32;        // a power of two
inline constexpr int64_t kRoomBytes = 512 << 10;   // of a task's accumulators: L2 keeps them
inline constexpr int64_t kLine = 16, kBlock = 64;  // columns of a block, at least and at most

template <class T>
struct Reducing {
  const Lines& s;
  Combine how;
  bool include_self;
  const T* start;
  const T* source;
  const Index& index;
  bool same;
  T* y;

  static constexpr bool kFloat = !std::is_integral_v<T>;
  using Wide = std::conditional_t<kFloat, double, int64_t>;

  bool run() const {
    if (s.chosen() == 0 || s.n == 0) {
      begin_in_place(0, s.outer);
      return s.chosen() == 0;
    }
    const bool fits = s.n * std::min(s.inner, kLine) * 8 <= kRoomBytes;
    if constexpr (std::is_same_v<T, float>) {
      if (!fits && how == Combine::sum && include_self) return sums_where_they_lie();
      const bool exact = how == Combine::largest || how == Combine::smallest;
      if (!fits && exact && include_self) return with_op<float>(true);
    }
    return with_op<Wide>(!fits && std::is_same_v<T, Wide> && include_self && how != Combine::mean);
  }

 private:
  // A block of columns of one of `outer`: those from `first` on.
  struct Part {
    int64_t o, first, cols;
  };

  int64_t columns(bool whole) const {
    if (whole) return s.inner;
    const int64_t room = kRoomBytes / 8 / s.n / kLine * kLine;
    return std::min(s.inner, std::clamp(room, kLine, kBlock));
  }

  // whole: the accumulators are y itself.
  template <class A>
  bool with_op(bool whole) const {
    switch (how) {
      case Combine::product:
        return reduce<Wide, Multiply>(whole && std::is_same_v<A, Wide>);
      case Combine::largest:
        return reduce<A, Largest>(whole);
      case Combine::smallest:
        return reduce<A, Smallest>(whole);
      default:
        return reduce<Wide, Add>(whole && std::is_same_v<A, Wide>);
    }
  }

  template <class Work>
  bool for_each_part(int64_t width, Work work) const {
    const int64_t blocks = ceil_div(s.inner, width), parts = s.outer * blocks;
    const int64_t step = std::max<int64_t>(1, (1 << 13) / ((s.m + s.n) * width));
    std::atomic<bool> good{true};
    parallel_for(ceil_div(parts, step), index_cost_ns(s.chosen()), [&](int64_t task) {
      Reader read(index);
      work(task * step, std::min(parts, (task + 1) * step), [&](int64_t item, auto each) {
        const int64_t first = item % blocks * width;
        each(Part{item / blocks, first, std::min(width, s.inner - first)}, read);
      });
      if (!read.all_inside()) good.store(false, std::memory_order_relaxed);
    });
    return good.load();
  }

  // meet(at, source's element) for each place of the part, in order; rows lie `row` apart.
  template <class Meet>
  void visit(const Part& p, Reader& reader, int64_t row, Meet meet) const {
    Reader read = reader;  // in registers, and so the length
    const int64_t m = s.m;
    if (s.inner == 1) {
      const int64_t* list = index.of + (same ? 0 : p.o * s.m);
      const T* from = source + p.o * s.m;
#pragma GCC unroll 4
      for (int64_t i = 0; i < m; ++i) meet(read(list + i), from[i]);
    } else {
      for (int64_t i = 0; i < m; ++i) {
        const int64_t at = (p.o * m + i) * s.inner + p.first;
        for (int64_t j = 0; j < p.cols; ++j)
          meet(read(index.of + at + j) * row + j, source[at + j]);
      }
    }
    reader = read;
  }

  template <class A, class Op>
  bool reduce(bool whole) const {
    const int64_t width = columns(whole);
    const bool counts = how == Combine::mean || !include_self;
    return for_each_part(width, [&](int64_t begin, int64_t end, auto part_of) {
      const int64_t room = whole ? 0 : s.n * width;
      Scratch<A> own(static_cast<size_t>(room));
      Scratch<uint32_t> met(static_cast<size_t>(counts ? room : 0));
      if (whole) begin_in_place(begin, end);
      for (int64_t item = begin; item < end; ++item)
        part_of(item, [&](const Part& p, Reader& read) {
          if constexpr (std::is_same_v<A, T>)
            if (whole)
              return visit(p, read, s.inner, [to = y + p.o * s.n * s.inner](int64_t at, T x) {
                to[at] = Op::apply(to[at], x);
              });
          begin_part(p, Op::template neutral<A>(), own.get());
          if (counts) {
            std::memset(met.get(), 0, static_cast<size_t>(s.n * p.cols) * sizeof(uint32_t));
            visit(p, read, p.cols, [acc = own.get(), met = met.get()](int64_t at, T x) {
              acc[at] = Op::apply(acc[at], accumulator_of<A>(x));
              ++met[at];
            });
          } else {
            visit(p, read, p.cols, [acc = own.get()](int64_t at, T x) {
              acc[at] = Op::apply(acc[at], accumulator_of<A>(x));
            });
          }
          end_part(p, own.get(), counts ? met.get() : nullptr);
        });
    });
  }

  // What y begins with, of [first, end) of `outer`.
  void begin_in_place(int64_t first, int64_t end) const {
    const int64_t size = s.n * s.inner, count = (end - first) * size;
    T* to = y + first * size;
    if (start)
      std::copy_n(start + first * size, count, to);
    else
      std::memset(static_cast<void*>(to), 0, static_cast<size_t>(count) * sizeof(T));
  }

  // each(row of x, row of accumulators, their length) for the rows of a part.
  template <class Each>
  void for_each_row(const Part& p, Each each) const {
    const int64_t base = p.o * s.n * s.inner + p.first;
    if (p.cols == s.inner) return each(base, int64_t{0}, s.n * p.cols);
    for (int64_t i = 0; i < s.n; ++i) each(base + i * s.inner, i * p.cols, p.cols);
  }

  // Not once for every operation: both would take most of the code.
  template <class A>
  __attribute__((noinline)) void begin_part(const Part& p, A neutral, A* acc) const {
    if (!start || !include_self) {
      std::fill_n(acc, s.n * p.cols, include_self ? A(0) : neutral);
      return;
    }
    for_each_row(p, [&](int64_t x, int64_t at, int64_t count) {
      for (int64_t j = 0; j < count; ++j) acc[at + j] = accumulator_of<A>(start[x + j]);
    });
  }

  template <class A>
  __attribute__((noinline)) void end_part(const Part& p, const A* acc, const uint32_t* met) const {
    for_each_row(p, [&](int64_t to, int64_t at, int64_t count) {
      if (!met)
        for (int64_t j = 0; j < count; ++j) y[to + j] = element_of<T>(acc[at + j]);
      else if (how == Combine::mean)
        end_row(to, count, met + at, [&](int64_t j, uint32_t sources) {
          const uint32_t terms = sources + include_self;
          return element_of<T>(acc[at + j] / static_cast<A>(terms + (terms == 0)));
        });
      else
        end_row(to, count, met + at,
                [&](int64_t j, uint32_t) { return element_of<T>(acc[at + j]); });
    });
  }

  // Both are made, and one is chosen: a branch would be missed where few places are met.
  template <class Value>
  void end_row(int64_t to, int64_t count, const uint32_t* met, Value value) const {
    if (include_self || !start) {
      for (int64_t j = 0; j < count; ++j) y[to + j] = value(j, met[j]);
      return;
    }
    for (int64_t j = 0; j < count; ++j) {
      const T found = value(j, met[j]), before = start[to + j];
      y[to + j] = met[j] ? found : before;
    }
  }

  // In float, while it is counted how many come to each place. Counters are shared by several
  // places, so that L2 keeps them: a chain is then taken for longer than it is, which costs time
  // alone.
  bool sums_where_they_lie() const {
    const int64_t size = s.n * s.inner;
    int64_t counters = 1 << 12;
    while (counters < size && counters < s.m * s.inner / 8) counters *= 2;
    std::atomic<bool> longer{false};
    const bool good = for_each_part(s.inner, [&](int64_t begin, int64_t end, auto part_of) {
      Scratch<uint8_t> room(static_cast<size_t>(counters));
      for (int64_t item = begin; item < end; ++item)
        part_of(item, [&](const Part& p, Reader& read) {
          begin_in_place(p.o, p.o + 1);
          T* to = y + p.o * s.n * s.inner;
          uint8_t* met = room.get();
          std::memset(met, 0, static_cast<size_t>(counters));
          unsigned counts = 0;  // the bits of all that were met
          visit(p, read, s.inner, [&counts, to, met, mask = counters - 1](int64_t at, T x) {
            to[at] = Add::apply(to[at], x);
            const unsigned before = met[at & mask];
            counts |= before;
            met[at & mask] = static_cast<uint8_t>(before + 1);
          });
          if (counts >= kShortChain) longer.store(true, std::memory_order_relaxed);
        });
    });
    return good && longer.load() ? reduce<double, Add>(false) : good;
  }
};

}  // namespace reducing
}  // namespace tilework
