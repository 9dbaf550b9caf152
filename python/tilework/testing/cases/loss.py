"""Cases of the losses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing import reference
from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.inputs import (
    LAYOUTS,
    TAILS,
    Inputs,
    Shape,
    arrays,
    laid_out,
    normal,
    positive,
)
from tilework.testing.tolerance import eps, growth, tiny

REDUCTIONS = ("mean", "sum", "none")


def _reduced(losses: Array, reduction: str, divisor: Any) -> Array:
    if reduction == "none":
        return losses
    total = losses.sum()
    return np.asarray(total / divisor if reduction == "mean" else total)


# --- cross entropy ---


def _cross_entropy(
    label: str,
    inputs: Inputs,
    reduction: str = "mean",
    smoothing: float = 0.0,
    ignore: int = -100,
    **fields: Any,
) -> Case:
    """Inputs are (logits, target) or (logits, target, class weights)."""
    how = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignore}

    def losses(logits: Array, target: Array, weight: Array | None) -> tuple[Array, Array]:
        """Each item's loss and its weight, 0 where it is ignored."""
        classes = logits.shape[1]
        w = np.ones(classes) if weight is None else weight
        log_p = np.moveaxis(reference.log_softmax(logits, 1), 1, -1)
        counted = target != ignore
        hit = np.where(counted, target, 0)
        picked = np.take_along_axis(log_p, hit[..., None], -1)[..., 0]
        loss = -(1.0 - smoothing) * w[hit] * picked
        if smoothing:
            loss = loss - smoothing / classes * (w * log_p).sum(-1)
        return np.where(counted, loss, 0.0), np.where(counted, w[hit], 0.0)

    def expected(logits: Array, target: Array, weight: Array | None = None) -> Array:
        loss, weights = losses(logits, target, weight)
        return _reduced(loss, reduction, weights.sum())

    def bound(
        dtype: str, expected: Array, logits: Array, target: Array, weight: Array | None = None
    ) -> Any:
        """Each item's loss is a difference of the log-sum and a logit: both their sizes count."""
        _, weights = losses(logits, target, weight)
        largest = 1.0 if weight is None else weight.max(initial=0.0)
        size = np.abs(logits).max(axis=1, initial=0.0) + np.log(max(logits.shape[1], 1)) + 1.0
        item = 2.0 * largest * size
        each = growth(logits.shape[1]) * eps(dtype) * item
        if reduction == "none":
            return each
        total = each.sum() + growth(target.size) * eps(dtype) * item.sum()
        return total / weights.sum() if reduction == "mean" else total

    return Case(
        family="loss",
        op="cross_entropy",
        label=label,
        inputs=inputs,
        call=lambda tw, F, logits, target, weight=None: F.cross_entropy(
            logits, target, weight=weight, **how
        ),
        reference=expected,
        tolerance=bound,
        **fields,
    )


