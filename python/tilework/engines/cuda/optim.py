"""Optimiser steps: one launch for all parameters of a dtype, whose addresses lie in a table on the
device."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

from tilework.arrays import address, host, namespace
from tilework.engines import device
from tilework.engines.cuda.launch import launch
from tilework.engines.layout import contiguous, empty_as, memory_order
from tilework.errors import error

__all__ = ["adam_step", "scale_", "sgd_step", "squares_of"]

Array = Any
_THREADS, _CHUNK, _ARRAYS = 256, 2048, 5  # as in optim.cuh
_NAMES = {"float32": "float", "float64": "double"}
_TINY = {"float32": 2.0**-126, "float64": 2.0**-1022}  # the smallest normal number


# --- arrays as flat memory ---


def _lies_as(x: Array, like: Array) -> bool:
    steps = zip(x.shape, x.strides, like.strides, strict=True)
    return all(n == 1 or a == b for n, a, b in steps)


class _Together:
    """The arrays of one step, parameter by parameter; those that do not lie as their parameter does
    as copies that do, which go back at the end."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.rows: dict[str, list[tuple[int, ...]]] = {}  # by dtype: addresses, and the size
        self.copies: list[tuple[Array, Array]] = []
        self.held: list[Array] = []  # until the launch

    def add(self, param: Array, *others: tuple[Array, bool]) -> None:
        """`others`: arrays of its shape, and whether they are written to."""
        for x, _ in others:
            if x.__class__ is not param.__class__:
                raise error(
                    RuntimeError, self.op, "all tensors on one device",
                    "some on the CPU and some on cuda", 'move them: x.to("cuda"), or x.cpu()',
                )  # fmt: skip
            if (x.shape, x.dtype) != (param.shape, param.dtype):
                raise error(
                    ValueError, self.op, f"arrays {param.shape} of {param.dtype}",
                    f"{x.shape} of {x.dtype}", "give each parameter's own shape and dtype",
                )  # fmt: skip
        if param.dtype.name not in _NAMES:
            raise error(
                TypeError, self.op, "arrays of float32 or float64", param.dtype,
                "keep the parameters in float32",
            )  # fmt: skip
        if param.size == 0:
            return
        own = param
        if memory_order(param) is None:
            own = contiguous(param)
            self.copies.append((param, own))
        arrays = [own, *(self._laid_as(own, x, written) for x, written in others)]
        self.held += arrays
        places = [address(x) for x in arrays]
        row = (*places, *[0] * (_ARRAYS - len(places)), param.size)
        self.rows.setdefault(_NAMES[param.dtype.name], []).append(row)

    def _laid_as(self, like: Array, x: Array, written: bool) -> Array:
        if _lies_as(x, like):
            return x
        copy = empty_as(like)
        copy[...] = x
        if written:
            self.copies.append((x, copy))
        return copy

    def launch(self, kernel: str, *args: Any) -> None:
        """Of each dtype all rows at once; the arguments may depend on it."""
        for name, rows in self.rows.items():
            table = _table(tuple(rows))
            given = [a[name] if isinstance(a, dict) else a for a in args]
            launch(f"{kernel}_{name}", table.chunks, _THREADS, table.rows, len(rows), *given)
        for x, copy in self.copies:
            x[...] = copy


class _Table(NamedTuple):
    rows: Array  # on the device
    chunks: int


# Tables by what stands in them: addresses and sizes mean the same whoever owns the memory.
# Gradients that a step makes anew come to the same places again, for the most part.
_tables: OrderedDict[Any, _Table] = OrderedDict()
_MOST_TABLES = 64


def _table(rows: tuple[tuple[int, ...], ...]) -> _Table:
    served: Any = device.provider
    key = (served, rows)
    found = _tables.pop(key, None)
    if found is None:
        first, full = 0, []
        for row in rows:
            full.append((*row, first))
            first += -(-row[-1] // _CHUNK)
        found = _Table(served.to_device(host.array(full, host.int64)), first)
    _tables[key] = found  # the last one used
    while len(_tables) > _MOST_TABLES:
        _tables.popitem(last=False)
    return found


# --- the steps ---


def _vanished(*bounds: float) -> dict[str, float]:
    """By the kernel's dtype: below what an average is zero (csrc/kernels/optim/optim.h)."""
    return {_NAMES[name]: min(tiny * 2.0**26, *bounds) for name, tiny in _TINY.items()}


def sgd_step(
    params: list[Array], grads: list[Array], momenta: list[Array] | None, first: bool, lr: float,
    momentum: float, dampening: float, weight_decay: float, nesterov: bool, maximize: bool,
) -> None:  # fmt: skip
    together = _Together("sgd_step")
    sign = -1.0 if maximize else 1.0
    if momenta is None or momentum == 0:
        for param, grad in zip(params, grads, strict=True):
            together.add(param, (grad, False))
        together.launch("sgd", float(lr), float(weight_decay), sign)
        return
    for param, grad, buffer in zip(params, grads, momenta, strict=True):
        together.add(param, (grad, False), (buffer, True))
    together.launch(
        "sgd_momentum", int(first), int(nesterov), float(lr), float(momentum), 1.0 - dampening,
        float(weight_decay), sign, _vanished(math.inf),
    )  # fmt: skip


def adam_step(
    params: list[Array], grads: list[Array], exp_avgs: list[Array], exp_avg_sqs: list[Array],
    max_exp_avg_sqs: list[Array] | None, step: int, lr: float, beta1: float, beta2: float,
    eps: float, weight_decay: float, decoupled: bool, maximize: bool,
) -> None:  # fmt: skip
    together = _Together("adam_step")
    kept: Iterable[tuple[Array, ...]] = (
        zip(exp_avgs, exp_avg_sqs, strict=True)
        if max_exp_avg_sqs is None
        else zip(exp_avgs, exp_avg_sqs, max_exp_avg_sqs, strict=True)
    )
    for param, grad, state in zip(params, grads, kept, strict=True):
        together.add(param, (grad, False), *((x, True) for x in state))
    together.launch(
        "adam" if max_exp_avg_sqs is None else "adam_amsgrad",
        lr / (1.0 - beta1**step),
        1.0 / math.sqrt(1.0 - beta2**step),
        1.0 - beta1,
        float(beta2),
        1.0 - beta2,
        float(eps),
        1.0 - lr * weight_decay if decoupled else 1.0,
        0.0 if decoupled else float(weight_decay),
        -1.0 if maximize else 1.0,
        _vanished(eps * 2.0**-60),
        _vanished((eps * 2.0**-30) ** 2),
    )


# --- gradients as one vector ---


def squares_of(arrays: list[Array]) -> Array:
    """A float64 array without axes, on the device: float() of it waits."""
    together = _Together("squares_of")
    for x in arrays:
        together.add(x)
    xp = namespace(arrays[0])
    totals = []
    for name, rows in together.rows.items():
        table = _table(tuple(rows))
        sums, found = xp.empty((table.chunks,), "float64"), xp.empty((), "float64")
        launch(f"squares_{name}", table.chunks, _THREADS, sums, table.rows, len(rows))
        launch("squares_total", 1, _THREADS, found, sums, table.chunks)
        totals.append(found)
    return sum(totals[1:], totals[0]) if totals else xp.zeros((), "float64")


def scale_(arrays: list[Array], factor: float) -> None:
    together = _Together("scale_")
    for x in arrays:
        together.add(x)
    together.launch("scale", float(factor))
