// Recurrent layers: RNN, LSTM (Hochreiter and Schmidhuber, 1997; with a projection, Sak et al.,
// 2014) and GRU (Cho et al., 2014) over time, one direction of a layer at a call.
//
//     rnn    h' = tanh(a) or relu(a),            a = W x + U h + b
//     lstm   c' = f c + i g,  h' = o tanh(c');   i, f, o = sigmoid(a), g = tanh(a); h' projected
//     gru    h' = (1 - z) n + z h;               r, z = sigmoid(a), n = tanh(a_x + r a_h)
//
// Weights are PyTorch's: rows gate after gate, (i, f, g, o) or (r, z, n). The products of W with
// the input of all steps are one GEMM, and so are the gradients of W and of U, over all steps; what
// is left for a step is the product with U, whose blocks meet the cell's arithmetic in cache.
//
// States, gates and gradients below the smallest normal number are zero: denormals would cost
// hundreds of cycles each, and a state that decays passes through them. NaN and Inf go where the
// definition takes them. Results do not depend on the number of threads: work is cut by shape.
#pragma once

#include "base/types.h"

namespace tilework {

// The order is the binding's name table (bindings/bind_recurrent.cc).
enum class Cell : int { rnn_tanh, rnn_relu, lstm, gru };

constexpr int64_t gates_of(Cell cell) { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }

struct RecurrentShape {
  Cell cell;
  int64_t steps, batch, input, hidden;
  int64_t out;           // of the projection; else hidden
  const int64_t* sizes;  // sequences that each step has, the first ones: never more than the step
                         // before. Null: all of them
  bool batch_first;      // rows lie sequence after sequence; else step after step (sizes: always)
  bool reverse;          // from the last step to the first

  int64_t size(int64_t step) const { return sizes ? sizes[step] : batch; }
};

// A matrix whose columns are adjacent.
template <class T>
struct RowsOf {
  T* data = nullptr;
  int64_t row = 0;

  // Always inlined, so that an ISA file leaves no symbol of it behind.
  __attribute__((always_inline)) T* at(int64_t i, int64_t j = 0) const {
    return data + i * row + j;
  }
  RowsOf<const T> read() const { return {data, row}; }
};

template <class T>
struct RecurrentWeights {
  const T* w;        // (gates * hidden, input)
  const T* u;        // (gates * hidden, out)
  const T* b_w;      // (gates * hidden), or null
  const T* b_u;      // as b_w, or null
  const T* project;  // (out, hidden), or null
};

// What forward leaves for backward, where it is asked to: the gates as they came out, (rows, gates
// * hidden), and of each row what else is needed, (rows, hidden): lstm's c', gru's a_h of n.
template <class T>
struct RecurrentSaved {
  T *gates = nullptr, *extra = nullptr;
};

// `h0` and `c0` are never null; outputs overlap nothing.
template <class T>
struct RecurrentForward {
  RecurrentShape shape;
  RecurrentWeights<T> weights;
  RowsOf<const T> x;  // (rows, input)
  const T *h0, *c0;   // (batch, out), (batch, hidden); c0 of lstm alone
  RowsOf<T> y;        // (rows, out)
  T *h_end, *c_end;   // each sequence's last state
  RecurrentSaved<T> saved;
};

// Gradients, each of which may be null: then it is not computed.
template <class T>
struct RecurrentGradients {
  RowsOf<T> x;
  bool adds_x = false;  // to what is there: another direction's
  T *h0 = nullptr, *c0 = nullptr;
  T *w = nullptr, *u = nullptr, *b_w = nullptr, *b_u = nullptr, *project = nullptr;
};

template <class T>
struct RecurrentBackward {
  RecurrentShape shape;
  RecurrentWeights<T> weights;
  RowsOf<const T> x;
  const T *h0, *c0;
  RowsOf<const T> y, dy;
  const T *dh_end, *dc_end;
  RecurrentSaved<T> saved;
  RecurrentGradients<T> gradients;
};

template <class T>
void recurrent_forward(const RecurrentForward<T>& args);
template <class T>
void recurrent_backward(const RecurrentBackward<T>& args);

// Which routine serves a pass ("forward", "backward"), and why: what `tilework info` tells.
struct RecurrentService {
  const char *pass, *routine, *why;
};
struct RecurrentServices {
  RecurrentService forward, backward;
};
RecurrentServices recurrent_services(const RecurrentShape& shape);

// For the GIL: nanoseconds of a forward pass on one thread.
double recurrent_cost_ns(const RecurrentShape& shape);

// --- What a variant provides ---

// The columns of products with U: units in groups of so many, whose gates lie side by side, so that
// a block of a product (kBlockColumns, kernels/tile/operands.h) has all gates of a unit.
inline constexpr int64_t kGroup = 16;

// Gates of some units, of some rows: gate g of unit u is at [u / kGroup * group + u % kGroup + g *
// gate]. In PyTorch's order `group` is kGroup and `gate` the number of units; in groups, gates *
// kGroup and kGroup.
template <class T>
struct GateRows {
  T* data;
  int64_t row, group, gate;
};

// `units` of `rows`. `units` begins at a multiple of kGroup.
template <class T>
struct CellForward {
  Cell cell;
  int64_t rows, units;
  GateRows<const T> sums;  // products with U
  GateRows<T> gates;       // the other products, with all biases but gru's of n
  const T* bias;           // gru: b_u of n, or null
  RowsOf<const T> before;  // lstm: c; gru: h
  RowsOf<T> extra;         // lstm: c' (may be `before`); gru: a_h of n, or null
  RowsOf<T> out;           // h', before a projection
  bool keeps;              // the gates take the place of `gates`
};

template <class T>
struct CellBackward {
  Cell cell;
  int64_t rows, units;
  GateRows<const T> gates;  // (of rnn: none)
  RowsOf<const T> extra, before;
  RowsOf<const T> out;       // rnn: h'
  RowsOf<const T> dh, more;  // the gradient of h' is their sum; `more` may be null
  RowsOf<T> carry;           // lstm: of c', then of c; gru: then of h, but for what goes through U
  GateRows<T> dgates;        // of a_h, and gru's of a_x of n as a fourth
  RowsOf<T> projected;       // lstm: h' before the projection again, or null
};

template <class T>
struct RecurrentTable {
  void (*forward)(const CellForward<T>&);
  void (*backward)(const CellBackward<T>&);
};

struct RecurrentKernels {
  RecurrentTable<float> f32;
  RecurrentTable<double> f64;
};

}  // namespace tilework
