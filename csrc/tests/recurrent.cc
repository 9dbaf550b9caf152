// Recurrent layers: the gradients of every cell beside central differences of its outputs, on every
// ISA of this CPU, whole batches and packed ones, from either end; and the same bits on several
// threads.
#include "kernels/recurrent/recurrent.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tests/check.h"
#include "tests/smoke.h"

using namespace tilework;

namespace {

struct Setting {
  Cell cell;
  int64_t steps, batch, input, hidden, out;
  std::vector<int64_t> sizes = {};
  bool batch_first = false, reverse = false;
};

const Setting kSettings[] = {
    {Cell::rnn_tanh, 6, 7, 3, 21, 21},
    {Cell::lstm, 1, 3, 4, 5, 5},
    {Cell::lstm, 6, 7, 3, 21, 21, {}, true},
    {Cell::lstm, 6, 7, 3, 33, 5, {7, 7, 5, 5, 2, 1}, false, true},
    {Cell::lstm, 7, 2, 3, 17, 17, {}, false, true},
    {Cell::gru, 6, 7, 3, 21, 21, {7, 6, 5, 5, 2, 1}},
    {Cell::gru, 9, 6, 5, 40, 40, {}, true, true},
    {Cell::rnn_tanh, 6, 6, 3, 18, 18, {6, 4, 4, 3, 3, 1}, false, true},
};

// All that a layer is given, and in the same shapes its gradients.
template <class T>
struct Operands {
  std::vector<T> x, h0, c0, w, u, b_w, b_u, project;

  std::vector<std::vector<T>*> all() { return {&x, &h0, &c0, &w, &u, &b_w, &b_u, &project}; }
};

template <class T>
struct Layer {
  RecurrentShape s;
  int64_t rows = 0, gates;
  bool projects;

  explicit Layer(const Setting& g)
      : s{g.cell,
          g.steps,
          g.batch,
          g.input,
          g.hidden,
          g.out,
          g.sizes.empty() ? nullptr : g.sizes.data(),
          g.batch_first,
          g.reverse},
        gates(gates_of(g.cell) * g.hidden),
        projects(g.out != g.hidden) {
    for (int64_t t = 0; t < s.steps; ++t) rows += s.size(t);
  }

  Operands<T> operands(double most) const {
    const auto some = [&](int64_t n) { return values<T>(n, -most, most); };
    return {some(rows * s.input),
            some(s.batch * s.out),
            some(s.batch * s.hidden),
            some(gates * s.input),
            some(gates * s.out),
            some(gates),
            some(gates),
            some(projects ? s.out * s.hidden : 0)};
  }
  RecurrentWeights<T> weights(const Operands<T>& o) const {
    return {o.w.data(), o.u.data(), o.b_w.data(), o.b_u.data(),
            projects ? o.project.data() : nullptr};
  }
  int64_t outputs() const { return rows * s.out + s.batch * (s.out + s.hidden); }

  std::vector<T> forward(const Operands<T>& o, std::vector<T>* saved) const {
    std::vector<T> all(static_cast<size_t>(outputs()));
    T* const ends = all.data() + rows * s.out;
    RecurrentForward<T> args{.shape = s,
                             .weights = weights(o),
                             .x = {o.x.data(), s.input},
                             .h0 = o.h0.data(),
                             .c0 = o.c0.data(),
                             .y = {all.data(), s.out},
                             .h_end = ends,
                             .c_end = ends + s.batch * s.out,
                             .saved = {}};
    if (saved) {
      saved->resize(static_cast<size_t>(rows * (gates + s.hidden)));
      args.saved = {saved->data(), saved->data() + rows * gates};
    }
    if (saved && gates == s.hidden) args.saved = {};
    recurrent_forward(args);
    return all;
  }

  Operands<T> backward(const Operands<T>& o, const std::vector<T>& all, std::vector<T>& saved,
                       const std::vector<T>& grad) const {
    Operands<T> d = o;
    const T* const ends = grad.data() + rows * s.out;
    const bool gated = gates > s.hidden;
    recurrent_backward<T>(
        {.shape = s,
         .weights = weights(o),
         .x = {o.x.data(), s.input},
         .h0 = o.h0.data(),
         .c0 = o.c0.data(),
         .y = {all.data(), s.out},
         .dy = {grad.data(), s.out},
         .dh_end = ends,
         .dc_end = ends + s.batch * s.out,
         .saved = {gated ? saved.data() : nullptr, gated ? saved.data() + rows * gates : nullptr},
         .gradients = {.x = {d.x.data(), s.input},
                       .h0 = d.h0.data(),
                       .c0 = s.cell == Cell::lstm ? d.c0.data() : nullptr,
                       .w = d.w.data(),
                       .u = d.u.data(),
                       .b_w = d.b_w.data(),
                       .b_u = d.b_u.data(),
                       .project = projects ? d.project.data() : nullptr}});
    return d;
  }
};

double dot(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
  return sum;
}

void check_gradients(const Setting& setting) {
  const Layer<double> layer(setting);
  Operands<double> o = layer.operands(0.5);
  std::vector<double> grad = values<double>(layer.outputs());
  if (setting.cell != Cell::lstm)  // which has no c
    std::fill(grad.end() - layer.s.batch * layer.s.hidden, grad.end(), 0.0);
  std::vector<double> saved;
  const std::vector<double> all = layer.forward(o, &saved);
  Operands<double> d = layer.backward(o, all, saved, grad);
  const double h = 1e-5;
  for (size_t k = 0; k < o.all().size(); ++k) {
    std::vector<double>& moved = *o.all()[k];
    if (moved.empty() || (k == 2 && setting.cell != Cell::lstm)) continue;
    const std::vector<double> at = moved, along = values<double>(static_cast<int64_t>(at.size()));
    double slope = 0;
    for (const double step : {h, -h}) {
      for (size_t i = 0; i < at.size(); ++i) moved[i] = at[i] + step * along[i];
      slope += dot(layer.forward(o, nullptr), grad) * (step > 0 ? 1 : -1);
    }
    moved = at;
    const double found = dot(*d.all()[k], along);
    CHECK(std::abs(found - slope / (2 * h)) <= 1e-6 * (1 + std::abs(found)));
  }
}

// Large enough for a team.
void check_threads(Cell cell) {
  const Setting setting{cell, 8, 40, 30, 200, 200, {}, false, true};
  const Layer<float> layer(setting);
  const Operands<float> o = layer.operands(0.2);
  const std::vector<float> grad = values<float>(layer.outputs());
  std::vector<float> first;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    std::vector<float> saved;
    std::vector<float> found = layer.forward(o, &saved);
    Operands<float> d = layer.backward(o, found, saved, grad);
    found.resize(found.size() - (cell == Cell::lstm ? 0 : 40 * 200));
    d.c0.resize(cell == Cell::lstm ? d.c0.size() : 0);
    for (const auto* part : d.all()) found.insert(found.end(), part->begin(), part->end());
    if (first.empty()) first = found;
    CHECK(std::memcmp(first.data(), found.data(), found.size() * sizeof(float)) == 0);
  }
  set_num_threads(1);
}

}  // namespace

int main() {
  set_num_threads(1);
  for (const char* isa : {"generic", "avx2", "avx512"}) {
    try {
      set_isa(isa);
    } catch (const std::exception&) {
      continue;  // of another CPU
    }
    for (const Setting& setting : kSettings) check_gradients(setting);
    for (const Cell cell : {Cell::rnn_tanh, Cell::lstm, Cell::gru}) check_threads(cell);
  }
}
