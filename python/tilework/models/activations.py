"""Activations under the names that configurations of transformers use."""

from __future__ import annotations

from collections.abc import Callable

from tilework import functional as F
from tilework.tensor import Tensor


def _geglu_tanh(gate: Tensor, x: Tensor) -> Tensor:
    return F.geglu(gate, x, approximate="tanh")


def _geglu(gate: Tensor, x: Tensor) -> Tensor:
    return F.geglu(gate, x)


def _swiglu(gate: Tensor, x: Tensor) -> Tensor:
    return F.swiglu(gate, x)


def _reglu(gate: Tensor, x: Tensor) -> Tensor:
    return F.relu(gate) * x


# What `activation=` of a linear map calls them.
FUSED: dict[str, str] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
# The activation of the first times the second.
GATES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gelu": _geglu,
    "gelu_new": _geglu_tanh,
    "gelu_pytorch_tanh": _geglu_tanh,
    "relu": _reglu,
    "silu": _swiglu,
    "swish": _swiglu,
}
