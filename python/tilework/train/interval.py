"""How far chance would move a held-out figure: a metric over parts of the samples."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tilework.metrics import Metric
from tilework.tensor import Tensor

_PARTS = 20
_STUDENT = 2.093  # of 95 %, two-sided, at 19 degrees of freedom: one fewer than parts


class InParts(Metric):
    """A metric beside itself over twenty parts of what it is given, one after the other, whose
    spread says how sure the figure of the whole is (Mahalanobis' random groups; Wolter 2007).

    It serves any figure, whatever its formula. Parts are neighbours, so that samples that hang
    together, as those of a series do, do not look like independent ones.

    Args:
        metric: The one that is meant.
        batches: How many will come.

    >>> figure = InParts(metrics.Accuracy(), batches=1)
    >>> labels = tw.tensor([0, 1] * 50)
    >>> figure(labels, tw.tensor([0, 0, 1, 1] * 25))
    0.5
    >>> [round(end, 2) for end in figure.interval()]
    [0.45, 0.55]
    """

    def __init__(self, metric: Metric, batches: int) -> None:
        self.name, self.higher_is_better = metric.name, metric.higher_is_better
        self._whole = metric
        self._batches = batches
        self.reset()

    def reset(self) -> None:
        self._whole.reset()
        self._parts = [copy.deepcopy(self._whole) for _ in range(_PARTS)]
        self._counts = [0] * _PARTS
        self._batch = 0

    def update(self, output: Any, target: Any) -> None:
        self._whole.update(output, target)
        for part, rows in self._rows(output, target):
            if rows is None:
                self._parts[part].update(output, target)
                self._counts[part] += 1
            else:
                self._parts[part].update(output[rows], target[rows])
                self._counts[part] += rows.stop - rows.start
        self._batch += 1

    def compute(self) -> Any:
        return self._whole.compute()

    def interval(self) -> tuple[float, float] | None:
        """The ends of a 95 % interval about the figure; None where there is a part without samples,
        or without a figure."""
        total = sum(self._counts)
        if 0 in self._counts:
            return None
        shares = [count / total for count in self._counts]
        values = [float(part.compute()) for part in self._parts]
        mean = sum(share * value for share, value in zip(shares, values, strict=True))
        away = sum((s * (v - mean)) ** 2 for s, v in zip(shares, values, strict=True))
        half = _STUDENT * math.sqrt(away * _PARTS / (_PARTS - 1))
        value = float(self._whole.compute())
        return (value - half, value + half) if math.isfinite(half) else None

    def _rows(self, output: Any, target: Any) -> Iterator[tuple[int, slice | None]]:
        """The parts that a batch belongs to, by how much of all batches came before, and its rows
        of each; None for all, where it has no rows that go together."""
        batch = min(self._batch, self._batches - 1)  # more may come than were said
        first, last = (_PARTS * (batch + end) / self._batches for end in (0, 1))
        if not _go_together(output, target):
            yield int((first + last) / 2), None
            return
        rows = target.shape[0]
        ends = [
            min(rows, max(0, round(rows * (part - first) / (last - first))))
            for part in range(_PARTS + 1)
        ]
        for part in range(_PARTS):
            if ends[part] < ends[part + 1]:
                yield part, slice(ends[part], ends[part + 1])


def _go_together(output: Any, target: Any) -> bool:
    """Whether both are tensors or arrays, of as many rows."""
    shapes = [x.shape for x in (output, target) if isinstance(x, (Tensor, np.ndarray))]
    return len(shapes) == 2 and all(shapes) and shapes[0][0] == shapes[1][0]
