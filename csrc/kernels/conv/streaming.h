// Outputs that go around the caches.
#pragma once

#include "base/stream.h"
#include "kernels/conv/kernels.h"
#include "kernels/gemm/epilogue.h"

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

// The epilogue on sums that lie near, into y around the caches.
template <class T>
void finish_streaming(int64_t rows, int64_t cols, const T* sums, int64_t sums_row, T* y,
                      int64_t y_row, const Epilogue<T>& e) {
  using V = Vec<T>;
  with_activation(e.activation, [&]<Activation activation>() {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; j += V::width) {
        V z = V::load(sums + i * sums_row + j);
        if (e.bias) z += V::load(e.bias + j);
        if (e.residual) z += V::load(e.residual + i * y_row + j);
        if (e.preactivation) z.stream(e.preactivation + i * y_row + j);
        activate<activation>(z).stream(y + i * y_row + j);
      }
  });
}

}  // namespace tilework::TW_ISA
