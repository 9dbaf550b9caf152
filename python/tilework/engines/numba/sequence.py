"""Connectionist temporal classification: sums over the ways to align two sequences.

Logarithms of float64 throughout, each step's measured against its largest: what float32 results
carry is one rounding.
"""

from typing import Any

import numpy as np

from tilework.engines.numba.compiled import jit, quiet

Array = Any


@jit
def _log_add(a: float, b: float) -> Any:
    if a == b or np.isnan(a):
        return a + np.log(2.0)
    high, low = (a, b) if a > b else (b, a)
    return high + np.log1p(np.exp(low - high))


@jit
def _label(labels: Array, blank: int, state: int) -> int:
    return labels[state // 2] if state % 2 else blank


@jit
def _skips(labels: Array, state: int) -> bool:
    """Whether `state` may follow the one two before it, the blank between left out."""
    return state % 2 == 1 and state > 1 and labels[state // 2] != labels[state // 2 - 1]


@jit
def _measured(row: Array) -> Any:
    """Makes the largest of a step 0; gives what it was."""
    top = row.max()
    if not np.isfinite(top):
        return 0.0
    row -= top
    return top


@jit
def _forward(x: Array, labels: Array, blank: int, reached: Array) -> Any:
    """What leads to each state at each step, but for a number of the step's own; gives the loss of
    log probabilities x (T, C)."""
    away = 0.0
    states = 2 * len(labels) + 1
    reached[:, :] = -np.inf
    for s in range(min(states, 2)):
        reached[0, s] = x[0, _label(labels, blank, s)]
    for t in range(1, len(x)):
        away += _measured(reached[t - 1])
        for s in range(states):
            total = reached[t - 1, s]
            if s > 0:
                total = _log_add(total, reached[t - 1, s - 1])
            if _skips(labels, s):
                total = _log_add(total, reached[t - 1, s - 2])
            reached[t, s] = total + x[t, _label(labels, blank, s)]
    last = reached[len(x) - 1, states - 1]
    if states > 1:
        last = _log_add(last, reached[len(x) - 1, states - 2])
    return -(away + last)


@jit
def _backward(x: Array, labels: Array, blank: int, reached: Array, grad: float, dx: Array) -> None:
    states = 2 * len(labels) + 1
    after, before = np.full(states, -np.inf), np.full(states, -np.inf)
    after[states - 1] = 0.0
    if states > 1:
        after[states - 2] = 0.0
    for t in range(len(x) - 1, -1, -1):
        if t < len(x) - 1:
            for s in range(states):
                total = after[s] + x[t + 1, _label(labels, blank, s)]
                if s + 1 < states:
                    total = _log_add(total, after[s + 1] + x[t + 1, _label(labels, blank, s + 1)])
                if s + 2 < states and _skips(labels, s + 2):
                    total = _log_add(total, after[s + 2] + x[t + 1, _label(labels, blank, s + 2)])
                before[s] = total
            after, before = before, after
            _measured(after)
        share = np.exp(x[t].astype(np.float64))
        through = reached[t] + after
        _measured(through)
        through = np.exp(through)
        total = through.sum()
        for s in range(states):
            share[_label(labels, blank, s)] -= through[s] / total
        for c in range(x.shape[1]):
            dx[t, c] = grad * share[c]


def _sequences(
    log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array
) -> Any:
    """Of each sequence its log probabilities (T, C), as far as it goes, and its labels."""
    ends = np.cumsum(target_lengths)
    for n, (steps, count) in enumerate(zip(input_lengths, target_lengths, strict=True)):
        labels = np.ascontiguousarray(targets[ends[n] - count : ends[n]])
        yield n, np.ascontiguousarray(log_probs[:steps, n]), labels


@quiet
def ctc_forward(
    log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array, blank: int
) -> tuple[Array, Array]:
    steps, batch, _ = log_probs.shape
    most = int(target_lengths.max(initial=0))
    losses = np.empty(batch)
    saved = np.empty((batch, steps, 2 * most + 1))
    for n, x, labels in _sequences(log_probs, targets, input_lengths, target_lengths):
        reached = saved[n, : len(x), : 2 * len(labels) + 1]
        if len(x):
            losses[n] = _forward(x, labels, blank, reached)
        else:
            losses[n] = np.inf if len(labels) else 0.0
    return losses.astype(log_probs.dtype), saved


@quiet
def ctc_backward(
    grad: Array,
    log_probs: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    blank: int,
    losses: Array,
    saved: Array,
    zero_infinity: bool,
) -> Array:
    dx = np.zeros(log_probs.shape, log_probs.dtype)
    for n, x, labels in _sequences(log_probs, targets, input_lengths, target_lengths):
        if not losses[n] < np.inf:
            dx[: len(x), n] = 0.0 if zero_infinity and losses[n] == np.inf else np.nan
        elif len(x):
            reached = saved[n, : len(x), : 2 * len(labels) + 1]
            _backward(x, labels, blank, reached, float(grad[n]), dx[: len(x), n])
    return dx
