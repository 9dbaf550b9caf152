// What both passes of a recurrent layer are made of: where the rows of a step lie, and the product
// that every step makes with the same matrix.
#pragma once

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "base/arithmetic.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "kernels/gemm/gemm.h"
#include "kernels/recurrent/recurrent.h"

namespace tilework::recurrent {

// The rows of each step, and the step whose state it reads.
class Timeline {
 public:
  explicit Timeline(const RecurrentShape& s) : s_(s) {
    first_.reserve(static_cast<size_t>(s.steps) + 1);
    int64_t rows = 0;
    for (int64_t t = 0; t < s.steps; ++t) {
      first_.push_back(s.batch_first ? t : rows);
      rows += s.size(t);
    }
    rows_ = rows;
  }

  int64_t rows() const { return rows_; }
  int64_t size(int64_t t) const { return s_.size(t); }
  // The step at a place in the order of the forward pass.
  int64_t at(int64_t place) const { return s_.reverse ? s_.steps - 1 - place : place; }
  int64_t before(int64_t t) const { return s_.reverse ? t + 1 : t - 1; }
  // How many of its sequences have a state from the step before; the others begin here.
  int64_t continued(int64_t t) const {
    const int64_t earlier = before(t);
    return earlier < 0 || earlier >= s_.steps ? 0 : std::min(size(t), size(earlier));
  }

  template <class T>
  RowsOf<T> of(const RowsOf<T>& x, int64_t t) const {
    return {x.at(first_[static_cast<size_t>(t)]), x.row * (s_.batch_first ? s_.steps : 1)};
  }
  // State `x` before step t, for the sequences from `row` on: all of them either continue or begin.
  template <class T>
  RowsOf<const T> state(const RowsOf<const T>& x, const T* start, int64_t width, int64_t t,
                        int64_t row) const {
    if (row >= continued(t)) return {start + row * width, width};
    const RowsOf<const T> all = of(x, before(t));
    return {all.at(row), all.row};
  }
  // The last state of each sequence.
  template <class T>
  void ends(const RowsOf<const T>& x, const T* start, int64_t width, T* end) const {
    for (int64_t b = 0, t = s_.reverse ? 0 : s_.steps - 1; b < s_.batch; ++b) {
      if (!s_.reverse)
        while (t > 0 && size(t) <= b) --t;
      const bool none = s_.steps == 0 || size(t) <= b;
      const T* from = none ? start + b * width : of(x, t).at(b);
      std::copy_n(from, width, end + b * width);
    }
  }
  // State `x` before each row's step, in the order of rows.
  template <class T>
  void states_before(const RowsOf<const T>& x, const T* start, int64_t width, T* out) const {
    for (int64_t t = 0; t < s_.steps; ++t) {
      const RowsOf<T> to = of(RowsOf<T>{out, width}, t);
      for (int64_t b = 0; b < size(t); ++b)
        std::copy_n(state(x, start, width, t, b).data, width, to.at(b));
    }
  }

 private:
  const RecurrentShape& s_;
  std::vector<int64_t> first_;
  int64_t rows_;
};

// So many sequences make products of a matrix with vectors, which read it once, as it lies.
inline constexpr int64_t kFew = 4;
// Packing takes as long as a few products of few rows.
inline constexpr int64_t kStepsToPack = 4;

inline bool packs(const RecurrentShape& s) { return s.batch > kFew && s.steps > kStepsToPack; }

// C (m x n) = A (m x k) B, of one B for all steps. It is cut by columns into parts, each with its
// own packed B and its own workspace, which the members of a team take. Of a B that is not packed,
// `gates` matrices of n columns may lie side by side, and C likewise: a part has its columns of
// each.
template <class T>
class StepProduct {
 public:
  // `unit`: a part begins at a multiple of so many columns.
  StepProduct(int64_t rows, int64_t n, int64_t k, const MatrixView<T>& b, int64_t unit, bool packs,
              int64_t gates = 1)
      : rows_(rows), n_(n), k_(k), gates_(gates), b_(b), precision_(matmul_precision()) {
    if (packs) plan_.routine = gemm_pack_plan(args(0, n, rows)).routine;
    unit = common_unit(unit);
    // Two parts for each thread that the product pays for: A is packed for each.
    constexpr double kLeastNs = 10e3;
    const int64_t threads = num_threads(), units = ceil_div(n, unit);
    const auto worthwhile = static_cast<int64_t>(gemm_cost_ns<T>(rows, gates * n, k) / kLeastNs);
    if (threads > 1) parts_ = std::clamp<int64_t>(std::min(2 * threads, worthwhile), 1, units);
    each_ = std::max<int64_t>(ceil_div(units, parts_), 1) * unit;
    parts_ = std::max<int64_t>(ceil_div(n, each_), 1);
    workspace_bytes_ = (gemm_workspace_bytes<T>(rows, each_, k) + 63) / 64 * 64;
    workspace_ = std::make_unique<Scratch<char>>(workspace_bytes_ * static_cast<size_t>(parts_));
    if (plan_.routine) pack();
  }

