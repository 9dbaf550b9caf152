// CTC: its arguments are checked, and what they say in whole numbers is copied.
#include <algorithm>
#include <string>
#include <vector>

#include "bindings/checks.h"
#include "kernels/sequence/sequence.h"

namespace tilework {
namespace {

std::vector<int64_t> copied_integers(py::handle array, const char* op, const char* argument) {
  const ArrayView v = view(array, op, argument);
  if (v.dtype != DType::int64)
    refuse_type(op, std::string("expected `") + argument + "` of dtype int64; got " +
                        dtype_name(v.dtype) + ": convert it with x.astype(numpy.int64)");
  if (v.ndim != 1)
    refuse(op, std::string("expected `") + argument + "` of one axis; got " + shape_text(v));
  return copied_numbers(v);
}

// The checked arguments of CTC, as arrays that the kernels can walk.
class CtcInput {
 public:
  CtcInput(const char* op, py::handle log_probs, py::handle targets, py::handle input_lengths,
           py::handle target_lengths, int64_t blank)
      : op_(op), blank_(blank) {
    take_log_probs(view_float(log_probs, op, "log_probs"));
    if (blank < 0 || blank >= symbols())
      refuse(op, "expected `blank` in [0, " + std::to_string(symbols()) + "); got " +
                     std::to_string(blank) + ": name one of the symbols");
    input_lengths_ = lengths(input_lengths, "input_lengths", steps());
    targets_ = copied_integers(targets, op, "targets");
    target_lengths_ = lengths(target_lengths, "target_lengths", count());
    check_targets();
  }

  DType dtype() const { return log_probs_.dtype; }
  int64_t steps() const { return log_probs_.shape[0]; }
  int64_t batch() const { return log_probs_.shape[1]; }
  int64_t symbols() const { return log_probs_.shape[2]; }
  const ArrayView& log_probs() const { return log_probs_; }
  int64_t saved_row() const { return ctc_saved_row(most_labels_); }
  double cost_ns() const {
    return ctc_cost_ns(steps(), batch(), symbols(), most_labels_, log_probs_.itemsize());
  }
  template <class T>
  CtcArgs<T> args() const {
    constexpr npy_intp size = sizeof(T);
    return {.steps = steps(),
            .batch = batch(),
            .symbols = symbols(),
            .log_probs = log_probs_.as<T>(),
            .step_stride = log_probs_.strides[0] / size,
            .sequence_stride = log_probs_.strides[1] / size,
            .targets = targets_.data(),
            .input_lengths = input_lengths_.data(),
            .target_lengths = target_lengths_.data(),
            .most_labels = most_labels_,
            .blank = blank_};
  }

 private:
  // Steps and sequences may lie anywhere, the symbols of one must be neighbours.
  void take_log_probs(const ArrayView& x) {
    if (x.ndim != 3) refuse(op_, "expected `log_probs` of shape (T, N, C); got " + shape_text(x));
    const npy_intp size = x.itemsize();
    const bool walkable = (x.shape[2] <= 1 || x.strides[2] == size) && x.strides[0] % size == 0 &&
                          x.strides[1] % size == 0;
    log_probs_held_ = walkable ? borrowed(x) : as_contiguous(x);
    log_probs_ = view_own(log_probs_held_);
  }
  int64_t count() const { return static_cast<int64_t>(targets_.size()); }
  std::vector<int64_t> lengths(py::handle array, const char* argument, int64_t most) {
    std::vector<int64_t> all = copied_integers(array, op_, argument);
    const auto found = static_cast<int64_t>(all.size());
    if (found != batch())
      refuse(op_, std::string("expected `") + argument + "` of shape (" + std::to_string(batch()) +
                      ",), one a sequence; got " + shape_text(&found, 1));
    for (size_t n = 0; n < all.size(); ++n)
      if (all[n] < 0 || all[n] > most)
        refuse(op_, std::string("expected `") + argument + "` in [0, " + std::to_string(most) +
                        "]; got " + std::to_string(all[n]) + " at " + std::to_string(n));
    return all;
  }
  void check_targets() {
    int64_t total = 0;
    for (const int64_t length : target_lengths_) {
      most_labels_ = std::max(most_labels_, length);
      total = length > count() - total ? count() + 1 : total + length;
      if (total > count()) break;
    }
    if (total != count())
      refuse(op_, "expected `target_lengths` that sum up to the " + std::to_string(count()) +
                      " targets; got another sum");
    for (int64_t i = 0; i < count(); ++i) {
      const int64_t label = targets_[static_cast<size_t>(i)];
      if (label < 0 || label >= symbols())
        throw py::index_error(std::string("[") + op_ + "] expected `targets` in [0, " +
                              std::to_string(symbols()) + "); got " + std::to_string(label) +
                              " at " + std::to_string(i) + ": count the symbols from 0");
    }
  }

