"""Resizing planes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from tilework.autograd import mode as grad_mode
from tilework.autograd import record
from tilework.engines import ops
from tilework.errors import error, word
from tilework.functional.common import operand, room_for
from tilework.functional.planes import (
    is_channels_last,
    linear_op,
    narrowed,
    planes,
    shaped,
    unplaned,
    widened,
)
from tilework.functional.pool import adaptive_avg_pool1d, adaptive_avg_pool2d
from tilework.tensor import Tensor

Array = Any
_MODES = {1: ("nearest", "nearest-exact", "linear", "area"),
          2: ("nearest", "nearest-exact", "bilinear", "area")}  # fmt: skip


@lru_cache(maxsize=512)
def _nearest(size: int, count: int, factor: float | None, exact: bool) -> tuple[Array, None]:
    """The input of each output. In float32, as PyTorch computes it: the same are chosen."""
    scale = np.float32(size / count if factor is None else 1.0 / factor)
    place = np.arange(count, dtype=np.float32)
    if exact:
        place += np.float32(0.5)
    elif count in (size, 2 * size):
        scale = np.float32(size / count)
    found = np.minimum((place * scale).astype(np.int64), size - 1)
    return np.stack([found, found], 1), None


@lru_cache(maxsize=512)
def _linear(
    size: int, count: int, factor: float | None, align_corners: bool
) -> tuple[Array, Array]:
    """The two inputs around each output, and the weight of the second."""
    out = np.arange(count, dtype=np.int64)
    if factor is not None and not align_corners:
        place = np.maximum((out + 0.5) / factor - 0.5, 0.0)
        low = np.minimum(place.astype(np.int64), size - 1)
        weight = np.clip(place - low, 0.0, 1.0)
    else:  # in fractions, so that no position is rounded
        top, bottom = out * (size - 1), max(count - 1, 1)
        if not align_corners:
            top, bottom = np.maximum((2 * out + 1) * size - count, 0), 2 * count
        low, rest = np.divmod(top, bottom)
        weight = rest / bottom
    return np.stack([low, np.minimum(low + 1, size - 1)], 1), weight


class _Resize:
    """What both directions share: the tables, the input's size, its layout."""

    __slots__ = ("channels_last", "shape", "tables")

    def __init__(self, array: Array, tables: tuple[Any, ...]) -> None:
        self.shape = array.shape
        self.tables = tables
        self.channels_last = is_channels_last(array)

    def forward(self, x: Array) -> Array:
        return ops.interpolate_forward(shaped(x, self.shape), *self.tables)

    def backward(self, grad: Array) -> Array:
        n, c, height, width = self.shape
        rows, row_weights, cols, col_weights = self.tables
        grad = shaped(grad, (n, c, len(rows), len(cols)))
        return ops.interpolate_backward(
            grad, rows, row_weights, cols, col_weights, height, width, self.channels_last
        )


_INTERPOLATE = linear_op("interpolate")


def _fits(value: Any, least: float) -> bool:
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0 and value.dtype.kind in "iu":
        value = value.item()
    return isinstance(value, (int, float, np.number)) and bool(least <= value < 2**63)


def _sides(name: str, value: Any, dims: int, least: float) -> tuple[Any, ...]:
    """One number, or one a dimension, of at least `least`."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * dims
    if len(given) != dims or not all(_fits(v, least) for v in given):
        raise error(
            ValueError, "interpolate", f"{name} as one number, or {dims}, above 0", value,
            "give one a dimension",
        )  # fmt: skip
    return given


def _sizes(
    spatial: tuple[int, ...], size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """The result's size, and the scale that positions are computed by (None: that of the sizes)."""
    dims = len(spatial)
    if (size is None) == (scale_factor is None):
        raise error(
            ValueError, "interpolate", "one of size and scale_factor",
            "neither" if size is None else "both", "give one of them",
        )  # fmt: skip
    if size is not None:
        if recompute:
            raise error(
                ValueError, "interpolate", "recompute_scale_factor beside scale_factor",
                "size", "leave it out",
            )  # fmt: skip
        wanted = _sides("size", size, dims, 1)
        return tuple(int(v) for v in wanted), (None,) * dims
    factors = _sides("scale_factor", scale_factor, dims, 1e-30)
    counts = tuple(math.floor(n * float(f)) for n, f in zip(spatial, factors, strict=True))
    if min(counts) < 1:
        raise error(
            ValueError, "interpolate", "a result of at least one element a side",
            f"{counts} of {spatial} by {scale_factor}", "raise scale_factor",
        )  # fmt: skip
    return counts, (None,) * dims if recompute else tuple(float(f) for f in factors)


def _check_mode(dims: int, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if mode not in _MODES[dims]:
        raise error(
            ValueError, "interpolate", f"mode among {', '.join(_MODES[dims])} for {dims + 2} axes",
            word(mode), "name one of them",
        )  # fmt: skip
    if align_corners is not None and "linear" not in mode:
        raise error(
            ValueError, "interpolate", "align_corners with linear and bilinear alone",
            f"it with {mode}", "leave it out",
        )  # fmt: skip
    if antialias:
        raise error(
            ValueError, "interpolate", "antialias=False", antialias, 'use mode="area" to shrink'
        )


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """The planes of an input (N, C, H, W), or the lines of (N, C, L), in another size.

    Give `size` (a number, or one a dimension) or `scale_factor`; with recompute_scale_factor
    positions go by the sizes, not by the factor itself. `mode` is "nearest", "nearest-exact",
    "linear" (three axes), "bilinear" (four) or "area" (adaptive average). With `align_corners` the
    outermost elements keep their places, else the outermost edges do. TypeError on integers;
    ValueError on another rank or mode, or a size below 1.

    >>> F.interpolate(tw.tensor([[[1.0, 3.0]]]), size=3, mode="linear", align_corners=True)
    tensor([[[1., 2., 3.]]])
    """
    x, narrow = widened(operand(input, "interpolate"))
    dims = 1 if x._array.ndim == 3 else 2
    array = planes("interpolate", x, dims, batched=True)
    _check_mode(dims, mode, align_corners, antialias)
    spatial = array.shape[-dims:]
    counts, factors = _sizes(spatial, size, scale_factor, recompute_scale_factor)
    result: Tensor
    if mode == "area":
        pooled = adaptive_avg_pool1d if dims == 1 else adaptive_avg_pool2d
        result = narrowed(pooled(x, counts), narrow)
        return result
    room_for("interpolate", (*x.shape[:2], *counts))
    tables: list[Any] = [] if dims == 2 else [*_nearest(1, 1, None, False)]
    for n, count, factor in zip(spatial, counts, factors, strict=True):
        if "linear" in mode:
            tables += _linear(n, count, factor, bool(align_corners))
        else:
            tables += _nearest(n, count, factor, mode == "nearest-exact")
    if dims == 1 and "linear" in mode:
        tables[:2] = _linear(1, 1, None, False)
    resize = _Resize(array, tuple(tables))
    y = unplaned(resize.forward(array), x, dims)
    if grad_mode.enabled and x._requires_grad:
        record(y, _INTERPOLATE, (x,), resize)
    result = narrowed(y, narrow)
    return result
