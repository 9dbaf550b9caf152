"""Reductions, by NumPy's."""

import numpy as np

from tilework.engines.numba.compiled import quiet
from tilework.engines.numba.layout import Array

Axes = tuple[int, ...]


@quiet
def sum(x: Array, axes: Axes, keepdims: bool) -> Array:
    # In float64: NumPy adds pairs along the last axis alone, and drifts along the others.
    total = np.sum(x, axis=axes, keepdims=keepdims, dtype=np.float64)
    return np.asarray(total, x.dtype, order="C")


@quiet
def mean(x: Array, axes: Axes, keepdims: bool) -> Array:
    # np.mean warns of an empty mean with no way to ask it not to; 0 / 0 says NaN in silence.
    total = sum(x, axes, keepdims)
    count = np.prod([x.shape[i] for i in axes], dtype=np.int64)
    return np.asarray(np.divide(total, x.dtype.type(count), out=total))


@quiet
def max(x: Array, axes: Axes, keepdims: bool) -> Array:
    return np.asarray(np.max(x, axis=axes, keepdims=keepdims), order="C")


@quiet
def min(x: Array, axes: Axes, keepdims: bool) -> Array:
    return np.asarray(np.min(x, axis=axes, keepdims=keepdims), order="C")


@quiet
def sum_to_shape(x: Array, shape: tuple[int, ...]) -> Array:
    leading = x.ndim - len(shape)
    broadcast = (i + leading for i, size in enumerate(shape) if size != x.shape[i + leading])
    return sum(x, (*range(leading), *broadcast), True).reshape(shape)


@quiet
def spread(
    x: Array, axes: Axes, keepdims: bool, divisor: float, root: bool
) -> tuple[Array, Array, Array]:
    wide = x.astype(np.float64)
    center = np.asarray(mean(wide, axes, True))
    squares = sum(np.square(wide - center), axes, keepdims)
    value = np.asarray(squares / divisor)
    limits = np.finfo(np.float32)
    within = np.all((squares > limits.tiny) & (squares < np.inf))
    near = center.astype(x.dtype) if within else center
    rest = center - near
    rest = np.where(np.isfinite(rest), rest, 0.0).astype(near.dtype)
    return np.asarray(np.sqrt(value) if root else value, x.dtype), near, rest


@quiet
def cumsum(x: Array, axis: int, reverse: bool) -> Array:
    turned = np.flip(x, axis) if reverse else x
    total = np.cumsum(turned, axis=axis, dtype=np.float64).astype(x.dtype)
    return np.ascontiguousarray(np.flip(total, axis) if reverse else total)
