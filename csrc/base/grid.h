// How a product's or a convolution's output is cut among threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/arithmetic.h"

namespace tilework {

struct Grid {
  int64_t rows, cols;
};

// Each piece packs its own operands, so a cut of rows repeats the packing for columns and the other
// way round: of the cuts that give every thread work, the cheapest. rows_of(n) and cols_of(n) are
// the longest piece's where there are n.
template <class RowsOf, class ColsOf>
Grid cheapest_grid(int threads, int64_t most_rows, int64_t most_cols, RowsOf rows_of,
                   ColsOf cols_of) {
  constexpr double kPack = 60;  // multiply-adds in the time that packing one element takes
  Grid best{1, 1};
  double best_cost = 0;
  for (int64_t cols = 1; cols <= std::min<int64_t>(threads, most_cols); ++cols) {
    const int64_t rows = std::min<int64_t>(ceil_div(threads, cols), most_rows);
    const double m = static_cast<double>(rows_of(rows)), n = static_cast<double>(cols_of(cols));
    const double cost = m * n + kPack * (m + n);
    if (cols == 1 || cost < best_cost) {
      best_cost = cost;
      best = {rows, cols};
    }
  }
  return best;
}

}  // namespace tilework
