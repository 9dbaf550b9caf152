"""Cases of the reductions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.inputs import (
    LAYOUTS,
    TAILS,
    Inputs,
    Shape,
    arrays,
    distinct,
    normal,
    special,
)
from tilework.testing.tolerance import Tolerance, eps, exact, growth, tiny

Axes = int | tuple[int, ...] | None


def _of_sum(mean: bool) -> Callable[[Axes], Tolerance]:
    def tolerance(axes: Axes) -> Tolerance:
        def bound(dtype: str, expected: Array, x: Array) -> Array:
            magnitude = np.abs(x).sum(axis=axes).reshape(expected.shape)
            n = x.size // max(expected.size, 1)
            if mean:
                magnitude = magnitude / max(n, 1)
            return np.asarray(growth(n) * eps(dtype) * magnitude + (n + 1) * tiny(dtype))

        return bound

    return tolerance


def _mean(x: Array, axis: Axes, keepdims: bool) -> Array:
    total = np.asarray(x.sum(axis=axis, keepdims=keepdims))
    count = x.size if axis is None else np.prod(np.take(x.shape, axis))
    return total / np.float64(count)  # NaN of nothing, where np.mean would warn


_Reduction = tuple[Callable[..., Any], Callable[..., Any], Callable[[Axes], Tolerance]]
REDUCTIONS: dict[str, _Reduction] = {
    "sum": (lambda tw, x, **how: tw.sum(x, **how), np.sum, _of_sum(mean=False)),
    "mean": (lambda tw, x, **how: tw.mean(x, **how), _mean, _of_sum(mean=True)),
    "amax": (lambda tw, x, **how: tw.amax(x, **how), np.max, lambda axes: exact),
    "amin": (lambda tw, x, **how: tw.amin(x, **how), np.min, lambda axes: exact),
}


def _reduction(
    op: str,
    label: str,
    inputs: Inputs,
    axes: Axes,
    keepdim: bool = False,
    **fields: Any,
) -> Case:
    call, expected, tolerance = REDUCTIONS[op]
    how = {} if axes is None else {"dim": axes, "keepdim": keepdim}
    return Case(
        family="reduce",
        op=op,
        label=label,
        inputs=inputs,
        call=lambda tw, F, x: call(tw, x, **how),
        reference=lambda x: expected(x, axis=axes, keepdims=keepdim),
        tolerance=tolerance(axes),
        **fields,
    )


def _values(op: str) -> Callable[..., Array]:
    return distinct if op in ("amax", "amin") else normal


SHAPES: tuple[tuple[Shape, Axes], ...] = (
    ((5, 7), None),
    ((5, 7), 0),
    ((5, 7), 1),
    ((5, 7), -1),
    ((5, 7), (0, 1)),
    ((2, 3, 4, 5), (0, 2)),
    ((2, 3, 4, 5), (1, 3)),
    ((2, 3, 4, 5), (0, 2, 3)),
    ((2, 3, 4, 5), 1),
    ((300, 3), 0),
    ((3, 300), 1),
    ((1, 7, 1), (0, 2)),
    ((), None),
    ((1,), 0),
    ((0, 3), 1),
    ((7, 1000), 1),
    ((2, 33000), 1),  # a row, and a column, of several blocks
    ((2, 300, 17), 1),
    ((1000, 7), 0),
)
EMPTY_SUMS: tuple[tuple[Shape, Axes], ...] = (
    ((0,), None),
    ((3, 0), 1),
    ((0, 3), 0),
    ((2, 0, 3), 1),
)


def _planted(value: float) -> Inputs:
    def inputs(rng: Generator, t: str) -> tuple[Array]:
        x = normal(rng, t, 3, 67)
        x[1, 66] = x[2, 5] = value
        return (x,)

    return inputs


def _cases() -> Iterator[Case]:
    for op in REDUCTIONS:
        values = _values(op)

        def of_shape(*shape: int, values: Callable[..., Array] = values) -> Inputs:
            return arrays(shape, values=values)

        for shape, axes in SHAPES:
            for keepdim in (False, True) if axes is not None else (False,):
                label = f"{shape} over {axes}{', kept' if keepdim else ''}"
                yield _reduction(op, label, of_shape(*shape), axes, keepdim, differentiable=(0,))
        for n in TAILS:
            yield _reduction(op, f"{n}", of_shape(n), None, differentiable=(0,))
            yield _reduction(op, f"tail: (3, {n}) over 1", of_shape(3, n), 1, differentiable=(0,))
            yield _reduction(op, f"tail: ({n}, 3) over 0", of_shape(n, 3), 0, differentiable=(0,))
            yield _reduction(op, f"tail: (40, {n}) over 0", of_shape(40, n), 0)
        for layout in LAYOUTS:
            if layout == "expanded" and op in ("amax", "amin"):
                continue  # ties: see "ties" below
            for axes in (None, 0, 1, 3, (0, 2)):
                strided = arrays((2, 5, 3, 7), values=values, layouts=[layout])
                label = f"{layout} over {axes}"
                yield _reduction(op, label, strided, axes, differentiable=(0,))
        for value in (np.nan, np.inf, -np.inf):
            planted = _planted(value)
            yield _reduction(op, f"with {value}", planted, 1)
            yield _reduction(op, f"with {value}, all", planted, None)
            yield _reduction(op, f"with {value}, over 0", planted, 0)
        yield _reduction(op, "special values", lambda rng, t: (special(t)[:20, None],), 1)
        yield _reduction(op, "(1000, 1001)", of_shape(1000, 1001), None, quick=False)
        yield _reduction(op, "(1000, 1001) over 0", of_shape(1000, 1001), 0, quick=False)
        yield _reduction(op, "(200003,)", of_shape(200003), None, dtypes=("float32",))
    for op in ("sum", "mean"):
        for shape, axes in EMPTY_SUMS:
            yield _reduction(op, f"empty {shape} over {axes}", arrays(shape), axes)
        yield _reduction(
            op, "positive (70000,)", lambda rng, t: (rng.random(70000).astype(t),), None
        )
    for op in ("amax", "amin"):
        yield _reduction(op, "ties", lambda rng, t: (np.ones((3, 17), t),), 1)


# --- running sums ---


def _cumsum_bound(dim: int) -> Tolerance:
    """One rounding of what float64 adds up, and float64's own."""

    def bound(dtype: str, expected: Array, x: Array) -> Array:
        n = x.shape[dim] if x.ndim else 1
        magnitude = np.cumsum(np.abs(x), axis=dim) if x.ndim else np.abs(x)
        error = growth(n) * 2.0 * eps("float64") * magnitude
        return np.asarray(error + eps(dtype) * np.abs(expected) + tiny(dtype))

    return bound


