#include "kernels/pool/pool.h"

#include <algorithm>
#include <vector>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/stream.h"
#include "base/thread_pool.h"
#include "base/variants.h"
#include "kernels/copy/copy.h"

#define TW_FAMILY pool
#define TW_KERNELS PoolKernels
#include "base/family.inc"

namespace tilework {
namespace {

constexpr int64_t kTaskElements = 1 << 14;  // of x: less is not worth a task of its own

int64_t most_taps(const Window* windows, int64_t count) {
  int64_t most = 0;
  for (int64_t o = 0; o < count; ++o) most = std::max(most, windows[o].taps);
  return most;
}

int64_t most_col_taps(const PoolShape& s) {
  if (!s.col_runs) return most_taps(s.cols, s.out_width);
  int64_t most = 0;
  for (int64_t r = 0; r < s.col_run_count; ++r) most = std::max(most, s.col_runs[r].first.taps);
  return most;
}

constexpr int64_t kNone = 3, kFewest = 4;  // for a vector to be worth it

// Of `count` windows that are all alike.
RegularRun run_of(int64_t count, int64_t stride, int64_t taps) {
  return {0, count, stride >= 1 && taps > 0 && count >= kFewest ? stride : kNone};
}

// From the first window with all its taps on.
RegularRun regular_run(const PoolShape& s) {
  const Window* w = s.cols;
  const int64_t taps = most_taps(w, s.out_width);
  int64_t begin = 0;
  while (w[begin].taps < taps) ++begin;
  int64_t end = begin + 1;
  const int64_t stride = end < s.out_width ? w[end].start - w[begin].start : kNone;
  while (end < s.out_width && w[end].taps == taps && w[end].step == w[begin].step &&
         w[end].size == w[begin].size && w[end].start - w[end - 1].start == stride)
    ++end;
  const bool regular = stride >= 1 && taps > 0 && end - begin >= kFewest;
  return {begin, end, regular ? stride : kNone};
}

// A planar pooling of whole planes is one of single rows, as long as a plane.
class Flattened {
 public:
  explicit Flattened(const PoolShape& s) : shape(s) {
    const auto whole = [](const Window& w, int64_t n) { return w.taps == n && w.step == 1; };
    if (s.inner > 1 || s.out_height > 1 || s.out_width > 1 || !whole(s.rows[0], s.height) ||
        !whole(s.cols[0], s.width))
      return;
    row_ = {0, 1, 1, s.rows[0].size};
    col_ = {0, 1, s.height * s.width, s.cols[0].size};
    shape.height = 1;
    shape.width = col_.taps;
    shape.rows = &row_;
    shape.cols = &col_;
  }
  Flattened(const Flattened&) = delete;
  Flattened& operator=(const Flattened&) = delete;

  PoolShape shape;

 private:
  Window row_, col_;
};

// Who covers each of `in` inputs, in the order of the outputs.
class Inverse {
 public:
  Inverse(const Window* windows, int64_t out, int64_t in) : first_(static_cast<size_t>(in) + 1) {
    const auto each = [&](auto visit) {
      for (int64_t o = 0; o < out; ++o)
        for (int64_t t = 0; t < windows[o].taps; ++t)
          visit(static_cast<size_t>(windows[o].start + t * windows[o].step), Coverer{o, t});
    };
    each([&](size_t p, Coverer) { ++first_[p + 1]; });
    for (size_t p = 0; p < static_cast<size_t>(in); ++p) first_[p + 1] += first_[p];
    coverers_.resize(static_cast<size_t>(first_.back()));
    std::vector<int64_t> next = first_;
    each([&](size_t p, Coverer c) { coverers_[static_cast<size_t>(next[p]++)] = c; });
  }
  Coverage view() const { return {first_.data(), coverers_.data()}; }

