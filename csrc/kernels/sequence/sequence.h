// Sums over the ways to align two sequences: connectionist temporal classification (Graves et al.,
// "Connectionist temporal classification", 2006).
//
// Work is cut by sequence alone: threads do not change a result. NaN in what an alignment reads
// goes into its loss. Nothing overlaps.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace tilework {

// log_probs[t * step_stride + n * sequence_stride + symbol] are the logarithms of probabilities.
// The labels of one sequence follow those of another in `targets`. The caller has checked that
// input_lengths lie in [0, steps], target_lengths in [0, most_labels], that these sum up to the
// number of targets, and that targets and `blank` lie in [0, symbols).
template <class T>
struct CtcArgs {
  int64_t steps, batch, symbols;
  const T* log_probs;
  int64_t step_stride, sequence_stride;
  const int64_t* targets;
  const int64_t *input_lengths, *target_lengths;
  int64_t most_labels;
  int64_t blank;
};

// What backward needs of forward: for each sequence and step two numbers a label, and two more.
inline int64_t ctc_saved_row(int64_t most_labels) { return 2 * (most_labels + 1); }

// losses[n] = -log p(targets of n): infinity where nothing aligns.
template <class T>
void ctc_forward(const CtcArgs<T>& args, T* losses, T* saved);
// The gradient of the logits whose log_softmax log_probs are, which log_softmax passes on as it is:
// grad[n] * (p(symbol) - what the alignments have of it). dx: (steps, batch, symbols) in C order,
// zero from a sequence's end on; NaN where the loss is no number, and where it is infinite, unless
// `zero_infinity` makes that zero.
template <class T>
void ctc_backward(const CtcArgs<T>& args, const T* grad, const T* losses, const T* saved,
                  bool zero_infinity, T* dx);

// For the drivers and the GIL: nanoseconds on one thread.
double ctc_cost_ns(int64_t steps, int64_t batch, int64_t symbols, int64_t most_labels,
                   size_t itemsize);

// --- What a variant provides ---

// One sequence of at least a step.
template <class T>
struct CtcSequence {
  int64_t steps, count, symbols;  // count: of labels
  const T* log_probs;
  int64_t step_stride;
  const int64_t* labels;
  int64_t blank;
  int64_t saved_row;  // from one step's numbers to the next's
};

inline int64_t ctc_scratch(int64_t most_labels) { return 6 * (most_labels + 1); }

template <class T>
struct SequenceTable {
  // scratch: ctc_scratch(labels) numbers.
  T (*ctc_forward)(const CtcSequence<T>&, T* saved, T* scratch);
  void (*ctc_backward)(const CtcSequence<T>&, T grad, const T* saved, T* scratch, T* dx,
                       int64_t dx_stride);
};

struct SequenceKernels {
  SequenceTable<float> f32;
  SequenceTable<double> f64;
};

}  // namespace tilework
