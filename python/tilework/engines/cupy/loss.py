"""Losses, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tilework.arrays import as_array, namespace
from tilework.dtypes import float64
from tilework.engines.cupy.base import Array, laid_as, quiet, stored, wide
from tilework.engines.layout import contiguous
from tilework.errors import error

__all__ = [
    "cross_entropy_backward",
    "cross_entropy_forward",
    "distance_backward",
    "distance_forward",
]


class _Targets:
    """Which rows count, the class of each (0 where none), and its weight (0 where none)."""

    def __init__(self, logits: Array, target: Array, weight: Array | None, ignore: int) -> None:
        xp = namespace(logits)
        self.counts = target != ignore
        self.classes = xp.where(self.counts, target, 0)
        each = xp.ones(logits.shape[1], float64) if weight is None else wide(weight)
        self.of_class = each
        self.weights = xp.where(self.counts, each[self.classes] if len(each) else 0.0, 0.0)


@quiet
def cross_entropy_forward(
    logits: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> tuple[Array, Array]:
    xp, (rows, classes) = namespace(logits), logits.shape
    outside = ((target < 0) | (target >= classes)) & (target != ignore_index)
    if bool(outside.any()):
        raise error(
            IndexError, "cross_entropy", f"classes in [0, {classes})", "another", "count from 0"
        )
    saved = xp.zeros(2 * rows + 1, float64)  # each row's largest, its log-sum, the mean's divisor
    losses = xp.zeros(rows, float64)
    if rows and classes:
        given, to = wide(logits), _Targets(logits, target, weight, ignore_index)
        top = xp.max(given, axis=1)
        away = given - top[:, None]
        log_sums = xp.log(xp.sum(xp.exp(away), axis=1))  # apart: beside a large logit it would be
        hit = xp.take_along_axis(away, to.classes[:, None], 1)[:, 0]  # rounded away
        losses = (1.0 - label_smoothing) * to.weights * (log_sums - hit)
        if label_smoothing:
            spread = xp.sum(to.of_class * (log_sums[:, None] - away), axis=1)
            losses = losses + label_smoothing / classes * spread
        losses = xp.where(to.counts, losses, 0.0)
        saved[:rows], saved[rows:-1], saved[-1] = top, log_sums, xp.sum(to.weights)
    if reduction == "none":
        return stored(losses, logits.dtype), saved
    total = xp.sum(losses)
    return stored(total / saved[-1] if reduction == "mean" else total, logits.dtype), saved


@quiet
def cross_entropy_backward(
    grad: Array,
    logits: Array,
    target: Array,
    weight: Array | None,
    saved: Array,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> Array:
    xp, (rows, classes) = namespace(logits), logits.shape
    if not rows or not classes:
        return xp.zeros(logits.shape, logits.dtype)
    to = _Targets(logits, target, weight, ignore_index)
    scales = as_array(wide(grad) / saved[-1] if reduction == "mean" else wide(grad))
    hit, each = (1.0 - label_smoothing) * to.weights, label_smoothing / classes
    pull = hit + each * xp.sum(to.of_class)  # the weight of log_sum in the row's loss
    chances = xp.exp((wide(logits) - saved[:rows, None]) - saved[rows:-1, None])
    right = to.classes[:, None] == xp.arange(classes)
    push = each * to.of_class + xp.where(right, hit[:, None], 0.0)
    found = scales.reshape(-1, 1) * (pull[:, None] * chances - push)
    return contiguous(stored(xp.where(to.counts[:, None], found, 0.0), logits.dtype))


# --- losses of a distance d = a - b ---


def _huber(d: Array, limit: float) -> Array:
    size = abs(d)
    return namespace(d).where(size < limit, 0.5 * d * d, limit * (size - 0.5 * limit))


def _huber_slope(d: Array, limit: float) -> Array:
    xp = namespace(d)
    return xp.where(d > limit, limit, xp.where(d < -limit, -limit, d))


def _smooth(d: Array, limit: float) -> Array:
    size = abs(d)
    inner = 0.5 * d * (d / float64.type(limit))
    return namespace(d).where(size < limit, inner, size - 0.5 * limit)


def _smooth_slope(d: Array, limit: float) -> Array:
    xp = namespace(d)
    inner = d / float64.type(limit)
    return xp.where(d > limit, 1.0, xp.where(d < -limit, -1.0, inner))


def _absolute_slope(d: Array, limit: float) -> Array:
    xp = namespace(d)
    return xp.where(d > 0, 1.0, xp.where(d < 0, -1.0, d))


_DISTANCES: dict[str, tuple[Callable[[Any, float], Any], Callable[[Any, float], Any]]] = {
    "square": (lambda d, limit: d * d, lambda d, limit: 2.0 * d),
    "absolute": (lambda d, limit: abs(d), _absolute_slope),
    "huber": (_huber, _huber_slope),
    "smooth": (_smooth, _smooth_slope),
}


@quiet
def distance_forward(kind: str, input: Array, target: Array, limit: float, reduction: str) -> Array:
    losses = _DISTANCES[kind][0](wide(input) - wide(target), limit)
    if reduction == "none":
        return laid_as(stored(losses, input.dtype), input)
    total = namespace(input).sum(losses)
    if reduction == "mean":
        total = total / float64.type(input.size)
    return stored(total, input.dtype)


@quiet
def distance_backward(
    kind: str, grad: Array, input: Array, target: Array, limit: float, reduction: str
) -> Array:
    slope = _DISTANCES[kind][1](wide(input) - wide(target), limit)
    scale = 1.0 / float64.type(input.size) if reduction == "mean" else 1.0
    g = wide(grad) if reduction == "none" else wide(grad).reshape(())
    return laid_as(stored(slope * scale * g, input.dtype), input)
