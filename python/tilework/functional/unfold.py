"""unfold lays the windows of images side by side, fold adds them up again: each the other's
gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from tilework import dtypes
from tilework.arrays import namespace
from tilework.autograd import Op, mode, record
from tilework.errors import error
from tilework.functional.cast import in_float32
from tilework.functional.common import operand, room_for
from tilework.functional.conv_shapes import numbers
from tilework.geometry import met
from tilework.tensor import Tensor, fresh

Array = Any
Pair = tuple[int, ...]
Index = tuple[int | slice, ...]
Size = int | Sequence[int]


class _Windows:
    """Kernel, dilation, padding and stride on images of one size, and the windows they make."""

    def __init__(
        self, op: str, size: Pair, kernel_size: Any, dilation: Any, padding: Any, stride: Any
    ) -> None:
        self.size = size
        self.kernel = numbers(op, "kernel_size", kernel_size, 2, 1)
        self.dilation = numbers(op, "dilation", dilation, 2, 1)
        self.padding = numbers(op, "padding", padding, 2, 0)
        self.stride = numbers(op, "stride", stride, 2, 1)
        self.reach = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))
        padded = tuple(n + 2 * p for n, p in zip(size, self.padding, strict=True))
        self.out = tuple(
            (n - r) // s + 1 for n, r, s in zip(padded, self.reach, self.stride, strict=True)
        )
        if min(self.out) < 1:
            raise error(
                ValueError, op, f"an image that holds a window of {self.reach}",
                f"{padded}, padded", "pad more, or take a smaller kernel or dilation",
            )  # fmt: skip
        self.count = math.prod(self.out)
        self.taps = math.prod(self.kernel)
        room_for(op, (*self.kernel, *self.out))

    def met(self) -> Iterator[tuple[Index, Index]]:
        """For each tap that meets the image: where in (N, C, KH, KW, OH, OW), and where in it."""
        settings = (self.kernel, self.out, self.stride, self.padding, self.dilation, self.size)
        per_axis = [list(met(*axis)) for axis in zip(*settings, strict=True)]
        all_of = slice(None)
        for (i, down, rows), (j, across, columns) in product(*per_axis):
            yield (all_of, all_of, i, j, down, across), (all_of, all_of, rows, columns)


def _unfolded(x: Array, windows: _Windows) -> Array:
    """(N, C, H, W) to (N, C * taps, count)."""
    n, c = x.shape[:2]
    columns = namespace(x).zeros((n, c, *windows.kernel, *windows.out), x.dtype)
    for there, here in windows.met() if x.size else ():
        columns[there] = x[here]
    return columns.reshape(n, c * windows.taps, windows.count)


def _folded(y: Array, windows: _Windows) -> Array:
    """(N, C * taps, count) to (N, C, H, W)."""
    n, channels = y.shape[0], y.shape[1] // windows.taps
    split = y.reshape(n, channels, *windows.kernel, *windows.out)
    image = namespace(y).zeros((n, channels, *windows.size), y.dtype)
    for there, here in windows.met() if y.size else ():
        image[here] += split[there]
    return image


def _unfold_recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    return (_fold(grad, saved),)


def _fold_recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    return (_unfold(grad, saved),)


_UNFOLD = Op("unfold", differentiable=_unfold_recorded)
_FOLD = Op("fold", differentiable=_fold_recorded)


def _unfold(x: Tensor, windows: _Windows) -> Tensor:
    y = fresh(_unfolded(x._array, windows))
    if mode.enabled and x._requires_grad:
        record(y, _UNFOLD, (x,), windows)
    return y


def _fold(x: Tensor, windows: _Windows) -> Tensor:
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(_fold, x, windows)
        return result
    y = fresh(_folded(x._array, windows))
    if mode.enabled and x._requires_grad:
        record(y, _FOLD, (x,), windows)
    return y


def unfold(
    input: Tensor,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Size = 0,
    stride: Size = 1,
) -> Tensor:
    """The windows that a convolution would see, as columns: (N, C, H, W) to (N, C * KH * KW, L).

    L counts the windows, row by row; (C, H, W) gives (C * KH * KW, L). Outside of the image is
    zero. ValueError on another rank, and where no window fits.

    >>> F.unfold(tw.arange(4).reshape(1, 1, 2, 2), (1, 2))
    tensor([[[0, 2],
             [1, 3]]])
    """
    x = operand(input, "unfold")
    if x.ndim not in (3, 4):
        raise error(
            ValueError, "unfold", "input (N, C, H, W) or (C, H, W)", x.shape,
            "add axes with x.unsqueeze(dim)",
        )  # fmt: skip
    windows = _Windows("unfold", x.shape[-2:], kernel_size, dilation, padding, stride)
    return _unfold(x, windows) if x.ndim == 4 else _unfold(x.unsqueeze(0), windows).squeeze(0)


def fold(
    input: Tensor,
    output_size: Size,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Size = 0,
    stride: Size = 1,
) -> Tensor:
    """Adds columns of windows up to an image: (N, C * KH * KW, L) to (N, C, *output_size).

    (C * KH * KW, L) gives (C, *output_size). What falls in the padding is lost. ValueError where
    the axes are not those that unfold gives for such an image.

    >>> F.fold(tw.ones(1, 2, 2), (1, 3), (1, 2))
    tensor([[[[1., 2., 1.]]]])
    """
    x = operand(input, "fold")
    size = numbers("fold", "output_size", output_size, 2, 1)
    windows = _Windows("fold", size, kernel_size, dilation, padding, stride)
    right = x.ndim in (2, 3) and x.shape[-1] == windows.count and x.shape[-2] % windows.taps == 0
    if not right:
        raise error(
            ValueError, "fold", f"input (N, C * {windows.taps}, {windows.count})", x.shape,
            "give the settings of the unfold that made it",
        )  # fmt: skip
    return _fold(x, windows) if x.ndim == 3 else _fold(x.unsqueeze(0), windows).squeeze(0)
