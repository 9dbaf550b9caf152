"""Cases of writing by an index: scatter and its reductions, slices by number, take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case, Generator
from tilework.testing.inputs import LAYOUTS
from tilework.testing.rows import Maker, Row, few, floats, given, integers, rows
from tilework.testing.tolerance import eps, growth

FAMILY = "scatter"
SHAPE = (4, 5, 6)
FLOATS = ("float32", "float64", "bfloat16")


def _key(dim: int, index: Array) -> tuple[Any, ...]:
    key: list[Any] = list(np.ogrid[tuple(slice(n) for n in index.shape)])
    key[dim] = index
    return tuple(key)


def _cut(source: Array, index: Array) -> Array:
    return source[tuple(slice(n) for n in index.shape)]


def permuted(size: int, count: int, *shape: int, dim: int) -> Maker:
    """Indices of which none repeats along `dim`."""

    def make(rng: Generator, _: str) -> Array:
        lines = int(np.prod([n for d, n in enumerate(shape) if d != dim], dtype=int))
        picked = np.stack([rng.permutation(size)[:count] for _ in range(lines)], -1)
        rest = [n for d, n in enumerate(shape) if d != dim]
        return np.moveaxis(picked.reshape(count, *rest), 0, dim)

    return make


def _replaced(dim: int) -> Callable[..., Array]:
    def expected(x: Array, i: Array, source: Any) -> Array:
        y = x.copy()
        y[_key(dim, i)] = source if np.ndim(source) == 0 else _cut(source, i)
        return y

    return expected


def _scattered() -> Iterator[Row]:
    for dim, shape in ((0, (3, 5, 6)), (1, (4, 4, 6)), (2, (4, 5, 2)), (2, (2, 3, 6))):
        index = permuted(SHAPE[dim], shape[dim], *shape, dim=dim)
        for source in (shape, (4, 5, 6)):
            yield (
                f"scatter {shape} along {dim} of {source}",
                given(floats(*SHAPE), index, floats(*source)),
                lambda tw, F, x, i, s, dim=dim: tw.scatter(x, dim, i, s),
                _replaced(dim),
                # PyTorch has no gradient where the source is longer than the index.
                {"differentiable": (0, 2), "peer": "same" if source == shape else None},
            )
        yield (
            f"scatter {shape} along {dim} of a number",
            given(floats(*SHAPE), index),
            lambda tw, F, x, i, dim=dim: x.scatter(dim, i, 2.5),
            lambda x, i, dim=dim: _replaced(dim)(x, i, np.float64(2.5)),
            {"differentiable": (0,)},
        )
        yield (
            f"scatter_ {shape} along {dim}",
            given(floats(*SHAPE), index, floats(*shape)),
            lambda tw, F, x, i, s, dim=dim: (x * 1).scatter_(dim, i, s),
            _replaced(dim),
            {"differentiable": (0, 2)},
        )
    for layout in LAYOUTS[:-1]:
        yield (
            f"scatter {layout}",
            given(
                floats(*SHAPE, layout=layout),
                permuted(5, 3, 4, 3, 6, dim=1),
                floats(4, 3, 6, layout=layout),
            ),
            lambda tw, F, x, i, s: tw.scatter(x, 1, i, s),
            _replaced(1),
            {"differentiable": (0, 2)},
        )


REDUCE: dict[str, Any] = {
    "sum": np.add,
    "prod": np.multiply,
    "amax": np.maximum,
    "amin": np.minimum,
}
START = {"sum": 0.0, "prod": 1.0, "amax": -np.inf, "amin": np.inf, "mean": 0.0}


def _reduced(dim: int, how: str, include_self: bool = True) -> Callable[..., Array]:
    def expected(x: Array, i: Array, source: Array) -> Array:
        key = _key(dim, i)
        count = np.zeros(x.shape, int)
        np.add.at(count, key, 1)
        y = x.copy() if include_self else np.where(count > 0, START[how], x)
        REDUCE["sum" if how == "mean" else how].at(y, key, _cut(source, i))
        return y / np.maximum(count + include_self, 1) if how == "mean" else y

    return expected


def _sums(dtype: str, expected: Array, x: Array, *rest: Any) -> Any:
    """Few numbers of order one, or their product."""
    return 8.0 * growth(x.size) * eps(dtype) * (1.0 + np.abs(expected))


def _reductions() -> Iterator[Row]:
    index = integers(0, 4, 7, 5, 6)
    inputs = given(floats(*SHAPE), index, floats(7, 5, 6))
    both = {"tolerance": _sums, "differentiable": (0, 2)}
    yield (
        "scatter_add",
        inputs,
        lambda tw, F, x, i, s: tw.scatter_add(x, 0, i, s),
        _reduced(0, "sum"),
        {**both, "dtypes": FLOATS},
    )
    yield (
        "scatter_add_",
        inputs,
        lambda tw, F, x, i, s: (x * 1).scatter_add_(0, i, s),
        _reduced(0, "sum"),
        both,
    )
    for word, how in (("add", "sum"), ("multiply", "prod")):
        yield (
            f"scatter reduce={word}",
            inputs,
            lambda tw, F, x, i, s, word=word: tw.scatter(x, 0, i, s, reduce=word),
            _reduced(0, how),
            {"tolerance": _sums},
        )
    for how in ("sum", "prod", "mean", "amax", "amin"):
        for include in (True, False):
            yield (
                f"scatter_reduce {how}, {include=}",
                inputs,
                lambda tw, F, x, i, s, how=how, include=include: tw.scatter_reduce(
                    x, 0, i, s, how, include_self=include
                ),
                _reduced(0, how, include),
                both,
            )
    yield (
        "scatter_reduce amax of equal ones",
        given(floats(*SHAPE, values=few), index, floats(7, 5, 6, values=few)),
        lambda tw, F, x, i, s: tw.scatter_reduce(x, 0, i, s, "amax"),
        _reduced(0, "amax"),
        {"tolerance": _sums},
    )
    yield (
        "scatter_reduce_ amin",
        inputs,
        lambda tw, F, x, i, s: (x * 1).scatter_reduce_(0, i, s, "amin"),
        _reduced(0, "amin"),
        both,
    )


def _many() -> Iterator[Row]:
    """Axes and rows on either side of what one task takes, and long chains of one place."""
    shapes = (
        ((3, 200), (40, 200), 0), ((2, 3, 70), (2, 50, 70), 1), ((90_000,), (500,), 0),
        ((70_000,), (3000,), 0), ((5000, 20), (300, 20), 0),
    )  # fmt: skip
    for shape, index, dim in shapes:
        below = 3 if shape == (70_000,) else shape[dim]
        for how in ("sum", "prod", "mean", "amax", "amin"):
            for include in (True, False):
                if how == "prod" and below == 3:
                    continue
                yield (
                    f"scatter_reduce {how} of {index} into {shape}, {include=}",
                    given(floats(*shape), integers(0, below, *index), floats(*index)),
                    lambda tw, F, x, i, s, how=how, include=include, dim=dim: tw.scatter_reduce(
                        x, dim, i, s, how, include_self=include
                    ),
                    _reduced(dim, how, include),
                    {
                        "tolerance": _of_chains(dim, how),
                        "dtypes": FLOATS,
                        "cancels": how in ("sum", "mean"),
                    },
                )
        fewer = min(shape[dim], index[dim])  # each place once
        once = (*index[:dim], fewer, *index[dim + 1 :])
        yield (
            f"scatter of {index} into {shape}",
            given(floats(*shape), permuted(shape[dim], fewer, *once, dim=dim), floats(*once)),
            lambda tw, F, x, i, s, dim=dim: tw.scatter(x, dim, i, s),
            _replaced(dim),
            {"dtypes": FLOATS},
        )


def _of_chains(dim: int, how: str) -> Any:
    """Sums of as many numbers of a few units as fall into one place, and products, place by place;
    of extremes, which move, half a unit for what rounds them."""

    def bound(dtype: str, expected: Array, x: Array, index: Array, source: Array) -> Any:
        if how in ("amax", "amin"):
            return eps(dtype) * np.abs(expected)
        terms = np.zeros(x.shape)
        np.add.at(terms, _key(dim, index.astype(np.int64)), 1)
        size = np.abs(expected) if how == "prod" else 4.0 * np.sqrt(terms) + np.abs(expected)
        return 8.0 * (2.0 + np.sqrt(terms)) * eps(dtype) * size

    return bound


def _of_kinds() -> Iterator[Row]:
    """Indices of 32 bits, and places that come again."""
    inputs = given(floats(*SHAPE), integers(0, 4, 7, 5, 6), floats(7, 5, 6))
    yield (
        "scatter_add of int32",
        inputs,
        lambda tw, F, x, i, s: tw.scatter_add(x, 0, i.to(tw.int32), s),
        _reduced(0, "sum"),
        {"tolerance": _sums, "differentiable": (0, 2), "peer": None},
    )
    for dtype in ("int64", "int32", "uint8"):
        numbers = given(integers(0, 9, 4, 6), integers(0, 4, 7, 6), integers(1, 9, 7, 6))
        for how in ("sum", "mean", "prod", "amax", "amin"):
            yield (
                f"scatter_reduce {how} of {dtype}",
                numbers,
                lambda tw, F, x, i, s, how=how, t=dtype: tw.scatter_reduce(
                    x.to(getattr(tw, t)), 0, i, s.to(getattr(tw, t)), how
                ).to(tw.float64),
                lambda x, i, s, how=how, t=dtype: _of_integers(x, i, s, how, t),
                {"dtypes": ("float64",), "peer": None},
            )


def _of_integers(x: Array, i: Array, s: Array, how: str, dtype: str) -> Array:
    """In the dtype's own arithmetic, means rounded down."""
    x, s = x.astype(dtype), s.astype(dtype)
    y, key = x.copy(), _key(0, i)
    REDUCE["sum" if how == "mean" else how].at(y, key, s)
    if how == "mean":
        count = np.ones(x.shape, np.int64)
        np.add.at(count, key, 1)
        y = (y.astype(np.int64) // count).astype(dtype)
    return y.astype(np.float64)


def _slices() -> Iterator[Row]:
    for dim in (0, 1, -1):
        size = SHAPE[dim]
        source = list(SHAPE)
        source[dim] = 9
        at: tuple[Any, ...] = (slice(None),) * (dim % 3)

        def added(x: Array, i: Array, s: Array, at: Any = at) -> Array:
            y = x.copy()
            np.add.at(y, (*at, i), 0.5 * s)
            return y

        for label, call in (
            ("index_add", lambda tw, x, i, s, d: tw.index_add(x, d, i, s, alpha=0.5)),
            ("index_add_", lambda tw, x, i, s, d: (x * 1).index_add_(d, i, s, alpha=0.5)),
        ):
            yield (
                f"{label} along {dim}",
                given(floats(*SHAPE), integers(0, size, 9), floats(*source)),
                lambda tw, F, x, i, s, call=call, d=dim: call(tw, x, i, s, d),
                added,
                {"tolerance": _sums, "differentiable": (0, 2), "dtypes": FLOATS},
            )
        source[dim] = 0
        yield (
            f"index_add of nothing along {dim}",
            given(floats(*SHAPE), integers(0, size, 0), floats(*source)),
            lambda tw, F, x, i, s, d=dim: tw.index_add(x, d, i, s),
            lambda x, i, s: x,
            {"differentiable": (0, 2), "dtypes": FLOATS},
        )
        source[dim] = 3
        picked = permuted(size, 3, 3, dim=0)

        def copied(x: Array, i: Array, s: Array, at: Any = at) -> Array:
            y = x.copy()
            y[(*at, i)] = s
            return y

        for label, call in (
            ("index_copy", lambda tw, x, i, s, d: tw.index_copy(x, d, i, s)),
            ("index_copy_", lambda tw, x, i, s, d: (x * 1).index_copy_(d, i, s)),
        ):
            yield (
                f"{label} along {dim}",
                given(floats(*SHAPE), picked, floats(*source)),
                lambda tw, F, x, i, s, call=call, d=dim: call(tw, x, i, s, d),
                copied,
                {"differentiable": (0, 2)},
            )
        for label, write in (
            ("index_fill", lambda tw, x, i, d: tw.index_fill(x, d, i, 1.5)),
            ("index_fill_", lambda tw, x, i, d: (x * 1).index_fill_(d, i, 1.5)),
        ):
            yield (
                f"{label} along {dim}",
                given(floats(*SHAPE), integers(0, size, 2)),
                lambda tw, F, x, i, write=write, d=dim: write(tw, x, i, d),
                lambda x, i, at=at: _replaced_by(x, (*at, i), 1.5),
                {"differentiable": (0,)},
            )


def _replaced_by(x: Array, key: Any, value: float) -> Array:
    y = x.copy()
    y[key] = value
    return y


def _taken() -> Iterator[Row]:
    for dim, shape in ((0, (2, 5, 6)), (1, (4, 9, 1)), (-1, (1, 5, 3))):
        yield (
            f"take_along_dim {shape} along {dim}",
            given(floats(*SHAPE), integers(0, SHAPE[dim], *shape)),
            lambda tw, F, x, i, dim=dim: tw.take_along_dim(x, i, dim),
            lambda x, i, dim=dim: np.take_along_axis(x, i, dim),
            {"differentiable": (0,)},
        )
    yield (
        "take_along_dim of all",
        given(floats(4, 5), integers(0, 20, 2, 3)),
        lambda tw, F, x, i: tw.take_along_dim(x, i),
        lambda x, i: x.reshape(-1)[i.reshape(-1)],
        {"differentiable": (0,)},
    )
    yield (
        "take",
        given(floats(4, 5), integers(0, 20, 2, 3)),
        lambda tw, F, x, i: tw.take(x, i),
        lambda x, i: x.reshape(-1)[i],
        {"differentiable": (0,)},
    )


TABLES = (_scattered, _reductions, _many, _of_kinds, _slices, _taken)
CASES: tuple[Case, ...] = tuple(case for table in TABLES for case in rows(FAMILY, table()))
