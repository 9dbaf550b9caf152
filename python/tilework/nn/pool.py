"""Pooling layers. They hold arguments and call functional; errors are those of the functions."""

from __future__ import annotations

from typing import Any

from tilework import functional as F
from tilework.functional.pool import AdaptiveSize, Size
from tilework.nn.module import Module
from tilework.tensor import Tensor


class _MaxPool(Module):
    """The arguments of a maximum over windows, in PyTorch's order."""

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def _arguments(self) -> tuple[Any, ...]:
        return (
            self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
            self.return_indices,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The windows, as PyTorch prints them."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """Maxima over windows of `kernel_size`, `stride` apart: F.max_pool1d. (N, C, L) or (C, L) of a
    float dtype to (..., (L + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1),
    rounded up with `ceil_mode`; with `return_indices` the places too.

    >>> nn.MaxPool1d(2)(tw.tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[3., 2.]])
    """

    def forward(self, input: Tensor) -> Any:
        """The maxima; with return_indices also where they lie."""
        return F.max_pool1d(input, *self._arguments())


class MaxPool2d(_MaxPool):
    """F.max_pool2d of (N, C, H, W) or (C, H, W).

    >>> nn.MaxPool2d(3, stride=2, padding=1)(tw.zeros(1, 8, 7, 7)).shape
    (1, 8, 4, 4)
    """

    def forward(self, input: Tensor) -> Any:
        """The maxima; with return_indices also where they lie."""
        return F.max_pool2d(input, *self._arguments())


class MaxUnpool2d(Module):
    """F.max_unpool2d: puts the maxima of a MaxPool2d of the same arguments back.

    >>> x, at = nn.MaxPool2d(2, return_indices=True)(tw.ones(1, 4, 4))
    >>> nn.MaxUnpool2d(2)(x, at).sum()
    tensor(4.)
    """

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        """The maxima in their places, zeros around."""
        return F.max_unpool2d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )

    def extra_repr(self) -> str:
        """The windows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(Module):
    """Means over windows of `kernel_size`, `stride` apart: F.avg_pool1d. (N, C, L) or (C, L) of a
    float dtype to (..., (L + 2 * padding - kernel_size) // stride + 1), rounded up with
    `ceil_mode`.

    >>> nn.AvgPool1d(2)(tw.tensor([[1.0, 3.0, 2.0, 0.0]]))
    tensor([[2., 1.]])
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return F.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The windows, as PyTorch prints them."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(AvgPool1d):
    """F.avg_pool2d of (N, C, H, W) or (C, H, W).

    >>> nn.AvgPool2d(2)(tw.ones(1, 8, 4, 4)).shape
    (1, 8, 2, 2)
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """The means."""
        return F.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip


class _AdaptivePool(Module):
    """The argument of an adaptive pooling."""

    def __init__(self, output_size: AdaptiveSize) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        """The number of parts."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptivePool):
    """Means over windows that cut the last axis into `output_size` parts: F.adaptive_avg_pool1d.
    (N, C, L) or (C, L) of a float dtype to (..., output_size).

    >>> nn.AdaptiveAvgPool1d(1)(tw.ones(2, 8, 5)).shape
    (2, 8, 1)
    """

    def forward(self, input: Tensor) -> Tensor:
        """The means of even parts."""
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptivePool):
    """F.adaptive_avg_pool2d of (N, C, H, W) or (C, H, W); output_size 1 pools globally.

    >>> nn.AdaptiveAvgPool2d((1, None))(tw.ones(2, 8, 5, 6)).shape
    (2, 8, 1, 6)
    """

    def forward(self, input: Tensor) -> Tensor:
        """The means of even parts."""
        return F.adaptive_avg_pool2d(input, self.output_size)


class _AdaptiveMaxPool(_AdaptivePool):
    """With return_indices, also where the maxima lie."""

    def __init__(self, output_size: AdaptiveSize, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima over windows that cut the last axis into `output_size` parts: F.adaptive_max_pool1d.
    (N, C, L) or (C, L) of a float dtype to (..., output_size); with `return_indices` the places
    too.

    >>> nn.AdaptiveMaxPool1d(1)(tw.ones(2, 8, 5)).shape
    (2, 8, 1)
    """

    def forward(self, input: Tensor) -> Any:
        """The maxima of even parts."""
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """F.adaptive_max_pool2d of (N, C, H, W) or (C, H, W); output_size 1 pools globally.

    >>> nn.AdaptiveMaxPool2d(2)(tw.ones(2, 8, 5, 5)).shape
    (2, 8, 2, 2)
    """

    def forward(self, input: Tensor) -> Any:
        """The maxima of even parts."""
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)
