// Outputs that go around the caches.
#pragma once

#include "base/stream.h"
#include "kernels/conv/kernels.h"
#include "kernels/tile/epilogue.h"

namespace tilework::TW_ISA {

// An output that the caches cannot hold is written around them: a cached store would first read
// from memory the line that it overwrites. It takes whole lines, of `run` adjacent elements.
template <class T>
bool can_stream(const Correlation<T>& g, int64_t run) {
  constexpr int64_t line = 64 / sizeof(T);
  const auto aligned = [](const T* p) { return reinterpret_cast<uintptr_t>(p) % 64 == 0; };
  return g.images * g.y_image * static_cast<int64_t>(sizeof(T)) >= kStreamBytes &&
         run % line == 0 && g.y_col % line == 0 && aligned(g.y) &&
         aligned(g.epilogue.preactivation);
}

// The epilogue of y from element `at` on, which is of out `out`.
template <class T>
TW_INLINE Epilogue<T> epilogue_of(const Correlation<T>& g, int64_t at, int64_t out) {
  Epilogue<T> e = epilogue_at(g.epilogue, 0, at);
  if (e.bias) e.bias = g.epilogue.bias + out;
  e.residual_row = e.preactivation_row = g.y_col;
  return e;
}

}  // namespace tilework::TW_ISA
