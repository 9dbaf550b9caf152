"""Cases of elementwise mixtures, products and medians along axes, and of counting values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case, Generator
from tilework.testing.inputs import LAYOUTS, away_from_zero, distinct, normal, special
from tilework.testing.rows import Row, few, fixed, floats, given, integers, one_of, rows
from tilework.testing.tolerance import eps, exact, growth

SHAPE = (3, 4, 5)
X = floats(*SHAPE, values=away_from_zero)
APART = floats(*SHAPE, values=distinct)
ONE: dict[str, Any] = {"differentiable": (0,)}
BOTH: dict[str, Any] = {"differentiable": (0, 1)}
ONCE: dict[str, Any] = {"dtypes": ("float32",)}


def _bound(dtype: str, expected: Array, *inputs: Any) -> Array:
    """Sums and products of a few numbers, or of those along an axis."""
    arrays = [x[np.isfinite(x)] for x in inputs if isinstance(x, np.ndarray)]
    size = 1.0 + float(sum(np.abs(a).max(initial=0.0) for a in arrays))
    count = max((a.size for a in arrays), default=1)
    return np.asarray(8.0 * growth(count) * eps(dtype) * size**2 * (1.0 + np.abs(expected)))


def _mixed() -> Iterator[Row]:
    for weight in (0.0, 0.25, 0.75, 1.0, -2.0):
        yield (
            f"lerp {weight}", given(X, X), lambda tw, F, a, b, w=weight: tw.lerp(a, b, w),
            lambda a, b, w=weight: a + w * (b - a), BOTH,
        )  # fmt: skip
    three = {"differentiable": (0, 1, 2)}
    yield (
        "lerp by tensors", given(X, floats(5), floats(4, 1)),
        lambda tw, F, a, b, w: a.lerp(b, w), lambda a, b, w: a + w * (b - a), three,
    )  # fmt: skip
    wide = given(X, floats(5, values=away_from_zero), floats(4, 1, values=away_from_zero))
    yield (
        "addcmul", wide, lambda tw, F, x, a, b: tw.addcmul(x, a, b, value=0.5),
        lambda x, a, b: x + 0.5 * a * b, three,
    )  # fmt: skip
    yield (
        "addcdiv", wide, lambda tw, F, x, a, b: x.addcdiv(a, b, value=-2),
        lambda x, a, b: x - 2 * a / b, three,
    )  # fmt: skip
    for name, of in (("atan2", np.arctan2), ("hypot", np.hypot), ("logaddexp", np.logaddexp)):
        for layout in LAYOUTS:
            yield (
                f"{name} {layout}",
                given(floats(*SHAPE, values=away_from_zero, layout=layout),
                      floats(5, values=away_from_zero)),
                lambda tw, F, a, b, n=name: getattr(tw, n)(a, b), of,
                BOTH if layout != "expanded" else {},
            )  # fmt: skip
    infinite = given(lambda rng, t: np.array([np.inf, -np.inf, np.inf, 0.0], t),
                     lambda rng, t: np.array([np.inf, -np.inf, 0.0, -np.inf], t))  # fmt: skip
    yield "logaddexp of infinities", infinite, lambda tw, F, a, b: tw.logaddexp(a, b), np.logaddexp
    for name, limits in (("clamp_min", (0.2, None)), ("clamp_max", (None, 0.2))):
        yield (
            f"{name}", given(X), lambda tw, F, x, n=name: getattr(tw, n)(x, 0.2),
            lambda x, ends=limits: np.clip(x, *ends), ONE,
        )  # fmt: skip
    yield (
        "trunc", given(X), lambda tw, F, x: tw.trunc(3 * x), lambda x: np.trunc(3 * x), ONE,
    )  # fmt: skip
    yield "frac", given(X), lambda tw, F, x: x.frac(), lambda x: x - np.trunc(x), ONE
    values = given(lambda rng, t: special(t))
    yield (
        "nan_to_num", values, lambda tw, F, x: tw.nan_to_num(x, 1.0, 2.0, 3.0),
        lambda x: np.nan_to_num(x, nan=1.0, posinf=2.0, neginf=3.0), {"tolerance": exact},
    )  # fmt: skip
    yield (
        "nan_to_num flows", given(X), lambda tw, F, x: tw.nan_to_num(x), np.asarray, ONE
    )  # fmt: skip
    pairs = given(integers(-8, 8, 3, 4), integers(-8, 8, 4))
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        yield name, pairs, lambda tw, F, a, b, n=name: getattr(tw, n)(a, b), getattr(np, name), ONCE


def _with_zeros(count: int) -> Callable[[Generator, str], Array]:
    def make(rng: Generator, dtype: str) -> Array:
        x = away_from_zero(rng, dtype, 4, 5)
        x[1, :count] = 0.0
        return x

    return make


def _along() -> Iterator[Row]:
    for layout in LAYOUTS[:-1]:
        made = given(floats(*SHAPE, values=away_from_zero, layout=layout))
        yield f"prod {layout}", made, lambda tw, F, x: x.prod(1), lambda x: x.prod(1), ONE
        yield (
            f"cumprod {layout}", made, lambda tw, F, x: x.cumprod(1), lambda x: x.cumprod(1), ONE,
        )  # fmt: skip
    for zeros in (1, 2):
        made = given(_with_zeros(zeros))
        yield f"prod with {zeros}", made, lambda tw, F, x: tw.prod(x, 1), lambda x: x.prod(1), ONE
        yield (
            f"cumprod with {zeros}", made, lambda tw, F, x: tw.cumprod(x, 1),
            lambda x: x.cumprod(1), ONE,
        )  # fmt: skip
    yield "prod of all", given(floats(3, 3)), lambda tw, F, x: tw.prod(x), np.prod, ONE
    yield (
        "prod kept", given(floats(3, 3)), lambda tw, F, x: tw.prod(x, 0, keepdim=True),
        lambda x: x.prod(0, keepdims=True), ONE,
    )  # fmt: skip
    yield "prod of integers", given(integers(-3, 4, 5)), lambda tw, F, x: x.prod(), np.prod, ONCE
    lower = lambda x, axis=None: np.quantile(x, 0.5, axis, method="inverted_cdf")  # noqa: E731
    yield "median", given(APART), lambda tw, F, x: tw.median(x), lower, ONE
    for dim in (0, -1):
        yield (
            f"median along {dim}", given(APART), lambda tw, F, x, d=dim: x.median(d).values,
            lambda x, d=dim, of=lower: of(x, d), ONE,
        )  # fmt: skip
        yield (
            f"median along {dim}, its place", given(APART),
            lambda tw, F, x, d=dim: x.median(d).indices,
            lambda x, d=dim: np.take(np.argsort(x, d), (x.shape[d] - 1) // 2, d),
        )  # fmt: skip
        yield (
            f"kthvalue along {dim}", given(APART),
            lambda tw, F, x, d=dim: tw.kthvalue(x, 2, d, keepdim=True)[0],
            lambda x, d=dim: np.take(np.sort(x, d), [1], d), ONE,
        )  # fmt: skip
    for how in ("linear", "lower", "higher", "midpoint", "nearest"):
        for q in (0.0, 0.3, 0.5, 1.0):
            yield (
                f"quantile {q} {how}", given(APART),
                lambda tw, F, x, q=q, h=how: tw.quantile(x, q, 1, interpolation=h),
                lambda x, q=q, h=how: np.quantile(x, q, 1, method=h), ONE,
            )  # fmt: skip
    yield (
        "quantile several", given(APART), lambda tw, F, x: x.quantile(tw.tensor([0.25, 0.75]).to(
            x.dtype), keepdim=True),
        lambda x: np.quantile(x, [0.25, 0.75], keepdims=True), ONE,
    )  # fmt: skip
    for name, of in (("var_mean", np.var), ("std_mean", np.std)):
        for at in (0, 1):
            yield (
                f"{name} {at}", given(floats(*SHAPE)),
                one_of(lambda tw, F, x, n=name: getattr(tw, n)(x, 1, correction=0), at),
                lambda x, of=of, at=at: (of if at == 0 else np.mean)(x, 1), ONE,
            )  # fmt: skip
    yield (
        "count_nonzero", given(floats(4, 5, values=few)),
        lambda tw, F, x: tw.count_nonzero(x, 1), lambda x: np.count_nonzero(x, 1), ONCE,
    )  # fmt: skip
    for name, sum_ in (("nansum", np.nansum), ("nanmean", np.nanmean)):
        yield (
            name, given(_planted), lambda tw, F, x, n=name: getattr(tw, n)(x, 1),
            lambda x, of=sum_: of(x, 1),
        )  # fmt: skip
        yield (
            f"{name} without", given(floats(*SHAPE)),
            lambda tw, F, x, n=name: getattr(tw, n)(x, 1), lambda x, of=sum_: of(x, 1), ONE,
        )  # fmt: skip


def _planted(rng: Generator, dtype: str) -> Array:
    x = normal(rng, dtype, 3, 7)
    x[1, 2:4] = math.nan
    return x


def _counted() -> Iterator[Row]:
    for name, how, at in (("values", {}, 0), ("inverse", {"return_inverse": True}, 1),
                          ("counts", {"return_counts": True}, 1)):  # fmt: skip
        for dim in (None, 1):

            def call(tw: Any, F: Any, x: Any, how: Any = how, at: int = at, d: Any = dim) -> Any:
                found = tw.unique(x, dim=d, **how)
                return found[at] if how else found

            def expected(x: Array, how: Any = how, at: int = at, d: Any = dim) -> Any:
                found = np.unique(x, axis=d, **how)
                return np.reshape(found[1], x.shape if d is None and "return_inverse" in how
                                  else -1) if how else found  # fmt: skip

            yield f"unique {name} along {dim}", given(floats(5, 6, values=few)), call, expected
    runs = given(fixed(np.array([1, 1, 2, 2, 2, 1, 3])))
    yield (
        "unique_consecutive", runs, lambda tw, F, x: tw.unique_consecutive(x),
        lambda x: np.array([1, 2, 1, 3]), ONCE,
    )  # fmt: skip
    yield (
        "unique_consecutive counts", runs,
        lambda tw, F, x: x.unique_consecutive(return_counts=True)[1],
        lambda x: np.array([2, 3, 1, 1]), ONCE,
    )  # fmt: skip
    yield (
        "unique_consecutive rows", given(fixed(np.array([[1, 2], [1, 2], [1, 3]]))),
        lambda tw, F, x: x.unique_consecutive(dim=0), lambda x: x[1:], ONCE,
    )  # fmt: skip
    whole = integers(0, 6, 20)
    yield (
        "bincount", given(whole), lambda tw, F, x: tw.bincount(x, minlength=9),
        lambda x: np.bincount(x, minlength=9), ONCE,
    )  # fmt: skip
    yield (
        "bincount weighted", given(whole, floats(20)), lambda tw, F, x, w: x.bincount(w),
        lambda x, w: np.bincount(x, w), {"tolerance": _bound},
    )  # fmt: skip
    yield (
        "histc", given(floats(50)), lambda tw, F, x: tw.histc(x, 8, -1, 1.5),
        lambda x: np.histogram(x, 8, (-1, 1.5))[0].astype(float),
    )  # fmt: skip
    yield (
        "histc of its own range", given(floats(50)), lambda tw, F, x: x.histc(5),
        lambda x: np.histogram(x, 5)[0].astype(float),
    )  # fmt: skip
    edges = fixed(np.array([-1.0, 0.0, 0.0, 1.0]))
    for right, side in ((False, "left"), (True, "right")):
        yield (
            f"searchsorted {side}", given(edges, floats(4, 5, values=few)),
            lambda tw, F, e, x, r=right: tw.searchsorted(e.to(x.dtype), x, right=r),
            lambda e, x, s=side: np.searchsorted(e, x, s),
        )  # fmt: skip
        yield (
            f"bucketize {side}", given(edges, floats(4, 5, values=few)),
            lambda tw, F, e, x, r=right: tw.bucketize(x, e.to(x.dtype), right=r),
            lambda e, x, s=side: np.searchsorted(e, x, s),
        )  # fmt: skip
    yield (
        "searchsorted in rows", given(floats(3, 7), floats(3, 4)),
        lambda tw, F, e, x: tw.searchsorted(e.sort(1).values, x),
        lambda e, x: np.stack([np.searchsorted(np.sort(a), b) for a, b in zip(e, x, strict=True)]),
    )  # fmt: skip
    for invert in (False, True):
        yield (
            f"isin {invert}", given(integers(0, 9, 4, 5), integers(0, 9, 3)),
            lambda tw, F, a, b, i=invert: tw.isin(a, b, invert=i),
            lambda a, b, i=invert: np.isin(a, b, invert=i), ONCE,
        )  # fmt: skip


CASES: tuple[Case, ...] = (
    *rows("numbers", _mixed(), tolerance=_bound),
    *rows("numbers", _along(), tolerance=_bound),
    *rows("numbers", _counted()),
)
