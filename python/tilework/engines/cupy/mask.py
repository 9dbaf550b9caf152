"""What a mask chooses."""

from __future__ import annotations

from tilework.arrays import namespace
from tilework.engines.cupy.base import Array, bits
from tilework.engines.cupy.copy import copy
from tilework.engines.layout import contiguous
from tilework.errors import error

__all__ = ["masked_scatter", "masked_select", "nonzero", "where"]


def where(condition: Array, a: Array, b: Array) -> Array:
    chosen = namespace(condition).asarray(namespace(condition).where(condition, bits(a), bits(b)))
    return contiguous(chosen).view(a.dtype)


def masked_select(x: Array, mask: Array) -> Array:
    return bits(contiguous(x)).reshape(-1)[contiguous(mask).reshape(-1)].view(x.dtype)


def masked_scatter(x: Array | None, mask: Array, source: Array) -> Array:
    xp = namespace(mask)
    y = xp.zeros(mask.shape, source.dtype) if x is None else copy(x, False)
    places = xp.argwhere(contiguous(mask).reshape(-1))[:, 0]
    if len(places) > source.size:
        raise error(
            ValueError, "masked_scatter", f"a source of at least {len(places)} elements",
            source.size, "give one for each that is true",
        )  # fmt: skip
    bits(y).reshape(-1)[places] = bits(contiguous(source)).reshape(-1)[: len(places)]
    return y


def nonzero(x: Array, by_axis: bool) -> Array:
    found = namespace(x).argwhere(x)
    return contiguous(found.T) if by_axis else contiguous(found)