 private:
  std::vector<int64_t> first_;
  std::vector<Coverer> coverers_;
};

// What the caches cannot hold goes around them, in pieces that L1 holds.
template <class T>
int64_t stage_rows(int64_t rows, int64_t size) {
  constexpr int64_t kStageBytes = 16 << 10, kLongest = 64 << 10;
  const int64_t row_bytes = size * static_cast<int64_t>(sizeof(T));
  if (rows * row_bytes < kStreamBytes || row_bytes > kLongest) return 0;
  return std::max<int64_t>(1, kStageBytes / row_bytes);
}

// kernel(first, count, buffer) over `total` rows; `elements` say what a row costs.
template <class T, class Kernel>
void for_each_rows(int64_t total, int64_t elements, int64_t buffer_size, double cost_ns,
                   Kernel kernel) {
  const int64_t block = std::max<int64_t>(1, kTaskElements / std::max<int64_t>(1, elements));
  parallel_for(ceil_div(total, block), cost_ns, [&](int64_t task) {
    Scratch<T> buffer(static_cast<size_t>(buffer_size));
    kernel(task * block, std::min(block, total - task * block), buffer.get());
  });
}

bool has_no_outputs(const PoolShape& s) {
  return s.outer * s.inner == 0 || s.out_height == 0 || s.out_width == 0;
}

// Where a forward pass reads and writes.
template <class T>
struct Passage {
  const T* x;
  T* y;
  char* saved;  // positions of `bytes` each, or null
  int64_t bytes;

