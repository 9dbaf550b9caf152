"""Norms: rows by their own moments, and what is summed over all but the channels: the gradients of
the rows' weights, and batch norm."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tilework.arrays import namespace
from tilework.engines.cuda.launch import blocks_for, contiguous, empty, empty_as, launch
from tilework.engines.cuda.reduce import over_middle
from tilework.engines.cuda.rows import (
    NAMES,
    THREADS,
    around,
    bits_for,
    dense,
    laid_as,
    launch_rows,
    pack_width,
    tiles,
)

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "norm_rows_backward",
    "norm_rows_forward",
]

Array = Any
Maybe = Any
_DEEP, _CHAIN = 8, 16  # threads of a column at least, and rows of one that a thread takes
_PLANE = 8192  # elements of a channel's planes that a block takes


def _vector(values: Maybe) -> Maybe:
    return None if values is None else contiguous(values)


# --- blocks over (outer, channels, inner) ---


class _Blocks(NamedTuple):
    """Which form of a kernel, on how many blocks; the parts that a channel is cut into, `rows` of
    outer and `piece` of inner each; and what the kernel wants to know of it."""

    form: str
    grid: int
    parts: int
    rows: int
    piece: int
    sizes: tuple[int, ...]


def _blocks(outer: int, channels: int, inner: int, run: int, *arrays: Maybe) -> _Blocks:
    """`run`: neighbouring channels that may go as a pack, where inner is 1."""
    width = pack_width(run if inner == 1 else inner, *arrays)
    kind = "by_" if width == 1 else "by_wide_"
    if inner == 1:
        columns = tiles(channels, width, _DEEP)
        rows = _CHAIN * columns.deep
        parts = blocks_for(outer, rows)
        sizes: tuple[int, ...] = (outer, channels, columns.bits, rows, parts)
        return _Blocks(kind + "columns", parts * columns.tiles, parts, rows, 1, sizes)
    piece, rows = min(inner, _PLANE), max(1, _PLANE // inner)
    parts = blocks_for(outer, rows) * blocks_for(inner, piece)
    sizes = (outer, channels, inner, rows, piece, bits_for(piece // width, 8))
    return _Blocks(kind + "planes", parts * channels, parts, rows, piece, sizes)


def _sums(
    name: str, blocks: _Blocks, channels: int, grad: Array, x: Array, output: Maybe, mean: Maybe,
    rstd: Maybe, groups: int = 1, of_row: int = 1,
) -> Array:  # fmt: skip
    """(2, channels): the sums of grad, and of grad times x less the mean (times rstd, of rows)."""
    dtype, parts = NAMES[x.dtype.name], blocks.parts
    found = empty(x, (2 * parts * channels,))
    launch(
        f"{name}_sums_{blocks.form}_{dtype}", blocks.grid, THREADS, found, grad, x, output, mean,
        rstd, groups, of_row, *blocks.sizes,
    )  # fmt: skip
    joined = found if parts == 1 else over_middle("sum", found, 2, parts, channels, 1.0)
    return joined.reshape((2, channels))


# --- rows ---


def _in_layout_of(result: Array, x: Array) -> Array:
    return laid_as(result, empty_as(x))


def norm_rows_forward(
    x: Array,
    weight: Maybe,
    bias: Maybe,
    length: int,
    groups: int,
    channels: int,
    center: bool,
    eps: float,
    residual: Maybe = None,
) -> tuple[Array, Maybe, Array, Maybe]:
    rows, of_row = x.size // length if length else 0, channels // groups
    y, rstd = empty(x, x.shape), empty(x, (rows,))
    mean = empty(x, (rows,)) if center else None
    total = None if residual is None else empty(x, x.shape)
    launch_rows(
        "layer_norm" if center else "rms_norm", 1, rows, length, y, mean, rstd, total,
        contiguous(x), _vector(residual), _vector(weight), _vector(bias), groups, of_row,
        length // max(of_row, 1), float(eps), dtype=x.dtype.name,
    )  # fmt: skip
    return _in_layout_of(y, x), mean, rstd, None if total is None else _in_layout_of(total, x)


def norm_rows_backward(
    grad: Array,
    x: Array,
    weight: Maybe,
    mean: Maybe,
    rstd: Array,
    length: int,
    groups: int,
    channels: int,
    need_x: bool,
    onto: Maybe = None,
) -> tuple[Maybe, Array, Array]:
    given, cotangent = contiguous(x), contiguous(grad)
    rows, of_row = x.size // length if length else 0, channels // groups
    span, dx = length // max(of_row, 1), None
    if need_x:
        made = empty(x, x.shape)
        launch_rows(
            "norm_rows_backward", 2, rows, length, made, cotangent, given, _vector(weight), mean,
            rstd, _vector(onto), groups, of_row, span, dtype=x.dtype.name,
        )  # fmt: skip
        dx = _in_layout_of(made, x)
    if rows == 0:
        nothing = namespace(x).zeros((2, channels), x.dtype)
        return dx, nothing[0], nothing[1]
    blocks = _blocks(rows // groups, channels, span, of_row, cotangent, given)
    sums = _sums("norm_rows", blocks, channels, cotangent, given, None, mean, rstd, groups, of_row)
    return dx, sums[1], sums[0]


# --- batch norm ---


def _stride(running: Maybe) -> int:
    return 0 if running is None else running.strides[0] // running.itemsize


def _moments(
    x: Array, blocks: _Blocks, channels: int, inner: int, running: tuple[Maybe, Maybe],
    momentum: float, eps: float,
) -> tuple[Array, Array]:  # fmt: skip
    """The batch's, which move the running ones."""
    mean, rstd = empty(x, (channels,)), empty(x, (channels,))
    dtype, parts = NAMES[x.dtype.name], blocks.parts
    found = empty(x, (2 * parts * channels,), "float64")
    launch(
        f"batch_norm_moments_{blocks.form}_{dtype}", blocks.grid, THREADS, found, x, *blocks.sizes
    )
    launch(
        f"batch_norm_settle_{dtype}", blocks_for(channels, 32), THREADS, mean, rstd, running[0],
        _stride(running[0]), running[1], _stride(running[1]), found, blocks.sizes[0], channels,
        inner, blocks.rows, blocks.piece, parts, float(momentum), float(eps),
    )  # fmt: skip
    return mean, rstd


