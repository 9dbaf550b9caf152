"""Interpolation, an axis at a time: each output blends two inputs along each."""

from __future__ import annotations

from typing import Any

from tilework.arrays import host, namespace
from tilework.engines.cupy.base import Array, bits, quiet, stored, wide
from tilework.engines.cupy.pool import along, is_channels_last, placed, spread_along

__all__ = ["interpolate_backward", "interpolate_forward"]


@quiet
def interpolate_forward(
    x: Array,
    row_index: Array,
    row_weights: Array | None,
    col_index: Array,
    col_weights: Array | None,
) -> Array:
    xp, last = namespace(x), is_channels_last(x)
    axes = ((3, col_index, col_weights), (2, row_index, row_weights))
    nearest = row_weights is None and col_weights is None
    y = bits(x) if nearest else wide(x)
    for axis, index, weights in axes:
        first, second = (xp.take(y, xp.asarray(index[:, i]), axis) for i in (0, 1))
        if weights is None:
            y = first
        else:
            part = along(axis, xp.asarray(weights))
            y = (1.0 - part) * first + part * second
    return placed(y, last).view(x.dtype) if nearest else placed(stored(y, x.dtype), last)


def _both(axis: int, g: Array, index: Any, weights: Any, count: int) -> Array:
    """The gradient of blending along one axis."""
    xp, n = namespace(g), len(index)
    if weights is None:
        return spread_along(g, axis, index[:, 0], host.arange(n), count)
    part = along(axis, xp.asarray(weights))
    shares = xp.concatenate([(1.0 - part) * g, part * g], axis)
    keys = host.concatenate([index[:, 0], index[:, 1]])
    return spread_along(shares, axis, keys, host.arange(2 * n), count)


@quiet
def interpolate_backward(
    grad: Array,
    row_index: Array,
    row_weights: Array | None,
    col_index: Array,
    col_weights: Array | None,
    height: int,
    width: int,
    channels_last: bool,
) -> Array:
    g = _both(2, wide(grad), row_index, row_weights, height)
    g = _both(3, g, col_index, col_weights, width)
    return placed(stored(g, grad.dtype), channels_last)
