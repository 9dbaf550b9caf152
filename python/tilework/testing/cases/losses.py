"""Cases of the losses that are made of recorded ops, and of norms and distances; and their layers.

References are each element's loss; what reduces them is the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case, Generator
from tilework.testing.inputs import LAYOUTS, away_from_zero, distinct, positive
from tilework.testing.reference import softplus
from tilework.testing.rows import Row, floats, given, integers, rows
from tilework.testing.tolerance import eps, growth

SHAPE = (6, 5)


def _bound(dtype: str, expected: Array, *inputs: Any) -> Array:
    """Terms of products of two inputs or an exponential of one, summed."""
    arrays = [np.abs(x) for x in inputs if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    size = 1.0 + sum(float(a.max(initial=0.0)) for a in arrays)
    count = max(a.size for a in arrays)
    return np.asarray(8.0 * growth(count) * eps(dtype) * size**2 * (1.0 + np.abs(expected)))


def signs(*shape: int) -> Callable[[Generator, str], Array]:
    return lambda rng, dtype: rng.choice([-1.0, 1.0], shape).astype(dtype)


def chances(*shape: int) -> Callable[[Generator, str], Array]:
    """Probabilities away from 0 and 1."""
    return lambda rng, dtype: rng.uniform(0.05, 0.95, shape).astype(dtype)


def _bce(x: Array, t: Array) -> Array:
    hit, miss = (np.maximum(np.log(v), -100.0) for v in (x, 1 - x))
    return np.asarray(-t * hit - (1 - t) * miss)


def _xlogy(x: Array, y: Array) -> Array:
    return np.where(x == 0, 0.0, x * np.log(np.where(x == 0, 1.0, y)))


def _stirling(t: Array) -> Array:
    with np.errstate(all="ignore"):
        full = t * np.log(t) - t + 0.5 * np.log(2 * np.pi * t)
    return np.where(t > 1, full, 0.0)


def _gauss(x: Array, t: Array, v: Array) -> Array:
    v = np.maximum(v, 1e-6)
    return np.asarray(0.5 * (np.log(v) + (x - t) ** 2 / v))


def _lengths(x: Array, p: float = 2.0) -> Array:
    return np.asarray(np.linalg.norm(x, p, axis=-1))


def _cosines(a: Array, b: Array) -> Array:
    return np.asarray((a * b).sum(-1) / (_lengths(a) * _lengths(b)))


def _cosine_embedding(a: Array, b: Array, t: Array) -> Array:
    cos = _cosines(a, b)
    return np.where(t == 1, 1 - cos, np.maximum(cos - 0.2, 0))


def _hinge(x: Array, y: Array, p: int, margin: float, w: Any = None) -> Array:
    own = x[np.arange(len(x)), y]
    each = np.maximum(margin - own[:, None] + x, 0.0) ** p
    each[np.arange(len(x)), y] = 0.0
    each = each if w is None else each * w[y][:, None]
    return np.asarray(each.sum(1) / x.shape[1])


def _multilabel(x: Array, t: Array) -> Array:
    found = []
    for row, target in zip(x, t, strict=True):
        own = target[: np.argmax(target < 0) if (target < 0).any() else len(target)]
        rest = np.setdiff1d(np.arange(len(row)), own)
        found.append(np.maximum(1 - row[own][:, None] + row[rest], 0).sum() / len(row))
    return np.array(found)


def _several(rng: Generator, dtype: str) -> Array:
    """Classes of each item, up to the first -1."""
    return np.array([[3, 0, -1, 1, 2], [1, -1, 0, 0, 0], [4, 3, 2, 1, 0], [-1] * 5,
                     [2, 0, 4, 1, -1], [0, -1, -1, -1, -1]])  # fmt: skip


def _triplets(p: float, swap: bool) -> Callable[..., Array]:
    def each(a: Array, b: Array, c: Array) -> Array:
        near, far, other = (_lengths(x - y + 1e-6, p) for x, y in ((a, b), (a, c), (b, c)))
        return np.maximum(0.7 + near - (np.minimum(far, other) if swap else far), 0)

    return each


X, TWO = floats(*SHAPE), (floats(*SHAPE), floats(*SHAPE))
CLASSES = integers(0, 5, 6)
WEIGHTS = floats(5, values=positive)
TRIPLET = (X, X, X)
# The function and how it is called, its layer, inputs, which of them gradients are taken of, and
# each element's loss.
LOSSES: tuple[tuple[str, dict[str, Any], str, tuple[Any, ...], tuple[int, ...], Any], ...] = (
    ("binary_cross_entropy", {}, "BCELoss", (chances(*SHAPE), chances(*SHAPE)), (0, 1), _bce),
    ("kl_div", {}, "KLDivLoss", (X, floats(*SHAPE, values=positive)), (0, 1),
     lambda x, t: t * (np.log(t) - x)),
    ("kl_div", {"log_target": True}, "KLDivLoss", TWO, (0, 1), lambda x, t: np.exp(t) * (t - x)),
    ("poisson_nll_loss", {}, "PoissonNLLLoss", TWO, (0, 1), lambda x, t: np.exp(x) - t * x),
    ("poisson_nll_loss", {"full": True}, "PoissonNLLLoss",
     (X, floats(*SHAPE, values=positive)), (0, 1), lambda x, t: np.exp(x) - t * x + _stirling(t)),
    ("poisson_nll_loss", {"log_input": False, "eps": 1e-3}, "PoissonNLLLoss",
     (floats(*SHAPE, values=positive), X), (0, 1), lambda x, t: x - t * np.log(x + 1e-3)),
    ("gaussian_nll_loss", {}, "GaussianNLLLoss", (X, X, floats(*SHAPE, values=positive)),
     (0, 1, 2), _gauss),
    ("gaussian_nll_loss", {"full": True}, "GaussianNLLLoss",
     (X, X, floats(6, values=positive)), (0, 1, 2),
     lambda x, t, v: _gauss(x, t, v[:, None]) + 0.5 * math.log(2 * math.pi)),
    ("margin_ranking_loss", {"margin": 0.3}, "MarginRankingLoss", (*TWO, signs(*SHAPE)), (0, 1),
     lambda a, b, t: np.maximum(0.3 - t * (a - b), 0)),
    ("hinge_embedding_loss", {"margin": 0.8}, "HingeEmbeddingLoss", (X, signs(*SHAPE)), (0,),
     lambda x, t: np.where(t == 1, x, np.maximum(0.8 - x, 0))),
    ("soft_margin_loss", {}, "SoftMarginLoss", (X, signs(*SHAPE)), (0,),
     lambda x, t: softplus(-t * x)),
    ("multilabel_soft_margin_loss", {}, "MultiLabelSoftMarginLoss", (X, chances(*SHAPE)), (0, 1),
     lambda x, t: (t * softplus(-x) + (1 - t) * softplus(x)).mean(1)),
    ("multi_margin_loss", {}, "MultiMarginLoss", (X, CLASSES), (0,),
     lambda x, y: _hinge(x, y, 1, 1.0)),
    ("multi_margin_loss", {"p": 2, "margin": 0.5}, "MultiMarginLoss", (X, CLASSES), (0,),
     lambda x, y: _hinge(x, y, 2, 0.5)),
    ("multilabel_margin_loss", {}, "MultiLabelMarginLoss", (X, _several), (0,), _multilabel),
    ("cosine_embedding_loss", {"margin": 0.2}, "CosineEmbeddingLoss", (*TWO, signs(6)), (0, 1),
     _cosine_embedding),
    ("triplet_margin_loss", {"margin": 0.7}, "TripletMarginLoss", TRIPLET, (0, 1, 2),
     _triplets(2.0, False)),
    ("triplet_margin_loss", {"margin": 0.7, "p": 1.0, "swap": True}, "TripletMarginLoss", TRIPLET,
     (0, 1, 2), _triplets(1.0, True)),
    ("triplet_margin_with_distance_loss", {"margin": 0.7}, "TripletMarginWithDistanceLoss",
     TRIPLET, (0, 1, 2), _triplets(2.0, False)),
)  # fmt: skip
REDUCTIONS: dict[str, Callable[[Array], Any]] = {
    "mean": np.mean, "sum": np.sum, "none": np.asarray, "batchmean": lambda x: x.sum() / len(x),
}  # fmt: skip


def _losses() -> Iterator[Row]:
    for name, how, layer, made, slopes, each in LOSSES:
        words = "".join(f", {k}={v}" for k, v in how.items())
        for reduction, of in REDUCTIONS.items():
            if reduction == "batchmean" and name != "kl_div":
                continue
            settings = {**how, "reduction": reduction}

            def of_function(
                tw: Any, F: Any, *given_: Any, name: str = name, how: Any = settings
            ) -> Any:
                return getattr(F, name)(*given_, **how)

            def of_layer(
                tw: Any, F: Any, *given_: Any, name: str = layer, how: Any = settings
            ) -> Any:
                return getattr(tw.nn, name)(**how)(*given_)

            def expected(*arrays: Array, of: Any = of, each: Any = each) -> Any:
                return of(each(*arrays))

            fields = {"differentiable": slopes}
            yield f"{name} {reduction}{words}", given(*made), of_function, expected, fields
            if reduction == "mean":
                yield f"{layer}{words.replace(',', '')}", given(*made), of_layer, expected, fields


def _weighted() -> Iterator[Row]:
    """What scales a loss, and what else is broadcast."""
    own = {"differentiable": (0,)}
    yield (
        "binary_cross_entropy weighted", given(chances(*SHAPE), chances(*SHAPE), WEIGHTS),
        lambda tw, F, x, t, w: F.binary_cross_entropy(x, t, w),
        lambda x, t, w: (w * _bce(x, t)).mean(), own,
    )  # fmt: skip
    yield (
        "binary_cross_entropy of certainties",
        given(lambda rng, t: np.array([0.0, 1.0, 0.0, 1.0], t), signs(4)),
        lambda tw, F, x, t: F.binary_cross_entropy(x, (t + 1) / 2, reduction="none"),
        lambda x, t: np.where(x == (t + 1) / 2, 0.0, 100.0),
    )  # fmt: skip
    yield (
        "kl_div of a probability of nothing",
        given(X, lambda rng, t: np.zeros(SHAPE, t)),
        lambda tw, F, x, t: F.kl_div(x, t, reduction="sum"), lambda x, t: np.zeros(()), own,
    )  # fmt: skip
    yield (
        "multilabel_soft_margin_loss weighted", given(X, chances(*SHAPE), WEIGHTS),
        lambda tw, F, x, t, w: F.multilabel_soft_margin_loss(x, t, w),
        lambda x, t, w: (w * (t * softplus(-x) + (1 - t) * softplus(x))).mean(), own,
    )  # fmt: skip
    yield (
        "multi_margin_loss weighted", given(X, CLASSES, WEIGHTS),
        lambda tw, F, x, y, w: F.multi_margin_loss(x, y, weight=w),
        lambda x, y, w: _hinge(x, y, 1, 1.0, w).mean(), own,
    )  # fmt: skip
    yield (
        "soft_margin_loss of large scores", given(lambda rng, t: np.array([-1e4, 1e4], t)),
        lambda tw, F, x: F.soft_margin_loss(x, tw.ones_like(x), reduction="none"),
        lambda x: np.array([1e4, 0.0]), {"peer": None},
    )  # fmt: skip


# --- norms and distances ---


def _norm(x: Array, p: float, axis: Any, kept: bool = False) -> Array:
    size = np.abs(x)
    if math.isinf(p):
        return np.asarray((np.max if p > 0 else np.min)(size, axis=axis, keepdims=kept))
    if p == 0:
        return np.asarray((x != 0).sum(axis, keepdims=kept).astype(float))
    return np.asarray((size**p).sum(axis, keepdims=kept) ** (1 / p))


def _norms() -> Iterator[Row]:
    for p in (2.0, 1.0, 0.5, 1.5, 3.0, math.inf, -math.inf, 0.0, -1.0):
        slopes = {"differentiable": () if p == 0 else (0,)}
        for dim in (None, 0, -1, (0, 2)):
            yield (
                f"norm {p} along {dim}", given(floats(3, 4, 5, values=_apart)),
                lambda tw, F, x, p=p, d=dim: tw.norm(x, p, d),
                lambda x, p=p, d=dim: _norm(x, p, d), slopes,
            )  # fmt: skip
    for layout in LAYOUTS[:-1]:
        yield (
            f"norm {layout}", given(floats(3, 4, 5, layout=layout)),
            lambda tw, F, x: x.norm(dim=1, keepdim=True),
            lambda x: _norm(x, 2.0, 1, True), {"differentiable": (0,)},
        )  # fmt: skip
    yield "norm of nothing", given(floats(0)), lambda tw, F, x: x.norm(), lambda x: _norm(x, 2, 0)
    both = {"differentiable": (0, 1)}
    for p in (2.0, 1.0, math.inf):
        yield (
            f"dist {p}", given(*TWO), lambda tw, F, a, b, p=p: tw.dist(a, b, p),
            lambda a, b, p=p: _norm(a - b, p, None), both,
        )  # fmt: skip
        for a, b in (((3, 4), (5, 4)), ((2, 3, 4), (1, 5, 4)), ((2, 3, 4), (30, 4))):
            yield (
                f"cdist {p} of {a} and {b}", given(floats(*a), floats(*b)),
                lambda tw, F, a, b, p=p: tw.cdist(a, b, p),
                lambda a, b, p=p: _norm(a[..., :, None, :] - b[..., None, :, :], p, -1),
                {**both, "tolerance": _of_products},
            )  # fmt: skip
    for name, how, of in (("normalize", {}, 2.0), ("normalize", {"p": 1.0, "dim": 0}, 1.0)):
        axis = how.get("dim", 1)
        yield (
            f"{name} {how}", given(X), lambda tw, F, x, how=how: F.normalize(x, **how),
            lambda x, p=of, axis=axis: x / _norm(x, p, axis, True), {"differentiable": (0,)},
        )  # fmt: skip


def _apart(rng: Generator, dtype: str, *shape: int) -> Array:
    """Sizes that are all different, and none near 0."""
    return (distinct(rng, "float64", *shape) * 0.9 + np.copysign(1.0, away_from_zero(
        rng, "float64", *shape))).astype(dtype)  # fmt: skip


def _of_products(dtype: str, expected: Array, a: Array, b: Array) -> Array:
    """A root of a difference of products: what is lost of it is lost twice over near 0."""
    size = float(np.square(a).sum(-1).max() + np.square(b).sum(-1).max())
    return 8.0 * growth(a.shape[-1]) * eps(dtype) * (size / np.abs(expected) + np.abs(expected))


def _pairs() -> Iterator[Row]:
    both = {"differentiable": (0, 1)}
    for how, p in (({}, 2.0), ({"p": 1.0, "keepdim": True}, 1.0)):

        def far(a: Array, b: Array, p: float = p, kept: bool = bool(how)) -> Array:
            return _norm(a - b + 1e-6, p, -1, kept)

        yield (
            f"pairwise_distance {how}", given(*TWO),
            lambda tw, F, a, b, how=how: F.pairwise_distance(a, b, **how), far, both,
        )  # fmt: skip
        yield (
            f"PairwiseDistance {how}", given(*TWO),
            lambda tw, F, a, b, how=how: tw.nn.PairwiseDistance(**how)(a, b), far, both,
        )  # fmt: skip
    yield (
        "cosine_similarity", given(*TWO), lambda tw, F, a, b: F.cosine_similarity(a, b), _cosines,
        both,
    )  # fmt: skip
    yield (
        "cosine_similarity of a row", given(X, floats(5)),
        lambda tw, F, a, b: F.cosine_similarity(a, b, dim=-1), _cosines, both,
    )  # fmt: skip
    yield (
        "CosineSimilarity along 0", given(*TWO),
        lambda tw, F, a, b: tw.nn.CosineSimilarity(0)(a, b), lambda a, b: _cosines(a.T, b.T), both,
    )  # fmt: skip
    yield (
        "xlogy", given(X, floats(5, values=positive)), lambda tw, F, a, b: tw.xlogy(a, b), _xlogy,
        both,
    )  # fmt: skip


CASES: tuple[Case, ...] = (
    *rows("losses", _losses(), tolerance=_bound),
    *rows("losses", _weighted(), tolerance=_bound),
    *rows("losses", _norms(), tolerance=_bound),
    *rows("losses", _pairs(), tolerance=_bound),
)
