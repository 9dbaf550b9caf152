"""Losses: one pass over the logits each way, sums in float64."""

import math
from typing import Any

import numpy as np

from tilework.engines.numba.compiled import jit, quiet
from tilework.engines.numba.layout import Array, empty_like, flat, in_layout_of
from tilework.errors import error


@jit
def _row_losses(
    logits: Any, target: Any, weight: Any, ignore: int, smoothing: float, losses: Any, tops: Any,
    log_sums: Any,
) -> float:  # fmt: skip
    """Fills each row's loss, its largest logit and the log of its sum of exponentials beside that;
    returns the total weight."""
    classes = logits.shape[1]
    total_weight = 0.0
    for n in range(logits.shape[0]):
        losses[n] = tops[n] = log_sums[n] = 0.0
        if target[n] == ignore:
            continue
        largest = -math.inf
        for c in range(classes):
            largest = max(largest, logits[n, c])
        total = 0.0
        for c in range(classes):
            total += math.exp(logits[n, c] - largest)
        log_sum = math.log(total)  # apart: beside a large logit it would be rounded away
        tops[n], log_sums[n] = largest, log_sum
        w = weight[target[n]]
        loss = (1.0 - smoothing) * w * (log_sum - (logits[n, target[n]] - largest))
        if smoothing != 0.0:
            spread = 0.0
            for c in range(classes):
                spread += weight[c] * (log_sum - (logits[n, c] - largest))
            loss += smoothing / classes * spread
        losses[n] = loss
        total_weight += w
    return total_weight


@jit
def _logit_gradients(
    scales: Any,
    logits: Any,
    target: Any,
    weight: Any,
    tops: Any,
    log_sums: Any,
    ignore: int,
    smoothing: float,
    dlogits: Any,
) -> None:
    classes = logits.shape[1]
    weight_sum = 0.0
    for c in range(classes):
        weight_sum += weight[c]
    each = smoothing / classes
    for n in range(logits.shape[0]):
        if target[n] == ignore:
            dlogits[n, :] = 0.0
            continue
        hit = (1.0 - smoothing) * weight[target[n]]
        pull = hit + each * weight_sum  # the weight of log_sum in the row's loss
        for c in range(classes):
            push = each * weight[c] + (hit if c == target[n] else 0.0)
            dlogits[n, c] = scales[n] * (
                pull * math.exp((logits[n, c] - tops[n]) - log_sums[n]) - push
            )


def _class_weights(weight: Array | None, logits: Array) -> Array:
    if weight is None:
        return np.ones(logits.shape[1], logits.dtype)
    return np.ascontiguousarray(weight)


@quiet
def cross_entropy_forward(
    logits: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> tuple[Array, Array]:
    rows, classes = logits.shape
    if np.any(((target < 0) | (target >= classes)) & (target != ignore_index)):
        raise error(
            IndexError, "cross_entropy", f"classes in [0, {classes})", "another", "count from 0"
        )
    losses = np.empty(rows)
    saved = np.empty(2 * rows + 1)  # each row's largest, each one's log-sum, the mean's divisor
    saved[-1] = _row_losses(
        np.ascontiguousarray(logits),
        np.ascontiguousarray(target),
        _class_weights(weight, logits),
        ignore_index,
        label_smoothing,
        losses,
        saved[:rows],
        saved[rows:-1],
    )
    if reduction == "none":
        return losses.astype(logits.dtype), saved
    divisor = saved[-1] if reduction == "mean" else 1.0
    return np.asarray(losses.sum() / divisor, logits.dtype), saved


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
    rows = logits.shape[0]
    divisor = saved[-1] if reduction == "mean" else 1.0
    dlogits = np.empty(logits.shape, logits.dtype)
    _logit_gradients(
        np.array(np.broadcast_to(grad / divisor, rows), np.float64),
        np.ascontiguousarray(logits),
        np.ascontiguousarray(target),
        _class_weights(weight, logits),
        saved[:rows],
        saved[rows:-1],
        ignore_index,
        label_smoothing,
        dlogits,
    )
    return dlogits


# --- losses of a distance d = a - b ---


@jit
def _square(d: Any, limit: Any) -> Any:
    return d * d


@jit
def _square_slope(d: Any, limit: Any) -> Any:
    return 2 * d


@jit
def _absolute(d: Any, limit: Any) -> Any:
    return abs(d)


@jit
def _absolute_slope(d: Any, limit: Any) -> Any:
    return 1.0 if d > 0 else (-1.0 if d < 0 else d)


@jit
def _huber(d: Any, limit: Any) -> Any:
    return 0.5 * d * d if abs(d) < limit else limit * (abs(d) - 0.5 * limit)


@jit
def _huber_slope(d: Any, limit: Any) -> Any:
    return limit if d > limit else (-limit if d < -limit else d)


@jit
def _smooth(d: Any, limit: Any) -> Any:
    return 0.5 * d * (d / limit) if abs(d) < limit else abs(d) - 0.5 * limit


@jit
def _smooth_slope(d: Any, limit: Any) -> Any:
    return 1.0 if d > limit else (-1.0 if d < -limit else d / limit)


_DISTANCES: dict[str, tuple[Any, Any]] = {
    "square": (_square, _square_slope),
    "absolute": (_absolute, _absolute_slope),
    "huber": (_huber, _huber_slope),
    "smooth": (_smooth, _smooth_slope),
}


@jit
def _distances(loss: Any, a: Any, b: Any, limit: float, out: Any) -> None:
    for i in range(a.size):
        out[i] = loss(np.float64(a[i]) - np.float64(b[i]), limit)


@jit
def _distance_sum(loss: Any, a: Any, b: Any, limit: float) -> float:
    total = 0.0
    for i in range(a.size):
        total += loss(np.float64(a[i]) - np.float64(b[i]), limit)
    return total


@jit
def _distance_gradient(
    slope: Any, a: Any, b: Any, limit: float, scale: float, grad: Any, out: Any
) -> None:
    each = grad.size > 1
    for i in range(a.size):
        of = np.float64(grad[i if each else 0])
        out[i] = slope(np.float64(a[i]) - np.float64(b[i]), limit) * scale * of


def _flattened(model: Array, *arrays: Array) -> list[Array]:
    return [flat(in_layout_of(x, model)) for x in arrays]


@quiet
def distance_forward(kind: str, input: Array, target: Array, limit: float, reduction: str) -> Array:
    loss = _DISTANCES[kind][0]
    out = empty_like(input)
    a, b = _flattened(out, input, target)
    if reduction == "none":
        _distances(loss, a, b, limit, flat(out))
        return out
    total = _distance_sum(loss, a, b, limit)
    divisor = np.float64(input.size) if reduction == "mean" else 1.0
    return np.asarray(total / divisor, input.dtype)


@quiet
def distance_backward(
    kind: str, grad: Array, input: Array, target: Array, limit: float, reduction: str
) -> Array:
    out = empty_like(input)
    a, b = _flattened(out, input, target)
    g = flat(in_layout_of(grad, out)) if reduction == "none" else grad.reshape(1)
    scale = 1.0 / np.float64(input.size) if reduction == "mean" else 1.0
    _distance_gradient(_DISTANCES[kind][1], a, b, limit, scale, g, flat(out))
    return out
