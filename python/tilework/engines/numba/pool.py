"""Pooling: one loop over the outputs, each over its window.

Arrays are walked as the compiled kernels walk them: (outer, height, width, inner), which is
channels-last with inner = C, or planar with outer = N * C and inner = 1.
"""

from typing import Any

import numpy as np

from tilework.engines.numba.compiled import jit
from tilework.engines.numba.layout import Array
from tilework.engines.windows import expanded

# A position in a larger window does not fit in a byte.
_BYTE = 256


@jit
def _max(x: Any, rows: Any, cols: Any, y: Any, saved: Any) -> None:
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for c in range(y.shape[3]):
                    best, at = -np.inf, 0
                    for p in range(rows[i, 2]):
                        for q in range(cols[j, 2]):
                            v = x[n, rows[i, 0] + p * rows[i, 1], cols[j, 0] + q * cols[j, 1], c]
                            if v > best or v != v:
                                best, at = v, p * cols[j, 2] + q
                    y[n, i, j, c] = best
                    saved[n, i, j, c] = at


@jit
def _max_backward(grad: Any, saved: Any, rows: Any, cols: Any, dx: Any) -> None:
    for n in range(grad.shape[0]):
        for i in range(grad.shape[1]):
            for j in range(grad.shape[2]):
                if rows[i, 2] > 0 and cols[j, 2] > 0:
                    for c in range(grad.shape[3]):
                        at = np.int64(saved[n, i, j, c])
                        p, q = at // cols[j, 2], at % cols[j, 2]
                        h, w = rows[i, 0] + p * rows[i, 1], cols[j, 0] + q * cols[j, 1]
                        dx[n, h, w, c] += grad[n, i, j, c]


@jit
def _average(x: Any, rows: Any, cols: Any, y: Any) -> None:
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for c in range(y.shape[3]):
                    total = 0.0
                    for p in range(rows[i, 2]):
                        for q in range(cols[j, 2]):
                            h, w = rows[i, 0] + p * rows[i, 1], cols[j, 0] + q * cols[j, 1]
                            total += x[n, h, w, c]
                    y[n, i, j, c] = total / (float(rows[i, 3]) * float(cols[j, 3]))


@jit
def _average_backward(grad: Any, rows: Any, cols: Any, dx: Any) -> None:
    for n in range(grad.shape[0]):
        for i in range(grad.shape[1]):
            for j in range(grad.shape[2]):
                for c in range(grad.shape[3]):
                    share = grad[n, i, j, c] / (float(rows[i, 3]) * float(cols[j, 3]))
                    for p in range(rows[i, 2]):
                        for q in range(cols[j, 2]):
                            h, w = rows[i, 0] + p * rows[i, 1], cols[j, 0] + q * cols[j, 1]
                            dx[n, h, w, c] += share


def planes(shape: tuple[int, ...], dtype: Any, channels_last: bool) -> Array:
    """A zeroed (N, C, H, W) in one of the two layouts."""
    n, c, h, w = shape
    if not channels_last:
        return np.zeros(shape, dtype)
    return np.zeros((n, h, w, c), dtype).transpose(0, 3, 1, 2)


def walked(x: Array, channels_last: bool) -> Array:
    """(N, C, H, W) as a contiguous (outer, H, W, inner): a view where it lies so, else a copy."""
    if channels_last:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    n, c, h, w = x.shape
    return np.ascontiguousarray(x).reshape(n * c, h, w, 1)


def is_channels_last(x: Array) -> bool:
    return not x.flags.c_contiguous and x.transpose(0, 2, 3, 1).flags.c_contiguous


def pool_max_forward(x: Array, rows: Array, cols: Array, save: bool) -> tuple[Array, Array | None]:
    rows, cols = expanded(rows), expanded(cols)
    shape, last = (*x.shape[:2], len(rows), len(cols)), is_channels_last(x)
    wide = rows[:, 2].max(initial=0) * cols[:, 2].max(initial=0) > _BYTE
    y = planes(shape, x.dtype, last)
    saved = planes(shape, np.uint32 if wide else np.uint8, last)
    _max(walked(x, last), rows, cols, walked(y, last), walked(saved, last))
    return y, saved if save else None


def pool_max_backward(
    grad: Array,
    saved: Array,
    rows: Array,
    cols: Array,
    height: int,
    width: int,
    channels_last: bool,
) -> Array:
    rows, cols = expanded(rows), expanded(cols)
    dx = planes((*grad.shape[:2], height, width), grad.dtype, channels_last)
    grad, saved = walked(grad, channels_last), walked(saved, channels_last)
    _max_backward(grad, saved, rows, cols, walked(dx, channels_last))
    return dx


def pool_average_forward(x: Array, rows: Array, cols: Array) -> Array:
    rows, cols = expanded(rows), expanded(cols)
    last = is_channels_last(x)
    y = planes((*x.shape[:2], len(rows), len(cols)), x.dtype, last)
    _average(walked(x, last), rows, cols, walked(y, last))
    return y


def pool_average_backward(
    grad: Array, rows: Array, cols: Array, height: int, width: int, channels_last: bool
) -> Array:
    rows, cols = expanded(rows), expanded(cols)
    dx = planes((*grad.shape[:2], height, width), grad.dtype, channels_last)
    _average_backward(walked(grad, channels_last), rows, cols, walked(dx, channels_last))
    return dx
