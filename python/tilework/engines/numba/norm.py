"""Normalisation. Sums are taken in float64, the mean before the squares about it, from which it is
corrected (Chan, Golub and LeVeque, 1983)."""

import math
from typing import Any

import numpy as np

from tilework.engines.numba.compiled import jit, quiet
from tilework.engines.numba.layout import Array, around_axis, empty_like, in_layout_of

# --- batch norm: arrays as (outer, channels, inner) ---


@jit
def _moments(x: Any, mean: Any, m2: Any, rest: Any) -> None:
    for o in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                mean[c] += x[o, c, i]
    count = x.shape[0] * x.shape[2]
    for c in range(x.shape[1]):
        mean[c] /= count
    for o in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                away = x[o, c, i] - mean[c]
                rest[c] += away
                m2[c] += away * away
    for c in range(x.shape[1]):  # what rounding left of the mean
        if np.isfinite(mean[c]):  # an infinity stays one
            mean[c] += rest[c] / count
        m2[c] -= rest[c] * rest[c] / count


@jit
def _apply(
    x: Any, mean: Any, scale: Any, bias: Any, residual: Any, out: Any, add: bool, relu: bool
) -> None:
    for o in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                v = (x[o, c, i] - mean[c]) * scale[c] + bias[c]
                if add:
                    v += residual[o, c, i]
                out[o, c, i] = 0.0 if relu and v < 0.0 else v


@jit
def _sums(grad: Any, x: Any, mean: Any, total: Any, moment: Any) -> None:
    for o in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                total[c] += grad[o, c, i]
                moment[c] += grad[o, c, i] * (x[o, c, i] - mean[c])


@jit
def _gradient(grad: Any, x: Any, mean: Any, scale: Any, offset: Any, slope: Any, dx: Any) -> None:
    for o in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                away = x[o, c, i] - mean[c]
                dx[o, c, i] = grad[o, c, i] * scale[c] - offset[c] - away * slope[c]


def _wide(values: Array | None, count: int, otherwise: float) -> Array:
    """A weight or bias in float64, or what stands for one that is not there."""
    return np.full(count, otherwise) if values is None else values.astype(np.float64).reshape(-1)


def _update(running: Array | None, momentum: float, now: Array) -> None:
    if running is not None:
        running[...] = (1.0 - momentum) * running + momentum * now


@quiet
def batch_norm_forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    training: bool,
    momentum: float,
    eps: float,
    activation: str,
    residual: Array | None,
) -> tuple[Array, Array, Array]:
    channels = x.shape[1]
    out = empty_like(x)
    given = around_axis(in_layout_of(x, out), 1)
    mean, variance = np.zeros(channels), np.zeros(channels)
    if training:
        count = x.size // max(channels, 1)
        _moments(given, mean, variance, np.zeros(channels))
        _update(running_mean, momentum, mean)
        _update(running_var, momentum, variance / np.float64(count - 1))
        variance /= count
    else:
        assert running_mean is not None
        assert running_var is not None
        mean[:], variance[:] = running_mean, running_var
    rstd = 1.0 / np.sqrt(variance + eps)
    scale, shift = _wide(weight, channels, 1.0) * rstd, _wide(bias, channels, 0.0)
    add, relu = residual is not None, activation == "relu"
    added = given if residual is None else around_axis(in_layout_of(residual, out), 1)
    _apply(given, mean, scale, shift, added, around_axis(out, 1), add, relu)
    return out, mean.astype(x.dtype), rstd.astype(x.dtype)


