"""Cases of attention."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator, Mode
from tilework.testing.inputs import LAYOUTS, Inputs, arrays, laid_out, normal, positive
from tilework.testing.tolerance import growth, stored, tiny, working_eps

FAMILY = "attention"
_OP = "scaled_dot_product_attention"


def _split(x: Array, heads: int) -> Array:
    """The head of keys that each of `heads` queries' heads meets."""
    return np.repeat(x, heads // x.shape[1], 1) if x.ndim == 4 and x.shape[1] else x


def _scores(q: Array, k: Array, options: dict[str, Any]) -> tuple[Array, Array]:
    """The scores, and which of them count."""
    s = q @ np.swapaxes(k, -1, -2) * options.get("scale", q.shape[-1] ** -0.5)
    cap = options.get("softcap", 0.0)
    if cap:
        s = cap * np.tanh(s / cap)
    queries, keys = s.shape[-2:]
    shift = keys - queries if options.get("causal_alignment") == "bottom_right" else 0
    away = np.arange(keys) - np.arange(queries)[:, None] - shift
    left, right = (np.inf if w == -1 else w for w in options.get("window", (-1, -1)))
    right = min(right, 0) if options.get("is_causal") else right
    return s, np.broadcast_to((away >= -left) & (away <= right), s.shape)


def reference(options: dict[str, Any], slopes: bool = False) -> Any:
    """What `expected` gives of q, k, v and a mask, or slopes; these count from the diagonal."""

    def of_head(q: Array, k: Array, v: Array, mask: Any, slope: float, diagonal: int) -> Array:
        s, seen = _scores(q, k, options)
        if slope:
            away = np.arange(s.shape[-1]) - np.arange(s.shape[-2])[:, None]
            s = s + slope * (away - diagonal)
        if mask is not None:
            seen = seen & (mask if mask.dtype == bool else mask != -np.inf)
            s = s if mask.dtype == bool else s + mask
        s = np.where(seen, s, -np.inf)
        top = s.max(-1, initial=-1e300, keepdims=True)
        e = np.exp(s - top)
        total = e.sum(-1, keepdims=True)
        w = e / np.where(total == 0, 1.0, total)
        shown = np.asarray(seen.any(axis=0)).reshape(-1)  # what is hidden has no part, NaN neither
        return np.asarray(w @ np.where(shown[:, None], v, 0.0))

    def expected(q: Array, k: Array, v: Array, mask: Any = None, diagonal: int = 0) -> Array:
        heads = q.shape[1] if q.ndim == 4 else 1
        k, v = _split(k, heads), _split(v, heads)
        whole = (*q.shape[:-1], k.shape[-2])
        y = np.zeros((*q.shape[:-1], v.shape[-1]))
        for at in np.ndindex(q.shape[:-2]):  # all scores at once would be gigabytes
            hides = None if mask is None or slopes else np.broadcast_to(mask, whole)[at]
            slope = float(mask[at[1]]) if slopes else 0.0
            y[at] = of_head(q[at], k[at], v[at], hides, slope, diagonal)
        return y

    return expected


def bound(options: dict[str, Any]) -> Any:
    """A weight's relative error is its score's absolute one, which goes by what was summed there,
    and the exponential's; the weights sum to one."""

    def bound(dtype: str, expected: Array, q: Array, k: Array, v: Array, mask: Any = None) -> Any:
        def largest(x: Array) -> float:
            return float(np.abs(x[np.isfinite(x)]).max(initial=0.0))

        scale = abs(options.get("scale", q.shape[-1] ** -0.5 if q.shape[-1] else 1.0))
        terms = scale * q.shape[-1] * largest(q) * largest(k)
        added = 0.0 if mask is None or mask.dtype == bool else largest(mask) * max(q.shape[-2], 1)
        score = 2.0 * (growth(q.shape[-1]) * terms + 2.0 * added)
        unit = working_eps(dtype) + np.finfo(np.float64).eps
        error = unit * largest(v) * (score + growth(k.shape[-2]) + 12.0) + tiny(dtype)
        return stored(dtype, expected, error)

    return bound


def _case(label: str, inputs: Inputs, slopes: bool = False, **fields: Any) -> Case:
    options = fields.pop("options", {})
    last = "alibi_slopes" if slopes else "attn_mask"

    def call(tw: Any, F: Any, q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        more = {} if mask is None else {last: mask}
        return F.scaled_dot_product_attention(q, k, v, **more, **options)

    ours_alone = slopes or {"causal_alignment", "window", "softcap"} & options.keys()
    fields.setdefault("differentiable", (0, 1, 2))
    fields.setdefault("cancels", True)  # a mean of values of both signs
    fields.setdefault("dtypes", ("float32", "float64", "bfloat16"))
    if ours_alone:
        fields["peer"] = None
    return Case(
        family=FAMILY, op=_OP, label=label, inputs=inputs, call=call,
        reference=reference(options, slopes), tolerance=bound(options), **fields,
    )  # fmt: skip


def _shapes(*shape: int) -> Inputs:
    """(B, H, G, L, S, E, V)."""
    b, h, g, queries, keys, width, value = shape
    return arrays((b, h, queries, width), (b, g, keys, width), (b, g, keys, value))


def _of_one_sign(*shape: int) -> Inputs:
    """With values whose mean is of their own size."""
    plain = _shapes(*shape)

    def inputs(rng: Generator, t: str) -> tuple[Array, ...]:
        q, k, v = plain(rng, t)
        return q, k, np.asarray(positive(rng, t, *v.shape))

    return inputs


def _masked(mask: Any, *shape: int) -> Inputs:
    """And a mask: mask(rng, dtype)."""
    plain = _shapes(*shape)
    return lambda rng, t: (*plain(rng, t), mask(rng, t))


def _bools(*shape: int) -> Any:
    return lambda rng, t: rng.random(shape) < 0.6


def _floats(*shape: int) -> Any:
    return lambda rng, t: normal(rng, t, *shape)


def _some_hidden(*shape: int) -> Any:
    """Numbers and -Inf, the first row hidden whole."""

    def mask(rng: Generator, t: str) -> Array:
        x = np.where(rng.random(shape) < 0.6, rng.standard_normal(shape), -np.inf)
        x[..., 0, :] = -np.inf
        return x.astype(t)

    return mask


def _garbage(rng: Generator, t: str) -> tuple[Array, ...]:
    """NaN and Inf in the keys and values that a mask hides from all."""
    q, k, v = _shapes(2, 2, 2, 3, 6, 8, 8)(rng, t)
    k[:, :, 4], v[:, :, 4] = np.nan, np.nan
    k[:, :, 5], v[:, :, 5] = np.inf, -np.inf
    return q, k, v, np.arange(6)[None] < 4


SMALL = (2, 3, 3, 5, 7, 8, 4)
LENGTHS = ((1, 1), (2, 3), (3, 2), (17, 33), (64, 64), (65, 129), (130, 70), (9, 520), (1, 300))
WIDTHS = ((1, 1), (3, 5), (16, 16), (33, 17), (64, 64), (80, 128))


def _plain() -> Iterator[Case]:
    for queries, keys in LENGTHS:
        yield _case(f"L={queries} S={keys}", _shapes(1, 2, 2, queries, keys, 8, 8))
        for alignment in ("top_left", "bottom_right"):
            options: dict[str, Any] = {"is_causal": True}
            if alignment != "top_left":
                options["causal_alignment"] = alignment
            yield _case(
                f"causal, {alignment}, L={queries} S={keys}",
                _shapes(1, 2, 1, queries, keys, 8, 8),
                options={**options, "enable_gqa": True},
            )
    for width, value in WIDTHS:
        yield _case(f"E={width} V={value}", _shapes(1, 2, 2, 9, 11, width, value))
    for queries, keys in ((5, 7), (70, 600)):
        shape = (1, 2, 2, queries, keys, 16, 8)
        label = f"values of one sign, L={queries} S={keys}"
        yield _case(label, _of_one_sign(*shape), cancels=False)
    for label, shape in (
        ("no queries", (2, 3, 3, 0, 7, 8, 4)),
        ("no keys", (2, 3, 3, 5, 0, 8, 4)),
        ("no batch", (0, 3, 3, 5, 7, 8, 4)),
        ("no values", (2, 3, 3, 5, 7, 8, 0)),
    ):
        yield _case(label, _shapes(*shape), differentiable=())
    for layout in LAYOUTS:
        layouts = [layout] * 3
        inputs = arrays((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), layouts=layouts)
        yield _case(f"{layout} operands", inputs)
    yield _case("three axes", arrays((2, 5, 8), (2, 7, 8), (2, 7, 4)))
    yield _case("two axes", arrays((5, 8), (7, 8), (7, 4)))
    yield _case("five axes", arrays((2, 2, 3, 5, 8), (2, 2, 3, 7, 8), (2, 2, 3, 7, 4)))
    yield _case("grouped heads", _shapes(2, 6, 2, 5, 7, 8, 4), options={"enable_gqa": True})
    yield _case("a scale", _shapes(*SMALL), options={"scale": 0.3})
    yield _case("a scale below zero", _shapes(*SMALL), options={"scale": -0.3})


def _under_masks() -> Iterator[Case]:
    for shape in ((2, 3, 5, 7), (1, 3, 5, 7), (2, 1, 1, 7), (5, 7), (1, 7), (5, 1), (1, 1)):
        yield _case(f"bools {shape}", _masked(_bools(*shape), *SMALL))
        yield _case(f"floats {shape}", _masked(_floats(*shape), *SMALL), differentiable=(0, 1, 2))
    yield _case("the mask's gradient", _masked(_floats(1, 3, 5, 7), *SMALL), differentiable=(3,))
    yield _case("rows hidden whole", _masked(_some_hidden(2, 1, 5, 7), *SMALL))
    yield _case("long rows hidden", _masked(_some_hidden(70, 600), 1, 2, 2, 70, 600, 8, 8))
    for layout in ("transposed", "reversed", "sliced"):

        def strided(rng: Generator, t: str, layout: str = layout) -> Array:
            return laid_out(normal(rng, t, 5, 7), layout)

        yield _case(f"a {layout} mask", _masked(strided, *SMALL))
    # PyTorch multiplies it by a weight of zero.
    yield _case("NaN behind a mask", _garbage, differentiable=(), peer=None)


def _few_queries() -> Iterator[Case]:
    """As in decoding, over several pieces of keys."""
    for heads, groups, queries in ((2, 2, 1), (6, 2, 1), (4, 4, 3), (10, 2, 7)):
        shape = (2, heads, groups, queries, 1100, 17, 33)
        label = f"few: {queries} of {heads}/{groups} heads"
        yield _case(label, _shapes(*shape), options={"enable_gqa": True})
    yield _case("few: wide rows", _shapes(1, 3, 1, 1, 600, 40, 290), options={"enable_gqa": True})
    shape = (1, 2, 2, 3, 1100, 8, 8)
    causal = {"is_causal": True, "causal_alignment": "bottom_right"}
    yield _case("few, causal", _shapes(*shape), options=causal)
    yield _case("few, a window", _shapes(*shape), options={"window": (600, 0)})
    yield _case("few, soft-cap", _shapes(*shape), options={"softcap": 1.5})
    yield _case("few, a mask of floats", _masked(_floats(2, 3, 1100), *shape))
    yield _case("few, rows hidden", _masked(_some_hidden(2, 3, 1100), *shape))


def _by_rule() -> Iterator[Case]:
    for window in ((0, 0), (2, 1), (-1, 3), (40, -1)):
        yield _case(f"window {window}", _shapes(1, 2, 2, 70, 300, 8, 8), options={"window": window})
    both = {"window": (5, -1), "is_causal": True, "causal_alignment": "bottom_right"}
    yield _case("a causal window", _shapes(1, 2, 2, 70, 300, 8, 8), options=both)
    yield _case("soft-cap", _shapes(*SMALL), options={"softcap": 1.5})
    yield _case("soft-cap, causal", _shapes(*SMALL), options={"softcap": 1.5, "is_causal": True})
    slopes = _masked(lambda rng, t: np.array([0.5, 0.25, 0.125], t), *SMALL)
    yield _case("ALiBi", slopes, slopes=True)


def _timed() -> Iterator[Case]:
    for dtype, length, causal in itertools.product(
        ("float32", "bfloat16"), (128, 512, 2048), (False, True)
    ):
        batch, heads = 4 if length < 2048 else 1, 12  # the reference bears no more
        shape = (batch, heads, heads, length, length, 64, 64)
        pairs = batch * heads * length * length * (0.5 if causal else 1.0)
        moved = 4.0 * batch * heads * length * 64 * (4 if dtype == "float32" else 2)
        name = f"attention {'causal ' if causal else ''}{batch}x{heads}, S={length}"
        modes: tuple[tuple[Mode, float], ...] = (("forward", 4.0), ("backward", 14.0))
        for mode, work in modes:
            label = f"{name} {mode}{'' if dtype == 'float32' else ' bfloat16'}"
            yield _case(
                label,
                _shapes(*shape),
                options={"is_causal": causal},
                quick=False,
                dtypes=(dtype,),
                differentiable=(0, 1, 2) if mode == "backward" else (),
                bench=Bench(
                    label,
                    work * pairs * 64,
                    moved * (1 if mode == "forward" else 2.5),
                    mode=mode,
                    dtype=dtype,
                    quick=dtype == "float32" and length == 128,
                ),
            )
    for batch in (1, 4):
        label = f"attention, 1 query of 2048 keys, B={batch}"
        yield _case(
            label,
            _shapes(batch, 12, 12, 1, 2048, 64, 64),
            quick=False,
            dtypes=("float32",),
            differentiable=(),
            bench=Bench(label, 4.0 * batch * 12 * 2048 * 64, 8.0 * batch * 12 * 2048 * 64),
        )


CASES: tuple[Case, ...] = (*_plain(), *_under_masks(), *_few_queries(), *_by_rule(), *_timed())
