"""Folding batch norm into the layer before it: for inference, which then does one pass less."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from tilework import dtypes
from tilework.autograd import no_grad
from tilework.devices import CPU
from tilework.errors import error
from tilework.nn.containers import ModuleDict, ModuleList, Sequential
from tilework.nn.conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from tilework.nn.linear import Identity, Linear
from tilework.nn.module import Module
from tilework.nn.norm import BatchNorm1d, BatchNorm2d
from tilework.nn.parameter import Parameter
from tilework.tensor import Tensor, fresh

M = TypeVar("M", bound=Module)

_PAIRS: dict[type, type] = {
    Linear: BatchNorm1d,
    Conv1d: BatchNorm1d,
    Conv2d: BatchNorm2d,
    ConvTranspose1d: BatchNorm1d,
    ConvTranspose2d: BatchNorm2d,
}
_TRANSPOSED = (ConvTranspose1d, ConvTranspose2d)


def fuse(model: M, example: Tensor | None = None) -> M:
    """A copy of a model in evaluation mode, each batch norm folded into the convolution or linear
    layer before it, which then stands in the batch norm's place (and an Identity in its own).

    A batch norm belongs to the layer that is its neighbour in a Sequential, or that the module
    registers right before it (`self.conv1`, then `self.bn1`): forward must call them so, one on the
    other's result. On an `example` input the copy is compared with the model; ValueError where
    they differ. Layers that have hooks, are used under several names, or keep no running statistics
    stay as they are.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    >>> nn.utils.fuse(model, tw.randn(1, 3, 8, 8))
    Sequential(
      (0): Identity()
      (1): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
      (2): ReLU()
    )
    """
    fused = copy.deepcopy(model).eval()
    home = next((p.device for p in fused.parameters()), CPU)
    fused.cpu()  # whose float64 the weights are made in
    uses = Counter(id(m) for parent in fused.modules() for _, m in parent._own("module"))
    for parent in list(fused.modules()):
        if isinstance(parent, (ModuleList, ModuleDict)):
            continue  # they hold modules, and say nothing of who is called when
        children = list(parent._own("module"))
        for (name, layer), (norm_name, norm) in pairwise(children):
            if _belong(parent, layer, norm) and uses[id(layer)] == uses[id(norm)] == 1:
                _fold(layer, norm)
                setattr(parent, name, Identity())
                setattr(parent, norm_name, layer)
    fused.to(home)
    if example is not None:
        _compare(model, fused, example)
    return fused


def _belong(parent: Module, layer: Any, norm: Any) -> bool:
    """Whether `norm` normalises what `layer` gives."""
    kind: Any = type(norm)
    if _PAIRS.get(type(layer)) is not kind or norm.running_mean is None:
        return False
    if isinstance(layer, _TRANSPOSED) and not isinstance(parent, Sequential):
        return False  # forward may ask its batch norm for an activation, which these lack
    plain = all(not m._is_hooked() and "forward" not in vars(m) for m in (layer, norm))
    features = layer.out_features if isinstance(layer, Linear) else layer.out_channels
    return plain and features == norm.num_features


def _wide(values: Tensor | None, otherwise: float, count: int) -> Any:
    return np.full(count, otherwise) if values is None else values._array.astype(np.float64)


def _fold(layer: Any, norm: Any) -> None:
    """Weight and bias that give what `norm` makes of the layer's output, each rounded once."""
    weight, count = layer.weight._array, norm.num_features
    scale = _wide(norm.weight, 1.0, count) / np.sqrt(_wide(norm.running_var, 1.0, count) + norm.eps)
    shift = (_wide(layer.bias, 0.0, count) - _wide(norm.running_mean, 0.0, count)) * scale
    shift += _wide(norm.bias, 0.0, count)
    spread = scale.reshape(-1, *(1,) * (weight.ndim - 1))
    if isinstance(layer, _TRANSPOSED):  # (C_in, C_out / groups, ...), a group's rows together
        spread = scale.reshape(layer.groups, -1).repeat(weight.shape[0] // layer.groups, axis=0)
        spread = spread.reshape(*spread.shape, *(1,) * (weight.ndim - 2))
    product = weight.astype(np.float64, order="K") * spread  # in the layer's own memory layout
    layer.weight = _parameter(product, weight.dtype)
    layer.bias = _parameter(shift, weight.dtype)


def _parameter(values: Any, dtype: dtypes.DType) -> Parameter:
    return Parameter(fresh(values.astype(dtype, order="K")))


@no_grad()
def _compare(model: Module, fused: Module, example: Tensor) -> None:
    expected, found = copy.deepcopy(model).eval()(example), fused(example)
    if not all(isinstance(y, Tensor) for y in (expected, found)):
        raise error(
            TypeError, "fuse", "a model that gives a Tensor", type(expected).__name__,
            "compare the outputs yourself, and pass no example",
        )  # fmt: skip
    wide = expected.cpu()._array.astype(np.float64)
    away = float(np.abs(found.cpu()._array - wide).max(initial=0.0))
    eps = 2.0**-8 if expected.dtype is dtypes.bfloat16 else float(np.finfo(expected.dtype).eps)
    allowed = eps**0.5 * (1.0 + float(np.abs(wide).max(initial=0.0)))
    if not away <= allowed:
        raise error(
            ValueError, "fuse", "the model's own output of the fused copy",
            f"one that is {away:.3g} away, where {allowed:.3g} is allowed",
            "register each batch norm right after the layer whose result it gets, or not so",
        )  # fmt: skip
