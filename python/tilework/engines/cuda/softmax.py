"""Softmax along any axis of a dense array, without a copy."""

from __future__ import annotations

from typing import Any

from tilework.engines.cuda.launch import empty_as, launch
from tilework.engines.cuda.rows import (
    NAMES,
    THREADS,
    around,
    dense,
    laid_as,
    launch_rows,
    pack_width,
    tiles,
)

__all__ = ["softmax_backward", "softmax_forward"]

Array = Any
_ELEMENTS = 8  # of a column that a thread takes at least


def softmax_forward(x: Array, axis: int, log: bool) -> Array:
    x = dense(x)
    y = empty_as(x)
    _launch("log_softmax" if log else "softmax", 1, x, axis, y, x)
    return y


def softmax_backward(grad: Array, output: Array, axis: int, log: bool) -> Array:
    output = dense(output)
    dx = empty_as(output)
    name = "log_softmax_backward" if log else "softmax_backward"
    _launch(name, 2, output, axis, dx, laid_as(grad, output), output)
    return dx


def _launch(name: str, held: int, x: Array, axis: int, *args: Array) -> None:
    outer, length, inner = around(x, axis)
    dtype = x.dtype.name
    if inner == 1:
        launch_rows(name, held, outer, length, *args, dtype=dtype)
        return
    width, bits, blocks = tiles(inner, pack_width(inner, *args), length // _ELEMENTS)
    form = "by_columns" if width == 1 else "by_wide_columns"
    launch(f"{name}_{form}_{NAMES[dtype]}", outer * blocks, THREADS, *args, length, inner, bits)
