#include "kernels/copy/copy.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/arithmetic.h"
#include "base/element_width.h"
#include "base/merge_axes.h"
#include "base/stream.h"
#include "base/thread_pool.h"
#include "kernels/copy/padding.h"
#include "kernels/copy/runs.h"
#include "kernels/copy/tiles.h"

namespace tilework {
namespace {

constexpr int64_t kTaskBytes = 64 << 10;

// Axes of size 1 dropped, the rest from the slowest to the fastest of the result, neighbours that
// both sides walk as one merged.
CopyShape merged(const CopyShape& s) {
  int order[CopyShape::kMaxAxes], count = 0;
  for (int i = 0; i < s.axes; ++i)
    if (s.size[i] != 1) order[count++] = i;
  std::stable_sort(order, order + count, [&](int a, int b) {
    return std::abs(s.to_stride[a]) > std::abs(s.to_stride[b]);
  });
  CopyShape m{};
  MergedAxes axes{m.axes, m.size, m.to_stride, m.from_stride};
  for (int k = 0; k < count; ++k) {
    const int i = order[k];
    axes.append(s.size[i], s.to_stride[i], s.from_stride[i]);
  }
  return m;
}

// Where the piece at `position` of the outer axes begins on both sides.
struct Offsets {
  int64_t from = 0, to = 0;
  Offsets(const CopyShape& s, int64_t position) {
    for (int i = s.axes; i-- > 0; position /= s.size[i]) {
      from += position % s.size[i] * s.from_stride[i];
      to += position % s.size[i] * s.to_stride[i];
    }
  }
};

CopyShape without(const CopyShape& s, int a, int b) {
  CopyShape rest{};
  for (int i = 0; i < s.axes; ++i) {
    if (i == a || i == b) continue;
    rest.size[rest.axes] = s.size[i];
    rest.to_stride[rest.axes] = s.to_stride[i];
    rest.from_stride[rest.axes++] = s.from_stride[i];
  }
  return rest;
}

int64_t count_of(const CopyShape& s) {
  int64_t count = 1;
  for (int i = 0; i < s.axes; ++i) count *= s.size[i];
  return count;
}

// piece(from, to) for each place along the axes of `outer`, of `bytes` each. The last of the axes
// is stepped along: short pieces take less time than the divisions that find a place.
template <class Piece>
void for_each_piece(const CopyShape& outer, int64_t bytes, const char* from, char* to,
                    Piece piece) {
  const int64_t pieces = count_of(outer), step = std::max<int64_t>(1, kTaskBytes / bytes);
  const int last = outer.axes - 1;
  const int64_t length = last < 0 ? 1 : outer.size[last];
  const int64_t from_step = last < 0 ? 0 : outer.from_stride[last];
  const int64_t to_step = last < 0 ? 0 : outer.to_stride[last];
  parallel_for(ceil_div(pieces, step), copy_cost_ns(pieces * bytes), [&](int64_t task) {
    const int64_t end = std::min(pieces, (task + 1) * step);
    for (int64_t p = task * step; p < end;) {
      const Offsets at(outer, p);
      const int64_t run = std::min(end - p, length - p % length);
      for (int64_t k = 0; k < run; ++k)
        piece(from + at.from + k * from_step, to + at.to + k * to_step);
      p += run;
    }
  });
}

// The inner axis is whole elements of the result, one after another; axis `a` of the source.
template <class T, bool kStream>
void copy_transposing(const CopyShape& s, int a, const char* from, char* to) {
  // Lines of a block: few enough for its pages to stay in the TLB, enough to use what is fetched.
  constexpr int64_t kBlock = 4 * copying::kSide<T>, size = sizeof(T);
  const int inner = s.axes - 1;
  const CopyShape outer = without(s, a, inner);
  const int64_t rows = s.size[inner], cols = s.size[a];
  const int64_t row_blocks = ceil_div(rows, kBlock);
  const int64_t col_blocks = ceil_div(cols, kBlock), blocks = row_blocks * col_blocks;
  const int64_t bytes = rows * cols * size, jobs = count_of(outer) * blocks;
  const int64_t step = std::max<int64_t>(1, kTaskBytes / (bytes / blocks));
  parallel_for(ceil_div(jobs, step), copy_cost_ns(count_of(outer) * bytes), [&](int64_t task) {
    for (int64_t job = task * step; job < std::min(jobs, (task + 1) * step); ++job) {
      const Offsets at(outer, job / blocks);
      const int64_t i = job % row_blocks * kBlock, j = job / row_blocks % col_blocks * kBlock;
      copying::transpose_block<T, kStream>(
          from + at.from + i * s.from_stride[inner] + j * size, s.from_stride[inner],
          std::min(kBlock, rows - i), std::min(kBlock, cols - j),
          to + at.to + j * s.to_stride[a] + i * size, s.to_stride[a]);
    }
    if constexpr (kStream) copying::end_stream();
  });
}

template <class T>
void copy_of(const CopyShape& s, const char* from, char* to) {
  constexpr int64_t size = sizeof(T);
  const int inner = s.axes - 1;
  const int64_t n = s.size[inner], from_step = s.from_stride[inner];
  const bool packs = s.to_stride[inner] == size;
  int across = -1;  // an axis along which the source's elements are neighbours
  for (int i = 0; i < inner; ++i)
    if (s.from_stride[i] == size && (across < 0 || s.size[i] > s.size[across])) across = i;
  if (packs && from_step != size && across >= 0 && s.size[across] >= 4 && n >= 4) {
    bool lines = count_of(s) * size >= kStreamBytes && reinterpret_cast<uintptr_t>(to) % 64 == 0;
    for (int i = 0; i < inner; ++i) lines = lines && s.to_stride[i] % 64 == 0;
    return (lines ? copy_transposing<T, true> : copy_transposing<T, false>)(s, across, from, to);
  }
  const CopyShape outer = without(s, inner, inner);
  if (packs && from_step == -size)  // backwards: a loop that becomes vectors
    return for_each_piece(outer, n * size, from, to, [&](const char* f, char* t) {
      const T* last = reinterpret_cast<const T*>(f) - (n - 1);
      T* __restrict into = reinterpret_cast<T*>(t);
      for (int64_t i = 0; i < n; ++i) into[i] = last[n - 1 - i];
    });
  if (packs && from_step == size)
    return for_each_piece(outer, n * size, from, to,
                          [&](const char* f, char* t) { copy_run(f, t, n * size); });
  for_each_piece(outer, n * size, from, to, [&](const char* f, char* t) {
    for (int64_t i = 0; i < n; ++i)
      std::memcpy(t + i * s.to_stride[inner], f + i * from_step, sizeof(T));
  });
}

template <int64_t kBytes>
void copy_rows(const char* from, int64_t step, int64_t rows, char* to, int64_t to_step) {
  for (int64_t r = 0; r < rows; ++r) std::memcpy(to + r * to_step, from + r * step, kBytes);
}

void copy_rows(const JoinedRows& part, const char* from, int64_t rows, char* to, int64_t to_step) {
  switch (part.bytes) {
    case 1:
      return copy_rows<1>(from, part.step, rows, to, to_step);
    case 2:
      return copy_rows<2>(from, part.step, rows, to, to_step);
    case 4:
      return copy_rows<4>(from, part.step, rows, to, to_step);
    case 8:
      return copy_rows<8>(from, part.step, rows, to, to_step);
    case 16:
      return copy_rows<16>(from, part.step, rows, to, to_step);
    default:
      for (int64_t r = 0; r < rows; ++r)
        copy_run(from + r * part.step, to + r * to_step, part.bytes);
  }
}

}  // namespace

void join_rows(const JoinedRows* parts, int64_t count, int64_t rows, char* to) {
  // L1 holds a block of the result, and of narrow parts, until all of its lines are whole.
  constexpr int64_t kBlockBytes = 16 << 10;
  int64_t width = 0;
  for (int64_t i = 0; i < count; ++i) width += parts[i].bytes;
  if (width == 0 || rows == 0) return;
  const int64_t block = std::max<int64_t>(1, kBlockBytes / width);
  parallel_for(ceil_div(rows, block), copy_cost_ns(rows * width), [&](int64_t task) {
    const int64_t first = task * block, some = std::min(block, rows - first);
    char* at = to + first * width;
    for (int64_t i = 0; i < count; at += parts[i++].bytes)
      if (parts[i].bytes > 0)
        copy_rows(parts[i], parts[i].from + first * parts[i].step, some, at, width);
  });
}

void strided_copy(size_t itemsize, const CopyShape& shape, const void* from, void* to) {
  for (int i = 0; i < shape.axes; ++i)
    if (shape.size[i] == 0) return;
  CopyShape m = merged(shape);
  if (m.axes == 0) {
    std::memcpy(to, from, itemsize);
    return;
  }
  const auto* f = static_cast<const char*>(from);
  auto* t = static_cast<char*>(to);
  with_width(itemsize, [&]<class T>(T) { copy_of<T>(m, f, t); });
}

bool pads_within(PadMode mode, const PadShape& s) {
  for (int d = 0; d < s.axes; ++d) {
    const int64_t most = std::max(s.before[d], s.after[d]), n = s.size[d];
    if (most == 0 || mode == PadMode::constant) continue;
    if (n == 0 || (mode == PadMode::reflect && most >= n) ||
        (mode == PadMode::circular && most > n))
      return false;
  }
  return true;
}

void pad(PadMode mode, size_t itemsize, const PadShape& shape, const void* x, const void* value,
         void* y) {
  with_width(itemsize, [&]<class T>(T filler) {
    std::memcpy(&filler, value, sizeof(T));
    padding::pad_of(mode, shape, static_cast<const T*>(x), filler, static_cast<T*>(y));
  });
}

template <class T>
void pad_backward(PadMode mode, const PadShape& shape, const T* grad, T* dx) {
  padding::gather_back(mode, shape, grad, dx);
}
template void pad_backward(PadMode, const PadShape&, const float*, float*);
template void pad_backward(PadMode, const PadShape&, const double*, double*);

}  // namespace tilework
