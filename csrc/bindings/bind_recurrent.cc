// Recurrent layers: a layer's arrays, both directions' where it has two, become what the kernels
// walk.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/operand.h"
#include "kernels/recurrent/recurrent.h"

namespace tilework {
namespace {

constexpr const char* kRecurrent = "recurrent";
constexpr size_t kOfDirection = 5;  // arrays of weights: w, u, b_w, b_u, project
constexpr std::string_view kCells[] = {"rnn_tanh", "rnn_relu", "lstm", "gru"};

Cell cell_from(const std::string& name) {
  for (size_t i = 0; i < std::size(kCells); ++i)
    if (name == kCells[i]) return static_cast<Cell>(i);
  refuse(kRecurrent, "expected `cell` of rnn_tanh, rnn_relu, lstm or gru; got '" + name + "'");
}

// The items of a list or tuple, held.
std::vector<py::object> arrays_in(py::handle list, const char* argument) {
  const ArrayList items(list, kRecurrent, argument);
  std::vector<py::object> held;
  for (size_t i = 0; i < items.size(); ++i)
    held.push_back(py::reinterpret_borrow<py::object>(items[i]));
  return held;
}

ArrayView with_axes(const ArrayView& x) {
  if (x.ndim < 2) refuse(kRecurrent, "expected `x` of two axes or three; got " + shape_text(x));
  return x;
}

// What both calls are given.
class RecurrentLayer {
 public:
  RecurrentLayer(const std::string& cell, py::handle x_in, py::handle sizes, bool batch_first,
                 py::handle h0, py::handle c0, py::handle weights)
      : x(with_axes(view_float(x_in, kRecurrent, "x")), true) {
    shape.cell = cell_from(cell);
    shape.batch_first = batch_first;
    given_ = arrays_in(weights, "weights");
    if (given_.size() != kOfDirection && given_.size() != 2 * kOfDirection)
      refuse(kRecurrent, "expected 5 arrays of `weights` for each of one or two directions; got " +
                             std::to_string(given_.size()));
    directions = static_cast<int64_t>(given_.size() / kOfDirection);
    find_sizes(sizes);
    find_widths();
    for (size_t i = 0; i < given_.size(); ++i) given_[i] = checked_weight(i);
    h0_ = state(h0, "h0", shape.out);
    if (shape.cell == Cell::lstm) c0_ = state(c0, "c0", shape.hidden);
  }

  int64_t rows() const { return rows_; }
  int64_t gates() const { return gates_of(shape.cell) * shape.hidden; }
  int64_t y_size() const { return rows_ * directions * shape.out; }
  int64_t h_size() const { return directions * shape.batch * shape.out; }
  int64_t c_size() const {
    return shape.cell == Cell::lstm ? directions * shape.batch * shape.hidden : 0;
  }
  double cost_ns() const { return static_cast<double>(directions) * recurrent_cost_ns(shape); }

  RecurrentShape of(int64_t direction) const {
    RecurrentShape s = shape;
    s.sizes = sizes_.empty() ? nullptr : sizes_.data();
    s.reverse = direction == 1;
    return s;
  }
  template <class T>
  RecurrentWeights<T> weights(int64_t d) const {
    const auto at = [&](int i) {
      return data_of<T>(given_[static_cast<size_t>(d) * kOfDirection + static_cast<size_t>(i)]);
    };
    return {at(0), at(1), at(2), at(3), at(4)};
  }
  const py::object& weight(size_t i) const { return given_[i]; }
  template <class T>
  RowsOf<const T> x_rows() const {
    return {x.array.v.template as<T>(), x.row_stride};
  }
  template <class T>
  const T* h0(int64_t d) const {
    return data_of<T>(h0_) + d * shape.batch * shape.out;
  }
  template <class T>
  const T* c0(int64_t d) const {
    return c0_ ? data_of<T>(c0_) + d * shape.batch * shape.hidden : nullptr;
  }

  // An array of the layer's dtype and of such a shape, in C order.
  py::object checked(py::handle array, const char* argument,
                     std::initializer_list<int64_t> wanted) const {
    const ArrayView v = view_float(array, kRecurrent, argument);
    require_dtype_of(v, x.array.v, kRecurrent, argument, "x");
    if (v.ndim != static_cast<int>(wanted.size()) ||
        !std::equal(wanted.begin(), wanted.end(), v.shape))
      refuse(kRecurrent, std::string("expected `") + argument + "` " +
                             shape_text(wanted.begin(), static_cast<int>(wanted.size())) +
                             "; got " + shape_text(v));
    return as_contiguous(v);
  }