  int64_t parts() const { return parts_; }
  int64_t begin(int64_t part) const { return part * each_; }
  int64_t cols(int64_t part) const { return std::min(each_, n_ - part * each_); }

  // Part `part` of C, whose own first column `c` points to.
  void operator()(int64_t part, int64_t m, const RowsOf<const T>& a, T* c, int64_t c_row,
                  const OnBlock<T>& on_block = {}) const {
    if (m == 0) return;
    GemmArgs<T> g = args(begin(part), cols(part), m);
    g.a = {a.data, a.row, 1};
    g.c = c;
    g.c_row = c_row;
    g.on_block = on_block;
    void* workspace = workspace_->get() + static_cast<size_t>(part) * workspace_bytes_;
    if (packed_)
      g.packed = {plan_.routine, packed_->get() + static_cast<size_t>(part) * packed_bytes_};
    const GemmRoutine<T>& routine = routine_of(m);
    for (int64_t i = 0; i < gates_; ++i) {
      routine.run(g, workspace);
      g.b.data = g.b.at(0, n_);
      g.c += n_;
    }
  }

 private:
  GemmArgs<T> args(int64_t col, int64_t cols, int64_t m) const {
    GemmArgs<T> g{
        .m = m, .n = cols, .k = k_, .a = {nullptr, 0, 1}, .b = b_, .c = nullptr, .c_row = 0};
    g.b.data = b_.at(0, col);
    g.precision = precision_;
    return g;
  }
  // Of all columns: which routine serves a part must not depend on how many parts there are. A step
  // may have fewer sequences than the first one, and few are served in other ways than many.
  const GemmRoutine<T>& routine_of(int64_t m) const {
    return plan_.routine ? *plan_.routine
                         : gemm_routine(args(0, gates_ * n_, m <= kFew ? m : rows_));
  }
  // Cuts at multiples of a routine's own unit change no bit (kernels/gemm/kernels.h).
  int64_t common_unit(int64_t unit) const {
    if (plan_.routine) return std::lcm(unit, plan_.routine->n_unit);
    for (int64_t m = std::min(rows_, kFew); m > 0; --m) unit = std::lcm(unit, routine_of(m).n_unit);
    return rows_ > kFew ? std::lcm(unit, routine_of(rows_).n_unit) : unit;
  }
  void pack() {
    const int64_t panels = ceil_div(each_, plan_.routine->n_unit);
    plan_.bytes = static_cast<size_t>(panels) * plan_.routine->packed_panel_bytes(k_, precision_);
    packed_bytes_ = (plan_.bytes + 63) / 64 * 64;
    packed_ = std::make_unique<Scratch<char>>(packed_bytes_ * static_cast<size_t>(parts_));
    for (int64_t i = 0; i < parts_; ++i)
      gemm_pack(args(begin(i), cols(i), rows_), plan_,
                packed_->get() + static_cast<size_t>(i) * packed_bytes_);
  }

  int64_t rows_, n_, k_, gates_;
  MatrixView<T> b_;
  MatmulPrecision precision_;
  int64_t parts_ = 1, each_ = 0;
  size_t workspace_bytes_ = 0, packed_bytes_ = 0;
  PackPlan<T> plan_ = {nullptr, 0};
  std::unique_ptr<Scratch<char>> workspace_, packed_;
};

}  // namespace tilework::recurrent
