"""Moving pixels between channels and space."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

from tilework.arrays import namespace
from tilework.autograd import Op, record
from tilework.autograd import mode as grad_mode
from tilework.errors import error
from tilework.functional.common import operand, whole
from tilework.functional.planes import is_channels_last, linear_op
from tilework.tensor import Tensor, fresh

Array = Any

# NumPy copies along what is last in the result. Where that is the r of a factor it takes ten times
# as long as along a row or the channels, so a loop here goes over it.


def _shuffled(x: Array, r: int, channels_last: bool) -> Array:
    *lead, channels, height, width = x.shape
    c = channels // (r * r)
    if channels_last:
        split = x.transpose(0, 2, 3, 1).reshape(*lead, height, width, c, r, r)
        moved = split.transpose(0, 1, 4, 2, 5, 3).copy()
        return moved.reshape(*lead, height * r, width * r, c).transpose(0, 3, 1, 2)
    split = x.reshape(*lead, c, r, r, height, width)
    y = namespace(x).empty((*lead, c, height, r, width, r), x.dtype)
    for j in range(r):
        y[..., j] = split[..., j, :, :].swapaxes(-3, -2)
    return y.reshape(*lead, c, height * r, width * r)


def _unshuffled(x: Array, r: int, channels_last: bool) -> Array:
    *lead, c, height, width = x.shape
    height, width = height // r, width // r
    if channels_last:
        split = x.transpose(0, 2, 3, 1).reshape(*lead, height, r, width, r, c)
        y = namespace(x).empty((*lead, height, width, c, r, r), x.dtype)
        for image, parts in zip(y, split, strict=True):  # whose r * r passes a cache may hold
            for i, j in product(range(r), repeat=2):
                image[..., i, j] = parts[:, i, :, j]
        return y.reshape(*lead, height, width, c * r * r).transpose(0, 3, 1, 2)
    split = x.reshape(*lead, c, height, r, width, r)
    y = namespace(x).empty((*lead, c, r, r, height, width), x.dtype)
    for j in range(r):
        y[..., j, :, :] = split[..., j].swapaxes(-3, -2)
    return y.reshape(*lead, c * r * r, height, width)


class _Move:
    """One of the two, in the layout of its input; the other, its inverse, is its transpose."""

    __slots__ = ("back", "factor", "last", "there")

    def __init__(self, x: Array, there: Callable[..., Array], back: Callable[..., Array], r: int):
        self.there, self.back, self.factor = there, back, r
        self.last = x.ndim == 4 and is_channels_last(x)

    def forward(self, x: Array) -> Array:
        return self.there(x, self.factor, self.last)

    def backward(self, grad: Array) -> Array:
        return self.back(grad, self.factor, self.last)


_SHUFFLE, _UNSHUFFLE = linear_op("pixel_shuffle"), linear_op("pixel_unshuffle")


def _moved(op: Op, x: Tensor, move: _Move) -> Tensor:
    y = fresh(move.forward(x._array))
    if grad_mode.enabled and x._requires_grad:
        record(y, op, (x,), move)
    return y


def _operands(op: str, input: Any, factor: Any) -> tuple[Tensor, int]:
    x = operand(input, op)
    if x.ndim < 3:
        raise error(ValueError, op, "input (..., C, H, W)", x.shape, "add the axes that lack")
    factor = whole(op, "factor", factor)
    if factor < 1:
        raise error(ValueError, op, "a factor of at least 1", factor, "give a whole number")
    return x, factor


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r r, H, W) to (..., C, H r, W r) for a factor r (Shi et al. 2016).

    The result of a channels-last image is channels last. ValueError on fewer than three axes, or
    where r r does not divide the channels.

    >>> F.pixel_shuffle(tw.zeros(1, 8, 2, 3), 2).shape
    (1, 2, 4, 6)
    """
    x, r = _operands("pixel_shuffle", input, upscale_factor)
    if x.shape[-3] % (r * r):
        raise error(
            ValueError, "pixel_shuffle", f"channels in multiples of {r * r}", x.shape,
            "take another factor",
        )  # fmt: skip
    return _moved(_SHUFFLE, x, _Move(x._array, _shuffled, _unshuffled, r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) to (..., C r r, H, W) for a factor r: pixel_shuffle's way back.

    The result of a channels-last image is channels last. ValueError on fewer than three axes, or
    where r does not divide a side.

    >>> F.pixel_unshuffle(tw.zeros(1, 2, 4, 6), 2).shape
    (1, 8, 2, 3)
    """
    x, r = _operands("pixel_unshuffle", input, downscale_factor)
    if x.shape[-2] % r or x.shape[-1] % r:
        raise error(
            ValueError, "pixel_unshuffle", f"sides in multiples of {r}", x.shape,
            "take another factor, or pad",
        )  # fmt: skip
    return _moved(_UNSHUFFLE, x, _Move(x._array, _unshuffled, _shuffled, r))
