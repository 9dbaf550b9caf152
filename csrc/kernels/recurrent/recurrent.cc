#include "kernels/recurrent/recurrent.h"

#include "base/denormals.h"
#include "base/team.h"
#include "base/thread_pool.h"
#include "base/variants.h"
#include "kernels/recurrent/steps.h"

#define TW_FAMILY recurrent
#define TW_KERNELS RecurrentKernels
#include "base/family.inc"

namespace tilework {
namespace {

using recurrent::StepProduct;
using recurrent::Timeline;

// What the cell's arithmetic takes, of one row of one unit: some transcendental functions.
double cell_ns(const RecurrentShape& s) {
  return 0.6 * static_cast<double>(gates_of(s.cell)) * static_cast<double>(s.batch * s.hidden);
}

double step_cost_ns(const RecurrentShape& s) {
  const int64_t gates = gates_of(s.cell) * s.hidden;
  double cost = gemm_cost_ns<float>(s.batch, gates, s.out) + cell_ns(s);
  if (s.out != s.hidden) cost += gemm_cost_ns<float>(s.batch, s.out, s.hidden);
  return cost;
}

// --- Forward ---

template <class T>
class ForwardPass {
 public:
  explicit ForwardPass(const RecurrentForward<T>& args)
      : a_(args),
        time_(s()),
        gates_(gates_of(s().cell)),
        groups_(ceil_div(s().hidden, kGroup)),
        grouped_(recurrent::packs(s())),
        columns_(grouped_ ? groups_ * gates_ * kGroup : gates_ * s().hidden),
        inputs_(a_.saved.gates ? 0 : time_.rows() * gates_ * s().hidden),
        all_gates_{a_.saved.gates ? a_.saved.gates : inputs_.get(), gates_ * s().hidden},
        u_(grouped_ ? columns_ * s().out : 0),
        product_(s().batch, grouped_ ? columns_ : s().hidden, s().out, in_groups(),
                 grouped_ ? gates_ * kGroup : kGroup, grouped_, grouped_ ? 1 : gates_),
        sums_(s().batch * columns_),
        unprojected_(w().project ? s().batch * s().hidden : 0) {
    if (w().project)
      project_ = std::make_unique<StepProduct<T>>(s().batch, s().out, s().hidden,
                                                  MatrixView<T>{w().project, 1, s().hidden},
                                                  kBlockColumns, recurrent::packs(s()));
  }

  void run() {
    multiply_inputs();
    // The states that the cell overwrites, where none is kept.
    if (s().cell == Cell::lstm && !a_.saved.extra)
      std::copy_n(a_.c0, s().batch * s().hidden, a_.c_end);
    const int64_t phases = project_ ? 2 : 1;
    const int64_t units = std::max(product_.parts(), project_ ? project_->parts() : 0);
    parallel_team(num_threads(), {s().steps * phases, units, step_cost_ns(s()) / phases},
                  [&](int64_t step, int64_t unit) {
                    const DenormalsAreZero quick;
                    const int64_t t = time_.at(step / phases);
                    if (step % phases == 0)
                      take_step(t, unit);
                    else
                      project(t, unit);
                  });
    time_.ends(a_.y.read(), a_.h0, s().out, a_.h_end);
    if (a_.saved.extra && s().cell == Cell::lstm)
      time_.ends(RowsOf<const T>{a_.saved.extra, s().hidden}, a_.c0, s().hidden, a_.c_end);
  }

 private:
  const RecurrentShape& s() const { return a_.shape; }
  const RecurrentWeights<T>& w() const { return a_.weights; }

  // U^T with columns in groups of units; those past the last unit are zero.
  MatrixView<T> in_groups() {
    const int64_t hidden = s().hidden, out = s().out;
    if (!grouped_) return {w().u, 1, out};
    T* to = u_.get();
    for (int64_t k = 0; k < groups_; ++k)
      for (int64_t g = 0; g < gates_; ++g, to += kGroup * out) {
        const int64_t units = std::min(kGroup, hidden - k * kGroup);
        std::copy_n(w().u + (g * hidden + k * kGroup) * out, units * out, to);
        std::fill_n(to + units * out, (kGroup - units) * out, T(0));
      }
    return {u_.get(), 1, out};
  }

