"""Order, gathering and scattered sums, by NumPy's; NaN is above every number."""

from typing import Any

import numpy as np

from tilework import dtypes
from tilework.arrays import gathering_key
from tilework.engines.numba.compiled import quiet
from tilework.engines.numba.layout import Array
from tilework.errors import error


def _order(x: Array, axis: int, descending: bool) -> Array:
    """The indices in order; of equal elements the first first."""
    wide = x.astype(np.float32) if x.dtype == dtypes.bfloat16 else x
    if not descending:
        return np.asarray(np.argsort(wide, axis=axis, kind="stable"))
    last = x.shape[axis] - 1
    return np.asarray(
        last - np.flip(np.argsort(np.flip(wide, axis), axis=axis, kind="stable"), axis)
    )


def sort(x: Array, axis: int, descending: bool) -> tuple[Array, Array]:
    return topk(x, x.shape[axis], axis, descending)


def topk(x: Array, k: int, axis: int, largest: bool) -> tuple[Array, Array]:
    order = _order(x, axis, largest)[(*(slice(None),) * axis, slice(k))]
    return np.ascontiguousarray(np.take_along_axis(x, order, axis)), np.ascontiguousarray(order)


def _checked(op: str, index: Array, length: int) -> None:
    if index.size and (index.min() < 0 or index.max() >= length):
        outside = index[(index < 0) | (index >= length)]
        raise error(
            IndexError, op, f"indices in [0, {length})", int(outside.flat[0]), "check the index"
        )


def gather(x: Array, axis: int, index: Array) -> Array:
    _checked("gather", index, x.shape[axis])
    return np.ascontiguousarray(x[gathering_key(axis, index)])


@quiet
def _summed(shape: tuple[int, ...], key: Any, x: Array) -> Array:
    total = np.zeros(shape, np.float64)
    np.add.at(total, key, x.astype(np.float64))
    return total.astype(x.dtype)


def scatter_add(x: Array, axis: int, index: Array, shape: tuple[int, ...]) -> Array:
    _checked("scatter_add", index, shape[axis])
    return _summed(shape, gathering_key(axis, index), x)


def index_add(x: Array, index: Array, rows: int) -> Array:
    _checked("index_add", index, rows)
    return _summed((rows, *x.shape[1:]), index, x)
