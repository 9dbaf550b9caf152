"""Normalising layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tilework import functional as F
from tilework.dtypes import float32, int64
from tilework.errors import error
from tilework.functional.common import sizes
from tilework.functional.inplace import check_writable, written
from tilework.nn import init
from tilework.nn.module import Module
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor


def _parameter(layer: Module, name: str, wanted: bool, shape: tuple[int, ...], dtype: Any) -> None:
    layer.register_parameter(name, Parameter(F.empty(*shape, dtype=dtype)) if wanted else None)


def _reset_affine(layer: Any) -> None:
    if layer.weight is not None:
        init.ones_(layer.weight)
    if layer.bias is not None:
        init.zeros_(layer.bias)


class _ChannelNorm(Module):
    """What batch and instance norm share: parameters and running statistics, one a channel."""

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    _ranks: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        dtype: Any,
        bias: bool,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        _parameter(self, "weight", affine, (num_features,), dtype)
        _parameter(self, "bias", affine and bias, (num_features,), dtype)
        kept = track_running_stats
        self.register_buffer("running_mean", F.zeros(num_features, dtype=dtype) if kept else None)
        self.register_buffer("running_var", F.ones(num_features, dtype=dtype) if kept else None)
        self.register_buffer("num_batches_tracked", F.zeros(dtype=int64) if kept else None)
        _reset_affine(self)

    def reset_running_stats(self) -> None:
        """Mean 0, variance 1, no batches seen."""
        for statistic, value in (
            (self.running_mean, 0.0),
            (self.running_var, 1.0),
            (self.num_batches_tracked, 0.0),
        ):
            if statistic is not None:
                init.constant_(statistic, value)

    def reset_parameters(self) -> None:
        """Statistics and parameters as a new layer has them."""
        self.reset_running_stats()
        _reset_affine(self)

    def _check(self, input: Tensor) -> None:
        name = type(self).__name__
        if input.ndim not in self._ranks:
            ranks = " or ".join(map(str, self._ranks))
            raise error(ValueError, name, f"input of {ranks} axes", input.shape, "reshape it")

    def _statistics(self, used: bool) -> tuple[Tensor | None, Tensor | None]:
        return (self.running_mean, self.running_var) if used else (None, None)

    def extra_repr(self) -> str:
        """The settings, as PyTorch prints them."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ChannelNorm):
    fuses = ("relu",)

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = float32,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)

    def forward(
        self, input: Tensor, *, activation: str = "none", residual: Tensor | None = None
    ) -> Tensor:
        """activation(normalised input + residual), in one pass; of the input's shape."""
        self._check(input)
        training = self.training or self.running_mean is None
        moves = self.training and self.track_running_stats
        statistics = self._statistics(moves or not training)
        momentum = self._count_batch() if moves else 0.0
        return F.batch_norm(
            input, *statistics, self.weight, self.bias, training, momentum, self.eps,
            activation=activation, residual=residual,
        )  # fmt: skip

    def _count_batch(self) -> float:
        """The momentum of this batch; None means the mean over all batches so far."""
        count = self.num_batches_tracked
        if count is None:
            return self.momentum or 0.0
        check_writable(type(self).__name__, count)
        count._array[...] += 1
        written(count)
        return 1.0 / float(count._array) if self.momentum is None else self.momentum


