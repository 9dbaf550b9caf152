"""Connectionist temporal classification: sums over the ways to align two sequences, all sequences
of a batch a step at a time.

Logarithms of float64 throughout, each step's measured against its largest: what float32 results
carry is one rounding.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tilework.arrays import namespace
from tilework.dtypes import float64
from tilework.engines.cupy.base import Array, quiet, stored, wide
from tilework.engines.cupy.groups import summed
from tilework.engines.layout import contiguous

__all__ = ["ctc_backward", "ctc_forward"]


def _log_add(a: Array, b: Array) -> Array:
    xp = namespace(a)
    high, low = xp.where(a > b, a, b), xp.where(a > b, b, a)
    apart = high + xp.log1p(xp.exp(low - high))
    return xp.where((a == b) | (a != a), a + math.log(2.0), apart)


def _measured(rows: Array) -> tuple[Array, Array]:
    """Rows (N, states) with their largest at 0, and what that was, (N, 1)."""
    xp = namespace(rows)
    top = xp.max(rows, axis=1, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0.0)
    return rows - top, top


def _later(x: Array, by: int) -> Array:
    """The states `by` further on; -Inf behind the last."""
    y = namespace(x).full(x.shape, -math.inf, x.dtype)
    y[:, : x.shape[1] - by] = x[:, by:]
    return y


def _earlier(x: Array, by: int) -> Array:
    y = namespace(x).full(x.shape, -math.inf, x.dtype)
    y[:, by:] = x[:, : x.shape[1] - by]
    return y


class _States(NamedTuple):
    """The states of each sequence, (N, S): blanks, and labels between them."""

    label: Array  # the class
    there: Array  # whether the sequence is so long
    skips: Array  # whether it may follow the one two before it, the blank between left out
    last: Array  # (N, 1): the last one
    steps: Array  # (N, 1)

    def at(self, x: Array) -> Array:
        """What a step's (N, C) has for each state; -Inf where the sequence has none."""
        xp = namespace(x)
        return xp.where(self.there, xp.take_along_axis(x, self.label, 1), -math.inf)


def _states(targets: Array, input_lengths: Array, lengths: Array, blank: int) -> _States:
    xp, batch = namespace(targets), len(lengths)
    most = int(xp.max(lengths)) if batch else 0
    count = 2 * most + 1
    label = xp.full((batch, count), blank, "int64")
    skips = xp.zeros((batch, count), dtype=bool)
    if most:
        first = xp.cumsum(lengths) - lengths
        place = first[:, None] + xp.arange(most, dtype="int64")
        labels = xp.take(targets, xp.minimum(place, targets.size - 1), 0)
        within = xp.arange(most, dtype="int64") < lengths[:, None]
        label[:, 1::2] = xp.where(within, labels, blank)
        skips[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    last = (2 * lengths)[:, None]
    there = xp.arange(count, dtype="int64") <= last
    return _States(label, there, skips & there, last, input_lengths[:, None])


@quiet
def ctc_forward(
    log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array, blank: int
) -> tuple[Array, Array]:
    xp, (steps, batch, _) = namespace(log_probs), log_probs.shape
    states = _states(targets, input_lengths, target_lengths, blank)
    saved = xp.zeros((batch, steps, states.label.shape[1]), float64)
    lacking = xp.where(states.last > 0, math.inf, 0.0)
    if not steps or not batch:
        return stored(lacking[:, 0], log_probs.dtype), saved
    x, away = wide(log_probs), xp.zeros((batch, 1), float64)
    now = xp.where(xp.arange(saved.shape[2]) < 2, states.at(x[0]), -math.inf)
    for t in range(1, steps):
        goes_on = states.steps > t
        measured, top = _measured(now)
        now, away = xp.where(goes_on, measured, now), xp.where(goes_on, away + top, away)
        saved[:, t - 1] = now
        total = _log_add(now, _earlier(now, 1))
        total = xp.where(states.skips, _log_add(total, _earlier(now, 2)), total)
        now = xp.where(goes_on, total + states.at(x[t]), now)
    saved[:, -1] = now
    last = xp.take_along_axis(now, states.last, 1)
    before = xp.take_along_axis(now, xp.maximum(states.last - 1, 0), 1)
    last = xp.where(states.last > 0, _log_add(last, before), last)
    losses = xp.where(states.steps > 0, -(away + last), lacking)
    return stored(losses[:, 0], log_probs.dtype), saved


def _shares(x: Array, states: _States, saved: Array) -> Array:
    """How likely each state is at each step, (T, N, S)."""
    xp = namespace(x)
    places = xp.arange(saved.shape[2], dtype="int64")
    ends = (places == states.last) | (places == states.last - 1)
    start = xp.where(ends, 0.0, -math.inf)
    after, shares = start, xp.zeros((len(x), *start.shape), float64)
    for t in range(len(x) - 1, -1, -1):
        if t < len(x) - 1:
            total = after + states.at(x[t + 1])
            skipping = xp.where(states.skips, total, -math.inf)
            total = _log_add(_log_add(total, _later(total, 1)), _later(skipping, 2))
            after = xp.where(states.steps - 1 > t, _measured(total)[0], start)
        through = xp.exp(_measured(saved[:, t] + after)[0])
        shares[t] = through / xp.sum(through, axis=1, keepdims=True)
    return shares


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
    xp, (steps, batch, classes) = namespace(log_probs), log_probs.shape
    if not log_probs.size:
        return xp.zeros(log_probs.shape, log_probs.dtype)
    x, states = wide(log_probs), _states(targets, input_lengths, target_lengths, blank)
    shares = _shares(x, states, saved)
    keys = (xp.arange(batch, dtype="int64")[:, None] * classes + states.label).reshape(-1)
    of_labels: Any = contiguous(shares.reshape(steps, -1).T)
    total = summed(keys, of_labels, batch * classes).reshape(batch, classes, steps)
    found = wide(grad)[:, None] * (xp.exp(x) - total.transpose(2, 0, 1))
    loss = wide(losses)[:, None]
    lost = xp.where((loss == math.inf) & zero_infinity, 0.0, math.nan)
    found = xp.where(loss < math.inf, found, lost)
    within = xp.arange(steps, dtype="int64")[:, None, None] < states.steps
    return stored(xp.where(within, found, 0.0), log_probs.dtype)
