// Elements and slices chosen by an index, written by one, and reduced into the places that it
// names.
//
// Built once, for the baseline: what these wait for is memory. Arrays are dense in C order, and
// nothing overlaps. Indices are checked on the way, each read once, since another thread may write
// them meanwhile: true where all were within their axis, else the result means nothing. Where an
// index repeats, sources count in their order: the last of those that replace, and a sum goes from
// the first to the last. Sums are kept in float64, or in T where no element gets more than a short
// chain of them; which it is, shape and indices decide.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/types.h"

namespace tilework {

// x is (outer, n, inner), and what is chosen of it, or put there, (outer, m, inner).
struct Lines {
  int64_t outer, n, m, inner;

  int64_t chosen() const { return outer * m * inner; }
};

struct Index {
  const int64_t* of;
  int64_t n;   // of the axis
  bool wraps;  // negative ones count from its end
};

// The position of the first index that is outside; -1 where there is none.
int64_t first_outside(const Index& index, int64_t count);

// The indices, counted from the front. False where one is outside: then all of them mean nothing.
bool checked_copy(const Index& index, int64_t count, int64_t* to);

// y[o][i][j] = x[o][index[o][i][j]][j].
bool gather(const Lines& lines, size_t itemsize, const void* x, const Index& index, void* y);
// The same with one list of m for all o and j.
bool take_slices(const Lines& lines, size_t itemsize, const void* x, const Index& index, void* y);

// y[o][index[o][i][j]][j] = source[o][i][j]; `one`: source is one element, for all.
bool scatter(const Lines& lines, size_t itemsize, const void* source, bool one, const Index& index,
             void* y);
// The same with one list of m.
bool put_slices(const Lines& lines, size_t itemsize, const void* source, bool one,
                const Index& index, void* y);

enum class Combine : int { sum, mean, product, largest, smallest };

// y = start (null: zeros), and then source reduced into it as scatter writes. Without include_self
// what a place had before counts only where nothing comes to it. `same`: there is one list of m for
// all o, and inner is 1. NaN is the largest and the smallest; integers have no mean.
// T: float, double, bfloat16, int64_t, int32_t, uint32_t, uint8_t.
template <class T>
bool scatter_reduce(const Lines& lines, Combine how, bool include_self, const T* start,
                    const T* source, const Index& index, bool same, T* y);

// For the GIL: nanoseconds on one thread.
inline double index_cost_ns(int64_t chosen) { return 2.0 * static_cast<double>(chosen); }

}  // namespace tilework
