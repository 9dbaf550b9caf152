"""How far a result may lie from its float64 reference: formulas in eps, length and magnitude.

A Tolerance maps (dtype name, expected array, *inputs as float64) to a bound on each element's
error. Rounding moves one operation's result by at most eps / 2 of its magnitude. A sum of n terms
rounds n times, in either direction, so its error grows as a random walk does: the last roundings,
at the full magnitude, dominate, and the standard deviation stays under 0.12 sqrt(n) eps of the sum
of absolute values, whatever the order. `growth` allows eight of them. The reference rounds too, as
often and in float64: that is nothing beside float32's error, and as much again beside float64's.

bfloat16 is computed in float32 and rounded once: `working_eps` is float32's, and `stored` adds that
rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.dtypes import bfloat16, finfo, is_float

Array = NDArray[Any]
Tolerance = Callable[..., Any]  # (dtype, expected, *inputs) -> bound, broadcast against expected


def eps(dtype: str) -> float:
    """The distance from 1 to the next number."""
    return float(finfo(dtype).eps)


def tiny(dtype: str) -> float:
    """The smallest normal number: what flushing a denormal may cost."""
    return float(finfo(dtype).tiny)


def working_eps(dtype: str) -> float:
    """eps of what `dtype` is computed in."""
    return eps("float32" if dtype == "bfloat16" else dtype)


def stored(dtype: str, expected: Array, bound: Any) -> Any:
    """`bound`, of a result as computed, for that result as it is stored."""
    if np.dtype(dtype) != bfloat16:
        return bound
    return bound + eps(dtype) / 2 * (np.abs(expected) + bound) + tiny(dtype) * eps(dtype)


def growth(length: int) -> float:
    """The error of a sum of `length` terms, in eps of the sum of their absolute values."""
    return 2.0 + float(np.sqrt(length))


def exact(dtype: str, expected: Array, *inputs: Any) -> Any:
    """For ops that move or choose numbers: to the bit."""
    return 0.0


def rounded(ulps: float) -> Tolerance:
    """For elementwise functions: within `ulps` eps of the result, or a denormal."""

    def bound(dtype: str, expected: Array, *inputs: Any) -> Any:
        return ulps * eps(dtype) * np.abs(expected) + tiny(dtype)

    return bound


def of_magnitude(magnitude: Callable[..., Any], length: int | Callable[..., int] = 1) -> Tolerance:
    """For sums: `growth(length)` eps of `magnitude`, the sum of the terms' absolute values, for the
    answer, and the same of float64 for its reference.

    Both are functions of the float64 inputs (the length may be a number).
    """

    def bound(dtype: str, expected: Array, *inputs: Any) -> Any:
        n = length(*inputs) if callable(length) else length
        unit = working_eps(dtype) + eps("float64")  # ours, and the reference's
        error = growth(n) * unit * magnitude(*inputs) + (n + 1) * tiny(dtype)
        return stored(dtype, expected, error)

    return bound


def assert_close(actual: Array, expected: Array, bound: Any, what: str) -> None:
    """Raises AssertionError, naming the worst element, where `actual` lies further than `bound`.

    `expected` is taken in `actual`'s dtype where it overflows: what float32 cannot hold is Inf.
    NaN must meet NaN, and Inf the same Inf.
    """
    expected = np.asarray(expected)
    if actual.shape != expected.shape:
        raise AssertionError(f"{what}: shape {actual.shape}, expected {expected.shape}")
    if not is_float(actual.dtype):
        if not np.array_equal(actual, expected):
            raise AssertionError(f"{what}: {actual!r}, expected {expected!r}")
        return
    with np.errstate(all="ignore"):
        held = expected.astype(actual.dtype)
        error = np.abs(actual.astype(np.float64) - expected)
        same = (actual == held) & ~np.isfinite(held) | (np.isnan(actual) & np.isnan(held))
        wrong = ~same & ~(np.isfinite(actual) & np.isfinite(held) & (error <= bound))
        if not wrong.any():
            return
        excess = np.where(wrong, np.nan_to_num(error, nan=np.inf), -1.0)
        at = np.unravel_index(int(excess.argmax()), wrong.shape)
        limit = np.broadcast_to(bound, wrong.shape)[at]
    place = ", ".join(str(int(i)) for i in at)
    raise AssertionError(
        f"{what}: {int(wrong.sum())} of {wrong.size} elements are off; the worst, [{place}], is "
        f"{actual[at]!r}, expected {expected[at]!r}, off by {error[at]:.3g} where {limit:.3g} "
        "is allowed"
    )
