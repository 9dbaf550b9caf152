"""Convolution layers.

A weight keeps PyTorch's shape (C_out, C_in / groups, *kernel), but lies in memory with the kernel's
axes outermost and C_out innermost: the order in which the kernels read it, and write its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import functional as F
from tilework.dtypes import float32
from tilework.errors import error, word
from tilework.functional.conv import fused_conv2d
from tilework.functional.conv_shapes import numbers
from tilework.functional.unary import ACTIVATIONS
from tilework.nn import init
from tilework.nn.module import Module
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor, fresh

Size = int | Sequence[int]

# PyTorch's names of the modes, and F.pad's.
PADDING_MODES = {"zeros": "constant", **{m: m for m in ("reflect", "replicate", "circular")}}


class _Conv(Module):
    """What all convolutions share: their settings, and the parameters' making."""

    fuses = ACTIVATIONS
    rank: int
    transposed: bool
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size,
        padding: str | Size,
        dilation: Size,
        output_padding: Size,
        groups: int,
        bias: bool,
        padding_mode: str,
        dtype: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise error(
                ValueError, name, "groups that divide in_channels and out_channels",
                f"groups={groups} for {in_channels} and {out_channels}", "change one of them",
            )  # fmt: skip
        modes = ["zeros"] if self.transposed else list(PADDING_MODES)
        if padding_mode not in modes:
            raise error(
                ValueError, name, f"padding_mode among {', '.join(modes)}", word(padding_mode),
                "name one",
            )  # fmt: skip
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = numbers(name, "kernel_size", kernel_size, self.rank, 1)
        self.stride = numbers(name, "stride", stride, self.rank, 1)
        self.padding = self._checked_padding(name, padding)
        self.dilation = numbers(name, "dilation", dilation, self.rank, 1)
        self.output_padding = numbers(name, "output_padding", output_padding, self.rank, 0)
        self.groups = groups
        self.padding_mode = padding_mode
        pair = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(_weight(pair[0], pair[1] // groups, self.kernel_size, dtype))
        if bias:
            self.bias = Parameter(F.empty(out_channels, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _checked_padding(self, name: str, padding: str | Size) -> str | tuple[int, ...]:
        if not isinstance(padding, str):
            return numbers(name, "padding", padding, self.rank, 0)
        if self.transposed or padding not in ("same", "valid"):
            words = "" if self.transposed else ", 'same' or 'valid'"
            raise error(ValueError, name, f"padding in numbers{words}", repr(padding), "give one")
        if padding == "same" and any(s != 1 for s in self.stride):
            raise error(
                ValueError, name, "stride 1 with padding='same'", self.stride,
                "give the padding in numbers",
            )  # fmt: skip
        return padding

    def reset_parameters(self) -> None:
        """Draws weights and bias anew, uniform within 1/sqrt(fan in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            fan_in = math.prod(self.weight.shape[1:])
            bound = 1.0 / math.sqrt(max(fan_in, 1))
            init.uniform_(self.bias, -bound, bound)

    def _padded(self, input: Tensor) -> tuple[Tensor, Any]:
        """The input padded by a mode that the kernels lack, and the padding left to them."""
        if self.padding_mode == "zeros" or self.padding == "valid":
            return input, self.padding
        pads: list[int] = []
        for axis in reversed(range(self.rank)):
            if self.padding == "same":
                total = self.dilation[axis] * (self.kernel_size[axis] - 1)
                pads += [total // 2, total - total // 2]
            else:
                pads += [self.padding[axis]] * 2  # type: ignore[list-item]
        return F.pad(input, pads, PADDING_MODES[self.padding_mode]), (0,) * self.rank

    def extra_repr(self) -> str:
        """The settings, as PyTorch prints them."""
        usual: dict[str, Any] = {
            "padding": (0,) * self.rank,
            "dilation": (1,) * self.rank,
            "output_padding": (0,) * self.rank,
            "groups": 1,
            "padding_mode": "zeros",
        }
        words = [
            f"{self.in_channels}, {self.out_channels}",
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        unusual = [f"{k}={getattr(self, k)}" for k, v in usual.items() if getattr(self, k) != v]
        if self.bias is None:
            unusual.insert(len(unusual) - (self.padding_mode != "zeros"), "bias=False")
        return ", ".join([*words, *unusual])


def _weight(first: int, second: int, kernel: tuple[int, ...], dtype: Any) -> Tensor:
    """An empty weight (first, second, *kernel), in memory (*kernel, second, first)."""
    rank = len(kernel)
    array = F.empty(*kernel, second, first, dtype=dtype)._array
    return fresh(array.transpose(rank + 1, rank, *range(rank)))


class _Forward(_Conv):
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: str | Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias,
            padding_mode, dtype,
        )  # fmt: skip


class Conv1d(_Forward):
    """F.conv1d with weights (C_out, C_in / groups, K) of its own: (N, C_in, L) or (C_in, L).

    padding_mode is "zeros", "reflect", "replicate" or "circular". ValueError where groups do not
    divide the channels, and F.conv1d's.

    >>> nn.Conv1d(2, 3, 3, padding="same")(tw.ones(1, 2, 5)).shape
    (1, 3, 5)
    """

    rank = 1

    def forward(
        self, input: Tensor, *, activation: str = "none", residual: Tensor | None = None
    ) -> Tensor:
        """(N, C_in, L) to (N, C_out, L_out); a residual and an activation as F.conv1d takes
        them."""
        x, padding = self._padded(input)
        return F.conv1d(
            x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups,
            activation=activation, residual=residual,
        )  # fmt: skip


class Conv2d(_Forward):
    """F.conv2d with weights (C_out, C_in / groups, KH, KW) of its own: (N, C_in, H, W) or
    (C_in, H, W).

    padding_mode is "zeros", "reflect", "replicate" or "circular". Weights and bias start uniform
    within 1/sqrt(C_in / groups * KH * KW). ValueError where groups do not divide the channels, and
    F.conv2d's.

    >>> nn.Conv2d(3, 8, 3, stride=2, padding=1)(tw.ones(1, 3, 32, 32)).shape
    (1, 8, 16, 16)
    """

    rank = 2

    def forward(
        self, input: Tensor, *, activation: str = "none", residual: Tensor | None = None
    ) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, OH, OW); a residual and an activation as F.conv2d takes
        them."""
        x, padding = self._padded(input)
        return fused_conv2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            activation,
            residual,
        )


class _Transposed(_Conv):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding,
            groups, bias, padding_mode, dtype,
        )  # fmt: skip

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """The output_padding that gives `output_size`; the layer's own where none is asked for."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-self.rank :]
        start: Any = self.padding
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                input.shape[-self.rank :],
                self.stride,
                start,
                self.dilation,
                self.kernel_size,
                strict=True,
            )
        ]
        most = [n + s - 1 for n, s in zip(least, self.stride, strict=True)]
        if len(wanted) != self.rank or not all(
            a <= n <= b for a, n, b in zip(least, wanted, most, strict=True)
        ):
            raise error(
                ValueError, type(self).__name__, f"an output_size from {least} to {most}",
                tuple(output_size), "stride leaves no other sizes",
            )  # fmt: skip
        return tuple(n - a for n, a in zip(wanted, least, strict=True))


class ConvTranspose1d(_Transposed):
    """F.conv_transpose1d with weights (C_in, C_out / groups, K) of its own.

    forward(input, output_size) chooses among the sizes that stride folds into one; ValueError on
    another. Other errors as Conv1d's.

    >>> nn.ConvTranspose1d(2, 3, 4, stride=2, padding=1)(tw.ones(1, 2, 5)).shape
    (1, 3, 10)
    """

    rank = 1

    def forward(
        self,
        input: Tensor,
        output_size: Sequence[int] | None = None,
        *,
        activation: str = "none",
    ) -> Tensor:
        """(N, C_in, L) to (N, C_out, L_out); an activation as F.conv_transpose1d takes it."""
        return F.conv_transpose1d(
            input, self.weight, self.bias, self.stride, self.padding,  # type: ignore[arg-type]
            self._output_padding(input, output_size), self.groups, self.dilation,
            activation=activation,
        )  # fmt: skip


class ConvTranspose2d(_Transposed):
    """F.conv_transpose2d with weights (C_in, C_out / groups, KH, KW) of its own.

    forward(input, output_size) chooses among the sizes that stride folds into one; ValueError on
    another. Other errors as Conv2d's.

    >>> nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1)(tw.ones(1, 2, 4, 4)).shape
    (1, 3, 8, 8)
    """

    rank = 2

    def forward(
        self,
        input: Tensor,
        output_size: Sequence[int] | None = None,
        *,
        activation: str = "none",
    ) -> Tensor:
        """(N, C_in, H, W) to (N, C_out, OH, OW); an activation as F.conv_transpose2d takes it."""
        return F.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding,  # type: ignore[arg-type]
            self._output_padding(input, output_size), self.groups, self.dilation,
            activation=activation,
        )  # fmt: skip
