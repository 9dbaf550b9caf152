"""Groups of rows: sums of rows by an index, bags of embeddings, segments."""

from typing import Any

import numpy as np

from tilework.engines.numba.compiled import jit, quiet
from tilework.engines.numba.index import checked, lines
from tilework.engines.numba.layout import Array, widened


@jit
def _add_slices(total: Array, index: Array, x: Array) -> None:
    """total (outer, n, inner) += x (outer, m, inner); those with an index below 0 are left out."""
    for o in range(x.shape[0]):
        for i in range(index.size):
            if index[i] >= 0:
                for j in range(x.shape[2]):
                    total[o, index[i], j] += x[o, i, j]


def index_add(
    x: Array, axis: int, index: Array, rows: int, start: Array | None, wraps: bool
) -> Array:
    index = checked("index_add", index, rows, wraps)
    shape = (*x.shape[:axis], rows, *x.shape[axis + 1 :])
    begin = np.zeros(shape, x.dtype) if start is None else start
    total = lines(begin, axis).astype(np.float64)
    _add_slices(total, index, lines(x, axis).astype(np.float64, copy=False))
    return _rounded(total, x.dtype).reshape(shape)


@quiet
def _rounded(total: Array, dtype: Any) -> Array:
    return total.astype(dtype)


@quiet
def segment_sum(x: Array, index: Array, count: int, skipped: int, mean: bool) -> Array:
    index = checked("segment_sum", index, count)
    index[index == skipped] = -1
    total = np.zeros((1, count, x.shape[1]), np.float64)
    _add_slices(total, index, x[None].astype(np.float64))
    if mean:
        total /= np.maximum(np.bincount(index[index >= 0], minlength=count), 1)[:, None]
    return _rounded(total[0], x.dtype)


# --- the largest ---


@jit
def _largest(x: Array, index: Array, rows: Array, y: Array, place: Array) -> None:
    """Of the rows of x that `rows` names, those of group index[i]: which of them."""
    for i in range(index.size):
        for j in range(x.shape[1]):
            found, before = x[rows[i], j], y[index[i], j]
            first = place[index[i], j] < 0
            if first or found > before or (found != found and before == before):
                y[index[i], j] = found
                place[index[i], j] = rows[i]


def _largest_rows(x: Array, index: Array, rows: Array, count: int) -> tuple[Array, Array]:
    wide = widened(x)
    y = np.zeros((count, x.shape[1]), wide.dtype)
    place = np.full(y.shape, -1, np.int64)
    _largest(np.ascontiguousarray(wide), index, rows, y, place)
    return y.astype(x.dtype, copy=False), place


def segment_max(x: Array, index: Array, count: int) -> tuple[Array, Array]:
    index = checked("segment_max", index, count)
    return _largest_rows(x, index, np.arange(index.size), count)


# --- bags ---


def _entries(op: str, index: Array, offsets: Array, rows: int) -> tuple[Array, Array]:
    """(the row, the bag) of each entry."""
    index = checked(op, index, rows)
    sizes = np.diff(np.append(offsets, index.size))
    bags = np.repeat(np.arange(offsets.size), sizes)
    return index[: bags.size], bags


@jit
def _add_rows(
    total: Array, to: Array, x: Array, rows: Array, factors: Array, padding: int, names: Array
) -> None:
    """total[to[i]] += factors[i] * x[rows[i]], but for entries of padding."""
    for i in range(to.size):
        if names[i] != padding:
            for j in range(x.shape[1]):
                total[to[i], j] += factors[i] * x[rows[i], j]


def _summed(
    count: int, to: Array, x: Array, rows: Array, factors: Array, padding: int, names: Array
) -> Array:
    total = np.zeros((count, x.shape[1]), np.float64)
    _add_rows(total, to, x.astype(np.float64), rows, factors, padding, names)
    return total


def _sizes(index: Array, bags: Array, count: int, padding: int) -> Array:
    """How many entries of each bag count, at least one."""
    return np.maximum(np.bincount(bags[index != padding], minlength=count), 1)


def _weights(weights: Array | None, count: int) -> Array:
    return np.ones(count) if weights is None else weights[:count].astype(np.float64)


@quiet
def embedding_bag_forward(
    table: Array, index: Array, offsets: Array, weights: Array | None, mode: str, padding: int
) -> tuple[Array, Array | None]:
    index, bags = _entries("embedding_bag", index, offsets, len(table))
    if mode == "max":
        kept = index != padding
        return _largest_rows(table, bags[kept], index[kept], offsets.size)
    factors = _weights(weights, index.size)
    total = _summed(offsets.size, bags, table, index, factors, padding, index)
    if mode == "mean":
        total /= _sizes(index, bags, offsets.size, padding)[:, None]
    return _rounded(total, table.dtype), None


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
    index, bags = _entries("embedding_bag_backward", index, offsets, rows)
    factors = _weights(weights, index.size)
    if mean:
        factors = factors / _sizes(index, bags, offsets.size, padding)[bags]
    total = _summed(rows, index, grad, bags, factors, padding, index)
    if by_frequency:
        total /= np.maximum(np.bincount(index, minlength=rows), 1)[:, None]
    return _rounded(total, grad.dtype)


@quiet
def embedding_bag_weights_backward(
    grad: Array, table: Array, index: Array, offsets: Array, padding: int
) -> Array:
    whole, count = index, index.size
    index, bags = _entries("embedding_bag_weights_backward", whole, offsets, len(table))
    found = np.zeros(count, np.float64)
    left, right = (x.astype(np.float64) for x in (grad, table))
    found[: index.size] = np.einsum("ij,ij->i", left[bags], right[index])
    found[: index.size][index == padding] = 0
    return _rounded(found, grad.dtype)