@quiet
def batch_norm_backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    mean: Array,
    rstd: Array,
    training: bool,
    output: Array | None,
    need_x: bool,
    need_residual: bool,
) -> tuple[Array | None, Array, Array, Array | None]:
    channels, dx = x.shape[1], empty_like(x)
    if output is not None:
        grad = np.where(output <= 0, x.dtype.type(0), grad)
    cotangent = in_layout_of(grad, dx)
    g, given = around_axis(cotangent, 1), around_axis(in_layout_of(x, dx), 1)
    total, moment = np.zeros(channels), np.zeros(channels)
    centre, spread = mean.astype(np.float64), rstd.astype(np.float64)
    _sums(g, given, centre, total, moment)
    scale = _wide(weight, channels, 1.0) * spread
    share = scale / (x.size // max(channels, 1)) if training else np.zeros(channels)
    if need_x:
        slope = share * spread * spread * moment
        _gradient(g, given, centre, scale, share * total, slope, around_axis(dx, 1))
    return (
        dx if need_x else None,
        (moment * spread).astype(x.dtype),
        total.astype(x.dtype),
        cotangent if need_residual else None,
    )


# --- rows: arrays as (rows, channels of a row, span) ---


@jit
def _rows_forward(
    x: Any, weight: Any, bias: Any, groups: int, center: bool, eps: float, out: Any, mean: Any,
    rstd: Any, residual: Any, total: Any, add: bool,
) -> None:  # fmt: skip
    """Normalises x + residual, written to `total`, where `add`; else `total`, which is x."""
    rows, channels, span = x.shape
    for r in range(rows):
        if add:
            for c in range(channels):
                for i in range(span):
                    total[r, c, i] = x[r, c, i] + residual[r, c, i]
        middle = 0.0
        if center:
            for c in range(channels):
                for i in range(span):
                    middle += total[r, c, i]
            middle /= channels * span
            rest = 0.0
            for c in range(channels):
                for i in range(span):
                    rest += total[r, c, i] - middle
            middle += rest / (channels * span)
            mean[r] = middle
        squares = 0.0
        for c in range(channels):
            for i in range(span):
                squares += (total[r, c, i] - middle) ** 2
        scale = 1.0 / math.sqrt(squares / (channels * span) + eps)
        rstd[r] = scale
        first = r % groups * channels
        for c in range(channels):
            for i in range(span):
                out[r, c, i] = (total[r, c, i] - middle) * scale * weight[first + c] + bias[
                    first + c
                ]


@jit
def _rows_backward(
    grad: Any, x: Any, weight: Any, mean: Any, rstd: Any, groups: int, center: bool, dx: Any,
    dw: Any, db: Any, onto: Any, add: bool,
) -> None:  # fmt: skip
    rows, channels, span = x.shape
    for r in range(rows):
        middle = np.float64(mean[r] if center else 0.0)
        scale = np.float64(rstd[r])
        first = r % groups * channels
        total = moment = 0.0
        for c in range(channels):
            g_sum = m_sum = 0.0
            for i in range(span):
                g_sum += grad[r, c, i]
                m_sum += grad[r, c, i] * (x[r, c, i] - middle)
            dw[first + c] += m_sum * scale
            db[first + c] += g_sum
            total += g_sum * weight[first + c]
            moment += m_sum * weight[first + c]
        offset = scale * total / (channels * span) if center else 0.0
        slope = scale**3 * moment / (channels * span)
        for c in range(channels):
            for i in range(span):
                away = x[r, c, i] - middle
                value = grad[r, c, i] * scale * weight[first + c] - offset - away * slope
                dx[r, c, i] = value + onto[r, c, i] if add else value


def _as_rows(x: Array, length: int, groups: int, channels: int) -> Array:
    if length == 0:
        return np.empty((0, 1, 1), x.dtype)
    of_row = channels // groups
    return np.ascontiguousarray(x).reshape(-1, of_row, length // of_row)


def _laid_out(result: Array, x: Array) -> Array:
    return in_layout_of(result, empty_like(x))


@quiet
def norm_rows_forward(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    length: int,
    groups: int,
    channels: int,
    center: bool,
    eps: float,
    residual: Array | None = None,
) -> tuple[Array, Array | None, Array, Array | None]:
    given = _as_rows(x, length, groups, channels)
    add = residual is not None
    total = np.empty_like(given) if add else given
    added = given if residual is None else _as_rows(residual, length, groups, channels)
    out = np.empty(given.shape, x.dtype)
    mean, rstd = np.empty(len(given), x.dtype), np.empty(len(given), x.dtype)
    w, b = _wide(weight, channels, 1.0), _wide(bias, channels, 0.0)
    _rows_forward(given, w, b, groups, center, eps, out, mean, rstd, added, total, add)
    return (
        _laid_out(out.reshape(x.shape), x),
        mean if center else None,
        rstd,
        _laid_out(total.reshape(x.shape), x) if add else None,
    )


@quiet
def norm_rows_backward(
    grad: Array,
    x: Array,
    weight: Array | None,
    mean: Array | None,
    rstd: Array,
    length: int,
    groups: int,
    channels: int,
    need_x: bool,
    onto: Array | None = None,
) -> tuple[Array | None, Array, Array]:
    given = _as_rows(x, length, groups, channels)
    dx, dw, db = np.empty(given.shape, x.dtype), np.zeros(channels), np.zeros(channels)
    w = _wide(weight, channels, 1.0)
    cotangent = _as_rows(grad, length, groups, channels)
    center = mean is not None
    add = onto is not None
    more = given if onto is None else _as_rows(onto, length, groups, channels)
    _rows_backward(
        cotangent, given, w, mean if center else rstd, rstd, groups, center, dx, dw, db, more, add
    )
    return (
        _laid_out(dx.reshape(x.shape), x) if need_x else None,
        dw.astype(x.dtype),
        db.astype(x.dtype),
    )
