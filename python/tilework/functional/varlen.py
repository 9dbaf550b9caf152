"""Attention of sequences of their own lengths, one behind the other: no padding is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from tilework import dtypes
from tilework.arrays import namespace
from tilework.autograd import Op, gradients_through, mode, recorded
from tilework.engines import ops
from tilework.engines.score_rule import ScoreRule
from tilework.errors import error
from tilework.functional.attention import check_dtypes, composed, sides, slopes_of
from tilework.functional.cast import on_device
from tilework.functional.common import need_float, number, operand, whole
from tilework.functional.creation import zeros
from tilework.functional.join import cat
from tilework.tensor import Tensor, new_storage

_OP = "varlen_attn"


def _backward(grad: Any, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    q, k, v = (t._array for t in inputs)
    out, log_sums, begins, rule = saved
    return ops.varlen_attention_backward(grad, q, k, v, out, log_sums, *begins, *rule)


def _recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    begins, rule = saved[2:]
    if len(begins[0]) == 1:  # of no sequences
        return [zeros(t.shape, dtype=t.dtype) if t._requires_grad else None for t in inputs]
    return gradients_through(lambda q, k, v: _composed(q, k, v, begins, rule), inputs, grad)


_VARLEN = Op(_OP, _backward, _recorded, rereads=True)


def _spans(begins: Any) -> Iterator[slice]:
    return (slice(a, b) for a, b in pairwise(begins.tolist()))


def _composed(q: Tensor, k: Tensor, v: Tensor, begins: Any, rule: tuple[Any, ...]) -> Tensor:
    """The same by ops that each can be differentiated again, sequence by sequence."""
    scale, softcap, slopes, left, right = rule
    parts = []
    for rows, keys in zip(*map(_spans, begins), strict=True):
        qi, ki, vi = (
            t[at].transpose(0, 1).unsqueeze(0) for t, at in ((q, rows), (k, keys), (v, keys))
        )
        diagonal = ki.shape[2] - qi.shape[2]
        own = ScoreRule(None, scale, softcap, slopes, diagonal, left, right, 0.0, 0, 0)
        y = composed(qi, ki, vi, own)
        parts.append(y.squeeze(0).transpose(0, 1))
    end = int(begins[0][-1])
    parts.append(zeros(q.shape[0] - end, q.shape[1], v.shape[2], dtype=q.dtype))
    return cat(parts)


def _whole_numbers(name: str, given: Any, shape: str, ndim: int) -> Any:
    """A copy, as int64."""
    t = operand(given, _OP, name)
    if t.ndim != ndim or t.is_floating_point() or t.dtype is dtypes.bool:
        raise error(
            ValueError, _OP, f"{name} {shape} of integers", f"{t.shape}, {t.dtype}",
            "count in tokens, with .long()",
        )  # fmt: skip
    return t._array.astype(dtypes.int64)


def _begins(name: str, given: Any, rows: int, longest: Any, limit: str) -> Any:
    """Cumulative lengths, checked."""
    begins = _whole_numbers(name, given, "(N + 1,)", 1)
    numbers = begins.tolist()
    rises = all(a <= b for a, b in pairwise(numbers))
    if not numbers or numbers[0] != 0 or not rises or numbers[-1] > rows:
        raise error(
            ValueError, _OP, f"{name} that begins with 0, never falls and ends within {rows} rows",
            numbers, "sum the lengths, with 0 before the first",
        )  # fmt: skip
    if longest is not None:
        found = max((b - a for a, b in pairwise(numbers)), default=0)
        if whole(_OP, limit, longest) < found:
            raise error(
                ValueError, _OP, f"{limit} of at least the longest sequence, {found}", longest,
                "leave it out, or raise it",
            )  # fmt: skip
    return begins


def _check_shapes(q: Tensor, k: Tensor, v: Tensor, pages: bool, enable_gqa: bool) -> None:
    need_float(_OP, q, "query")
    check_dtypes(_OP, q, k, v)
    fits = q.ndim == 3 and k.ndim == v.ndim == (4 if pages else 3)
    if fits:
        heads, shared = q.shape[1], k.shape[-2]
        grouped = heads == shared or (enable_gqa and shared and heads % shared == 0)
        fits = bool(grouped) and k.shape[:-1] == v.shape[:-1] and q.shape[2] == k.shape[-1]
    if not fits:
        rows = "pages, rows of a page" if pages else "S"
        raise error(
            ValueError, _OP, f"query (T, H, E), key ({rows}, H, E) and value ({rows}, H, V)",
            ", ".join(str(t.shape) for t in (q, k, v)),
            "enable_gqa=True lets one head of keys serve several of queries",
        )  # fmt: skip


def _used(seqused_k: Any, count: int, room: list[int]) -> Any:
    used = _whole_numbers("seqused_k", seqused_k, "(N,)", 1)
    found = used.tolist()
    if len(found) != count or any(not 0 <= n <= most for n, most in zip(found, room, strict=True)):
        raise error(
            ValueError, _OP, f"seqused_k ({count},) from 0 to the room of each sequence, {room}",
            found, "count the keys that are there",
        )  # fmt: skip
    return used


def _table(block_table: Any, seqused_k: Any, count: int, k: Tensor) -> tuple[Any, Any]:
    """The table, and the numbers of keys."""
    table = _whole_numbers("block_table", block_table, "(N, pages of a sequence)", 2)
    if seqused_k is None or len(table) != count:
        raise error(
            ValueError, _OP, f"block_table of {count} rows, and seqused_k beside it",
            f"{table.shape} and {'no' if seqused_k is None else 'a'} seqused_k",
            "a row of pages and a number of keys for each sequence",
        )  # fmt: skip
    used = _used(seqused_k, count, [table.shape[1] * k.shape[1]] * count)
    xp = namespace(table)
    read = xp.arange(table.shape[1])[None] * k.shape[1] < used[:, None]
    if (read & ((table < 0) | (table >= k.shape[0]))).any():
        raise error(
            IndexError, _OP, f"pages in [0, {k.shape[0]})", table.tolist(), "check the block_table"
        )
    return table, used


def varlen_attn(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor | None,
    max_q: int | None = None,
    max_k: int | None = None,
    *,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
    block_table: Tensor | None = None,
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
) -> Tensor:
    """Attention within each of N sequences that lie one behind the other; torch.nn.attention.varlen
    has it.

    query (T, H, E), key (S, H, E), value (S, H, V), and the result (T, H, V). Sequence i has the
    queries from cu_seq_q[i] to cu_seq_q[i + 1] and the keys from cu_seq_k[i] to cu_seq_k[i + 1]:
    cumulative lengths (N + 1,) of integers, from 0. A sequence may be empty; a query that sees no
    key gives zeros, and so do rows behind the last sequence. `max_q` and `max_k` are checked where
    they are given. The last query of a sequence stands beside its last key:
    window_size=(-1, 0) is causal, (W, 0) a causal window, -1 is no bound. The rest is as in
    scaled_dot_product_attention.

    `seqused_k` (N,) lets each sequence see its first keys alone. With `block_table` (N, M) key and
    value are pages, (P, rows of a page, H, E) and (P, rows of a page, H, V): key j of sequence i is
    row j % rows of page block_table[i, j // rows], read where it lies; cu_seq_k is None. Neither
    has gradients.

    Nothing is padded, and the bits of a sequence do not depend on the others. TypeError on integers
    and dtypes that differ; ValueError where shapes or lengths do not fit, IndexError on pages that
    are not there; RuntimeError where gradients are wanted and there are none.

    >>> x, ends = tw.ones(5, 1, 2), tw.tensor([0, 2, 5])
    >>> F.varlen_attn(x, x, x, ends, ends, window_size=(-1, 0)).shape
    (5, 1, 2)
    """
    q, k, v = (
        operand(x, _OP, name)
        for name, x in (("query", query), ("key", key), ("value", value))
    )  # fmt: skip
    tables: list[Any] = [
        on_device(t, q.device) if isinstance(t, Tensor) else t
        for t in (cu_seq_q, cu_seq_k, seqused_k, block_table)
    ]
    cu_seq_q, cu_seq_k, seqused_k, block_table = tables
    _check_shapes(q, k, v, block_table is not None, enable_gqa)
    begins_q = _begins("cu_seq_q", cu_seq_q, q.shape[0], max_q, "max_q")
    count, begins_k, table, used = len(begins_q) - 1, None, None, None
    if block_table is None:
        begins_k = _begins("cu_seq_k", cu_seq_k, k.shape[0], max_k, "max_k")
        if len(begins_k) != count + 1:
            raise error(
                ValueError, _OP, f"cu_seq_k of as many sequences as cu_seq_q, {count}",
                len(begins_k) - 1, "an empty sequence has its place in both",
            )  # fmt: skip
        if seqused_k is not None:
            used = _used(seqused_k, count, (begins_k[1:] - begins_k[:-1]).tolist())
    elif cu_seq_k is not None:
        raise error(ValueError, _OP, "cu_seq_k of None beside block_table", "both", "leave one out")
    else:
        table, used = _table(block_table, seqused_k, count, k)
    if scale is None:
        scale = 1.0 / math.sqrt(max(q.shape[2], 1))
    rule = (
        number(_OP, "scale", scale),
        number(_OP, "softcap", softcap),
        slopes_of(_OP, alibi_slopes, q.shape[1], q.dtype),
        *sides(_OP, "window_size", window_size),
    )
    array, log_sums = ops.varlen_attention_forward(
        q._array, k._array, v._array, begins_q, begins_k, used, table, *rule
    )
    own = new_storage()
    if not (mode.enabled and (q._requires_grad or k._requires_grad or v._requires_grad)):
        return Tensor(array, own)
    if used is not None:
        raise error(
            RuntimeError, _OP, "no gradients with seqused_k or block_table",
            "operands that want them", "call it under no_grad()",
        )  # fmt: skip
    saved = (array, log_sums, (begins_q, begins_k), rule)
    reads = (q._storage, k._storage, v._storage, own)
    return recorded(array, own, _VARLEN, (q, k, v), saved, reads)
