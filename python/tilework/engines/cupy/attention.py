"""Attention over blocks of queries: BLAS multiplies, the softmax in between."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tilework.arrays import namespace
from tilework.dtypes import finfo
from tilework.engines.cupy.base import Array, quiet, stored, widened
from tilework.engines.cupy.random import words_at
from tilework.engines.score_rule import ScoreRule

__all__ = [
    "attention_backward",
    "attention_forward",
    "varlen_attention_backward",
    "varlen_attention_forward",
]

_SCORES = 2**24  # as many of them, about, at a time


def _blocks(q: Array, k: Array) -> Iterator[slice]:
    b, h, rows, _ = q.shape
    many = max(_SCORES // max(b * h * k.shape[2], 1), 1)
    for begin in range(0, rows, many):
        yield slice(begin, min(begin + many, rows))


def _product(rule: ScoreRule, a: Array, b: Array) -> Array:
    """a (B, H, M, K) @ b (B, G, K, N), G dividing H. Where some scores are hidden, an element of
    zero takes no part: what it meets may not be finite."""
    xp, y = namespace(a), _grouped_matmul(a, b)
    if not rule.hides or bool(xp.isfinite(y).all()):
        return y
    inf, zero = math.inf, a.dtype.type(0)
    finite = [xp.where(xp.isfinite(x), x, zero) for x in (a, b)]
    y = _grouped_matmul(*finite)
    up, down = finite[1] > 0, finite[1] < 0
    rises = _some((a > 0, b == inf), (a < 0, b == -inf), (a == inf, up), (a == -inf, down))
    falls = _some((a > 0, b == -inf), (a < 0, b == inf), (a == inf, down), (a == -inf, up))
    lost = _some((a != 0, b != b), (a != a, b == b), (abs(a) == inf, b == 0)) | (rises & falls)
    y = xp.where(rises, y + inf, xp.where(falls, y - inf, y))
    return xp.where(lost, math.nan, y).astype(a.dtype, copy=False)


def _some(*pairs: tuple[Array, Array]) -> Array:
    """Where a product has a term of which both sides hold, for some of the pairs."""
    return sum(_grouped_matmul(*(x.astype("float32") for x in pair)) for pair in pairs) > 0


def _grouped_matmul(a: Array, b: Array) -> Array:
    (batch, heads, rows, inner), groups = a.shape, b.shape[1]
    share = heads // max(groups, 1)
    y = namespace(a).matmul(a.reshape(batch, groups, share, rows, inner), b[:, :, None])
    return y.reshape(batch, heads, rows, b.shape[3])


def _of_groups(x: Array, groups: int) -> Array:
    """What each head (B, H, K, N) adds to its group's (B, G, K, N)."""
    batch, heads, *rest = x.shape
    return x.reshape(batch, groups, heads // max(groups, 1), *rest).sum(2)


def _scores(rule: ScoreRule, at: slice, products: Array) -> tuple[Array, Array | None]:
    """What the exponential takes, -Inf where it is hidden; and what was capped, over the cap."""
    xp, real = namespace(products), products.dtype.type
    s, capped = products * real(rule.scale), None
    if rule.softcap:
        capped = xp.tanh(s / real(rule.softcap))
        s = capped * real(rule.softcap)
    queries = xp.arange(at.start, at.stop, dtype="int64")[:, None]
    away = xp.arange(s.shape[3], dtype="int64") - queries - rule.diagonal
    if rule.slopes is not None:
        s = s + rule.slopes.reshape(-1, 1, 1) * away.astype(s.dtype)
    hidden = (away < -rule.left) | (away > rule.right)
    if rule.bias is not None:
        bias = rule.bias if rule.bias.shape[2] == 1 else rule.bias[:, :, at]
        hidden = hidden | (bias == -math.inf)
        s = s + bias
    return xp.where(hidden, real(-math.inf), s), capped


def _kept(rule: ScoreRule, at: slice, q: Array, keys: int) -> Array:
    """What dropout multiplies the block's weights by."""
    xp, real = namespace(q), q.dtype.type
    b, h, rows, _ = q.shape
    heads = xp.arange(b * h, dtype="int64").reshape(b, h, 1, 1)
    row = heads * rows + xp.arange(at.start, at.stop, dtype="int64")[:, None]
    places = (row * keys + xp.arange(keys, dtype="int64")).astype("uint64")
    threshold = min(round(rule.p * 2**32), 2**32 - 1)
    scale = real(1 / (1 - rule.p) if rule.p < 1 else 0.0)
    return xp.where(words_at(xp, places, rule.seed, rule.call) >= threshold, scale, real(0))


def _dropped(weights: Array, kept: Array) -> Array:
    """A weight that is dropped is zero, whatever it was."""
    return namespace(weights).where(kept == 0, kept, weights * kept)


def _heads_inside(shape: tuple[int, ...], like: Array) -> Array:
    """Zeros (B, H, L, E) that lie in memory as (B, L, H, E)."""
    b, h, rows, width = shape
    return namespace(like).zeros((b, rows, h, width), like.dtype).swapaxes(1, 2)


def _as_asked(x: Array, dtype: Any) -> Array:
    """In `dtype`, the layout kept."""
    return stored(x.swapaxes(1, 2), dtype).swapaxes(1, 2)


@quiet
def attention_forward(
    q: Array, k: Array, v: Array, bias: Any, scale: float, softcap: float, slopes: Any,
    diagonal: int, left: int, right: int, p: float, seed: int, call: int,
) -> tuple[Array, Array]:  # fmt: skip
    rule = ScoreRule(bias, scale, softcap, slopes, diagonal, left, right, p, seed, call)
    dtype, xp = q.dtype, namespace(q)
    q, k, v = widened(q), widened(k), widened(v)
    out = _heads_inside((*q.shape[:3], v.shape[3]), q)
    log_sums = xp.full(q.shape[:3], -math.inf, q.dtype)
    if (not out.size and not log_sums.size) or not k.shape[2]:
        return _as_asked(out, dtype), log_sums
    least = q.dtype.type(finfo(q.dtype).min)
    for at in _blocks(q, k):
        s, _ = _scores(rule, at, _grouped_matmul(q[:, :, at], k.swapaxes(2, 3)))
        top = xp.maximum(xp.max(s, axis=3, keepdims=True), least)
        weights = xp.exp(s - top)
        total = xp.sum(weights, axis=3, keepdims=True)
        log_sums[:, :, at] = (top + xp.log(total))[..., 0]
        if p:
            weights = _dropped(weights, _kept(rule, at, q, k.shape[2]))
        out[:, :, at] = _product(rule, weights, v) / xp.where(total == 0, total + 1, total)
    return _as_asked(out, dtype), log_sums


@quiet
def attention_backward(
    grad: Array, q: Array, k: Array, v: Array, out: Array, log_sums: Array, bias: Any,
    scale: float, softcap: float, slopes: Any, diagonal: int, left: int, right: int, p: float,
    seed: int, call: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    rule = ScoreRule(bias, scale, softcap, slopes, diagonal, left, right, p, seed, call)
    dtype, xp, groups = q.dtype, namespace(q), k.shape[1]
    grad, q, k, v, out = (widened(x) for x in (grad, q, k, v, out))
    dq, dk, dv = (_heads_inside(x.shape, q) for x in (q, k, v))
    zero = q.dtype.type(0)
    for at in _blocks(q, k) if k.shape[2] else ():
        g = grad[:, :, at]
        s, capped = _scores(rule, at, _grouped_matmul(q[:, :, at], k.swapaxes(2, 3)))
        log_sum = log_sums[:, :, at, None]
        weights = xp.where(log_sum == -math.inf, zero, xp.exp(s - log_sum))
        chain = weights * s.dtype.type(scale)
        if capped is not None:
            chain = chain * (1 - capped * capped)
        dw, none = _grouped_matmul(g, v.swapaxes(2, 3)), weights == 0
        if p:
            kept = _kept(rule, at, q, k.shape[2])
            weights, dw = _dropped(weights, kept), _dropped(dw, kept)
        dot = xp.sum(g * out[:, :, at], axis=3, keepdims=True)
        ds = xp.where(none, zero, chain * (dw - dot))
        dq[:, :, at] = _product(rule, ds, k)
        dk += _of_groups(_product(rule, ds.swapaxes(2, 3), q[:, :, at]), groups)
        dv += _of_groups(_product(rule, weights.swapaxes(2, 3), g), groups)
    return _as_asked(dq, dtype), _as_asked(dk, dtype), _as_asked(dv, dtype)


def _sequences(
    q: Array, k: Array, v: Array, cu_q: Array, cu_k: Any, used_k: Any, table: Any
) -> Iterator[tuple[slice, slice, Array, Array, Array]]:
    """Of each sequence its queries and keys, as slices and as (1, heads, rows, width)."""
    used = None if used_k is None else used_k.tolist()
    ends = None if cu_k is None else cu_k.tolist()
    for i, (a, b) in enumerate(pairwise(cu_q.tolist())):
        at = slice(0, 0) if ends is None else slice(ends[i], ends[i + 1])
        if table is not None and used is not None:
            pages = table[i, : -(-used[i] // max(k.shape[1], 1))]
            keys, values = (x[pages].reshape(-1, *x.shape[2:]) for x in (k, v))
        else:
            keys, values = k[at], v[at]
        if used is not None:
            keys, values = keys[: used[i]], values[: used[i]]
        heads = (x.swapaxes(0, 1)[None] for x in (q[a:b], keys, values))
        yield slice(a, b), at, next(heads), next(heads), next(heads)


def varlen_attention_forward(
    q: Array, k: Array, v: Array, cu_q: Array, cu_k: Any, used_k: Any, table: Any, scale: float,
    softcap: float, slopes: Any, left: int, right: int,
) -> tuple[Array, Array]:  # fmt: skip
    xp, heads = namespace(q), q.shape[1]
    out = xp.zeros((*q.shape[:2], v.shape[-1]), q.dtype)
    log_sums = xp.zeros(q.shape[0] * heads, "float32" if q.dtype.itemsize < 4 else q.dtype)
    for rows, _, qi, ki, vi in _sequences(q, k, v, cu_q, cu_k, used_k, table):
        diagonal = ki.shape[2] - qi.shape[2]
        y, sums = attention_forward(
            qi, ki, vi, None, scale, softcap, slopes, diagonal, left, right, 0.0, 0, 0
        )
        out[rows] = y[0].swapaxes(0, 1)
        log_sums[rows.start * heads : rows.stop * heads] = sums.reshape(-1)
    return out, log_sums


def varlen_attention_backward(
    grad: Array, q: Array, k: Array, v: Array, out: Array, log_sums: Array, cu_q: Array,
    cu_k: Array, scale: float, softcap: float, slopes: Any, left: int, right: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    xp, heads = namespace(q), q.shape[1]
    dq, dk, dv = (xp.zeros(x.shape, x.dtype) for x in (q, k, v))
    for rows, keys, qi, ki, vi in _sequences(q, k, v, cu_q, cu_k, None, None):
        diagonal = ki.shape[2] - qi.shape[2]
        sums = log_sums[rows.start * heads : rows.stop * heads].reshape(1, heads, -1)
        y, dy = (x[rows].swapaxes(0, 1)[None] for x in (out, grad))
        parts = attention_backward(
            dy, qi, ki, vi, y, sums, None, scale, softcap, slopes, diagonal, left, right, 0.0, 0, 0
        )
        for x, at, part in zip((dq, dk, dv), (rows, keys, keys), parts, strict=True):
            x[at] = part[0].swapaxes(0, 1)
    return dq, dk, dv
