"""Choosing, writing and reducing by an index."""

from __future__ import annotations

from typing import Any

from tilework.arrays import namespace
from tilework.dtypes import is_float
from tilework.engines.cupy.base import Array, bits, quiet, stored, wide
from tilework.engines.cupy.copy import copy
from tilework.engines.cupy.groups import Parts, combined, grouped
from tilework.engines.layout import contiguous
from tilework.errors import error

__all__ = ["gather", "index_copy", "index_select", "scatter", "scatter_add", "scatter_reduce"]


def checked(op: str, index: Array, length: int, wraps: bool = False) -> Array:
    """The indices counted from the front. IndexError on one that is outside: the device is waited
    for, as an index that is read unchecked would be any memory's."""
    lowest = -length if wraps else 0
    outside = (index < lowest) | (index >= length)
    if bool(outside.any()):
        found = int(index[outside].reshape(-1)[0])
        raise error(IndexError, op, f"indices in [{lowest}, {length})", found, "check the index")
    return namespace(index).where(index < 0, index + length, index) if wraps else index


def _part(x: Array, axis: int, index: Array) -> Any:
    """The key of the part of x that an index of as many axes reaches."""
    return tuple(slice(None) if d == axis else slice(n) for d, n in enumerate(index.shape))


def gather(x: Array, axis: int, index: Array, wraps: bool) -> Array:
    if not index.size:
        return namespace(x).empty(index.shape, x.dtype)
    index = checked("gather", index, x.shape[axis], wraps)
    part = bits(x)[_part(x, axis, index)]
    return contiguous(namespace(x).take_along_axis(part, index, axis)).view(x.dtype)


def index_select(x: Array, axis: int, index: Array, wraps: bool) -> Array:
    if not index.size:
        return namespace(x).empty((*x.shape[:axis], 0, *x.shape[axis + 1 :]), x.dtype)
    index = checked("index_select", index, x.shape[axis], wraps)
    return contiguous(namespace(x).take(bits(x), index, axis)).view(x.dtype)


def _flat_places(shape: tuple[int, ...], axis: int, index: Array) -> Array:
    """Where in an array of `shape`, flat in C order, each element of an index points."""
    xp, step = namespace(index), 1
    places: Any = 0
    for d in range(len(shape) - 1, -1, -1):
        along = [1] * len(shape)
        along[d] = index.shape[d]
        at = index if d == axis else xp.arange(index.shape[d], dtype="int64").reshape(along)
        places = places + at * step
        step *= shape[d]
    return places.reshape(-1)


def scatter(x: Array, axis: int, index: Array, source: Array) -> Array:
    y = copy(x, False)
    if not index.size:
        return y
    index = checked("scatter", index, x.shape[axis])
    groups = grouped(_flat_places(x.shape, axis, index))
    given = bits(source)
    if source.ndim:
        given = contiguous(given).reshape(-1)[groups.order[groups.last]]  # the last counts
    bits(y).reshape(-1)[groups.places] = given
    return y


def index_copy(x: Array, axis: int, index: Array, source: Array) -> Array:
    y = copy(x, False)
    if not index.size:
        return y
    groups = grouped(checked("index_copy", index, x.shape[axis]))
    given = bits(source)
    if source.ndim:
        given = namespace(x).take(given, groups.order[groups.last], axis)
    bits(y)[(*(slice(None),) * axis, groups.places)] = given
    return y


# --- reductions ---


def _combine(how: str, xp: Any) -> Any:
    def two(a: Parts, b: Parts) -> Parts:
        if how == "prod":
            return (a[0] * b[0],)
        if how in ("amax", "amin"):
            return ((xp.maximum if how == "amax" else xp.minimum)(a[0], b[0]),)
        return (a[0] + b[0],)

    def with_counts(a: Parts, b: Parts) -> Parts:
        return (*two(a, b), a[1] + b[1])

    return with_counts if how == "mean" else two


@quiet
def _reduced(
    start: Array, axis: int, index: Array, source: Array, how: str, include_self: bool
) -> Array:
    xp, y = namespace(start), copy(start, False)
    if not index.size:
        return y
    groups = grouped(_flat_places(start.shape, axis, index))
    combine, flat = _combine(how, xp), y.reshape(-1)

    def parts(values: Array) -> Parts:
        given = _accumulated(values, how)
        return (given, xp.ones_like(given)) if how == "mean" else (given,)

    found = combined(groups, parts(contiguous(source).reshape(-1, 1)), combine)
    if include_self:
        found = combine(parts(flat[groups.places][:, None]), found)
    value = found[0] / found[1] if how == "mean" else found[0]
    flat[groups.places] = stored(value, start.dtype)[:, 0]
    return y


def _accumulated(x: Array, how: str) -> Array:
    """What is reduced: floats in float64, and sums and products of integers in int64."""
    if is_float(x.dtype):
        return wide(x)
    return x if how in ("amax", "amin") else x.astype("int64")


def scatter_reduce(
    x: Array, axis: int, index: Array, source: Array, how: str, include_self: bool
) -> Array:
    if how == "mean" and not is_float(x.dtype):
        raise error(
            TypeError, "scatter_reduce", "floats, of which alone there is a mean", x.dtype,
            "convert them",
        )  # fmt: skip
    if index.size:
        index = checked("scatter_reduce", index, x.shape[axis])
    return _reduced(x, axis, index, source, how, include_self)


def scatter_add(x: Array, axis: int, index: Array, shape: tuple[int, ...], wraps: bool) -> Array:
    if index.size:
        index = checked("scatter_add", index, shape[axis], wraps)
    zeros = namespace(x).zeros(shape, x.dtype)
    return _reduced(zeros, axis, index, x, "sum", True)
