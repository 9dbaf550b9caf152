// The micro-kernel: one tile of C in registers, while segment after segment of A and B streams
// past. C = sum over segments of A_s @ B_s, where A_s lies anywhere and B_s is part of a packed
// panel.
//
// For a correlation a tile's rows are adjacent pixels of y, a segment is a tap and k runs over
// channels; for a weight gradient the rows are adjacent channels, a segment is a row of pixels and
// k runs along it. No unrolled copy of x is ever made.
//
// Each element of C is chains of FMAs in the order of the segments, whatever the tile's height:
// this is what makes results independent of how the work is cut. A chain ends where a segment says
// so, and its sum is added to C, which is near: short chains are what keeps long sums accurate.
#pragma once

#include "base/arithmetic.h"
#include "kernels/tile/steps.h"

namespace tilework::TW_ISA {

// Where a window reaches over x's left or right border, the tile's first or last pixel has nothing
// to add: it is skipped, rather than multiplied by zeros that a padded copy of x would hold.
enum class Edge : int { none, no_first, no_last };

template <class T>
struct Segment {
  const T* a;
  int64_t b;  // elements from the panel's start
  int64_t k;
  Edge edge;
  bool flush;  // after it the sums go to C and begin anew; always so after the last
};

template <class T>
struct SegmentList {
  using Element = T;

  const Segment<T>* segments;
  int64_t count;
  int64_t a_offset;  // added to each segment's a
  // From one row of the tile, and one k, to the next; the latter is 1 where there are edges.
  int64_t a_row, a_col;
  const T* panel;  // of B: Tile<T>::nr columns a step
  // What a later tile reads, where the hardware sees no stream: asked for into L2 as the steps go
  // by, since a burst of requests would hold up those for B. A step of zero asks for nothing new.
  const T* ahead;
  int64_t ahead_step;
};

// Steps of k in one turn of the loop. Low tiles have as many instructions beside their FMAs, and a
// core shared by two threads, or an older one, has no more slots for them than for those.
inline constexpr int kSegmentSteps = kRegisters == 32 ? 1 : 2;

// turn<count>() for as many turns of `count` steps as make k steps, the last ones of one each.
template <class Turn>
TW_INLINE void for_each_turn(int64_t k, Turn turn) {
  int64_t step = 0;
  for (; step + kSegmentSteps <= k; step += kSegmentSteps)
    turn.template operator()<kSegmentSteps>();
  for (; step < k; ++step) turn.template operator()<1>();
}

// From one step's B to what is asked for while it is at work.
template <class T>
inline constexpr int64_t kSegmentAhead = kPrefetchSteps * Tile<T>::nr;

// Rows [First, Last) of the tile; `adjacent`: a_col is 1, which the addresses of a turn's steps
// hold.
template <int First, int Last, bool adjacent, class T, int Rows, int Vectors>
TW_INLINE void add_products(Vec<T> (&sum)[Rows][Vectors], int64_t k, const T* a, int64_t a_row,
                            int64_t a_col, const T* pb, const T*& ahead, int64_t ahead_step) {
  using V = Vec<T>;
  // Three rows share a base pointer: base, base + row, base + 2 * row are all x86 addressing modes.
  constexpr int kBases = (Rows + 2) / 3;
  const T* base[kBases];
#pragma GCC unroll 8
  for (int i = 0; i < kBases; ++i) base[i] = a + 3 * i * a_row;
  const int64_t col = adjacent ? 1 : a_col;
  for_each_turn(k, [&]<int count>() TW_INLINE_LAMBDA {
    __builtin_prefetch(ahead, 0, 2);
    ahead += count * ahead_step;
#pragma GCC unroll 2
    for (int s = 0; s < count; ++s) {
      V vb[Vectors];
      load_step<T, Vectors>(pb + s * Tile<T>::nr, kSegmentAhead<T>, vb);
#pragma GCC unroll 16
      for (int i = First; i < Last; ++i) {
        const V va = base[i / 3][(i % 3) * a_row + s * col];
#pragma GCC unroll 2
        for (int j = 0; j < Vectors; ++j) sum[i][j] = fma(va, vb[j], sum[i][j]);
      }
    }
    pb += count * Tile<T>::nr;
#pragma GCC unroll 8
    for (int i = 0; i < kBases; ++i) base[i] += count * col;
  });
}

// A region of memory to ask for, shared out over `times` tiles of `steps` steps each.
template <class T>
class Ahead {
 public:
  TW_INLINE Ahead(const T* from, int64_t count, int64_t times, int64_t steps)
      : at_(from), each_(times > 0 ? ceil_div(count, times) : 0) {
    step_ = steps > 0 ? ceil_div(each_, steps) : 0;
  }
  // Where the next tile is to begin asking.
  TW_INLINE const T* next() {
    const T* from = at_;
    at_ += each_;
    return from;
  }
  int64_t step() const { return step_; }

