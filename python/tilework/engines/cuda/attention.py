"""Attention: tiles by the width of a key or a value; float32 and float64 on CUDA cores, bfloat16 on
tensor cores.

Inputs are read where they lie, whatever their strides, as long as the last axis is adjacent.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from tilework.arrays import address
from tilework.dtypes import float32, float64
from tilework.engines import cupy as beside
from tilework.engines.cuda.launch import blocks_for, contiguous, empty, launch
from tilework.engines.score_rule import ScoreRule

__all__ = [
    "attention_backward",
    "attention_forward",
    "varlen_attention_backward",
    "varlen_attention_forward",
]

Array = Any
cupy: Any = beside  # for what has no kernel
_NAMES = {"float32": "float", "float64": "double", "bfloat16": "bfloat16"}
_WIDTHS = {"float32": (32, 64, 128, 256), "float64": (32, 64, 128), "bfloat16": (32, 64, 128, 256)}
_LANES, _DOT_WARPS = 16, 4  # as in attention_cores.cuh, attention.cuh


class _Tile(NamedTuple):
    """A kernel's tiles: its name's end, rows of a block, its threads and its shared memory."""

    name: str
    rows: int
    threads: int
    shared: int


def _width(q: Array, v: Array) -> int:
    """Elements of a row in shared memory."""
    return next(w for w in _WIDTHS[q.dtype.name] if w >= max(q.shape[3], v.shape[3]))


def _tile(q: Array, v: Array, backward: bool) -> _Tile:
    """As attention_cores.cuh or attention_bf16.cuh has it: rows of shared memory are padded."""
    width, size = _width(q, v), q.dtype.itemsize
    name, wide = f"{width}_{_NAMES[q.dtype.name]}", width * size
    if size == 2:
        rows, cols = (64, 64) if width <= 128 else (32, 32)
        if backward:
            cols = 64 if width <= 32 else 32 if width <= 64 else 16
        count = 2 * rows + 4 * cols if backward else rows + 2 * cols
        return _Tile(name, rows, 128, count * (wide + 16))
    rows, each = 64 if wide <= 512 else 32, 4
    if backward:
        rows, each = (32, 4) if wide <= 512 else (16, 2)
    cols = 64 if wide <= 128 else 32 if wide <= 512 else 16
    count = (2 * rows if backward else rows) + 2 * cols
    shared = count * (wide + 16) + rows * (cols * size + 64 // each)
    return _Tile(name, rows, rows // each * _LANES, shared)


def _served(q: Array, v: Array) -> bool:
    widths = _WIDTHS.get(q.dtype.name)
    return widths is not None and max(q.shape[3], v.shape[3]) <= widths[-1]


def _adjacent(x: Array) -> Array:
    """`x` where its last axis is adjacent in memory, else a copy in C order."""
    if x.shape[3] <= 1 or x.strides[3] == x.itemsize:
        return x
    made = empty(x, x.shape)
    made[...] = x
    return made


def _rows(x: Array) -> tuple[Any, ...]:
    """An array of (batch, heads, rows, width) as kernels take it: strides count elements."""
    return (x, *(s // x.itemsize for s in x.strides[:3]))


def _in_pieces(*arrays: Array) -> bool:
    """Whether all rows are whole pieces of 16 bytes, aligned."""
    return all(
        address(x) % 16 == 0
        and x.shape[3] * x.itemsize % 16 == 0
        and all(n == 1 or s % 16 == 0 for n, s in zip(x.shape[:3], x.strides, strict=False))
        for x in arrays
    )


def _bias(rule: ScoreRule) -> tuple[Any, ...]:
    x = rule.bias
    if x is None:
        return (None, 0, 0, 0, 0)
    return (x, *(0 if n == 1 else s // x.itemsize for n, s in zip(x.shape, x.strides, strict=True)))


def _call(q: Array, k: Array, v: Array, rule: ScoreRule, vectors: bool) -> tuple[Any, ...]:
    """TW_ATTENTION_PARAMETERS."""
    heads, queries, keys = q.shape[1], q.shape[2], k.shape[2]
    slopes = None if rule.slopes is None else contiguous(rule.slopes)
    threshold = min(round(rule.p * 2**32), 2**32 - 1) if rule.p else -1
    return (
        *_rows(q), *_rows(k), *_rows(v), heads, heads // max(k.shape[1], 1), queries, keys,
        q.shape[3], v.shape[3], vectors, float(rule.scale), float(rule.softcap), slopes,
        *_bias(rule), rule.diagonal, rule.left, rule.right, threshold,
        1 / (1 - rule.p) if rule.p < 1 else 0.0, rule.seed, rule.call,
    )  # fmt: skip


def _result(like: Array, shape: tuple[int, ...]) -> Array:
    """(B, H, L, E) that lies in memory as (B, L, H, E)."""
    b, h, rows, width = shape
    return empty(like, (b, rows, h, width)).swapaxes(1, 2)


def attention_forward(
    q: Array, k: Array, v: Array, bias: Any, scale: float, softcap: float, slopes: Any,
    diagonal: int, left: int, right: int, p: float, seed: int, call: int,
) -> tuple[Array, Array]:  # fmt: skip
    rule = ScoreRule(bias, scale, softcap, slopes, diagonal, left, right, p, seed, call)
    if not _served(q, v):
        found: tuple[Array, Array] = cupy.attention_forward(q, k, v, *rule)
        return found
    q, k, v = map(_adjacent, (q, k, v))
    out = _result(q, (*q.shape[:3], v.shape[3]))
    log_sums = empty(q, q.shape[:3], float64 if q.dtype == float64 else float32)
    tile = _tile(q, v, False)
    blocks = q.shape[0] * q.shape[1] * blocks_for(q.shape[2], tile.rows)
    launch(
        f"attention_forward_{tile.name}", blocks, tile.threads,
        *_call(q, k, v, rule, _in_pieces(q, k, v)), *_rows(out), log_sums, shared=tile.shared,
    )  # fmt: skip
    return out, log_sums


def attention_backward(
    grad: Array, q: Array, k: Array, v: Array, out: Array, log_sums: Array, bias: Any,
    scale: float, softcap: float, slopes: Any, diagonal: int, left: int, right: int, p: float,
    seed: int, call: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    rule = ScoreRule(bias, scale, softcap, slopes, diagonal, left, right, p, seed, call)
    if not _served(q, v):
        found: tuple[Array, Array, Array] = cupy.attention_backward(
            grad, q, k, v, out, log_sums, *rule
        )
        return found
    grad, q, k, v, out = map(_adjacent, (grad, q, k, v, out))
    batch, heads, queries, _ = q.shape
    dq, dk, dv = (_result(q, x.shape) for x in (q, k, v))
    dots, rows = empty(log_sums, log_sums.shape), log_sums.size
    launch(
        f"attention_dots_{_NAMES[q.dtype.name]}", blocks_for(rows, _DOT_WARPS), _DOT_WARPS * 32,
        dots, *_rows(out), *_rows(grad), heads, queries, rows, v.shape[3],
    )  # fmt: skip
    given = (
        *_call(q, k, v, rule, _in_pieces(q, k, v, grad)), *_rows(grad), log_sums, dots,
    )  # fmt: skip
    tile = _tile(q, v, True)
    launch(
        f"attention_query_gradients_{tile.name}",
        batch * heads * blocks_for(queries, tile.rows), tile.threads,
        *given, *_rows(dq), shared=tile.shared,
    )  # fmt: skip
    launch(
        f"attention_key_gradients_{tile.name}",
        math.prod(k.shape[:2]) * blocks_for(k.shape[2], tile.rows), tile.threads,
        *given, *_rows(dk), *_rows(dv), shared=tile.shared,
    )  # fmt: skip
    return dq, dk, dv


def varlen_attention_forward(*args: Any) -> tuple[Array, Array]:
    found: tuple[Array, Array] = cupy.varlen_attention_forward(*args)
    return found


def varlen_attention_backward(*args: Any) -> tuple[Array, Array, Array]:
    found: tuple[Array, Array, Array] = cupy.varlen_attention_backward(*args)
    return found
