"""Where views and writes lie in the tensor that they belong to, and in a gradient of it."""

from __future__ import annotations

import math
from typing import Any

from tilework.arrays import address, as_array, is_array, namespace, ndarray, strided
from tilework.dtypes import int64

Array = Any


class Region:
    """Where a view lies in its root's memory: the same place in an array laid out like the root.

    Such an array lies in a flat one, its `base`, as the root does in memory, gaps and all.
    """

    __slots__ = ("extent", "laid_shape", "laid_strides", "offset", "origin", "shape", "strides")

    def __init__(self, view: Array, root: Array) -> None:
        self.laid_shape, self.laid_strides = root.shape, root.strides
        below, above = 0, root.itemsize
        for length, step in zip(root.shape, root.strides, strict=True):
            if step < 0:
                below -= step * (length - 1)
            else:
                above += step * (length - 1)
        self.origin, self.extent = below, below + above if root.size else 0
        self.strides = view.strides
        # What an expanded view repeats is there once.
        self.shape = tuple(
            1 if step == 0 else n for n, step in zip(view.shape, view.strides, strict=True)
        )
        self.offset = address(view) - address(root) + below if view.size else 0

    def fits(self, array: Array) -> bool:
        """Whether an array of the root's shape is laid out like the root."""
        if array.strides != self.laid_strides:
            return False
        if array.__class__ is not ndarray:  # which says of no memory under it
            return bool(array.nbytes == self.extent)
        flat = array.base
        return isinstance(flat, ndarray) and flat.ndim == 1 and flat.nbytes == self.extent

    def blank(self, like: Array) -> Array:
        """Zeros of the dtype of `like`, laid out like the root."""
        dtype = like.dtype
        flat = namespace(like).zeros(self.extent // dtype.itemsize, dtype)
        return strided(flat, self.laid_shape, dtype, self.origin, self.laid_strides)

    def laid(self, array: Array) -> Array:
        """A copy of an array of the root's shape, laid out like the root."""
        copy = self.blank(array)
        copy[...] = array
        return copy

    def of(self, laid: Array) -> Array:
        """The region of an array that fits, as a view of it."""
        if laid.__class__ is ndarray:
            return ndarray(self.shape, laid.dtype, laid.base, self.offset, self.strides)
        # Strides of a device's arrays are not negative: nothing lies before the first element.
        item = laid.dtype.itemsize
        flat = strided(laid, (self.extent // item,), laid.dtype, 0, (item,))
        return strided(flat, self.shape, laid.dtype, self.offset, self.strides)


class Place:
    """Where a write went: a view's region of the root (None: the root itself), and the index into
    that (None: all of it). `shape` is that of what the index chooses from."""

    __slots__ = ("key", "region", "shape")

    def __init__(self, region: Region | None, key: Any, shape: tuple[int, ...]) -> None:
        self.region = region
        self.key = key
        self.shape = shape

    def laid(self, array: Array, mine: bool) -> Array:
        """`array`, of the root's shape, so that it may be written and the place be seen in it:
        itself where it is the caller's and lies well, else a copy."""
        if self.region is None:
            return array if mine else array.copy(order="K")
        return array if mine and self.region.fits(array) else self.region.laid(array)

    def _seen(self, laid: Array) -> Array:
        return laid if self.region is None else self.region.of(laid)

    def read(self, laid: Array) -> Array:
        """A copy of what lies at the place, but zeros for what a later value of the same write
        replaced, since an index named the element twice."""
        there = self._seen(laid)
        if self.key is None:
            return there.copy()
        values = as_array(there[self.key]).copy()
        if _may_repeat(self.key):
            values[self._replaced(laid)] = 0
        return values

    def write(self, laid: Array, values: Any) -> None:
        """Writes to the place."""
        self._seen(laid)[... if self.key is None else self.key] = values

    def _replaced(self, laid: Array) -> Array:
        count = math.prod(self.shape)
        xp = namespace(laid)
        at = xp.arange(count).reshape(self.shape)[self.key]
        order = xp.arange(at.size).reshape(at.shape)
        last = xp.empty(count, dtype=int64)
        last[at.reshape(-1)] = order.reshape(-1)
        return last[at] != order


def _may_repeat(key: Any) -> bool:
    """Whether an index may name an element twice: it holds arrays of integers."""
    parts = key if isinstance(key, tuple) else (key,)
    arrays = [p for p in parts if is_array(p) and p.dtype != bool and p.size > 1]
    if len(arrays) == 1 and arrays[0].min() >= 0:
        return bool(namespace(arrays[0]).unique(arrays[0]).size < arrays[0].size)
    return bool(arrays)
