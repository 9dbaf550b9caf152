#include "kernels/conv/conv.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "base/variants.h"
#include "kernels/conv/pieces.h"
#include "kernels/gemm/gemm.h"

#define TW_FAMILY conv
#define TW_KERNELS ConvKernels
#include "base/family.inc"

namespace tilework {
namespace {

// Below this an operation is over before a second thread has woken up.
constexpr double kWorthCutting_ns = 20e3;

// The name of the one routine to take, or null: the first that suits.
std::atomic<const char*> g_asked{nullptr};

bool is_asked(const char* name) {
  const char* asked = g_asked.load(std::memory_order_relaxed);
  return !asked || std::strcmp(asked, name) == 0;
}

template <class T>
const ConvRoutines<T>& routines_of(const ConvKernels& table) {
  if constexpr (std::is_same_v<T, float>)
    return table.f32;
  else if constexpr (std::is_same_v<T, bfloat16>)
    return table.bf16;
  else
    return table.f64;
}
template <class T>
std::span<const ConvRoutine<Correlation<T>>> routines_for(const ConvKernels& table,
                                                          const Correlation<T>&) {
  const ConvRoutines<T>& all = routines_of<T>(table);
  return {all.correlations, static_cast<size_t>(all.correlation_count)};
}
template <class T>
std::span<const ConvRoutine<WeightGradient<T>>> routines_for(const ConvKernels& table,
                                                             const WeightGradient<T>&) {
  const ConvRoutines<T>& all = routines_of<T>(table);
  return {all.weight_gradients, static_cast<size_t>(all.weight_gradient_count)};
}

template <class Args>
[[noreturn]] void refuse_asked(const Args& args) {
  std::string suiting;
  for (const ConvKernels* table = g_variants.best().table; table; table = table->next)
    for (const ConvRoutine<Args>& routine : routines_for(*table, args))
      if (routine.suits(args)) suiting += std::string(suiting.empty() ? "" : ", ") + routine.name;
  throw std::invalid_argument("[set_conv_routine] expected a routine that suits the convolution (" +
                              suiting + "); got " + g_asked.load() + " for groups of " +
                              std::to_string(args.channels) + " channels and " +
                              std::to_string(args.outs) + " outputs: set one of these, or None");
}

// The first routine that suits, in the active variant's table or in one that serves in its place.
template <class Args>
struct Serving {
  const ConvKernels* table;
  const ConvRoutine<Args>* routine;
};
template <class Args>
Serving<Args> serving(const Args& args) {
  for (const ConvKernels* table = g_variants.best().table; table; table = table->next)
    for (const ConvRoutine<Args>& routine : routines_for(*table, args))
      if (is_asked(routine.name) && routine.suits(args)) return {table, &routine};
  refuse_asked(args);
}
template <class Args>
const ConvRoutine<Args>& routine_of(const Args& args) {
  return *serving(args).routine;
}

template <class T>
Epilogue<T> epilogue_from(Epilogue<T> e, int64_t offset) {
  if (e.residual) e.residual += offset;
  if (e.preactivation) e.preactivation += offset;
  return e;
}

template <class Args>
void run_on_this_thread(const Args& args, const ConvRoutine<Args>& routine) {
  Scratch<char> workspace(routine.workspace_bytes(args));
  routine.run(args, workspace.get());
}

template <class T>
void pack_weights(const Correlation<T>& g, const ConvRoutine<Correlation<T>>& routine,
                  char* packed) {
  const OutUnits units(g, routine);
  const double bytes = static_cast<double>(units.packed_bytes) * static_cast<double>(units.count);
  // What a routine packs together is read whole lines at a time.
  constexpr int64_t kAtOnce = 4;
  parallel_for(ceil_div(units.count, kAtOnce), bytes / 4, [&](int64_t i) {
    const int64_t unit = i * kAtOnce, begin = unit * units.size;
    const int64_t end = std::min(units.end, begin + kAtOnce * units.size);
    routine.pack(outs_of(g, begin, end - begin, units),
                 packed + unit * static_cast<int64_t>(units.packed_bytes));
  });
}

// The axes along which windows lie so far apart that a copy of x with the zeros around it would be
// mostly zeros, or more than there is memory for.
struct FarApart {
  bool rows, cols;

