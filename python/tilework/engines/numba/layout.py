"""Dense memory layouts: what lets one flat loop serve an array whatever the order of its axes."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.dtypes import bfloat16

Array = NDArray[Any]


def widened(x: Array) -> Array:
    """What `x` is computed in: bfloat16 in float32."""
    return x.astype(np.float32) if x.dtype == bfloat16 else x


def memory_order(x: Array) -> tuple[int, ...] | None:
    """The axes from the slowest to the fastest in memory; None where `x` has gaps or overlaps.

    Axes of size 1 come first: their stride means nothing.
    """
    if x.flags.c_contiguous:
        return tuple(range(x.ndim))
    axes = sorted(range(x.ndim), key=lambda i: -x.strides[i] if x.shape[i] != 1 else -math.inf)
    return tuple(axes) if x.transpose(axes).flags.c_contiguous else None


def empty_like(x: Array) -> Array:
    """A fresh array of `x`'s shape and dtype in `x`'s dense layout, C order where it has none."""
    order = memory_order(x)
    if order is None or x.flags.c_contiguous:
        return np.empty(x.shape, x.dtype)
    return np.empty([x.shape[i] for i in order], x.dtype).transpose(np.argsort(order))


def in_layout_of(x: Array, model: Array) -> Array:
    """`x` where it already lies in memory as `empty_like(model)` would, else a copy that does."""
    order = memory_order(x)
    if order is not None and order == (memory_order(model) or tuple(range(model.ndim))):
        return x
    copy = empty_like(model)
    copy[...] = x
    return copy


def flat(x: Array) -> Array:
    """`x` as one dimension in memory order: a view where `x` is dense, else a copy in C order."""
    order = memory_order(x)
    return x.reshape(-1) if order is None else x.transpose(order).reshape(-1)


def around_axis(x: Array, axis: int) -> Array:
    """`x` as a C-contiguous (outer, x.shape[axis], inner), a view where `x` is dense."""
    order = memory_order(x)
    if order is None:
        x, order = np.ascontiguousarray(x), tuple(range(x.ndim))
    position = order.index(axis)
    ordered = x.transpose(order)
    outer = math.prod(ordered.shape[:position])
    return ordered.reshape(outer, x.shape[axis], math.prod(ordered.shape[position + 1 :]))
