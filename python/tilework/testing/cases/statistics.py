"""Cases of reductions beyond sums: extremes and their places, truth, spread, logs of sums."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case, Generator
from tilework.testing.inputs import LAYOUTS, arrays, distinct
from tilework.testing.rows import Row, few, flags, floats, given, integers, rows
from tilework.testing.tolerance import eps, growth

SHAPE = (4, 5, 6)
SLOPE = {"differentiable": (0,)}
ONCE = {"dtypes": ("float32",)}


def _extremes() -> Iterator[Row]:
    for name, of, place in (("max", np.max, np.argmax), ("min", np.min, np.argmin)):
        arg = f"arg{name}"
        for layout in LAYOUTS[:-1]:  # an expanded input has ties
            x = arrays(SHAPE, values=distinct, layouts=[layout])
            yield f"{name} {layout}", x, lambda tw, F, x, n=name: getattr(tw, n)(x), of, SLOPE
            yield f"{arg} {layout}", x, lambda tw, F, x, n=arg: getattr(tw, n)(x), place
            for dim in (0, 1, -1):
                words = f"{layout}, along {dim}"
                yield (
                    f"{name} {words}", x, lambda tw, F, x, n=name, d=dim: getattr(x, n)(d)[0],
                    lambda x, of=of, d=dim: of(x, d), SLOPE,
                )  # fmt: skip
                yield (
                    f"{name} {words}, its places", x,
                    lambda tw, F, x, n=name, d=dim: getattr(x, n)(d).indices,
                    lambda x, p=place, d=dim: p(x, d),
                )  # fmt: skip
                yield (
                    f"{arg} {words}", x, lambda tw, F, x, n=arg, d=dim: getattr(x, n)(d),
                    lambda x, p=place, d=dim: p(x, d),
                )  # fmt: skip
        x = arrays(SHAPE, values=distinct)
        yield (
            f"{name} kept", x, lambda tw, F, x, n=name: getattr(x, n)(1, keepdim=True)[0],
            lambda x, of=of: of(x, 1, keepdims=True), SLOPE,
        )  # fmt: skip
        yield (
            f"{arg} kept", x, lambda tw, F, x, n=arg: getattr(x, n)(1, keepdim=True),
            lambda x, p=place: p(x, 1, keepdims=True),
        )  # fmt: skip
        yield (
            f"{arg} with NaN", _planted, lambda tw, F, x, n=arg: getattr(x, n)(1),
            lambda x, p=place: p(x, 1),
        )  # fmt: skip
        yield (
            f"{name} with NaN", _planted, lambda tw, F, x, n=name: getattr(x, n)(1)[0],
            lambda x, of=of: of(x, 1),
        )  # fmt: skip
        yield (
            f"{name} of integers", given(integers(-9, 9, 5, 7)),
            lambda tw, F, x, n=name: getattr(x, n)(0)[0], lambda x, of=of: of(x, 0), ONCE,
        )  # fmt: skip


def _planted(rng: Generator, dtype: str) -> tuple[Array]:
    x = distinct(rng, dtype, 3, 9)
    x[1, 4] = x[2, 0] = np.nan
    x[0, 2], x[0, 3] = np.inf, -np.inf
    return (x,)


def _truth() -> Iterator[Row]:
    for name, of in (("all", np.all), ("any", np.any)):
        for dim in (None, 0, -1):
            how: dict[str, Any] = {} if dim is None else {"dim": dim}
            made = given(floats(*SHAPE, values=few))
            yield (
                f"{name} along {dim}", made,
                lambda tw, F, x, n=name, how=how: getattr(tw, n)(x, **how),
                lambda x, of=of, d=dim: of(x, d),
            )  # fmt: skip
            yield (
                f"{name} of flags along {dim}", given(flags(4, 3)),
                lambda tw, F, x, n=name, how=how: getattr(x, n)(**how),
                lambda x, of=of, d=dim: of(x, d), ONCE,
            )  # fmt: skip
        for layout in LAYOUTS:
            made = given(floats(*SHAPE, values=few, layout=layout))
            yield (
                f"{name} {layout}", made, lambda tw, F, x, n=name: getattr(x, n)(1, keepdim=True),
                lambda x, of=of: of(x, 1, keepdims=True),
            )  # fmt: skip
        yield f"{name} of nothing", given(floats(0)), lambda tw, F, x, n=name: getattr(x, n)(), of


Axes = int | tuple[int, ...] | None


def _of_spread(dtype: str, expected: Array, x: Array) -> Array:
    """Squares of distances of order one, summed; a root halves the error where it is not small."""
    return np.asarray(16.0 * growth(x.size) * eps(dtype) * (1.0 + np.abs(expected)))


def _spread() -> Iterator[Row]:
    every: tuple[Axes, ...] = (None, 0, 1, -1, (0, 2))
    for name, of in (("var", np.var), ("std", np.std)):
        for axes in every:
            for correction in (0, 1, 2):
                how = {"correction": correction}
                yield (
                    f"{name} along {axes}, correction {correction}", given(floats(*SHAPE)),
                    lambda tw, F, x, n=name, a=axes, how=how: getattr(tw, n)(x, a, **how),
                    lambda x, of=of, a=axes, c=correction: of(x, a, ddof=c),
                )  # fmt: skip
        for layout in LAYOUTS[:-1]:
            yield (
                f"{name} {layout}", given(floats(*SHAPE, layout=layout)),
                lambda tw, F, x, n=name: getattr(x, n)(1, keepdim=True),
                lambda x, of=of: of(x, 1, ddof=1, keepdims=True),
            )  # fmt: skip
        yield (
            f"{name} of all",
            given(floats(*SHAPE)),
            lambda tw, F, x, n=name: getattr(x, n)(),
            lambda x, of=of: of(x, ddof=1),
        )
        yield (
            f"{name} far from zero",
            given(lambda rng, t: (100 + rng.standard_normal(64)).astype(t)),
            lambda tw, F, x, n=name: getattr(x, n)(unbiased=False), of,
        )  # fmt: skip


def _logsumexp(axes: Any, kept: bool = False) -> Any:
    def expected(x: Array) -> Array:
        top = x.max(axes, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        total = np.log(np.exp(x - top).sum(axes, keepdims=True)) + top
        return np.asarray(total if kept else np.squeeze(total, axes))

    return expected


def _logs() -> Iterator[Row]:
    for axes in (0, 1, -1, (0, 2)):
        yield (
            f"logsumexp along {axes}", given(floats(*SHAPE)),
            lambda tw, F, x, a=axes: tw.logsumexp(x, a), _logsumexp(axes), SLOPE,
        )  # fmt: skip
    for layout in LAYOUTS:
        yield (
            f"logsumexp {layout}", given(floats(*SHAPE, layout=layout)),
            lambda tw, F, x: x.logsumexp(1, keepdim=True), _logsumexp(1, True), SLOPE,
        )  # fmt: skip
    big = given(lambda rng, t: (1000 * rng.standard_normal((3, 5))).astype(t))
    yield "logsumexp of large numbers", big, lambda tw, F, x: tw.logsumexp(x, 1), _logsumexp(1)
    none = given(lambda rng, t: np.array([[-np.inf, -np.inf], [0, -np.inf]], t))
    yield "logsumexp of nothing", none, lambda tw, F, x: tw.logsumexp(x, 1), _logsumexp(1)


def _of_logs(dtype: str, expected: Array, x: Array) -> Array:
    with np.errstate(invalid="ignore"):
        size = np.where(np.isfinite(x), np.abs(x), 0.0).max(initial=1.0)
    return np.asarray(8.0 * growth(x.size) * eps(dtype) * (1.0 + size))


CASES: tuple[Case, ...] = (
    *rows("statistics", _extremes()),
    *rows("statistics", _truth()),
    *rows("statistics", _spread(), tolerance=_of_spread, differentiable=(0,)),
    *rows("statistics", _logs(), tolerance=_of_logs),
)