  explicit FarApart(const ConvGeometry& g) {
    Tap low{}, high{};
    for (int64_t i = 0; i < g.tap_count; ++i) {
      const Tap& tap = g.taps[i];
      low = {std::min(low.row, tap.row), std::min(low.col, tap.col), 0};
      high = {std::max(high.row, tap.row), std::max(high.col, tap.col), 0};
    }
    rows =
        zeros(low.row, (g.rows - 1) * g.row_step + high.row, g.in_rows) > room(g.rows, g.in_rows);
    cols =
        zeros(low.col, (g.cols - 1) * g.col_step + high.col, g.in_cols) > room(g.cols, g.in_cols);
  }
  explicit operator bool() const { return rows || cols; }

 private:
  static int64_t zeros(int64_t first, int64_t last, int64_t size) {
    return std::max<int64_t>(0, -first) + std::max<int64_t>(0, last + 1 - size);
  }
  static int64_t room(int64_t windows, int64_t size) { return 4 * (windows + size) + 64; }
};

template <class T>
void correlate(Correlation<T> g, double cost_ns, const PackedKernel& packed);

// One window at a time along these axes: what is left of its taps lies within x.
template <class T>
void correlate_apart(const Correlation<T>& g, const FarApart& far, double cost_ns) {
  const int64_t rows = far.rows ? g.rows : 1, cols = far.cols ? g.cols : 1;
  const int64_t row_windows = far.rows ? 1 : g.rows, col_windows = far.cols ? 1 : g.cols;
  std::vector<Tap> taps;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      taps.clear();
      for (int64_t i = 0; i < g.tap_count; ++i) {
        const Tap& tap = g.taps[i];
        const Tap here{tap.row + r * g.row_step, tap.col + c * g.col_step, tap.weight};
        if (Met(row_windows, g.row_step, here.row, g.in_rows).count &&
            Met(col_windows, g.col_step, here.col, g.in_cols).count)
          taps.push_back(here);
      }
      const int64_t at = r * g.y_row + c * g.y_col;
      Correlation<T> piece = g;
      piece.rows = row_windows;
      piece.cols = col_windows;
      piece.taps = taps.data();
      piece.tap_count = static_cast<int64_t>(taps.size());
      piece.y += at;
      piece.epilogue = epilogue_from(g.epilogue, at);
      correlate(piece, cost_ns / static_cast<double>(rows) / static_cast<double>(cols), {});
    }
}

template <class T>
void correlate(Correlation<T> g, double cost_ns, const PackedKernel& packed) {
  if (g.images == 0 || g.rows == 0 || g.cols == 0 || g.outs == 0 || g.groups == 0) return;
  if (const FarApart far(g); far) return correlate_apart(g, far, cost_ns);
  const auto& routine = routine_of(g);
  const OutUnits units(g, routine);
  if (packed.routine == &routine) g.packed = packed.data;
  const bool packs = routine.needs_packed && !g.packed;
  Scratch<char> own(packs ? units.packed_bytes * static_cast<size_t>(units.count) : 0);
  if (packs) {
    pack_weights(g, routine, own.get());
    g.packed = own.get();
  }
  const int threads = cost_ns < kWorthCutting_ns ? 1 : num_threads();
  if (threads == 1) return run_on_this_thread(g, routine);

  const int64_t row_unit = routine.row_unit ? routine.row_unit(g) : 1;
  const int64_t bands_most = ceil_div(g.rows, row_unit);
  const Grid grid = choose_grid(g.images * g.rows * g.cols, g.images * bands_most,
                                g.groups * g.outs, units.count, threads);
  // Whole images where they come out even, else each image's rows.
  const bool whole = g.images % grid.rows == 0;
  const int64_t bands = whole ? 1 : std::min(grid.rows, bands_most);
  const auto row_of = [&](int64_t band) {
    return std::min(g.rows, bands_most * band / bands * row_unit);
  };
  const int64_t images = whole ? grid.rows : g.images;
  parallel_for(images * bands * grid.cols, cost_ns, [&](int64_t task) {
    const int64_t o = task % grid.cols, band = task / grid.cols % bands;
    const int64_t i = task / grid.cols / bands;
    const int64_t out = units.count * o / grid.cols * units.size;
    const int64_t out_end = std::min(units.end, units.count * (o + 1) / grid.cols * units.size);
    const int64_t row = row_of(band), row_end = row_of(band + 1);
    const int64_t image = g.images * i / images, image_end = g.images * (i + 1) / images;
    const Correlation<T> piece =
        rows_of(images_of(g, image, image_end - image), row, row_end - row);
    run_on_this_thread(outs_of(piece, out, out_end - out, units), routine);
  });
}

// Sums in dweight with those of further slices, which lie in `more` one after another.
template <class T>
void add_slices(T* dweight, int64_t elements, const T* more, int64_t slices) {
  constexpr int64_t kAtOnce = 4096;
  const double bytes = static_cast<double>(elements * (slices + 2)) * sizeof(T);
  parallel_for(ceil_div(elements, kAtOnce), bytes / 8, [&](int64_t part) {
    const int64_t end = std::min(elements, (part + 1) * kAtOnce);
    for (int64_t s = 0; s < slices; ++s)
      for (int64_t i = part * kAtOnce; i < end; ++i) dweight[i] += more[s * elements + i];
  });
}

// dense: the taps are all that dweight holds.
template <class T>
void weight_gradient(const WeightGradient<T>& g, bool dense, double cost_ns) {
  if (g.channels == 0 || g.outs == 0 || g.groups == 0 || g.tap_count == 0) return;
  const auto& routine = routine_of(g);
  if (cost_ns < kWorthCutting_ns) return run_on_this_thread(g, routine);

  constexpr int64_t kWorthCutting = 64;  // channels
  const int64_t channel_unit = ceil_div(kFewChannels, routine.channel_unit) * routine.channel_unit;
  const int64_t out_unit = g.groups > 1 ? 1 : routine.out_unit;
  const int64_t outs = g.groups > 1 ? g.groups : g.outs, out_units = ceil_div(outs, out_unit);
  const int64_t channel_units =
      g.groups > 1 || g.channels < kWorthCutting ? 1 : g.channels / channel_unit;
  // bfloat16 is rounded once, so that its sums cannot lie in several slices; and slices are added
  // as they lie.
  const PixelSlices slices = std::is_same_v<T, bfloat16> || !dense
                                 ? PixelSlices{}
                                 : PixelSlices::of(g, out_units * channel_units);
  const auto threads = static_cast<int>(ceil_div(num_threads(), slices.count()));
  const Grid grid = choose_grid(g.channels * g.tap_count, channel_units, outs, out_units, threads);
  const int64_t pieces = grid.rows * grid.cols;
  const int64_t elements = g.groups * g.outs * g.channels * g.tap_count;
  Scratch<T> more(static_cast<size_t>(elements * (slices.count() - 1)));
  parallel_for(slices.count() * pieces, cost_ns, [&](int64_t task) {
    const int64_t s = task / pieces, c = task % grid.rows, o = task % pieces / grid.rows;
    const int64_t out = out_units * o / grid.cols * out_unit;
    const int64_t out_end = std::min(outs, out_units * (o + 1) / grid.cols * out_unit);
    const auto cut = [&](int64_t i) {
      return i == grid.rows ? g.channels : channel_units * i / grid.rows * channel_unit;
    };
    WeightGradient<T> slice = slices.slice(g, s);
    if (s > 0) slice.dweight = more.get() + (s - 1) * elements;
    run_on_this_thread(piece_of(slice, out, out_end - out, cut(c), cut(c + 1) - cut(c)), routine);
  });
  if constexpr (!std::is_same_v<T, bfloat16>)
    if (slices.count() > 1) add_slices(g.dweight, elements, more.get(), slices.count() - 1);
}

// One tap at a time, over the windows under which it meets x.
template <class T>
void weight_gradient_apart(const WeightGradient<T>& g, double cost_ns) {
  for (int64_t i = 0; i < g.tap_count; ++i) {
    const Tap& tap = g.taps[i];
    const Met rows(g.rows, g.row_step, tap.row, g.in_rows);
    const Met cols(g.cols, g.col_step, tap.col, g.in_cols);
    const Tap here{tap.row + rows.first * g.row_step, tap.col + cols.first * g.col_step,
                   tap.weight};
    WeightGradient<T> piece = g;
    piece.rows = rows.count;
    piece.cols = cols.count;
    piece.grad += rows.first * g.grad_row + cols.first * g.grad_col;
    piece.taps = &here;
    piece.tap_count = 1;
    weight_gradient(piece, false, cost_ns / static_cast<double>(g.tap_count));
  }
}

// A 1x1 window at every pixel: one product, where pixels lie at one stride.
bool is_product(const ConvShape& s) {
  return s.kernel_rows == 1 && s.kernel_cols == 1 && s.groups == 1 && s.row_step == 1 &&
         s.col_step == 1 && s.row_padding == 0 && s.col_padding == 0 && s.rows == s.in_rows &&
         s.cols == s.in_cols;
}

// Where the product's own routines do better than the correlation's: on tiles, and where pixels are
// adjacent rather than channels, which a correlation would have to copy.
template <class T>
bool prefers_product(const ConvShape& s, const ImageView<const T>& x) {
  constexpr bool kBf16 = std::is_same_v<T, bfloat16>;  // which a product widens in registers
  return is_product(s) && !conv_routine() &&
         (kBf16 || x.channel != 1 || (sizeof(T) == 4 && active_isa() > Isa::avx512));
}

template <class T>
Output<T> output(T* y) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return {reinterpret_cast<char*>(y), false};
  else
    return y;
}

