"""Cases of order and of choice: sort, argsort, topk, gather, and the gradients of indexing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.inputs import LAYOUTS, Inputs, Shape, arrays, distinct, normal
from tilework.testing.tolerance import exact

FLOATS = ("float32", "float64", "bfloat16")


# --- order ---


def _ranked(x: Array, dim: int, descending: bool) -> Array:
    """The indices in order, row by row in Python: NaN above every number, the first of equals
    first."""
    moved = np.moveaxis(x, dim, -1)
    order = np.empty(moved.shape, np.int64)
    for row in np.ndindex(*moved.shape[:-1]):
        values = moved[row].tolist()
        sign = -1.0 if descending else 1.0

        def place(i: int, values: Any = values, sign: float = sign) -> tuple[bool, float, int]:
            nan = values[i] != values[i]
            return (nan != descending, 0.0 if nan else sign * values[i], i)

        order[row] = sorted(range(len(values)), key=place)
    return np.moveaxis(order, -1, dim)


def _order_case(
    op: str, label: str, inputs: Inputs, dim: int, flag: bool, k: int | None, **fields: Any
) -> Case:
    """The values; with op "argsort" the indices. k: topk's."""

    def call(tw: Any, F: Any, x: Any) -> Any:
        if op == "argsort":
            return tw.argsort(x, dim=dim, descending=flag, stable=True)
        if k is None:
            return tw.sort(x, dim=dim, descending=flag, stable=True)[0]
        return tw.topk(x, k, dim, flag)[0]

    def expected(x: Array) -> Array:
        order = _ranked(x, dim, flag)
        if k is not None:
            order = np.moveaxis(np.moveaxis(order, dim, 0)[:k], 0, dim)
        return order if op == "argsort" else np.take_along_axis(x, order, dim)

    return Case(
        family="index", op=op, label=label, inputs=inputs, call=call, reference=expected,
        tolerance=exact, dtypes=FLOATS, **fields,
    )  # fmt: skip


def _with_specials(rng: Generator, t: str) -> tuple[Array]:
    x = np.round(normal(rng, "float64", 3, 40), 1)
    x[0, [3, 9, 30]] = np.nan, -np.nan, np.nan
    x[1, [5, 6, 7, 8]] = 0.0, -0.0, np.inf, -np.inf
    x[2] = 1.0
    return (x.astype(t),)


# Short rows, rows of few and of many digits, and axes that are not the last.
ORDERED: tuple[tuple[Shape, int], ...] = (
    ((1,), 0), ((2,), 0), ((33,), 0), ((64,), 0), ((65,), 0), ((193,), 0), ((5, 7), 1), ((7, 5), 0),
    ((2, 70, 3), 1), ((3, 300), -1), ((300, 3), 0), ((0, 3), 1), ((3, 0), 1), ((17000,), 0),
)  # fmt: skip


def _order_cases() -> Iterator[Case]:
    for flag in (False, True):
        way = "falling" if flag else "rising"
        for shape, dim in ORDERED:
            few = shape[dim] < 17000 and 0 not in shape
            unlike = arrays(shape, values=distinct)
            grads = (0,) if few else ()
            label = f"{shape} over {dim}, {way}"
            floats = {"dtypes": ("float32", "float64")}  # bfloat16 has ties where these have none
            yield _order_case("argsort", label, arrays(shape), dim, flag, None)
            case = _order_case("sort", label, unlike, dim, flag, None)
            yield case
            if grads:
                yield Case(**{**vars(case), "label": f"{label}, gradient", **floats,
                              "differentiable": grads})  # fmt: skip
            for k in {0, min(1, shape[dim]), min(5, shape[dim]), shape[dim]}:
                yield _order_case("topk", f"{k} of {label}", arrays(shape), dim, flag, k)
        for layout in LAYOUTS:
            strided = arrays((4, 9, 5), layouts=[layout])
            yield _order_case("sort", f"{layout}, {way}", strided, 1, flag, None)
            yield _order_case("topk", f"{layout}, {way}", strided, 1, flag, 3)
        yield _order_case("sort", f"NaN, zeros and ties, {way}", _with_specials, 1, flag, None)
        yield _order_case("argsort", f"NaN, zeros and ties, {way}", _with_specials, 1, flag, None)
        yield _order_case("topk", f"NaN, zeros and ties, {way}", _with_specials, 1, flag, 7)


# --- choice ---

Pick = tuple[str, Shape, Shape, int, Callable[..., Any], Callable[..., Any]]


