#include <string>
#include <vector>

#include "bindings/checks.h"
#include "kernels/optim/optim.h"

namespace tilework {
namespace {

// The arrays of one step as flat memory. What does not lie as its parameter does is copied so that
// it does, and what the step wrote into such a copy goes back at the end.
class StepArrays {
 public:
  explicit StepArrays(const char* op) : op_(op) {}

  ArrayView param(py::handle array, const char* name = "params") {
    const ArrayView p = view_float(array, op_, name);
    expect_writable(p, name);
    if (is_dense(p)) return p;
    return keep(p, as_contiguous(p), true);
  }
  // Of any layout, to be read.
  ArrayView flat(py::handle array, const char* name) {
    const ArrayView a = view_float(array, op_, name);
    return is_dense(a) ? a : keep(a, as_contiguous(a), false);
  }
  template <class T>
  const T* read(py::handle array, const ArrayView& param, const char* name) {
    return laid_as(matched(array, param, name), param, false).template as<T>();
  }
  template <class T>
  T* written(py::handle array, const ArrayView& param, const char* name) {
    const ArrayView a = matched(array, param, name);
    expect_writable(a, name);
    return laid_as(a, param, true).template as<T>();
  }
  void write_back() {
    for (const Copy& c : copies_)
      if (c.written) copy_into(c.original, view_own(c.copy));
  }

 private:
  struct Copy {
    ArrayView original;
    py::object copy;
    bool written;
  };

  ArrayView keep(const ArrayView& original, py::object copy, bool written) {
    copies_.push_back({original, std::move(copy), written});
    return view_own(copies_.back().copy);
  }
  ArrayView laid_as(const ArrayView& a, const ArrayView& param, bool written) {
    return same_layout(a, param) ? a : keep(a, as_layout_of(a, param), written);
  }
  ArrayView matched(py::handle array, const ArrayView& param, const char* name) {
    const ArrayView a = view(array, op_, name);
    require_dtype_of(a, param, op_, name, "params");
    require_shape_of(a, param, op_, name, "params");
    return a;
  }
  void expect_writable(const ArrayView& a, const char* name) {
    if (!a.writeable())
      throw py::value_error(std::string("[") + op_ + "] expected `" + name +
                            "` writable; got a read-only array of shape " + shape_text(a) +
                            ": leave frozen parameters out of the optimiser");
  }

  const char* op_;
  std::vector<Copy> copies_;
};

// Runs `step` on the float32 tensors and on the float64 ones.
template <template <class> class Tensor>
struct Tensors {
  std::vector<Tensor<float>> f32;
  std::vector<Tensor<double>> f64;

  explicit Tensors(size_t count) { f32.reserve(count); }

