"""Softmax along any axis, in float64."""

from __future__ import annotations

from tilework.arrays import namespace
from tilework.engines.cupy.base import Array, laid_as, quiet, stored, wide
from tilework.engines.layout import empty_as

__all__ = ["softmax_backward", "softmax_forward"]


@quiet
def softmax_forward(x: Array, axis: int, log: bool) -> Array:
    xp = namespace(x)
    if not x.size:
        return empty_as(x)
    given = wide(x)
    away = given - xp.max(given, axis=axis, keepdims=True)
    e = xp.exp(away)
    total = xp.sum(e, axis=axis, keepdims=True)
    return laid_as(stored(away - xp.log(total) if log else e / total, x.dtype), x)


@quiet
def softmax_backward(grad: Array, output: Array, axis: int, log: bool) -> Array:
    xp, g, y = namespace(grad), wide(grad), wide(output)
    if log:
        dx = g - xp.exp(y) * xp.sum(g, axis=axis, keepdims=True)
    else:
        dx = y * (g - xp.sum(g * y, axis=axis, keepdims=True))
    return laid_as(stored(dx, output.dtype), output)