  void multiply_inputs() {
    const int64_t n = gates_ * s().hidden;
    Scratch<T> bias(n);
    for (int64_t i = 0; i < n; ++i) {
      const bool of_u = w().b_u && !(s().cell == Cell::gru && i >= 2 * s().hidden);
      bias.get()[i] = (w().b_w ? w().b_w[i] : T(0)) + (of_u ? w().b_u[i] : T(0));
    }
    GemmArgs<T> g{.m = time_.rows(),
                  .n = n,
                  .k = s().input,
                  .a = {a_.x.data, a_.x.row, 1},
                  .b = {w().w, 1, s().input},
                  .c = all_gates_.data,
                  .c_row = n};
    if (w().b_w || w().b_u) g.epilogue.bias = bias.get();
    g.precision = matmul_precision();
    gemm(g);
  }

  // Products of some sequences, and the cell on each block of them.
  struct Context {
    ForwardPass* pass;
    int64_t t, part, row;
  };

  void take_step(int64_t t, int64_t part) {
    if (part >= product_.parts()) return;
    const int64_t rows = time_.size(t), continued = time_.continued(t);
    for (int64_t row = 0; row < rows;) {
      const int64_t end = row < continued ? continued : rows;
      Context context{this, t, part, row};
      product_(part, end - row, time_.state(a_.y.read(), a_.h0, s().out, t, row), sums(part, row),
               columns_, {&on_block, &context});
      if (!grouped_)
        cell(t, row, end - row, product_.begin(part), product_.cols(part), sums(part, row));
      row = end;
    }
  }
  T* sums(int64_t part, int64_t row) { return sums_.get() + row * columns_ + product_.begin(part); }

  // The groups whose last gate is in this block.
  static void on_block(void* context, const FinishedBlock<T>& b) {
    const Context& c = *static_cast<Context*>(context);
    ForwardPass& pass = *c.pass;
    if (!pass.grouped_) return;
    const int64_t each = pass.gates_ * kGroup;
    const int64_t first = b.col / each, end = (b.col + b.cols) / each;
    if (first == end) return;
    const int64_t unit = (pass.product_.begin(c.part) / each + first) * kGroup;
    const int64_t units = std::min((end - first) * kGroup, pass.s().hidden - unit);
    pass.cell(c.t, c.row + b.row, b.rows, unit, units, b.c - b.col + first * each);
  }

  // All of these sequences continue, or all begin.
  void cell(int64_t t, int64_t row, int64_t rows, int64_t unit, int64_t units, const T* sums) {
    const int64_t hidden = s().hidden;
    const RowsOf<T> gates = time_.of(all_gates_, t);
    RowsOf<const T> before{};
    RowsOf<T> extra{}, out{unprojected_.get() + row * hidden, hidden};
    if (a_.saved.extra) {
      extra = time_.of(RowsOf<T>{a_.saved.extra, hidden}, t);
      extra.data = extra.at(row, unit);
    }
    if (s().cell == Cell::gru) before = time_.state(a_.y.read(), a_.h0, hidden, t, row);
    if (s().cell == Cell::lstm && a_.saved.extra)
      before = time_.state(RowsOf<const T>{a_.saved.extra, hidden}, a_.c0, hidden, t, row);
    if (s().cell == Cell::lstm && !a_.saved.extra) {
      before = {a_.c_end + row * hidden, hidden};
      extra = {a_.c_end + row * hidden + unit, hidden};
    }
    if (!project_) {
      out = time_.of(a_.y, t);
      out.data = out.at(row);
    }
    if (before.data) before.data += unit;
    g_variants.of<T>().forward(
        {.cell = s().cell,
         .rows = rows,
         .units = units,
         .sums = {sums, columns_, grouped_ ? gates_ * kGroup : kGroup, grouped_ ? kGroup : hidden},
         .gates = {gates.at(row, unit), gates.row, kGroup, hidden},
         .bias = s().cell == Cell::gru && w().b_u ? w().b_u + 2 * hidden + unit : nullptr,
         .before = before,
         .extra = extra,
         .out = {out.data + unit, out.row},
         .keeps = a_.saved.gates != nullptr});
  }

  void project(int64_t t, int64_t part) {
    if (part >= project_->parts()) return;
    const RowsOf<T> y = time_.of(a_.y, t);
    (*project_)(part, time_.size(t), {unprojected_.get(), s().hidden},
                y.data + project_->begin(part), y.row);
  }

