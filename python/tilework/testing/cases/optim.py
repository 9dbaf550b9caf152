"""Cases of the optimisers: a few steps from given gradients; and of clipping their norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case
from tilework.testing.inputs import LAYOUTS, TAILS, Inputs, Shape, arrays
from tilework.testing.tolerance import eps, growth, tiny

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


def rmsprop(
    param: Array, grads: tuple[Array, ...], lr: float, alpha: float = 0.99, eps: float = 1e-8,
    weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False,
    maximize: bool = False,
) -> Array:  # fmt: skip
    """Hinton 2012; the centred form of Graves 2013."""
    squares = mean = buffer = np.zeros_like(param)
    for grad in grads:
        d = (-grad if maximize else grad) + weight_decay * param
        squares = alpha * squares + (1 - alpha) * d * d
        mean = alpha * mean + (1 - alpha) * d
        spread = squares - mean**2 if centered else squares
        d = d / (np.sqrt(spread) + eps)
        buffer = momentum * buffer + d
        param = param - lr * buffer
    return param


def adagrad(
    param: Array, grads: tuple[Array, ...], lr: float, lr_decay: float = 0.0,
    weight_decay: float = 0.0, initial_accumulator_value: float = 0.0, eps: float = 1e-10,
    maximize: bool = False,
) -> Array:  # fmt: skip
    """Duchi et al. 2011."""
    total = np.full_like(param, initial_accumulator_value)
    for t, grad in enumerate(grads):
        d = (-grad if maximize else grad) + weight_decay * param
        total = total + d * d
        param = param - lr / (1 + t * lr_decay) * d / (np.sqrt(total) + eps)
    return param


def adadelta(
    param: Array, grads: tuple[Array, ...], lr: float, rho: float = 0.9, eps: float = 1e-6,
    weight_decay: float = 0.0, maximize: bool = False,
) -> Array:  # fmt: skip
    """Zeiler 2012."""
    squares = steps = np.zeros_like(param)
    for grad in grads:
        d = (-grad if maximize else grad) + weight_decay * param
        squares = rho * squares + (1 - rho) * d * d
        delta = np.sqrt(steps + eps) / np.sqrt(squares + eps) * d
        steps = rho * steps + (1 - rho) * delta * delta
        param = param - lr * delta
    return param


def adamax(
    param: Array, grads: tuple[Array, ...], lr: float,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0,
    maximize: bool = False,
) -> Array:  # fmt: skip
    """Kingma and Ba 2015, section 7."""
    m = largest = np.zeros_like(param)
    for t, grad in enumerate(grads, 1):
        d = (-grad if maximize else grad) + weight_decay * param
        m = betas[0] * m + (1 - betas[0]) * d
        largest = np.maximum(betas[1] * largest, np.abs(d) + eps)
        param = param - lr / (1 - betas[0] ** t) * m / largest
    return param


def _decayed(
    param: Array, grad: Array, lr: float, decay: float, decoupled: bool, maximize: bool
) -> tuple[Array, Array]:
    d = -grad if maximize else grad
    return (param * (1 - lr * decay), d) if decoupled else (param, d + decay * param)


def radam(
    param: Array, grads: tuple[Array, ...], lr: float,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False, maximize: bool = False,
) -> Array:  # fmt: skip
    """Liu et al. 2020."""
    m = v = np.zeros_like(param)
    longest = 2 / (1 - betas[1]) - 1
    for t, grad in enumerate(grads, 1):
        param, d = _decayed(param, grad, lr, weight_decay, decoupled_weight_decay, maximize)
        m = betas[0] * m + (1 - betas[0]) * d
        v = betas[1] * v + (1 - betas[1]) * d * d
        mean, rest = m / (1 - betas[0] ** t), 1 - betas[1] ** t
        rho = longest - 2 * t * betas[1] ** t / rest
        if rho > 5:
            top = (rho - 4) * (rho - 2) * longest
            mean = mean * math.sqrt(top / ((longest - 4) * (longest - 2) * rho) * rest)
            mean = mean / (np.sqrt(v) + eps)
        param = param - lr * mean
    return param


def nadam(
    param: Array, grads: tuple[Array, ...], lr: float,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0,
    momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, maximize: bool = False,
) -> Array:  # fmt: skip
    """Dozat 2016, as PyTorch writes it."""
    m = v = np.zeros_like(param)
    product = 1.0
    for t, grad in enumerate(grads, 1):
        param, d = _decayed(param, grad, lr, weight_decay, decoupled_weight_decay, maximize)
        now, then = (betas[0] * (1 - 0.5 * 0.96 ** (s * momentum_decay)) for s in (t, t + 1))
        product *= now
        m = betas[0] * m + (1 - betas[0]) * d
        v = betas[1] * v + (1 - betas[1]) * d * d
        below = np.sqrt(v / (1 - betas[1] ** t)) + eps
        param = param - lr * (1 - now) / (1 - product) * d / below
        param = param - lr * then / (1 - product * then) * m / below
    return param


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
    "RMSprop": (rmsprop, (
        {}, {"momentum": 0.9}, {"centered": True, "eps": 1e-2},
        {"alpha": 0.5, "momentum": 0.5, "weight_decay": 0.1, "maximize": True},
    )),
    "Adagrad": (adagrad, (
        {}, {"lr_decay": 0.5, "weight_decay": 0.1},
        {"initial_accumulator_value": 0.5, "maximize": True},
    )),
    "Adadelta": (adadelta, ({}, {"rho": 0.5, "weight_decay": 0.1, "maximize": True})),
    "Adamax": (adamax, ({}, {"betas": (0.5, 0.8), "weight_decay": 0.1, "maximize": True})),
    "RAdam": (radam, (
        {}, {"betas": (0.5, 0.6), "weight_decay": 0.1, "maximize": True},
        {"betas": (0.5, 0.5), "weight_decay": 0.1, "decoupled_weight_decay": True},
    )),
    "NAdam": (nadam, (
        {}, {"momentum_decay": 0.1, "weight_decay": 0.1, "maximize": True},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    )),
}  # fmt: skip


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
        # PyTorch keeps the product of the momenta in float32.
        peer=None if op == "NAdam" else "same",
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


# --- the norm of all gradients together ---


def _norm(grads: tuple[Array, ...], order: float) -> Any:
    whole = np.abs(np.concatenate([np.ravel(g) for g in grads]))
    return whole.max(initial=0.0) if order == math.inf else (whole**order).sum() ** (1.0 / order)


def _clipped(limit: float, order: float, *grads: Array) -> Array:
    """The norm, and behind it the gradients as they are left."""
    norm = _norm(grads, order)
    scale = min(1.0, limit / (norm + 1e-6))
    return np.concatenate([[norm], *(np.ravel(g) * scale for g in grads)])


def _clipped_bound(dtype: str, expected: Array, *grads: Array) -> Array:
    """A sum of terms of one sign, its root, and a product each."""
    error = (growth(sum(g.size for g in grads)) + 8.0) * eps(dtype) * np.abs(expected)
    return np.asarray(error + tiny(dtype))


def _clip(label: str, inputs: Inputs, count: int, limit: float, order: float) -> Case:
    def call(tw: Any, F: Any, *grads: Any) -> Any:
        params = [tw.nn.Parameter(tw.zeros_like(g)) for g in grads]
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        norm = tw.nn.utils.clip_grad_norm_(params, limit, order)
        return tw.cat([norm.reshape(1), *(p.grad.reshape(-1) for p in params)])

    return Case(
        family="optim",
        op="clip_grad_norm_",
        label=label,
        inputs=inputs,
        call=call,
        reference=partial(_clipped, limit, order),
        tolerance=_clipped_bound,
        writes=tuple(range(count)),
    )


def _clip_cases() -> Iterator[Case]:
    for order, limit in ((2.0, 1.5), (2.0, 1e3), (1.0, 2.0), (3.0, 0.5), (math.inf, 0.25)):
        label = f"norm of order {order} to {limit}"
        # PyTorch has no largest element of an empty gradient beside others.
        shapes: tuple[Shape, ...] = ((5, 7), (), (33,), (3, 4, 5), *[(2, 0)] * (order < math.inf))
        yield _clip(label, arrays(*shapes), len(shapes), limit, order)
    for n in TAILS:
        yield _clip(f"{n}", arrays((n,), (3,)), 2, 0.5, 2.0)
    for layout in LAYOUTS[:-1]:
        strided = arrays((2, 5, 3, 7), (4,), layouts=(layout, "contiguous"))
        yield _clip(f"{layout} gradient", strided, 2, 0.5, 2.0)


def _clipping(tw: Any, F: Any, *grads: Any) -> Callable[[], Any]:
    """Calls that find a norm above their limit each time: it falls from one to the next."""
    params = [tw.nn.Parameter(tw.zeros_like(g)) for g in grads]
    for p, g in zip(params, grads, strict=True):
        p.grad = g.clone()
    limit = 1.0

    def clip() -> Any:
        nonlocal limit
        limit *= 1.0 - 2.0**-16  # far above a norm's rounding, and far from 0 after 10^5 calls
        return tw.nn.utils.clip_grad_norm_(params, limit)

    return clip


def _timed() -> Iterator[Case]:
    for n in (10**3, 10**5, 10**7):
        label = f"clip_grad_norm_ {n} in 10 tensors"
        yield Case(
            family="optim",
            op="clip_grad_norm_",
            label=label,
            inputs=arrays(*[(n // 10,)] * 10),
            setup=_clipping,
            reference=lambda *grads: np.asarray(_norm(grads, 2.0)),
            tolerance=_clipped_bound,
            dtypes=("float32",),
            quick=False,
            bench=Bench(label, flops=0.0, bytes=12.0 * n),
        )


CASES: tuple[Case, ...] = (*_cases(), *_clip_cases(), *_timed())