def _classified(
    rows: int, classes: int, weighted: bool = False, ignored: int | None = None
) -> Inputs:
    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        logits, target = 2 * normal(rng, t, rows, classes), rng.integers(0, classes, rows)
        if ignored is not None:
            target[:: max(rows // 3, 1)] = ignored
        return (logits, target, positive(rng, t, classes)) if weighted else (logits, target)

    return inputs


def _cross_entropy_cases() -> Iterator[Case]:
    for reduction, smoothing, weighted, ignored in itertools.product(
        REDUCTIONS, (0.0, 0.1), (False, True), (None, -100, 2)
    ):
        words = [reduction]
        words += [f"smoothing {smoothing}"] if smoothing else []
        words += ["weights"] if weighted else []
        words += [f"ignoring {ignored}"] if ignored is not None else []
        yield _cross_entropy(
            ", ".join(words),
            _classified(7, 5, weighted, ignored),
            reduction,
            smoothing,
            -100 if ignored is None else ignored,
            differentiable=(0,),
        )
    for classes in TAILS:
        yield _cross_entropy(f"{classes} classes", _classified(5, classes), differentiable=(0,))
    for rows in (1, 2, 17, 64, 1000):
        yield _cross_entropy(f"{rows} rows", _classified(rows, 10), differentiable=(0,))
    yield _cross_entropy("no rows, sum", _classified(0, 3), "sum")
    yield _cross_entropy("no rows, mean", _classified(0, 3), "mean")
    yield _cross_entropy("no rows, none", _classified(0, 3), "none")

    def all_ignored(rng: Generator, t: str) -> tuple[Array, Array]:
        return normal(rng, t, 4, 3), np.full(4, -100)

    yield _cross_entropy("all ignored, mean", all_ignored, "mean")
    yield _cross_entropy("all ignored, sum", all_ignored, "sum")
    for smoothing in (0.0, 0.1):
        yield _cross_entropy(
            f"streamed gradient, smoothing {smoothing}",
            _classified(2051, 528, False, 3),
            "mean",
            smoothing,
            3,
            differentiable=(0,),
            dtypes=("float32",),
        )
    for layout in LAYOUTS:

        def strided(rng: Generator, t: str, layout: str = layout) -> tuple[Array, Array]:
            return laid_out(normal(rng, t, 9, 5), layout), rng.integers(0, 5, 9)

        yield _cross_entropy(layout, strided, differentiable=(0,))

    def large(rng: Generator, t: str) -> tuple[Array, Array]:
        return 1000 * normal(rng, t, 9, 5), rng.integers(0, 5, 9)

    def images(rng: Generator, t: str) -> tuple[Array, Array]:
        return normal(rng, t, 2, 5, 3, 4), rng.integers(0, 5, (2, 3, 4))

    yield _cross_entropy("large logits", large)
    for reduction in REDUCTIONS:
        yield _cross_entropy(f"(2, 5, 3, 4), {reduction}", images, reduction, differentiable=(0,))
    for value in (np.nan, np.inf, -np.inf):

        def planted(rng: Generator, t: str, value: float = value) -> tuple[Array, Array]:
            x = normal(rng, t, 4, 5)
            x[2, 3] = value
            return x, np.array([0, 1, 2, 3])

        yield _cross_entropy(f"with {value}", planted, "none")


# --- losses of a distance ---

LIMIT = 0.75  # beta and delta


def _huber(away: Array) -> Array:
    size = np.abs(away)
    return np.where(size < LIMIT, 0.5 * away * away, LIMIT * (size - 0.5 * LIMIT))


# op, its settings, the loss of a difference, and how steep it is at most beside the difference
DISTANCES: dict[str, tuple[dict[str, float], Callable[[Array], Array], Callable[[Array], Any]]] = {
    "mse_loss": ({}, np.square, lambda away: 2.0 * np.abs(away)),
    "l1_loss": ({}, np.abs, lambda away: 1.0),
    "huber_loss": ({"delta": LIMIT}, _huber, lambda away: LIMIT),
    "smooth_l1_loss": ({"beta": LIMIT}, lambda away: _huber(away) / LIMIT, lambda away: 1.0),
}


def _distance(op: str, label: str, inputs: Inputs, reduction: str, **fields: Any) -> Case:
    how, loss, steepness = DISTANCES[op]

    def bound(dtype: str, expected: Array, x: Array, target: Array) -> Any:
        # The difference is rounded at its operands' size at most.
        away = x - target
        rounding = steepness(away) * (np.abs(x) + np.abs(target)) + 2.0 * loss(away)
        each = 2.0 * eps(dtype) * rounding + tiny(dtype)
        if reduction == "none":
            return each
        total = each.sum() + growth(each.size) * eps(dtype) * loss(away).sum()
        return total / each.size if reduction == "mean" and each.size else total

    def expected(x: Array, target: Array) -> Array:
        losses = loss(x - target)
        return _reduced(losses, reduction, np.float64(losses.size))

    return Case(
        family="loss",
        op=op,
        label=label,
        inputs=inputs,
        call=lambda tw, F, x, target: getattr(F, op)(x, target, reduction=reduction, **how),
        reference=expected,
        tolerance=bound,
        **fields,
    )


def _distance_cases(op: str) -> Iterator[Case]:
    shapes: tuple[Shape, ...] = ((5, 7), (3,), (1,), (), (2, 3, 4, 5), (100, 101), (0, 3))
    for reduction in REDUCTIONS:
        for shape in shapes:
            # Two draws meet nowhere near a kink; a sum of many loses a central difference's digits.
            inputs = arrays(shape, shape)
            small = op == "mse_loss" or shape != (100, 101)
            grads = (0, 1) if small else ()
            yield _distance(op, f"{shape}, {reduction}", inputs, reduction, differentiable=grads)
        yield _distance(
            op, f"a row beside rows, {reduction}", arrays((5, 7), (7,)), reduction,
            differentiable=(0, 1),
        )  # fmt: skip
        for pair in itertools.product(LAYOUTS, LAYOUTS):
            label = f"{' and '.join(pair)}, {reduction}"
            strided = arrays((2, 5, 3, 7), (2, 5, 3, 7), layouts=pair)
            yield _distance(op, label, strided, reduction, differentiable=(0, 1))
        for value in (np.nan, np.inf):

            def planted(rng: Generator, t: str, value: float = value) -> tuple[Array, Array]:
                x = normal(rng, t, 67)
                x[66] = value
                return x, normal(rng, t, 67)

            yield _distance(op, f"with {value}, {reduction}", planted, reduction)
    for n in TAILS:
        yield _distance(op, f"{n}", arrays((n,), (n,)), "mean", differentiable=(0, 1))


# --- what is timed ---


def _timed() -> Iterator[Case]:
    for rows, classes in ((64, 10), (4096, 1000)):
        label = f"cross_entropy {rows}x{classes} backward"
        yield _cross_entropy(
            label,
            _classified(rows, classes),
            differentiable=(0,),
            dtypes=("float32",),
            quick=False,
            bench=Bench(label, flops=0.0, bytes=12.0 * rows * classes, mode="backward"),
        )
    for n in (10**3, 10**5, 10**7):
        label = f"smooth_l1_loss {n} backward"
        yield _distance(
            "smooth_l1_loss",
            label,
            arrays((n,), (n,)),
            "mean",
            differentiable=(0,),
            dtypes=("float32",),
            quick=False,
            bench=Bench(label, flops=0.0, bytes=20.0 * n, mode="backward"),
        )


CASES: tuple[Case, ...] = (
    *_cross_entropy_cases(),
    *(case for op in DISTANCES for case in _distance_cases(op)),
    *_timed(),
)
