"""What the outputs of a pooling cover along one axis: the tables that the kernels walk by.

A table is int64 (outputs, 4), read-only: start, step, taps and size of each window. Its inputs are
start, start + step, ...: `taps` of them, all inside; the sizes of both axes divide an average. A
long axis has (runs, 6) instead: the first window of each run of windows alike, how many they are,
and how far apart. One by one, they would take eight times the memory of the axis itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.arrays import as_array, namespace
from tilework.engines.windows import Table, expanded


def output_size(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> int:
    """How many windows there are; with `ceil_mode` one that hangs over the end counts too, unless
    it begins in the padding there."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return count


_LONG = 256  # outputs: from here on a table of runs


@lru_cache(maxsize=512)
def regular(
    size: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    count: int,
    include_pad: bool,
) -> Table:
    """Windows `stride` apart, the first beginning `padding` before the axis does.

    What lies in the padding is cut off; with `include_pad` it counts in an average's size.
    """

    def windows(outputs: Table) -> Table:
        begin = outputs * stride - padding
        before = np.maximum(0, -(begin // dilation))
        inside = np.minimum(kernel, -((begin - size) // dilation))
        taps = np.maximum(0, inside - before)
        whole = np.minimum(begin + kernel, size + padding) - begin
        return np.stack(
            [
                np.where(taps > 0, begin + before * dilation, 0),
                np.full_like(begin, dilation),
                taps,
                np.maximum(1, whole if include_pad else taps),
            ],
            axis=1,
        )

    if count < _LONG:
        return _frozen(windows(np.arange(count, dtype=np.int64)))
    # The first whole window, and the first after it that hangs over the end.
    first = min(count, -(-padding // stride))
    past = min(count, max(first, (size - 1 - dilation * (kernel - 1) + padding) // stride + 1))
    alone = [*range(first), *([first] if past > first else []), *range(past, count)]
    table = np.zeros((len(alone), 6), np.int64)
    table[:, :4] = windows(np.array(alone, np.int64))
    table[:, 4] = 1
    if past > first:
        table[first, 4:] = past - first, stride
    return _frozen(table)


@lru_cache(maxsize=512)
def adaptive(size: int, count: int) -> Table:
    """`count` windows that part the axis evenly: they may share an input at their borders."""
    out = np.arange(count, dtype=np.int64)
    begin, end = out * size // count, -(-(out + 1) * size // count)
    table = np.stack([begin, np.ones_like(begin), end - begin, end - begin], axis=1)
    return _frozen(table)


def with_divisor(rows: Table, cols: Table, divisor: int) -> tuple[Table, Table]:
    """The windows of both axes with `divisor` in place of their areas."""
    rows, cols = rows.copy(), cols.copy()
    rows[:, 3], cols[:, 3] = divisor, 1
    return rows, cols


def flat_indices(positions: Any, rows: Table, cols: Table, width: int) -> Any:
    """Where in the flat plane the inputs lie that are at `positions` (..., H, W) in their windows,
    counted row by row."""
    xp = namespace(positions)
    rows, cols = xp.asarray(expanded(rows)), xp.asarray(expanded(cols))
    taps = xp.maximum(cols[:, 2], 1)
    at = positions.astype(dtypes.int64)
    row = at // taps
    y = rows[:, 0, None] + row * rows[:, 1, None]
    return as_array(y * width + cols[:, 0] + (at - row * taps) * cols[:, 1])


def _frozen(table: Table) -> Table:
    table = np.ascontiguousarray(table, np.int64)
    table.flags.writeable = False
    return table
