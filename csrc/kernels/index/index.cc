#include "kernels/index/index.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/arithmetic.h"
#include "base/element_width.h"
#include "base/memory_pool.h"
#include "base/stream.h"
#include "base/thread_pool.h"
#include "base/widen.h"
#include "kernels/copy/runs.h"
#include "kernels/index/reductions.h"

namespace tilework {
namespace {

constexpr int64_t kTask = 1 << 13;  // indices of a task

using reducing::Reader;

// tasks(begin, end) for every part of [0, items), whether all of them say true.
template <class Part>
bool in_parts(int64_t items, int64_t step, double cost_ns, Part part) {
  std::atomic<bool> good{true};
  parallel_for(ceil_div(items, step), cost_ns, [&](int64_t task) {
    if (!part(task * step, std::min(items, (task + 1) * step)))
      good.store(false, std::memory_order_relaxed);
  });
  return good.load();
}

// --- gather ---

// y[j] = x[at[j] * along + j], or where kFlat x[at[j]].
template <bool kFlat, class T>
void gather_run(const T* x, Reader& read, const int64_t* index, int64_t count, int64_t along,
                T* y) {
  Reader local = read;  // in registers
#pragma GCC unroll 4
  for (int64_t j = 0; j < count; ++j) {
    const int64_t at = local(index + j);
    y[j] = kFlat ? x[at] : x[at * along + j];
  }
  read = local;
}

// Positions [begin, end) of the result, run by run.
template <class T>
bool gather_part(const Lines& s, const T* x, const Index& index, int64_t begin, int64_t end, T* y) {
  const bool flat = s.inner == 1;
  const int64_t length = flat ? s.m : s.inner;  // of a run
  Reader read(index);
  int64_t run = begin / length, from = begin % length;
  for (int64_t p = begin; p < end; ++run, from = 0) {
    const int64_t count = std::min(length - from, end - p);
    if (flat)
      gather_run<true>(x + run * s.n, read, index.of + p, count, 1, y + p);
    else
      gather_run<false>(x + run / s.m * s.n * s.inner + from, read, index.of + p, count, s.inner,
                        y + p);
    p += count;
  }
  return read.all_inside();
}

// --- slices ---

// Rows ahead of the one that is copied that are asked for: each begins where no fetching of the
// hardware's own expects it.
constexpr int64_t kAhead = 4;

void copy_slices(const Lines& s, int64_t bytes, bool around, const char* x, const int64_t* at,
                 int64_t begin, int64_t end, char* y) {
  const int64_t block = s.n * bytes, lines = std::min<int64_t>(bytes, 256);
  for (int64_t r = begin; r < end; ++r) {
    const int64_t i = r % s.m;
    const char* base = x + r / s.m * block;
    if (i + kAhead < s.m) {
      const char* next = base + at[i + kAhead] * bytes;
      for (int64_t k = 0; k < lines; k += 64) __builtin_prefetch(next + k);
    }
    if (around)
      stream_run(base + at[i] * bytes, y + r * bytes, bytes);
    else
      copy_run(base + at[i] * bytes, y + r * bytes, bytes);
  }
  if (around) end_runs();
}

// --- scatter ---

// y[at[j] * along + j] = source[j * kStep], or where kFlat y[at[j]].
template <bool kFlat, int kStep, class T>
void scatter_run(const T* source, Reader& read, const int64_t* index, int64_t count, int64_t along,
                 T* y) {
  Reader local = read;
#pragma GCC unroll 4
  for (int64_t j = 0; j < count; ++j) {
    const int64_t at = local(index + j);
    y[kFlat ? at : at * along + j] = source[j * kStep];
  }
  read = local;
}

// Columns [j, j + cols) of one of `outer`.
template <int kStep, class T>
void scatter_part(const Lines& s, const T* source, Reader& read, const int64_t* index, int64_t o,
                  int64_t j, int64_t cols, T* y) {
  T* to = y + o * s.n * s.inner + j;
  if (s.inner == 1)
    return scatter_run<true, kStep>(source + o * s.m * kStep, read, index + o * s.m, s.m, 1, to);
  for (int64_t i = 0; i < s.m; ++i) {
    const int64_t at = (o * s.m + i) * s.inner + j;
    scatter_run<false, kStep>(source + at * kStep, read, index + at, cols, s.inner, to);
  }
}

}  // namespace

int64_t first_outside(const Index& index, int64_t count) {
  const int64_t lowest = index.wraps ? -index.n : 0;
  const auto outside = [&](int64_t i) { return i < lowest || i >= index.n; };
  const int64_t* found = std::find_if(index.of, index.of + count, outside);
  return found == index.of + count ? -1 : found - index.of;
}

bool checked_copy(const Index& index, int64_t count, int64_t* to) {
  if (index.n == 0) return count == 0;
  Reader read(index);
#pragma GCC unroll 4
  for (int64_t i = 0; i < count; ++i) to[i] = read(index.of + i);
  return read.all_inside();
}

bool gather(const Lines& s, size_t itemsize, const void* x, const Index& index, void* y) {
  const int64_t count = s.chosen();
  if (count == 0 || s.n == 0) return count == 0;
  return with_width(itemsize, [&]<class T>(T) {
    return in_parts(count, kTask, index_cost_ns(count), [&](int64_t begin, int64_t end) {
      return gather_part(s, static_cast<const T*>(x), index, begin, end, static_cast<T*>(y));
    });
  });
}

bool take_slices(const Lines& s, size_t itemsize, const void* x, const Index& index, void* y) {
  const int64_t count = s.chosen();
  if (s.m == 0 || s.n == 0) return s.m == 0;
  if (s.inner == 1 && s.outer == 1) return gather(s, itemsize, x, index, y);
  Scratch<int64_t> room(static_cast<size_t>(s.m));
  const int64_t* at = room.get();
  if (!checked_copy(index, s.m, room.get())) return false;
  if (count == 0) return true;
  const int64_t bytes = s.inner * static_cast<int64_t>(itemsize), rows = s.outer * s.m;
  if (s.inner == 1) {
    with_width(itemsize, [&]<class T>(T) {
      const int64_t step = std::max<int64_t>(1, kTask / s.m);
      return in_parts(s.outer, step, index_cost_ns(count), [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) {
          const T* from = static_cast<const T*>(x) + o * s.n;
          T* to = static_cast<T*>(y) + o * s.m;
#pragma GCC unroll 4
          for (int64_t i = 0; i < s.m; ++i) to[i] = from[at[i]];
        }
        return true;
      });
    });
    return true;
  }
  const bool around = streams({static_cast<const char*>(y)}, rows * bytes, bytes);
  const int64_t step = std::max<int64_t>(1, (64 << 10) / bytes);
  return in_parts(rows, step, 0.2 * static_cast<double>(rows * bytes), [&](int64_t b, int64_t e) {
    copy_slices(s, bytes, around, static_cast<const char*>(x), at, b, e, static_cast<char*>(y));
    return true;
  });
}

