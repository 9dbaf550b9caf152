// Normalisation: batch norm takes any dense layout as it lies, group and instance norm images in
// planes or channels last, the other norms of rows C order.
#include <cmath>
#include <string>
#include <vector>

#include "bindings/checks.h"
#include "kernels/norm/norm.h"

namespace tilework {
namespace {

// An argument that may be None, and keeps the array it points into.
struct Optional {
  py::object held = py::none();

  template <class T>
  T* as() const {
    return held.is_none() ? nullptr : view_own(held).as<T>();
  }
};

// A vector of `count` numbers, or None.
Optional vector_of(py::handle array, int64_t count, const ArrayView& x, const char* op,
                   const char* argument) {
  if (array.is_none()) return {};
  const ArrayView v = view_float(array, op, argument);
  require_dtype_of(v, x, op, argument, "input");
  if (v.size() != count)
    refuse(op, std::string("expected `") + argument + "` of " + std::to_string(count) +
                   " elements; got " + shape_text(v));
  return {as_contiguous(v)};
}

// An array of x's shape in x's layout, or None.
Optional beside(py::handle array, const ArrayView& x, const char* op, const char* argument) {
  if (array.is_none()) return {};
  const ArrayView v = view_float(array, op, argument);
  require_dtype_of(v, x, op, argument, "input");
  require_shape_of(v, x, op, argument, "input");
  return {as_layout_of(v, x)};
}

// The same, where None will not do.
void require(py::handle array, const char* op, const char* argument) {
  if (array.is_none())
    throw py::type_error(std::string("[") + op + "] expected `" + argument +
                         "` as a numpy.ndarray; got NoneType");
}

Optional fresh_like(const ArrayView& x, bool wanted) {
  return wanted ? Optional{new_array_like(x)} : Optional{};
}

py::object new_vector(const ArrayView& x, npy_intp count) { return new_array(x.dtype, 1, &count); }

// --- batch norm ---

// (N, C, ...), dense, as its memory has it: the stride of C is the size of what varies faster.
struct BatchInput {
  py::object held;
  ArrayView x;
  BatchShape shape;

