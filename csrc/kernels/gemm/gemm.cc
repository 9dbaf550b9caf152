#include "kernels/gemm/gemm.h"

#include <algorithm>
#include <atomic>
#include <type_traits>

#include "base/arithmetic.h"
#include "base/grid.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "base/variants.h"

#define TW_FAMILY gemm
#define TW_KERNELS GemmKernels
#include "base/family.inc"

namespace tilework {
namespace {

std::atomic<MatmulPrecision> g_precision{MatmulPrecision::highest};

template <class T>
struct Routines;
template <>
struct Routines<float> {
  static const GemmRoutine<float>* first(const GemmKernels& t) { return t.f32; }
  static int count(const GemmKernels& t) { return t.f32_count; }
  static auto activation_backward(const GemmKernels& t) { return t.activation_backward_f32; }
};
template <>
struct Routines<double> {
  static const GemmRoutine<double>* first(const GemmKernels& t) { return t.f64; }
  static int count(const GemmKernels& t) { return t.f64_count; }
  static auto activation_backward(const GemmKernels& t) { return t.activation_backward_f64; }
};
template <>
struct Routines<bfloat16> {
  static const GemmRoutine<bfloat16>* first(const GemmKernels& t) { return t.bf16; }
  static int count(const GemmKernels& t) { return t.bf16_count; }
  static auto activation_backward(const GemmKernels& t) { return t.activation_backward_bf16; }
};

// The active variant's activation_backward, or that of the table that serves in its place.
template <class T>
auto find_activation_backward() {
  const GemmKernels* table = g_variants.best().table;
  while (!Routines<T>::activation_backward(*table)) table = table->next;
  return Routines<T>::activation_backward(*table);
}

// The first routine that `accepts`; null where none does.
template <class T, class Accepts>
const GemmRoutine<T>* find_routine(Accepts&& accepts) {
  for (const GemmKernels* table = g_variants.best().table; table; table = table->next) {
    const GemmRoutine<T>* routine = Routines<T>::first(*table);
    for (int i = 0; i < Routines<T>::count(*table); ++i)
      if (accepts(routine[i])) return routine + i;
  }
  return nullptr;
}

// The rows and columns of C from (row, col): what one task computes.
template <class T>
GemmArgs<T> piece(const GemmArgs<T>& g, const GemmRoutine<T>& routine, int64_t row, int64_t rows,
                  int64_t col, int64_t cols) {
  GemmArgs<T> p = g;
  p.m = rows;
  p.n = cols;
  p.a.data = g.a.at(row, 0);
  p.b.data = g.b.at(0, col);
  p.c += row * g.c_row + col;
  if (p.packed.data)
    p.packed.data +=
        col / routine.n_unit * static_cast<int64_t>(routine.packed_panel_bytes(g.k, g.precision));
  Epilogue<T>& e = p.epilogue;
  if (e.bias) e.bias += col;
  if (e.residual) e.residual += row * e.residual_row + col;
  if (e.preactivation) e.preactivation += row * e.preactivation_row + col;
  return p;
}

template <class T>
void run_on_this_thread(const GemmArgs<T>& g, const GemmRoutine<T>& routine) {
  Scratch<char> workspace(routine.workspace_bytes(g.m, g.n, g.k));
  routine.run(g, workspace.get());
}

template <class T>
Grid choose_grid(const GemmArgs<T>& g, const GemmRoutine<T>& routine, int threads) {
  const int64_t m_units = ceil_div(g.m, routine.m_unit);
  const int64_t n_units = ceil_div(g.n, routine.n_unit);
  return cheapest_grid(
      threads, m_units, n_units,
      [&](int64_t rows) { return ceil_div(m_units, rows) * routine.m_unit; },
      [&](int64_t cols) { return ceil_div(n_units, cols) * routine.n_unit; });
}

template <class T>
void run_on_threads(const GemmArgs<T>& g, const GemmRoutine<T>& routine, double cost_ns,
                    int threads) {
  const Grid grid = choose_grid(g, routine, threads);
  const int64_t m_units = ceil_div(g.m, routine.m_unit);
  const int64_t n_units = ceil_div(g.n, routine.n_unit);
  parallel_for(grid.rows * grid.cols, cost_ns, [&](int64_t task) {
    const int64_t i = task / grid.cols, j = task % grid.cols;
    const int64_t row = m_units * i / grid.rows * routine.m_unit;
    const int64_t row_end = std::min(g.m, m_units * (i + 1) / grid.rows * routine.m_unit);
    const int64_t col = n_units * j / grid.cols * routine.n_unit;
    const int64_t col_end = std::min(g.n, n_units * (j + 1) / grid.cols * routine.n_unit);
    run_on_this_thread(piece(g, routine, row, row_end - row, col, col_end - col), routine);
  });
}

// Below this a product is over before a second thread has woken up.
constexpr double kWorthCutting_ns = 20e3;

}  // namespace

void set_matmul_precision(MatmulPrecision precision) { g_precision.store(precision); }
MatmulPrecision matmul_precision() { return g_precision.load(std::memory_order_relaxed); }

template <class T>
double gemm_cost_ns(int64_t m, int64_t n, int64_t k) {
  // A core does some 60 multiply-adds of float and moves some 16 bytes in a nanosecond.
  const double md = static_cast<double>(m), nd = static_cast<double>(n),
               kd = static_cast<double>(k);
  return sizeof(Wide<T>) / 4.0 * md * nd * kd / 60 + sizeof(T) * (md * kd + kd * nd + md * nd) / 16;
}

// A residual that is C itself is what accumulation adds: routines store sums in C before they read
// the residual.
template <class T>
bool residual_is_output(const GemmArgs<T>& g) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return !g.c.is_float && g.epilogue.residual == g.c.narrow();
  else
    return g.epilogue.residual == g.c;
}

