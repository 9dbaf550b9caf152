"""Activations of a gate times a second operand, and activations of rows with a bias."""

from __future__ import annotations

import math
from typing import Any

from tilework.engines import cupy
from tilework.engines.cuda.axes import PACK_BYTES, THREADS
from tilework.engines.cuda.copy import at_packs, dense, laid_as
from tilework.engines.cuda.launch import blocks_for, contiguous, empty, empty_as, launch
from tilework.engines.cuda.names import FLOATS, TYPES
from tilework.engines.cuda.pointwise import UNARY_OPS

__all__ = [
    "bias_activation_backward",
    "bias_activation_forward",
    "gated_backward",
    "gated_forward",
]

Array = Any
Rows = tuple[int, int, int]  # how many, how long, and how far apart in the operands
_COLS = 32  # of a block that sums columns, as in bias.cuh
_CHUNK_ROWS = 64  # the least that a block sums
_CHUNKS = 1024  # and the most that are added afterwards


def _packs(cols: int, *arrays: Array) -> bool:
    """Whether rows of `cols` elements, one behind another, are whole packs of 16 bytes."""
    return cols * arrays[0].itemsize % PACK_BYTES == 0 and at_packs(*arrays)


def _blocks(rows: int, cols: int, itemsize: int, packs: bool) -> int:
    return blocks_for(rows * cols // (PACK_BYTES // itemsize if packs else 1), THREADS)


# --- gates ---


def _halves(x: Array, axis: int) -> Rows:
    half = x.shape[axis] // 2 * math.prod(x.shape[axis + 1 :])
    return (x.size // (2 * half) if half else 0), half, 2 * half


def _second(x: Array, cols: int) -> Array:
    """Where the second half of x's first row begins."""
    return x.reshape(-1)[cols:]


def gated_forward(op: str, x: Array, other: Array | None, axis: int) -> Array:
    dtype = TYPES[x.dtype.name]
    if other is None:
        a = contiguous(x)
        rows, cols, stride = _halves(a, axis)
        y = empty(a, (*x.shape[:axis], x.shape[axis] // 2, *x.shape[axis + 1 :]))
        b = _second(a, cols) if cols else a
    else:
        a = dense(x)
        b, y, rows, cols, stride = laid_as(other, a), empty_as(a), 1, x.size, x.size
    packs = _packs(cols, y, a, b)
    launch(
        f"gated_{op}_{dtype}", _blocks(rows, cols, x.itemsize, packs), THREADS,
        y, a, b, rows, cols, stride, packs,
    )  # fmt: skip
    return y


def gated_backward(
    op: str, grad: Array, x: Array, other: Array | None, axis: int
) -> tuple[Array, Array | None]:
    dtype = TYPES[x.dtype.name]
    if other is None:
        a, g = contiguous(x), contiguous(grad)
        rows, cols, stride = _halves(a, axis)
        dx, dother = empty(a, a.shape), None
        b, db = (_second(a, cols), _second(dx, cols)) if cols else (a, dx)
    else:
        a = dense(x)
        b, g, rows, cols, stride = laid_as(other, a), laid_as(grad, a), 1, x.size, x.size
        dx, dother = empty_as(a), empty_as(a)
        db = dother
    packs = _packs(cols, dx, db, g, a, b)
    launch(
        f"gated_{op}_backward_{dtype}", _blocks(rows, cols, x.itemsize, packs), THREADS,
        dx, db, g, a, b, rows, cols, stride, packs,
    )  # fmt: skip
    return dx, dother


# --- bias ---


def _row_shape(x: Array) -> tuple[int, int]:
    cols = x.shape[-1]
    return (x.size // cols if cols else 0), cols


def bias_activation_forward(
    x: Array, bias: Array, activation: str, save: bool
) -> tuple[Array, Array | None]:
    dtype = FLOATS.get(x.dtype.name)
    if dtype is None:
        return cupy.bias_activation_forward(x, bias, activation, save)
    given, added = contiguous(x), contiguous(bias)
    rows, cols = _row_shape(given)
    y = empty(given, given.shape)
    saves_input = save and UNARY_OPS.get(activation) == "input"
    z = empty(given, given.shape) if saves_input else None
    packs = _packs(cols, y, given, added)
    launch(
        f"bias_{activation}_{dtype}", _blocks(rows, cols, x.itemsize, packs), THREADS,
        y, z, given, added, rows, cols, packs,
    )  # fmt: skip
    return y, z if saves_input else (y if save and activation != "none" else None)


def bias_activation_backward(
    grad: Array, saved: Array | None, activation: str
) -> tuple[Array, Array]:
    dtype = FLOATS.get(grad.dtype.name)
    if dtype is None:
        return cupy.bias_activation_backward(grad, saved, activation)
    g = contiguous(grad)
    s = None if saved is None or activation == "none" else contiguous(saved)
    rows, cols = _row_shape(g)
    chunk = max(_CHUNK_ROWS, blocks_for(rows, _CHUNKS))
    chunks = blocks_for(rows, chunk)
    dz, dbias = empty(g, g.shape), empty(g, (cols,))
    partial = dbias if chunks == 1 else empty(g, (chunks, cols))
    launch(
        f"bias_{activation}_backward_{dtype}", (blocks_for(cols, _COLS), chunks), THREADS,
        dz, partial, g, s, rows, cols, chunk,
    )  # fmt: skip
    if chunks != 1:
        launch(f"bias_add_chunks_{dtype}", blocks_for(cols, THREADS), THREADS,
               dbias, partial, chunks, cols)  # fmt: skip
    return dz, dbias
