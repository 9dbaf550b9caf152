"""Linear layers, and those that pass things on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import functional as F
from tilework.dtypes import float32
from tilework.functional.common import sizes
from tilework.functional.gemm import fused_linear
from tilework.functional.unary import ACTIVATIONS
from tilework.nn import init
from tilework.nn.module import Module
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor


class Linear(Module):
    """y = x @ weight.T + bias: x (..., in_features), weight (out_features, in_features).

    Weights and bias start uniform within 1/sqrt(in_features). Errors: those of F.linear.

    >>> nn.Linear(3, 2)(tw.ones(5, 3)).shape
    (5, 2)
    """

    fuses = ACTIVATIONS
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = float32
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(F.empty(out_features, in_features, dtype=dtype))
        if bias:
            self.bias = Parameter(F.empty(out_features, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weights and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            bound = 1.0 / math.sqrt(max(self.in_features, 1))
            init.uniform_(self.bias, -bound, bound)

    def forward(
        self, input: Tensor, *, activation: str = "none", residual: Tensor | None = None
    ) -> Tensor:
        """input (..., in_features) to (..., out_features); a residual and an activation as
        F.linear takes them."""
        return fused_linear(input, self.weight, self.bias, activation, residual)

    def extra_repr(self) -> str:
        """The sizes, as PyTorch prints them."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Identity(Module):
    """Returns its input, whatever it was built with: a place that another layer may take.

    >>> nn.Identity()(1)
    1
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """The input."""
        return input


class Flatten(Module):
    """The axes from start_dim to end_dim as one: (N, C, H, W) to (N, C * H * W) by default. A view
    where the layout allows one.

    >>> nn.Flatten()(tw.zeros(2, 3, 4)).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """The input with fewer axes."""
        return F.flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """The axis `dim` as several, of the lengths in unflattened_size (one may be -1).

    >>> nn.Unflatten(1, (2, 3))(tw.zeros(5, 6)).shape
    (5, 2, 3)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim = dim
        self.unflattened_size = sizes("Unflatten", (unflattened_size,))

    def forward(self, input: Tensor) -> Tensor:
        """The input with more axes."""
        return F.unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        """The axis and its lengths, as PyTorch prints them."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Dropout(Module):
    """F.dropout while training, nothing in evaluation; `inplace` writes over the input.

    ValueError where p is outside [0, 1].

    >>> nn.Dropout(0.5).eval()(tw.ones(2))
    tensor([1., 1.])
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        F.dropout(F.zeros(1), p, training=False)  # checks p
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """The input with elements dropped."""
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}, inplace={self.inplace}"
