"""A choice between two arrays by a mask."""

from __future__ import annotations

from typing import Any

from tilework.arrays import broadcast_shapes
from tilework.engines import cupy
from tilework.engines.cuda.axes import of_arrays, walk
from tilework.engines.cuda.copy import WORDS
from tilework.engines.cuda.launch import empty
from tilework.errors import error

__all__ = ["where"]

Array = Any


def where(condition: Array, a: Array, b: Array) -> Array:
    if a.dtype != b.dtype:
        raise error(TypeError, "where", f"`b` of a's dtype, {a.dtype}", b.dtype, "convert one")
    shape = broadcast_shapes(condition.shape, a.shape, b.shape)
    y, word = empty(a, shape), WORDS.get(a.itemsize)
    axes = of_arrays(shape, [y, condition, a, b])
    if word is None or axes is None:
        return cupy.where(condition, a, b)
    walk("where", word, axes, [y, condition, a, b])
    return y
