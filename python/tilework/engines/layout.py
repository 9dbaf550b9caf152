"""How arrays of a device lie in memory, and fresh ones that lie alike."""

from __future__ import annotations

from typing import Any

from tilework.arrays import namespace

Array = Any


def empty(like: Array, shape: tuple[int, ...], dtype: Any = None) -> Array:
    """A fresh array in C order on the device of `like`, of its dtype where none is given."""
    return namespace(like).empty(shape, like.dtype if dtype is None else dtype)


def contiguous(x: Array) -> Array:
    """`x` where it lies in C order, else a copy that does."""
    if x.flags.c_contiguous:
        return x
    made = namespace(x).empty(x.shape, x.dtype)
    made[...] = x
    return made


def memory_order(x: Array) -> list[int] | None:
    """The axes of `x`, outermost first, in which its memory is one dense run; None where there is
    none such."""
    order = sorted(range(x.ndim), key=lambda i: -x.strides[i])
    step = x.itemsize
    for i in reversed(order):
        if x.shape[i] != 1:
            if x.strides[i] != step:
                return None
            step *= x.shape[i]
    return order


def inverse(order: list[int]) -> list[int]:
    """The order of axes that undoes transpose(order).

    >>> inverse([2, 0, 1])
    [1, 2, 0]
    """
    back = [0] * len(order)
    for at, i in enumerate(order):
        back[i] = at
    return back


def empty_as(x: Array, dtype: Any = None) -> Array:
    """A fresh array of x's shape whose memory lies as x's does if x is dense, else in C order."""
    order = memory_order(x)
    if order is None or order == sorted(order):
        return empty(x, x.shape, dtype)
    shape = tuple(x.shape[i] for i in order)
    return empty(x, shape, dtype).transpose(inverse(order))
