// Elementwise ops: layouts are made flat here, and broadcast shapes become strides.
#include <algorithm>
#include <string>
#include <string_view>

#include "bindings/array.h"
#include "bindings/checks.h"
#include "kernels/pointwise/pointwise.h"

namespace tilework {
namespace {

struct OpName {
  const char* name;
  const char* saved;
};
constexpr OpName kUnaryNames[] = {
#define TW_UNARY(name, saved) {#name, #saved},
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_UNARY
};
constexpr OpName kBinaryNames[] = {
#define TW_BINARY(name) {#name, nullptr},
#include "kernels/pointwise/pointwise_ops.inc"
#undef TW_BINARY
};

// Finds an op by its name: by the interned string's address, as callers mostly pass it.
template <class Op, size_t N>
class OpTable {
 public:
  OpTable(const OpName (&names)[N], const char* binding) : names_(names), binding_(binding) {
    for (size_t i = 0; i < N; ++i) interned_[i] = PyUnicode_InternFromString(names[i].name);
  }
  Op find(py::handle name) const {
    for (size_t i = 0; i < N; ++i)
      if (name.ptr() == interned_[i]) return static_cast<Op>(i);
    if (PyUnicode_Check(name.ptr()))
      for (size_t i = 0; i < N; ++i)
        if (PyUnicode_Compare(name.ptr(), interned_[i]) == 0) return static_cast<Op>(i);
    std::string known;
    for (const OpName& n : names_) known += (known.empty() ? "" : ", ") + std::string(n.name);
    refuse(binding_,
           "expected op as one of " + known + "; got " + py::repr(name).cast<std::string>());
  }

 private:
  const OpName (&names_)[N];
  const char* binding_;
  PyObject* interned_[N];
};

const OpTable<UnaryOp, std::size(kUnaryNames)>& unary_ops() {
  static const OpTable<UnaryOp, std::size(kUnaryNames)> table(kUnaryNames, "unary");
  return table;
}
const OpTable<BinaryOp, std::size(kBinaryNames)>& binary_ops() {
  static const OpTable<BinaryOp, std::size(kBinaryNames)> table(kBinaryNames, "binary");
  return table;
}

// What a flat pass over an array costs, for the decision to release the GIL.
double pass_ns(const ArrayView& x) {
  return 0.1 * static_cast<double>(x.size()) * static_cast<double>(x.itemsize());
}

// An input of a flat pass, and where its result goes: the packed copy itself, where the input was
// not dense and had to be copied.
struct FlatPass {
  py::object out;
  ArrayView x, y;

  explicit FlatPass(const ArrayView& input) {
    if (is_dense(input)) {
      out = new_array_like(input);
      x = input;
    } else {
      out = as_contiguous(input);
      x = view_own(out);
    }
    y = view_own(out);
  }
};

py::object bind_unary_forward(py::handle op_name, py::handle x_array) {
  const UnaryOp op = unary_ops().find(op_name);
  FlatPass pass(view_float(x_array, kUnaryNames[static_cast<int>(op)].name, "x"));
  dispatch_float(pass.x.dtype, [&]<class T>() {
    GilRelease unlocked(pass_ns(pass.x));
    unary_forward(op, pass.x.as<T>(), pass.y.as<T>(), pass.x.size());
  });
  return pass.out;
}

py::object bind_unary_backward(py::handle op_name, py::handle grad_array, py::handle saved_array) {
  const UnaryOp op = unary_ops().find(op_name);
  const OpName& names = kUnaryNames[static_cast<int>(op)];
  const ArrayView grad = view_float(grad_array, names.name, "grad");
  const bool reads_saved = names.saved != std::string_view("none");
  const ArrayView saved = reads_saved ? view_float(saved_array, names.name, "saved") : grad;
  require_dtype_of(grad, saved, names.name, "grad", "saved");
  require_shape_of(grad, saved, names.name, "grad", "saved");
  FlatPass pass(saved);
  const py::object laid = as_layout_of(grad, pass.x);
  const ArrayView g = view_own(laid);
  dispatch_float(saved.dtype, [&]<class T>() {
    GilRelease unlocked(pass_ns(g));
    unary_backward(op, g.as<T>(), pass.x.as<T>(), pass.y.as<T>(), g.size());
  });
  return pass.out;
}

// --- Two operands ---

// An operand as an array or as a number in the other's dtype.
struct Operand {
  bool is_array;
  ArrayView v{};
  double number = 0;

