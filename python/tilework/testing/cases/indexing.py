"""Cases of indexing, choosing, sorting and running sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case, Generator
from tilework.testing.inputs import LAYOUTS, arrays, distinct
from tilework.testing.rows import Row, few, fixed, flags, floats, given, integers, rows
from tilework.testing.tolerance import eps, growth

ONCE = {"dtypes": ("float32",)}
SHAPE = (4, 5, 6)
# The last layout repeats one number: ties, whose gradients have no slope.
APART = LAYOUTS[:-1]


# --- elements by their numbers ---


def _scattered_under(x: Array, mask: Array, source: Array) -> Array:
    y = x.copy()
    y[mask] = source.reshape(-1)[: mask.sum()]
    return y


def _gathered() -> Iterator[Row]:
    for dim, shape in (
        (0, (3, 5, 6)),
        (1, (4, 7, 6)),
        (2, (4, 5, 2)),
        (-1, (2, 3, 9)),
        (1, (0, 5, 6)),
    ):
        size = SHAPE[dim]
        yield (
            f"gather {shape} along {dim}",
            given(floats(*SHAPE), integers(0, size, *shape)),
            lambda tw, F, x, i, dim=dim: tw.gather(x, dim, i),
            lambda x, i, dim=dim: _take(x, dim, i),
        )
    for dim in (0, 1, -1):
        made = given(floats(*SHAPE), integers(0, SHAPE[dim], 7))
        yield (
            f"index_select along {dim}",
            made,
            lambda tw, F, x, i, dim=dim: tw.index_select(x, dim, i),
            lambda x, i, dim=dim: np.take(x, i, dim),
        )
    for layout in LAYOUTS:
        made = given(floats(*SHAPE, layout=layout), integers(0, 5, 4, 3, 6))
        yield (
            f"gather {layout}",
            made,
            lambda tw, F, x, i: x.gather(1, i),
            lambda x, i: _take(x, 1, i),
        )
        made = given(floats(*SHAPE, layout=layout), integers(0, 5, 8))
        yield (
            f"index_select {layout}",
            made,
            lambda tw, F, x, i: x.index_select(1, i),
            lambda x, i: np.take(x, i, 1),
        )


def _take(x: Array, dim: int, index: Array) -> Array:
    """torch.gather: the index may be shorter than the input along other axes."""
    dim %= x.ndim
    cut = tuple(slice(None) if d == dim else slice(n) for d, n in enumerate(index.shape))
    return np.take_along_axis(x[cut], index, dim)


# What stands in the brackets, made of (index tensors...); NumPy takes the same.
KEYS: tuple[tuple[str, Callable[..., Any], tuple[Any, ...]], ...] = (
    ("one index", lambda i: i, (integers(-4, 4, 3),)),
    ("a repeated index", lambda i: i, (fixed(np.array([1, 1, 1, 0])),)),
    ("an index of two axes", lambda i: i, (integers(0, 4, 2, 3),)),
    ("two indices", lambda i, j: (i, j), (integers(0, 4, 3), integers(0, 5, 3))),
    ("two that broadcast", lambda i, j: (i, j), (integers(0, 4, 3, 1), integers(0, 5, 2))),
    ("the last axis", lambda i: (slice(None), slice(None), i), (integers(0, 6, 3),)),
    ("the middle axis", lambda i: (slice(None), i), (integers(0, 5, 3),)),
    ("a slice between", lambda i, j: (i, slice(1, 4), j), (integers(0, 4, 3), integers(0, 6, 3))),
    ("an ellipsis", lambda i: (..., i), (integers(0, 6, 3),)),
    ("a new axis", lambda i: (None, i), (integers(0, 4, 3),)),
    ("a mask", lambda m: m, (flags(*SHAPE),)),
    ("a mask of the first axis", lambda m: m, (flags(4),)),
    ("a mask of an axis within", lambda m: (slice(None), m), (flags(5),)),
    ("an empty index", lambda i: i, (integers(0, 4, 0),)),
)


def _keyed() -> Iterator[Row]:
    for name, key, made in KEYS:
        yield (
            f"getitem by {name}",
            given(floats(*SHAPE), *made),
            lambda tw, F, x, *i, key=key: x[key(*i)],
            lambda x, *i, key=key: x[key(*i)],
        )
    yield (
        "getitem by lists",
        given(floats(*SHAPE)),
        lambda tw, F, x: x[[0, 2], [1, 3]],
        lambda x: x[[0, 2], [1, 3]],
    )
    for layout in LAYOUTS:
        strided = given(floats(*SHAPE, layout=layout), integers(0, 4, 3), integers(0, 6, 3))
        yield (
            f"getitem {layout}",
            strided,
            lambda tw, F, x, i, j: x[i, :, j],
            lambda x, i, j: x[i, :, j],
        )
    yield (
        "getitem of flags",
        given(flags(4, 5), integers(0, 4, 3)),
        lambda tw, F, x, i: x[i],
        lambda x, i: x[i],
        {**ONCE, "differentiable": ()},
    )


# --- elements by a condition ---


def _chosen() -> Iterator[Row]:
    for shapes in (
        ((4, 5),) * 3,
        ((4, 1), (5,), (4, 5)),
        ((1, 5), (4, 1), ()),
        ((0, 3), (3,), (1,)),
    ):
        mask, *both = shapes
        yield (
            f"where {shapes}",
            given(flags(*mask), *(floats(*s) for s in both)),
            lambda tw, F, m, a, b: tw.where(m, a, b),
            np.where,
            {"differentiable": (1, 2)},
        )
        yield (
            f"masked_fill {shapes[:2]}",
            given(floats(*np.broadcast_shapes(*shapes)), flags(*mask)),
            lambda tw, F, x, m: tw.masked_fill(x, m, -2.5),
            lambda x, m: np.where(m, -2.5, x),
        )
    yield (
        "where method",
        given(floats(4, 5), flags(4, 5), floats(5)),
        lambda tw, F, a, m, b: a.where(m, b),
        lambda a, m, b: np.where(m, a, b),
        {"differentiable": (0, 2)},
    )
    yield (
        "where a number",
        given(flags(4, 5), floats(4, 5)),
        lambda tw, F, m, a: tw.where(m, a, 0.5),
        lambda m, a: np.where(m, a, 0.5),
        {"differentiable": (1,)},
    )
    for layout in LAYOUTS:
        made = given(floats(*SHAPE, layout=layout), flags(*SHAPE))
        yield (
            f"masked_select {layout}",
            made,
            lambda tw, F, x, m: tw.masked_select(x, m),
            lambda x, m: x[m],
        )
        yield (
            f"masked_scatter {layout}",
            given(floats(*SHAPE, layout=layout), flags(*SHAPE), floats(*SHAPE, layout=layout)),
            lambda tw, F, x, m, s: tw.masked_scatter(x, m, s),
            _scattered_under,
            {"differentiable": (0, 2), "dtypes": ("float32", "float64", "bfloat16")},
        )
        yield (
            f"masked_fill {layout}",
            made,
            lambda tw, F, x, m: x.masked_fill(m, 1.5),
            lambda x, m: np.where(m, 1.5, x),
        )
        yield (
            f"where {layout}",
            given(floats(*SHAPE, layout=layout), flags(6), floats(*SHAPE)),
            lambda tw, F, a, m, b: tw.where(m, a, b),
            lambda a, m, b: np.where(m, a, b),
            {"differentiable": (0, 2)},
        )
    yield (
        "masked_select broadcast",
        given(floats(4, 5), flags(5)),
        lambda tw, F, x, m: x.masked_select(m),
        lambda x, m: x[np.broadcast_to(m, x.shape)],
    )


def _clamped() -> Iterator[Row]:
    x = arrays((5, 7), values=distinct)
    yield (
        "clamp",
        x,
        lambda tw, F, x: tw.clamp(x, -0.51, 0.26),
        lambda x: np.clip(x, -0.51, 0.26),
        {"tolerance": _as_stored},
    )
    yield "clamp below", x, lambda tw, F, x: x.clamp(min=-0.5), lambda x: np.maximum(x, -0.5)
    yield "clamp above", x, lambda tw, F, x: x.clamp(max=0.5), lambda x: np.minimum(x, 0.5)
    yield (
        "clamp crossed",
        x,
        lambda tw, F, x: x.clamp(0.5, -0.5),
        lambda x: np.full_like(x, -0.5),
        {"differentiable": ()},
    )
    yield "clip", x, lambda tw, F, x: x.clip(-0.25, 0.5), lambda x: np.clip(x, -0.25, 0.5)
    yield (
        "clamp by tensors",
        given(floats(5, 7), fixed(None), floats(7)),
        lambda tw, F, x, _, low: tw.clamp(x, low, low + 1),
        lambda x, _, low: np.clip(x, low, low + 1),
        {
            "tolerance": lambda t, expected, x, _, low: eps(t) * (np.abs(low) + 1),
            "differentiable": (0, 2),
        },
    )
    yield (
        "clamp of integers",
        given(integers(-9, 9, 5)),
        lambda tw, F, x: x.clamp(-2, 3),
        lambda x: np.clip(x, -2, 3),
        {**ONCE, "differentiable": ()},
    )
    for layout in LAYOUTS:
        yield (
            f"clamp {layout}",
            arrays(SHAPE, values=distinct, layouts=[layout]),
            lambda tw, F, x: x.clamp(-0.5, 0.25),
            lambda x: np.clip(x, -0.5, 0.25),
        )


def _as_stored(dtype: str, expected: Array, x: Array) -> Array:
    """A bound that the dtype does not hold is rounded."""
    return np.asarray(eps(dtype) * np.abs(expected))


# --- order ---


def _planted(rng: Generator, dtype: str) -> tuple[Array]:
    x = distinct(rng, dtype, 3, 9)
    x[1, 4] = x[2, 0] = np.nan
    x[0, 2], x[0, 3] = np.inf, -np.inf
    return (x,)


def _topk(x: Array, k: int, dim: int, largest: bool) -> Array:
    order = np.argsort(-x if largest else x, axis=dim, kind="stable")
    return np.take(order, np.arange(k), dim)


def _ordered() -> Iterator[Row]:
    slope = {"differentiable": (0,)}
    for dim in (0, 1, -1):
        for down in (False, True):
            x = arrays(SHAPE, values=distinct)
            how = {"dim": dim, "descending": down}
            words = f"along {dim}{', descending' if down else ''}"

            def order(x: Array, dim: int = dim, down: bool = down) -> Array:
                return np.argsort(-x if down else x, axis=dim, kind="stable")

            def ordered(x: Array, dim: int = dim, order: Any = order) -> Array:
                return np.take_along_axis(x, order(x), dim)

            yield f"sort {words}", x, lambda tw, F, x, how=how: tw.sort(x, **how)[0], ordered, slope
            yield f"sort {words}, indices", x, lambda tw, F, x, how=how: x.sort(**how)[1], order
            yield f"argsort {words}", x, lambda tw, F, x, how=how: tw.argsort(x, **how), order
            many = given(floats(*SHAPE, values=few))
            yield (
                f"sort {words}, ties in their order",
                many,
                lambda tw, F, x, how=how: tw.sort(x, stable=True, **how)[1],
                order,
            )
            yield (
                f"sort {words}, ties",
                many,
                lambda tw, F, x, how=how: tw.sort(x, **how)[0],
                ordered,
            )
    for k, dim, largest in (
        (1, -1, True),
        (3, -1, True),
        (6, -1, True),
        (2, 0, False),
        (4, 1, False),
        (0, 1, True),
    ):
        x = arrays(SHAPE, values=distinct)
        words = f"{k} along {dim}{'' if largest else ', smallest'}"

        def places(x: Array, k: int = k, dim: int = dim, largest: bool = largest) -> Array:
            return _topk(x, k, dim, largest)

        yield (
            f"topk {words}",
            x,
            lambda tw, F, x, k=k, dim=dim, largest=largest: tw.topk(x, k, dim, largest)[0],
            lambda x, dim=dim, places=places: np.take_along_axis(x, places(x), dim),
            slope,
        )
        yield (
            f"topk {words}, indices",
            x,
            lambda tw, F, x, k=k, dim=dim, largest=largest: x.topk(k, dim, largest).indices,
            places,
        )
    for layout in APART:
        x = arrays(SHAPE, values=distinct, layouts=[layout])
        yield f"sort {layout}", x, lambda tw, F, x: x.sort(1).values, lambda x: np.sort(x, 1), slope
        yield f"argsort {layout}", x, lambda tw, F, x: x.argsort(1), lambda x: np.argsort(x, 1)
        yield (
            f"topk {layout}",
            x,
            lambda tw, F, x: x.topk(3, 1)[0],
            lambda x: -np.sort(-x, 1)[:, :3],
            slope,
        )
    yield "sort with NaN", _planted, lambda tw, F, x: x.sort(1)[0], lambda x: np.sort(x, 1)
    yield (
        "topk with NaN",
        _planted,
        lambda tw, F, x: x.topk(9, 1)[0],
        lambda x: np.sort(x, 1)[:, ::-1],
    )
    yield (
        "sort of integers",
        given(integers(-9, 9, 5, 7)),
        lambda tw, F, x: x.sort(0)[0],
        lambda x: np.sort(x, 0),
        ONCE,
    )
    yield "sort of nothing", arrays((0, 3)), lambda tw, F, x: x.sort(0)[0], lambda x: x


# --- running sums, places, classes ---


def _running(dim: int) -> Any:
    def bound(dtype: str, expected: Array, x: Array) -> Array:
        return np.asarray(growth(x.shape[dim]) * eps(dtype) * np.abs(x).cumsum(dim))

    return bound


def _rest() -> Iterator[Row]:
    for dim in (0, 1, -1):
        slope = {"differentiable": (0,), "tolerance": _running(dim)}
        yield (
            f"cumsum along {dim}",
            arrays(SHAPE),
            lambda tw, F, x, dim=dim: tw.cumsum(x, dim),
            lambda x, dim=dim: np.cumsum(x, dim),
            slope,
        )
        for layout in LAYOUTS:
            yield (
                f"cumsum along {dim}, {layout}",
                arrays(SHAPE, layouts=[layout]),
                lambda tw, F, x, dim=dim: x.cumsum(dim),
                lambda x, dim=dim: np.cumsum(x, dim),
                slope,
            )
    yield (
        "cumsum of nothing",
        arrays((3, 4, 0)),
        lambda tw, F, x: x.cumsum(1),
        lambda x: x,
    )
    yield (
        "cumsum of integers",
        given(integers(-9, 9, 3, 4)),
        lambda tw, F, x: x.cumsum(1),
        lambda x: np.cumsum(x, 1),
        ONCE,
    )
    yield (
        "cumsum of flags",
        given(flags(3, 4)),
        lambda tw, F, x: x.cumsum(1),
        lambda x: np.cumsum(x, 1),
        ONCE,
    )
    for shape in ((4, 5), (3, 0), (7,), ()):
        yield (
            f"nonzero {shape}",
            given(floats(*shape, values=few)),
            lambda tw, F, x: tw.nonzero(x),
            lambda x: np.argwhere(x).reshape(-1, x.ndim),
        )
    yield "nonzero of flags", given(flags(4, 5)), lambda tw, F, x: x.nonzero(), np.argwhere, ONCE
    for count in (-1, 7):
        yield (
            f"one_hot {count}",
            given(lambda rng, t: rng.permutation(5)),
            lambda tw, F, x, count=count: F.one_hot(x, count),
            lambda x, count=count: np.eye(5 if count < 0 else count, dtype=np.int64)[x],
            ONCE,
        )
    yield (
        "one_hot of two axes",
        given(integers(0, 4, 2, 3)),
        lambda tw, F, x: F.one_hot(x, 4),
        lambda x: np.eye(4, dtype=np.int64)[x],
        ONCE,
    )
    for value in (0, 9):
        yield (
            f"__contains__ {value}",
            given(floats(40, values=few)),
            lambda tw, F, x, value=value: tw.tensor(value in x),
            lambda x, value=value: bool((x == value).any()),
        )


CASES: tuple[Case, ...] = (
    *rows("indexing", _gathered(), differentiable=(0,)),
    *rows("indexing", _keyed(), differentiable=(0,)),
    *rows("indexing", _chosen(), differentiable=(0,)),
    *rows("indexing", _clamped(), differentiable=(0,)),
    *rows("indexing", _ordered()),
    *rows("indexing", _rest()),
)