// The routine that serves the whole product; leaves in g what that one is to be given.
template <class T>
const GemmRoutine<T>& routine_for(GemmArgs<T>& g) {
  if (g.epilogue.residual && residual_is_output(g)) {
    g.epilogue.accumulate = true;
    g.epilogue.residual = nullptr;
  }
  const GemmRoutine<T>& routine =
      *find_routine<T>([&](const GemmRoutine<T>& r) { return r.suits(g); });
  if (g.packed.routine != &routine) g.packed = {nullptr, nullptr};
  return routine;
}

template <class T>
void gemm(const GemmArgs<T>& args) {
  if (args.m == 0 || args.n == 0) return;
  GemmArgs<T> g = args;
  const GemmRoutine<T>& routine = routine_for(g);
  const double cost_ns = gemm_cost_ns<T>(g.m, g.n, g.k);
  const int threads = cost_ns < kWorthCutting_ns ? 1 : num_threads();
  if (threads == 1)
    run_on_this_thread(g, routine);
  else
    run_on_threads(g, routine, cost_ns, threads);
}

template <class T>
size_t gemm_workspace_bytes(int64_t m, int64_t n, int64_t k) {
  size_t most = 0;
  find_routine<T>([&](const GemmRoutine<T>& r) {
    most = std::max(most, r.workspace_bytes(m, n, k));
    return false;
  });
  return most;
}

template <class T>
const GemmRoutine<T>& gemm_routine(const GemmArgs<T>& args) {
  GemmArgs<T> g = args;
  return routine_for(g);
}

template <class T>
void gemm_on_this_thread(const GemmArgs<T>& args, void* workspace, const OnBlock<T>& on_block) {
  if (args.m == 0 || args.n == 0) return;
  GemmArgs<T> g = args;
  g.on_block = on_block;
  routine_for(g).run(g, workspace);
}

template <class T>
void gemm_batched(const GemmArgs<T>& args, int ndim, const int64_t* shape, const int64_t* a_strides,
                  const int64_t* b_strides, const int64_t* c_strides) {
  int64_t count = 1;
  for (int i = 0; i < ndim; ++i) count *= shape[i];
  if (count == 1) return gemm(args);
  if (count == 0 || args.m == 0 || args.n == 0) return;
  const GemmRoutine<T>& routine =
      *find_routine<T>([&](const GemmRoutine<T>& r) { return r.suits(args); });
  const auto at = [&](int64_t index) {
    GemmArgs<T> g = args;
    for (int i = ndim; i-- > 0; index /= shape[i]) {
      const int64_t step = index % shape[i];
      g.a.data += step * a_strides[i];
      g.b.data += step * b_strides[i];
      g.c += step * c_strides[i];
    }
    return g;
  };
  const double each_ns = gemm_cost_ns<T>(args.m, args.n, args.k);
  const double cost_ns = each_ns * static_cast<double>(count);
  const int threads = cost_ns < kWorthCutting_ns ? 1 : num_threads();
  if (count < threads && each_ns > kWorthCutting_ns) {
    for (int64_t i = 0; i < count; ++i) run_on_threads(at(i), routine, each_ns, threads);
    return;
  }
  // A few tasks a thread even out what the system does meanwhile.
  const int64_t tasks = threads == 1 ? 1 : std::min<int64_t>(count, 4 * threads);
  parallel_for(tasks, cost_ns, [&](int64_t task) {
    Scratch<char> workspace(routine.workspace_bytes(args.m, args.n, args.k));
    for (int64_t i = count * task / tasks; i < count * (task + 1) / tasks; ++i)
      routine.run(at(i), workspace.get());
  });
}

