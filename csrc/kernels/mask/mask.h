// What a mask chooses: where, the elements under it, and writing there.
//
// Built once, for the baseline: these wait for memory. A mask is bytes, of which any but 0 is true.
// Another thread may write to it meanwhile: what is counted and what is moved go by a copy.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/memory_pool.h"
#include "base/types.h"

namespace tilework {

// Axes of the result, which is dense in C order, and how many bytes apart the operands' elements
// are along them: 0 where they are broadcast.
struct WhereShape {
  static constexpr int kMaxAxes = 32;
  int axes;
  int64_t size[kMaxAxes], condition[kMaxAxes], a[kMaxAxes], b[kMaxAxes];
};

void where(size_t itemsize, const WhereShape& shape, const void* condition, const void* a,
           const void* b, void* y);

// A mask's copy, of 0 and 1, and how many of each block are true.
class Chosen {
 public:
  static constexpr int64_t kBlock = 4096;
  // Of mask, or of what is not zero in x (T: uint8_t for bools too).
  template <class T>
  Chosen(const T* x, int64_t n);

  int64_t size() const { return n_; }
  int64_t count() const { return before_.get()[blocks_]; }
  int64_t blocks() const { return blocks_; }
  int64_t before(int64_t block) const { return before_.get()[block]; }
  const uint8_t* mask() const { return mask_.get(); }

 private:
  int64_t n_, blocks_;
  Scratch<uint8_t> mask_;
  Scratch<int64_t> before_;
};

// y, of chosen.count(), = x's elements under the mask.
void masked_select(size_t itemsize, const Chosen& chosen, const void* x, void* y);
// y = x (null: zeros), with the elements under the mask replaced by those of source, in order: at
// least chosen.count().
void masked_scatter(size_t itemsize, const Chosen& chosen, const void* x, const void* source,
                    void* y);
// The coordinates of what is chosen of an array of `size`: the k-th's along axis d at
// y[k * step + d * axis_step].
void coordinates(const Chosen& chosen, int axes, const intptr_t* size, int64_t step,
                 int64_t axis_step, int64_t* y);

}  // namespace tilework