  Operand(py::handle h, const char* op, const char* argument)
      : is_array(PyArray_Check(h.ptr()) != 0) {
    if (is_array) {
      v = view_float(h, op, argument);
      return;
    }
    number = PyFloat_AsDouble(h.ptr());
    if (number == -1 && PyErr_Occurred()) {
      PyErr_Clear();
      throw py::type_error(std::string("[") + op + "] expected `" + argument +
                           "` as a numpy.ndarray or a number; got " + Py_TYPE(h.ptr())->tp_name);
    }
  }
};

BinaryShape flat_shape(int64_t n, int64_t a_stride, int64_t b_stride) {
  BinaryShape s{};
  s.axes = 1;
  s.size[0] = n;
  s.a_stride[0] = a_stride;
  s.b_stride[0] = b_stride;
  return s;
}

// The shape that a and b broadcast to.
int broadcast_shape(const ArrayView& a, const ArrayView& b, const char* op, npy_intp* shape) {
  const int ndim = std::max(a.ndim, b.ndim);
  if (ndim > kMaxDims)
    refuse(op, "expected at most 32 axes; got " + std::to_string(ndim) + ": reshape the arrays");
  for (int i = 0; i < ndim; ++i) {
    const int ia = i - (ndim - a.ndim), ib = i - (ndim - b.ndim);
    const npy_intp na = ia < 0 ? 1 : a.shape[ia], nb = ib < 0 ? 1 : b.shape[ib];
    if (na != nb && na != 1 && nb != 1)
      refuse(op, "expected shapes that broadcast; got " + shape_text(a) + " and " + shape_text(b) +
                     ": sizes must be equal or 1, counted from the last axis");
    shape[i] = na == 1 ? nb : na;
  }
  return ndim;
}

// Of an operand along axis i of the output, in elements.
int64_t stride_along(const ArrayView& x, int ndim, int i) {
  const int axis = i - (ndim - x.ndim);
  if (axis < 0 || x.shape[axis] == 1) return 0;
  return x.strides[axis] / x.itemsize();
}

bool has_shape(const ArrayView& x, int ndim, const npy_intp* shape) {
  return x.ndim == ndim && std::equal(shape, shape + ndim, x.shape);
}

// Strides that are no multiple of an element (a field of a structured array) have no place in a
// kernel: such an array is copied.
ArrayView with_whole_strides(const ArrayView& x, py::object& holder) {
  for (int i = 0; i < x.ndim; ++i)
    if (x.strides[i] % x.itemsize() != 0) {
      holder = as_contiguous(x);
      return view_own(holder);
    }
  return x;
}

py::object binary_arrays(BinaryOp op, const char* name, ArrayView a, ArrayView b) {
  require_dtype_of(b, a, name, "b", "a");
  py::object a_holder, b_holder, out;
  BinaryShape s;
  if (same_layout(a, b)) {
    out = new_array_like(a);
    s = flat_shape(a.size(), 1, 1);
  } else {
    a = with_whole_strides(a, a_holder);
    b = with_whole_strides(b, b_holder);
    npy_intp shape[kMaxDims];
    const int ndim = broadcast_shape(a, b, name, shape);
    if (has_shape(a, ndim, shape) && is_dense(a))
      out = new_array_like(a);
    else if (has_shape(b, ndim, shape) && is_dense(b))
      out = new_array_like(b);
    else
      out = new_array(a.dtype, ndim, shape);
    const ArrayView y = view_own(out);
    int order[kMaxDims];
    for (int i = 0; i < ndim; ++i) order[i] = i;
    std::stable_sort(order, order + ndim,
                     [&](int i, int j) { return y.strides[i] > y.strides[j]; });
    s.axes = ndim;
    for (int i = 0; i < ndim; ++i) {
      s.size[i] = shape[order[i]];
      s.a_stride[i] = stride_along(a, ndim, order[i]);
      s.b_stride[i] = stride_along(b, ndim, order[i]);
    }
  }
  const ArrayView y = view_own(out);
  dispatch_float(a.dtype, [&]<class T>() {
    GilRelease unlocked(pass_ns(y));
    binary_forward(op, s, a.as<T>(), b.as<T>(), y.as<T>());
  });
  return out;
}

py::object binary_with_number(BinaryOp op, const ArrayView& x, double number, bool number_first) {
  FlatPass pass(x);
  const int64_t n = pass.x.size();
  dispatch_float(x.dtype, [&]<class T>() {
    GilRelease unlocked(pass_ns(pass.x));
    const T one = static_cast<T>(number);
    if (number_first)
      binary_forward(op, flat_shape(n, 0, 1), &one, pass.x.as<T>(), pass.y.as<T>());
    else
      binary_forward(op, flat_shape(n, 1, 0), pass.x.as<T>(), &one, pass.y.as<T>());
  });
  return pass.out;
}

py::object bind_binary_forward(py::handle op_name, py::handle a_handle, py::handle b_handle) {
  const BinaryOp op = binary_ops().find(op_name);
  const char* name = kBinaryNames[static_cast<int>(op)].name;
  const Operand a(a_handle, name, "a"), b(b_handle, name, "b");
  if (a.is_array && b.is_array) return binary_arrays(op, name, a.v, b.v);
  if (a.is_array) return binary_with_number(op, a.v, b.number, false);
  if (b.is_array) return binary_with_number(op, b.v, a.number, true);
  throw py::type_error(std::string("[") + name + "] expected an array; got two numbers");
}

// float32, float64 or bfloat16.
ArrayView view_summand(py::handle array, const char* op, const char* argument) {
  const ArrayView v = view(array, op, argument);
  return v.dtype == DType::bfloat16 ? v : view_float(array, op, argument);
}

void bind_accumulate(py::handle destination, py::handle source) {
  constexpr const char* op = "accumulate_";
  const ArrayView y = view_summand(destination, op, "destination");
  const ArrayView x = view_summand(source, op, "source");
  require_dtype_of(x, y, op, "source", "destination");
  require_shape_of(x, y, op, "source", "destination");
  require_writeable(y, op, "destination");
  const bool overlap = same_layout(x, y) && x.data != y.data && memory_overlaps(x, y);
  // Rare, and NumPy knows how.
  if (!is_dense(y) || overlap || y.dtype == DType::bfloat16) {
    PyObject* sum =
        stopping_at_exit([&] { return PyNumber_InPlaceAdd(destination.ptr(), source.ptr()); });
    if (!sum) throw py::error_already_set();
    Py_DECREF(sum);
    return;
  }
  const py::object laid = as_layout_of(x, y);
  const ArrayView from = view_own(laid);
  dispatch_float(y.dtype, [&]<class T>() {
    GilRelease unlocked(pass_ns(y));
    binary_forward(BinaryOp::add, flat_shape(y.size(), 1, 1), y.as<T>(), from.as<T>(), y.as<T>());
  });
}

// --- Fused ops ---

struct RowShape {
  int64_t rows, cols;
  RowShape(const ArrayView& x, const char* op) {
    if (x.ndim == 0) refuse(op, "expected at least one axis; got a 0-d array");
    cols = x.shape[x.ndim - 1];
    rows = cols ? x.size() / cols : 0;
  }
};

py::tuple bind_bias_forward(py::handle x_array, py::handle bias_array, py::handle activation,
                            bool save) {
  constexpr const char* op = "bias_activation";
  const Activation act = activation_from(activation, op);
  const ArrayView given = view_float(x_array, op, "x"),
                  bias_given = view_float(bias_array, op, "bias");
  const RowShape shape(given, op);
  require_dtype_of(bias_given, given, op, "bias", "x");
  if (bias_given.ndim != 1 || bias_given.shape[0] != shape.cols)
    refuse(op, "expected bias (" + std::to_string(shape.cols) +
                   ",), one for each of x's last axis; got " + shape_text(bias_given) + " with x " +
                   shape_text(given));
  const py::object x_held = as_contiguous(given), bias_held = as_contiguous(bias_given);
  const ArrayView x = view_own(x_held), bias = view_own(bias_held);
  const py::object out = new_array_like(x);
  const bool saves_input = save && needs_preactivation(act);
  py::object saved = py::none();
  if (saves_input)
    saved = new_array_like(x);
  else if (save && act != Activation::none)
    saved = out;
  dispatch_float(x.dtype, [&]<class T>() {
    T* y = view_own(out).as<T>();
    T* z = saves_input ? view_own(saved).as<T>() : nullptr;
    GilRelease unlocked(pass_ns(x));
    bias_activation_forward(act, shape.rows, shape.cols, x.as<T>(), bias.as<T>(), y, z);
  });
  return py::make_tuple(out, saved);
}

py::tuple bind_bias_backward(py::handle grad_array, py::handle saved_array, py::handle activation) {
  constexpr const char* op = "bias_activation";
  const Activation act = activation_from(activation, op);
  const ArrayView given = view_float(grad_array, op, "grad");
  const RowShape shape(given, op);
  const py::object grad_held = as_contiguous(given);
  const ArrayView grad = view_own(grad_held);
  py::object saved_held;
  if (act != Activation::none) {
    const ArrayView saved = view_float(saved_array, op, "saved");
    require_dtype_of(saved, given, op, "saved", "grad");
    require_shape_of(saved, given, op, "saved", "grad");
    saved_held = as_contiguous(saved);
  }
  const py::object dz = new_array_like(grad);
  const npy_intp cols = shape.cols;
  const py::object dbias = new_array(grad.dtype, 1, &cols);
  dispatch_float(grad.dtype, [&]<class T>() {
    const T* saved = saved_held ? view_own(saved_held).as<T>() : nullptr;
    T *dz_data = view_own(dz).as<T>(), *dbias_data = view_own(dbias).as<T>();
    GilRelease unlocked(pass_ns(grad));
    bias_activation_backward(act, shape.rows, shape.cols, grad.as<T>(), saved, dz_data, dbias_data);
  });
  return py::make_tuple(dz, dbias);
}

py::object bind_clamp(py::handle x_array, double low, double high) {
  FlatPass pass(view_float(x_array, "clamp", "x"));
  dispatch_float(pass.x.dtype, [&]<class T>() {
    GilRelease unlocked(pass_ns(pass.x));
    clamp(static_cast<T>(low), static_cast<T>(high), pass.x.as<T>(), pass.y.as<T>(), pass.x.size());
  });
  return pass.out;
}

py::object bind_clamp_backward(py::handle grad_array, py::handle x_array, double low, double high) {
  constexpr const char* op = "clamp_backward";
  const ArrayView grad = view_float(grad_array, op, "grad"), x = view_float(x_array, op, "x");
  require_dtype_of(grad, x, op, "grad", "x");
  require_shape_of(grad, x, op, "grad", "x");
  FlatPass pass(x);
  const py::object laid = as_layout_of(grad, pass.x);
  const ArrayView g = view_own(laid);
  dispatch_float(x.dtype, [&]<class T>() {
    GilRelease unlocked(pass_ns(g));
    clamp_backward(static_cast<T>(low), static_cast<T>(high), g.as<T>(), pass.x.as<T>(),
                   pass.y.as<T>(), g.size());
  });
  return pass.out;
}

py::object bind_dropout(py::handle x_array, double p, uint64_t seed, uint64_t call) {
  if (!(p >= 0 && p <= 1))
    refuse("dropout", "expected p between 0 and 1; got " + std::to_string(p));
  FlatPass pass(view_float(x_array, "dropout", "x"));
  dispatch_float(pass.x.dtype, [&]<class T>() {
    GilRelease unlocked(2 * pass_ns(pass.x));
    dropout(p, seed, call, pass.x.as<T>(), pass.y.as<T>(), pass.x.size());
  });
  return pass.out;
}

// --- Between bfloat16 and float32 ---

// `x`, or a packed copy of it where it is not dense, and an array of its layout in another dtype.
struct Conversion {
  py::object held, out;
  ArrayView x, y;

