"""Activations under the names that configurations of transformers use."""

from __future__ import annotations

from collections.abc import Callable

from tilework import functional as F
from tilework.tensor import Tensor


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x)


def _relu(x: Tensor) -> Tensor:
    return F.relu(x)


def _silu(x: Tensor) -> Tensor:
    return F.silu(x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": _gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": _relu,
    "silu": _silu,
    "swish": _silu,
}
