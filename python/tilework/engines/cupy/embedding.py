"""Groups of rows: sums of rows by an index, bags of embeddings, segments."""

from __future__ import annotations

from typing import Any

from tilework.arrays import namespace
from tilework.dtypes import float64
from tilework.engines.cupy.base import Array, quiet, stored, wide, widened
from tilework.engines.cupy.groups import Parts, added_rows, combined, grouped
from tilework.engines.cupy.index import checked
from tilework.engines.layout import contiguous

__all__ = [
    "embedding_bag_backward",
    "embedding_bag_forward",
    "embedding_bag_weights_backward",
    "index_add",
    "segment_max",
    "segment_sum",
]


@quiet
def index_add(
    x: Array, axis: int, index: Array, rows: int, start: Array | None, wraps: bool
) -> Array:
    if index.size:
        index = checked("index_add", index, rows, wraps)
    total = added_rows(wide(x).swapaxes(0, axis), index, rows).swapaxes(0, axis)
    return contiguous(stored(total if start is None else wide(start) + total, x.dtype))


def _counts(index: Array, count: int) -> Array:
    """How often each group is named, (count, 1), at least once."""
    xp = namespace(index)
    found = added_rows(xp.ones((len(index), 1), float64), index, count)
    return xp.maximum(found, 1.0)


def _without(index: Array, padding: int, *others: Array) -> tuple[Array, ...]:
    """The entries that count, of an index and of what goes with it."""
    if padding < 0:
        return index, *others
    kept = index != padding
    return index[kept], *(o[kept] for o in others)


@quiet
def segment_sum(x: Array, index: Array, count: int, skipped: int, mean: bool) -> Array:
    index, rows = _without(checked("segment_sum", index, count), skipped, wide(x))
    total = added_rows(rows, index, count)
    return stored(total / _counts(index, count) if mean else total, x.dtype)


# --- the largest ---


def _larger(a: Parts, b: Parts) -> Parts:
    """Of equals the first, of NaNs the first too."""
    xp = namespace(a[0])
    second = (b[0] > a[0]) | ((b[0] != b[0]) & (a[0] == a[0]))
    return xp.where(second, b[0], a[0]), xp.where(second, b[1], a[1])


def _largest_rows(x: Array, index: Array, rows: Array, count: int) -> tuple[Array, Array]:
    """Of the rows of x that `rows` names, the largest of each group: 0 and -1 where there is
    none."""
    xp, given = namespace(x), widened(x)
    y = xp.zeros((count, x.shape[1]), given.dtype)
    place = xp.full(y.shape, -1, "int64")
    if len(index) and x.shape[1]:
        groups = grouped(index)
        which = contiguous(xp.broadcast_to(rows[:, None], (len(rows), x.shape[1])))
        found = combined(groups, (given[rows], which), _larger)
        y[groups.places], place[groups.places] = found
    return stored(y, x.dtype), place


@quiet
def segment_max(x: Array, index: Array, count: int) -> tuple[Array, Array]:
    index = checked("segment_max", index, count)
    return _largest_rows(x, index, namespace(x).arange(len(index), dtype="int64"), count)


# --- bags ---


def _entries(op: str, index: Array, offsets: Array, rows: int) -> tuple[Array, Array]:
    """(the row, the bag) of each entry."""
    xp = namespace(index)
    if not len(offsets):
        index = index[:0]
    index = checked(op, index, rows)
    places = xp.arange(len(index), dtype="int64")
    return index, xp.searchsorted(offsets, places, side="right") - 1


def _weighted(rows: Array, weights: Any) -> Array:
    return rows if weights is None else rows * wide(weights)[:, None]


@quiet
def embedding_bag_forward(
    table: Array, index: Array, offsets: Array, weights: Array | None, mode: str, padding: int
) -> tuple[Array, Array | None]:
    index, bags = _entries("embedding_bag", index, offsets, len(table))
    more = () if weights is None else (weights[: len(index)],)
    index, bags, *rest = _without(index, padding, bags, *more)
    if mode == "max":
        return _largest_rows(table, bags, index, len(offsets))
    rows = _weighted(wide(table[index] if len(index) else table[:0]), rest[0] if rest else None)
    total = added_rows(rows, bags, len(offsets))
    if mode == "mean":
        total = total / _counts(bags, len(offsets))
    return stored(total, table.dtype), None


@quiet
def embedding_bag_backward(
    grad: Array,
    index: Array,
    offsets: Array,
    weights: Array | None,
    mean: bool,
    rows: int,
    padding: int,
    by_frequency: bool,
) -> Array:
    whole, bags = _entries("embedding_bag_backward", index, offsets, rows)
    more = () if weights is None else (weights[: len(whole)],)
    index, bags, *rest = _without(whole, padding, bags, *more)
    given = wide(grad)
    if mean:
        given = given / _counts(bags, len(offsets))
    each = _weighted(given[bags] if len(bags) else given[:0], rest[0] if rest else None)
    total = added_rows(each, index, rows)
    if by_frequency:
        total = total / _counts(whole, rows)
    return stored(total, grad.dtype)


@quiet
def embedding_bag_weights_backward(
    grad: Array, table: Array, index: Array, offsets: Array, padding: int
) -> Array:
    xp, found = namespace(grad), namespace(grad).zeros(index.size, float64)
    index, bags = _entries("embedding_bag_weights_backward", index, offsets, len(table))
    if len(index):
        products = xp.sum(wide(grad)[bags] * wide(table)[index], axis=1)
        found[: len(index)] = xp.where(index == padding, 0.0, products)
    return stored(found, grad.dtype)
