"""The normal distribution between bounds, by rejection: a proposal that hugs the density wherever
the bounds lie, so that the numbers of rounds stays small (Robert, "Simulation of truncated normal
variables", 1995)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tilework.engines import ops
from tilework.functional.generator import next_call

Array = Any
Proposal = Callable[[int], tuple[Array, Array]]  # how many -> (numbers, chances to keep each)


def truncated_normal(count: int, mean: float, std: float, a: float, b: float) -> Array:
    """`count` float64 numbers of a normal distribution, under the condition of lying in [a, b]."""
    if std == 0.0 or a == b:
        return np.full(count, min(max(mean, a), b))
    low, high = (a - mean) / std, (b - mean) / std
    if high < 0.0:  # the lower tail is the upper one mirrored
        return -truncated_normal(count, -mean, std, -b, -a)
    if low == math.inf:  # so far out that nothing else is left
        return np.full(count, a)
    origin, propose = _proposal(low, high)
    start = mean if origin == 0.0 else a  # the bound itself: mean + std * low would be rounded
    out = np.empty(count)
    missing = np.arange(count)
    while missing.size:
        numbers, chances = propose(missing.size)
        taken = _uniform(missing.size) < chances
        out[missing[taken]] = start + std * numbers[taken]
        missing = missing[~taken]
    return np.clip(out, a, b, out=out)


def _proposal(low: float, high: float) -> tuple[float, Proposal]:
    """Where its numbers count from, and the proposal for a standard normal in [low, high]."""
    if low >= 1.0:
        return low, _Tail(low, high - low)
    if high - low < 1.0:
        return low, _Short(low, high)
    return 0.0, _Whole(low, high)


def _uniform(count: int) -> Array:
    return ops.uniform((count,), "float64", *next_call())


class _Whole:
    """Normal numbers, those inside of the bounds kept: one in seven at least."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def __call__(self, count: int) -> tuple[Array, Array]:
        numbers = ops.normal((count,), "float64", *next_call())
        return numbers, (numbers >= self._low) & (numbers <= self._high)


class _Short:
    """Uniform numbers in a short interval, kept by how far the density is from its largest there;
    they count from `low`."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._length = low, high - low
        self._peak = min(max(0.0, low), high)

    def __call__(self, count: int) -> tuple[Array, Array]:
        above = _uniform(count) * self._length
        x = self._low + above
        return above, np.exp(0.5 * (self._peak - x) * (self._peak + x))


class _Tail:
    """Exponential numbers at the rate of the density's own fall at `low`, from which they count:
    e^(-x^2 / 2) is e^(-low above) times e^(-above^2 / 2), which is the chance to keep each."""

    def __init__(self, low: float, length: float) -> None:
        self._rate = low
        self._mass = -math.expm1(-low * length)  # of the exponential below the upper bound

    def __call__(self, count: int) -> tuple[Array, Array]:
        above = -np.log1p(-self._mass * _uniform(count)) / self._rate
        return above, np.exp(-0.5 * above * above)
