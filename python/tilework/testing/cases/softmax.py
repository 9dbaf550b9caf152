"""Cases of softmax and log_softmax."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tilework.testing import reference
from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.inputs import LAYOUTS, TAILS, Inputs, Shape, arrays, normal
from tilework.testing.tolerance import eps, growth, tiny


def _distance(x: Array, axis: int) -> Array:
    """How far below its row's largest each element lies: its rounding counts in the exponential."""
    if x.shape[axis] == 0:
        return x
    away = x.max(axis=axis, keepdims=True) - x
    return np.where(np.isfinite(away), away, 0.0)


def _softmax(op: str, label: str, inputs: Inputs, axis: int, **fields: Any) -> Case:
    log = op == "log_softmax"

    def bound(dtype: str, expected: Array, x: Array) -> Array:
        away = _distance(x, axis)
        total = growth(x.shape[axis]) + 3.0  # relative error of the sum of exponentials
        if log:
            size = 1.0 + away + np.log(max(x.shape[axis], 1))
            return np.asarray(eps(dtype) * (total + 3.0 * size))
        # A relative error, and a lost denormal of the exponential.
        return np.asarray(eps(dtype) * np.abs(expected) * (total + 3.0 + away) + tiny(dtype))

    return Case(
        family="softmax",
        op=op,
        label=label,
        inputs=inputs,
        call=(lambda tw, F, x: F.log_softmax(x, dim=axis))
        if log
        else (lambda tw, F, x: F.softmax(x, dim=axis)),
        reference=lambda x: (reference.log_softmax if log else reference.softmax)(x, axis),
        tolerance=bound,
        **fields,
    )


def _row(*values: float) -> Inputs:
    """A row of those values between two ordinary ones."""

    def inputs(rng: Generator, t: str) -> tuple[Array]:
        x = normal(rng, t, 3, len(values))
        x[1] = values
        return (x,)

    return inputs


def _as_column(inputs: Inputs) -> Inputs:
    """The rows as columns of a matrix in C order: the axis is strided."""
    return lambda rng, t: (np.ascontiguousarray(inputs(rng, t)[0].T),)


SHAPES: tuple[tuple[Shape, int], ...] = (
    ((5, 7), 0),
    ((5, 7), 1),
    ((5, 7), -1),
    ((2, 3, 17), 1),
    ((2, 33, 5, 3), 1),
    ((3, 5, 2, 7), 0),
    ((3, 5, 2, 7), 2),
    ((7,), 0),
    ((1, 1), 1),
    ((3, 1), 1),
    ((0, 3), 1),
    ((3, 0), 1),
    ((3, 0), 0),
    ((40, 1000), 1),
    ((1000, 40), 0),
)
# 4 MiB and more, whose pieces are whole cache lines: along rows that a buffer holds, along longer
# ones, and down columns; and a row longer than L2 that is not streamed.
STREAMED_SHAPES: tuple[tuple[str, Shape, int], ...] = (
    ("streamed rows", (1031, 1024), 1),
    ("streamed long rows", (65, 16400), 1),
    ("streamed columns", (260, 4112), 0),
    ("a row beyond L2", (1, 140001), 1),
)
INF, NAN = float("inf"), float("nan")
ROWS: dict[str, Inputs] = {
    "an Inf": _row(1.0, INF, 2.0, 0.0),
    "a -Inf": _row(1.0, -INF, 2.0, 0.0),
    "all -Inf": _row(-INF, -INF, -INF, -INF),
    "a NaN": _row(1.0, NAN, 2.0, 0.0),
    "large": _row(3e4, 3e4 - 1, -3e4, 0.0),
    "far apart": _row(0.0, -80.0, -95.0, -120.0),
    "equal": _row(2.0, 2.0, 2.0, 2.0),
}


def _cases() -> Iterator[Case]:
    for op in ("softmax", "log_softmax"):
        for shape, axis in SHAPES:
            inputs = arrays(shape)
            yield _softmax(op, f"{shape} along {axis}", inputs, axis, differentiable=(0,))
        for n in TAILS:
            rows, columns = arrays((3, n)), arrays((5, n))
            yield _softmax(op, f"tail: (3, {n}) along 1", rows, 1, differentiable=(0,))
            yield _softmax(op, f"tail: (5, {n}) along 0", columns, 0, differentiable=(0,))
        for layout, axis in itertools.product(LAYOUTS, range(4)):
            strided = arrays((2, 5, 3, 7), layouts=[layout])
            yield _softmax(op, f"{layout} along {axis}", strided, axis, differentiable=(0,))
        for name, row in ROWS.items():
            yield _softmax(op, name, row, 1)
            yield _softmax(op, f"{name}, down a column", _as_column(row), 0)
        for label, shape, axis in STREAMED_SHAPES:
            inputs, how = arrays(shape), {"differentiable": (0,), "dtypes": ("float32",)}
            yield _softmax(op, label, inputs, axis, **how)


def _timed() -> Iterator[Case]:
    for op in ("softmax", "log_softmax"):
        label = f"{op} 4096x1024"
        yield _softmax(
            op,
            label,
            arrays((4096, 1024)),
            1,
            differentiable=(0,),
            quick=False,
            bench=Bench(label, flops=0.0, bytes=8.0 * 4096 * 1024, quick=op == "softmax"),
        )


CASES: tuple[Case, ...] = (*_cases(), *_timed())
