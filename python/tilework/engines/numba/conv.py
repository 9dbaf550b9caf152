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
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import numpy as np

from tilework.dtypes import bfloat16
from tilework.engines.numba.compiled import quiet
from tilework.engines.numba.layout import Array, empty_like
from tilework.engines.numba.pointwise import activate, activation_gradient

Pair = tuple[int, int]
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


class _Windows:
    """Where the windows of a convolution lie in the part of the input that they cover."""

    def __init__(self, stride: Pair, padding: Pair, dilation: Pair, kernel: Pair, out: Pair):
        self.stride, self.dilation, self.kernel, self.out = stride, dilation, kernel, out
        self.start = padding
        # The rows and columns from the first window's start to the last one's end.
        self.extent = tuple(
            max((n - 1) * s + (k - 1) * d + 1, 0)
            for n, s, k, d in zip(out, stride, kernel, dilation, strict=True)
        )

    def covered(self, size: Pair) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """The part of channels-last images that windows cover, and its place in their extent."""
        image, extent = [slice(None)], [slice(None)]
        for n, start, length in zip(size, self.start, self.extent, strict=True):
            first, last = max(0, -start), max(min(n, length - start), 0)
            image.append(slice(first, last))
            extent.append(slice(first + start, max(last + start, 0)))
        return tuple(image), tuple(extent)

    def taps(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Each tap, and the rows and columns of the extent that it meets."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                yield i, j, self._met(0, i), self._met(1, j)

    def _met(self, axis: int, tap: int) -> slice:
        first, step = tap * self.dilation[axis], self.stride[axis]
        return slice(first, first + (self.out[axis] - 1) * step + 1, step)


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


def _extended(x: Array, windows: _Windows) -> Array:
    """x (N, C, H, W) over the windows' extent, channels-last, zero outside of x."""
    n, c, *size = x.shape
    image, extent = windows.covered((size[0], size[1]))
    out = np.zeros((n, *windows.extent, c), x.dtype)
    out[extent] = x.transpose(0, 2, 3, 1)[image]
    return out


def _gather(x: Array, weight: Array, windows: _Windows, groups: int) -> Array:
    """The convolution of x (N, C, H, W), as (N, OH, OW, O)."""
    n, outputs = x.shape[0], weight.shape[0]
    image, taps = _by_group(_extended(x, windows), groups), _by_tap(weight, groups)
    z = np.zeros((groups, n * math.prod(windows.out), outputs // groups), x.dtype)
    for i, j, rows, columns in windows.taps():
        z += _product(_pixels(image[:, :, rows, columns]), taps[i, j])
    return z.transpose(1, 0, 2).reshape(n, *windows.out, outputs)


def _scatter(y: Array, weight: Array, windows: _Windows, groups: int, size: Pair) -> Array:
    """What the windows of y (N, O, OH, OW) add up to in an input of `size`, as (N, H, W, C)."""
    n, channels = y.shape[0], weight.shape[1] * groups
    pixels = _pixels(_by_group(y.transpose(0, 2, 3, 1), groups))
    taps = _by_tap(weight, groups).swapaxes(-1, -2)
    sums = np.zeros((n, *windows.extent, channels), y.dtype)
    grouped = _by_group(sums, groups)
    for i, j, rows, columns in windows.taps():
        met = grouped[:, :, rows, columns]
        met += _product(pixels, taps[i, j]).reshape(met.shape)
    image, extent = windows.covered(size)
    if sums[extent].shape[1:3] == size:
        return np.ascontiguousarray(sums[extent])
    out = np.zeros((n, *size, channels), y.dtype)
    out[image] = sums[extent]
    return out


def _correlate(y: Array, x: Array, weight: Array, windows: _Windows, groups: int) -> Array:
    """The gradient of the weight, laid out as it is: y (N, O, OH, OW), x (N, C, H, W)."""
    out = empty_like(weight)
    split = out.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    image = _by_group(_extended(x, windows), groups)
    pixels = _pixels(_by_group(y.transpose(0, 2, 3, 1), groups)).swapaxes(-1, -2)
    for i, j, rows, columns in windows.taps():
        split[..., i, j] = np.matmul(pixels, _pixels(image[:, :, rows, columns]))
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
    windows = _Windows(stride, padding, dilation, _size(weight), out_size)
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
    windows = _Windows(stride, padding, dilation, _size(weight), _size(grad))
    dx = _scatter(dz, weight, windows, groups, _size(x)) if need_x else None
    return (
        None if dx is None else _channels_first(dx),
        _correlate(dz, x, weight, windows, groups) if need_weight else None,
        dz.sum(axis=(0, 2, 3)) if need_bias else None,
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
    windows = _Windows(stride, padding, dilation, _size(weight), _size(x))
    z = _scatter(x, weight, windows, groups, out_size)
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
    windows = _Windows(stride, padding, dilation, _size(weight), _size(x))
    return (
        _channels_first(_gather(dz, weight, windows, groups)) if need_x else None,
        _correlate(x, dz, weight, windows, groups) if need_weight else None,
        dz.sum(axis=(0, 2, 3)) if need_bias else None,
    )
