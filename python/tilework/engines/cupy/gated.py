"""Activations times a second operand: two arrays, or the halves of one."""

from __future__ import annotations

from tilework.arrays import namespace
from tilework.engines.cupy.base import Array, laid_as, quiet, stored, wide
from tilework.engines.cupy.functions import GATES
from tilework.engines.layout import contiguous

__all__ = ["gated_backward", "gated_forward"]


def _operands(x: Array, other: Array | None, axis: int) -> tuple[Array, Array]:
    if other is not None:
        return wide(x), wide(other)
    before, half = (slice(None),) * axis, x.shape[axis] // 2
    given = wide(x)
    return given[(*before, slice(half))], given[(*before, slice(half, None))]


@quiet
def gated_forward(op: str, x: Array, other: Array | None, axis: int) -> Array:
    activation, _, first = GATES[op]
    a, b = _operands(x, other, axis)
    gate, value = (a, b) if first else (b, a)
    y = stored(activation(gate) * value, x.dtype)
    return contiguous(y) if other is None else laid_as(y, x)


@quiet
def gated_backward(
    op: str, grad: Array, x: Array, other: Array | None, axis: int
) -> tuple[Array, Array | None]:
    activation, slope, first = GATES[op]
    a, b = _operands(x, other, axis)
    gate, value = (a, b) if first else (b, a)
    g = wide(grad)
    dgate, dvalue = g * value * slope(gate), g * activation(gate)
    da, db = (dgate, dvalue) if first else (dvalue, dgate)
    if other is None:
        both = namespace(x).concatenate([da, db], axis)
        return contiguous(stored(both, x.dtype)), None
    return laid_as(stored(da, x.dtype), x), laid_as(stored(db, x.dtype), x)