  Passage moved(int64_t in, int64_t out) const {
    return {x + in, y + out, saved ? saved + out * bytes : nullptr, bytes};
  }
};

// Rows of a plane shorter than a vector leave lanes idle, and narrow ones most of them. So the
// lanes hold planes there: some of them are turned, so that each pixel has theirs side by side, as
// channels-last has its channels, and the results are turned back. All of it lies in L1.
constexpr int64_t kTurnedBytes = 128, kTurnedWidth = 16, kTurnedPlane = 1024;
template <class T>
constexpr int64_t kTurnedPlanes = kTurnedBytes / sizeof(T);

template <class T>
bool turns(const PoolShape& s) {
  return s.inner == 1 && s.outer >= kTurnedPlanes<T> / 2 && s.height > 1 &&
         s.out_width <= kTurnedWidth && s.out_width * s.out_height > 1 &&
         s.height * s.width <= kTurnedPlane;
}

// group(shape, first, planes) for each group of planes, whose shape has them as channels.
template <class T, class Group>
void for_each_group(const PoolShape& s, Group group) {
  const int64_t groups = ceil_div(s.outer, kTurnedPlanes<T>);
  const int64_t block =
      std::max<int64_t>(1, kTaskElements / (kTurnedPlanes<T> * s.height * s.width));
  parallel_for(ceil_div(groups, block), pool_cost_ns(s, sizeof(T)), [&](int64_t task) {
    for (int64_t g = task * block; g < std::min(groups, (task + 1) * block); ++g) {
      const int64_t first = g * kTurnedPlanes<T>;
      PoolShape turned = s;
      turned.outer = 1;
      turned.inner = std::min(kTurnedPlanes<T>, s.outer - first);
      group(turned, first);
    }
  });
}

template <class T, class Kernel>
void forward_turned(const PoolShape& s, const Passage<T>& pass, Kernel kernel) {
  const int64_t in = s.height * s.width, out = s.out_height * s.out_width;
  for_each_group<T>(s, [&](const PoolShape& turned, int64_t first) {
    const int64_t planes = turned.inner;
    const Passage<T> own = pass.moved(first * in, first * out);
    Scratch<T> room(static_cast<size_t>(planes * (in + out) + pool_buffer_size(turned)));
    Scratch<char> positions(static_cast<size_t>(pass.saved ? planes * out * pass.bytes : 0));
    T *x = room.get(), *y = x + planes * in, *buffer = y + planes * out;
    transpose(own.x, planes, in, x);
    const Passage<T> inside = {x, y, pass.saved ? positions.get() : nullptr, pass.bytes};
    kernel(inside, PoolJob{turned, regular_run(turned), 0}, 0, s.out_height, buffer);
    transpose(y, out, planes, own.y);
    if (pass.saved && pass.bytes == 1)
      transpose(reinterpret_cast<uint8_t*>(inside.saved), out, planes,
                reinterpret_cast<uint8_t*>(own.saved));
    else if (pass.saved)
      transpose(reinterpret_cast<uint32_t*>(inside.saved), out, planes,
                reinterpret_cast<uint32_t*>(own.saved));
  });
}

// Rows by runs of their columns, each in segments that L1 holds, all by one short table.
template <class T, class Kernel>
void forward_runs(const PoolShape& s, const Passage<T>& pass, Kernel kernel) {
  constexpr int64_t kSegment = 1024;
  int64_t done = 0;
  for (int64_t r = 0; r < s.col_run_count; ++r) {
    const WindowRun& run = s.col_runs[r];
    // Of a regular run, the kernel asks for the first alone; a last segment may be too short for
    // it.
    const bool regular = run_of(kFewest, run.stride, run.first.taps).stride < kNone;
    std::vector<Window> windows(
        static_cast<size_t>(std::min(run.count, regular ? kFewest : kSegment)), run.first);
    for (size_t i = 0; i < windows.size(); ++i)
      windows[i].start = static_cast<int64_t>(i) * run.stride;
    const int64_t segments = ceil_div(run.count, kSegment);
    parallel_for(s.outer * segments, pool_cost_ns(s, sizeof(T)), [&](int64_t task) {
      const int64_t row = task / segments, first = task % segments * kSegment;
      PoolShape piece = s;
      piece.outer = 1;
      piece.out_width = std::min(kSegment, run.count - first);
      piece.width = (piece.out_width - 1) * run.stride +
                    std::max<int64_t>(run.first.taps - 1, 0) * run.first.step + 1;
      piece.cols = windows.data();
      piece.col_runs = nullptr;
      Scratch<T> buffer(static_cast<size_t>(pool_buffer_size(piece)));
      const RegularRun regular = run_of(piece.out_width, run.stride, run.first.taps);
      kernel(pass.moved(row * s.width + run.first.start + first * run.stride,
                        row * s.out_width + done + first),
             PoolJob{piece, regular, 0}, 0, 1, buffer.get());
    });
    done += run.count;
  }
}

// kernel(passage, job, first, count, buffer) over the rows of outputs.
template <class T, class Kernel>
void forward(const PoolShape& given, const Passage<T>& pass, Kernel kernel) {
  if (has_no_outputs(given)) return;
  if (given.col_runs) return forward_runs(given, pass, kernel);
  if (turns<T>(given)) return forward_turned(given, pass, kernel);
  const Flattened flat(given);
  const PoolShape& s = flat.shape;
  const int64_t rows = s.outer * s.out_height, size = s.out_width * s.inner;
  const PoolJob job{s, regular_run(s), stage_rows<T>(rows, size)};
  for_each_rows<T>(
      rows, std::max<int64_t>(1, s.height / s.out_height) * s.width * s.inner,
      pool_buffer_size(s) + job.stage_rows * size, pool_cost_ns(s, sizeof(T)),
      [&](int64_t first, int64_t count, T* buffer) { kernel(pass, job, first, count, buffer); });
}

// kernel(grad, saved, dx, job, first, count, stage) over the rows of dx.
template <class T, class Kernel>
void backward_turned(const PoolShape& s, const T* grad, const char* saved, int64_t bytes, T* dx,
                     Coverage by_row, Coverage by_col, Kernel kernel) {
  const int64_t in = s.height * s.width, out = s.out_height * s.out_width;
  for_each_group<T>(s, [&](const PoolShape& turned, int64_t first) {
    const int64_t planes = turned.inner;
    Scratch<T> room(static_cast<size_t>(planes * (in + out)));
    Scratch<char> positions(static_cast<size_t>(saved ? planes * out * bytes : 0));
    T *g = room.get(), *d = g + planes * out;
    transpose(grad + first * out, planes, out, g);
    const char* own = saved ? saved + first * out * bytes : nullptr;
    if (saved && bytes == 1)
      transpose(reinterpret_cast<const uint8_t*>(own), planes, out,
                reinterpret_cast<uint8_t*>(positions.get()));
    else if (saved)
      transpose(reinterpret_cast<const uint32_t*>(own), planes, out,
                reinterpret_cast<uint32_t*>(positions.get()));
    const PoolBackwardJob job{{turned, regular_run(turned), 0}, by_row, by_col};
    kernel(g, positions.get(), d, job, 0, s.height, nullptr);
    transpose(d, in, planes, dx + first * in);
  });
}

template <class T, class Kernel>
void backward(const PoolShape& given, const T* grad, const char* saved, int64_t bytes, T* dx,
              Kernel kernel) {
  if (has_no_outputs(given)) {
    std::fill_n(dx, given.outer * given.height * given.width * given.inner, T(0));
    return;
  }
  const Flattened flat(given);
  const PoolShape& s = flat.shape;
  const Inverse by_row(s.rows, s.out_height, s.height), by_col(s.cols, s.out_width, s.width);
  if (turns<T>(s))
    return backward_turned(s, grad, saved, bytes, dx, by_row.view(), by_col.view(), kernel);
  const int64_t rows = s.outer * s.height, size = s.width * s.inner;
  const PoolBackwardJob job{
      {s, regular_run(s), stage_rows<T>(rows, size)}, by_row.view(), by_col.view()};
  for_each_rows<T>(rows, size, job.stage_rows * size, pool_cost_ns(s, sizeof(T)),
                   [&](int64_t first, int64_t count, T* stage) {
                     kernel(grad, saved, dx, job, first, count, stage);
                   });
}

int64_t position_bytes(const PoolShape& s) { return s.wide_positions ? 4 : 1; }

}  // namespace

bool needs_wide_positions(const PoolShape& s) {
  return most_taps(s.rows, s.out_height) * most_col_taps(s) > 256;
}

bool walks_runs(const PoolShape& s) {
  return s.inner == 1 && s.height == 1 && s.out_height == 1 && s.rows[0].taps == 1;
}

double pool_cost_ns(const PoolShape& s, size_t itemsize) {
  const double taps =
      static_cast<double>(most_taps(s.rows, s.out_height)) * static_cast<double>(most_col_taps(s));
  const double planes = static_cast<double>(s.outer * s.inner);
  const double in = planes * static_cast<double>(s.height * s.width);
  const double out = planes * static_cast<double>(s.out_height * s.out_width);
  return static_cast<double>(itemsize) * (0.08 * in + 0.03 * out * taps) + 100;
}

template <class T>
void pool_max_forward(const T* x, T* y, void* saved, const PoolShape& shape) {
  const PoolTable<T>& kernels = g_variants.of<T>();
  const Passage<T> pass = {x, y, static_cast<char*>(saved), position_bytes(shape)};
  forward(shape, pass,
          [&](const Passage<T>& p, const PoolJob& job, int64_t first, int64_t count, T* buffer) {
            if (p.saved)
              kernels.max_with_positions(p.x, p.y, p.saved, job, first, count, buffer);
            else
              kernels.max(p.x, p.y, job, first, count, buffer);
          });
}

template <class T>
void pool_average_forward(const T* x, T* y, const PoolShape& shape) {
  forward(shape, Passage<T>{x, y, nullptr, 0},
          [kernel = g_variants.of<T>().average](const Passage<T>& p, const PoolJob& job,
                                                int64_t first, int64_t count, T* buffer) {
            kernel(p.x, p.y, job, first, count, buffer);
          });
}

template <class T>
void pool_max_backward(const T* grad, const void* saved, T* dx, const PoolShape& shape) {
  backward(shape, grad, static_cast<const char*>(saved), position_bytes(shape), dx,
           [kernel = g_variants.of<T>().max_backward](
               const T* g, const char* positions, T* d, const PoolBackwardJob& job, int64_t first,
               int64_t count, T* stage) { kernel(g, positions, d, job, first, count, stage); });
}

template <class T>
void pool_average_backward(const T* grad, T* dx, const PoolShape& shape) {
  backward(shape, grad, nullptr, 0, dx,
           [kernel = g_variants.of<T>().average_backward](
               const T* g, const char*, T* d, const PoolBackwardJob& job, int64_t first,
               int64_t count, T* stage) { kernel(g, d, job, first, count, stage); });
}

#define TW_INSTANTIATE(T)                                                       \
  template void pool_max_forward(const T*, T*, void*, const PoolShape&);        \
  template void pool_average_forward(const T*, T*, const PoolShape&);           \
  template void pool_max_backward(const T*, const void*, T*, const PoolShape&); \
  template void pool_average_backward(const T*, T*, const PoolShape&);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
#undef TW_INSTANTIATE

}  // namespace tilework
