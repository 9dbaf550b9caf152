"""Draws from a finite set, each element with its weight."""

from __future__ import annotations

import numpy as np

from tilework import dtypes
from tilework.devices import CPU, moved
from tilework.errors import error
from tilework.functional.common import need_float, operand, whole
from tilework.functional.random import rand
from tilework.tensor import Tensor, fresh, tensor_method


@tensor_method()
def multinomial(input: Tensor, num_samples: int, replacement: bool = False) -> Tensor:
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
    weights = np.atleast_2d(moved(x._array, CPU)).astype(np.float64)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise error(ValueError, op, "finite weights from 0", "others", "clamp or scale them")
    above = (weights > 0).sum(1).min(initial=weights.shape[1])
    if count < 1 or (above < 1 if replacement else above < count):
        most = "" if replacement else f" to {above}, the fewest weights above 0 in a row"
        raise error(
            ValueError, op, f"num_samples from 1{most}", f"{count}, with {above} above 0",
            "draw with replacement" if above else "give weights that are not all 0",
        )  # fmt: skip
    if replacement:
        ends = np.cumsum(weights, 1)
        at = rand(len(weights), count, dtype=dtypes.float64, device="cpu")._array * ends[:, -1:]
        rows = zip(ends, at, strict=True)
        drawn = np.array([np.searchsorted(row, a, "right") for row, a in rows], np.int64)
    else:
        # The first of exponential clocks, each as fast as its weight, are such a draw.
        bits = rand(*weights.shape, dtype=dtypes.float64, device="cpu")._array
        with np.errstate(divide="ignore"):
            waits = -np.log1p(-bits) / weights
        waits[weights == 0] = np.inf
        drawn = np.argsort(waits, 1, kind="stable")[:, :count]
    drawn = drawn.reshape(len(weights), count)
    found = np.ascontiguousarray(drawn if x.ndim == 2 else drawn[0])
    return fresh(moved(found, x.device))