  Conversion(py::handle array, DType from, DType to, const char* op) {
    x = view(array, op, "x");
    if (x.dtype != from)
      throw py::type_error(std::string("[") + op + "] expected `x` of dtype " + dtype_name(from) +
                           "; got " + dtype_name(x.dtype) + ": convert it with x.astype()");
    if (!is_dense(x)) {
      held = as_contiguous(x);
      x = view_own(held);
    }
    out = new_array_like(x, to);
    y = view_own(out);
  }
};

py::object bind_widen(py::handle array) {
  const Conversion c(array, DType::bfloat16, DType::float32, "widen");
  GilRelease unlocked(pass_ns(c.y));
  widen(c.x.as<bfloat16>(), c.y.as<float>(), c.x.size());
  return c.out;
}
py::object bind_narrow(py::handle array) {
  const Conversion c(array, DType::float32, DType::bfloat16, "narrow");
  GilRelease unlocked(pass_ns(c.x));
  narrow(c.x.as<float>(), c.y.as<bfloat16>(), c.x.size());
  return c.out;
}

}  // namespace

void bind_gated(py::module_& m);

void bind_pointwise(py::module_& m) {
  bind_gated(m);
  py::dict unary_names;
  for (const OpName& n : kUnaryNames) unary_names[n.name] = n.saved;
  py::tuple binary_names(std::size(kBinaryNames));
  for (size_t i = 0; i < std::size(kBinaryNames); ++i)
    binary_names[i] = py::str(kBinaryNames[i].name);
  m.attr("UNARY_OPS") = unary_names;
  m.attr("BINARY_OPS") = binary_names;
  m.def("unary_forward", &bind_unary_forward, py::arg("op"), py::arg("x"));
  m.def("unary_backward", &bind_unary_backward, py::arg("op"), py::arg("grad"),
        py::arg("saved").none(true));
  m.def("binary_forward", &bind_binary_forward, py::arg("op"), py::arg("a"), py::arg("b"));
  m.def("accumulate_", &bind_accumulate, py::arg("destination"), py::arg("source"));
  m.def("bias_activation_forward", &bind_bias_forward, py::arg("x"), py::arg("bias"),
        py::arg("activation"), py::arg("save"));
  m.def("bias_activation_backward", &bind_bias_backward, py::arg("grad"),
        py::arg("saved").none(true), py::arg("activation"));
  m.def("clamp_forward", &bind_clamp, py::arg("x"), py::arg("low"), py::arg("high"));
  m.def("clamp_backward", &bind_clamp_backward, py::arg("grad"), py::arg("x"), py::arg("low"),
        py::arg("high"));
  m.def("dropout_forward", &bind_dropout, py::arg("x"), py::arg("p"), py::arg("seed"),
        py::arg("call"));
  m.def("dropout_backward", &bind_dropout, py::arg("grad"), py::arg("p"), py::arg("seed"),
        py::arg("call"));
  m.def("widen", &bind_widen, py::arg("x"));
  m.def("narrow", &bind_narrow, py::arg("x"));
}

}  // namespace tilework
