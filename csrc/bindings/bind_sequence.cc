#include <cstring>
#include <string>

#include "bindings/checks.h"
#include "kernels/sequence/sequence.h"

namespace tilework {
namespace {

// Whole numbers of the user, copied, so that what is checked here is what the kernels read: another
// thread may write the array once the GIL is released.
py::object copied_integers(py::handle array, const char* op, const char* argument) {
  const ArrayView v = view(array, op, argument);
  if (v.dtype != DType::int64)
    refuse_type(op, std::string("expected `") + argument + "` of dtype int64; got " +
                        dtype_name(v.dtype) + ": convert it with x.astype(numpy.int64)");
  if (v.ndim != 1)
    refuse(op, std::string("expected `") + argument + "` of one axis; got " + shape_text(v));
  py::object held = new_array(DType::int64, 1, v.shape);
  const ArrayView copy = view_own(held);
  for (int64_t i = 0; i < v.shape[0]; ++i)
    std::memcpy(copy.data + i * 8, v.data + i * v.strides[0], 8);
  return held;
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
    input_held_ = lengths(input_lengths, "input_lengths", steps());
    targets_held_ = copied_integers(targets, op, "targets");
    targets_ = view_own(targets_held_);
    target_held_ = lengths(target_lengths, "target_lengths", targets_.shape[0]);
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
            .targets = targets_.as<int64_t>(),
            .input_lengths = data_of<int64_t>(input_held_),
            .target_lengths = data_of<int64_t>(target_held_),
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
  py::object lengths(py::handle array, const char* argument, int64_t most) {
    py::object held = copied_integers(array, op_, argument);
    const ArrayView v = view_own(held);
    if (v.shape[0] != batch())
      refuse(op_, std::string("expected `") + argument + "` of shape (" + std::to_string(batch()) +
                      ",), one a sequence; got " + shape_text(v));
    for (int64_t n = 0; n < batch(); ++n)
      if (v.as<int64_t>()[n] < 0 || v.as<int64_t>()[n] > most)
        refuse(op_, std::string("expected `") + argument + "` in [0, " + std::to_string(most) +
                        "]; got " + std::to_string(v.as<int64_t>()[n]) + " at " +
                        std::to_string(n));
    return held;
  }
  void check_targets() {
    const int64_t count = targets_.shape[0];
    int64_t total = 0;
    for (int64_t n = 0; n < batch(); ++n) {
      const int64_t length = data_of<int64_t>(target_held_)[n];
      most_labels_ = std::max(most_labels_, length);
      total = length > count - total ? count + 1 : total + length;
      if (total > count) break;
    }
    if (total != count)
      refuse(op_, "expected `target_lengths` that sum up to the " + std::to_string(count) +
                      " targets; got another sum");
    for (int64_t i = 0; i < count; ++i) {
      const int64_t label = targets_.as<int64_t>()[i];
      if (label < 0 || label >= symbols())
        throw py::index_error(std::string("[") + op_ + "] expected `targets` in [0, " +
                              std::to_string(symbols()) + "); got " + std::to_string(label) +
                              " at " + std::to_string(i) + ": count the symbols from 0");
    }
  }

  const char* op_;
  int64_t blank_, most_labels_ = 0;
  py::object log_probs_held_, targets_held_, input_held_, target_held_;
  ArrayView log_probs_{}, targets_{};
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
