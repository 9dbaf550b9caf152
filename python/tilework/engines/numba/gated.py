"""Activations times a second operand, one pass each way: two arrays, or the halves of one."""

import math
from typing import Any

import numpy as np

from tilework.engines.numba.compiled import jit, quiet
from tilework.engines.numba.layout import Array, empty_like, flat, in_layout_of, widened
from tilework.engines.numba.pointwise import (
    gelu,
    gelu_gradient,
    gelu_tanh,
    gelu_tanh_gradient,
    logistic,
    silu,
    silu_gradient,
    within,
)

SIGMOID, SILU, GELU, GELU_TANH = range(4)
# op -> (the gate's activation, whether the gate is the first of both)
_OPS: dict[str, tuple[int, bool]] = {
    "glu": (SIGMOID, False),
    "swiglu": (SILU, True),
    "geglu": (GELU, True),
    "geglu_tanh": (GELU_TANH, True),
}


@jit
def _value(activation: int, x: Any) -> Any:
    if activation == SIGMOID:
        return logistic(x)
    if activation == SILU:
        return silu(x)
    return gelu(x) if activation == GELU else gelu_tanh(x)


@jit
def _gradient(activation: int, grad: Any, x: Any) -> Any:
    if activation == SIGMOID:
        z = within(x)
        return grad * logistic(z) * logistic(-z)
    if activation == SILU:
        return silu_gradient(grad, x)
    return gelu_gradient(grad, x) if activation == GELU else gelu_tanh_gradient(grad, x)


@jit
def _forward(activation: int, gate: Any, value: Any, out: Any) -> None:
    for r in range(gate.shape[0]):
        for i in range(gate.shape[1]):
            out[r, i] = _value(activation, np.float64(gate[r, i])) * value[r, i]


@jit
def _backward(activation: int, grad: Any, gate: Any, value: Any, dgate: Any, dvalue: Any) -> None:
    for r in range(gate.shape[0]):
        for i in range(gate.shape[1]):
            x, g = np.float64(gate[r, i]), np.float64(grad[r, i])
            dgate[r, i] = _gradient(activation, g * value[r, i], x)
            dvalue[r, i] = g * _value(activation, x)


def _halves(x: Array, axis: int) -> Array:
    """(rows, 2, columns) of x in C order: its halves along an axis beside each other."""
    inner = math.prod(x.shape[axis + 1 :])
    half = x.shape[axis] // 2 * inner
    return x.reshape(x.size // (2 * half) if half else 0, 2, half)


def _sides(op: str, first: Any, second: Any) -> tuple[Any, Any]:
    """(gate, value) of both, and both of (gate, value)."""
    return (first, second) if _OPS[op][1] else (second, first)


def _rows(x: Array, other: Array | None, axis: int) -> tuple[Array, Array]:
    """Both operands as (rows, columns)."""
    if other is None:
        pair = _halves(np.ascontiguousarray(x), axis)
        return pair[:, 0], pair[:, 1]
    return flat(x)[None], flat(in_layout_of(other, empty_like(x)))[None]


@quiet
def gated_forward(op: str, x: Array, other: Array | None, axis: int) -> Array:
    a, b = _rows(widened(x), None if other is None else widened(other), axis)
    if other is None:
        shape = [n // 2 if i == axis else n for i, n in enumerate(x.shape)]
        out = np.empty(shape, a.dtype)
        rows = out.reshape(a.shape)
    else:
        out = empty_like(widened(x))
        rows = flat(out)[None]
    _forward(_OPS[op][0], *_sides(op, a, b), rows)
    return out.astype(x.dtype, copy=False)


@quiet
def gated_backward(
    op: str, grad: Array, x: Array, other: Array | None, axis: int
) -> tuple[Array, Array | None]:
    a, b = _rows(widened(x), None if other is None else widened(other), axis)
    g = widened(grad)
    if other is None:
        dx = np.empty(x.shape, a.dtype)
        pair = _halves(dx, axis)
        da, db, dother = pair[:, 0], pair[:, 1], None
        g = np.ascontiguousarray(g).reshape(a.shape)
    else:
        dx, dother = empty_like(widened(x)), empty_like(widened(x))
        da, db = flat(dx)[None], flat(dother)[None]
        g = flat(in_layout_of(g, dx))[None]
    _backward(_OPS[op][0], g, *_sides(op, a, b), *_sides(op, da, db))
    return dx.astype(x.dtype, copy=False), None if dother is None else dother.astype(
        x.dtype, copy=False
    )
