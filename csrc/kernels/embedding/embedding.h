// Groups of rows, summed or the largest of them: embeddings' gradients, bags of embeddings,
// segments.
//
// Arrays are dense in C order, and nothing overlaps. A group's rows go in the order of the list,
// whole on one thread. Sums of up to 32 rows are taken in T (float for bfloat16), those of longer
// groups by 32 and then in double. Indices are checked on the way, as in kernels/index: true where
// all were inside, else the result means nothing.
#pragma once

#include <stdint.h>

#include "base/types.h"
#include "kernels/index/index.h"

namespace tilework {

// y = start (null: zeros), and then y[o][index[i]] += x[o][i]; x is (outer, m, inner). `skipped` is
// a row that gets nothing; with `mean` a row's sum is divided by the number of its sources.
template <class T>
bool add_rows(const Lines& lines, const T* start, const T* x, const Index& index, int64_t skipped,
              bool mean, T* y);

// Of each group the largest, element by element, NaN above all, and the row that it is in, the
// first of equal ones: x (m, cols), index (m), y and from (index.n, cols). Zero and -1 where a
// group is empty.
template <class T>
bool largest_rows(int64_t m, int64_t cols, const T* x, const Index& index, T* y, int64_t* from);

enum class BagMode : int { sum, mean, max };

// Bags of an index (m): bag b is [starts[b], starts[b + 1]), the last to m. Entries of `padding` do
// not count (-1: all do).
struct Bags {
  int64_t count, m;
  const int64_t* starts;
  Index index;
  int64_t padding;
};

// Whether starts begin with 0, do not fall, and end within m.
bool bags_are_whole(const Bags& bags);

// y (count, cols) of the rows of the table (index.n, cols) that each bag names, times weights (m;
// null: 1) where they are summed. from (count, cols), for max: as largest_rows, rows of the table.
template <class T>
bool bag_forward(const Bags& bags, BagMode mode, int64_t cols, const T* table, const T* weights,
                 T* y, int64_t* from);
// The table's gradient for sum and mean, and with `by_frequency` divided by how often a row occurs.
template <class T>
bool bag_backward(const Bags& bags, BagMode mode, int64_t cols, const T* grad, const T* weights,
                  bool by_frequency, T* y);
// The weights' gradient, for sum.
template <class T>
bool bag_weights_backward(const Bags& bags, int64_t cols, const T* grad, const T* table, T* y);

// --- What a variant provides ---

// What follows the last of the members: rows that may be asked for ahead.
inline constexpr int64_t kRowsAhead = 12;

template <class T>
struct RowGroups {
  const T* x;
  int64_t cols;
  const int64_t* starts;   // group g is [starts[g], starts[g + 1]) of
  const int64_t* members;  // rows of x
  const T* weights;        // of members; null: 1
  const T* before;         // what the sums begin with; null: zeros
  bool mean, stream;       // stream: y's rows are whole lines, and go around the cache
  T* y;
  int64_t* from;
};

template <class T>
struct EmbeddingTable {
  void (*sum)(const RowGroups<T>& groups, int64_t begin, int64_t end);
  void (*largest)(const RowGroups<T>& groups, int64_t begin, int64_t end);
  // y[i] = the product of a[a_row[i]] and b[b_row[i]], rows of cols; 0 where b_row[i] < 0.
  void (*dots)(const T* a, const int64_t* a_row, const T* b, const int64_t* b_row, int64_t count,
               int64_t cols, T* y);
};

struct EmbeddingKernels {
  EmbeddingTable<float> f32;
  EmbeddingTable<double> f64;
  EmbeddingTable<bfloat16> bf16;
};

}  // namespace tilework