  Rows x;
  RecurrentShape shape{};
  int64_t directions = 1;

 private:
  void find_sizes(py::handle sizes) {
    const ArrayView& v = x.array.v;
    shape.input = v.shape[v.ndim - 1];
    if (sizes.is_none()) {
      if (v.ndim != 3)
        refuse(kRecurrent,
               "expected `x` (steps, batch, input), or batch_first; got " + shape_text(v));
      shape.steps = v.shape[shape.batch_first ? 1 : 0];
      shape.batch = v.shape[shape.batch_first ? 0 : 1];
      rows_ = shape.steps * shape.batch;
      return;
    }
    const ArrayView n = view(sizes, kRecurrent, "sizes");
    if (v.ndim != 2 || shape.batch_first || n.ndim != 1 || n.dtype != DType::int64)
      refuse(kRecurrent, "expected `x` (rows, input), and int64 `sizes` (steps,); got " +
                             shape_text(v) + " and " + shape_text(n));
    sizes_ = copied_numbers(n);
    for (size_t t = 0; t < sizes_.size(); ++t) {
      if (sizes_[t] < 1 || sizes_[t] > (t > 0 ? sizes_[t - 1] : v.shape[0]))
        refuse(kRecurrent, "expected `sizes` of at least 1 that never grow; got " +
                               std::to_string(sizes_[t]) + " at step " + std::to_string(t));
      rows_ += sizes_[t];
    }
    if (rows_ != v.shape[0])
      refuse(kRecurrent, "expected `sizes` that sum up to x's " + std::to_string(v.shape[0]) +
                             " rows; got " + std::to_string(rows_));
    shape.steps = static_cast<int64_t>(sizes_.size());
    shape.batch = sizes_.empty() ? 0 : sizes_[0];
  }

  void find_widths() {
    const ArrayView u = view_float(given_[1], kRecurrent, "weights[1]");
    if (u.ndim != 2 || u.shape[0] % gates_of(shape.cell) != 0)
      refuse(kRecurrent, "expected `weights[1]` (gates * hidden, out); got " + shape_text(u));
    shape.hidden = u.shape[0] / gates_of(shape.cell);
    shape.out = u.shape[1];
    if (shape.hidden == 0 || shape.out == 0)
      refuse(kRecurrent, "expected at least one unit; got `weights[1]` " + shape_text(u));
    const bool projects = !given_[4].is_none();
    if (projects ? shape.cell != Cell::lstm : shape.out != shape.hidden)
      refuse(kRecurrent, "expected a projection of an lstm's alone, where out is not hidden; got " +
                             std::to_string(shape.hidden) + " units and `weights[1]` " +
                             shape_text(u));
  }

  py::object checked_weight(size_t i) const {
    const char* const names[] = {"weights: w", "weights: u", "weights: b_w", "weights: b_u",
                                 "weights: project"};
    const size_t kind = i % kOfDirection;
    const py::object& array = given_[i];
    if (kind == 4) {
      if (array.is_none() != given_[4].is_none())
        refuse(kRecurrent, "expected both directions projected, or none");
      return array.is_none() ? array : checked(array, names[4], {shape.out, shape.hidden});
    }
    if (kind > 1) return array.is_none() ? array : checked(array, names[kind], {gates()});
    return checked(array, names[kind], {gates(), kind == 0 ? shape.input : shape.out});
  }

  py::object state(py::handle array, const char* argument, int64_t width) const {
    if (!array.is_none()) return checked(array, argument, {directions, shape.batch, width});
    const npy_intp sizes[] = {directions, shape.batch, width};
    return new_zeros(x.array.v.dtype, 3, sizes);
  }