  const RecurrentForward<T>& a_;
  const Timeline time_;
  const int64_t gates_, groups_;
  // U has its columns in groups, and is packed. Else it is read as it lies.
  const bool grouped_;
  const int64_t columns_;
  const Scratch<T> inputs_;
  const RowsOf<T> all_gates_;
  const Scratch<T> u_;
  const StepProduct<T> product_;
  const Scratch<T> sums_, unprojected_;
  std::unique_ptr<StepProduct<T>> project_;
};

// --- Backward ---

template <class T>
class BackwardPass {
 public:
  explicit BackwardPass(const RecurrentBackward<T>& args)
      : a_(args),
        time_(s()),
        gates_(gates_of(s().cell)),
        width_((gates_ + (s().cell == Cell::gru)) * s().hidden),
        product_(s().batch, s().out, gates_ * s().hidden, MatrixView<T>{w().u, s().out, 1},
                 kBlockColumns, recurrent::packs(s())),
        dgates_(time_.rows() * width_),
        dh_(s().batch * s().out),
        carry_(s().batch * s().hidden),
        dout_(w().project ? time_.rows() * s().out : 0),
        unprojected_(w().project ? time_.rows() * s().hidden : 0),
        dstate_(w().project ? s().batch * s().hidden : 0) {
    if (w().project)
      project_ = std::make_unique<StepProduct<T>>(s().batch, s().hidden, s().out,
                                                  MatrixView<T>{w().project, s().hidden, 1},
                                                  kBlockColumns, recurrent::packs(s()));
  }

  void run() {
    std::copy_n(a_.dh_end, s().batch * s().out, dh_.get());
    if (s().cell == Cell::lstm)
      std::copy_n(a_.dc_end, s().batch * s().hidden, carry_.get());
    else
      std::fill_n(carry_.get(), s().batch * s().hidden, T(0));
    const int64_t phases = project_ ? 2 : 1;
    const int64_t units = std::max(product_.parts(), project_ ? project_->parts() : 0);
    parallel_team(num_threads(), {s().steps * phases + 1, units, step_cost_ns(s()) / phases},
                  [&](int64_t step, int64_t unit) {
                    const DenormalsAreZero quick;
                    const int64_t place = step / phases;
                    if (place == s().steps)
                      finish(unit);
                    else if (step % phases == 0)
                      take_step(place, unit);
                    else
                      unproject(place, unit);
                  });
    give_states();
    give_weights();
  }

 private:
  const RecurrentShape& s() const { return a_.shape; }
  const RecurrentWeights<T>& w() const { return a_.weights; }
  const RecurrentGradients<T>& to() const { return a_.gradients; }
  int64_t at(int64_t place) const { return time_.at(s().steps - 1 - place); }
  RowsOf<T> dgates() const { return {dgates_.get(), width_}; }

  struct Context {
    BackwardPass* pass;
    int64_t t, part;
  };

  // dh of the step at hand: what comes back from the step that this pass did before.
  void multiply(int64_t place, int64_t part, const OnBlock<T>& on_block) {
    const int64_t earlier = at(place - 1);
    const RowsOf<T> a = time_.of(dgates(), earlier);
    product_(part, time_.size(earlier), {a.data, a.row}, dh_.get() + product_.begin(part), s().out,
             on_block);
  }

  void take_step(int64_t place, int64_t part) {
    if (part >= product_.parts()) return;
    const int64_t t = at(place), begin = product_.begin(part), cols = product_.cols(part);
    int64_t met = 0;
    if (place > 0) {
      Context context{this, t, part};
      multiply(place, part, {&on_block, &context});
      met = std::min(time_.size(t), time_.size(at(place - 1)));
    }
    give(t, met, time_.size(t) - met, begin, cols);
  }
  static void on_block(void* context, const FinishedBlock<T>& b) {
    const Context& c = *static_cast<Context*>(context);
    const int64_t rows = std::min(b.rows, c.pass->time_.size(c.t) - b.row);
    c.pass->give(c.t, b.row, rows, c.pass->product_.begin(c.part) + b.col, b.cols);
  }

  // dh is whole, for these columns: on to the cell, or to the projection.
  void give(int64_t t, int64_t row, int64_t rows, int64_t col, int64_t cols) {
    if (rows <= 0) return;
    const RowsOf<const T> dy = time_.of(a_.dy, t);
    const RowsOf<const T> dh{dh_.get() + row * s().out + col, s().out};
    if (!project_) return cell(t, row, rows, col, cols, dh, {dy.at(row, col), dy.row});
    const RowsOf<T> out = time_.of(RowsOf<T>{dout_.get(), s().out}, t);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j)
        out.at(row + i, col)[j] = dh.at(i)[j] + dy.at(row + i, col)[j];
  }