def _running(x: Array, mean: Array, var: Array, eps: float) -> tuple[Array, Array]:
    channels = x.shape[1]
    found = empty(x, (channels,)), empty(x, (channels,))
    launch(
        f"batch_norm_running_{NAMES[x.dtype.name]}", blocks_for(channels, THREADS), THREADS, *found,
        mean, _stride(mean), var, _stride(var), channels, float(eps),
    )  # fmt: skip
    return found


def batch_norm_forward(
    x: Array,
    weight: Maybe,
    bias: Maybe,
    running_mean: Maybe,
    running_var: Maybe,
    training: bool,
    momentum: float,
    eps: float,
    activation: str,
    residual: Maybe,
) -> tuple[Array, Array, Array]:
    x, channels = dense(x), x.shape[1]
    y = empty_as(x)
    if x.size == 0:
        if training:
            nothing = namespace(x).full((2, channels), math.nan, x.dtype)
            return y, nothing[0], nothing[1]
        return y, *_running(x, running_mean, running_var, eps)
    added = None if residual is None else laid_as(residual, x)
    outer, _, inner = around(x, 1)
    blocks = _blocks(outer, channels, inner, channels, x, y, added)
    if training:
        running = (running_mean, running_var)
        mean, rstd = _moments(x, blocks, channels, inner, running, momentum, eps)
    else:
        mean, rstd = _running(x, running_mean, running_var, eps)
    launch(
        f"batch_norm_apply_{blocks.form}_{NAMES[x.dtype.name]}", blocks.grid, THREADS, y, x, added,
        mean, rstd, _vector(weight), _vector(bias), activation == "relu", *blocks.sizes,
    )  # fmt: skip
    return y, mean, rstd


def batch_norm_backward(
    grad: Array,
    x: Array,
    weight: Maybe,
    mean: Array,
    rstd: Array,
    training: bool,
    output: Maybe,
    need_x: bool,
    need_residual: bool,
) -> tuple[Maybe, Array, Array, Maybe]:
    x, channels = dense(x), x.shape[1]
    grad, mean, rstd = laid_as(grad, x), contiguous(mean), contiguous(rstd)
    cut = None if output is None else laid_as(output, x)
    dx = empty_as(x) if need_x else None
    dresidual = empty_as(x) if need_residual and cut is not None else None
    if x.size == 0:
        nothing = namespace(x).zeros((2, channels), x.dtype)
        return dx, nothing[0], nothing[1], grad if need_residual else None
    outer, _, inner = around(x, 1)
    blocks = _blocks(outer, channels, inner, channels, x, grad, cut, dx, dresidual, mean)
    sums = _sums("batch_norm", blocks, channels, grad, x, cut, mean, None)
    dweight, terms, dtype = empty(x, (channels,)), empty(x, (3, channels)), NAMES[x.dtype.name]
    launch(
        f"batch_norm_terms_{dtype}", blocks_for(channels, THREADS), THREADS, dweight, terms, sums,
        _vector(weight), rstd, channels, channels / x.size if training else 0.0,
    )  # fmt: skip
    if dx is not None or dresidual is not None:
        launch(
            f"batch_norm_gradient_{blocks.form}_{dtype}", blocks.grid, THREADS, dx, dresidual,
            grad, x, cut, mean, terms, *blocks.sizes,
        )  # fmt: skip
    # Without relu the residual's gradient is grad itself.
    return dx, dweight, sums[0], grad if need_residual and cut is None else dresidual