// Pixels as the rows of a matrix: all of them, or each image's.
struct PixelRows {
  int64_t batches, rows, batch, row;
  bool valid;

  bool is_one() const { return valid && batches == 1; }
};
template <class T>
PixelRows pixel_rows(const ConvShape& s, const ImageView<T>& x) {
  const int64_t step = s.in_cols > 1 ? x.col : x.row;
  if (s.in_cols > 1 && s.in_rows > 1 && x.row != s.in_cols * x.col) return {0, 0, 0, 0, false};
  const int64_t pixels = s.in_rows * s.in_cols;
  if (s.images == 1 || x.image == pixels * step)
    return {1, s.images * pixels, 0, pixels > 1 ? step : x.image, true};
  return {s.images, pixels, x.image, step, true};
}

// One product a batch of pixels. A convolution's is by its weights, its gradient's by their
// transpose.
template <class T>
struct PixelProduct {
  PixelRows rows;
  GemmArgs<T> args;
};
template <class T>
PixelProduct<T> pixel_product(const PixelRows& p, const ImageView<const T>& x, int64_t channels,
                              int64_t outs, const T* w, int64_t w_channel, int64_t w_out, T* y,
                              const Epilogue<T>& epilogue) {
  PixelProduct<T> product{p,
                          {.m = p.rows,
                           .n = outs,
                           .k = channels,
                           .a = {x.data, p.row, x.channel},
                           .b = {w, w_channel, w_out},
                           .c = output(y),
                           .c_row = outs,
                           .epilogue = epilogue,
                           .precision = matmul_precision()}};
  product.args.epilogue.residual_row = product.args.epilogue.preactivation_row = outs;
  return product;
}
template <class T>
PixelProduct<T> forward_product(const ConvShape& s, const ImageView<const T>& x,
                                const KernelView<const T>& w, T* y, const Epilogue<T>& epilogue) {
  return pixel_product(pixel_rows(s, x), x, s.channels, s.outs, w.data, w.channel, w.out, y,
                       epilogue);
}
template <class T>
PixelProduct<T> gradient_product(const ConvShape& s, const ImageView<const T>& dy,
                                 const KernelView<const T>& w, T* dx, const Epilogue<T>& epilogue) {
  return pixel_product(pixel_rows(s, dy), dy, s.outs, s.channels, w.data, w.out, w.channel, dx,
                       epilogue);
}

