"""Groups of rows: sums of rows by an index, bags of embeddings, segments."""

from __future__ import annotations

from typing import Any

from tilework.arrays import address, namespace
from tilework.engines import cupy
from tilework.engines.cuda.copy import copy
from tilework.engines.cuda.errors import outside
from tilework.engines.cuda.grouping import Groups, fits, grouped
from tilework.engines.cuda.index import lines
from tilework.engines.cuda.launch import blocks_for, launch
from tilework.engines.cuda.names import TYPES
from tilework.engines.layout import contiguous, empty

__all__ = [
    "embedding_bag_backward",
    "embedding_bag_forward",
    "embedding_bag_weights_backward",
    "index_add",
    "segment_max",
    "segment_sum",
]

Array = Any
_THREADS, _WARP, _CHAIN = 256, 32, 32  # as in rows.cuh
_MOST = 65535  # blocks along y and z


def _zeros(like: Array, shape: tuple[int, ...]) -> Array:
    return namespace(like).zeros(shape, like.dtype)


class _Columns:
    """How threads share the columns of rows: 2^shift of them a row, with 16 bytes each where
    `whole`."""

    def __init__(self, cols: int, *arrays: Array) -> None:
        pack = 16 // arrays[0].itemsize
        self.whole = int(cols % pack == 0 and all(address(a) % 16 == 0 for a in arrays))
        self.units = cols // pack if self.whole else cols
        self.shift = min(max(self.units - 1, 0), _WARP - 1).bit_length()

    def grid(self, groups: int, outer: int = 1) -> tuple[int, int, int]:
        along = min(_MOST, blocks_for(self.units, 1 << self.shift))
        return blocks_for(groups, _THREADS >> self.shift), along, outer


def _sum_groups(
    y: Array, groups: Groups, x: Array, *, outer: int = 1, row_of: Array | None = None,
    factor: Array | None = None, before: Array | None = None, mean: bool = False,
) -> None:  # fmt: skip
    """y (outer, places, cols) of the rows of x (outer, m, cols), for groups that have some."""
    m, cols, name = groups.size, y.shape[-1], TYPES[x.dtype.name]
    columns = _Columns(cols, y, x)
    wide = "float64" if name == "double" else "float32"
    chains = m // _CHAIN
    partial = namespace(x).empty((outer, chains, cols), wide)
    listed = (groups.place, groups.member, m, groups.places, x, cols, row_of, factor)
    last = (columns.shift, columns.whole)
    launch(
        f"row_chains_{name}", columns.grid(chains, outer), _THREADS,
        partial, *listed, before, *last,
    )  # fmt: skip
    launch(
        f"row_sums_{name}", columns.grid(m, outer), _THREADS,
        y, *listed, partial, before, int(mean), *last,
    )  # fmt: skip


