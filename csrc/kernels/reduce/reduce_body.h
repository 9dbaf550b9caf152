// Reductions of contiguous rows and of columns, written once for every vector width. Included by
// the ISA files alone.
//
// Eight vectors are combined as a tree before they meet the running result: the tree hides the four
// cycles of an addition, and shortens its chains. Inputs are asked for `ahead` bytes before
// they are read, where the hardware's own fetching stops at each 4 KiB page.
#pragma once

#include "kernels/reduce/reduce.h"
#include "simd/sweep.h"

namespace tilework::TW_ISA {
namespace reduction {

struct Sum {
  static constexpr bool kAdds = true;
  template <class T>
  static TW_INLINE Vec<T> start() {
    return Vec<T>::zero();
  }
  template <class V>
  static TW_INLINE V combine(V a, V b) {
    return a + b;
  }
};
struct Max {
  static constexpr bool kAdds = false;
  template <class T>
  static TW_INLINE Vec<T> start() {
    return T(-__builtin_inf());
  }
  template <class T>
  static TW_INLINE Vec<T> combine(Vec<T> a, Vec<T> b) {
    return max_nan(a, b);
  }
  static TW_INLINE auto combine(auto a, auto b) { return a != a || a > b ? a : b; }
};
struct Min {
  static constexpr bool kAdds = false;
  template <class T>
  static TW_INLINE Vec<T> start() {
    return T(__builtin_inf());
  }
  template <class T>
  static TW_INLINE Vec<T> combine(Vec<T> a, Vec<T> b) {
    return min_nan(a, b);
  }
  static TW_INLINE auto combine(auto a, auto b) { return a != a || a < b ? a : b; }
};

// Of a row. AMD's cores that end with AVX2 follow a row on their own, and lose a fifth by being
// asked.
template <class T>
TW_INLINE Vec<T> fetch(const T* p, [[maybe_unused]] int64_t ahead) {
#if defined(__AVX512F__)
  __builtin_prefetch(reinterpret_cast<const char*>(p) + ahead);
#endif
  return Vec<T>::load(p);
}

// Of eight vectors, `stride` elements apart.
template <class Op, class T, class Load>
TW_INLINE Vec<T> eight(const T* p, int64_t stride, Load load) {
  const Vec<T> a = Op::combine(load(p), load(p + stride));
  const Vec<T> b = Op::combine(load(p + 2 * stride), load(p + 3 * stride));
  const Vec<T> c = Op::combine(load(p + 4 * stride), load(p + 5 * stride));
  const Vec<T> d = Op::combine(load(p + 6 * stride), load(p + 7 * stride));
  return Op::combine(Op::combine(a, b), Op::combine(c, d));
}

// The lanes of a vector, by halves. The extremes go through memory: the registers' own min and max
// do not know NaN.
template <class Op, class T>
TW_INLINE T across(Vec<T> v) {
  if constexpr (Op::kAdds) return reduce_add(v);
  T lane[Vec<T>::width];
  v.store(lane);
  for (int half = Vec<T>::width / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lane[i] = Op::combine(lane[i], lane[i + half]);
  return lane[0];
}

// At most 32 groups of eight vectors.
template <class T, class Op>
TW_INLINE Vec<T> segment(const T* x, int64_t n, int64_t ahead) {
  constexpr int W = Vec<T>::width;
  Vec<T> result = Op::template start<T>(), rest = result;
  int64_t i = 0;
  for (; i + 8 * W <= n; i += 8 * W)
    result = Op::combine(
        result, eight<Op>(x + i, W, [&](const T* p) TW_INLINE_LAMBDA { return fetch(p, ahead); }));
  sweep<T>(n - i, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
    rest = Op::combine(rest, lanes.load_or(x + i + j, Op::template start<T>()));
  });
  return Op::combine(result, rest);
}

// Segments in pairs, pairs of pairs, ...
template <class T, class Op>
Vec<T> row(const T* x, int64_t n, int64_t ahead) {
  constexpr int64_t kSegment = 32 * 8 * Vec<T>::width;
  if (n <= kSegment) return segment<T, Op>(x, n, ahead);
  int64_t left = kSegment;
  while (2 * left < n) left *= 2;
  // Not both as arguments: compilers evaluate the last one first, and memory would be read
  // backwards.
  const Vec<T> first = row<T, Op>(x, left, ahead);
  return Op::combine(first, row<T, Op>(x + left, n - left, ahead));
}

template <class T, class Op>
void rows(const T* x, T* y, int64_t rows, int64_t n, int64_t ahead) {
  // A short row is one masked load, without the trees.
  if (n <= Vec<T>::width) {
    const PartVector<T> lanes{static_cast<int>(n)};
    for (int64_t r = 0; r < rows; ++r)
      y[r] = across<Op>(lanes.load_or(x + r * n, Op::template start<T>()));
    return;
  }
  for (int64_t r = 0; r < rows; ++r) y[r] = across<Op>(row<T, Op>(x + r * n, n, ahead));
}

template <class T, class Op>
void columns(const T* x, T* y, int64_t n, int64_t cols, int64_t ahead) {
  sweep<T>(cols, [&](int64_t j, auto lanes)
                     TW_INLINE_LAMBDA { lanes.store(y + j, Op::template start<T>()); });
  int64_t r = 0;
  for (; r + 8 <= n; r += 8)
    sweep<T>(cols, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
      const auto load = [&](const T* p) TW_INLINE_LAMBDA {
        __builtin_prefetch(reinterpret_cast<const char*>(p) + ahead);
        return lanes.load(p);
      };
      lanes.store(y + j, Op::combine(lanes.load(y + j), eight<Op>(x + r * cols + j, cols, load)));
    });
  for (; r < n; ++r)
    sweep<T>(cols, [&](int64_t j, auto lanes) TW_INLINE_LAMBDA {
      lanes.store(y + j, Op::combine(lanes.load(y + j), lanes.load(x + r * cols + j)));
    });
}

template <class T>
inline constexpr ReduceTable<T> kTable = {{rows<T, Sum>, rows<T, Max>, rows<T, Min>},
                                          {columns<T, Sum>, columns<T, Max>, columns<T, Min>}};

}  // namespace reduction

extern const ReduceKernels reduce_kernels;
const ReduceKernels reduce_kernels = {reduction::kTable<float>, reduction::kTable<double>};

}  // namespace tilework::TW_ISA