// The weights' gradient as one product over all pixels, where these lie at one stride. Of bfloat16,
// which a product widens in registers or multiplies as it is.
template <class T>
bool prefers_product(const ConvShape& s, const ImageView<const T>& x, const ImageView<const T>& dy,
                     const KernelView<T>& dweight) {
  return std::is_same_v<T, bfloat16> && is_product(s) && !conv_routine() &&
         pixel_rows(s, x).is_one() && pixel_rows(s, dy).is_one() &&
         (dweight.out == 1 || dweight.channel == 1);
}
template <class T>
GemmArgs<T> weight_gradient_product(const ConvShape& s, const ImageView<const T>& x,
                                    const ImageView<const T>& dy, const KernelView<T>& dweight) {
  const int64_t pixels = s.images * s.in_rows * s.in_cols;
  const int64_t x_row = pixel_rows(s, x).row, dy_row = pixel_rows(s, dy).row;
  if (dweight.out == 1)
    return {.m = s.channels,
            .n = s.outs,
            .k = pixels,
            .a = {x.data, x.channel, x_row},
            .b = {dy.data, dy_row, dy.channel},
            .c = output(dweight.data),
            .c_row = dweight.channel};
  return {.m = s.outs,
          .n = s.channels,
          .k = pixels,
          .a = {dy.data, dy.channel, dy_row},
          .b = {x.data, x_row, x.channel},
          .c = output(dweight.data),
          .c_row = dweight.out};
}

