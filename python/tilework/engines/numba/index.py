"""Choosing and writing by an index, by NumPy; reductions by it, by Numba: NumPy is slow there."""

import math
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.arrays import gathering_key
from tilework.engines.numba.compiled import jit, quiet
from tilework.engines.numba.layout import Array
from tilework.errors import error


def checked(op: str, index: Array, length: int, wraps: bool = False) -> Array:
    """The indices counted from the front: a copy, which nobody else writes to. IndexError on one
    that is outside."""
    index = index.copy()
    lowest = -length if wraps else 0
    if index.size and (index.min() < lowest or index.max() >= length):
        outside = index[(index < lowest) | (index >= length)]
        raise error(
            IndexError, op, f"indices in [{lowest}, {length})", int(outside.flat[0]),
            "check the index",
        )  # fmt: skip
    if wraps:
        index[index < 0] += length
    return index


def gather(x: Array, axis: int, index: Array, wraps: bool) -> Array:
    index = checked("gather", index, x.shape[axis], wraps)
    return np.ascontiguousarray(x[gathering_key(axis, index)])


def index_select(x: Array, axis: int, index: Array, wraps: bool) -> Array:
    index = checked("index_select", index, x.shape[axis], wraps)
    return np.ascontiguousarray(np.take(x, index, axis))


def scatter(x: Array, axis: int, index: Array, source: Array) -> Array:
    index = checked("scatter", index, x.shape[axis])
    y = x.copy("C")
    y[gathering_key(axis, index)] = source
    return y


def index_copy(x: Array, axis: int, index: Array, source: Array) -> Array:
    index = checked("index_copy", index, x.shape[axis])
    y = x.copy("C")
    key: Any = (*(slice(None),) * axis, index)
    y[key] = source
    return y


# --- reductions ---

_HOW = {"sum": 0, "mean": 0, "prod": 1, "amax": 2, "amin": 3}


def _accumulator(dtype: Any) -> Any:
    """What elements of a dtype are summed in."""
    return np.float64 if dtypes.is_float(dtype) else np.int64


def _neutral(how: str, dtype: Any) -> Any:
    if how in ("sum", "mean"):
        return 0
    if how == "prod":
        return 1
    if dtype == np.float64:
        return -np.inf if how == "amax" else np.inf
    return np.iinfo(dtype).min if how == "amax" else np.iinfo(dtype).max


@jit
def _reduce_lines(how: int, total: Array, met: Array, index: Array, source: Array) -> None:
    """total (outer, n, inner), met the same; index and source (outer, m, inner)."""
    for o in range(index.shape[0]):
        for i in range(index.shape[1]):
            for j in range(index.shape[2]):
                at, x = index[o, i, j], source[o, i, j]
                met[o, at, j] += 1
                before = total[o, at, j]
                if how == 0:
                    total[o, at, j] = before + x
                elif how == 1:
                    total[o, at, j] = before * x
                elif how == 2:
                    if not (before > x or before != before):
                        total[o, at, j] = x
                elif not (before < x or before != before):
                    total[o, at, j] = x


def lines(x: Array, axis: int) -> Array:
    """(outer, n, inner), in C order."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    return np.ascontiguousarray(x).reshape(math.prod(before), x.shape[axis], math.prod(after))


@quiet
def _reduced(
    start: Array, axis: int, index: Array, source: Array, how: str, include_self: bool
) -> Array:
    reached = tuple(slice(start.shape[d] if d == axis else n) for d, n in enumerate(index.shape))
    part = start[reached]
    wide = _accumulator(start.dtype)
    total = lines(part, axis).astype(wide)
    if not include_self:
        total[...] = _neutral(how, total.dtype)
    met = np.zeros(total.shape, np.int64)
    _reduce_lines(
        _HOW[how], total, met, lines(index, axis), lines(source, axis).astype(wide, copy=False)
    )
    if how == "mean":
        total = total / np.maximum(met + include_self, 1)
    found = total.astype(start.dtype).reshape(part.shape)
    y = start.copy("C")
    y[reached] = found if include_self else np.where(met.reshape(part.shape) > 0, found, part)
    return y


def scatter_reduce(
    x: Array, axis: int, index: Array, source: Array, how: str, include_self: bool
) -> Array:
    index = checked("scatter_reduce", index, x.shape[axis])
    return _reduced(x, axis, index, source, how, include_self)


def scatter_add(x: Array, axis: int, index: Array, shape: tuple[int, ...], wraps: bool) -> Array:
    index = checked("scatter_add", index, shape[axis], wraps)
    return _reduced(np.zeros(shape, x.dtype), axis, index, x, "sum", True)
