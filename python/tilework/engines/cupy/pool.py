"""Pooling, an axis at a time: first along the columns, then along the rows.

The tables of windows are the host's; what they index comes over with each tap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tilework.arrays import as_array, host, namespace
from tilework.engines.cupy.base import Array, quiet, stored, wide, widened
from tilework.engines.cupy.groups import added_rows, summed
from tilework.engines.layout import contiguous
from tilework.engines.windows import expanded

__all__ = ["pool_average_backward", "pool_average_forward", "pool_max_backward", "pool_max_forward"]

_BYTE = 256  # a position in a larger window does not fit in a byte
_ROWS, _COLUMNS = 2, 3  # axes


def is_channels_last(x: Array) -> bool:
    return not x.flags.c_contiguous and bool(x.transpose(0, 2, 3, 1).flags.c_contiguous)


def placed(x: Array, channels_last: bool) -> Array:
    """x (N, C, H, W) in one of the two layouts."""
    if not channels_last:
        return contiguous(x)
    return contiguous(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def along(axis: int, values: Array) -> Array:
    """(n,) against an axis of (N, C, H, W)."""
    return values.reshape(-1, 1) if axis == _ROWS else values


def _taps(xp: Any, table: Any, axis: int) -> Iterator[tuple[int, Array, Array]]:
    """Each tap: which element of the axis it meets in every window, and in which windows there is
    one, against the axis."""
    start, step, taps = table[:, 0], table[:, 1], table[:, 2]
    for tap in range(int(taps.max(initial=0))):
        there = tap < taps
        at = host.where(there, start + tap * step, 0)
        yield tap, xp.asarray(at), along(axis, xp.asarray(there))


def _largest(x: Array, table: Any, axis: int, *carried: Array) -> tuple[Array, Array, list[Array]]:
    """The largest of each window along an axis, its tap, and what else came with it: of equals the
    first, of NaNs the last."""
    xp = namespace(x)
    shape = [len(table) if i == axis else n for i, n in enumerate(x.shape)]
    best, place = xp.full(shape, -math.inf, x.dtype), xp.zeros(shape, "int64")
    others = [xp.zeros(shape, c.dtype) for c in carried]
    for tap, at, there in _taps(xp, table, axis):
        value = xp.take(x, at, axis)
        better = there & ((value > best) | (value != value))
        best, place = xp.where(better, value, best), xp.where(better, tap, place)
        others = [
            xp.where(better, xp.take(c, at, axis), o) for c, o in zip(carried, others, strict=True)
        ]
    return best, place, others


@quiet
def pool_max_forward(x: Array, rows: Array, cols: Array, save: bool) -> tuple[Array, Array | None]:
    rows, cols = expanded(rows), expanded(cols)
    last, xp = is_channels_last(x), namespace(x)
    given = widened(x)
    across, right, _ = _largest(given, cols, _COLUMNS)
    best, down, (right,) = _largest(across, rows, _ROWS, right)
    y = placed(stored(best, x.dtype), last)
    if not save:
        return y, None
    most = int(rows[:, 2].max(initial=0)) * int(cols[:, 2].max(initial=0))
    place = down * xp.asarray(cols[:, 2]) + right
    return y, placed(place.astype("uint32" if most > _BYTE else "uint8"), last)


@quiet
def pool_max_backward(
    grad: Array,
    saved: Array,
    rows: Array,
    cols: Array,
    height: int,
    width: int,
    channels_last: bool,
) -> Array:
    xp, rows, cols = namespace(grad), expanded(rows), expanded(cols)
    shape = (*grad.shape[:2], height, width)
    if not grad.size or not height * width:
        return placed(xp.zeros(shape, grad.dtype), channels_last)
    taps = xp.asarray(host.maximum(cols[:, 2], 1))
    place = saved.astype("int64")
    down, right = place // taps, place % taps
    starts = [along(axis, xp.asarray(t[:, 0])) for axis, t in ((_ROWS, rows), (_COLUMNS, cols))]
    steps = [along(axis, xp.asarray(t[:, 1])) for axis, t in ((_ROWS, rows), (_COLUMNS, cols))]
    filled = xp.asarray((rows[:, 2:3] > 0) & (cols[:, 2] > 0))  # a window of nothing gives nothing
    h = xp.where(filled, starts[0] + down * steps[0], 0)
    w = xp.where(filled, starts[1] + right * steps[1], 0)
    g = xp.where(filled, wide(grad), 0.0)
    planes = grad.shape[0] * grad.shape[1]
    which = xp.arange(planes, dtype="int64").reshape(*grad.shape[:2], 1, 1)
    keys = ((which * height + h) * width + w).reshape(-1)
    total = summed(keys, contiguous(g).reshape(-1, 1), planes * height * width)
    return placed(stored(total.reshape(shape), grad.dtype), channels_last)


def _sizes(xp: Any, rows: Any, cols: Any) -> Array:
    """What each average divides by."""
    return xp.asarray(rows[:, 3:4].astype("float64") * cols[:, 3].astype("float64"))


@quiet
def pool_average_forward(x: Array, rows: Array, cols: Array) -> Array:
    xp, rows, cols = namespace(x), expanded(rows), expanded(cols)
    total = wide(x)
    for axis, table in ((_COLUMNS, cols), (_ROWS, rows)):
        shape = [len(table) if i == axis else n for i, n in enumerate(total.shape)]
        sums = xp.zeros(shape, "float64")
        for _, at, there in _taps(xp, table, axis):
            sums = sums + xp.where(there, xp.take(total, at, axis), 0.0)
        total = sums
    return placed(stored(total / _sizes(xp, rows, cols), x.dtype), is_channels_last(x))


def spread_along(x: Array, axis: int, keys: Any, sources: Any, count: int) -> Array:
    """Adds what each of `sources` names of an axis to the element of a fresh one of `count` that
    `keys` names: both the host's."""
    xp = namespace(x)
    moved = xp.take(x, xp.asarray(sources), axis).swapaxes(0, axis)
    return added_rows(moved, xp.asarray(keys), count).swapaxes(0, axis)


@quiet
def pool_average_backward(
    grad: Array, rows: Array, cols: Array, height: int, width: int, channels_last: bool
) -> Array:
    xp, rows, cols = namespace(grad), expanded(rows), expanded(cols)
    share = as_array(wide(grad) / _sizes(xp, rows, cols))
    for axis, table, count in ((_ROWS, rows, height), (_COLUMNS, cols, width)):
        windows = host.repeat(host.arange(len(table)), table[:, 2])
        within = host.arange(len(windows)) - host.repeat(
            host.cumsum(table[:, 2]) - table[:, 2], table[:, 2]
        )
        keys = table[windows, 0] + within * table[windows, 1]
        share = spread_along(share, axis, keys, windows, count)
    return placed(stored(share, grad.dtype), channels_last)
