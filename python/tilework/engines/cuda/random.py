"""Random tensors and dropout: a thread a counter of the CPU's stream."""

from __future__ import annotations

import math
from typing import Any

from tilework.engines import cupy, device
from tilework.engines.cuda.axes import THREADS
from tilework.engines.cuda.copy import dense
from tilework.engines.cuda.launch import blocks_for, empty_as, launch
from tilework.engines.cuda.names import FLOATS
from tilework.engines.cuda.pointwise import flat

__all__ = ["dropout_backward", "dropout_forward", "normal", "random_bits", "uniform"]

Array = Any
_WORDS = 4  # of a counter


def _signed(number: int) -> int:
    """The low 64 bits of a seed or a call's number, as a kernel's int64_t."""
    return (number + 2**63) % 2**64 - 2**63


def _filled(kernel: str, shape: tuple[int, ...], dtype: str, each: int, key: Any) -> Array:
    """A fresh array that `kernel` fills, a thread for `each` elements."""
    served: Any = device.provider
    y = served.namespace.empty(shape, dtype)
    count = math.prod(shape)
    blocks = blocks_for(blocks_for(count, each), THREADS)
    launch(kernel, blocks, THREADS, y, *map(_signed, key), count)
    return y


def random_bits(shape: tuple[int, ...], seed: int, call: int) -> Array:
    return _filled("random_bits", shape, "uint32", _WORDS, (seed, call))


def uniform(shape: tuple[int, ...], dtype: str, seed: int, call: int) -> Array:
    each = _WORDS if dtype == "float32" else _WORDS // 2
    return _filled(f"uniform_{FLOATS[dtype]}", shape, dtype, each, (seed, call))


def normal(shape: tuple[int, ...], dtype: str, seed: int, call: int) -> Array:
    each = _WORDS if dtype == "float32" else _WORDS // 2
    return _filled(f"normal_{FLOATS[dtype]}", shape, dtype, each, (seed, call))


def dropout_forward(x: Array, p: float, seed: int, call: int) -> Array:
    dtype = FLOATS.get(x.dtype.name)
    if dtype is None:
        return cupy.dropout_forward(x, p, seed, call)
    given = dense(x)
    y = empty_as(given)
    threshold = round(p * 2**32)  # what lies below is dropped
    scale = 1.0 / (1.0 - p) if p < 1.0 else 0.0
    key = _signed(seed), _signed(call)
    flat(f"dropout_{dtype}", y, y, given, threshold, scale, *key, lanes=_WORDS)
    return y


def dropout_backward(grad: Array, p: float, seed: int, call: int) -> Array:
    return dropout_forward(grad, p, seed, call)  # the same mask, made again from its numbers
