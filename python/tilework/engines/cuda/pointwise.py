"""Elementwise ops: arrays that lie alike as one flat run, others by their strides."""

from __future__ import annotations

from typing import Any

from tilework.arrays import address, broadcast_shapes, is_array
from tilework.dtypes import bfloat16
from tilework.engines import cupy
from tilework.engines.cuda.axes import PACK_BYTES, THREADS, of_arrays, same_layout, walk
from tilework.engines.cuda.copy import copy, dense, laid_as
from tilework.engines.cuda.launch import blocks_for, empty, empty_as, launch, memory_order
from tilework.engines.cuda.names import FLOATS, TYPES
from tilework.errors import error

__all__ = [
    "BINARY_OPS",
    "UNARY_OPS",
    "accumulate_",
    "binary_forward",
    "clamp_backward",
    "clamp_forward",
    "narrow",
    "unary_backward",
    "unary_forward",
    "widen",
]

Array = Any
UNARY_OPS, BINARY_OPS = cupy.UNARY_OPS, cupy.BINARY_OPS
_CONVERTED = 8  # elements of a pack, as in pointwise.cuh


def flat(kernel: str, x: Array, *args: Any, lanes: int = 0) -> None:
    """Launches `kernel` with a thread for each pack of `lanes` elements (16 bytes of x, where none
    are given), and the count of x's elements as its last argument."""
    span = flat_span(x.itemsize, lanes)
    launch(kernel, blocks_for(x.size, span), THREADS, *args, x.size)


def flat_span(itemsize: int, lanes: int = 0) -> int:
    """The elements of a block, as flat_span of csrc/base/elementwise.cuh."""
    return THREADS * (lanes or PACK_BYTES // itemsize) * (2 if itemsize < 8 else 1)


def unary_forward(op: str, x: Array) -> Array:
    dtype = FLOATS.get(x.dtype.name)
    if dtype is None:
        return cupy.unary_forward(op, x)
    given = dense(x)
    y = empty_as(given)
    flat(f"unary_{op}_{dtype}", y, y, given)
    return y


def unary_backward(op: str, grad: Array, saved: Array) -> Array:
    dtype = FLOATS.get(grad.dtype.name)
    if dtype is None:
        return cupy.unary_backward(op, grad, saved)
    reads = UNARY_OPS[op] != "none"
    given = dense(saved if reads else grad)
    g, dx = laid_as(grad, given), empty_as(given)
    flat(f"unary_{op}_backward_{dtype}", dx, dx, g, given if reads else None)
    return dx


# Powers that have an exact and faster name.
_POWERS = {
    -2.0: "inverse_square", -1.0: "reciprocal", -0.5: "rsqrt", 0.5: "sqrt", 2.0: "square",
    3.0: "cube",
}  # fmt: skip


def binary_forward(op: str, a: Array | float, b: Array | float) -> Array:
    if is_array(a) and is_array(b):
        return _of_arrays(op, a, b)
    x: Array = b if is_array(b) else a
    dtype, number = FLOATS.get(x.dtype.name), float(a if is_array(b) else b)
    if dtype is None:
        return cupy.binary_forward(op, a, b)
    if op == "pow" and x is a and number in _POWERS:
        return unary_forward(_POWERS[number], x)
    given = dense(x)
    y = empty_as(given)
    sides = (None, given) if x is b else (given, None)
    flat(f"binary_{op}_{dtype}", y, y, *sides, number)
    return y


def _of_arrays(op: str, a: Array, b: Array) -> Array:
    if a.dtype != b.dtype:
        raise error(TypeError, op, f"`b` of a's dtype, {a.dtype}", b.dtype, "convert one of them")
    dtype = FLOATS.get(a.dtype.name)
    if dtype is None:
        return cupy.binary_forward(op, a, b)
    if same_layout(a, b):
        y = empty_as(a)
        flat(f"binary_{op}_{dtype}", y, y, a, b, 0.0)
        return y
    shape = broadcast_shapes(a.shape, b.shape)
    model = next((x for x in (a, b) if x.shape == shape and memory_order(x) is not None), None)
    y = empty(a, shape) if model is None else empty_as(model)
    axes = of_arrays(shape, [y, a, b])
    if axes is None:
        return cupy.binary_forward(op, a, b)
    walk(f"binary_{op}", dtype, axes, [y, a, b])
    return y


def accumulate_(destination: Array, source: Array) -> None:
    dtype, y = TYPES.get(destination.dtype.name), destination
    if dtype is None:
        return cupy.accumulate_(destination, source)
    if _overlap(y, source):
        source = copy(source, True)
    if same_layout(y, source):
        flat(f"binary_add_{dtype}", y, y, y, source, 0.0)
    elif (axes := of_arrays(y.shape, [y, y, source])) is not None:
        walk("binary_add", dtype, axes, [y, y, source])
    else:
        cupy.accumulate_(y, source)


def _overlap(y: Array, x: Array) -> bool:
    """Whether x may have elements of y's memory at other places than y has them."""
    if address(y) == address(x) and y.strides == x.strides:
        return False
    (y_first, y_end), (x_first, x_end) = _reach(y), _reach(x)
    return x_first < y_end and y_first < x_end


def _reach(x: Array) -> tuple[int, int]:
    """Where x's memory begins and ends."""
    steps = [s * (n - 1) for n, s in zip(x.shape, x.strides, strict=True)]
    first = address(x)
    low, high = sum(s for s in steps if s < 0), sum(s for s in steps if s > 0)
    return first + low, first + high + x.itemsize


def clamp_forward(x: Array, low: float, high: float) -> Array:
    dtype = FLOATS.get(x.dtype.name)
    if dtype is None:
        return cupy.clamp_forward(x, low, high)
    given = dense(x)
    y = empty_as(given)
    flat(f"clamp_{dtype}", y, y, given, float(low), float(high))
    return y


def clamp_backward(grad: Array, x: Array, low: float, high: float) -> Array:
    dtype = FLOATS.get(x.dtype.name)
    if dtype is None:
        return cupy.clamp_backward(grad, x, low, high)
    given = dense(x)
    g, dx = laid_as(grad, given), empty_as(given)
    flat(f"clamp_backward_{dtype}", dx, dx, g, given, float(low), float(high))
    return dx


def widen(x: Array) -> Array:
    given = dense(x)
    y = empty_as(given, "float32")
    flat("widen_bfloat16", y, y, given, lanes=_CONVERTED)
    return y


def narrow(x: Array) -> Array:
    given = dense(x)
    y = empty_as(given, bfloat16)
    flat("narrow_float", y, y, given, lanes=_CONVERTED)
    return y