  BatchInput(py::handle array, const char* op) : x(view_float(array, op, "input")) {
    if (x.ndim < 2)
      refuse(op, "expected `input` of shape (N, C, ...); got " + shape_text(x) +
                     ": add the axis that is missing");
    held = is_dense(x) ? borrowed(x) : as_contiguous(x);
    x = view_own(held);
    const int64_t size = x.size(), channels = x.shape[1];
    if (size == 0)
      shape = {0, channels, 0};
    else if (channels == 1)  // the stride of an axis of one element says nothing
      shape = {1, 1, size};
    else
      shape.inner = x.strides[1] / x.itemsize(), shape.channels = channels,
      shape.outer = size / (channels * shape.inner);
  }
  double cost_ns() const { return norm_cost_ns(x.size(), static_cast<size_t>(x.itemsize())); }
};

// A running statistic, written where it lies.
template <class T>
Running<T> running_of(py::handle array) {
  if (array.is_none()) return {nullptr, 0};
  const ArrayView v = view(array, "batch_norm", "running statistics");
  return {v.as<T>(), v.strides[0] / v.itemsize()};
}

void check_running(py::handle array, const BatchInput& in, bool training, const char* argument) {
  constexpr const char* op = "batch_norm";
  if (array.is_none()) {
    if (!training) refuse(op, std::string("expected `") + argument + "` in inference; got None");
    return;
  }
  const ArrayView v = view_float(array, op, argument);
  require_dtype_of(v, in.x, op, argument, "input");
  if (v.ndim != 1 || v.shape[0] != in.shape.channels || v.strides[0] % v.itemsize() != 0 ||
      (training && !v.writeable()))
    refuse(op, std::string("expected `") + argument + "` as a writeable vector of " +
                   std::to_string(in.shape.channels) + "; got " + shape_text(v));
}

bool is_relu(py::handle activation, const char* op) {
  const Activation act = activation_from(activation, op);
  if (act != Activation::none && act != Activation::relu)
    refuse(op, "expected activation none or relu; got " + py::repr(activation).cast<std::string>() +
                   ": apply it afterwards");
  return act == Activation::relu;
}

py::tuple bind_batch_forward(py::handle array, py::handle weight, py::handle bias,
                             py::handle running_mean, py::handle running_var, bool training,
                             double momentum, double eps, py::handle activation,
                             py::handle residual) {
  constexpr const char* op = "batch_norm";
  const BatchInput in(array, op);
  const int64_t channels = in.shape.channels;
  const bool relu = is_relu(activation, op);
  check_running(running_mean, in, training, "running_mean");
  check_running(running_var, in, training, "running_var");
  const Optional w = vector_of(weight, channels, in.x, op, "weight");
  const Optional b = vector_of(bias, channels, in.x, op, "bias");
  const Optional added = beside(residual, in.x, op, "residual");
  py::object y = new_array_like(in.x);
  py::object mean = new_vector(in.x, channels), rstd = new_vector(in.x, channels);
  dispatch_float(in.x.dtype, [&]<class T>() {
    const BatchNormForward<T> args = {.shape = in.shape,
                                      .x = in.x.as<T>(),
                                      .residual = added.as<T>(),
                                      .weight = w.as<T>(),
                                      .bias = b.as<T>(),
                                      .y = view_own(y).as<T>(),
                                      .mean = view_own(mean).as<T>(),
                                      .rstd = view_own(rstd).as<T>(),
                                      .running_mean = running_of<T>(running_mean),
                                      .running_var = running_of<T>(running_var),
                                      .training = training,
                                      .momentum = momentum,
                                      .eps = eps,
                                      .relu = relu};
    GilRelease unlocked(in.cost_ns());
    batch_norm_forward(args);
  });
  return py::make_tuple(std::move(y), std::move(mean), std::move(rstd));
}

py::tuple bind_batch_backward(py::handle grad_array, py::handle array, py::handle weight,
                              py::handle mean, py::handle rstd, bool training, py::handle output,
                              bool need_x, bool need_residual) {
  constexpr const char* op = "batch_norm_backward";
  const BatchInput in(array, op);
  const int64_t channels = in.shape.channels;
  require(grad_array, op, "grad");
  require(mean, op, "mean");
  require(rstd, op, "rstd");
  const Optional grad = beside(grad_array, in.x, op, "grad");
  const Optional y = beside(output, in.x, op, "output");
  const Optional w = vector_of(weight, channels, in.x, op, "weight");
  const Optional m = vector_of(mean, channels, in.x, op, "mean");
  const Optional s = vector_of(rstd, channels, in.x, op, "rstd");
  // Without relu the residual's gradient is grad itself.
  const bool cut = !y.held.is_none();
  const Optional dx = fresh_like(in.x, need_x), dz = fresh_like(in.x, need_residual && cut);
  py::object dweight = new_vector(in.x, channels), dbias = new_vector(in.x, channels);
  dispatch_float(in.x.dtype, [&]<class T>() {
    const BatchNormBackward<T> args = {.shape = in.shape,
                                       .grad = grad.as<T>(),
                                       .x = in.x.as<T>(),
                                       .weight = w.as<T>(),
                                       .mean = m.as<T>(),
                                       .rstd = s.as<T>(),
                                       .y = y.as<T>(),
                                       .training = training,
                                       .dx = dx.as<T>(),
                                       .dresidual = dz.as<T>(),
                                       .dweight = view_own(dweight).as<T>(),
                                       .dbias = view_own(dbias).as<T>()};
    GilRelease unlocked(in.cost_ns());
    batch_norm_backward(args);
  });
  py::object dresidual = need_residual && !cut ? grad.held : dz.held;
  return py::make_tuple(dx.held, std::move(dweight), std::move(dbias), std::move(dresidual));
}

// --- rows ---

// Whether memory has (N, C, ...) sample by sample, each as planes, whatever their axes' order, or
// as pixels of neighbouring channels.
enum class Samples { in_planes, of_pixels, otherwise };

Samples samples_of(const ArrayView& x) {
  const npy_intp sample = x.size() / x.shape[0] * x.itemsize();
  if (!is_dense(x) || (x.shape[0] > 1 && x.strides[0] != sample)) return Samples::otherwise;
  if (x.shape[1] == 1 || x.strides[1] == sample / x.shape[1]) return Samples::in_planes;
  return x.strides[1] == x.itemsize() ? Samples::of_pixels : Samples::otherwise;
}

// x as rows, whose shape the caller has from its own: in C order, but for groups of channels, where
// they lie better.
struct RowsInput {
  ArrayView given, x;
  py::object held;
  RowsShape shape{};

