"""Attention over blocks of queries: BLAS multiplies, NumPy takes the softmax in between."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tilework.dtypes import bfloat16
from tilework.engines.numba.compiled import jit, quiet
from tilework.engines.numba.layout import Array, widened
from tilework.engines.numba.random import key, philox
from tilework.engines.score_rule import ScoreRule

_QUERIES = 64


class _Block(NamedTuple):
    """Queries [begin, end) of one head."""

    b: int
    h: int
    begin: int
    end: int


def _blocks(q: Array) -> Iterator[_Block]:
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for begin in range(0, q.shape[2], _QUERIES):
                yield _Block(b, h, begin, min(begin + _QUERIES, q.shape[2]))


@jit
def _fill_kept(
    out: Any, first: Any, row: Any, threshold: Any, kept: Any, seed: Any, call: Any
) -> None:
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            position = np.uint64(first + i * row + j)
            words = philox(seed, position >> np.uint64(2), call)
            word = words[0]
            for w in range(1, 4):
                if position & np.uint64(3) == np.uint64(w):
                    word = words[w]
            out[i, j] = kept if word >= threshold else 0


def _kept(rule: ScoreRule, at: _Block, q: Array, keys: int, dtype: Any) -> Any:
    """What dropout multiplies the block's weights by."""
    out = np.empty((at.end - at.begin, keys), dtype)
    first = ((at.b * q.shape[1] + at.h) * q.shape[2] + at.begin) * keys
    threshold = np.uint64(min(round(rule.p * 2**32), 2**32 - 1))
    scale = 1 / (1 - rule.p) if rule.p < 1 else 0.0
    _fill_kept(out, first, keys, threshold, dtype.type(scale), key(rule.seed), key(rule.call))
    return out


def _scores(rule: ScoreRule, at: _Block, products: Array) -> tuple[Array, Array | None]:
    """What the exponential takes, -Inf where it is hidden; and what was capped, over the cap."""
    s = products * products.dtype.type(rule.scale)
    capped = None
    if rule.softcap:
        capped = np.tanh(s / s.dtype.type(rule.softcap))
        s = capped * s.dtype.type(rule.softcap)
    away = np.arange(s.shape[1]) - np.arange(at.begin, at.end)[:, None] - rule.diagonal
    if rule.slopes is not None:
        s = s + rule.slopes[at.h] * away.astype(s.dtype)
    hidden = (away < -rule.left) | (away > rule.right)
    if rule.bias is not None:
        bias = np.broadcast_to(
            rule.bias,
            (max(rule.bias.shape[0], at.b + 1), max(rule.bias.shape[1], at.h + 1),
             max(rule.bias.shape[2], at.end), s.shape[1]),
        )[at.b, at.h, at.begin : at.end]  # fmt: skip
        hidden = hidden | (bias == -np.inf)
        s = s + bias
    return np.where(hidden, -np.inf, s).astype(s.dtype, copy=False), capped


def _seen_product(weights: Array, x: Array) -> Array:
    """weights @ x, where a weight of zero takes no part: what it meets may not be finite."""
    return np.stack([row[row != 0] @ x[row != 0] for row in weights])


def _product(rule: ScoreRule, weights: Array, x: Array) -> Array:
    y: Array = weights @ x
    if rule.hides and not np.isfinite(y).all():
        return _seen_product(weights, x)
    return y


def _wide(*arrays: Array) -> Iterator[Array]:
    return map(widened, arrays)


def _empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """(B, H, L, E) that lies in memory as (B, L, H, E)."""
    b, h, rows, width = shape
    return np.zeros((b, rows, h, width), dtype).swapaxes(1, 2)


