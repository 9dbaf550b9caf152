#include <cstring>
#include <string>

#include "bindings/checks.h"
#include "kernels/loss/loss.h"

namespace tilework {
namespace {

Reduction reduction_from(py::handle name, const char* op) {
  constexpr const char* names[] = {"none", "mean", "sum"};
  for (int i = 0; i < 3; ++i)
    if (PyUnicode_Check(name.ptr()) && PyUnicode_CompareWithASCIIString(name.ptr(), names[i]) == 0)
      return static_cast<Reduction>(i);
  throw py::value_error(std::string("[") + op + "] expected reduction as none, mean or sum; got " +
                        py::repr(name).cast<std::string>());
}

// The checked arguments of cross entropy, as arrays that the kernels can walk.
class CrossEntropyInput {
 public:
  CrossEntropyInput(const char* op, py::handle logits, py::handle target, py::handle weight,
                    int64_t ignore_index, double label_smoothing, py::handle reduction)
      : op_(op),
        ignore_index_(ignore_index),
        label_smoothing_(label_smoothing),
        reduction_(reduction_from(reduction, op)) {
    take_logits(view_float(logits, op, "input"));
    if (!(label_smoothing >= 0 && label_smoothing <= 1))
      throw py::value_error(say() + "label_smoothing in [0, 1]; got " +
                            std::to_string(label_smoothing));
    if (!weight.is_none()) take_weight(view_float(weight, op, "weight"));
    take_target(view(target, op, "target"));
  }

  DType dtype() const { return logits_.dtype; }
  int64_t rows() const { return logits_.shape[0]; }
  int64_t classes() const { return logits_.shape[1]; }
  const npy_intp* shape() const { return logits_.shape; }
  const ArrayView& logits() const { return logits_; }
  const ArrayView& target() const { return target_; }
  Reduction reduction() const { return reduction_; }
  double cost_ns() const { return cross_entropy_cost_ns(rows(), classes(), logits_.itemsize()); }

  template <class T>
  CrossEntropyArgs<T> args() const {
    return {.rows = rows(),
            .classes = classes(),
            .logits = logits_.as<T>(),
            .row_stride = logits_.strides[0] / static_cast<npy_intp>(sizeof(T)),
            .target = target_.as<int64_t>(),
            .weight = weight_ ? view_own(weight_).as<T>() : nullptr,
            .ignore_index = ignore_index_,
            .label_smoothing = label_smoothing_,
            .reduction = reduction_};
  }

 private:
  std::string say() const { return std::string("[") + op_ + "] expected "; }

  // Rows may lie anywhere, the classes of one must be neighbours.
  void take_logits(const ArrayView& x) {
    if (x.ndim != 2)
      throw py::value_error(say() + "`input` of shape (N, C); got " + shape_text(x) +
                            ": move the classes last and flatten the rest");
    const npy_intp size = x.itemsize();
    const bool walkable = (x.shape[1] <= 1 || x.strides[1] == size) && x.strides[0] % size == 0;
    logits_held_ = walkable ? borrowed(x) : as_contiguous(x);
    logits_ = view_own(logits_held_);
  }
  void take_weight(const ArrayView& w) {
    require_dtype_of(w, logits_, op_, "weight", "input");
    if (w.ndim != 1 || w.shape[0] != classes())
      throw py::value_error(say() + "`weight` of shape (" + std::to_string(classes()) +
                            ",), one a class; got " + shape_text(w));
    weight_ = as_contiguous(w);
  }
  void take_target(const ArrayView& t) {
    if (t.dtype != DType::int64)
      throw py::type_error(say() + "`target` of dtype int64, the class of each row; got " +
                           dtype_name(t.dtype) + ": convert it with x.astype(numpy.int64)");
    if (t.ndim != 1 || t.shape[0] != rows())
      throw py::value_error(say() + "`target` of shape (" + std::to_string(rows()) +
                            ",), one a row of `input`; got " + shape_text(t));
    // A copy, so that what is checked here is what the kernels read: another thread may write the
    // user's array once the GIL is released.
    target_held_ = new_array(t.dtype, 1, t.shape);
    target_ = view_own(target_held_);
    for (int64_t i = 0; i < rows(); ++i)
      std::memcpy(target_.data + i * 8, t.data + i * t.strides[0], 8);
    const int64_t bad = first_bad_target(target_.as<int64_t>(), rows(), classes(), ignore_index_);
    if (bad >= 0)
      throw py::index_error(say() + "`target` in [0, " + std::to_string(classes()) +
                            ") or ignore_index " + std::to_string(ignore_index_) + "; got " +
                            std::to_string(target_.as<int64_t>()[bad]) + " at " +
                            std::to_string(bad) + ": count the classes from 0");
  }

