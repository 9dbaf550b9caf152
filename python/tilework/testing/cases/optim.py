"""Cases of the optimisers: a few steps from given gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case
from tilework.testing.inputs import LAYOUTS, TAILS, Inputs, Shape, arrays
from tilework.testing.tolerance import eps

Options = dict[str, Any]
STEPS = 3
EMPTY: tuple[Shape, ...] = ((), (0,), (3, 0), (1, 1))


def sgd(
    param: Array,
    grads: tuple[Array, ...],
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> Array:
    """PyTorch's SGD, step by step."""
    buffer = None
    for grad in grads:
        d = (-grad if maximize else grad) + weight_decay * param
        if momentum:
            buffer = d if buffer is None else momentum * buffer + (1 - dampening) * d
            d = d + momentum * buffer if nesterov else buffer
        param = param - lr * d
    return param


def adam(
    param: Array,
    grads: tuple[Array, ...],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
    decoupled: bool = False,
) -> Array:
    """Kingma and Ba 2015; amsgrad of Reddi et al. 2018, decoupled decay of Loshchilov 2019."""
    m = v = largest = np.zeros_like(param)
    for t, grad in enumerate(grads, 1):
        d = -grad if maximize else grad
        if decoupled:
            param = param * (1 - lr * weight_decay)
        else:
            d = d + weight_decay * param
        m = betas[0] * m + (1 - betas[0]) * d
        v = betas[1] * v + (1 - betas[1]) * d * d
        largest = np.maximum(largest, v)
        second = (largest if amsgrad else v) / (1 - betas[1] ** t)
        param = param - lr * m / (1 - betas[0] ** t) / (np.sqrt(second) + eps)
    return param


def _adamw(param: Array, grads: tuple[Array, ...], **options: Any) -> Array:
    return adam(param, grads, decoupled=True, **{"weight_decay": 1e-2, **options})


_SGD_OPTIONS: tuple[Options, ...] = (
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.9, "dampening": 0.5},
    {"weight_decay": 0.1},
    {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True, "maximize": True},
)
_ADAM_OPTIONS: tuple[Options, ...] = (
    {},
    {"betas": (0.5, 0.8)},
    {"eps": 1e-3},
    {"weight_decay": 0.1},
    {"amsgrad": True},
    {"amsgrad": True, "maximize": True, "weight_decay": 0.1},
)
OPTIMISERS: dict[str, tuple[Callable[..., Array], tuple[Options, ...]]] = {
    "SGD": (sgd, _SGD_OPTIONS),
    "Adam": (adam, _ADAM_OPTIONS),
    "AdamW": (_adamw, _ADAM_OPTIONS),
}


def _bound(dtype: str, expected: Array, param: Array, *grads: Array) -> Array:
    """A dozen operations a step, at the size of the parameter and of the changes to it.

    The cases' rates are at most 0.1 and their momenta 0.9: changes stay under the gradients' sum.
    """
    size = np.abs(param) + sum(np.abs(g) for g in grads) + 1.0
    return np.asarray(12.0 * STEPS * eps(dtype) * size)


def _steps(op: str, label: str, inputs: Inputs, options: Options) -> Case:
    expected = OPTIMISERS[op][0]
    how = {"lr": 0.1 if op == "SGD" else 0.01, **options}

    def call(tw: Any, F: Any, param: Any, *grads: Any) -> Any:
        weight = tw.nn.Parameter(param.detach())
        optimiser = getattr(tw.optim, op)([weight], **how)
        for grad in grads:
            weight.grad = grad
            optimiser.step()
        return weight.detach()

    return Case(
        family="optim",
        op=op,
        label=label,
        inputs=inputs,
        call=call,
        reference=lambda param, *grads: expected(param, grads, **how),
        tolerance=_bound,
        writes=(0,),
    )


def _arrays(shape: Shape, param: str = "contiguous", grad: str = "contiguous") -> Inputs:
    return arrays(*[shape] * (1 + STEPS), layouts=[param, *[grad] * STEPS])


def _cases() -> Iterator[Case]:
    for op, (_, every) in OPTIMISERS.items():
        for options in every:
            words = ", ".join(f"{k}={v}" for k, v in options.items()) or "plain"
            yield _steps(op, words, _arrays((5, 7)), options)
        for n in TAILS:
            yield _steps(op, f"{n}", _arrays((n,)), every[-1])
        for shape in EMPTY:
            yield _steps(op, f"shape {shape}", _arrays(shape), every[-1])
        for layout in LAYOUTS[:-1]:  # an expanded parameter shares one element among many
            strided = _arrays((2, 5, 3, 7), param=layout)
            yield _steps(op, f"{layout} parameter", strided, every[-1])
            strided = _arrays((2, 5, 3, 7), grad=layout)
            yield _steps(op, f"{layout} gradients", strided, every[-1])


CASES: tuple[Case, ...] = tuple(_cases())
