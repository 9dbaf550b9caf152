"""Optimiser steps, an array at a time, in the parameters' own dtype."""

from __future__ import annotations

import math
from typing import Any

from tilework.arrays import namespace, writeable
from tilework.dtypes import finfo
from tilework.engines.cupy.base import Array, quiet, wide
from tilework.errors import error

__all__ = ["adam_step", "scale_", "sgd_step", "squares_of"]


def _check(op: str, params: list[Array], grads: list[Array], *state: list[Array] | None) -> None:
    """ValueError before anything is written, where arrays are not as their parameters are."""
    for arrays in (grads, params, *(held for held in state if held is not None)):
        for param, array in zip(params, arrays, strict=True):
            if (array.shape, array.dtype) != (param.shape, param.dtype) or param.dtype.kind != "f":
                raise error(
                    ValueError, op, f"arrays {param.shape} of {param.dtype}",
                    f"{array.shape} of {array.dtype}", "give each parameter's own shape and dtype",
                )  # fmt: skip
            if arrays is not grads and not writeable(array):
                raise error(
                    ValueError, op, "parameters and state writable", "a read-only array",
                    "leave frozen parameters out of the optimiser",
                )  # fmt: skip


def _vanished(dtype: Any) -> float:
    """Averages below it become zero: csrc/kernels/optim has the same rule, and tells why."""
    return float(finfo(dtype).tiny) * 2.0**26


def _unless_vanished(average: Array, limit: float) -> Array:
    """NaN stays."""
    xp, real = namespace(average), average.dtype.type
    return xp.where(abs(average) < real(limit), average * real(0), average)


def _signed(param: Array, grad: Array, decay: float, maximize: bool) -> Array:
    """The gradient to descend along, with the weight decay."""
    real = param.dtype.type
    d = -grad if maximize else grad
    return d + real(decay) * param if decay else d


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
        d = _signed(param, grad, weight_decay, maximize)
        if momenta is not None and momentum != 0:
            buffer = momenta[i]
            if first:
                buffer[...] = d
            else:
                moved = real(momentum) * buffer + real(1.0 - dampening) * d
                buffer[...] = _unless_vanished(moved, _vanished(param.dtype))
            d = d + real(momentum) * buffer if nesterov else buffer
        param[...] = param - real(lr) * d


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
        xp, real = namespace(param), param.dtype.type
        # Relative to eps, which is what they are divided by or added to here.
        vanished = min(_vanished(param.dtype), eps * 2.0**-60)
        vanished_sq = min(_vanished(param.dtype), (eps * 2.0**-30) ** 2)
        d, m, v = _signed(param, grad, decay, maximize), exp_avgs[i], exp_avg_sqs[i]
        m[...] = _unless_vanished(m + real(1.0 - beta1) * (d - m), vanished)
        v[...] = _unless_vanished(real(beta2) * v + real(1.0 - beta2) * d * d, vanished_sq)
        second = v
        if max_exp_avg_sqs is not None:
            second = max_exp_avg_sqs[i]
            second[...] = xp.maximum(second, v)
        root = xp.sqrt(second) / real(root_correction) + real(eps)
        param[...] = real(shrink) * param - real(step_size) * m / root


@quiet
def squares_of(arrays: list[Array]) -> float:
    total: Any = 0.0
    for x in arrays:
        total = total + namespace(x).sum(wide(x) * wide(x))
    return float(total)  # a device is waited for once


@quiet
def scale_(arrays: list[Array], factor: float) -> None:
    for x in arrays:
        x *= x.dtype.type(factor)