  const char* op_;
  int64_t ignore_index_;
  double label_smoothing_;
  Reduction reduction_;
  py::object logits_held_, target_held_, weight_;
  ArrayView logits_{}, target_{};
};

py::tuple bind_cross_entropy_forward(py::handle logits, py::handle target, py::handle weight,
                                     int64_t ignore_index, double label_smoothing,
                                     py::handle reduction) {
  const CrossEntropyInput in("cross_entropy", logits, target, weight, ignore_index, label_smoothing,
                             reduction);
  const npy_intp saved_size = cross_entropy_saved(in.rows());
  py::object loss = new_array(in.dtype(), in.reduction() == Reduction::none ? 1 : 0, in.shape());
  py::object saved = new_array(in.dtype(), 1, &saved_size);
  {
    const ArrayView loss_view = view_own(loss), saved_view = view_own(saved);
    GilRelease unlocked(in.cost_ns());
    dispatch_float(in.dtype(), [&]<class T>() {
      cross_entropy_forward(in.args<T>(), loss_view.as<T>(), saved_view.as<T>());
    });
  }
  return py::make_tuple(std::move(loss), std::move(saved));
}

// The gradient of a loss as its kernels read it: one number or, without a reduction, an array laid
// out as `each`, which has the shape of the loss.
py::object loss_gradient(py::handle array, const ArrayView& input, const ArrayView& each,
                         Reduction reduction, const char* op) {
  const ArrayView grad = view_float(array, op, "grad");
  require_dtype_of(grad, input, op, "grad", "input");
  if (reduction == Reduction::none) {
    require_shape_of(grad, each, op, "grad", "loss");
    return as_layout_of(grad, each);
  }
  if (grad.size() != 1)
    throw py::value_error(std::string("[") + op + "] expected `grad` of one element; got " +
                          shape_text(grad));
  return as_contiguous(grad);
}

py::object bind_cross_entropy_backward(py::handle grad_array, py::handle logits, py::handle target,
                                       py::handle weight, py::handle saved_array,
                                       int64_t ignore_index, double label_smoothing,
                                       py::handle reduction) {
  constexpr const char* op = "cross_entropy_backward";
  const CrossEntropyInput in(op, logits, target, weight, ignore_index, label_smoothing, reduction);
  const ArrayView saved = view_float(saved_array, op, "saved");
  require_dtype_of(saved, in.logits(), op, "saved", "input");
  if (saved.ndim != 1 || saved.shape[0] != cross_entropy_saved(in.rows()) || !saved.c_contiguous())
    throw py::value_error(std::string("[") + op + "] expected `saved` as forward returned it");
  const py::object held = loss_gradient(grad_array, in.logits(), in.target(), in.reduction(), op);
  py::object result = new_array(in.dtype(), 2, in.shape());
  {
    const ArrayView grad = view_own(held), dx = view_own(result);
    GilRelease unlocked(in.cost_ns());
    dispatch_float(in.dtype(), [&]<class T>() {
      cross_entropy_backward(in.args<T>(), grad.as<T>(), saved.as<T>(), dx.as<T>());
    });
  }
  return result;
}

// Input and target as flat memory of one layout.
struct DistanceInput {
  py::object input_held, target_held;
  ArrayView input, target;

