"""Convolutions from their definition, in NumPy: windows by strided views, one product an image.

Arguments are F.conv2d's and F.conv_transpose2d's; images have one axis or two, with or without a
batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from tilework.testing.tolerance import growth, stored, tiny, working_eps

Array = NDArray[Any]
Size = int | Sequence[int]
Pads = list[tuple[int, int]]


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Size = 1,
    padding: str | Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """The convolution of x (N, C, *image) or (C, *image)."""
    rank = weight.ndim - 2
    reach = _reach(weight, dilation)
    if padding == "same":
        pads = [(r // 2, r - r // 2) for r in reach]
    else:
        pads = [(p, p) for p in _each(0 if padding == "valid" else padding, rank)]
    batch = x if x.ndim == rank + 2 else x[None]
    y = _over_windows(batch, weight, pads, _each(stride, rank), _each(dilation, rank), groups)
    return _with_bias(y if batch is x else y[0], bias, rank)


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> Array:
    """The transposed twin, as a plain convolution: of x with stride - 1 zeros between its elements,
    by the kernels turned around, their channels swapped."""
    rank = weight.ndim - 2
    batch = x if x.ndim == rank + 2 else x[None]
    steps, extra = _each(stride, rank), _each(output_padding, rank)
    sizes = [(n - 1) * s + 1 for n, s in zip(batch.shape[2:], steps, strict=True)]
    spread = np.zeros((*batch.shape[:2], *sizes), x.dtype)
    spread[(slice(None), slice(None), *(slice(None, None, s) for s in steps))] = batch
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    turned = np.flip(split, tuple(range(3, 3 + rank))).swapaxes(1, 2)
    kernel = turned.reshape(-1, *turned.shape[2:])
    pads = [
        (r - p, r - p + e)
        for r, p, e in zip(_reach(weight, dilation), _each(padding, rank), extra, strict=True)
    ]
    y = _over_windows(spread, kernel, pads, (1,) * rank, _each(dilation, rank), groups)
    return _with_bias(y if batch is x else y[0], bias, rank)


def _each(value: Any, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _reach(weight: Array, dilation: Size) -> list[int]:
    kernel = weight.shape[2:]
    return [d * (k - 1) for k, d in zip(kernel, _each(dilation, len(kernel)), strict=True)]


def _with_bias(y: Array, bias: Array | None, rank: int) -> Array:
    return y if bias is None else y + bias.reshape(-1, *(1,) * rank)


def _over_windows(
    x: Array,
    weight: Array,
    pads: Pads,
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Array:
    """Zeros around x (cut off where pads are negative), and the kernel over every window of it."""
    axes = tuple(range(2, x.ndim))
    cut = tuple(
        slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pads, x.shape[2:], strict=True)
    )
    grown = [(max(a, 0), max(b, 0)) for a, b in pads]
    padded = np.pad(x[(slice(None), slice(None), *cut)], [(0, 0), (0, 0), *grown])
    reach = [r + 1 for r in _reach(weight, dilation)]
    windows = sliding_window_view(padded, reach, axis=axes)
    starts = tuple(slice(None, None, s) for s in stride)
    taps = tuple(slice(None, None, d) for d in dilation)
    windows = windows[(slice(None), slice(None), *starts, *taps)]
    out = windows.shape[2 : x.ndim]
    matrix = weight.reshape(groups, weight.shape[0] // groups, int(np.prod(weight.shape[1:])))
    # (C, *out, *kernel) of an image as (groups, C / groups * kernel, out)
    order = (0, *range(x.ndim - 1, 2 * x.ndim - 3), *range(1, x.ndim - 1))
    y = np.zeros((x.shape[0], weight.shape[0], *out), x.dtype)
    for image, result in zip(windows, y, strict=True):
        unrolled = image.transpose(order).reshape(groups, matrix.shape[2], int(np.prod(out)))
        result[...] = np.matmul(matrix, unrolled).reshape(result.shape)
    return y


# --- what a result may be off by ---


def reference(op: str) -> Callable[..., Array]:
    return conv_transpose if "transpose" in op else conv


def terms(op: str, weight: Array, groups: int) -> int:
    """The longest sum: a window's products, and the bias."""
    channels = weight.shape[0] // groups if "transpose" in op else weight.shape[1]
    return int(channels * math.prod(weight.shape[2:])) + 1


def magnitude(op: str, settings: dict[str, Any], x: Array, weight: Array, *bias: Array) -> Array:
    return reference(op)(*map(np.abs, (x, weight, *bias)), **settings)


def bound(op: str, settings: dict[str, Any], dtype: str, expected: Array, *inputs: Array) -> Array:
    n = terms(op, inputs[1], settings.get("groups", 1))
    size = magnitude(op, settings, *inputs)
    error = growth(n) * working_eps(dtype) * size + (n + 1) * tiny(dtype)
    return np.asarray(stored(dtype, expected, error))


# --- unfold and fold: convolutions by the kernels that pick one element ---


def _picking(channels: int, kernel: tuple[int, ...]) -> Array:
    taps = channels * math.prod(kernel)
    return np.eye(taps).reshape(taps, channels, *kernel)


def unfolded(x: Array, kernel: tuple[int, ...], how: dict[str, Any]) -> Array:
    batch = x if x.ndim == 4 else x[None]
    seen = conv(batch, _picking(batch.shape[1], kernel), **how)
    y = seen.reshape(*seen.shape[:2], math.prod(seen.shape[2:]))
    return y if x.ndim == 4 else y[0]


def folded(y: Array, size: tuple[int, ...], kernel: tuple[int, ...], how: dict[str, Any]) -> Array:
    channels = y.shape[-2] // math.prod(kernel)
    seen = conv(np.zeros((1, 1, *size)), np.zeros((1, 1, *kernel)), **how).shape[2:]
    step, reach = (
        _each(how.get("stride", 1), 2),
        zip(kernel, _each(how.get("dilation", 1), 2), strict=True),
    )
    # What is left behind the last window belongs to the image too.
    left = [
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, p, s, (k, d) in zip(size, _each(how.get("padding", 0), 2), step, reach, strict=True)
    ]
    whole = conv_transpose(
        y.reshape(-1, y.shape[-2], *seen), _picking(channels, kernel), **how, output_padding=left
    )
    return whole if y.ndim == 3 else whole[0]
