"""Optimiser steps: every array of a parameter read and written once."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tilework.engines.numba.compiled import jit, quiet
from tilework.engines.numba.layout import Array, empty_like, flat, in_layout_of
from tilework.errors import error


@contextmanager
def _in_step(*arrays: Array) -> Iterator[list[Array]]:
    """The arrays as flat vectors in the first one's memory order.

    Those that had to be copied for it are written back.
    """
    model = empty_like(arrays[0])
    ordered = [in_layout_of(x, model) for x in arrays]
    yield [flat(x) for x in ordered]
    for x, own in zip(arrays, ordered, strict=True):
        if own is not x and x.flags.writeable:
            x[...] = own


def _check(op: str, params: list[Array], grads: list[Array], *state: list[Array] | None) -> None:
    """ValueError before anything is written, where arrays are not as their parameters are."""
    for arrays in (grads, params, *(held for held in state if held is not None)):
        for param, array in zip(params, arrays, strict=True):
            if (array.shape, array.dtype) != (param.shape, param.dtype) or param.dtype.kind != "f":
                raise error(
                    ValueError, op, f"arrays {param.shape} of {param.dtype}",
                    f"{array.shape} of {array.dtype}", "give each parameter's own shape and dtype",
                )  # fmt: skip
            if arrays is not grads and not array.flags.writeable:
                raise error(
                    ValueError, op, "parameters and state writable", "a read-only array",
                    "leave frozen parameters out of the optimiser",
                )  # fmt: skip


# Averages below a limit become zero: far too small to move a parameter, they would go on decaying
# into denormals, which cost a microcode assist each. The limit lies 2^26 above the smallest normal
# number, so that no decay slips past it. csrc/kernels/optim has the same rule, and the same limits.


def _vanished(dtype: Any) -> float:
    return float(np.finfo(dtype).tiny) * 2.0**26


@jit
def _unless_vanished(average: Any, vanished: Any) -> Any:
    """NaN stays."""
    return average * 0 if abs(average) < vanished else average


# Scalars come in the parameters' dtype: a float64 one would promote every product.


@jit
def _sgd(
    p: Any,
    g: Any,
    buffer: Any,
    first: bool,
    lr: Any,
    momentum: Any,
    fresh: Any,
    weight_decay: Any,
    nesterov: bool,
    sign: Any,
    vanished: Any,
) -> None:
    """fresh: the new gradient's share in the momentum, 1 - dampening."""
    for i in range(p.size):
        d = sign * g[i]
        if weight_decay != 0:
            d += weight_decay * p[i]
        if momentum != 0:
            if first:
                buffer[i] = d
            else:
                buffer[i] = _unless_vanished(momentum * buffer[i] + fresh * d, vanished)
            d = d + momentum * buffer[i] if nesterov else buffer[i]
        p[i] -= lr * d


@quiet
def sgd_step(
    params: list[Array],
    grads: list[Array],
    momenta: list[Array] | None,
    first: bool,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    _check("sgd_step", params, grads, momenta)
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        real = param.dtype.type
        state = () if momenta is None else (momenta[i],)
        with _in_step(param, grad, *state) as (p, g, *buffer):
            _sgd(
                p,
                g,
                buffer[0] if buffer else p,
                first,
                real(lr),
                real(momentum if buffer else 0.0),
                real(1.0 - dampening),
                real(weight_decay),
                nesterov,
                real(-1.0 if maximize else 1.0),
                real(_vanished(param.dtype)),
            )


@jit
def _adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    v_max: Any,
    amsgrad: bool,
    step_size: Any,
    root_correction: Any,
    fresh1: Any,
    beta2: Any,
    fresh2: Any,
    eps: Any,
    shrink: Any,
    weight_decay: Any,
    sign: Any,
    vanished: Any,
    vanished_sq: Any,
) -> None:
    """fresh1, fresh2: 1 - beta. shrink: AdamW's factor on the parameter, 1 for Adam."""
    for i in range(p.size):
        d = sign * g[i]
        if weight_decay != 0:
            d += weight_decay * p[i]
        m[i] = _unless_vanished(m[i] + fresh1 * (d - m[i]), vanished)
        v[i] = _unless_vanished(beta2 * v[i] + fresh2 * d * d, vanished_sq)
        second = v[i]
        if amsgrad:
            second = v_max[i] = max(v_max[i], second)
        p[i] = shrink * p[i] - step_size * m[i] / (math.sqrt(second) / root_correction + eps)


@quiet
def adam_step(
    params: list[Array],
    grads: list[Array],
    exp_avgs: list[Array],
    exp_avg_sqs: list[Array],
    max_exp_avg_sqs: list[Array] | None,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    maximize: bool,
) -> None:
    _check("adam_step", params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs)
    step_size = lr / (1.0 - beta1**step)
    root_correction = math.sqrt(1.0 - beta2**step)
    shrink, decay = (1.0 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        real = param.dtype.type
        # Relative to eps, which is what they are divided by or added to here.
        vanished = min(_vanished(param.dtype), eps * 2.0**-60)
        vanished_sq = min(_vanished(param.dtype), (eps * 2.0**-30) ** 2)
        largest = () if max_exp_avg_sqs is None else (max_exp_avg_sqs[i],)
        with _in_step(param, grad, exp_avgs[i], exp_avg_sqs[i], *largest) as (p, g, m, v, *v_max):
            _adam(
                p,
                g,
                m,
                v,
                v_max[0] if v_max else v,
                bool(v_max),
                real(step_size),
                real(root_correction),
                real(1.0 - beta1),
                real(beta2),
                real(1.0 - beta2),
                real(eps),
                real(shrink),
                real(decay),
                real(-1.0 if maximize else 1.0),
                real(vanished),
                real(vanished_sq),
            )


def squares_of(arrays: list[Array]) -> float:
    return float(sum(np.square(x, dtype=np.float64).sum() for x in arrays))


@quiet
def scale_(arrays: list[Array], factor: float) -> None:
    for x in arrays:
        np.multiply(x, x.dtype.type(factor), out=x)
