"""Softmax: rows by warps where a row fits in a warp's registers, else by blocks."""

from __future__ import annotations

from typing import Any

from tilework.engines.cuda.launch import blocks_for, contiguous, empty, launch

__all__ = ["softmax_backward", "softmax_forward"]

Array = Any
_WARPS, _IN_REGISTERS, _THREADS = 4, 1024, 256  # as in softmax.cuh
_NAMES = {"float32": "float", "float64": "double"}


def _rows(x: Array, axis: int) -> Array:
    """`x` in C order with the axis last."""
    return contiguous(x.swapaxes(axis, -1))


def softmax_forward(x: Array, axis: int, log: bool) -> Array:
    rows = _rows(x, axis)
    y, length = empty(rows, rows.shape), x.shape[axis]
    count = rows.size // length if length else 0
    name, dtype = "log_softmax" if log else "softmax", _NAMES[x.dtype.name]
    if length <= _IN_REGISTERS:
        grid = blocks_for(count, _WARPS)
        launch(f"{name}_by_warps_{dtype}", grid, _WARPS * 32, y, rows, count, length)
    else:
        launch(f"{name}_by_blocks_{dtype}", count, _THREADS, y, rows, length)
    return y.swapaxes(axis, -1)


def softmax_backward(grad: Array, output: Array, axis: int, log: bool) -> Array:
    g, y = _rows(grad, axis), _rows(output, axis)
    dx, length = empty(y, y.shape), y.shape[-1]
    name, dtype = "log_softmax" if log else "softmax", _NAMES[y.dtype.name]
    count = y.size // length if length else 0
    launch(f"{name}_backward_{dtype}", count, _THREADS, dx, g, y, length)
    return dx.swapaxes(axis, -1)