template <class T>
void multiply_pixels(const PixelProduct<T>& product, const PackedKernel& packed) {
  GemmArgs<T> g = product.args;
  g.packed = {static_cast<const GemmRoutine<T>*>(packed.routine), packed.data};
  for (int64_t i = 0; i < product.rows.batches; ++i) {
    gemm(g);
    g.a.data += product.rows.batch;
    g.c += g.m * g.n;
    if (g.epilogue.residual) g.epilogue.residual += g.m * g.n;
    if (g.epilogue.preactivation) g.epilogue.preactivation += g.m * g.n;
  }
}

}  // namespace

template <class T>
void to_channels_last(int64_t images, int64_t channels, int64_t rows, int64_t cols,
                      const ImageView<const T>& x, T* out) {
  const ConvKernels* table = g_variants.best().table;
  while (!routines_of<T>(*table).arrange_row) table = table->next;
  const auto arrange_row = routines_of<T>(*table).arrange_row;
  const double elements = static_cast<double>(images * channels) * static_cast<double>(rows * cols);
  // Rows that follow on are one long row: each channel is then a stream that the hardware foresees.
  constexpr int64_t kPixels = 1024;
  const bool joined = x.row == cols * x.col;
  const int64_t at_once = joined ? std::max<int64_t>(1, kPixels / std::max<int64_t>(1, cols)) : 1;
  const int64_t bands = ceil_div(rows, at_once);
  parallel_for(images * bands, elements / 2, [&](int64_t i) {
    const int64_t image = i / bands, row = i % bands * at_once;
    arrange_row(std::min(at_once, rows - row) * cols, channels,
                x.data + image * x.image + row * x.row, x.col, x.channel,
                out + (image * rows + row) * cols * channels);
  });
}

template <class T>
double conv_cost_ns(const ConvShape& s) {
  return gemm_cost_ns<T>(s.images * s.rows * s.cols, s.groups ? s.outs / s.groups : 0,
                         s.channels * s.kernel_rows * s.kernel_cols);
}

