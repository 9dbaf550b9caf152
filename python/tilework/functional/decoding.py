"""Labels read off the output of a network that was trained by connectionist temporal
classification: the likeliest path, or the likeliest labels by a search over their beginnings."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilework import dtypes
from tilework.errors import error
from tilework.functional.common import need_float, operand, whole
from tilework.functional.ctc import Lengths, blank_of, lengths_of
from tilework.tensor import Tensor

Array = Any


def _sequences(
    op: str, log_probs: Tensor, lengths: Lengths | None, blank: int
) -> tuple[list[Array], int]:
    """The log probabilities (T, C) of each sequence, as far as it goes, in float64; the blank."""
    x = operand(log_probs, op, "log_probs")
    need_float(op, x, "log_probs")
    if x.ndim != 3 or not x.shape[2]:
        raise error(
            ValueError, op, "log_probs (T, N, C)", x.shape, "put time first and the symbols last"
        )
    steps, batch, symbols = x.shape
    blank = blank_of(op, blank, symbols)
    ends = [steps] * batch
    if lengths is not None:
        ends = lengths_of(op, "lengths", lengths, batch, steps, np).tolist()
    wide = x.detach().cpu().numpy().astype(dtypes.float64)
    return [wide[:end, n] for n, end in enumerate(ends)], blank


def ctc_greedy_decode(
    log_probs: Tensor, lengths: Lengths | None = None, blank: int = 0
) -> list[list[int]]:
    """The labels of the likeliest path of each sequence: repeats are one label, unless a blank
    stands between, and blanks are none.

    log_probs (T, N, C), or any scores; lengths (N,) where not all T steps count. ValueError on
    shapes, lengths or a blank out of range.

    >>> path = tw.tensor([1, 1, 0, 1, 2, 2])
    >>> ctc_greedy_decode(F.one_hot(path, 3).float().unsqueeze(1))
    [[1, 1, 2]]
    """
    sequences, blank = _sequences("ctc_greedy_decode", log_probs, lengths, blank)
    found = []
    for x in sequences:
        path = x.argmax(1)
        new = np.append(True, path[1:] != path[:-1])[: len(path)]
        found.append(path[new & (path != blank)].tolist())
    return found


class _Beam:
    """The likeliest beginnings so far: their labels, and the log probability of each with its last
    step a blank, and with its last step its last label."""

    def __init__(self, width: int, blank: int) -> None:
        self.width, self.blank = width, blank
        self.labels: list[tuple[int, ...]] = [()]
        self.by_blank = np.zeros(1)
        self.by_label = np.full(1, -np.inf)

    @property
    def totals(self) -> Array:
        return np.logaddexp(self.by_blank, self.by_label)

    def step(self, x: Array) -> None:
        """Takes the log probabilities (C,) of one more step."""
        rows, totals = np.arange(len(self.labels)), self.totals
        last = np.array([labels[-1] if labels else self.blank for labels in self.labels])
        longer = totals[:, None] + x
        longer[rows, last] = self.by_blank + x[last]  # else it is the same label, going on
        longer[:, self.blank] = -np.inf
        by_blank = totals + x[self.blank]
        by_label = self.by_label + x[last]  # -Inf still, where there are no labels
        at = {labels: i for i, labels in enumerate(self.labels)}
        for i, labels in enumerate(self.labels):
            parent = at.get(labels[:-1]) if labels else None
            if parent is not None:  # both lead to the same labels
                by_label[i] = np.logaddexp(by_label[i], longer[parent, labels[-1]])
                longer[parent, labels[-1]] = -np.inf
        self._keep(by_blank, by_label, longer)

    def _keep(self, by_blank: Array, by_label: Array, longer: Array) -> None:
        """The likeliest of those that stay and of those with a label more."""
        count, symbols = longer.shape
        totals = np.append(np.logaddexp(by_blank, by_label), longer)
        order = np.argsort(-totals, kind="stable")[: self.width]
        order = order[totals[order] > -np.inf]
        stay = order[order < count]
        rows, new = np.divmod(order[order >= count] - count, symbols)
        self.labels = [self.labels[i] for i in stay] + [
            (*self.labels[i], int(c)) for i, c in zip(rows, new, strict=True)
        ]
        self.by_blank = np.append(by_blank[stay], np.full(len(rows), -np.inf))
        self.by_label = np.append(by_label[stay], longer[rows, new])


def ctc_beam_search_decode(
    log_probs: Tensor, lengths: Lengths | None = None, beam_width: int = 16, blank: int = 0
) -> list[list[tuple[list[int], float]]]:
    """The likeliest labels of each sequence, best first, each with its log probability: the sum
    over its paths, but for those that left the beam.

    After each step the `beam_width` likeliest beginnings are kept (Hannun et al., "First-pass large
    vocabulary continuous speech recognition using bi-directional recurrent DNNs", 2014, without a
    language model). log_probs (T, N, C) is the log_softmax of logits; lengths (N,) where not all T
    steps count. ValueError on shapes, lengths, a width or a blank out of range.

    >>> x = tw.tensor([[[0.6, 0.4]], [[0.6, 0.4]]]).log()  # the likeliest path is of blanks alone
    >>> [labels for labels, _ in ctc_beam_search_decode(x)[0]]
    [[1], []]
    """
    op = "ctc_beam_search_decode"
    beam_width = whole(op, "beam_width", beam_width)
    if beam_width < 1:
        raise error(ValueError, op, "beam_width from 1", beam_width, "raise it")
    sequences, blank = _sequences(op, log_probs, lengths, blank)
    found = []
    for x in sequences:
        beam = _Beam(beam_width, blank)
        for step in x:
            beam.step(step)
        totals = beam.totals
        order = np.argsort(-totals, kind="stable")
        found.append([(list(beam.labels[i]), float(totals[i])) for i in order])
    return found
