"""Elements and slices chosen by an index, and written by one."""

from __future__ import annotations

import math
from typing import Any

from tilework.arrays import address, namespace
from tilework.engines import cupy
from tilework.engines.cuda.copy import copy, copy_into
from tilework.engines.cuda.errors import outside
from tilework.engines.cuda.launch import blocks_for, launch
from tilework.engines.layout import contiguous, empty

__all__ = ["gather", "index_copy", "index_select", "scatter"]

Array = Any
_THREADS, _EACH = 256, 4  # as in index.cuh
_MOST = 2**31 - 1  # sources that a place is written by: they are numbered by 32 bits
_WIDTHS = {1: "uint8_t", 2: "uint16_t", 4: "uint32_t", 8: "uint64_t", 16: "uint4"}


def lines(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """(outer, n, inner): how many elements before, along and behind the axis."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def reached(shape: tuple[int, ...], axis: int, index: Array) -> Any:
    """The key of the part of an array that an index reaches, which is no longer but along the
    axis; None where that is all of it."""
    sizes = tuple(shape[d] if d == axis else n for d, n in enumerate(index.shape))
    return None if sizes == tuple(shape) else tuple(slice(n) for n in sizes)


def gather(x: Array, axis: int, index: Array, wraps: bool) -> Array:
    y = empty(x, index.shape)
    part = reached(x.shape, axis, index)
    x, index = contiguous(x if part is None else x[part]), contiguous(index)
    _, n, inner = lines(x.shape, axis)
    count = y.size
    launch(
        f"gather_{_WIDTHS[x.itemsize]}", blocks_for(count, _THREADS * _EACH), _THREADS,
        y, x, index, count, n, index.shape[axis], inner, n if wraps else 0,
        outside("gather", n, wraps),
    )  # fmt: skip
    return y


def scatter(x: Array, axis: int, index: Array, source: Array) -> Array:
    if index.shape[axis] > _MOST:
        return cupy.scatter(x, axis, index, source)
    y, part = copy(x, False), reached(x.shape, axis, index)
    to = y if part is None else copy(y[part], False)
    index, source = contiguous(index), contiguous(source)
    _, n, inner = lines(to.shape, axis)
    shape = (index.size, n, index.shape[axis], inner)
    grid, told = blocks_for(index.size, _THREADS * _EACH), outside("scatter", n)
    last = None
    if index.shape[axis] > 1:
        last = _none_yet(to, to.size)
        launch("scatter_mark", grid, _THREADS, last, index, *shape, told)
    launch(
        f"scatter_put_{_WIDTHS[x.itemsize]}", grid, _THREADS,
        to, source, index, last, *shape, 1 if source.ndim else 0, told,
    )  # fmt: skip
    if part is not None:
        copy_into(y[part], to)
    return y


def _none_yet(like: Array, places: int) -> Array:
    """For each place the number of the source that counts: none."""
    return namespace(like).zeros((places,), "int32")


# --- slices ---


def _unit(itemsize: int, inner: int, *arrays: Array) -> int:
    """The widest unit, in bytes, that slices of `inner` elements are made of, where all lie."""
    width = 16
    while any((inner * itemsize | address(a)) % width for a in arrays):
        width //= 2
    return width


def _shift(units: int) -> int:
    """2 to the power of this: threads for a slice, a block at most."""
    return min(max(units, 1) - 1, _THREADS - 1).bit_length()


def _grid(rows: int, units: int, shift: int) -> tuple[int, int]:
    """Blocks along x for the slices, along y for the parts of long ones."""
    return blocks_for(rows, _THREADS >> shift), min(65535, blocks_for(units, 4 << shift))


def index_select(x: Array, axis: int, index: Array, wraps: bool) -> Array:
    outer, n, inner = lines(x.shape, axis)
    m = index.shape[0]
    y = empty(x, (*x.shape[:axis], m, *x.shape[axis + 1 :]))
    x, index = contiguous(x), contiguous(index)
    width = _unit(x.itemsize, inner, x, y)
    units = inner * x.itemsize // width
    shift = _shift(units)
    launch(
        f"index_select_{_WIDTHS[width]}", _grid(outer * m, units, shift), _THREADS,
        y, x, index, outer * m, n, m, units, shift, n if wraps else 0,
        outside("index_select", n, wraps),
    )  # fmt: skip
    return y


def index_copy(x: Array, axis: int, index: Array, source: Array) -> Array:
    if index.size > _MOST:
        return cupy.index_copy(x, axis, index, source)
    y, index = copy(x, False), contiguous(index)
    outer, n, inner = lines(x.shape, axis)
    m = index.shape[0]
    if source.ndim:
        source, step = contiguous(source), inner
    else:  # one slice of it, for all
        source, step = copy(namespace(x).broadcast_to(source, (inner,)), False), 0
    last, told = _none_yet(y, n), outside("index_copy", n)
    grid = blocks_for(m, _THREADS * _EACH)
    launch("scatter_mark", grid, _THREADS, last, index, m, n, m, 1, told)
    width = _unit(x.itemsize, inner, y, source)
    units = inner * x.itemsize // width
    shift = _shift(units)
    launch(
        f"index_copy_{_WIDTHS[width]}", _grid(outer * m, units, shift), _THREADS,
        y, source, index, last, outer * m, n, m, units, shift, step * x.itemsize // width, told,
    )  # fmt: skip
    return y
