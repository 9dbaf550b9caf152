"""What the modules of this engine share: dtypes to compute in, and results laid out as asked.

float32 is computed in float64 where a function takes more than one rounding, and rounded once.
bfloat16 is widened and narrowed in integers, which need nothing of the array library but integers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from tilework.arrays import as_array, errstate, namespace
from tilework.dtypes import bfloat16, float32, float64, is_float
from tilework.engines.layout import empty_as

Array = Any
P = ParamSpec("P")
R = TypeVar("R")


def quiet(function: Callable[P, R]) -> Callable[P, R]:
    """NaN and Inf are results here: NumPy, where the arrays are its own, does not warn of them."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with errstate(all="ignore"):
            return function(*args, **kwargs)

    return wrapped


def widen(x: Array) -> Array:
    """bfloat16 as float32: its bits are the upper half."""
    bits = as_array(x.view("uint16")).astype("uint32")
    return as_array(bits << bits.dtype.type(16)).view(float32)


def narrow(x: Array) -> Array:
    """float32 as bfloat16, to nearest even; a NaN as the quiet one of its sign."""
    xp, bits = namespace(x), as_array(x.view("uint32"))
    one = bits.dtype.type
    half = one(0x7FFF) + ((bits >> one(16)) & one(1))  # and what makes a tie go to the even one
    quiet_nan = ((bits >> one(31)) << one(15)) | one(0x7FC0)
    upper = xp.where(xp.isnan(x), quiet_nan, (bits + half) >> one(16))
    return as_array(upper).astype("uint16").view(bfloat16)


def widened(x: Array) -> Array:
    """What `x` is multiplied in: bfloat16 in float32."""
    return widen(x) if x.dtype == bfloat16 else x


def wide(x: Array) -> Array:
    """A float array in float64; others as they are."""
    return widened(x).astype(float64, copy=False) if is_float(x.dtype) else x


def stored(x: Any, dtype: Any) -> Array:
    """What was computed, as an array of `dtype`: a float rounded once."""
    x = as_array(x)
    if x.dtype == dtype:
        return x
    return narrow(x.astype(float32, copy=False)) if dtype == bfloat16 else x.astype(dtype)


def optional(x: Any, dtype: Any) -> Array | None:
    """`stored`, of what may not be there."""
    return None if x is None else stored(x, dtype)


def laid_as(y: Any, model: Array) -> Array:
    """A fresh `y`, where it lies as empty_as(model) does, else a copy that does."""
    y, out = as_array(y), empty_as(model, y.dtype)
    if all(a == b for a, b, n in zip(y.strides, out.strides, y.shape, strict=True) if n != 1):
        return y
    out[...] = y
    return out


def bits(x: Array) -> Array:
    """`x` for what moves elements alone: bfloat16 as integers."""
    return x.view("uint16") if x.dtype == bfloat16 else x
