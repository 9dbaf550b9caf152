#include "base/array_view.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace tilework {
namespace {

constexpr const char* kDtypeNames[] = {"float32", "float64", "bfloat16", "int64", "int32",
                                       "uint8",   "uint32",  "bool",     "other"};
static_assert(std::size(kDtypeNames) == static_cast<std::size_t>(DType::other) + 1);

// As NumPy has it: axes of one element step nowhere, and where there are none no step counts.
bool is_c_order(const ArrayView& a) {
  intptr_t step = a.itemsize();
  bool ordered = true;
  for (int i = a.ndim; i-- > 0;) {
    if (a.shape[i] == 0) return true;
    if (a.shape[i] == 1) continue;
    ordered &= a.strides[i] == step;
    step *= a.shape[i];
  }
  return ordered;
}

}  // namespace

const char* dtype_name(DType dtype) { return kDtypeNames[static_cast<int>(dtype)]; }

ArrayView strided_view(void* object, void* data, DType dtype, int ndim, const intptr_t* shape,
                       const intptr_t* strides, bool writeable) {
  ArrayView v{object,
              static_cast<char*>(data),
              shape,
              strides,
              ndim,
              dtype,
              itemsize_of(dtype),
              writeable ? kWriteable : 0};
  if (is_c_order(v)) v.flags |= kCContiguous;
  return v;
}

bool memory_order(const ArrayView& a, int* order, int& count) {
  count = 0;
  for (int i = 0; i < a.ndim; ++i)
    if (a.shape[i] != 1) order[count++] = i;
  std::stable_sort(order, order + count, [&](int x, int y) { return a.strides[x] > a.strides[y]; });
  intptr_t expected = a.itemsize();
  for (int i = count; i-- > 0;) {
    if (a.strides[order[i]] != expected) return false;
    expected *= a.shape[order[i]];
  }
  return true;
}

bool is_dense(const ArrayView& a) {
  if (a.c_contiguous()) return true;
  int order[kMaxDims], count;
  return a.ndim <= kMaxDims && (a.size() == 0 || memory_order(a, order, count));
}

bool is_channels_last(const ArrayView& x) {
  if (x.size() == 0) return true;
  intptr_t step = x.itemsize();
  for (const int axis : {1, 3, 2, 0}) {
    if (x.shape[axis] != 1 && x.strides[axis] != step) return false;
    step *= x.shape[axis];
  }
  return true;
}

bool same_shape(const ArrayView& a, const ArrayView& b) {
  return a.ndim == b.ndim && std::equal(a.shape, a.shape + a.ndim, b.shape);
}

bool same_layout(const ArrayView& a, const ArrayView& b) {
  if (!same_shape(a, b)) return false;
  if (a.c_contiguous() && b.c_contiguous()) return true;
  for (int i = 0; i < a.ndim; ++i)
    if (a.shape[i] != 1 && a.strides[i] / a.itemsize() != b.strides[i] / b.itemsize()) return false;
  return is_dense(a) && is_dense(b);
}

bool memory_overlaps(const ArrayView& a, const ArrayView& b) {
  const auto extent = [](const ArrayView& x) {
    const char *low = x.data, *high = x.data + x.itemsize();
    for (int i = 0; i < x.ndim; ++i)
      (x.strides[i] < 0 ? low : high) += x.strides[i] * (x.shape[i] - 1);
    return std::pair(low, high);
  };
  if (a.size() == 0 || b.size() == 0) return false;
  const auto [a_low, a_high] = extent(a);
  const auto [b_low, b_high] = extent(b);
  return a_low < b_high && b_low < a_high;
}

}  // namespace tilework
