"""Tables of pooling windows: one by one, or by runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int64]


def outputs(table: Table) -> int:
    """How many windows a table has."""
    return len(table) if table.shape[1] == 4 else int(table[:, 4].sum())


def expanded(table: Table) -> Table:
    """A table (runs, 6) with a row (start, step, taps, size) for each window; one that has such
    rows, as it is.

    >>> expanded(np.array([[0, 1, 2, 2, 3, 2]])).tolist()
    [[0, 1, 2, 2], [2, 1, 2, 2], [4, 1, 2, 2]]
    """
    if table.shape[1] == 4:
        return table
    counts = table[:, 4]
    windows = np.repeat(table[:, :4], counts, axis=0)
    within = np.arange(len(windows)) - np.repeat(np.cumsum(counts) - counts, counts)
    windows[:, 0] += within * np.repeat(table[:, 5], counts)
    return windows