def _gathered(x: Array, dim: int, index: Array) -> Array:
    """gather, element by element."""
    out = np.empty(index.shape)
    for at in np.ndindex(*index.shape):
        source = list(at)
        source[dim] = index[at]
        out[at] = x[tuple(source)]
    return out


# label, the array's shape, the index', what it is below, the call, the same in NumPy
PICKS: tuple[Pick, ...] = (
    ("gather, dim 0", (5, 7), (9, 6), 5, lambda tw, F, x, i: x.gather(0, i),
     lambda x, i: _gathered(x, 0, i)),
    ("gather, dim 1", (5, 7), (5, 40), 7, lambda tw, F, x, i: tw.gather(x, 1, i),
     lambda x, i: _gathered(x, 1, i)),
    ("gather, the middle", (2, 3, 4), (2, 50, 3), 3, lambda tw, F, x, i: x.gather(1, i),
     lambda x, i: _gathered(x, 1, i)),
    ("gather, one each", (50, 8), (50, 1), 8, lambda tw, F, x, i: x.gather(1, i),
     lambda x, i: _gathered(x, 1, i)),
    ("gather, nothing", (5, 7), (5, 0), 7, lambda tw, F, x, i: x.gather(1, i),
     lambda x, i: _gathered(x, 1, i)),
    ("index, rows", (6, 5), (40,), 6, lambda tw, F, x, i: x[i], lambda x, i: x[i]),
    ("index, few of many rows", (300, 5), (50,), 3, lambda tw, F, x, i: x[i], lambda x, i: x[i]),
    ("index, rows by a matrix", (6, 5), (4, 3), 6, lambda tw, F, x, i: x[i], lambda x, i: x[i]),
    ("index, elements", (7,), (200,), 7, lambda tw, F, x, i: x[i], lambda x, i: x[i]),
    ("index, columns", (5, 6), (30,), 6, lambda tw, F, x, i: x[:, i], lambda x, i: x[:, i]),
    ("index, pairs", (6, 6), (30,), 6, lambda tw, F, x, i: x[i, i], lambda x, i: x[i, i]),
    ("index_select, dim 0", (6, 5), (40,), 6, lambda tw, F, x, i: x.index_select(0, i),
     lambda x, i: x[i]),
    ("index_select, dim 1", (5, 6), (40,), 6, lambda tw, F, x, i: x.index_select(1, i),
     lambda x, i: x[:, i]),
)  # fmt: skip


def _picked(shape: Shape, index: Shape, below: int, layout: str) -> Inputs:
    def inputs(rng: Generator, t: str) -> tuple[Array, Array]:
        (x,) = arrays(shape, layouts=[layout])(rng, t)
        return x, rng.integers(0, below, index)

    return inputs


def _pick_cases() -> Iterator[Case]:
    for label, shape, index, below, call, expected in PICKS:
        for layout in LAYOUTS:
            yield Case(
                family="index",
                op=label.split(",")[0],
                label=f"{label}, {layout}",
                inputs=_picked(shape, index, below, layout),
                call=call,
                reference=expected,
                tolerance=exact,
                differentiable=(0,),
                dtypes=FLOATS,
            )


# --- what is timed ---


def _timed() -> Iterator[Case]:
    for n in (10**3, 10**5, 10**7):
        yield _order_case(
            "sort", f"sort {n}", arrays((n,)), 0, False, None, quick=False,
            bench=Bench(f"sort {n}", flops=0.0, bytes=16.0 * n),
        )  # fmt: skip
        yield _order_case(
            "topk", f"topk 50 of {n}", arrays((n,)), 0, True, 50, quick=False,
            bench=Bench(f"topk 50 of {n}", flops=0.0, bytes=4.0 * n),
        )  # fmt: skip
        label = f"x[i] of {n // 10} rows of 10, backward"
        yield Case(
            family="index", op="index", label=label, differentiable=(0,), quick=False,
            inputs=_picked((n // 10, 10), (n // 10,), n // 10, "contiguous"),
            call=lambda tw, F, x, i: x[i], reference=lambda x, i: x[i], tolerance=exact,
            bench=Bench(label, flops=0.0, bytes=16.0 * n, mode="backward"),
        )  # fmt: skip
    label = "topk 50 of 32 rows of 50257"
    yield _order_case(
        "topk", label, arrays((32, 50257)), 1, True, 50, quick=False,
        bench=Bench(label, flops=0.0, bytes=4.0 * 32 * 50257),
    )  # fmt: skip


CASES: tuple[Case, ...] = (*_order_cases(), *_pick_cases(), *_timed())
