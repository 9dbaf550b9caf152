"""A layer of two inputs."""

from __future__ import annotations

import math
from typing import Any

from tilework import functional as F
from tilework.dtypes import float32
from tilework.nn import init
from tilework.nn.module import Module
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor


class Bilinear(Module):
    """F.bilinear: (..., in1_features) and (..., in2_features) to (..., out_features).

    weight (out_features, in1_features, in2_features) and bias start uniform within
    1/sqrt(in1_features). ValueError where there are no features.

    >>> nn.Bilinear(2, 3, 4)(tw.ones(5, 2), tw.ones(5, 3)).shape
    (5, 4)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, *,
        dtype: Any = float32,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = Parameter(F.empty(out_features, in1_features, in2_features, dtype=dtype))
        if bias:
            self.bias = Parameter(F.empty(out_features, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws weights and bias anew."""
        bound = 1.0 / math.sqrt(max(self.in1_features, 1))
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """F.bilinear of both inputs."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes, as PyTorch prints them."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )
