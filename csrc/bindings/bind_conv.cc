// Convolutions and their transposed twins: forward and backward.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "base/cpu.h"
#include "base/memory_pool.h"
#include "base/variants.h"
#include "bindings/bias_gradient.h"
#include "bindings/operand.h"
#include "kernels/conv/conv.h"
#include "kernels/gemm/gemm.h"

namespace tilework {
namespace {

using Pair = std::pair<int64_t, int64_t>;  // (rows, cols)

struct ConvWindow {
  Pair stride, padding, dilation;
  int64_t groups;
};

ArrayView view_images(py::handle array, const char* op, const char* argument) {
  const ArrayView v = view_product(array, op, argument);
  if (v.ndim != 4)
    refuse(op, std::string("expected `") + argument + "` of four axes; got shape " + shape_text(v));
  return v;
}

template <class T>
ImageView<const T> image_view(const Operand& x) {
  return {x.v.as<T>(), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}
template <class T>
KernelView<const T> kernel_view(const Operand& w) {
  return {w.v.as<T>(), w.stride(0), w.stride(1), w.stride(2), w.stride(3)};
}

// x itself where its channels are adjacent and it is dense, else a copy that is so.
Operand channels_last(const ArrayView& x) {
  if (is_channels_last(x)) return Operand(x);
  const Operand from = Operand::strided(x);
  Operand to(x);
  to.holder = new_channels_last(x.dtype, x.shape);
  to.v = view_own(to.holder);
  dispatch_product(x.dtype, [&]<class T>() {
    const GilRelease release(static_cast<double>(x.size()) / 2);
    to_channels_last<T>(x.shape[0], x.shape[1], x.shape[2], x.shape[3], image_view<T>(from),
                        to.v.as<T>());
  });
  return to;
}

// Sums of a few numbers within this stay within an int64.
constexpr int64_t kFarthest = int64_t{1} << 61;

// Refuses windows along an axis that reach so far that their places overflow.
void require_reach(const char* op, int64_t windows, int64_t stride, int64_t padding, int64_t kernel,
                   int64_t dilation) {
  int64_t last = 0, reach = 0;
  const bool overflows = __builtin_mul_overflow(std::max<int64_t>(windows - 1, 0), stride, &last) ||
                         __builtin_mul_overflow(std::max<int64_t>(kernel - 1, 0), dilation, &reach);
  const bool wide =
      padding < -kFarthest || std::max({last, reach, padding, stride, dilation}) > kFarthest;
  if (overflows || wide)
    refuse(op, "expected windows within 2**61 of the image; got stride " + std::to_string(stride) +
                   ", padding " + std::to_string(padding) + ", dilation " +
                   std::to_string(dilation) + ": make them smaller");
}

// No memory holds more, however its strides repeat what is there.
constexpr int64_t kMostElements = int64_t{1} << 40;

void require_countable(const char* op, const npy_intp* image) {
  int64_t count = 1;
  for (int i = 0; i < 4; ++i)
    if (__builtin_mul_overflow(count, std::max<int64_t>(image[i], 1), &count) ||
        count > kMostElements)
      refuse(op, "expected images of at most 2**40 elements; got one of (" +
                     std::to_string(image[0]) + ", " + std::to_string(image[1]) + ", " +
                     std::to_string(image[2]) + ", " + std::to_string(image[3]) +
                     "): cut it, or make the padding and the stride smaller");
}

// The convolution with this weight that leads from `large` (N, C, H, W) to `small` (N, O, OH, OW).
ConvShape shape_of(const char* op, const npy_intp* large, const npy_intp* small,
                   const ArrayView& weight, const ConvWindow& w) {
  if (w.groups < 1 || w.stride.first < 1 || w.stride.second < 1 || w.dilation.first < 1 ||
      w.dilation.second < 1)
    refuse(op, "expected stride, dilation and groups of at least 1");
  require_countable(op, large);
  require_countable(op, small);
  require_reach(op, small[2], w.stride.first, w.padding.first, weight.shape[2], w.dilation.first);
  require_reach(op, small[3], w.stride.second, w.padding.second, weight.shape[3],
                w.dilation.second);
  if (weight.shape[0] != small[1] || large[1] % w.groups != 0 ||
      weight.shape[1] != large[1] / w.groups || small[1] % w.groups != 0 ||
      w.groups > std::max<npy_intp>({large[1], small[1], 1}))
    refuse(op, "expected a weight (" + std::to_string(small[1]) + ", " + std::to_string(large[1]) +
                   " / groups, KH, KW) with groups that divide both; got " + shape_text(weight) +
                   " and groups " + std::to_string(w.groups));
  return {.images = large[0],
          .channels = large[1],
          .outs = small[1],
          .groups = w.groups,
          .in_rows = large[2],
          .in_cols = large[3],
          .rows = small[2],
          .cols = small[3],
          .kernel_rows = weight.shape[2],
          .kernel_cols = weight.shape[3],
          .row_step = w.stride.first,
          .col_step = w.stride.second,
          .row_padding = w.padding.first,
          .col_padding = w.padding.second,
          .row_dilation = w.dilation.first,
          .col_dilation = w.dilation.second};
}

// A weight for many calls, in the order that the routines which serve them read; each is packed at
// its first call. All is packed anew when the ISA or the precision has changed since; calls that
// run meanwhile keep what they took.
class PackedConvWeight {
 public:
  explicit PackedConvWeight(const ArrayView& weight) : weight_(weight) {
    if (weight.ndim != 3 && weight.ndim != 4)
      refuse("pack_conv_weight",
             "expected a weight (O, C / groups, KH, KW) or (O, C / groups, K); "
             "got shape " +
                 shape_text(weight));
  }

  struct Panels {
    const void* routine;
    int64_t groups;
    std::vector<int64_t> taps;
    size_t bytes;
    Scratch<char> data;
  };

  template <class T>
  std::shared_ptr<const Panels> panels(const ConvShape& s, const ImageView<const T>& x,
                                       const Operand& weight, const ArrayView& given) {
    if (!weight_.is(given))
      refuse("conv", "expected `packed` made from this weight: call pack_conv_weight(weight)");
    const int generation = isa_generation();
    const MatmulPrecision precision = matmul_precision();
    if (generation_ != generation || precision_ != precision) packed_.clear();
    generation_ = generation;
    precision_ = precision;
    const KernelView<const T> kernel = kernel_view<T>(weight);
    const KernelPacking packing = conv_packing<T>(s, x, kernel);
    if (!packing.routine) return nullptr;
    for (const auto& made : packed_)
      if (made->routine == packing.routine && made->groups == s.groups &&
          made->taps == packing.taps)
        return made;
    const std::shared_ptr<Panels> made(new Panels{packing.routine, s.groups, packing.taps,
                                                  packing.bytes, Scratch<char>(packing.bytes)});
    {
      const GilRelease release(gemm_pack_cost_ns(packing.bytes));
      conv_pack<T>(s, x, kernel, packing, made->data.get());
    }
    // Whoever ran meanwhile may have moved on to another ISA, or made the same.
    if (generation_ != generation || precision_ != precision) return made;
    if (packed_.size() == kMost) packed_.erase(packed_.begin());
    packed_.push_back(made);
    return made;
  }

  size_t nbytes() const {
    size_t bytes = 0;
    for (const auto& made : packed_) bytes += made->bytes;
    return bytes;
  }

 private:
  PackedFrom weight_;
  int generation_ = -1;
  MatmulPrecision precision_ = MatmulPrecision::highest;
  static constexpr size_t kMost = 8;
  // By routine, groups and taps, on which their layout depends: seldom more than one.
  std::vector<std::shared_ptr<Panels>> packed_;
};

void require_sizes(const char* op, const Pair& out_size) {
  if (out_size.first < 0 || out_size.second < 0)
    refuse(op, "expected an output size of at least 0; got (" + std::to_string(out_size.first) +
                   ", " + std::to_string(out_size.second) + ")");
}

// Either direction's forward: transposed, the weight leads from y to x.
py::tuple forward(const char* op, bool transposed, py::handle x_in, py::handle weight_in,
                  py::handle bias_in, py::handle residual_in, const ConvWindow& window,
                  const Pair& out_size, py::handle activation_in, bool save, py::handle packed_in) {
  const ArrayView x = view_images(x_in, op, "x"), weight = view_images(weight_in, op, "weight");
  require_dtype(weight, x.dtype, op, "weight");
  require_sizes(op, out_size);
  const Activation activation = activation_from(activation_in, op);
  npy_intp outs = weight.shape[0];
  if (transposed && __builtin_mul_overflow(weight.shape[1], window.groups, &outs))
    refuse(op, "expected groups that divide the channels; got " + std::to_string(window.groups));
  const npy_intp y_shape[] = {x.shape[0], outs, out_size.first, out_size.second};
  const ConvShape shape = transposed ? shape_of(op, y_shape, x.shape, weight, window)
                                     : shape_of(op, x.shape, y_shape, weight, window);
  std::optional<Operand> bias, residual;
  if (!bias_in.is_none()) {
    const ArrayView v = view_product(bias_in, op, "bias");
    require_dtype(v, x.dtype, op, "bias");
    if (v.ndim != 1 || v.shape[0] != outs)
      refuse(op, "expected bias (" + std::to_string(outs) + ",); got " + shape_text(v));
    bias.emplace(Operand::contiguous(v));
  }
  py::object y = new_channels_last(x.dtype, y_shape), saved = py::none();
  if (!residual_in.is_none()) {
    const ArrayView v = view_images(residual_in, op, "residual");
    require_dtype(v, x.dtype, op, "residual");
    require_shape_of(v, view_own(y), op, "residual", "the output");
    residual.emplace(channels_last(v));
  }
  if (save && needs_preactivation(activation))
    saved = new_channels_last(x.dtype, y_shape);
  else if (save && activation != Activation::none)
    saved = y;
  const Operand input = Operand::strided(x), weights = Operand::strided(weight);
  dispatch_product(x.dtype, [&]<class T>() {
    Epilogue<T> epilogue;
    epilogue.activation = activation;
    if (bias) epilogue.bias = bias->v.as<T>();
    if (residual) epilogue.residual = residual->v.as<T>();
    if (!saved.is(y)) epilogue.preactivation = data_of<T>(saved);
    const ImageView<const T> from = image_view<T>(input);
    std::shared_ptr<const PackedConvWeight::Panels> panels;
    PackedKernel packed;
    if (!packed_in.is_none())
      panels = object_of<PackedConvWeight>(packed_in, op, "packed", "PackedConvWeight")
                   .panels<T>(shape, from, weights, weight);
    if (panels) packed = {panels->routine, panels->data.get()};
    const GilRelease release(conv_cost_ns<T>(shape));
    if (transposed)
      conv_input_gradient<T>(shape, from, kernel_view<T>(weights), data_of<T>(y), epilogue);
    else
      conv_forward<T>(shape, from, kernel_view<T>(weights), data_of<T>(y), epilogue, packed);
  });
  return py::make_tuple(std::move(y), std::move(saved));
}

// grad as the products want it: through the activation, and summed into dbias.
template <class T>
void backward_of_epilogue(const ArrayView& grad, const Operand* saved, Activation activation, T* dz,
                          T* dbias) {
  BiasGradient<T> sums(dbias, grad.shape[1]);
  activation_backward<T>({.rows = grad.shape[0] * grad.shape[2] * grad.shape[3],
                          .cols = grad.shape[1],
                          .grad = grad.as<T>(),
                          .grad_row = grad.shape[1],
                          .saved = saved ? saved->v.as<T>() : nullptr,
                          .saved_row = grad.shape[1],
                          .activation = activation,
                          .dz = dz,
                          .dz_row = grad.shape[1],
                          .dbias = sums.get()});
  sums.put();
}

struct Wanted {
  bool x, weight, bias, residual;
};

py::tuple backward(const char* op, bool transposed, py::handle grad_in, py::handle x_in,
                   py::handle weight_in, py::handle saved_in, const ConvWindow& window,
                   py::handle activation_in, const Wanted& need) {
  const ArrayView x = view_images(x_in, op, "x"), weight = view_images(weight_in, op, "weight");
  const ArrayView g = view_images(grad_in, op, "grad");
  require_dtype(weight, x.dtype, op, "weight");
  require_dtype(g, x.dtype, op, "grad");
  const ConvShape shape = transposed ? shape_of(op, g.shape, x.shape, weight, window)
                                     : shape_of(op, x.shape, g.shape, weight, window);
  if (g.shape[0] != x.shape[0])
    refuse(op, "expected `grad` and `x` of as many images; got " + shape_text(g) + " and " +
                   shape_text(x));
  const Activation activation = activation_from(activation_in, op);
  std::optional<Operand> saved;
  if (activation != Activation::none) {
    const ArrayView v = view_images(saved_in, op, "saved");
    require_dtype(v, x.dtype, op, "saved");
    require_shape_of(v, g, op, "saved", "grad");
    saved.emplace(channels_last(v));
  }
  if (conv_routine())  // an error comes before any pass runs
    dispatch_product(x.dtype, [&]<class T>() {
      conv_services<T>(shape, image_view<T>(Operand(transposed ? g : x)),
                       image_view<T>(Operand(transposed ? x : g)), kernel_view<T>(Operand(weight)));
    });
  py::object dx = py::none(), dweight = py::none(), dbias = py::none(), dz = py::none();
  if (need.x) dx = new_channels_last(x.dtype, x.shape);
  if (need.weight) dweight = new_array_like(weight);
  if (need.bias) dbias = new_array(x.dtype, 1, &g.shape[1]);
  if (saved && (need.x || need.weight || need.residual)) dz = new_channels_last(x.dtype, g.shape);

  Operand grad = saved || need.bias ? channels_last(g) : Operand::strided(g);
  const Operand input = Operand::strided(x), weights = Operand::strided(weight);
  dispatch_product(x.dtype, [&]<class T>() {
    const GilRelease release(2 * conv_cost_ns<T>(shape));
    if (saved || need.bias)
      backward_of_epilogue<T>(grad.v, saved ? &*saved : nullptr, activation, data_of<T>(dz),
                              data_of<T>(dbias));
  });
  if (saved && !dz.is_none()) grad = Operand(view_own(dz));
  dispatch_product(x.dtype, [&]<class T>() {
    const GilRelease release(2 * conv_cost_ns<T>(shape));
    const ImageView<const T> dy = image_view<T>(grad), from = image_view<T>(input);
    if (need.x && transposed)
      conv_forward<T>(shape, dy, kernel_view<T>(weights), data_of<T>(dx), {});
    else if (need.x)
      conv_input_gradient<T>(shape, dy, kernel_view<T>(weights), data_of<T>(dx), {});
    if (!need.weight) return;
    const int64_t item = sizeof(T);
    const npy_intp* s = PyArray_STRIDES(reinterpret_cast<PyArrayObject*>(dweight.ptr()));
    const KernelView<T> dw{data_of<T>(dweight), s[0] / item, s[1] / item, s[2] / item, s[3] / item};
    conv_weight_gradient<T>(shape, transposed ? dy : from, transposed ? from : dy, dw);
  });
  if (!need.residual)
    dz = py::none();
  else if (!saved)  // with no activation it is grad itself
    dz = py::reinterpret_borrow<py::object>(grad_in);
  return py::make_tuple(std::move(dx), std::move(dweight), std::move(dbias), std::move(dz));
}

py::tuple conv_forward_of(py::handle x, py::handle weight, py::handle bias, py::handle residual,
                          Pair stride, Pair padding, Pair dilation, int64_t groups, Pair out_size,
                          py::handle activation, bool save, py::handle packed) {
  return forward("conv", false, x, weight, bias, residual, {stride, padding, dilation, groups},
                 out_size, activation, save, packed);
}

py::tuple conv_backward_of(py::handle grad, py::handle x, py::handle weight, py::handle saved,
                           Pair stride, Pair padding, Pair dilation, int64_t groups,
                           py::handle activation, bool need_x, bool need_weight, bool need_bias,
                           bool need_residual) {
  return backward("conv_backward", false, grad, x, weight, saved,
                  {stride, padding, dilation, groups}, activation,
                  {need_x, need_weight, need_bias, need_residual});
}

py::tuple conv_transpose_forward_of(py::handle x, py::handle weight, py::handle bias, Pair stride,
                                    Pair padding, Pair dilation, int64_t groups, Pair out_size,
                                    py::handle activation, bool save) {
  return forward("conv_transpose", true, x, weight, bias, py::none(),
                 {stride, padding, dilation, groups}, out_size, activation, save, py::none());
}

py::tuple conv_transpose_backward_of(py::handle grad, py::handle x, py::handle weight,
                                     py::handle saved, Pair stride, Pair padding, Pair dilation,
                                     int64_t groups, py::handle activation, bool need_x,
                                     bool need_weight, bool need_bias) {
  const py::tuple all = backward("conv_transpose_backward", true, grad, x, weight, saved,
                                 {stride, padding, dilation, groups}, activation,
                                 {need_x, need_weight, need_bias, false});
  return py::make_tuple(all[0], all[1], all[2]);
}

// Of images channels last and a weight as layers hold it, without any array.
py::list conv_services_of(const std::string& dtype_text, const std::vector<npy_intp>& x,
                          const std::vector<npy_intp>& weight, Pair stride, Pair padding,
                          Pair dilation, int64_t groups, Pair out_size) {
  constexpr const char* kOp = "conv_services";
  if (x.size() != 4 || weight.size() != 4) refuse(kOp, "expected shapes of four axes");
  constexpr npy_intp kMost = 1 << 24;  // of elements: each residue of a stride is looked at
  for (const auto& shape : {x, weight, {out_size.first, out_size.second}}) {
    npy_intp elements = 1;
    for (const npy_intp n : shape)
      if (n < 0 || __builtin_mul_overflow(elements, std::max<npy_intp>(n, 1), &elements) ||
          elements > kMost << 16)
        refuse(kOp, "expected shapes of at most 2**40 elements");
  }
  if (x[2] * x[3] > kMost) refuse(kOp, "expected an image of at most 2**24 pixels");
  const DType dtype = dtype_of(dtype_text, kOp);
  const npy_intp y[] = {x[0], weight[0], out_size.first, out_size.second};
  ArrayView w{};
  w.ndim = 4;
  w.shape = weight.data();
  const ConvShape s = shape_of(kOp, x.data(), y, w, {stride, padding, dilation, groups});
  py::list rows;
  dispatch_product(dtype, [&]<class T>() {
    const auto channels_last = [](const npy_intp* n) -> ImageView<const T> {
      return {nullptr, n[1] * n[2] * n[3], 1, n[1] * n[3], n[1]};
    };
    const KernelView<const T> kernel{nullptr, 1, w.shape[0], w.shape[0] * w.shape[1] * w.shape[3],
                                     w.shape[0] * w.shape[1]};
    for (const ConvService& service :
         conv_services<T>(s, channels_last(x.data()), channels_last(y), kernel))
      rows.append(py::make_tuple(service.pass,
                                 service.variant ? service.variant : serving_variant("gemm"),
                                 service.routine, service.why));
  });
  return rows;
}

}  // namespace

void bind_conv(py::module_& m) {
  py::class_<PackedConvWeight>(m, "PackedConvWeight")
      .def_property_readonly("nbytes", &PackedConvWeight::nbytes);
  m.def(
      "pack_conv_weight",
      [](py::handle weight) {
        return std::make_unique<PackedConvWeight>(
            view_product(weight, "pack_conv_weight", "weight"));
      },
      py::arg("weight"));
  m.def("conv_services", &conv_services_of, py::arg("dtype"), py::arg("x"), py::arg("weight"),
        py::arg("stride"), py::arg("padding"), py::arg("dilation"), py::arg("groups"),
        py::arg("out_size"));
  m.def("conv_routine", &conv_routine);
  m.def("set_conv_routine", &set_conv_routine, py::arg("name"));
  m.def("conv_forward", &conv_forward_of, py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("residual"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
        py::arg("groups"), py::arg("out_size"), py::arg("activation"), py::arg("save"),
        py::arg("packed") = py::none());
  m.def("conv_backward", &conv_backward_of, py::arg("grad"), py::arg("x"), py::arg("weight"),
        py::arg("saved"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
        py::arg("groups"), py::arg("activation"), py::arg("need_x"), py::arg("need_weight"),
        py::arg("need_bias"), py::arg("need_residual") = false);
  m.def("conv_transpose_forward", &conv_transpose_forward_of, py::arg("x"), py::arg("weight"),
        py::arg("bias"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
        py::arg("groups"), py::arg("out_size"), py::arg("activation"), py::arg("save"));
  m.def("conv_transpose_backward", &conv_transpose_backward_of, py::arg("grad"), py::arg("x"),
        py::arg("weight"), py::arg("saved"), py::arg("stride"), py::arg("padding"),
        py::arg("dilation"), py::arg("groups"), py::arg("activation"), py::arg("need_x"),
        py::arg("need_weight"), py::arg("need_bias"));
}

}  // namespace tilework
