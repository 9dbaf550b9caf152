"""Convolution as a sum over the kernel's taps: a strided view of the input, times the tap's matrix.

Arrays are channels-last inside, so that a tap is one long product (P, C) @ (C, O) over all P output
pixels. What is copied at a time is one tap's view, never the input unrolled. Depthwise taps, of one
channel a group, are elementwise products.

Three sums are all there is, each the gradient of the other two: `_gather` of the input over windows
(the convolution), `_scatter` of the output over windows (its transposed twin, and the gradient of
the input), and `_correlate`, the gradient of the weight.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from tilework.dtypes import bfloat16
from tilework.engines.numba.compiled import quiet
from tilework.engines.numba.layout import Array, empty_like
from tilework.engines.numba.pointwise import activate, activation_gradient
from tilework.engines.numba.reduce import sum
from tilework.engines.taps import Pair, Windows

P = ParamSpec("P")
R = TypeVar("R", bound=tuple[Array | None, ...])


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """bfloat16 arrays go in widened, and each result is rounded once."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if not any(isinstance(a, np.ndarray) and a.dtype == bfloat16 for a in args):
            return function(*args, **kwargs)
        wide: Any = (a.astype(np.float32) if isinstance(a, np.ndarray) else a for a in args)
        results = function(*wide, **kwargs)
        rounded = {id(x): x.astype(bfloat16) for x in results if x is not None}
        return tuple(None if x is None else rounded[id(x)] for x in results)  # type: ignore[return-value]

    return wrapped


def _by_group(image: Array, groups: int) -> Array:
    """(N, H, W, C) as (groups, N, H, W, C / groups)."""
    return image.reshape(*image.shape[:3], groups, image.shape[3] // groups).transpose(
        3, 0, 1, 2, 4
    )


def _by_tap(weight: Array, groups: int) -> Array:
    """(O, I, KH, KW) as (KH, KW, groups, I, O / groups)."""
    split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    return np.ascontiguousarray(split.transpose(3, 4, 0, 2, 1))


def _pixels(image: Array) -> Array:
    """(groups, N, H, W, C) as (groups, N * H * W, C), contiguous: what BLAS takes whole."""
    return np.ascontiguousarray(image).reshape(
        image.shape[0], math.prod(image.shape[1:4]), image.shape[4]
    )


def _product(a: Array, b: Array) -> Array:
    """a @ b, by broadcasting where the inner length is 1: BLAS is slow there."""
    product: Array = a * b if a.shape[-1] == 1 else np.matmul(a, b)
    return product


def _channels_last(x: Array) -> Array:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def _gather(x: Array, weight: Array, windows: Windows, groups: int) -> Array:
    """The convolution of x (N, C, H, W), as (N, OH, OW, O)."""
    n, outputs = x.shape[0], weight.shape[0]
    image, taps = _by_group(_channels_last(x), groups), _by_tap(weight, groups)
    z = np.zeros((groups, n, *windows.out, outputs // groups), x.dtype)
    for i, j, there, here in windows.taps():
        sums = z[there]
        sums += _product(_pixels(image[here]), taps[i, j]).reshape(sums.shape)
    return z.transpose(1, 2, 3, 0, 4).reshape(n, *windows.out, outputs)


def _scatter(y: Array, weight: Array, windows: Windows, groups: int) -> Array:
    """What the windows of y (N, O, OH, OW) add up to in their input, as (N, H, W, C)."""
    pixels = _by_group(_channels_last(y), groups)
    taps = _by_tap(weight, groups).swapaxes(-1, -2)
    sums = np.zeros((y.shape[0], *windows.size, weight.shape[1] * groups), y.dtype)
    grouped = _by_group(sums, groups)
    for i, j, there, here in windows.taps():
        image = grouped[here]
        image += _product(_pixels(pixels[there]), taps[i, j]).reshape(image.shape)
    return sums


def _correlate(y: Array, x: Array, weight: Array, windows: Windows, groups: int) -> Array:
    """The gradient of the weight, laid out as it is: y (N, O, OH, OW), x (N, C, H, W)."""
    out = empty_like(weight)
    out.fill(0)
    split = out.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    image, pixels = _by_group(_channels_last(x), groups), _by_group(_channels_last(y), groups)
    for i, j, there, here in windows.taps():
        split[..., i, j] = np.matmul(_pixels(pixels[there]).swapaxes(-1, -2), _pixels(image[here]))
    return out


def _channels_first(image: Array) -> Array:
    return image.transpose(0, 3, 1, 2)


def _size(x: Array) -> Any:
    return x.shape[2:]


class PackedConvWeight:
    """A weight for many calls. BLAS packs on each, whatever we do: it is held as it came."""

    def __init__(self, weight: Array) -> None:
        self.weight = weight

    @property
    def nbytes(self) -> int:
        return 0


def pack_conv_weight(weight: Array) -> PackedConvWeight:
    return PackedConvWeight(weight)


@quiet
@in_float32
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
    z = _gather(x, weight, windows, groups)
    if bias is not None:
        z += bias
    if residual is not None:
        z += residual.transpose(0, 2, 3, 1)
    return activate(_channels_first(z), activation, save)


@quiet
@in_float32
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
    dz = activation_gradient(grad, saved, activation)
    windows = Windows(stride, padding, dilation, _size(weight), _size(grad), _size(x))
    dx = _scatter(dz, weight, windows, groups) if need_x else None
    return (
        None if dx is None else _channels_first(dx),
        _correlate(dz, x, weight, windows, groups) if need_weight else None,
        sum(dz, (0, 2, 3), False) if need_bias else None,
        (dz.copy(order="K") if dz is grad else dz) if need_residual else None,
    )


@quiet
@in_float32
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
    z = _scatter(x, weight, windows, groups)
    if bias is not None:
        z += bias
    return activate(_channels_first(z), activation, save)


@quiet
@in_float32
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
    dz = activation_gradient(grad, saved, activation)
    windows = Windows(stride, padding, dilation, _size(weight), _size(x), _size(grad))
    return (
        _channels_first(_gather(dz, weight, windows, groups)) if need_x else None,
        _correlate(x, dz, weight, windows, groups) if need_weight else None,
        sum(dz, (0, 2, 3), False) if need_bias else None,
    )