  const char* op_;
  int64_t blank_, most_labels_ = 0;
  py::object log_probs_held_;
  ArrayView log_probs_{};
  std::vector<int64_t> targets_, input_lengths_, target_lengths_;
};

py::tuple bind_ctc_forward(py::handle log_probs, py::handle targets, py::handle input_lengths,
                           py::handle target_lengths, int64_t blank) {
  const CtcInput in("ctc_loss", log_probs, targets, input_lengths, target_lengths, blank);
  const npy_intp batch = in.batch(), kept[] = {in.batch(), in.steps(), in.saved_row()};
  py::object losses = new_array(in.dtype(), 1, &batch), saved = new_array(in.dtype(), 3, kept);
  {
    const ArrayView losses_view = view_own(losses), saved_view = view_own(saved);
    GilRelease unlocked(in.cost_ns());
    dispatch_float(in.dtype(), [&]<class T>() {
      ctc_forward(in.args<T>(), losses_view.as<T>(), saved_view.as<T>());
    });
  }
  return py::make_tuple(std::move(losses), std::move(saved));
}

// One number a sequence, as forward gave it or beside what it gave.
py::object one_each(py::handle array, const CtcInput& in, const char* op, const char* argument) {
  const ArrayView v = view_float(array, op, argument);
  require_dtype_of(v, in.log_probs(), op, argument, "log_probs");
  if (v.ndim != 1 || v.shape[0] != in.batch())
    refuse(op, std::string("expected `") + argument + "` of shape (" + std::to_string(in.batch()) +
                   ",), one a sequence; got " + shape_text(v));
  return as_contiguous(v);
}

py::object bind_ctc_backward(py::handle grad_array, py::handle log_probs, py::handle targets,
                             py::handle input_lengths, py::handle target_lengths, int64_t blank,
                             py::handle losses_array, py::handle saved_array, bool zero_infinity) {
  constexpr const char* op = "ctc_loss_backward";
  const CtcInput in(op, log_probs, targets, input_lengths, target_lengths, blank);
  const ArrayView saved = view_float(saved_array, op, "saved");
  require_dtype_of(saved, in.log_probs(), op, "saved", "log_probs");
  if (saved.ndim != 3 || saved.shape[0] != in.batch() || saved.shape[1] != in.steps() ||
      saved.shape[2] != in.saved_row() || !saved.c_contiguous())
    refuse(op, "expected `saved` as forward returned it; got " + shape_text(saved));
  const py::object grad_held = one_each(grad_array, in, op, "grad");
  const py::object losses_held = one_each(losses_array, in, op, "losses");
  py::object result = new_array(in.dtype(), 3, in.log_probs().shape);
  {
    const ArrayView grad = view_own(grad_held), losses = view_own(losses_held),
                    dx = view_own(result);
    GilRelease unlocked(2 * in.cost_ns());
    dispatch_float(in.dtype(), [&]<class T>() {
      ctc_backward(in.args<T>(), grad.as<T>(), losses.as<T>(), saved.as<T>(), zero_infinity,
                   dx.as<T>());
    });
  }
  return result;
}

}  // namespace

void bind_sequence(py::module_& m) {
  m.def("ctc_forward", &bind_ctc_forward, py::arg("log_probs"), py::arg("targets"),
        py::arg("input_lengths"), py::arg("target_lengths"), py::arg("blank"));
  m.def("ctc_backward", &bind_ctc_backward, py::arg("grad"), py::arg("log_probs"),
        py::arg("targets"), py::arg("input_lengths"), py::arg("target_lengths"), py::arg("blank"),
        py::arg("losses"), py::arg("saved"), py::arg("zero_infinity"));
}

}  // namespace tilework
