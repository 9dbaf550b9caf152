"""Elementwise ops by array functions."""

from __future__ import annotations

from typing import Any

from tilework.arrays import as_array, broadcast_shapes, is_array, namespace
from tilework.dtypes import bfloat16
from tilework.engines.cupy.base import (
    Array,
    bits,
    laid_as,
    narrow,
    quiet,
    stored,
    wide,
    widen,
    widened,
)
from tilework.engines.cupy.functions import UNARY
from tilework.engines.cupy.random import words
from tilework.engines.cupy.reduce import sum
from tilework.engines.layout import contiguous, inverse, memory_order

__all__ = [
    "BINARY_OPS",
    "UNARY_OPS",
    "accumulate_",
    "bias_activation_backward",
    "bias_activation_forward",
    "binary_forward",
    "clamp_backward",
    "clamp_forward",
    "dropout_backward",
    "dropout_forward",
    "narrow",
    "unary_backward",
    "unary_forward",
    "widen",
]

UNARY_OPS: dict[str, str] = {op: saved for op, (saved, _, _) in UNARY.items()}
_BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "true_divide",
    "maximum": "maximum", "minimum": "minimum", "pow": "power",
}  # fmt: skip
BINARY_OPS: tuple[str, ...] = tuple(_BINARY)
# The kernels': roots are NaN at -Inf, where C's pow gives Inf.
_POWERS = {-1.0: "reciprocal", -0.5: "rsqrt", 0.5: "sqrt", 2.0: "square", 3.0: "cube"}


@quiet
def unary_forward(op: str, x: Array) -> Array:
    return laid_as(stored(UNARY[op][1](wide(x)), x.dtype), x)


@quiet
def unary_backward(op: str, grad: Array, saved: Array) -> Array:
    return laid_as(stored(UNARY[op][2](wide(grad), wide(saved)), saved.dtype), saved)


@quiet
def binary_forward(op: str, a: Array | float, b: Array | float) -> Array:
    if op == "pow" and is_array(a) and isinstance(b, float) and b in _POWERS:
        return unary_forward(_POWERS[b], a)
    arrays: list[Any] = [x for x in (a, b) if is_array(x)]
    dtype, shape = arrays[0].dtype, broadcast_shapes(*(x.shape for x in arrays))
    model = next((x for x in arrays if x.shape == shape), None)
    convert = wide if op == "pow" else widened  # powers take more than one rounding
    sides: list[Any] = [convert(x) if is_array(x) else x for x in (a, b)]
    real = next(
        x for x in sides if is_array(x)
    ).dtype.type  # a number beside an array is of its dtype
    sides = [x if is_array(x) else real(dtype.type(x)) for x in sides]
    y = stored(getattr(namespace(arrays[0]), _BINARY[op])(*sides), dtype)
    return contiguous(y) if model is None else laid_as(y, model)


def activate(z: Array, activation: str, save: bool) -> tuple[Array, Array | None]:
    """(activation(z), what its backward wants of it)."""
    if activation == "none":
        return z, None
    y = unary_forward(activation, z)
    return y, (z if UNARY_OPS[activation] == "input" else y) if save else None


def activation_gradient(grad: Array, saved: Array | None, activation: str) -> Array:
    if saved is None or activation == "none":
        return grad
    return unary_backward(activation, grad, saved)


@quiet
def bias_activation_forward(
    x: Array, bias: Array, activation: str, save: bool
) -> tuple[Array, Array | None]:
    z = laid_as(stored(widened(x) + widened(bias), x.dtype), x)
    return activate(z, activation, save)


@quiet
def bias_activation_backward(
    grad: Array, saved: Array | None, activation: str
) -> tuple[Array, Array]:
    dz = activation_gradient(grad, saved, activation)
    if dz is grad:
        dz = laid_as(grad.copy(), grad)
    return dz, sum(dz, tuple(range(dz.ndim - 1)), False)


@quiet
def clamp_forward(x: Array, low: float, high: float) -> Array:
    xp, given = namespace(x), widened(x)
    least, most = (given.dtype.type(x.dtype.type(limit)) for limit in (low, high))
    return laid_as(stored(xp.minimum(xp.maximum(given, least), most), x.dtype), x)


@quiet
def clamp_backward(grad: Array, x: Array, low: float, high: float) -> Array:
    given = widened(x)
    least, most = (given.dtype.type(x.dtype.type(limit)) for limit in (low, high))
    inside = (given >= least) & (given <= most)
    kept = namespace(x).where(inside, bits(grad), bits(grad).dtype.type(0))
    return laid_as(as_array(kept).view(x.dtype), x)


@quiet
def dropout_forward(x: Array, p: float, seed: int, call: int) -> Array:
    xp, order = namespace(x), memory_order(x) or list(range(x.ndim))
    given = widened(x).transpose(order)
    drawn = words(xp, x.size, seed, call).astype("int64")  # 2^32 drops all: no uint32 holds it
    kept = drawn.reshape(given.shape) >= round(p * 2**32)
    scale = given.dtype.type(1.0 / (1.0 - p) if p < 1.0 else 0.0)
    y = stored(xp.where(kept, given * scale, given.dtype.type(0)), x.dtype)
    return laid_as(y.transpose(inverse(order)), x)


def dropout_backward(grad: Array, p: float, seed: int, call: int) -> Array:
    return dropout_forward(grad, p, seed, call)  # the same mask, made again from its numbers


@quiet
def accumulate_(destination: Array, source: Array) -> None:
    if destination.dtype == bfloat16:
        destination[...] = narrow(as_array(widen(destination) + widened(source)))
    else:
        destination += source
