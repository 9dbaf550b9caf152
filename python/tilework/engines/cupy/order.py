"""Order along an axis, by the array library's stable sort; NaN is above every number."""

from __future__ import annotations

from tilework.arrays import namespace
from tilework.engines.cupy.base import Array, bits, widened
from tilework.engines.layout import contiguous

__all__ = ["sort", "topk"]


def _order(x: Array, axis: int, descending: bool) -> Array:
    """The indices in order; of equal elements the first first."""
    xp = namespace(x)
    given = x.view("uint8") if x.dtype.kind == "b" else widened(x)
    if not x.size:
        return xp.zeros(x.shape, "int64")
    if not descending:
        return xp.argsort(given, axis=axis, kind="stable")
    turned = (*(slice(None),) * axis, slice(None, None, -1))
    return x.shape[axis] - 1 - xp.argsort(given[turned], axis=axis, kind="stable")[turned]


def sort(x: Array, axis: int, descending: bool) -> tuple[Array, Array]:
    return topk(x, x.shape[axis], axis, descending)


def topk(x: Array, k: int, axis: int, largest: bool) -> tuple[Array, Array]:
    order = contiguous(_order(x, axis, largest)[(*(slice(None),) * axis, slice(k))])
    values = namespace(x).take_along_axis(bits(x), order, axis)
    return contiguous(values).view(x.dtype), order
