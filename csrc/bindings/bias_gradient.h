// Where the gradient of a bias is summed.
#pragma once

#include <type_traits>

#include "base/memory_pool.h"
#include "base/types.h"

namespace tilework {

// The sums of a bias's gradient, where they are wanted: of bfloat16 in float32, rounded by put().
template <class T>
class BiasGradient {
 public:
  BiasGradient(T* out, int64_t size) : out_(out), size_(size), sums_(out && kRounds ? size : 0) {}
  Wide<T>* get() {
    if constexpr (kRounds)
      return out_ ? sums_.get() : nullptr;
    else
      return out_;
  }
  void put() {
    if constexpr (kRounds)
      for (int64_t i = 0; out_ && i < size_; ++i) out_[i] = to_bfloat16(sums_.get()[i]);
  }

 private:
  static constexpr bool kRounds = std::is_same_v<T, bfloat16>;
  T* out_;
  int64_t size_;
  Scratch<Wide<T>> sums_;
};

}  // namespace tilework