def index_add(
    x: Array, axis: int, index: Array, rows: int, start: Array | None, wraps: bool
) -> Array:
    outer, m, inner = lines(x.shape, axis)
    if not fits(outer * m, outer * rows):
        return cupy.index_add(x, axis, index, rows, start, wraps)
    shape = (*x.shape[:axis], rows, *x.shape[axis + 1 :])
    y = _zeros(x, shape) if start is None else copy(start, False)
    # One list for all of outer, which are blocks along z; where these are too many, one of all.
    blocks = outer if outer <= _MOST else 1
    groups = grouped("index_add", index, rows, wraps=wraps, lines=(outer // max(blocks, 1), 1))
    _sum_groups(
        y.reshape(blocks, groups.places, inner), groups,
        contiguous(x).reshape(blocks, groups.size, inner),
        outer=blocks, before=None if start is None else y,
    )  # fmt: skip
    return y


def segment_sum(x: Array, index: Array, count: int, skipped: int, mean: bool) -> Array:
    if not fits(index.size, count):
        return cupy.segment_sum(x, index, count, skipped, mean)
    y = _zeros(x, (count, x.shape[1]))
    groups = grouped("segment_sum", index, count, skipped=skipped)
    _sum_groups(y, groups, contiguous(x), mean=mean)
    return y


def segment_max(x: Array, index: Array, count: int) -> tuple[Array, Array]:
    if not fits(index.size, count):
        return cupy.segment_max(x, index, count)
    xp, x = namespace(x), contiguous(x)
    cols = x.shape[1]
    y, rows = _zeros(x, (count, cols)), xp.full((count, cols), -1, "int64")
    groups = grouped("segment_max", index, count)
    columns, name = _Columns(cols, y, x), TYPES[x.dtype.name]
    chains = groups.size // _CHAIN
    best, of_best = xp.empty((chains, cols), x.dtype), xp.empty((chains, cols), "int64")
    listed = (groups.place, groups.member, groups.size, count, x, cols)
    last = (columns.shift, columns.whole)
    launch(
        f"row_largest_chains_{name}", columns.grid(chains), _THREADS, best, of_best, *listed, *last
    )
    launch(
        f"row_largest_{name}", columns.grid(groups.size), _THREADS,
        y, rows, *listed, best, of_best, *last,
    )  # fmt: skip
    return y, rows


# --- bags ---


def embedding_bag_forward(
    table: Array, index: Array, offsets: Array, weights: Array | None, mode: str, padding: int
) -> tuple[Array, Array | None]:
    table, index, offsets = contiguous(table), contiguous(index), contiguous(offsets)
    (rows, cols), bags = table.shape, offsets.size
    y = empty(table, (bags, cols))
    columns, name = _Columns(cols, table, y), TYPES[table.dtype.name]
    listed = (rows, cols, index, offsets, bags, index.size, padding)
    last = (columns.shift, columns.whole, outside("embedding_bag", rows))
    if mode == "max":
        places = empty(table, (bags, cols), "int64")
        launch(
            f"bag_largest_{name}", columns.grid(bags), _THREADS, y, places, table, *listed, *last
        )
        return y, places
    weights = None if weights is None else contiguous(weights)
    launch(
        f"bag_sums_{name}", columns.grid(bags), _THREADS,
        y, table, weights, *listed, int(mode == "mean"), *last,
    )  # fmt: skip
    return y, None


def _entries(
    like: Array, index: Array, offsets: Array, weights: Array | None, mean: bool, padding: int
) -> tuple[Array, Array | None]:
    """Of each entry the bag, and what its row is multiplied by, in the dtype of `like`."""
    bag = empty(index, (index.size,))
    factor = empty(like, (index.size,)) if mean else weights
    launch(
        f"bag_entries_{TYPES[like.dtype.name]}", blocks_for(offsets.size * _WARP, _THREADS),
        _THREADS, bag, factor if mean else None, weights, index, offsets, offsets.size,
        index.size, padding,
    )  # fmt: skip
    return bag, factor


def embedding_bag_backward(
    grad: Array, index: Array, offsets: Array, weights: Array | None, mean: bool, rows: int,
    padding: int, by_frequency: bool,
) -> Array:  # fmt: skip
    if not fits(index.size, rows):
        return cupy.embedding_bag_backward(
            grad, index, offsets, weights, mean, rows, padding, by_frequency
        )
    grad, index, offsets = contiguous(grad), contiguous(index), contiguous(offsets)
    y = _zeros(grad, (rows, grad.shape[1]))
    if offsets.size == 0:
        return y
    weights = None if weights is None else contiguous(weights)
    bag, factor = _entries(grad, index, offsets, weights, mean, padding)
    groups = grouped("embedding_bag_backward", index, rows, skipped=padding)
    _sum_groups(y, groups, grad, row_of=bag, factor=factor, mean=by_frequency)
    return y


def embedding_bag_weights_backward(
    grad: Array, table: Array, index: Array, offsets: Array, padding: int
) -> Array:
    grad, table, index = contiguous(grad), contiguous(table), contiguous(index)
    rows, cols = table.shape
    if offsets.size == 0:
        return _zeros(grad, (0,))
    bag, _ = _entries(grad, index, contiguous(offsets), None, False, padding)
    y = empty(grad, (index.size,))
    launch(
        f"bag_dots_{TYPES[grad.dtype.name]}", blocks_for(index.size * _WARP, _THREADS), _THREADS,
        y, grad, table, bag, rows, cols, index, index.size, padding,
        outside("embedding_bag_weights_backward", rows),
    )  # fmt: skip
    return y