template <class T>
void conv_forward(const ConvShape& s, const ImageView<const T>& x,
                  const KernelView<const T>& weight, T* y, const Epilogue<T>& epilogue,
                  const PackedKernel& packed) {
  if (prefers_product(s, x)) {
    const PixelProduct<T> product = forward_product(s, x, weight, y, epilogue);
    if (product.rows.valid) return multiply_pixels(product, packed);
  }
  const std::vector<Tap> taps = taps_of(s, weight.row, weight.col);
  Correlation<T> g = forward_operation(s, x, weight, taps);
  g.y = y;
  g.epilogue = epilogue;
  correlate(g, conv_cost_ns<T>(s), packed);
}

template <class T>
KernelPacking conv_packing(const ConvShape& s, const ImageView<const T>& x,
                           const KernelView<const T>& weight) {
  if (prefers_product(s, x)) {
    const PixelProduct<T> product = forward_product(s, x, weight, static_cast<T*>(nullptr), {});
    if (product.rows.valid) {
      const PackPlan<T> plan = gemm_pack_plan(product.args);
      return {plan.routine, plan.bytes, true};
    }
  }
  const std::vector<Tap> taps = taps_of(s, weight.row, weight.col);
  const Correlation<T> g = forward_operation(s, x, weight, taps);
  if (FarApart(g)) return {nullptr, 0, false};
  std::vector<int64_t> met;
  if (!has_all_taps(s, taps))
    for (const Tap& tap : taps) met.push_back(tap.weight);
  const auto& routine = routine_of(g);
  const OutUnits units(g, routine);
  const size_t bytes = units.packed_bytes * static_cast<size_t>(units.count);
  return {bytes > 0 ? &routine : nullptr, bytes, false, std::move(met)};
}

template <class T>
void conv_pack(const ConvShape& s, const ImageView<const T>& x, const KernelView<const T>& weight,
               const KernelPacking& packing, char* packed) {
  if (packing.is_product)
    return gemm_pack(forward_product(s, x, weight, static_cast<T*>(nullptr), {}).args,
                     {static_cast<const GemmRoutine<T>*>(packing.routine), packing.bytes}, packed);
  const std::vector<Tap> taps = taps_of(s, weight.row, weight.col);
  pack_weights(forward_operation(s, x, weight, taps),
               *static_cast<const ConvRoutine<Correlation<T>>*>(packing.routine), packed);
}

template <class T>
void conv_input_gradient(const ConvShape& s, const ImageView<const T>& dy,
                         const KernelView<const T>& weight, T* dx, const Epilogue<T>& epilogue) {
  if (prefers_product(s, dy)) {
    const PixelProduct<T> product = gradient_product(s, dy, weight, dx, epilogue);
    if (product.rows.valid) return multiply_pixels(product, {});
  }
  const double cost_ns =
      conv_cost_ns<T>(s) / static_cast<double>(s.row_step) / static_cast<double>(s.col_step);
  for_each_input_gradient(s, dy, weight, [&](Correlation<T>& g, int64_t at) {
    g.y = dx + at;
    g.epilogue = epilogue_from(epilogue, at);
    correlate(g, cost_ns, {});
  });
}

template <class T>
void conv_weight_gradient(const ConvShape& s, const ImageView<const T>& x,
                          const ImageView<const T>& dy, const KernelView<T>& dweight) {
  if (prefers_product(s, x, dy, dweight)) return gemm(weight_gradient_product(s, x, dy, dweight));
  const std::vector<Tap> taps = taps_of(s, dweight.row, dweight.col);
  const bool dense = has_all_taps(s, taps);
  if (!dense)
    std::fill_n(dweight.data, s.outs * (s.channels / s.groups) * s.kernel_rows * s.kernel_cols,
                T{});
  const WeightGradient<T> g = weight_gradient_operation(s, x, dy, dweight, taps);
  if (FarApart(g)) return weight_gradient_apart(g, conv_cost_ns<T>(s));
  weight_gradient(g, dense, conv_cost_ns<T>(s));
}

