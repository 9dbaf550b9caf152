"""Padding layers: F.pad with the padding held."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tilework import functional as F
from tilework.errors import error
from tilework.functional.conv_shapes import numbers
from tilework.nn.module import Module
from tilework.tensor import Tensor


class _Pad(Module):
    """One number for all sides, or (left, right, top, bottom). F.pad's errors."""

    rank: int
    mode: str
    value: float | None = None

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        # Negative lengths cut.
        self.padding = numbers(type(self).__name__, "padding", padding, 2 * self.rank, -math.inf)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, *image) or (C, *image), its image grown."""
        if input.ndim not in (self.rank + 1, self.rank + 2):
            axes = "H, W" if self.rank == 2 else "L"
            raise error(
                ValueError, type(self).__name__, f"input (N, C, {axes}) or (C, {axes})",
                input.shape, "use F.pad, which takes any shape",
            )  # fmt: skip
        return F.pad(input, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        """The padding, as PyTorch prints it."""
        return str(self.padding)


class _Constant(_Pad):
    mode = "constant"

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        """Padding and value, as PyTorch prints them."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_Constant):
    """`value` around the last axis of (N, C, L) or (C, L): `padding` elements on either side, or
    (left, right); negative ones cut.

    >>> nn.ConstantPad1d((1, 0), 7.0)(tw.ones(1, 2))
    tensor([[7., 1., 1.]])
    """

    rank = 1


class ConstantPad2d(_Constant):
    """`value` around the last two axes of (N, C, H, W) or (C, H, W): `padding` elements on every
    side, or (left, right, top, bottom); negative ones cut.

    >>> nn.ConstantPad2d(1, 7.0)(tw.ones(1, 2, 3)).shape
    (1, 4, 5)
    """

    rank = 2


class _Zero(_Pad):
    mode = "constant"


class ZeroPad1d(_Zero):
    """Zeros around the last axis of (N, C, L) or (C, L): `padding` elements on either side, or
    (left, right); negative ones cut.

    >>> nn.ZeroPad1d(1)(tw.ones(1, 2))
    tensor([[0., 1., 1., 0.]])
    """

    rank = 1


class ZeroPad2d(_Zero):
    """Zeros around the last two axes of (N, C, H, W) or (C, H, W): `padding` elements on every
    side, or (left, right, top, bottom); negative ones cut.

    >>> nn.ZeroPad2d((0, 1, 0, 0))(tw.ones(1, 1, 2))
    tensor([[[1., 1., 0.]]])
    """

    rank = 2


class _Reflection(_Pad):
    mode = "reflect"


class ReflectionPad1d(_Reflection):
    """The image mirrored about its edge elements, along the last axis.

    >>> nn.ReflectionPad1d(1)(tw.arange(3).reshape(1, 3))
    tensor([[1, 0, 1, 2, 1]])
    """

    rank = 1


class ReflectionPad2d(_Reflection):
    """The image mirrored about its edge elements, along the last two axes.

    >>> nn.ReflectionPad2d((1, 1, 0, 0))(tw.arange(3).reshape(1, 1, 3))
    tensor([[[1, 0, 1, 2, 1]]])
    """

    rank = 2


class _Replication(_Pad):
    mode = "replicate"


class ReplicationPad1d(_Replication):
    """The edge elements repeated along the last axis of (N, C, L) or (C, L): `padding` elements on
    either side, or (left, right).

    >>> nn.ReplicationPad1d(1)(tw.arange(3).reshape(1, 3))
    tensor([[0, 0, 1, 2, 2]])
    """

    rank = 1


class ReplicationPad2d(_Replication):
    """The edge elements repeated along the last two axes of (N, C, H, W) or (C, H, W): `padding`
    elements on every side, or (left, right, top, bottom).

    >>> nn.ReplicationPad2d((1, 1, 0, 0))(tw.arange(3).reshape(1, 1, 3))
    tensor([[[0, 0, 1, 2, 2]]])
    """

    rank = 2


class _Circular(_Pad):
    mode = "circular"


class CircularPad1d(_Circular):
    """The last axis of (N, C, L) or (C, L) going on at its other end: `padding` elements on either
    side, or (left, right).

    >>> nn.CircularPad1d(1)(tw.arange(3).reshape(1, 3))
    tensor([[2, 0, 1, 2, 0]])
    """

    rank = 1


class CircularPad2d(_Circular):
    """The last two axes going on at their other ends.

    >>> nn.CircularPad2d((1, 1, 0, 0))(tw.arange(3).reshape(1, 1, 3))
    tensor([[[2, 0, 1, 2, 0]]])
    """

    rank = 2
