"""Normalisation. Sums are taken in float64, the mean before the squares about it, from which it is
corrected (Chan, Golub and LeVeque, 1983)."""

from __future__ import annotations

from typing import Any

from tilework.arrays import as_array, namespace
from tilework.dtypes import float64
from tilework.engines.cupy.base import Array, laid_as, quiet, stored, wide
from tilework.engines.layout import contiguous

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "norm_rows_backward",
    "norm_rows_forward",
]


def _moments(x: Array, axes: tuple[int, ...], count: int) -> tuple[Array, Array]:
    """The mean, and the sum of the squares about it, with the axes kept."""
    xp, n = namespace(x), float64.type(count)
    mean = as_array(xp.sum(x, axis=axes, keepdims=True) / n)
    away = x - mean
    rest = xp.sum(away, axis=axes, keepdims=True)  # what rounding left of the mean
    squares = xp.sum(away * away, axis=axes, keepdims=True) - rest * rest / n
    return xp.where(xp.isfinite(mean), mean + rest / n, mean), squares  # an infinity stays one


# --- batch norm ---


def _over(values: Array | None, x: Array) -> Any:
    """(C,) against (N, C, ...), in float64; 1 where there are none."""
    return 1.0 if values is None else wide(values).reshape(-1, *(1,) * (x.ndim - 2))


def _update(running: Array | None, momentum: float, now: Array) -> None:
    if running is not None:
        found = (1.0 - momentum) * wide(running) + momentum * now.reshape(-1)
        running[...] = stored(found, running.dtype)


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
    xp, given = namespace(x), wide(x)
    count = x.size // x.shape[1] if x.shape[1] else 0
    if training:
        mean, squares = _moments(given, (0, *range(2, x.ndim)), count)
        variance = squares / float64.type(count)
        if count:
            _update(running_mean, momentum, mean)
            _update(running_var, momentum, squares / float64.type(count - 1))
    else:
        mean, variance = _over(running_mean, x), _over(running_var, x)
    rstd = 1.0 / xp.sqrt(variance + eps)
    y = (given - mean) * (rstd * _over(weight, x))
    if bias is not None:
        y = y + _over(bias, x)
    if residual is not None:
        y = y + wide(residual)
    if activation == "relu":
        y = xp.where(y < 0, 0.0, y)
    out = laid_as(stored(y, x.dtype), x)
    return out, stored(mean.reshape(-1), x.dtype), stored(rstd.reshape(-1), x.dtype)


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
    xp, g, axes = namespace(x), wide(grad), (0, *range(2, x.ndim))
    if output is not None:
        g = xp.where(wide(output) <= 0, 0.0, g)
    spread, away = _over(rstd, x), wide(x) - _over(mean, x)
    total = xp.sum(g, axis=axes, keepdims=True)
    moment = xp.sum(g * away, axis=axes, keepdims=True)
    dx = None
    if need_x:
        scale = spread * _over(weight, x)
        value = g * scale
        if training:
            share = scale / float64.type(x.size // x.shape[1] if x.shape[1] else 0)
            value = value - share * total - away * (share * spread * spread * moment)
        dx = laid_as(stored(value, x.dtype), x)
    dweight, dbias = (stored(d.reshape(-1), x.dtype) for d in (moment * spread, total))
    dresidual = laid_as(stored(g.copy(), x.dtype), x) if need_residual else None
    return dx, dweight, dbias, dresidual


# --- rows: arrays as (rows, channels of a row, span) ---


def _as_rows(x: Array, length: int, groups: int, channels: int) -> Array:
    if length == 0:
        return namespace(x).empty((0, 1, 1), x.dtype)
    of_row = channels // groups
    return contiguous(x).reshape(-1, of_row, length // of_row)


def _of_rows(values: Array | None, rows: int, groups: int) -> Any:
    """(channels,) against the rows, which take the next channels / groups of them each: (rows,
    channels / groups, 1); 1 where there are none."""
    if values is None:
        return 1.0
    given = wide(values).reshape(groups, -1, 1)
    whole = namespace(values).broadcast_to(given, (rows // groups, *given.shape))
    return whole.reshape(rows, *given.shape[1:])


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
    xp, total, sums = namespace(x), _as_rows(x, length, groups, channels), None
    if residual is not None:
        more = wide(_as_rows(residual, length, groups, channels))
        total = stored(wide(total) + more, x.dtype)
        sums = laid_as(total.reshape(x.shape), x)
    given = wide(total)
    if center:
        mean, squares = _moments(given, (1, 2), length)
    else:
        mean = xp.zeros((len(given), 1, 1), float64)
        squares = xp.sum(given * given, axis=(1, 2), keepdims=True)
    rstd = 1.0 / xp.sqrt(squares / float64.type(length) + eps)
    y = (given - mean) * rstd * _of_rows(weight, len(given), groups)
    if bias is not None:
        y = y + _of_rows(bias, len(given), groups)
    return (
        laid_as(stored(y.reshape(x.shape), x.dtype), x),
        stored(mean.reshape(-1), x.dtype) if center else None,
        stored(rstd.reshape(-1), x.dtype),
        sums,
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
    xp, given = namespace(x), wide(_as_rows(x, length, groups, channels))
    g, rows, n = wide(_as_rows(grad, length, groups, channels)), len(given), float64.type(length)
    away = given if mean is None else given - wide(mean).reshape(-1, 1, 1)
    scale, factors = wide(rstd).reshape(-1, 1, 1), _of_rows(weight, rows, groups)
    sums = xp.sum(g, axis=2, keepdims=True)
    moments = xp.sum(g * away, axis=2, keepdims=True)
    dx = None
    if need_x:
        offset = 0.0
        if mean is not None:
            offset = scale * xp.sum(sums * factors, axis=1, keepdims=True) / n
        slope = scale**3 * xp.sum(moments * factors, axis=1, keepdims=True) / n
        value = (g * scale * factors - offset - away * slope).reshape(x.shape)
        dx = laid_as(stored(value if onto is None else value + wide(onto), x.dtype), x)

    def of_channels(d: Array) -> Array:
        shape = (rows // groups, channels) if rows else (0, channels)
        return stored(xp.sum(d.reshape(shape), axis=0), x.dtype)

    return dx, of_channels(moments * scale), of_channels(sums)
