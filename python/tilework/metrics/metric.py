"""What all metrics are, and how they read outputs and targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.errors import error
from tilework.tensor import Tensor

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


class Metric:
    """A figure over batches. A subclass says `update`, `compute` and `reset`.

    `name` is what a record calls it; `higher_is_better` says which way is up.
    """

    name = "metric"
    higher_is_better = True

    def update(self, output: Any, target: Any) -> None:
        """Takes one batch: tensors or arrays."""
        raise NotImplementedError

    def compute(self) -> Any:
        """The figure of all batches since the last reset; NaN where there were none."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forgets all batches."""
        raise NotImplementedError

    def __call__(self, output: Any, target: Any) -> Any:
        """The figure of one batch alone, whatever came before: which is forgotten.

        >>> metrics.MAE()(tw.tensor([1.0, 2.0]), tw.tensor([1.0, 4.0]))
        1.0
        """
        self.reset()
        self.update(output, target)
        return self.compute()


def named(metrics: Sequence[Metric] | Mapping[str, Metric]) -> dict[str, Metric]:
    """Metrics by name: ValueError where two of a list have one.

    >>> list(named([metrics.MAE(), metrics.MSE()]))
    ['mae', 'mse']
    """
    if isinstance(metrics, Mapping):
        return dict(metrics)
    found = {metric.name: metric for metric in metrics}
    if len(found) < len(metrics):
        raise error(
            ValueError, "metrics", "one metric a name", [metric.name for metric in metrics],
            "give a dict of them by name",
        )  # fmt: skip
    return found


def array_of(x: Any) -> NDArray[Any]:
    """A tensor's or array's numbers; bfloat16 as float32."""
    array = np.asarray(x.detach().cpu().numpy() if isinstance(x, Tensor) else x)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def labels_of(op: str, output: Any, target: Any, threshold: float) -> tuple[Counts, Counts]:
    """Predicted and true labels, flat.

    Outputs may be labels, of an integer dtype; scores (N, C, ...) beside targets (N, ...), of which
    the largest says the class; or one score each, which is class 1 above the threshold.
    """
    found, true = array_of(output), array_of(target)
    if true.dtype.kind == "f" and not np.array_equal(true, np.trunc(true)):
        raise error(ValueError, op, "targets that are labels", "fractions", "round them first")
    if found.ndim == true.ndim + 1 and found.shape[1] == 1 and found.dtype.kind == "f":
        found = found[:, 0]
    if found.ndim == true.ndim + 1 and found.shape[:1] + found.shape[2:] == true.shape:
        found = found.argmax(1)
    elif found.shape != true.shape:
        raise error(
            ValueError, op, "outputs (N, C, ...) or (N, ...) and targets (N, ...)",
            f"{found.shape} and {true.shape}", "a target is a class's number",
        )  # fmt: skip
    elif found.dtype.kind == "f":
        found = found > threshold
    return found.reshape(-1).astype(np.int64), true.reshape(-1).astype(np.int64)


class Mean:
    """A mean of many numbers, a sum and a count at a time."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, total: float, count: int) -> None:
        self.total += total
        self.count += count

    def value(self) -> float:
        return self.total / self.count if self.count else float("nan")
