"""Frozen and fused layers, gradient norms, parameters as one vector; rnn: packed sequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

from tilework import functional as F
from tilework.arrays import set_writeable
from tilework.autograd import no_grad
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.inplace import check_writable, written
from tilework.functional.pointwise import full_like_number
from tilework.nn import init
from tilework.nn.fuse import fuse
from tilework.nn.module import Module
from tilework.nn.utils import rnn
from tilework.tensor import Tensor

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "freeze",
    "fuse",
    "parameters_to_vector",
    "rnn",
    "skip_init",
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
        set_writeable(p._array, False)
    return model


def unfreeze(model: M) -> M:
    """Undoes freeze: weights may be written, and require gradients again; returns the model."""
    for p in model.parameters():
        if p._storage.frozen:
            p._storage.frozen = False
            p._storage.packed = None
            set_writeable(p._array, True)
            p.requires_grad_(True)
    return model


def _with_grad(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p for p in given if p.grad is not None]


def _joint_norm(grads: list[Tensor], order: float) -> float:
    """The norm of all elements as one vector."""
    arrays = [g._array if g._array.dtype.kind == "f" else g.float()._array for g in grads]
    if order == 2.0:
        return math.sqrt(sum(ops.squares_of(part) for part in _by_device(arrays)))
    if order == math.inf:
        return float(np.max([float(abs(a).max()) for a in arrays if a.size], initial=0.0))
    powers = (abs(a.astype(np.float64)) ** order for a in arrays)
    return float(sum(float(p.sum()) for p in powers) ** (1.0 / order))


def _by_device(arrays: list[Any]) -> Iterable[list[Any]]:
    """The CPU's and a device's apart."""
    parts: dict[type, list[Any]] = {}
    for array in arrays:
        parts.setdefault(array.__class__, []).append(array)
    return parts.values()


def _scale(grads: list[Tensor], factor: float) -> None:
    """Multiplies all in place: of the engine's dtypes, in one call."""
    together = []
    for g in grads:
        if g._array.dtype.kind == "f":
            check_writable("clip_grad_norm_", g)
            together.append(g)
        else:
            g.mul_(factor)
    for part in _by_device([g._array for g in together]):
        ops.scale_(part, factor)
    for g in together:
        written(g)


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
    grads = [p.grad for p in found if p.grad is not None]
    total = _joint_norm(grads, norm_type)
    if error_if_nonfinite and not np.isfinite(total):
        raise error(
            RuntimeError, "clip_grad_norm_", "a finite norm", total, "look for NaN in the loss"
        )
    scale = max_norm / (total + 1e-6)
    if not scale >= 1.0:
        _scale(grads, scale)
    if not found:
        return F.tensor(total)
    return full_like_number(total, found[0])


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


def skip_init(module_cls: Callable[..., M], *args: Any, **kwargs: Any) -> M:
    """module_cls(*args, **kwargs) whose weights are not drawn: for what gets a state next.

    What would be drawn by nn.init's uniform_ and normal_, and by those that call them, is left as
    the memory was.

    >>> state = nn.Linear(2, 3).state_dict()
    >>> layer = nn.utils.skip_init(nn.Linear, 2, 3)
    >>> _ = layer.load_state_dict(state)
    >>> tw.equal(layer.weight, state["weight"])
    True
    """
    before = init.drawing.skipped
    init.drawing.skipped = True
    try:
        return module_cls(*args, **kwargs)
    finally:
        init.drawing.skipped = before
