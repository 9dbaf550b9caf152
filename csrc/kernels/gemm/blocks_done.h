// Calls back for blocks of C as they are done (OnBlock, kernels/tile/operands.h).
#pragma once

#include "base/arithmetic.h"
#include "kernels/gemm/kernels.h"
#include "simd/vec.h"

namespace tilework::TW_ISA {

// Rows [row, row + rows) of C, whose columns are done from left to right. They may begin at any
// `col`, where the columns before it were another's: those that made no whole block are this one's.
template <class T>
class BlocksDone {
 public:
  TW_INLINE BlocksDone(const GemmArgs<T>& g, int64_t row, int64_t rows, int64_t col = 0)
      : g_(g), row_(row), rows_(rows), col_(col - col % kBlockColumns) {}

  // All columns before `end` are done.
  TW_INLINE void up_to(int64_t end) {
    if (g_.on_block.run) call(end);
  }

 private:
  void call(int64_t end) {
    end = end < g_.n ? end - end % kBlockColumns : g_.n;
    if (end == col_) return;
    FinishedBlock<T> block{row_, col_, rows_, end - col_, g_.c, g_.c_row};
    block.c += row_ * g_.c_row + col_;
    g_.on_block.run(g_.on_block.context, block);
    col_ = end;
  }

  const GemmArgs<T>& g_;
  const int64_t row_, rows_;
  int64_t col_;  // columns before it were called back for
};

}  // namespace tilework::TW_ISA