@quiet
def attention_forward(
    q: Array, k: Array, v: Array, bias: Any, scale: float, softcap: float, slopes: Any,
    diagonal: int, left: int, right: int, p: float, seed: int, call: int,
) -> tuple[Array, Array]:  # fmt: skip
    rule = ScoreRule(bias, scale, softcap, slopes, diagonal, left, right, p, seed, call)
    out = _empty((*q.shape[:3], v.shape[3]), q.dtype)
    q, k, v = _wide(q, k, v)
    log_sums = np.empty(q.shape[:3], q.dtype)
    group = q.shape[1] // max(k.shape[1], 1)
    for at in _blocks(q):
        b, h, rows = at.b, at.h, slice(at.begin, at.end)
        s, _ = _scores(rule, at, q[b, h, rows] @ k[b, h // group].T)
        top = s.max(1, initial=np.finfo(s.dtype).min, keepdims=True)
        weights = np.exp(s - top)
        total = weights.sum(1, keepdims=True)
        log_sums[b, h, rows] = (top + np.log(total))[:, 0]
        if p:
            kept = _kept(rule, at, q, k.shape[2], s.dtype)
            weights = np.where(kept == 0, kept, weights * kept)
        y = _product(rule, weights, v[b, h // group])
        out[b, h, rows] = y / np.where(total == 0, 1, total)
    return out, log_sums


@quiet
def attention_backward(
    grad: Array, q: Array, k: Array, v: Array, out: Array, log_sums: Array, bias: Any,
    scale: float, softcap: float, slopes: Any, diagonal: int, left: int, right: int, p: float,
    seed: int, call: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    rule = ScoreRule(bias, scale, softcap, slopes, diagonal, left, right, p, seed, call)
    dtype = q.dtype
    grad, q, k, v, out = _wide(grad, q, k, v, out)
    dq, dk, dv = (_empty(x.shape, q.dtype) for x in (q, k, v))
    group = q.shape[1] // max(k.shape[1], 1)
    for at in _blocks(q):
        b, h, g, rows = at.b, at.h, at.h // group, slice(at.begin, at.end)
        s, capped = _scores(rule, at, q[b, h, rows] @ k[b, g].T)
        log_sum = log_sums[b, h, rows][:, None]
        weights = np.where(log_sum == -np.inf, s.dtype.type(0), np.exp(s - log_sum))
        chain = weights * s.dtype.type(rule.scale)
        if capped is not None:
            chain = chain * (1 - capped * capped)
        dw = grad[b, h, rows] @ v[b, g].T
        none = weights == 0
        if p:
            kept = _kept(rule, at, q, k.shape[2], s.dtype)
            weights = np.where(kept == 0, kept, weights * kept)
            dw = np.where(kept == 0, kept, dw * kept)
        dot = (grad[b, h, rows] * out[b, h, rows]).sum(1, keepdims=True)
        ds = np.where(none, s.dtype.type(0), chain * (dw - dot))
        dq[b, h, rows] = _product(rule, ds, k[b, g])
        dk[b, g] += _product(rule, ds.T, q[b, h, rows])
        dv[b, g] += _product(rule, weights.T, grad[b, h, rows])
    return dq.astype(dtype, copy=False), dk.astype(dtype, copy=False), dv.astype(dtype, copy=False)


def _sequences(
    q: Array, k: Array, v: Array, cu_q: Array, cu_k: Any, used_k: Any, table: Any
) -> Iterator[tuple[slice, slice, Array, Array, Array]]:
    """Of each sequence its queries and keys, as slices and as (1, heads, rows, width)."""
    for i, (a, b) in enumerate(pairwise(cu_q.tolist())):
        at = slice(0, 0) if cu_k is None else slice(cu_k[i], cu_k[i + 1])
        if table is not None:
            pages = table[i, : -(-int(used_k[i]) // max(k.shape[1], 1))]
            keys, values = (x[pages].reshape(-1, *x.shape[2:]) for x in (k, v))
        else:
            keys, values = k[at], v[at]
        if used_k is not None:
            keys, values = keys[: used_k[i]], values[: used_k[i]]
        heads = (x.swapaxes(0, 1)[None] for x in (q[a:b], keys, values))
        yield slice(a, b), at, next(heads), next(heads), next(heads)


def varlen_attention_forward(
    q: Array, k: Array, v: Array, cu_q: Array, cu_k: Any, used_k: Any, table: Any, scale: float,
    softcap: float, slopes: Any, left: int, right: int,
) -> tuple[Array, Array]:  # fmt: skip
    out = np.zeros((*q.shape[:2], v.shape[-1]), q.dtype)
    wide = np.float32 if q.dtype == bfloat16 else q.dtype
    log_sums = np.zeros(q.shape[0] * q.shape[1], wide)
    for rows, _, qi, ki, vi in _sequences(q, k, v, cu_q, cu_k, used_k, table):
        diagonal = ki.shape[2] - qi.shape[2]
        y, sums = attention_forward(
            qi, ki, vi, None, scale, softcap, slopes, diagonal, left, right, 0.0, 0, 0
        )
        out[rows] = y[0].swapaxes(0, 1)
        log_sums[rows.start * q.shape[1] : rows.stop * q.shape[1]] = sums.reshape(-1)
    return out, log_sums


def varlen_attention_backward(
    grad: Array, q: Array, k: Array, v: Array, out: Array, log_sums: Array, cu_q: Array,
    cu_k: Array, scale: float, softcap: float, slopes: Any, left: int, right: int,
) -> tuple[Array, Array, Array]:  # fmt: skip
    found = tuple(np.zeros(x.shape, x.dtype) for x in (q, k, v))
    heads = q.shape[1]
    for rows, keys, qi, ki, vi in _sequences(q, k, v, cu_q, cu_k, None, None):
        diagonal = ki.shape[2] - qi.shape[2]
        sums = log_sums[rows.start * heads : rows.stop * heads].reshape(1, heads, -1)
        y, dy = (x[rows].swapaxes(0, 1)[None] for x in (out, grad))
        parts = attention_backward(
            dy, qi, ki, vi, y, sums, None, scale, softcap, slopes, diagonal, left, right, 0.0, 0, 0
        )
        for x, at, part in zip(found, (rows, keys, keys), parts, strict=True):
            x[at] = part[0].swapaxes(0, 1)
    return found[0], found[1], found[2]