  template <class Make>
  void add(DType dtype, Make make) {
    if (dtype == DType::float32)
      f32.push_back(make.template operator()<float>());
    else
      f64.push_back(make.template operator()<double>());
  }
  int64_t elements() const {
    int64_t count = 0;
    for (const auto& t : f32) count += t.size;
    for (const auto& t : f64) count += t.size;
    return count;
  }
  template <class Options>
  void run(void (*step32)(const Tensor<float>*, size_t, const Options&),
           void (*step64)(const Tensor<double>*, size_t, const Options&), const Options& options) {
    GilRelease unlocked(0.3 * static_cast<double>(elements()));
    if (!f32.empty()) step32(f32.data(), f32.size(), options);
    if (!f64.empty()) step64(f64.data(), f64.size(), options);
  }
};

void bind_sgd(py::handle params, py::handle grads, py::handle momenta, bool first, double lr,
              double momentum, double dampening, double weight_decay, bool nesterov,
              bool maximize) {
  constexpr const char* op = "sgd_step";
  const ArrayList ps(params, op, "params"), gs(grads, op, "grads");
  const bool has_momentum = !momenta.is_none() && momentum != 0;
  const ArrayList ms = has_momentum ? ArrayList(momenta, op, "momenta") : ps;
  if (momentum != 0 && momenta.is_none())
    throw py::value_error("[sgd_step] expected `momenta` with momentum " +
                          std::to_string(momentum) + "; got None: pass one buffer a parameter");
  gs.expect_size(ps.size(), op, "grads");
  ms.expect_size(ps.size(), op, "momenta");

  StepArrays arrays(op);
  Tensors<SgdTensor> tensors(ps.size());
  for (size_t i = 0; i < ps.size(); ++i) {
    const ArrayView p = arrays.param(ps[i]);
    tensors.add(p.dtype, [&]<class T>() {
      return SgdTensor<T>{p.as<T>(), arrays.read<T>(gs[i], p, "grads"),
                          has_momentum ? arrays.written<T>(ms[i], p, "momenta") : nullptr,
                          p.size()};
    });
  }
  const SgdOptions options = {first, lr, momentum, dampening, weight_decay, nesterov, maximize};
  tensors.run<SgdOptions>(sgd_step, sgd_step, options);
  arrays.write_back();
}

void bind_adam(py::handle params, py::handle grads, py::handle exp_avgs, py::handle exp_avg_sqs,
               py::handle max_exp_avg_sqs, int64_t step, double lr, double beta1, double beta2,
               double eps, double weight_decay, bool decoupled, bool maximize) {
  constexpr const char* op = "adam_step";
  if (step < 1)
    throw py::value_error("[adam_step] expected `step` counted from 1; got " +
                          std::to_string(step));
  const bool amsgrad = !max_exp_avg_sqs.is_none();
  const ArrayList ps(params, op, "params"), gs(grads, op, "grads"), ms(exp_avgs, op, "exp_avgs"),
      vs(exp_avg_sqs, op, "exp_avg_sqs");
  const ArrayList xs = amsgrad ? ArrayList(max_exp_avg_sqs, op, "max_exp_avg_sqs") : ps;
  gs.expect_size(ps.size(), op, "grads");
  ms.expect_size(ps.size(), op, "exp_avgs");
  vs.expect_size(ps.size(), op, "exp_avg_sqs");
  xs.expect_size(ps.size(), op, "max_exp_avg_sqs");

  StepArrays arrays(op);
  Tensors<AdamTensor> tensors(ps.size());
  for (size_t i = 0; i < ps.size(); ++i) {
    const ArrayView p = arrays.param(ps[i]);
    tensors.add(p.dtype, [&]<class T>() {
      return AdamTensor<T>{p.as<T>(),
                           arrays.read<T>(gs[i], p, "grads"),
                           arrays.written<T>(ms[i], p, "exp_avgs"),
                           arrays.written<T>(vs[i], p, "exp_avg_sqs"),
                           amsgrad ? arrays.written<T>(xs[i], p, "max_exp_avg_sqs") : nullptr,
                           p.size()};
    });
  }
  const AdamOptions options = {step, lr, beta1, beta2, eps, weight_decay, decoupled, maximize};
  tensors.run<AdamOptions>(adam_step, adam_step, options);
  arrays.write_back();
}

// Gradients as flat memory: dense ones in place, others as copies that go back when written.
template <class Run>
void with_grads(py::handle list, const char* op, bool written, Run run) {
  const ArrayList grads(list, op, "arrays");
  StepArrays arrays(op);
  Tensors<GradTensor> tensors(grads.size());
  for (size_t i = 0; i < grads.size(); ++i) {
    const ArrayView g =
        written ? arrays.param(grads[i], "arrays") : arrays.flat(grads[i], "arrays");
    tensors.add(g.dtype, [&]<class T>() { return GradTensor<T>{g.as<T>(), g.size()}; });
  }
  run(tensors);
  arrays.write_back();
}

double bind_squares(py::handle list) {
  double total = 0;
  with_grads(list, "squares_of", false, [&](auto& tensors) {
    GilRelease unlocked(0.2 * static_cast<double>(tensors.elements()));
    total = squares_of(tensors.f32.data(), tensors.f32.size()) +
            squares_of(tensors.f64.data(), tensors.f64.size());
  });
  return total;
}

void bind_scale(py::handle list, double factor) {
  with_grads(list, "scale_", true, [&](auto& tensors) {
    GilRelease unlocked(0.3 * static_cast<double>(tensors.elements()));
    scale(tensors.f32.data(), tensors.f32.size(), factor);
    scale(tensors.f64.data(), tensors.f64.size(), factor);
  });
}

}  // namespace

void bind_optim(py::module_& m) {
  m.def("squares_of", &bind_squares, py::arg("arrays"));
  m.def("scale_", &bind_scale, py::arg("arrays"), py::arg("factor"));
  m.def("sgd_step", &bind_sgd, py::arg("params"), py::arg("grads"), py::arg("momenta").none(true),
        py::arg("first"), py::arg("lr"), py::arg("momentum"), py::arg("dampening"),
        py::arg("weight_decay"), py::arg("nesterov"), py::arg("maximize"));
  m.def("adam_step", &bind_adam, py::arg("params"), py::arg("grads"), py::arg("exp_avgs"),
        py::arg("exp_avg_sqs"), py::arg("max_exp_avg_sqs").none(true), py::arg("step"),
        py::arg("lr"), py::arg("beta1"), py::arg("beta2"), py::arg("eps"), py::arg("weight_decay"),
        py::arg("decoupled"), py::arg("maximize"));
}

}  // namespace tilework
