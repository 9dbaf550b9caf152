"""Frozen and fused layers, gradient norms, parameters as one vector."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np

from tilework import functional as F
from tilework.autograd import no_grad
from tilework.errors import error
from tilework.nn.fuse import fuse
from tilework.nn.module import Module
from tilework.tensor import Tensor

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "freeze",
    "fuse",
    "parameters_to_vector",
    "unfreeze",
    "vector_to_parameters",
]

M = TypeVar("M", bound=Module)


def freeze(model: M) -> M:
    """Makes a model's weights read-only, without gradients, and always packed; returns the model.

    A packed weight lies in the order that the kernels read: linear layers and convolutions skip
    that work on each call, at the price of a second copy. Writes raise until unfreeze().

    >>> layer = nn.utils.freeze(nn.Linear(64, 64))
    >>> layer.weight.requires_grad
    False
    """
    for p in model.parameters():
        p.requires_grad_(False)
        p._storage.frozen = True
        p._array.flags.writeable = False
    return model


def unfreeze(model: M) -> M:
    """Undoes freeze: weights may be written, and require gradients again; returns the model."""
    for p in model.parameters():
        if p._storage.frozen:
            p._storage.frozen = False
            p._storage.packed = None
            p._array.flags.writeable = True
            p.requires_grad_(True)
    return model


def _with_grad(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p for p in given if p.grad is not None]


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scales gradients down in place where their joint norm is above max_norm; returns the norm.

    RuntimeError on a norm of NaN or inf with `error_if_nonfinite`.
    """
    found = _with_grad(parameters)
    grads = [np.asarray(p.grad._array, np.float64) for p in found if p.grad is not None]
    if norm_type == float("inf"):
        total = max((float(np.abs(g).max(initial=0.0)) for g in grads), default=0.0)
    else:
        total = sum(float((np.abs(g) ** norm_type).sum()) for g in grads) ** (1.0 / norm_type)
    if error_if_nonfinite and not np.isfinite(total):
        raise error(
            RuntimeError, "clip_grad_norm_", "a finite norm", total, "look for NaN in the loss"
        )
    scale = max_norm / (total + 1e-6)
    if not scale >= 1.0:
        for p in found:
            p.grad.mul_(scale)  # type: ignore[union-attr]
    return F.tensor(total, dtype=found[0].dtype if found else None)


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Brings each gradient element into [-clip_value, clip_value], in place."""
    for p in _with_grad(parameters):
        p.grad.clamp_(-clip_value, clip_value)  # type: ignore[union-attr]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters in one vector, gradients and all.

    >>> nn.utils.parameters_to_vector(nn.Linear(2, 3).parameters()).shape
    (9,)
    """
    return F.cat([p.reshape(-1) for p in parameters])


@no_grad()
def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Writes a vector's pieces to the parameters. ValueError where the lengths differ."""
    params = list(parameters)
    count = sum(p.numel() for p in params)
    if vec.shape != (count,):
        raise error(
            ValueError, "vector_to_parameters", f"a vector ({count},)", vec.shape, "match the model"
        )
    for p, piece in zip(params, F.split(vec, [p.numel() for p in params]), strict=True):
        p.copy_(piece.reshape(p.shape))