  DistanceInput(const char* op, py::handle input_array, py::handle target_array) {
    const ArrayView given = view_float(input_array, op, "input");
    const ArrayView wanted = view_float(target_array, op, "target");
    require_dtype_of(wanted, given, op, "target", "input");
    require_shape_of(wanted, given, op, "target", "input");
    input_held =
        is_dense(given) ? py::reinterpret_borrow<py::object>(input_array) : as_contiguous(given);
    input = view_own(input_held);
    target_held = as_layout_of(wanted, input);
    target = view_own(target_held);
  }
  double cost_ns() const { return distance_cost_ns(input.size(), input.itemsize()); }
};

// The kind of loss, and the error's name for it.
struct DistanceName {
  const char *name, *op;
};
constexpr DistanceName kDistances[] = {{"square", "mse_loss"},
                                       {"absolute", "l1_loss"},
                                       {"huber", "huber_loss"},
                                       {"smooth", "smooth_l1_loss"}};

int distance_from(py::handle name) {
  for (int i = 0; i < static_cast<int>(Distance::count); ++i)
    if (PyUnicode_Check(name.ptr()) &&
        PyUnicode_CompareWithASCIIString(name.ptr(), kDistances[i].name) == 0)
      return i;
  throw py::value_error("[distance] expected kind as square, absolute, huber or smooth; got " +
                        py::repr(name).cast<std::string>());
}

py::object bind_distance_forward(py::handle kind, py::handle input, py::handle target, double limit,
                                 py::handle reduction_name) {
  const int distance = distance_from(kind);
  const char* op = kDistances[distance].op;
  const Reduction reduction = reduction_from(reduction_name, op);
  const DistanceInput in(op, input, target);
  py::object result = reduction == Reduction::none ? new_array_like(in.input)
                                                   : new_array(in.input.dtype, 0, nullptr);
  const ArrayView loss = view_own(result);
  GilRelease unlocked(in.cost_ns());
  dispatch_float(in.input.dtype, [&]<class T>() {
    distance_forward(static_cast<Distance>(distance), static_cast<T>(limit), in.input.as<T>(),
                     in.target.as<T>(), in.input.size(), reduction, loss.as<T>());
  });
  return result;
}

py::object bind_distance_backward(py::handle kind, py::handle grad_array, py::handle input,
                                  py::handle target, double limit, py::handle reduction_name) {
  const int distance = distance_from(kind);
  const char* op = kDistances[distance].op;
  const Reduction reduction = reduction_from(reduction_name, op);
  const DistanceInput in(op, input, target);
  const py::object held = loss_gradient(grad_array, in.input, in.input, reduction, op);
  py::object result = new_array_like(in.input);
  const ArrayView grad = view_own(held), dx = view_own(result);
  GilRelease unlocked(in.cost_ns());
  dispatch_float(in.input.dtype, [&]<class T>() {
    distance_backward(static_cast<Distance>(distance), static_cast<T>(limit), grad.as<T>(),
                      in.input.as<T>(), in.target.as<T>(), in.input.size(), reduction, dx.as<T>());
  });
  return result;
}

}  // namespace

void bind_loss(py::module_& m) {
  m.def("cross_entropy_forward", &bind_cross_entropy_forward, py::arg("logits"), py::arg("target"),
        py::arg("weight").none(true), py::arg("ignore_index"), py::arg("label_smoothing"),
        py::arg("reduction"));
  m.def("cross_entropy_backward", &bind_cross_entropy_backward, py::arg("grad"), py::arg("logits"),
        py::arg("target"), py::arg("weight").none(true), py::arg("saved"), py::arg("ignore_index"),
        py::arg("label_smoothing"), py::arg("reduction"));
  m.def("distance_forward", &bind_distance_forward, py::arg("kind"), py::arg("input"),
        py::arg("target"), py::arg("limit"), py::arg("reduction"));
  m.def("distance_backward", &bind_distance_backward, py::arg("kind"), py::arg("grad"),
        py::arg("input"), py::arg("target"), py::arg("limit"), py::arg("reduction"));
}

}  // namespace tilework
