"""Interpolation: each output blends the four inputs around it."""

from typing import Any

import numpy as np

from tilework.engines.numba.compiled import jit
from tilework.engines.numba.layout import Array
from tilework.engines.numba.pool import is_channels_last, planes, walked


@jit
def _forward(x: Any, rows: Any, row_part: Any, cols: Any, col_part: Any, y: Any) -> None:
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                top, bottom = rows[i, 0], rows[i, 1]
                left, right = cols[j, 0], cols[j, 1]
                v, h = row_part[i], col_part[j]
                for c in range(y.shape[3]):
                    above = (1.0 - h) * x[n, top, left, c] + h * x[n, top, right, c]
                    below = (1.0 - h) * x[n, bottom, left, c] + h * x[n, bottom, right, c]
                    y[n, i, j, c] = (1.0 - v) * above + v * below


@jit
def _backward(grad: Any, rows: Any, row_part: Any, cols: Any, col_part: Any, dx: Any) -> None:
    for n in range(grad.shape[0]):
        for i in range(grad.shape[1]):
            for j in range(grad.shape[2]):
                v, h = row_part[i], col_part[j]
                for c in range(grad.shape[3]):
                    g = grad[n, i, j, c]
                    dx[n, rows[i, 0], cols[j, 0], c] += (1.0 - v) * (1.0 - h) * g
                    dx[n, rows[i, 0], cols[j, 1], c] += (1.0 - v) * h * g
                    dx[n, rows[i, 1], cols[j, 0], c] += v * (1.0 - h) * g
                    dx[n, rows[i, 1], cols[j, 1], c] += v * h * g


def interpolate_forward(
    x: Array,
    row_index: Array,
    row_weights: Array | None,
    col_index: Array,
    col_weights: Array | None,
) -> Array:
    last = is_channels_last(x)
    y = planes((*x.shape[:2], len(row_index), len(col_index)), x.dtype, last)
    if row_weights is None or col_weights is None:
        y[...] = x[:, :, row_index[:, :1], col_index[:, 0]]
    else:
        _forward(walked(x, last), row_index, row_weights, col_index, col_weights, walked(y, last))
    return y


def interpolate_backward(
    grad: Array,
    row_index: Array,
    row_weights: Array | None,
    col_index: Array,
    col_weights: Array | None,
    height: int,
    width: int,
    channels_last: bool,
) -> Array:
    dx = planes((*grad.shape[:2], height, width), grad.dtype, channels_last)
    rows = np.zeros(len(row_index)) if row_weights is None else row_weights
    cols = np.zeros(len(col_index)) if col_weights is None else col_weights
    _backward(
        walked(grad, channels_last), row_index, rows, col_index, cols, walked(dx, channels_last)
    )
    return dx
