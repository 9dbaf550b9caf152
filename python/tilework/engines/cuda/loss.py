"""Losses: cross entropy by rows of logits, and the losses of a distance."""

from __future__ import annotations

from typing import Any

from tilework.engines.cuda.errors import outside
from tilework.engines.cuda.launch import blocks_for, contiguous, empty, empty_as, launch
from tilework.engines.cuda.reduce import over_middle
from tilework.engines.cuda.reduce import sum as total_of
from tilework.engines.cuda.rows import NAMES, THREADS, dense, laid_as, launch_rows, launch_teams

__all__ = [
    "cross_entropy_backward",
    "cross_entropy_forward",
    "distance_backward",
    "distance_forward",
]

Array = Any
Maybe = Any
_PART = 8192  # distances that a block adds
_SPAN = {"float32": 2048, "float64": 512}  # that a block of an elementwise kernel has: flat_span


def _vector(values: Maybe) -> Maybe:
    return None if values is None else contiguous(values)


def cross_entropy_forward(
    logits: Array,
    target: Array,
    weight: Maybe,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> tuple[Array, Array]:
    rows, classes = logits.shape
    both, saved = empty(logits, (2, rows)), empty(logits, (2 * rows + 1,))
    launch_rows(
        "cross_entropy", 1, rows, classes, both[0], both[1], saved, contiguous(logits),
        contiguous(target), _vector(weight), ignore_index, float(label_smoothing),
        outside("cross_entropy", classes), dtype=logits.dtype.name,
    )  # fmt: skip
    if reduction == "none":
        return both[0], saved
    if reduction == "sum":
        return total_of(both[0], (0,), False), saved
    loss = empty(logits, ())
    totals = over_middle("sum", both, 2, rows, 1, 1.0)
    dtype = NAMES[logits.dtype.name]
    launch(f"cross_entropy_mean_{dtype}", 1, 1, loss, saved[2 * rows :], totals)
    return loss, saved


def cross_entropy_backward(
    grad: Array,
    logits: Array,
    target: Array,
    weight: Maybe,
    saved: Array,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> Array:
    rows, classes = logits.shape
    dx = empty(logits, logits.shape)
    weight_sum = None
    if weight is not None and label_smoothing > 0:
        weight_sum = total_of(weight, (0,), False)
    launch_teams(
        "cross_entropy_backward", rows, classes, dx, contiguous(grad), contiguous(logits),
        contiguous(target), _vector(weight), saved,
        saved[2 * rows :] if reduction == "mean" else None, weight_sum,
        1 if reduction == "none" else 0, ignore_index, float(label_smoothing),
        dtype=logits.dtype.name,
    )  # fmt: skip
    return dx


# --- losses of a distance d = a - b ---


def distance_forward(kind: str, input: Array, target: Array, limit: float, reduction: str) -> Array:
    a, dtype, n = dense(input), NAMES[input.dtype.name], input.size
    b = laid_as(target, a)
    if reduction == "none":
        y = empty_as(a)
        grid = blocks_for(n, _SPAN[a.dtype.name])
        launch(f"distance_{kind}_each_{dtype}", grid, THREADS, y, a, b, float(limit), n)
        return y
    parts = blocks_for(n, _PART)
    found = empty(a, (parts,))
    launch(f"distance_{kind}_parts_{dtype}", parts, THREADS, found, a, b, float(limit), n, _PART)
    return over_middle("sum", found, 1, parts, 1, float(n) if reduction == "mean" else 1.0).reshape(
        ()
    )


def distance_backward(
    kind: str, grad: Array, input: Array, target: Array, limit: float, reduction: str
) -> Array:
    a, dtype, n = dense(input), NAMES[input.dtype.name], input.size
    dx, one = empty_as(a), reduction != "none"
    scale = 1.0 / n if reduction == "mean" and n else 1.0
    launch(
        f"distance_{kind}_backward_{dtype}", blocks_for(n, _SPAN[a.dtype.name]), THREADS, dx,
        grad if one else laid_as(grad, a), a, laid_as(target, a), float(limit), scale, one, n,
    )  # fmt: skip
    return dx