  void unproject(int64_t place, int64_t part) {
    if (part >= project_->parts()) return;
    const int64_t t = at(place);
    const RowsOf<T> dout = time_.of(RowsOf<T>{dout_.get(), s().out}, t);
    Context context{this, t, part};
    (*project_)(part, time_.size(t), {dout.data, dout.row}, dstate_.get() + project_->begin(part),
                s().hidden, {&on_state_block, &context});
  }
  static void on_state_block(void* context, const FinishedBlock<T>& b) {
    const Context& c = *static_cast<Context*>(context);
    c.pass->cell(c.t, b.row, b.rows, c.pass->project_->begin(c.part) + b.col, b.cols,
                 {b.c, b.c_row}, {});
  }

  void cell(int64_t t, int64_t row, int64_t rows, int64_t unit, int64_t units, RowsOf<const T> dh,
            RowsOf<const T> dy) {
    const int64_t continued = std::clamp<int64_t>(time_.continued(t) - row, 0, rows);
    for (const auto& [begin, end] : {std::pair{int64_t{0}, continued}, std::pair{continued, rows}})
      if (begin < end)
        run_cell(t, row + begin, end - begin, unit, units, {dh.at(begin), dh.row},
                 {dy.data ? dy.at(begin) : nullptr, dy.row});
  }
  void run_cell(int64_t t, int64_t row, int64_t rows, int64_t unit, int64_t units,
                RowsOf<const T> dh, RowsOf<const T> dy) {
    const int64_t hidden = s().hidden;
    const auto from = [&](T* data, int64_t width) {
      const RowsOf<T> all = time_.of(RowsOf<T>{data, width}, t);
      return RowsOf<T>{all.at(row, unit), all.row};
    };
    const bool lstm = s().cell == Cell::lstm, gated = gates_ > 1;
    const RowsOf<T> to = from(dgates_.get(), width_);
    CellBackward<T> c{.cell = s().cell,
                      .rows = rows,
                      .units = units,
                      .gates = {nullptr, 0, kGroup, hidden},
                      .extra = {},
                      .before = {},
                      .out = {},
                      .dh = dh,
                      .more = dy,
                      .carry = {carry_.get() + row * hidden + unit, hidden},
                      .dgates = {to.data, to.row, kGroup, hidden},
                      .projected = {}};
    if (gated) {
      const RowsOf<T> gates = from(a_.saved.gates, gates_ * hidden);
      const RowsOf<T> extra = from(a_.saved.extra, hidden);
      c.gates = {gates.data, gates.row, kGroup, hidden};
      c.extra = {extra.data, extra.row};
      c.before = lstm ? time_.state(RowsOf<const T>{a_.saved.extra, hidden}, a_.c0, hidden, t, row)
                      : time_.state(a_.y, a_.h0, hidden, t, row);
      c.before.data += unit;
    } else {
      const RowsOf<const T> y = time_.of(a_.y, t);
      c.out = {y.at(row, unit), y.row};
    }
    if (project_) c.projected = from(unprojected_.get(), hidden);
    g_variants.of<T>().backward(c);
  }

  // dh of the states that the sequences began with.
  void finish(int64_t part) {
    if (to().h0 && s().steps > 0 && part < product_.parts()) multiply(s().steps, part, {});
  }

  void give_states() {
    const int64_t count = s().batch * s().out;
    if (to().h0)
      for (int64_t i = 0; i < count; ++i)
        to().h0[i] = dh_.get()[i] + (s().cell == Cell::gru ? carry_.get()[i] : T(0));
    if (to().c0) std::copy_n(carry_.get(), s().batch * s().hidden, to().c0);
  }

  // out (m x n) (+)= A^T (m x rows) B.
  void multiply_rows(int64_t m, const T* a, int64_t a_row, int64_t n, RowsOf<const T> b, T* out) {
    GemmArgs<T> g{.m = m,
                  .n = n,
                  .k = time_.rows(),
                  .a = {a, 1, a_row},
                  .b = {b.data, b.row, 1},
                  .c = out,
                  .c_row = n};
    g.precision = matmul_precision();
    gemm(g);
  }

