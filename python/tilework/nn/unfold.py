"""unfold and fold as layers."""

from __future__ import annotations

from typing import Any

from tilework import functional as F
from tilework.nn.module import Module
from tilework.tensor import Tensor


class _Windows(Module):
    """What both hold: their settings, a number or a pair each."""

    def __init__(self, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def extra_repr(self) -> str:
        """The settings, as PyTorch prints them."""
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )


class Unfold(_Windows):
    """The patches of images (N, C, H, W) as columns (N, C * product of kernel_size, L), with its
    settings held: F.unfold.

    >>> nn.Unfold(3, padding=1)(tw.ones(1, 2, 4, 4)).shape
    (1, 18, 16)
    """

    def __init__(
        self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__(kernel_size, dilation, padding, stride)

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C * KH * KW, L)."""
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(_Windows):
    """Patches (N, C * product of kernel_size, L) summed into images (N, C, *output_size), with its
    settings held: F.fold.

    >>> nn.Fold((4, 4), 3, padding=1)(tw.ones(1, 18, 16)).shape
    (1, 2, 4, 4)
    """

    def __init__(
        self,
        output_size: Any,
        kernel_size: Any,
        dilation: Any = 1,
        padding: Any = 0,
        stride: Any = 1,
    ) -> None:
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """(N, C * KH * KW, L) to (N, C, *output_size)."""
        return F.fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def extra_repr(self) -> str:
        """The settings, as PyTorch prints them."""
        return f"output_size={self.output_size}, {super().extra_repr()}"