  int64_t rows_ = 0;
  std::vector<int64_t> sizes_;
  std::vector<py::object> given_;
  py::object h0_, c0_;
};

py::tuple recurrent_forward_of(const std::string& cell, py::handle x, py::handle sizes,
                               bool batch_first, py::handle h0, py::handle c0, py::handle weights,
                               bool save) {
  const RecurrentLayer layer(cell, x, sizes, batch_first, h0, c0, weights);
  const DType dtype = layer.x.array.v.dtype;
  const int64_t wide = layer.directions * layer.shape.out;
  const npy_intp flat_shape[] = {layer.y_size() + layer.h_size() + layer.c_size()};
  py::object flat = new_array(dtype, 1, flat_shape);
  py::list saved;
  const bool gated = gates_of(layer.shape.cell) > 1;
  for (int64_t d = 0; save && gated && d < layer.directions; ++d)
    for (int64_t width : {layer.gates(), layer.shape.hidden}) {
      const npy_intp saved_shape[] = {layer.rows(), width};
      saved.append(new_array(dtype, 2, saved_shape));
    }
  dispatch_float(dtype, [&]<class T>() {
    std::vector<RecurrentForward<T>> passes;
    for (int64_t d = 0; d < layer.directions; ++d) {
      const RecurrentShape s = layer.of(d);
      T* const y = data_of<T>(flat);
      T* const ends = y + layer.y_size();
      RecurrentForward<T> pass{.shape = s,
                               .weights = layer.weights<T>(d),
                               .x = layer.x_rows<T>(),
                               .h0 = layer.h0<T>(d),
                               .c0 = layer.c0<T>(d),
                               .y = {y + d * s.out, wide},
                               .h_end = ends + d * s.batch * s.out,
                               .c_end = ends + layer.h_size() + d * s.batch * s.hidden,
                               .saved = {}};
      if (saved.size() > 0)
        pass.saved = {data_of<T>(py::object(saved[static_cast<size_t>(2 * d)])),
                      data_of<T>(py::object(saved[static_cast<size_t>(2 * d + 1)]))};
      passes.push_back(pass);
    }
    const GilRelease unlocked(layer.cost_ns());
    for (const auto& pass : passes) recurrent_forward(pass);
  });
  return py::make_tuple(flat, saved);
}

// The arrays that hold gradients: dx, dh0, dc0, and those of weights.
struct LayerGradients {
  py::object x = py::none(), h0 = py::none(), c0 = py::none();
  std::vector<py::object> weights;

  LayerGradients(const RecurrentLayer& layer, bool need_x, bool need_states, bool need_weights) {
    const auto like = [](const ArrayView& v) { return new_array(v.dtype, v.ndim, v.shape); };
    const RecurrentShape& s = layer.shape;
    const ArrayView& given = layer.x.array.v;
    if (need_x) x = like(given);
    if (need_states) {
      const npy_intp h[] = {layer.directions, s.batch, s.out};
      const npy_intp c[] = {layer.directions, s.batch, s.hidden};
      h0 = new_array(given.dtype, 3, h);
      if (s.cell == Cell::lstm) c0 = new_array(given.dtype, 3, c);
    }
    for (size_t i = 0; i < static_cast<size_t>(layer.directions) * kOfDirection; ++i) {
      const py::object& weight = layer.weight(i);
      weights.push_back(need_weights && !weight.is_none() ? like(view_own(weight)) : py::none());
    }
  }