  void give_weights() {
    const int64_t hidden = s().hidden, rows = time_.rows(), all = gates_ * hidden;
    // Where the gates lie that meet the input: gru's of n apart.
    const bool gru = s().cell == Cell::gru;
    const int64_t together = gru ? 2 * hidden : all;
    const T *dg = dgates_.get(), *apart = dg + 3 * hidden;
    if (to().w) {
      multiply_rows(together, dg, width_, s().input, a_.x, to().w);
      if (gru) multiply_rows(hidden, apart, width_, s().input, a_.x, to().w + together * s().input);
    }
    if (to().u) {
      Scratch<T> before(rows * s().out);
      time_.states_before(a_.y, a_.h0, s().out, before.get());
      multiply_rows(all, dg, width_, s().out, {before.get(), s().out}, to().u);
    }
    if (to().project)
      multiply_rows(s().out, dout_.get(), s().out, hidden, {unprojected_.get(), hidden},
                    to().project);
    if (to().b_w || to().b_u) {
      Scratch<T> sums(width_);
      sum_columns(rows, sums.get());
      if (to().b_u) std::copy_n(sums.get(), all, to().b_u);
      if (to().b_w) std::copy_n(sums.get(), together, to().b_w);
      if (to().b_w && gru) std::copy_n(sums.get() + 3 * hidden, hidden, to().b_w + together);
    }
    if (to().x.data) {
      multiply_inputs(together, dg, w().w, to().adds_x);
      if (gru) multiply_inputs(hidden, apart, w().w + together * s().input, true);
    }
  }
  void multiply_inputs(int64_t k, const T* a, const T* b, bool adds) {
    GemmArgs<T> g{.m = time_.rows(),
                  .n = s().input,
                  .k = k,
                  .a = {a, width_, 1},
                  .b = {b, s().input, 1},
                  .c = to().x.data,
                  .c_row = to().x.row};
    g.epilogue.accumulate = adds;
    g.precision = matmul_precision();
    gemm(g);
  }
  void sum_columns(int64_t rows, T* sums) {
    activation_backward<T>({.rows = rows,
                            .cols = width_,
                            .grad = dgates_.get(),
                            .grad_row = width_,
                            .saved = nullptr,
                            .saved_row = 0,
                            .activation = Activation::none,
                            .dz = nullptr,
                            .dz_row = 0,
                            .dbias = sums});
  }

  const RecurrentBackward<T>& a_;
  const Timeline time_;
  const int64_t gates_;
  const int64_t width_;  // of a row of dgates: those of a_h, and gru's of a_x of n
  const StepProduct<T> product_;
  const Scratch<T> dgates_, dh_, carry_, dout_, unprojected_, dstate_;
  std::unique_ptr<StepProduct<T>> project_;
};

}  // namespace

RecurrentServices recurrent_services(const RecurrentShape& s) {
  if (recurrent::packs(s))
    return {
        {"forward", "grouped",
         "the state's weights are packed once, the gates of 16 units side by side: each block of "
         "a step's product has all gates of its units, and meets the cell in cache"},
        {"backward", "packed",
         "the state's weights are packed once, and each block of a step's product meets the "
         "cell in cache; weights' gradients are products over all steps"}};
  const char* why = s.batch <= recurrent::kFew
                        ? "up to 4 sequences: a step multiplies the state's weights, as they lie, "
                          "with a few vectors; threads share the units"
                        : "up to 4 steps: they are over before packing the state's weights pays";
  return {{"forward", "plain", why}, {"backward", "plain", why}};
}

double recurrent_cost_ns(const RecurrentShape& s) {
  return static_cast<double>(s.steps) *
         (step_cost_ns(s) + gemm_cost_ns<float>(s.batch, gates_of(s.cell) * s.hidden, s.input));
}

template <class T>
void recurrent_forward(const RecurrentForward<T>& args) {
  ForwardPass<T>(args).run();
}
template <class T>
void recurrent_backward(const RecurrentBackward<T>& args) {
  BackwardPass<T>(args).run();
}

#define TW_INSTANTIATE(T)                                      \
  template void recurrent_forward(const RecurrentForward<T>&); \
  template void recurrent_backward(const RecurrentBackward<T>&);
TW_INSTANTIATE(float)
TW_INSTANTIATE(double)
#undef TW_INSTANTIATE

}  // namespace tilework
