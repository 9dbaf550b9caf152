"""Reductions, by the array library's; sums in float64."""

from __future__ import annotations

import math
from typing import Any

from tilework.arrays import as_array, namespace
from tilework.dtypes import float64
from tilework.engines.cupy.base import Array, quiet, stored, wide, widened
from tilework.engines.layout import contiguous

__all__ = ["cumsum", "max", "mean", "min", "spread", "sum", "sum_to_shape"]

Axes = tuple[int, ...]
_LEAST, _MOST = 2.0**-126, 2.0**128  # float32's normal numbers


def reduced(name: str, x: Array, axes: Axes, keepdims: bool) -> Array:
    """What a function of the namespace makes of `axes`: of none of them a copy."""
    if not axes:
        return x.copy()
    return as_array(getattr(namespace(x), name)(x, axis=axes, keepdims=keepdims))


def total(x: Array, axes: Axes, keepdims: bool) -> Array:
    """The sum, in float64."""
    return reduced("sum", wide(x), axes, keepdims)


@quiet
def sum(x: Array, axes: Axes, keepdims: bool) -> Array:
    return contiguous(stored(total(x, axes, keepdims), x.dtype))


@quiet
def mean(x: Array, axes: Axes, keepdims: bool) -> Array:
    found = total(x, axes, keepdims)
    count = math.prod(x.shape[i] for i in axes)
    return contiguous(stored(found / found.dtype.type(count), x.dtype))


@quiet
def max(x: Array, axes: Axes, keepdims: bool) -> Array:
    return contiguous(stored(reduced("max", widened(x), axes, keepdims), x.dtype))


@quiet
def min(x: Array, axes: Axes, keepdims: bool) -> Array:
    return contiguous(stored(reduced("min", widened(x), axes, keepdims), x.dtype))


@quiet
def sum_to_shape(x: Array, shape: tuple[int, ...]) -> Array:
    leading = x.ndim - len(shape)
    broadcast = (i + leading for i, size in enumerate(shape) if size != x.shape[i + leading])
    return sum(x, (*range(leading), *broadcast), True).reshape(shape)


@quiet
def spread(
    x: Array, axes: Axes, keepdims: bool, divisor: float, root: bool
) -> tuple[Array, Array, Array]:
    xp, given = namespace(x), wide(x)
    count = math.prod(x.shape[i] for i in axes)
    center = as_array(total(given, axes, True) / float64.type(count))
    squares = total(xp.square(given - center), axes, keepdims)
    inside = bool(((squares > _LEAST) & (squares < _MOST)).all())
    near: Any = stored(center, x.dtype)
    near = near if inside else wide(near)
    rest = center - wide(near)
    rest = stored(xp.where(xp.isfinite(rest), rest, 0.0), near.dtype)
    value = as_array(squares / float64.type(divisor))
    return contiguous(stored(xp.sqrt(value) if root else value, x.dtype)), near, rest


@quiet
def cumsum(x: Array, axis: int, reverse: bool) -> Array:
    turn = (*(slice(None),) * axis, slice(None, None, -1 if reverse else 1))
    found = namespace(x).cumsum(wide(x)[turn], axis=axis)[turn]
    return contiguous(stored(found, x.dtype))
