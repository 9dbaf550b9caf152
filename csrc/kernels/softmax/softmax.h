// Softmax and its logarithm along one axis of a dense array, which memory order makes a block of
// (outer, length, inner): `inner` is the axis's stride.
//
// The maximum is subtracted first, so that no finite input overflows. A NaN or +Inf makes its row
// NaN, and so does a row that is -Inf throughout: as PyTorch does. An e^(x - maximum) that would be
// denormal counts as zero. Outputs may not overlap inputs.
// Each row is one thread's, so that threads do not change a result.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tilework {

struct SoftmaxShape {
  int64_t outer, length, inner;
};

void softmax_forward(const float* x, float* y, const SoftmaxShape& shape, bool log);
void softmax_forward(const double* x, double* y, const SoftmaxShape& shape, bool log);
// y: what forward returned.
void softmax_backward(const float* grad, const float* y, float* dx, const SoftmaxShape& shape,
                      bool log);
void softmax_backward(const double* grad, const double* y, double* dx, const SoftmaxShape& shape,
                      bool log);

// For the driver and the GIL: nanoseconds on one thread.
double softmax_cost_ns(const SoftmaxShape& shape, size_t itemsize);

// --- What a variant provides ---

// Columns that one call of a *_columns kernel may take.
inline constexpr int64_t kSoftmaxTile = 512;

template <class T>
struct SoftmaxTable {
  // With stream, the output goes around the cache, and each piece of it that a call writes begins
  // and ends on 64 bytes.

  // Rows that lie one after another.
  using ForwardRows = void(const T* x, T* y, int64_t rows, int64_t length, bool stream);
  using BackwardRows = void(const T* grad, const T* y, T* dx, int64_t rows, int64_t length,
                            bool stream);
  // `columns` neighbours, at most kSoftmaxTile, of one (length, inner) matrix.
  using ForwardColumns = void(const T* x, T* y, int64_t length, int64_t inner, int64_t columns,
                              bool stream);
  using BackwardColumns = void(const T* grad, const T* y, T* dx, int64_t length, int64_t inner,
                               int64_t columns, bool stream);

  ForwardRows* forward_rows[2];  // [log]
  BackwardRows* backward_rows[2];
  ForwardColumns* forward_columns[2];
  BackwardColumns* backward_columns[2];
};

struct SoftmaxKernels {
  SoftmaxTable<float> f32;
  SoftmaxTable<double> f64;
};

}  // namespace tilework