template <class T>
PackPlan<T> gemm_pack_plan(const GemmArgs<T>& args) {
  const GemmRoutine<T>* routine =
      find_routine<T>([&](const GemmRoutine<T>& r) { return r.pack_panels && r.suits(args); });
  if (!routine) return {nullptr, 0};
  const int64_t panels = ceil_div(args.n, routine->n_unit);
  return {routine, panels * routine->packed_panel_bytes(args.k, args.precision)};
}

template <class T>
void gemm_pack(const GemmArgs<T>& args, const PackPlan<T>& plan, void* packed) {
  const GemmRoutine<T>& routine = *plan.routine;
  const auto panel = static_cast<int64_t>(routine.packed_panel_bytes(args.k, args.precision));
  const int64_t panels = ceil_div(args.n, routine.n_unit);
  constexpr int64_t kBytesATask = 1 << 20;
  const int64_t each = std::max<int64_t>(1, kBytesATask / std::max<int64_t>(panel, 1));
  parallel_for(ceil_div(panels, each), gemm_pack_cost_ns(plan.bytes), [&](int64_t task) {
    GemmArgs<T> part = args;
    const int64_t first = task * each, col = first * routine.n_unit;
    part.n = std::min(each * routine.n_unit, args.n - col);
    part.b.data = args.b.at(0, col);
    routine.pack_panels(part, static_cast<char*>(packed) + first * panel);
  });
}

// Blocks of rows, cut by shape alone, each with its own sums; the sums are then summed in order.
template <class T>
void activation_backward(const ActivationBackwardArgs<T>& args) {
  if (args.cols == 0) return;
  const auto run = find_activation_backward<T>();
  constexpr int64_t kElements = 1 << 16;
  const int64_t block_rows = std::clamp<int64_t>(kElements / args.cols, 16, 1024);
  const int64_t blocks = ceil_div(args.rows, block_rows);
  if (blocks <= 1) return run(args);
  Scratch<Wide<T>> sums(args.dbias ? blocks * args.cols : 1);
  const double cost_ns = static_cast<double>(args.rows) * static_cast<double>(args.cols) / 2;
  parallel_for(blocks, cost_ns, [&](int64_t block) {
    ActivationBackwardArgs<T> part = args;
    const int64_t row = block * block_rows;
    part.rows = std::min(block_rows, args.rows - row);
    part.grad += row * args.grad_row;
    if (part.saved) part.saved += row * args.saved_row;
    if (part.dz) part.dz += row * args.dz_row;
    if (part.dbias) part.dbias = sums.get() + block * args.cols;
    run(part);
  });
  if (args.dbias)
    find_activation_backward<Wide<T>>()({.rows = blocks,
                                         .cols = args.cols,
                                         .grad = sums.get(),
                                         .grad_row = args.cols,
                                         .saved = nullptr,
                                         .saved_row = 0,
                                         .activation = Activation::none,
                                         .dz = nullptr,
                                         .dz_row = 0,
                                         .dbias = args.dbias});
}

#define TW_INSTANTIATE(T)                                                                \
  template double gemm_cost_ns<T>(int64_t, int64_t, int64_t);                            \
  template void gemm<T>(const GemmArgs<T>&);                                             \
  template size_t gemm_workspace_bytes<T>(int64_t, int64_t, int64_t);                    \
  template const GemmRoutine<T>& gemm_routine<T>(const GemmArgs<T>&);                    \
  template void gemm_on_this_thread<T>(const GemmArgs<T>&, void*, const OnBlock<T>&);    \
  template void gemm_batched<T>(const GemmArgs<T>&, int, const int64_t*, const int64_t*, \
                                const int64_t*, const int64_t*);                         \
  template PackPlan<T> gemm_pack_plan<T>(const GemmArgs<T>&);                            \
  template void gemm_pack<T>(const GemmArgs<T>&, const PackPlan<T>&, void*);             \
  template void activation_backward<T>(const ActivationBackwardArgs<T>&);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
TW_INSTANTIATE(bfloat16)
#undef TW_INSTANTIATE

}  // namespace tilework