  RowsInput(py::handle array, int64_t length, int64_t groups, int64_t channels, bool center,
            const char* op)
      : given(view_float(array, op, "input")), x(given) {
    const bool fits = length >= 0 && groups >= 1 && channels >= 0 && channels % groups == 0 &&
                      (length == 0 ? given.size() == 0
                                   : channels > 0 && given.size() % length == 0 &&
                                         length % (channels / groups) == 0);
    if (!fits)
      refuse(op, "expected length, groups and channels that divide shape " + shape_text(given) +
                     "; got " + std::to_string(length) + ", " + std::to_string(groups) + " and " +
                     std::to_string(channels));
    shape = {length == 0 ? 0 : given.size() / length, length, groups, channels};
    // No norm of channels does without centring: there is no kernel for it beside C order's.
    const bool as_it_lies = center && has_groups_of_channels();
    const Samples lie = as_it_lies ? samples_of(given) : Samples::otherwise;
    shape.neighbours = lie == Samples::of_pixels;
    held = lie == Samples::otherwise ? as_contiguous(given) : borrowed(given);
    x = view_own(held);
  }
  double cost_ns() const { return norm_cost_ns(x.size(), static_cast<size_t>(x.itemsize())); }
  // A result, computed in x's order, in the layout of the input.
  py::object laid_out(const py::object& result) const {
    return is_dense(given) ? as_layout_of(view_own(result), given) : result;
  }

