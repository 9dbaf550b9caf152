"""Reductions: axes in memory order, neighbours of one fate merged, one launch (or few) for each run
of reduced ones, the fastest first."""

from __future__ import annotations

import math
from builtins import max as most
from typing import Any

from tilework.engines import cupy
from tilework.engines.cuda.launch import blocks_for, contiguous, empty, launch, memory_order
from tilework.engines.cuda.rows import NAMES, bits_for, pack_width, tiles
from tilework.errors import error

__all__ = ["cumsum", "max", "mean", "min", "sum", "sum_to_shape"]

Array = Any
Axes = tuple[int, ...]
_ROW_THREADS, _THREADS = 128, 256  # as in reduce.cuh
_SHORT = 1024  # elements of a row that lanes of a warp take
_PART, _LONG_PART = 4096, 16384  # of a long row, for one block
_CHAIN = 64  # elements of a column that a thread adds one by one
_DEEP = 8  # threads of a column
_THIN = 32  # of a column that has one thread


def _runs(x: Array, order: list[int], axes: Axes) -> list[tuple[int, bool]]:
    """(size, whether reduced) of the merged axes, outermost first."""
    runs: list[tuple[int, bool]] = []
    for i in order:
        size, reduced = x.shape[i], i in axes
        if size == 1:
            continue
        if runs and runs[-1][1] == reduced:
            runs[-1] = (runs[-1][0] * size, reduced)
        else:
            runs.append((size, reduced))
    return runs


def _short_rows(op: str, x: Array, rows: int, length: int, divisor: float) -> Array:
    y, dtype = empty(x, (rows,)), NAMES[x.dtype.name]
    bits = bits_for(blocks_for(length, 32 // x.itemsize), 5)
    grid = blocks_for(rows << bits, _ROW_THREADS)
    launch(f"{op}_rows_{dtype}", grid, _ROW_THREADS, y, x, rows, length, bits, divisor)
    return y


def _long_rows(op: str, x: Array, rows: int, length: int, divisor: float) -> Array:
    # A few rows are cut into more parts, so that they are blocks enough for the card.
    part = _PART if rows * length < 2**24 and length > _LONG_PART else _LONG_PART
    parts = blocks_for(length, part)
    y, dtype = empty(x, (rows * parts,)), NAMES[x.dtype.name]
    by = divisor if parts == 1 else 1.0
    launch(f"{op}_parts_{dtype}", rows * parts, _THREADS, y, x, length, part, parts, by)
    return y if parts == 1 else over_middle(op, y, rows, parts, 1, divisor)


def _columns(op: str, x: Array, outer: int, length: int, inner: int, divisor: float) -> Array:
    columns = tiles(inner, pack_width(inner, x), _DEEP)
    part = _CHAIN * columns.deep
    parts = blocks_for(length, part) or 1
    y, dtype = empty(x, (outer * parts * inner,)), NAMES[x.dtype.name]
    by = divisor if parts == 1 else 1.0
    form = "columns" if columns.width == 1 else "wide_columns"
    launch(
        f"{op}_{form}_{dtype}", outer * parts * columns.tiles, _THREADS, y, x, length, inner, part,
        parts, columns.bits, by,
    )  # fmt: skip
    return y if parts == 1 else over_middle(op, y, outer, parts, inner, divisor)


def _thin(op: str, x: Array, outer: int, length: int, inner: int, divisor: float) -> Array:
    y, dtype = empty(x, (outer * inner,)), NAMES[x.dtype.name]
    grid = blocks_for(outer * inner, _THREADS)
    launch(f"{op}_thin_{dtype}", grid, _THREADS, y, x, outer * inner, length, inner, divisor)
    return y


def over_middle(op: str, x: Array, outer: int, length: int, inner: int, divisor: float) -> Array:
    """The reduction of x, as (outer, length, inner), over its middle axis, flat."""
    if inner != 1 and length <= _THIN and outer > 1:
        return _thin(op, x, outer, length, inner, divisor)
    if inner != 1:
        return _columns(op, x, outer, length, inner, divisor)
    rows = _short_rows if length <= _SHORT else _long_rows
    return rows(op, x, outer, length, divisor)


def reduced(op: str, x: Array, axes: Axes, keepdims: bool, divisor: float = 1.0) -> Array:
    """A fresh array: `op`, "sum", "max" or "min", over the axes, over `divisor`."""
    order = memory_order(x)
    if order is None:
        x, order = contiguous(x), list(range(x.ndim))
    runs = _runs(x, order, axes)
    if not any(is_reduced for _, is_reduced in runs):
        runs = [(1, True), *runs]  # along which each element is a result: a copy
    flat = x
    while True:
        at = most(i for i, (_, is_reduced) in enumerate(runs) if is_reduced)
        outer, inner = math.prod(n for n, _ in runs[:at]), math.prod(n for n, _ in runs[at + 1 :])
        length = runs.pop(at)[0]
        if not any(is_reduced for _, is_reduced in runs):
            flat = over_middle(op, flat, outer, length, inner, divisor)
            break
        flat = over_middle(op, flat, outer, length, inner, 1.0)
    kept = [i for i in order if keepdims or i not in axes]
    y = flat.reshape(tuple(1 if i in axes else x.shape[i] for i in kept))
    return y.transpose([kept.index(i) for i in sorted(kept)])


def sum(x: Array, axes: Axes, keepdims: bool) -> Array:
    return reduced("sum", x, axes, keepdims)


def mean(x: Array, axes: Axes, keepdims: bool) -> Array:
    return reduced("sum", x, axes, keepdims, float(math.prod(x.shape[i] for i in axes)))


def max(x: Array, axes: Axes, keepdims: bool) -> Array:
    return _extreme("max", x, axes, keepdims)


def min(x: Array, axes: Axes, keepdims: bool) -> Array:
    return _extreme("min", x, axes, keepdims)


def _extreme(op: str, x: Array, axes: Axes, keepdims: bool) -> Array:
    if 0 in (x.shape[i] for i in axes):
        raise error(
            ValueError, op, "at least one element along each reduced axis", f"shape {x.shape}",
            "there is no extreme of nothing",
        )  # fmt: skip
    return reduced(op, x, axes, keepdims)


def sum_to_shape(x: Array, shape: tuple[int, ...]) -> Array:
    leading = x.ndim - len(shape)
    along = (i + leading for i, n in enumerate(shape) if n == 1 and x.shape[i + leading] != 1)
    return reduced("sum", x, (*range(leading), *along), True).reshape(shape)


def cumsum(x: Array, axis: int, reverse: bool) -> Array:
    dtype = NAMES.get(x.dtype.name)
    if dtype is None:  # bfloat16
        return cupy.cumsum(x, axis, reverse)
    given, y, length = contiguous(x), empty(x, x.shape), x.shape[axis]
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    if inner == 1:
        launch(f"cumsum_rows_{dtype}", outer, _THREADS, y, given, length, reverse)
    else:
        grid = blocks_for(outer * inner, _THREADS)
        launch(
            f"cumsum_columns_{dtype}", grid, _THREADS, y, given, outer * inner, length, inner,
            reverse,
        )  # fmt: skip
    return y
