"""How much of an image is noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilework.metrics.metric import Mean, Metric
from tilework.metrics.regression import pair


class PSNR(Metric):
    """The peak signal-to-noise ratio in decibels: 10 log10(data_range² / mean squared error), of
    each sample (the first axis), and the mean over samples; infinite for what is equal.

    Args:
        data_range: How far apart black and white are.

    >>> round(metrics.PSNR()(tw.tensor([[0.1, 0.5]]), tw.tensor([[0.0, 0.5]])), 2)
    23.01
    """

    name = "psnr"

    def __init__(self, data_range: float = 1.0) -> None:
        self.data_range = data_range
        self.reset()

    def reset(self) -> None:
        self._mean = Mean()

    def update(self, output: Any, target: Any) -> None:
        found, true = pair("PSNR", output, target)
        errors = np.square(found - true).mean(tuple(range(1, found.ndim)))
        with np.errstate(divide="ignore"):
            ratios = 10.0 * np.log10(self.data_range**2 / errors)
        self._mean.add(float(ratios.sum()), len(ratios))

    def compute(self) -> float:
        return self._mean.value()