 private:
  // A number for each channel of (N, C, ...), not for each element of a row.
  bool has_groups_of_channels() const {
    return shape.rows > 0 && shape.span() > 1 && given.ndim > 2 &&
           given.shape[1] == shape.channels && shape.rows == given.shape[0] * shape.groups;
  }
};

py::tuple bind_rows_forward(py::handle array, py::handle weight, py::handle bias, int64_t length,
                            int64_t groups, int64_t channels, bool center, double eps,
                            py::handle residual) {
  constexpr const char* op = "norm_rows";
  const bool adds = !residual.is_none();
  const RowsInput in(array, length, groups, channels, center && !adds, op);
  const int64_t rows = in.shape.rows;
  const Optional w = vector_of(weight, channels, in.x, op, "weight");
  const Optional b = vector_of(bias, channels, in.x, op, "bias");
  const Optional added = beside(residual, in.x, op, "residual"), sum = fresh_like(in.x, adds);
  py::object y = new_array_like(in.x), rstd = new_vector(in.x, rows);
  const Optional mean = center ? Optional{new_vector(in.x, rows)} : Optional{};
  dispatch_float(in.x.dtype, [&]<class T>() {
    const NormRowsForward<T> args = {.shape = in.shape,
                                     .x = in.x.as<T>(),
                                     .weight = w.as<T>(),
                                     .bias = b.as<T>(),
                                     .y = view_own(y).as<T>(),
                                     .mean = mean.as<T>(),
                                     .rstd = view_own(rstd).as<T>(),
                                     .eps = eps,
                                     .residual = added.as<T>(),
                                     .sum = sum.as<T>()};
    GilRelease unlocked(in.cost_ns());
    norm_rows_forward(args);
  });
  return py::make_tuple(in.laid_out(y), mean.held, std::move(rstd),
                        adds ? in.laid_out(sum.held) : sum.held);
}

py::tuple bind_rows_backward(py::handle grad_array, py::handle array, py::handle weight,
                             py::handle mean, py::handle rstd, int64_t length, int64_t groups,
                             int64_t channels, bool need_x, py::handle onto) {
  constexpr const char* op = "norm_rows_backward";
  const bool in_planes = !mean.is_none() && onto.is_none();
  const RowsInput in(array, length, groups, channels, in_planes, op);
  const int64_t rows = in.shape.rows;
  require(grad_array, op, "grad");
  require(rstd, op, "rstd");
  const Optional grad = beside(grad_array, in.x, op, "grad");
  const Optional w = vector_of(weight, channels, in.x, op, "weight");
  const Optional m = vector_of(mean, rows, in.x, op, "mean");
  const Optional s = vector_of(rstd, rows, in.x, op, "rstd");
  const Optional more = beside(onto, in.x, op, "onto"), dx = fresh_like(in.x, need_x);
  py::object dweight = new_vector(in.x, channels), dbias = new_vector(in.x, channels);
  dispatch_float(in.x.dtype, [&]<class T>() {
    const NormRowsBackward<T> args = {.shape = in.shape,
                                      .grad = grad.as<T>(),
                                      .x = in.x.as<T>(),
                                      .weight = w.as<T>(),
                                      .mean = m.as<T>(),
                                      .rstd = s.as<T>(),
                                      .dx = dx.as<T>(),
                                      .dweight = view_own(dweight).as<T>(),
                                      .dbias = view_own(dbias).as<T>(),
                                      .onto = more.as<T>()};
    GilRelease unlocked(in.cost_ns());
    norm_rows_backward(args);
  });
  return py::make_tuple(need_x ? in.laid_out(dx.held) : dx.held, std::move(dweight),
                        std::move(dbias));
}

// --- moments ---

// x as rows of what is reduced, in C order of the axes that are kept.
py::object as_rows(const ArrayView& x, const bool* reduced) {
  npy_intp shape[kMaxDims], strides[kMaxDims];
  int count = 0;
  bool trailing = true;
  for (const bool which : {false, true})
    for (int i = 0; i < x.ndim; ++i)
      if (reduced[i] == which) {
        trailing &= count == i;
        shape[count] = x.shape[i];
        strides[count++] = x.strides[i];
      }
  if (trailing && x.c_contiguous()) return borrowed(x);
  py::object rows = new_array(x.dtype, x.ndim, shape);
  copy_into(view_own(rows), strided_view(x.object, x.data, x.dtype, x.ndim, shape, strides, false));
  return rows;
}

py::tuple bind_spread(py::handle array, const py::tuple& axes, bool keepdims, double divisor,
                      bool root) {
  constexpr const char* op = "spread";
  const ArrayView x = view_float(array, op, "x");
  require_few_axes(x, op);
  bool reduced[kMaxDims] = {};
  mark_axes(axes, x, op, reduced);
  int64_t rows = 1, length = 1;
  npy_intp wide[kMaxDims], narrow[kMaxDims];
  int left = 0;
  for (int i = 0; i < x.ndim; ++i) {
    (reduced[i] ? length : rows) *= x.shape[i];
    wide[i] = reduced[i] ? 1 : x.shape[i];
    if (keepdims || !reduced[i]) narrow[left++] = wide[i];
  }
  py::object value = new_array(x.dtype, left, narrow), mean, rest;
  const py::object held = as_rows(x, reduced);
  std::vector<NormMoments> moments(static_cast<size_t>(rows));
  dispatch_float(x.dtype, [&]<class T>() {
    const T* from = view_own(held).as<T>();
    T* v = view_own(value).as<T>();
    bool within = true;
    {
      GilRelease unlocked(norm_cost_ns(x.size(), sizeof(T)));
      row_moments(rows, length, from, moments.data());
      for (size_t i = 0; i < moments.size(); ++i) {
        const double spread = moments[i].m2 / divisor;
        v[i] = static_cast<T>(root ? std::sqrt(spread) : spread);
        within &= squares_within<T>(moments[i]);
      }
    }
    const auto part_mean = [&]<class M>(DType dtype) {
      mean = new_array(dtype, x.ndim, wide);
      rest = new_array(dtype, x.ndim, wide);
      M *m = view_own(mean).as<M>(), *r = view_own(rest).as<M>();
      for (size_t i = 0; i < moments.size(); ++i) {
        m[i] = static_cast<M>(moments[i].mean);
        const double left_over = moments[i].mean - m[i];
        r[i] = std::isfinite(left_over) ? static_cast<M>(left_over) : M(0);
      }
    };
    if (within)
      part_mean.template operator()<T>(x.dtype);
    else  // the distances from it would leave the range too
      part_mean.template operator()<double>(DType::float64);
  });
  return py::make_tuple(value, mean, rest);
}

}  // namespace

void bind_norm(py::module_& m) {
  m.def("batch_norm_forward", &bind_batch_forward, py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("running_mean"), py::arg("running_var"), py::arg("training"), py::arg("momentum"),
        py::arg("eps"), py::arg("activation"), py::arg("residual"));
  m.def("batch_norm_backward", &bind_batch_backward, py::arg("grad"), py::arg("x"),
        py::arg("weight"), py::arg("mean"), py::arg("rstd"), py::arg("training"), py::arg("output"),
        py::arg("need_x"), py::arg("need_residual"));
  m.def("norm_rows_forward", &bind_rows_forward, py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("length"), py::arg("groups"), py::arg("channels"), py::arg("center"),
        py::arg("eps"), py::arg("residual").none(true) = py::none());
  m.def("norm_rows_backward", &bind_rows_backward, py::arg("grad"), py::arg("x"), py::arg("weight"),
        py::arg("mean"), py::arg("rstd"), py::arg("length"), py::arg("groups"), py::arg("channels"),
        py::arg("need_x"), py::arg("onto").none(true) = py::none());
  m.def("spread", &bind_spread, py::arg("x"), py::arg("axes"), py::arg("keepdims"),
        py::arg("divisor"), py::arg("root"));
}

}  // namespace tilework
