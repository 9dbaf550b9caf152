"""Arrays to call ops with: values from a seeded generator, and the memory layouts they come in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Generator = np.random.Generator
Shape = tuple[int, ...]
Inputs = Callable[[Generator, str], tuple[Any, ...]]

# Lengths at which a vector loop of 4, 8 or 16 lanes, unrolled up to four times, takes another way.
TAILS: tuple[int, ...] = (*range(1, 36), 47, 48, 49, 63, 64, 65, 127, 128, 129, 255, 256, 257)

# Elements of float32 that the caches cannot hold, so that they are written around them
# (csrc/base/stream.h), and no multiple of a vector.
STREAMED = (4 << 20) // 4 + 37

LAYOUTS: tuple[str, ...] = (
    "contiguous",
    "transposed",
    "channels_last",
    "misaligned",
    "sliced",
    "gapped",
    "reversed",
    "expanded",
)


def normal(rng: Generator, dtype: str, *shape: int) -> Array:
    """Standard normal numbers."""
    return rng.standard_normal(shape).astype(dtype)


def away_from_zero(rng: Generator, dtype: str, *shape: int) -> Array:
    """Normal numbers moved off zero by a half: kinks and poles lie there."""
    x = rng.standard_normal(shape)
    return (x + np.copysign(0.5, x)).astype(dtype)


def positive(rng: Generator, dtype: str, *shape: int) -> Array:
    """Uniform numbers in [0.5, 2)."""
    return rng.uniform(0.5, 2.0, shape).astype(dtype)


def distinct(rng: Generator, dtype: str, *shape: int) -> Array:
    """A shuffle of equally spaced numbers in [-1, 1]: no ties, no two within a difference step."""
    count = math.prod(shape)
    return rng.permutation(np.linspace(-1.0, 1.0, count)).reshape(shape).astype(dtype)


def arrays(
    *shapes: Shape, values: Callable[..., Array] = normal, layouts: Sequence[str] = ()
) -> Inputs:
    """The inputs of a case: an array of `values` of each shape, in the layout at its place."""
    how = layouts or ["contiguous"] * len(shapes)

    def inputs(rng: Generator, dtype: str) -> tuple[Array, ...]:
        made = (values(rng, dtype, *shape) for shape in shapes)
        return tuple(laid_out(x, layout) for x, layout in zip(made, how, strict=True))

    return inputs


def special(dtype: str) -> Array:
    """The values that arithmetic treats in its own way, both signs of each."""
    info = np.finfo(dtype)
    values = [
        0.0,
        float(info.smallest_subnormal),
        float(info.tiny) / 4,
        float(info.tiny),
        float(info.eps),
        1e-3,
        1.0,
        20.0,
        88.0,
        104.0,
        710.0,
        float(info.max),
        np.inf,
        np.nan,
    ]
    return np.array([s * v for v in values for s in (1.0, -1.0)], dtype)


def laid_out(x: Array, layout: str) -> Array:
    """The values of `x` in another memory layout (of LAYOUTS).

    "transposed" has the axes in reverse order in memory, "channels_last" axis 1 as the fastest;
    "misaligned" begins one element past a 64-byte boundary; "sliced" is every other element of the
    last axis; "gapped" the inner part of a larger array; "reversed" has negative strides;
    "expanded" repeats its first element along the last axis with stride 0: other values than x's.

    Beyond LAYOUTS, "repeated" is "expanded" with those first elements side by side in memory: of a
    matrix, strides (1, 0).
    """
    if layout == "contiguous":
        return np.ascontiguousarray(x)
    if layout == "transposed":
        return np.ascontiguousarray(x.T).T
    if layout == "channels_last":
        if x.ndim < 3:
            return np.asfortranarray(x)
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "misaligned":
        return placed(x, x.itemsize)
    if layout == "expanded":
        return np.broadcast_to(x[..., :1], x.shape) if x.ndim and x.shape[-1] else x
    if layout == "repeated":
        return np.broadcast_to(np.ascontiguousarray(x[..., :1]), x.shape)
    if layout == "reversed":
        every = tuple(slice(None, None, -1) for _ in x.shape)
        return np.ascontiguousarray(x[every])[every]
    steps: Sequence[slice]
    if layout == "sliced":
        shape, steps = (*x.shape[:-1], 2 * x.shape[-1]), (..., slice(None, None, 2))  # type: ignore[assignment]
    else:
        shape = tuple(n + 3 for n in x.shape)
        steps = tuple(slice(1, 1 + n) for n in x.shape)
    base = np.full(shape, np.nan, x.dtype)  # read by nobody
    view = base[tuple(steps)]
    view[...] = x
    return view


def placed(x: Array, offset: int) -> Array:
    """A contiguous copy that begins `offset` bytes past a 64-byte boundary.

    >>> placed(np.ones(3), 8).ctypes.data % 64
    8
    """
    room = np.empty(x.nbytes + 64 + offset, np.uint8)
    start = -room.ctypes.data % 64 + offset
    out = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    out[...] = x
    return out