  template <class T>
  RecurrentGradients<T> of(const RecurrentLayer& layer, int64_t d) const {
    const RecurrentShape& s = layer.shape;
    const auto weight = [&](int i) {
      return data_of<T>(weights[static_cast<size_t>(d) * kOfDirection + static_cast<size_t>(i)]);
    };
    RecurrentGradients<T> to{.x = {data_of<T>(x), s.input},
                             .adds_x = d > 0,
                             .h0 = data_of<T>(h0),
                             .c0 = data_of<T>(c0),
                             .w = weight(0),
                             .u = weight(1),
                             .b_w = weight(2),
                             .b_u = weight(3),
                             .project = weight(4)};
    if (to.h0) to.h0 += d * s.batch * s.out;
    if (to.c0) to.c0 += d * s.batch * s.hidden;
    return to;
  }
};

py::tuple recurrent_backward_of(const std::string& cell, py::handle grad_in, py::handle flat_in,
                                py::handle x, py::handle sizes, bool batch_first, py::handle h0,
                                py::handle c0, py::handle weights, py::handle saved_in, bool need_x,
                                bool need_states, bool need_weights) {
  const RecurrentLayer layer(cell, x, sizes, batch_first, h0, c0, weights);
  const int64_t whole = layer.y_size() + layer.h_size() + layer.c_size();
  const py::object grad = layer.checked(grad_in, "grad", {whole});
  const py::object flat = layer.checked(flat_in, "flat", {whole});
  std::vector<py::object> saved = arrays_in(saved_in, "saved");
  const size_t wanted =
      gates_of(layer.shape.cell) > 1 ? 2 * static_cast<size_t>(layer.directions) : 0;
  if (saved.size() != wanted)
    refuse(kRecurrent, "expected " + std::to_string(wanted) +
                           " arrays of `saved`, as forward gave; got " +
                           std::to_string(saved.size()));
  for (size_t i = 0; i < saved.size(); ++i)
    saved[i] = layer.checked(saved[i], "saved",
                             {layer.rows(), i % 2 == 0 ? layer.gates() : layer.shape.hidden});
  const LayerGradients gradients(layer, need_x, need_states, need_weights);
  dispatch_float(layer.x.array.v.dtype, [&]<class T>() {
    const int64_t wide = layer.directions * layer.shape.out;
    std::vector<RecurrentBackward<T>> passes;
    for (int64_t d = 0; d < layer.directions; ++d) {
      const RecurrentShape s = layer.of(d);
      const T* const dy = data_of<T>(grad);
      const T* const ends = dy + layer.y_size();
      RecurrentBackward<T> pass{.shape = s,
                                .weights = layer.weights<T>(d),
                                .x = layer.x_rows<T>(),
                                .h0 = layer.h0<T>(d),
                                .c0 = layer.c0<T>(d),
                                .y = {data_of<T>(flat) + d * s.out, wide},
                                .dy = {dy + d * s.out, wide},
                                .dh_end = ends + d * s.batch * s.out,
                                .dc_end = ends + layer.h_size() + d * s.batch * s.hidden,
                                .saved = {},
                                .gradients = gradients.of<T>(layer, d)};
      if (!saved.empty())
        pass.saved = {data_of<T>(saved[static_cast<size_t>(2 * d)]),
                      data_of<T>(saved[static_cast<size_t>(2 * d + 1)])};
      passes.push_back(pass);
    }
    const GilRelease unlocked(2 * layer.cost_ns());
    for (const auto& pass : passes) recurrent_backward(pass);
  });
  py::list of_weights;
  for (const py::object& g : gradients.weights) of_weights.append(g);
  return py::make_tuple(gradients.x, gradients.h0, gradients.c0, of_weights);
}

py::list recurrent_services_of(const std::string& cell, int64_t steps, int64_t batch,
                               int64_t hidden) {
  for (const int64_t n : {steps, batch, hidden})
    if (n < 0 || n > int64_t{1} << 40)
      refuse("recurrent_services", "expected lengths from 0 to 2**40; got " + std::to_string(n));
  const RecurrentServices found = recurrent_services({.cell = cell_from(cell),
                                                      .steps = steps,
                                                      .batch = batch,
                                                      .input = 0,
                                                      .hidden = hidden,
                                                      .out = hidden,
                                                      .sizes = nullptr,
                                                      .batch_first = false,
                                                      .reverse = false});
  py::list rows;
  for (const RecurrentService& s : {found.forward, found.backward})
    rows.append(py::make_tuple(s.pass, serving_variant("recurrent"), s.routine, s.why));
  return rows;
}

}  // namespace

void bind_recurrent(py::module_& m) {
  m.def("recurrent_forward", &recurrent_forward_of, py::arg("cell"), py::arg("x"), py::arg("sizes"),
        py::arg("batch_first"), py::arg("h0"), py::arg("c0"), py::arg("weights"), py::arg("save"));
  m.def("recurrent_backward", &recurrent_backward_of, py::arg("cell"), py::arg("grad"),
        py::arg("flat"), py::arg("x"), py::arg("sizes"), py::arg("batch_first"), py::arg("h0"),
        py::arg("c0"), py::arg("weights"), py::arg("saved"), py::arg("need_x"),
        py::arg("need_states"), py::arg("need_weights"));
  m.def("recurrent_services", &recurrent_services_of, py::arg("cell"), py::arg("steps"),
        py::arg("batch"), py::arg("hidden"));
}

}  // namespace tilework