// --- which routine, and why ---

const char* conv_routine() { return g_asked.load(std::memory_order_relaxed); }

void set_conv_routine(const std::string& name) {
  if (name.empty()) return g_asked.store(nullptr);
  std::string known;
  const auto look = [&](const auto& table) {
    for (int i = 0; i < table.correlation_count; ++i) {
      const char* found = table.correlations[i].name;
      if (name == found) return g_asked.store(found), true;
      if (known.find(found) == std::string::npos) known += std::string(found) + ", ";
    }
    return false;
  };
  for (const Variant<ConvKernels>& v : g_variants)
    if (look(v.table->f32) || look(v.table->bf16)) return;
  throw std::invalid_argument("[set_conv_routine] expected one of " + known + "or None; got \"" +
                              name + "\": name one of them");
}

template <class T>
std::vector<ConvService> conv_services(const ConvShape& s, const ImageView<const T>& x,
                                       const ImageView<const T>& dy,
                                       const KernelView<const T>& weight) {
  constexpr const char* kProduct = "1x1 windows, at every pixel: one product of matrices";
  std::vector<ConvService> services;
  const auto add = [&](const char* pass, const auto& found) {
    const ConvService* last = services.empty() ? nullptr : &services.back();
    if (last && last->pass == pass && last->routine == found.routine->name) return;
    for (const Variant<ConvKernels>& v : g_variants)
      if (v.table == found.table)
        services.push_back({pass, v.name, found.routine->name, found.routine->why});
  };
  const std::vector<Tap> taps = taps_of(s, weight.row, weight.col);
  if (prefers_product(s, x) && pixel_rows(s, x).valid)
    services.push_back({"forward", nullptr, "product", kProduct});
  else
    add("forward", serving(forward_operation(s, x, weight, taps)));
  if (prefers_product(s, dy) && pixel_rows(s, dy).valid)
    services.push_back({"input gradient", nullptr, "product", kProduct});
  else
    for_each_input_gradient(s, dy, weight, [&](const Correlation<T>& g, int64_t) {
      add("input gradient", serving(g));
    });
  const KernelView<T> dweight{nullptr, weight.out, weight.channel, weight.row, weight.col};
  if (prefers_product(s, x, dy, dweight))
    services.push_back({"weight gradient", nullptr, "product", kProduct});
  else
    add("weight gradient", serving(weight_gradient_operation(s, x, dy, dweight, taps)));
  return services;
}

#define TW_INSTANTIATE(T)                                                                          \
  template void to_channels_last<T>(int64_t, int64_t, int64_t, int64_t, const ImageView<const T>&, \
                                    T*);                                                           \
  template double conv_cost_ns<T>(const ConvShape&);                                               \
  template void conv_forward<T>(const ConvShape&, const ImageView<const T>&,                       \
                                const KernelView<const T>&, T*, const Epilogue<T>&,                \
                                const PackedKernel&);                                              \
  template KernelPacking conv_packing<T>(const ConvShape&, const ImageView<const T>&,              \
                                         const KernelView<const T>&);                              \
  template void conv_pack<T>(const ConvShape&, const ImageView<const T>&,                          \
                             const KernelView<const T>&, const KernelPacking&, char*);             \
  template void conv_input_gradient<T>(const ConvShape&, const ImageView<const T>&,                \
                                       const KernelView<const T>&, T*, const Epilogue<T>&);        \
  template void conv_weight_gradient<T>(const ConvShape&, const ImageView<const T>&,               \
                                        const ImageView<const T>&, const KernelView<T>&);          \
  template std::vector<ConvService> conv_services<T>(const ConvShape&, const ImageView<const T>&,  \
                                                     const ImageView<const T>&,                    \
                                                     const KernelView<const T>&);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
TW_INSTANTIATE(bfloat16)
#undef TW_INSTANTIATE

}  // namespace tilework