class BatchNorm1d(_BatchNorm):
    """Batch norm of (N, C) or (N, C, L).

    In training the batch's statistics normalise, and move `running_mean` and `running_var` by
    `momentum` (None: to their mean over all batches); in evaluation the running ones normalise.
    Without track_running_stats the batch's always do. forward() can add a residual and apply relu
    in the same pass. Errors: those of F.batch_norm.

    >>> nn.BatchNorm1d(3)(tw.randn(5, 3)).shape
    (5, 3)
    """

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch norm of (N, C, H, W); otherwise as BatchNorm1d.

    >>> nn.BatchNorm2d(3)(tw.randn(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    _ranks = (4,)


class _InstanceNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        dtype: Any = float32,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        """The input normalised, of its shape."""
        self._check(input)
        alone = input.ndim < max(self._ranks)  # a sample without the batch's axis
        x = input.unsqueeze(0) if alone else input
        by_input = self.training or not self.track_running_stats
        moves = self.training and self.track_running_stats
        statistics = self._statistics(moves or not by_input)
        y = F.instance_norm(
            x, *statistics, self.weight, self.bias, by_input, self.momentum or 0.0, self.eps
        )
        return y.squeeze(0) if alone else y


class InstanceNorm1d(_InstanceNorm):
    """Instance norm of (N, C, L) or (C, L): each channel of each sample by itself.

    With track_running_stats, running statistics are kept, and normalise in evaluation. Errors:
    those of F.instance_norm.

    >>> nn.InstanceNorm1d(3)(tw.randn(2, 3, 7)).shape
    (2, 3, 7)
    """

    _ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance norm of (N, C, H, W) or (C, H, W); otherwise as InstanceNorm1d.

    >>> nn.InstanceNorm2d(3)(tw.randn(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    _ranks = (3, 4)


def _shape(normalized_shape: Sequence[int] | int) -> tuple[int, ...]:
    return sizes("normalized_shape", (normalized_shape,))


class LayerNorm(Module):
    """Layer norm over the trailing axes, whose sizes are `normalized_shape`.

    forward() can normalise the sum with a residual in the same pass. Errors: those of F.layer_norm.

    >>> nn.LayerNorm(8)(tw.randn(2, 5, 8)).shape
    (2, 5, 8)
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: Sequence[int] | int,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        _parameter(self, "weight", elementwise_affine, self.normalized_shape, dtype)
        _parameter(self, "bias", elementwise_affine and bias, self.normalized_shape, dtype)
        _reset_affine(self)

    def reset_parameters(self) -> None:
        """Weight one, bias zero."""
        _reset_affine(self)

    def forward(self, input: Tensor, *, residual: Tensor | None = None) -> Any:
        """(..., *normalized_shape) to the same shape; with a residual (norm, sum) of input +
        residual."""
        return F.layer_norm(
            input, self.normalized_shape, self.weight, self.bias, self.eps, residual=residual
        )

    def extra_repr(self) -> str:
        """The settings, as PyTorch prints them."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """RMS norm over the trailing axes, whose sizes are `normalized_shape`.

    forward() can normalise the sum with a residual in the same pass. Errors: those of F.rms_norm.

    >>> nn.RMSNorm(8)(tw.randn(2, 5, 8)).shape
    (2, 5, 8)
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: Sequence[int] | int,
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: Any = float32,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        _parameter(self, "weight", elementwise_affine, self.normalized_shape, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight one."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor, *, residual: Tensor | None = None) -> Any:
        """(..., *normalized_shape) to the same shape; with a residual (norm, sum) of input +
        residual."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps, residual=residual)

    def extra_repr(self) -> str:
        """The settings, as PyTorch prints them."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Group norm of (N, C, ...), in `num_groups` groups of channels.

    ValueError where they do not divide the channels. Errors: those of F.group_norm.

    >>> nn.GroupNorm(2, 6)(tw.randn(2, 6, 4, 4)).shape
    (2, 6, 4, 4)
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: Any = float32,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise error(
                ValueError, "GroupNorm", "a number of groups that divides the channels",
                f"{num_groups} groups of {num_channels} channels", "choose a divisor",
            )  # fmt: skip
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        _parameter(self, "weight", affine, (num_channels,), dtype)
        _parameter(self, "bias", affine and bias, (num_channels,), dtype)
        _reset_affine(self)

    def reset_parameters(self) -> None:
        """Weight one, bias zero."""
        _reset_affine(self)

    def forward(self, input: Tensor) -> Tensor:
        """(N, num_channels, ...) to the same shape."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The settings, as PyTorch prints them."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class LocalResponseNorm(Module):
    """Local response normalisation of (N, C, ...) over `size` channels.

    Errors: those of F.local_response_norm.

    >>> nn.LocalResponseNorm(5)(tw.zeros(2, 8, 4, 4)).shape
    (2, 8, 4, 4)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to the same shape."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The settings, as PyTorch prints them."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