 private:
  const T* at_;
  int64_t each_, step_;
};

template <class T, int Rows, int Vectors>
TW_INLINE void add_segment(const SegmentList<T>& list, const Segment<T>& s,
                           Vec<T> (&sum)[Rows][Vectors], const T*& ahead) {
  const auto add = [&]<int first, int last, bool adjacent>() TW_INLINE_LAMBDA {
    add_products<first, last, adjacent>(sum, s.k, s.a + list.a_offset, list.a_row, list.a_col,
                                        list.panel + s.b, ahead, list.ahead_step);
  };
  if (s.edge == Edge::no_first)
    add.template operator()<1, Rows, true>();
  else if (s.edge == Edge::no_last)
    add.template operator()<0, Rows - 1, true>();
  else if (list.a_col == 1)
    add.template operator()<0, Rows, true>();
  else
    add.template operator()<0, Rows, false>();
}

template <class T, int Rows, int Vectors, bool Add>
TW_INLINE void put_sums(Vec<T> (&sum)[Rows][Vectors], const TileC<T>& c) {
  using V = Vec<T>;
  T* out = c.data;
  int cols = c.cols;
  __asm__ volatile("" : "+r"(cols));  // or its mask takes a register from the sums, as in tile()
  const int last = cols - (Vectors - 1) * V::width;  // lanes of the last vector in use
  if (last == V::width) {
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i, out += c.row)
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) {
        T* p = out + j * V::width;
        if constexpr (Add) sum[i][j] = V::load(p) + sum[i][j];
        sum[i][j].store(p);
      }
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i, out += c.row)
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) {
        T* p = out + j * V::width;
        const int lanes = j + 1 < Vectors ? V::width : last;
        if constexpr (Add) sum[i][j] = V::load_partial(p, lanes) + sum[i][j];
        sum[i][j].store_partial(p, lanes);
      }
  }
}

template <class T, int Rows, int Vectors>
TW_INLINE void clear(Vec<T> (&sum)[Rows][Vectors]) {
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) sum[i][j] = Vec<T>::zero();
}

// List: SegmentList, or another whose segments add_segment() adds.
template <class List>
using SegmentKernel = void (*)(const List& list, TileC<typename List::Element> c);

template <class List, int Rows, int Vectors>
void segment_tile(const List& list, TileC<typename List::Element> c) {
  using T = typename List::Element;
  Vec<T> sum[Rows][Vectors];
  clear<T, Rows, Vectors>(sum);

  // C is wanted when a chain ends; ask for it before the first starts.
  ask_for_tile<Rows>(c.data, c.row);
  ask_for_tile<Rows>(c.data + c.cols - 1, c.row);

  const T* ahead = list.ahead;
  const auto* const end = list.segments + list.count;
  for (const auto* s = list.segments; s != end; ++s) {
    add_segment<T, Rows, Vectors>(list, *s, sum, ahead);
    if (!s->flush) continue;
    if (c.add)
      put_sums<T, Rows, Vectors, true>(sum, c);
    else
      put_sums<T, Rows, Vectors, false>(sum, c);
    c.add = true;
    clear<T, Rows, Vectors>(sum);
  }
  if (list.count == 0 && !c.add) put_sums<T, Rows, Vectors, false>(sum, c);
}

// Kernels by height; entry 0 is unused.
template <class List, int Vectors, int... Rows>
struct SegmentTiles {
  SegmentKernel<List> kernel[sizeof...(Rows) + 1] = {nullptr, segment_tile<List, Rows, Vectors>...};
};
template <class List, int Vectors>
constexpr auto segment_tiles() {
  if constexpr (Tile<typename List::Element>::mr == 14)
    return SegmentTiles<List, Vectors, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14>{};
  else
    return SegmentTiles<List, Vectors, 1, 2, 3, 4, 5, 6>{};
}

template <class List>
TW_INLINE SegmentKernel<List> segment_kernel(int rows, int cols) {
  static constexpr auto kWide = segment_tiles<List, 2>();
  static constexpr auto kNarrow = segment_tiles<List, 1>();
  return cols > Tile<typename List::Element>::width ? kWide.kernel[rows] : kNarrow.kernel[rows];
}

}  // namespace tilework::TW_ISA