bool scatter(const Lines& s, size_t itemsize, const void* source, bool one, const Index& index,
             void* y) {
  const int64_t count = s.chosen();
  if (count == 0 || s.n == 0) return count == 0;
  // Columns of one block go together: the lines that they write are then few.
  const int64_t width = std::min<int64_t>(s.inner, 64), blocks = ceil_div(s.inner, width);
  const int64_t step = std::max<int64_t>(1, kTask / (s.m * width));
  return with_width(itemsize, [&]<class T>(T) {
    return in_parts(s.outer * blocks, step, index_cost_ns(count), [&](int64_t begin, int64_t end) {
      Reader read(index);
      for (int64_t item = begin; item < end; ++item) {
        const int64_t o = item / blocks, j = item % blocks * width;
        const int64_t cols = std::min(width, s.inner - j);
        const auto* from = static_cast<const T*>(source);
        if (one)
          scatter_part<0>(s, from, read, index.of, o, j, cols, static_cast<T*>(y));
        else
          scatter_part<1>(s, from, read, index.of, o, j, cols, static_cast<T*>(y));
      }
      return read.all_inside();
    });
  });
}

bool put_slices(const Lines& s, size_t itemsize, const void* source, bool one, const Index& index,
                void* y) {
  if (s.m == 0 || s.n == 0) return s.m == 0;
  Scratch<int64_t> room(static_cast<size_t>(s.m));
  const int64_t* at = room.get();
  if (!checked_copy(index, s.m, room.get())) return false;
  if (s.chosen() == 0) return true;
  const int64_t bytes = s.inner * static_cast<int64_t>(itemsize);
  const int64_t step = std::max<int64_t>(1, kTask / (s.m * s.inner));
  return with_width(itemsize, [&]<class T>(T) {
    return in_parts(s.outer, step, index_cost_ns(s.chosen()), [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o)
        for (int64_t i = 0; i < s.m; ++i) {
          T* to = static_cast<T*>(y) + (o * s.n + at[i]) * s.inner;
          if (one)
            std::fill_n(to, s.inner, *static_cast<const T*>(source));
          else
            copy_run(static_cast<const char*>(source) + (o * s.m + i) * bytes,
                     reinterpret_cast<char*>(to), bytes);
        }
      return true;
    });
  });
}

namespace {

// Through a wider type, for what is rare enough to be copied: integers of fewer bits, whose bits
// are the lower ones of the result, and bfloat16.
template <class W, class T>
bool reduce_widened(const Lines& s, Combine how, bool include_self, const T* start, const T* source,
                    const Index& index, bool same, T* y) {
  const int64_t places = s.outer * s.n * s.inner, count = s.chosen();
  Scratch<W> begin(static_cast<size_t>(start ? places : 0)), from(static_cast<size_t>(count));
  Scratch<W> to(static_cast<size_t>(places));
  for (int64_t i = 0; start && i < places; ++i)
    begin.get()[i] = reducing::accumulator_of<W>(start[i]);
  for (int64_t i = 0; i < count; ++i) from.get()[i] = reducing::accumulator_of<W>(source[i]);
  if (!scatter_reduce<W>(s, how, include_self, start ? begin.get() : nullptr, from.get(), index,
                         same, to.get()))
    return false;
  for (int64_t i = 0; i < places; ++i) y[i] = reducing::element_of<T>(to.get()[i]);
  return true;
}

}  // namespace

template <class T>
bool scatter_reduce(const Lines& s, Combine how, bool include_self, const T* start, const T* source,
                    const Index& index, bool same, T* y) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return reduce_widened<float>(s, how, include_self, start, source, index, same, y);
  else if constexpr (std::is_integral_v<T> && sizeof(T) < 8)
    return reduce_widened<int64_t>(s, how, include_self, start, source, index, same, y);
  else
    return reducing::Reducing<T>{s, how, include_self, start, source, index, same, y}.run();
}

#define TW_REDUCED(T)                                                                         \
  template bool scatter_reduce(const Lines&, Combine, bool, const T*, const T*, const Index&, \
                               bool, T*);
TW_REDUCED(float)
TW_REDUCED(double)
TW_REDUCED(bfloat16)
TW_REDUCED(int64_t)
TW_REDUCED(int32_t)
TW_REDUCED(uint32_t)
TW_REDUCED(uint8_t)
#undef TW_REDUCED

}  // namespace tilework
