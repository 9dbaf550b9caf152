"""Convolution as a sum over the kernel's taps: a strided view of the input, times the tap's matrix.

Arrays are channels-last inside, so that a tap is one long product (P, C) @ (C, O) over all P output
pixels; what is copied at a time is one tap's view. Three sums are all there is, each the gradient
of the other two: `_gather` of the input over windows (the convolution), `_scatter` of the output
over windows (its transposed twin, and the gradient of the input), and `_correlate`, the gradient of
the weight.
"""

from __future__ import annotations

import math
from typing import Any

from tilework.arrays import namespace
from tilework.engines.cupy.base import Array, laid_as, optional, quiet, stored, widened
from tilework.engines.cupy.copy import copy
from tilework.engines.cupy.pointwise import activate, activation_gradient
from tilework.engines.cupy.reduce import sum
from tilework.engines.layout import contiguous
from tilework.engines.taps import Pair, Windows

__all__ = [
    "PackedConvWeight",
    "conv_backward",
    "conv_forward",
    "conv_transpose_backward",
    "conv_transpose_forward",
    "pack_conv_weight",
]


def _by_group(x: Array, groups: int) -> Array:
    """(N, C, H, W) as (groups, N, H, W, C / groups), channels last in memory."""
    image = contiguous(x.transpose(0, 2, 3, 1))
    return _split(image, groups)


def _split(image: Array, groups: int) -> Array:
    """(N, H, W, C) as (groups, N, H, W, C / groups)."""
    return image.reshape(*image.shape[:3], groups, image.shape[3] // groups).transpose(
        3, 0, 1, 2, 4
    )


def _by_tap(weight: Array, groups: int) -> Array:
    """(O, I, KH, KW) as (KH, KW, groups, I, O / groups)."""
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    return contiguous(split.transpose(3, 4, 0, 2, 1))


def _pixels(image: Array) -> Array:
    """(groups, N, H, W, C) as (groups, N * H * W, C)."""
    return contiguous(image).reshape(image.shape[0], math.prod(image.shape[1:4]), image.shape[4])


def _channels_first(image: Array) -> Array:
    return image.transpose(0, 3, 1, 2)


def _gather(x: Array, weight: Array, windows: Windows, groups: int) -> Array:
    """The convolution of x (N, C, H, W), as (N, O, OH, OW)."""
    xp, n, outputs = namespace(x), x.shape[0], weight.shape[0]
    image, taps = _by_group(x, groups), _by_tap(weight, groups)
    z = xp.zeros((n, *windows.out, outputs), x.dtype)
    grouped = _split(z, groups)
    for i, j, there, here in windows.taps():
        sums = grouped[there]
        sums += xp.matmul(_pixels(image[here]), taps[i, j]).reshape(sums.shape)
    return _channels_first(z)


def _scatter(y: Array, weight: Array, windows: Windows, groups: int) -> Array:
    """What the windows of y (N, O, OH, OW) add up to in their input, as (N, C, H, W)."""
    xp, pixels = namespace(y), _by_group(y, groups)
    taps = _by_tap(weight, groups).swapaxes(-1, -2)
    sums = xp.zeros((y.shape[0], *windows.size, weight.shape[1] * groups), y.dtype)
    grouped = _split(sums, groups)
    for i, j, there, here in windows.taps():
        image = grouped[here]
        image += xp.matmul(_pixels(pixels[there]), taps[i, j]).reshape(image.shape)
    return _channels_first(sums)


def _correlate(y: Array, x: Array, weight: Array, windows: Windows, groups: int) -> Array:
    """The gradient of the weight, laid out as it is: y (N, O, OH, OW), x (N, C, H, W)."""
    xp, (outputs, inputs, *kernel) = namespace(y), weight.shape
    image, pixels = _by_group(x, groups), _by_group(y, groups)
    taps = xp.zeros((*kernel, groups, outputs // groups, inputs), y.dtype)
    for i, j, there, here in windows.taps():
        taps[i, j] = xp.matmul(_pixels(pixels[there]).swapaxes(-1, -2), _pixels(image[here]))
    return laid_as(taps.reshape(*kernel, outputs, inputs).transpose(2, 3, 0, 1), weight)


def _size(x: Array) -> Any:
    return x.shape[2:]


class PackedConvWeight:
    """A weight for many calls, held as it came: BLAS reads any order."""

    def __init__(self, weight: Array) -> None:
        self.weight = weight

    @property
    def nbytes(self) -> int:
        return 0


def pack_conv_weight(weight: Array) -> PackedConvWeight:
    return PackedConvWeight(weight)


def _activated(
    z: Array, more: tuple[Array | None, ...], activation: str, save: bool, dtype: Any
) -> tuple[Array, Array | None]:
    for added in more:
        if added is not None:
            z += widened(added)
    y, saved = activate(z, activation, save)
    out = stored(y, dtype)
    return out, out if saved is y else optional(saved, dtype)


def _over_channels(bias: Array | None) -> Array | None:
    return None if bias is None else bias.reshape(-1, 1, 1)


@quiet
def conv_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    residual: Array | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    out_size: Pair,
    activation: str,
    save: bool,
    packed: PackedConvWeight | None = None,
) -> tuple[Array, Array | None]:
    windows = Windows(stride, padding, dilation, _size(weight), out_size, _size(x))
    z = _gather(widened(x), widened(weight), windows, groups)
    return _activated(z, (_over_channels(bias), residual), activation, save, x.dtype)


def _before_activation(grad: Array, saved: Array | None, activation: str) -> Array:
    return activation_gradient(widened(grad), None if saved is None else widened(saved), activation)


@quiet
def conv_backward(
    grad: Array,
    x: Array,
    weight: Array,
    saved: Array | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    activation: str,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
    need_residual: bool = False,
) -> tuple[Array | None, Array | None, Array | None, Array | None]:
    dz = _before_activation(grad, saved, activation)
    windows = Windows(stride, padding, dilation, _size(weight), _size(grad), _size(x))
    dx = _scatter(dz, widened(weight), windows, groups) if need_x else None
    dw = _correlate(dz, widened(x), widened(weight), windows, groups) if need_weight else None
    dbias = sum(dz, (0, 2, 3), False) if need_bias else None
    dresidual = (copy(dz, True) if dz is grad else dz) if need_residual else None
    found = (optional(g, x.dtype) for g in (dx, dw, dbias, dresidual))
    return next(found), next(found), next(found), next(found)


@quiet
def conv_transpose_forward(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    out_size: Pair,
    activation: str,
    save: bool,
) -> tuple[Array, Array | None]:
    windows = Windows(stride, padding, dilation, _size(weight), _size(x), out_size)
    z = _scatter(widened(x), widened(weight), windows, groups)
    return _activated(z, (_over_channels(bias),), activation, save, x.dtype)


@quiet
def conv_transpose_backward(
    grad: Array,
    x: Array,
    weight: Array,
    saved: Array | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    activation: str,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Array | None, Array | None, Array | None]:
    dz = _before_activation(grad, saved, activation)
    windows = Windows(stride, padding, dilation, _size(weight), _size(x), _size(grad))
    dx = _gather(dz, widened(weight), windows, groups) if need_x else None
    dw = _correlate(widened(x), dz, widened(weight), windows, groups) if need_weight else None
    dbias = sum(dz, (0, 2, 3), False) if need_bias else None
    return optional(dx, x.dtype), optional(dw, x.dtype), optional(dbias, x.dtype)
