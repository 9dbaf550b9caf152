"""Elements reduced into the places that an index names."""

from __future__ import annotations

from typing import Any

from tilework.arrays import namespace
from tilework.engines import cupy
from tilework.engines.cuda.copy import copy, copy_into
from tilework.engines.cuda.errors import outside
from tilework.engines.cuda.grouping import fits, grouped
from tilework.engines.cuda.index import lines, reached
from tilework.engines.cuda.launch import blocks_for, launch
from tilework.engines.layout import contiguous

__all__ = ["scatter_add", "scatter_reduce"]

Array = Any
_THREADS, _WARP = 256, 32  # as in index_reduce.cuh
_SHORT = 32  # sources of a column that one thread takes, one after another
_HOW = {"sum": 0, "mean": 0, "prod": 1, "amax": 2, "amin": 3}
_NAMES = {
    "float32": "float", "float64": "double", "bfloat16": "bfloat16", "int64": "int64_t",
    "int32": "int32_t", "uint32": "uint32_t", "uint8": "uint8_t", "bool": "uint8_t",
}  # fmt: skip


def _one_by_one(dtype: Any, m: int, how: str, include_self: bool) -> bool:
    """Whether a column's sources are few, and lose nothing where each result is rounded."""
    if not include_self or how == "mean" or m > _SHORT:
        return False
    exact = how in ("amax", "amin") or dtype.kind in "iub"
    return m <= 1 or exact or (how == "sum" and dtype.itemsize >= 4)


def _reduce(
    op: str, y: Array, axis: int, index: Array, source: Array, how: str, include_self: bool,
    wraps: bool,
) -> None:  # fmt: skip
    """Into y, which is in C order; the index reaches all of it."""
    index, source = contiguous(index), contiguous(source)
    outer, n, inner = lines(y.shape, axis)
    m, name = index.shape[axis], _NAMES[y.dtype.name]
    if index.size == 0:
        return
    if _one_by_one(y.dtype, m, how, include_self):
        launch(
            f"scatter_columns_{name}", blocks_for(outer * inner, _THREADS), _THREADS,
            y, index, source, outer * inner, n, m, inner, n if wraps else 0, _HOW[how],
            outside(op, n, wraps),
        )  # fmt: skip
        return
    groups = grouped(op, index, n, wraps=wraps, lines=(outer, inner), same=False)
    blocks = blocks_for(groups.size, _WARP)
    wide = "float64" if name in ("float", "double", "bfloat16") else "int64"
    head, tail = (namespace(y).empty((blocks,), wide) for _ in range(2))
    listed = (y, head, tail, groups.place, groups.member, groups.size, groups.places)
    last = (_HOW[how], int(include_self), int(how == "mean"))
    grid = blocks_for(groups.size, _THREADS)
    launch(f"scatter_runs_{name}", grid, _THREADS, *listed, source, *last)
    launch(f"scatter_joins_{name}", grid, _THREADS, *listed, *last)


def scatter_reduce(
    x: Array, axis: int, index: Array, source: Array, how: str, include_self: bool
) -> Array:
    if not fits(index.size, x.size):
        return cupy.scatter_reduce(x, axis, index, source, how, include_self)
    y, part = copy(x, False), reached(x.shape, axis, index)
    to = y if part is None else copy(y[part], False)
    _reduce("scatter_reduce", to, axis, index, source, how, include_self, False)
    if part is not None:
        copy_into(y[part], to)
    return y


def scatter_add(x: Array, axis: int, index: Array, shape: tuple[int, ...], wraps: bool) -> Array:
    y = namespace(x).zeros(shape, x.dtype)
    if not fits(index.size, y.size):
        return cupy.scatter_add(x, axis, index, shape, wraps)
    part = reached(shape, axis, index)
    to = y if part is None else copy(y[part], False)
    _reduce("scatter_add", to, axis, index, x, "sum", True, wraps)
    if part is not None:
        copy_into(y[part], to)
    return y
