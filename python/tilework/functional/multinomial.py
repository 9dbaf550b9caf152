"""Draws from a finite set, each element with its weight."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.arrays import errstate, largest, namespace, ndarray
from tilework.errors import error
from tilework.functional.cast import cast
from tilework.functional.common import need_float, operand, whole
from tilework.functional.generator import Generator, takes_generator
from tilework.functional.random import rand
from tilework.tensor import Tensor, fresh, tensor_method


@tensor_method()
@takes_generator
def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """`num_samples` indices of each row of weights (N, C) or (C,), drawn in proportion to them:
    (N, num_samples) or (num_samples,), int64. Weights need not sum to 1.

    TypeError on integers; ValueError on weights that are negative, infinite or NaN, on rows of
    zeros, and where more are drawn without replacement than there are above 0.

    >>> tw.multinomial(tw.tensor([0.0, 3.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    op = "multinomial"
    x, count = operand(input, op), whole(op, "num_samples", num_samples)
    need_float(op, x)
    if x.ndim not in (1, 2) or not x.shape[-1]:
        raise error(ValueError, op, "weights (N, C) or (C,), C from 1", x.shape, "reshape them")
    xp, at = namespace(x._array), x.device
    weights = cast(x.detach(), dtypes.float64)._array.reshape(-1, x.shape[-1])
    fewest = weights.shape[1] - largest((weights <= 0).sum(1), 0)
    right = (xp.isfinite(weights) & (weights >= 0)).all()
    above = int(xp.where(right, fewest, -1))  # for which the host waits, once
    if above < 0:
        raise error(ValueError, op, "finite weights from 0", "others", "clamp or scale them")
    if count < 1 or (above < 1 if replacement else above < count):
        most = "" if replacement else f" to {above}, the fewest weights above 0 in a row"
        raise error(
            ValueError, op, f"num_samples from 1{most}", f"{count}, with {above} above 0",
            "draw with replacement" if above else "give weights that are not all 0",
        )  # fmt: skip
    if replacement:
        ends = xp.cumsum(weights, 1)
        wanted = rand(len(weights), count, dtype=dtypes.float64, device=at)._array * ends[:, -1:]
        drawn = _first_above(ends, wanted)
    else:
        # The first of exponential clocks, each as fast as its weight, are such a draw.
        bits = rand(*weights.shape, dtype=dtypes.float64, device=at)._array
        with errstate(divide="ignore", invalid="ignore"):
            waits = -xp.log1p(-bits) / weights
        waits = xp.where(weights > 0, waits, math.inf)
        drawn = xp.argsort(waits, 1, kind="stable")[:, :count]
    return fresh((drawn if x.ndim == 2 else drawn[0]).copy())


def _first_above(ends: Any, wanted: Any) -> Any:
    """In each row of rising numbers (N, C), the place of the first that is above each of (N, M)."""
    if ends.__class__ is ndarray:
        found = np.empty(wanted.shape, np.int64)
        for row, values, places in zip(ends, wanted, found, strict=True):
            places[:] = np.searchsorted(row, values, "right")
        return found
    xp = namespace(ends)  # whose searchsorted knows one row: all rows are halved together
    low = xp.zeros(wanted.shape, "int64")
    high = xp.full(wanted.shape, ends.shape[1], "int64")
    for _ in range(ends.shape[1].bit_length()):
        middle = xp.minimum((low + high) // 2, ends.shape[1] - 1)
        not_above = (low < high) & (xp.take_along_axis(ends, middle, 1) <= wanted)
        low = xp.where(not_above, middle + 1, low)
        high = xp.where(not_above, high, middle)
    return low
