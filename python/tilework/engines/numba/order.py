"""Order along an axis, by NumPy's sorting; NaN is above every number."""

import numpy as np

from tilework.engines.numba.layout import Array, widened


def _order(x: Array, axis: int, descending: bool) -> Array:
    """The indices in order; of equal elements the first first."""
    wide = widened(x)
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