def _cumsum(label: str, inputs: Inputs, dim: int, **fields: Any) -> Case:
    return Case(
        family="reduce",
        op="cumsum",
        label=label,
        inputs=inputs,
        call=lambda tw, F, x: x.cumsum(dim),
        reference=lambda x: np.cumsum(x, axis=dim) if x.ndim else x,
        tolerance=_cumsum_bound(dim),
        **{"dtypes": ("float32", "float64", "bfloat16"), **fields},
    )


def _cumsum_cases() -> Iterator[Case]:
    shapes: tuple[tuple[Shape, int], ...] = (
        ((), 0), ((0,), 0), ((3, 0), 1), ((0, 3), 0), ((5, 7), 0), ((5, 7), 1), ((2, 9, 5), 1),
        ((300, 3), 0), ((3, 300), -1), ((7, 1100), 0),
    )  # fmt: skip
    for shape, dim in shapes:
        yield _cumsum(f"{shape} over {dim}", arrays(shape), dim, differentiable=(0,))
    for n in TAILS:
        yield _cumsum(f"{n}", arrays((n,)), 0, differentiable=(0,))
    for layout in LAYOUTS:
        strided = arrays((2, 5, 3, 7), layouts=[layout])
        for dim in (0, 1, 3):
            yield _cumsum(f"{layout} over {dim}", strided, dim, differentiable=(0,))
    for value in (np.nan, np.inf):
        yield _cumsum(f"with {value}", _planted(value), 1)
        yield _cumsum(f"with {value} over 0", _planted(value), 0)
    tenths = lambda rng, t: (np.full(10**6, 0.1).astype(t),)  # noqa: E731
    yield _cumsum("a million tenths", tenths, 0, dtypes=("float32", "bfloat16"))
    yield _cumsum("a thousand ones", lambda rng, t: (np.ones(1000).astype(t),), 0)


def _timed() -> Iterator[Case]:
    for n in (10**3, 10**5, 10**7):
        label = f"cumsum {n}"
        bench = Bench(label, flops=0.0, bytes=8.0 * n)
        yield _cumsum(label, arrays((n,)), 0, quick=False, dtypes=("float32",), bench=bench)
    rows, columns = 4096, 3072
    for axes in (0, 1):
        label = f"sum 4096x3072 over {axes}"
        yield _reduction(
            "sum",
            label,
            arrays((rows, columns)),
            axes,
            quick=False,
            bench=Bench(label, flops=0.0, bytes=4.0 * rows * columns),
        )


CASES: tuple[Case, ...] = (*_cases(), *_cumsum_cases(), *_timed())
