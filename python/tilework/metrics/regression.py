"""How far numbers are from what they should be."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilework.errors import error
from tilework.metrics.metric import Floats, Mean, Metric, array_of


def pair(op: str, output: Any, target: Any) -> tuple[Floats, Floats]:
    found, true = array_of(output), array_of(target)
    if found.shape != true.shape:
        raise error(
            ValueError, op, "output and target of one shape", f"{found.shape} and {true.shape}",
            "squeeze or reshape one of them",
        )  # fmt: skip
    return found.astype(np.float64), true.astype(np.float64)


class MAE(Metric):
    """The mean absolute error, over all elements.

    >>> metrics.MAE()(tw.tensor([1.0, 2.0]), tw.tensor([1.0, 4.0]))
    1.0
    """

    name = "mae"
    higher_is_better = False

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._mean = Mean()

    def update(self, output: Any, target: Any) -> None:
        found, true = pair(type(self).__name__, output, target)
        self._mean.add(float(self._errors(found - true).sum()), found.size)

    def compute(self) -> float:
        return self._mean.value()

    @staticmethod
    def _errors(difference: Floats) -> Floats:
        return np.abs(difference)


class MSE(MAE):
    """The mean squared error, over all elements.

    >>> metrics.MSE()(tw.tensor([1.0, 2.0]), tw.tensor([1.0, 4.0]))
    2.0
    """

    name = "mse"

    @staticmethod
    def _errors(difference: Floats) -> Floats:
        return np.square(difference)


class R2(Metric):
    """The share of the targets' variance that is explained: 1 - squared error / squared spread.

    Of targets (N, ...) the mean of each output's own share. It is 1 for an output whose targets are
    all equal and met, 0 where they are missed, as scikit-learn has it; NaN for fewer than two
    samples.

    >>> round(metrics.R2()(tw.tensor([2.5, 0.0, 2.0, 8.0]), tw.tensor([3.0, -0.5, 2.0, 7.0])), 4)
    0.9486
    """

    name = "r2"

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._count = 0
        self._center: Floats = np.zeros(0)  # of each output
        self._spread: Floats = np.zeros(0)
        self._error: Floats = np.zeros(0)

    def update(self, output: Any, target: Any) -> None:
        found, true = pair("R2", output, target)
        if not true.size:
            return
        samples = len(true) if true.ndim else 1
        found, true = found.reshape(samples, -1), true.reshape(samples, -1)
        if not self._count:
            self._center, self._spread, self._error = np.zeros((3, true.shape[1]))
        elif len(self._center) != true.shape[1]:
            raise error(
                ValueError, "R2", f"{len(self._center)} outputs a sample, as before", true.shape[1],
                "reset() it first",
            )  # fmt: skip
        # Spreads of parts join without the difference of two large sums (Chan et al. 1979).
        center, count = true.mean(0), self._count + samples
        away = center - self._center
        self._spread += np.square(true - center).sum(0)
        self._spread += away**2 * (self._count * samples / count)
        self._center += away * (samples / count)
        self._error += np.square(found - true).sum(0)
        self._count = count

    def compute(self) -> float:
        if self._count < 2:
            return float("nan")
        varies = self._spread > 0.0
        ratio = np.divide(self._error, self._spread, out=np.zeros_like(self._error), where=varies)
        shares = np.where(varies, 1.0 - ratio, np.where(self._error == 0.0, 1.0, 0.0))
        return float(shares.mean())
