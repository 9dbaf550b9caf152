"""A model's file over PyTorch: the same text, with torch in tilework's place.

Models use only names that PyTorch has too, but for the compositions below. Imports PyTorch.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import sys
import types
from typing import Any

import torch

_NAME = "tilework.testing.over_torch"
# Of tilework.models, what holds no tensor, and is the same over both.
_SHARED = ("errors", "models.config")


def _rotary_embedding(x: Any, cos: Any, sin: Any) -> Any:
    half = cos.shape[-1]
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1)


_ACTIVATIONS: dict[str, Any] = {
    "none": lambda x: x,
    "gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
}


def _activated(x: Any, activation: str) -> Any:
    known = _ACTIVATIONS.get(activation)
    return known(x) if known else getattr(torch.nn.functional, activation)(x)


def _linear(x: Any, weight: Any, bias: Any = None, *, activation: str = "none") -> Any:
    return _activated(torch.nn.functional.linear(x, weight, bias), activation)


def _swiglu(x: Any, other: Any) -> Any:
    return torch.nn.functional.silu(x) * other


def _geglu(x: Any, other: Any, *, approximate: str = "none") -> Any:
    return torch.nn.functional.gelu(x, approximate=approximate) * other


class _Linear(torch.nn.Linear):  # type: ignore[misc]
    def forward(self, input: Any, *, activation: str = "none") -> Any:
        return _activated(super().forward(input), activation)


def _normalised(norm: Any, input: Any, residual: Any) -> Any:
    """What a norm's own forward gives; with a residual that of the sum, and the sum."""
    if residual is None:
        return norm(input)
    total = input + residual
    return norm(total), total


class _LayerNorm(torch.nn.LayerNorm):  # type: ignore[misc]
    def forward(self, input: Any, *, residual: Any = None) -> Any:
        return _normalised(super().forward, input, residual)


class _RMSNorm(torch.nn.RMSNorm):  # type: ignore[misc]
    def forward(self, input: Any, *, residual: Any = None) -> Any:
        return _normalised(super().forward, input, residual)


class _BatchNorm2d(torch.nn.BatchNorm2d):  # type: ignore[misc]
    def forward(self, input: Any, *, activation: str = "none", residual: Any = None) -> Any:
        y = super().forward(input)
        return _activated(y if residual is None else y + residual, activation)


def _attention(
    q: Any, k: Any, v: Any, attn_mask: Any = None, *rest: Any, window: Any = None, **options: Any
) -> Any:
    """Of a window the edges that count from the last query and key alone."""
    options.pop("causal_alignment", None)
    if window is not None:
        n, m = q.shape[-2], k.shape[-2]
        away = torch.arange(m) - torch.arange(n).unsqueeze(1) - (m - n)
        seen = (away >= -window[0]) & (away <= window[1])
        attn_mask = seen if attn_mask is None else seen & attn_mask
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask, *rest, **options)


# What is beyond PyTorch's names, composed of them.
COMPOSITIONS: dict[str, Any] = {
    "geglu": _geglu,
    "linear": _linear,
    "rotary_embedding": _rotary_embedding,
    "scaled_dot_product_attention": _attention,
    "swiglu": _swiglu,
}
LAYERS: dict[str, Any] = {
    "BatchNorm2d": _BatchNorm2d,
    "LayerNorm": _LayerNorm,
    "Linear": _Linear,
    "RMSNorm": _RMSNorm,
}


class _Functional:
    """torch and torch.nn.functional under one name."""

    def __getattr__(self, name: str) -> Any:
        if name in COMPOSITIONS:
            return COMPOSITIONS[name]
        return getattr(torch.nn.functional, name, None) or getattr(torch, name)


class _Layers:
    """torch.nn, whose layers take what ours do."""

    def __getattr__(self, name: str) -> Any:
        return LAYERS.get(name) or getattr(torch.nn, name)


def _stand_in(name: str) -> types.ModuleType:
    """What `from NAME import ...` finds in a model's file."""
    inner = name.removeprefix("tilework").removeprefix(".")
    if inner.startswith("models.") and inner not in _SHARED:
        return over_torch(inner.removeprefix("models."))
    if inner in _SHARED:
        return importlib.import_module(name)
    module = types.ModuleType(name)
    vars(module).update(functional=_Functional(), nn=_Layers(), Tensor=torch.Tensor)
    return module


def _import(name: str, *rest: Any) -> Any:
    if name == "tilework" or name.startswith("tilework."):
        return _stand_in(name)
    return builtins.__import__(name, *rest)


@functools.cache
def over_torch(name: str) -> types.ModuleType:
    """tilework.models.NAME over PyTorch: a module with the same classes, of torch.nn."""
    spec = importlib.util.find_spec(f"tilework.models.{name}")
    assert spec is not None
    assert spec.origin is not None
    module = types.ModuleType(f"{_NAME}.{name}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
    with open(spec.origin, encoding="utf-8") as file:
        exec(compile(file.read(), spec.origin, "exec"), vars(module))
    return module
