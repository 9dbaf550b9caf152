"""Cases of attention over sequences of their own lengths, against a loop over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator, Mode
from tilework.testing.cases import attention
from tilework.testing.inputs import Inputs, normal

FAMILY = "varlen"
_OP = "varlen_attn"
Lengths = Sequence[int]
Options = dict[str, Any]


def _as_dense(options: Options) -> Options:
    """What scaled_dot_product_attention is told for the same."""
    dense = {k: v for k, v in options.items() if k in ("scale", "softcap")}
    return {
        **dense,
        "window": options.get("window_size", (-1, -1)),
        "causal_alignment": "bottom_right",
    }


def _heads(x: Array) -> Array:
    """(rows, H, E) as (1, H, rows, E)."""
    return x.swapaxes(0, 1)[None]


def _sequences(ends_q: Array, ends_k: Array) -> Iterator[tuple[slice, slice]]:
    for (a, b), (c, d) in zip(pairwise(ends_q), pairwise(ends_k), strict=True):
        yield slice(int(a), int(b)), slice(int(c), int(d))


def _reference(options: Options, slopes: Array | None) -> Any:
    dense = attention.reference(_as_dense(options), slopes is not None)

    def expected(q: Array, k: Array, v: Array, ends_q: Array, ends_k: Array) -> Array:
        y = np.zeros((*q.shape[:2], v.shape[2]))
        for rows, keys in _sequences(ends_q, ends_k):
            shift = (keys.stop - keys.start) - (rows.stop - rows.start)
            own = dense(_heads(q[rows]), _heads(k[keys]), _heads(v[keys]), slopes, shift)
            y[rows] = own[0].swapaxes(0, 1)
        return y

    return expected


def _paged_reference(options: Options) -> Any:
    dense = attention.reference(_as_dense(options))

    def expected(q: Array, k: Array, v: Array, ends_q: Array, table: Array, used: Array) -> Array:
        y = np.zeros((*q.shape[:2], v.shape[3]))
        for i, (a, b) in enumerate(pairwise(ends_q)):
            keys, values = (
                x[table[i]].reshape(-1, *x.shape[2:])[: used[i]] for x in (k, v)
            )  # fmt: skip
            y[a:b] = dense(_heads(q[a:b]), _heads(keys), _heads(values))[0].swapaxes(0, 1)
        return y

    return expected


def _bound(options: Options, slopes: Array | None) -> Any:
    dense = attention.bound(_as_dense(options))

    def bound(dtype: str, expected: Array, q: Array, k: Array, v: Array, *rest: Any) -> Any:
        k, v = (x.reshape(-1, *x.shape[-2:]) for x in (k, v))
        parts = (_heads(q), _heads(k), _heads(v))
        return dense(dtype, expected, *parts, slopes)

    return bound


def _peer(options: Options) -> Any:
    """PyTorch's for each sequence; its own varlen_attn is CUDA's."""

    def call(torch: Any, F: Any, q: Any, k: Any, v: Any, ends_q: Any, ends_k: Any) -> Any:
        left, right = options.get("window_size", (-1, -1))
        parts = []
        for rows, keys in _sequences(ends_q.tolist(), ends_k.tolist()):
            own = (x.transpose(0, 1).unsqueeze(0) for x in (q[rows], k[keys], v[keys]))
            n, m = rows.stop - rows.start, keys.stop - keys.start
            away = torch.arange(m) - torch.arange(n).unsqueeze(1) - (m - n)
            seen = torch.ones(n, m, dtype=torch.bool)
            seen = seen if left < 0 else seen & (away >= -left)
            seen = seen if right < 0 else seen & (away <= right)
            gqa = options.get("enable_gqa", False)
            y = F.scaled_dot_product_attention(
                *own, seen, scale=options.get("scale"), enable_gqa=gqa
            )
            parts.append(y.squeeze(0).transpose(0, 1))
        parts.append(q.new_zeros(q.shape[0] - int(ends_q[-1]), q.shape[1], v.shape[2]))
        unused = 0.0 * (q.sum() + k.sum() + v.sum())  # for the tape, where all are empty
        return torch.cat(parts) + unused

    return call


def _inputs(shape: tuple[int, ...], queries: Lengths, keys: Lengths, more: int = 0) -> Inputs:
    """`shape` is (H, G, E, V); `more` rows belong to no sequence."""
    heads, groups, width, value = shape

    def inputs(rng: Generator, t: str) -> tuple[Array, ...]:
        rows, cols = sum(queries) + more, sum(keys) + more
        ends = (np.array([0, *accumulate(lengths)]) for lengths in (queries, keys))
        return (
            normal(rng, t, rows, heads, width), normal(rng, t, cols, groups, width),
            normal(rng, t, cols, groups, value), *ends,
        )  # fmt: skip

    return inputs


def _case(label: str, inputs: Inputs, slopes: Array | None = None, **fields: Any) -> Case:
    options: Options = fields.pop("options", {})

    def call(tw: Any, F: Any, q: Any, k: Any, v: Any, *ends: Any) -> Any:
        more = options if slopes is None else {**options, "alibi_slopes": tw.tensor(slopes)}
        return F.varlen_attn(q, k, v, *ends, **more)

    fields.setdefault(
        "peer", None if slopes is not None or "softcap" in options else _peer(options)
    )
    fields.setdefault("differentiable", (0, 1, 2))
    fields.setdefault("reference", _reference(options, slopes))
    fields.setdefault("call", call)
    return Case(
        family=FAMILY, op=_OP, label=label, inputs=inputs, tolerance=_bound(options, slopes),
        cancels=True, dtypes=("float32", "float64", "bfloat16"), **fields,
    )  # fmt: skip


SMALL = (2, 2, 8, 5)
CAUSAL = {"window_size": (-1, 0)}


def _plain() -> Iterator[Case]:
    for label, queries, keys in (
        ("one sequence", (5,), (7,)),
        ("three", (5, 1, 9), (7, 3, 9)),
        ("long and short", (1, 130, 3), (700, 70, 1)),
        ("empty ones", (0, 4, 0, 2), (3, 0, 0, 5)),
        ("none", (), ()),
    ):
        yield _case(label, _inputs(SMALL, queries, keys))
        yield _case(f"{label}, causal", _inputs(SMALL, queries, keys), options=CAUSAL)
    yield _case("rows behind the last", _inputs(SMALL, (5, 2), (3, 4), more=3))
    yield _case("no rows of none", _inputs(SMALL, (), (), more=2))
    yield _case(
        "grouped heads", _inputs((6, 2, 8, 4), (5, 2), (3, 9)), options={"enable_gqa": True}
    )
    yield _case("a window", _inputs(SMALL, (70, 3), (90, 600)), options={"window_size": (5, 0)})
    yield _case("a scale", _inputs(SMALL, (5, 2), (3, 4)), options={"scale": -0.3})
    yield _case("soft-cap", _inputs(SMALL, (5, 2), (3, 4)), options={"softcap": 1.5})
    yield _case("ALiBi", _inputs(SMALL, (5, 2), (8, 4)), np.array([0.5, 0.25]))


def _in_pages() -> Iterator[Case]:
    def case(label: str, rows: int, queries: Lengths, used: Lengths, **options: Any) -> Case:
        pages = [-(-n // rows) for n in used]

        def inputs(rng: Generator, t: str) -> tuple[Array, ...]:
            table = np.full((len(used), max(pages) + 1), -1)  # behind the last: any number
            order = rng.permutation(sum(pages))
            for i, (end, count) in enumerate(zip(accumulate(pages), pages, strict=True)):
                table[i, :count] = order[end - count : end]
            pool = (sum(pages), rows)
            return (
                normal(rng, t, sum(queries), 4, 8), normal(rng, t, *pool, 2, 8),
                normal(rng, t, *pool, 2, 5), np.array([0, *accumulate(queries)]), table,
                np.array(used),
            )  # fmt: skip

        def call(tw: Any, F: Any, q: Any, k: Any, v: Any, ends: Any, table: Any, used: Any) -> Any:
            return F.varlen_attn(
                q, k, v, ends, None, enable_gqa=True, seqused_k=used, block_table=table, **options
            )

        return _case(
            f"pages of {rows}, {label}", inputs, options={"enable_gqa": True, **options},
            call=call, reference=_paged_reference(options), differentiable=(), peer=None,
        )  # fmt: skip

    for rows in (1, 3, 16):
        yield case("decoding", rows, (1, 1, 2), (600, 5, 17))
    yield case("causal", 16, (3, 20, 4), (600, 50, 4), **CAUSAL)
    yield case("a window", 16, (1, 2), (600, 50), window_size=(20, 0))
    yield case("an empty one", 4, (1, 1), (0, 9))


def _timed() -> Iterator[Case]:
    lengths = (512, 64, 300, 128, 20)
    pairs = sum(n * n for n in lengths) * 12
    moved = 4.0 * 4 * sum(lengths) * 12 * 64
    modes: tuple[tuple[Mode, float, float], ...] = (("forward", 4.0, 1.0), ("backward", 14.0, 2.5))
    for mode, work, more in modes:
        label = f"varlen_attn, 5 sequences of 20 to 512 {mode}"
        yield _case(
            label, _inputs((12, 12, 64, 64), lengths, lengths), quick=False,
            bench=Bench(label, work * pairs * 64, moved * more, mode=mode),
        )  # fmt: skip


CASES: tuple[Case, ...] = (*_plain(), *_in_pages(), *_timed())
