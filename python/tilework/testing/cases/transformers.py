"""Cases of the layers that transformers are made of, each with given weights, against NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator, Mode
from tilework.testing.cases.layers import layer_row
from tilework.testing.inputs import normal
from tilework.testing.reference import gelu
from tilework.testing.rows import Row, fixed, floats, given, integers, rows
from tilework.testing.tolerance import Tolerance, eps, growth

FAMILY = "transformers"
E, H, FEED = 8, 2, 12
BATCH, ROWS, KEYS = 3, 4, 5


def _attended(
    q: Array, k: Array, v: Array, weights: list[Array], keep: Any = True, count: int = H
) -> tuple[Array, Array]:
    """Multi-head attention of `count` heads, batch first: (result, weights a head). `weights`:
    in_proj's weight and bias, out_proj's."""
    w, b, out_w, out_b = weights
    width = q.shape[-1]

    def heads(x: Array, i: int) -> Array:
        y = x @ w[i * width : (i + 1) * width].T + b[i * width : (i + 1) * width]
        return np.asarray(y.reshape(*x.shape[:2], count, width // count).swapaxes(1, 2))

    qh, kh, vh = (heads(x, i) for i, x in enumerate((q, k, v)))
    s = np.where(keep, qh @ kh.swapaxes(-1, -2) / np.sqrt(width // count), -np.inf)
    e = np.exp(s - s.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    y = (p @ vh).swapaxes(1, 2).reshape(q.shape)
    return y @ out_w.T + out_b, p


def _norm(x: Array, w: Array, b: Array) -> Array:
    y = x - x.mean(-1, keepdims=True)
    return np.asarray(y / np.sqrt(np.square(y).mean(-1, keepdims=True) + 1e-5) * w + b)


def _feed(x: Array, weights: list[Array], activation: Any) -> Array:
    w1, b1, w2, b2 = weights
    return np.asarray(activation(x @ w1.T + b1) @ w2.T + b2)


ATTENTION = [(3 * E, E), (3 * E,), (E, E), (E,)]
FEEDING = [(FEED, E), (FEED,), (E, FEED), (E,)]
NORM = [(E,), (E,)]
ENCODER = [*ATTENTION, *FEEDING, *NORM, *NORM]
DECODER = [*ATTENTION, *ATTENTION, *FEEDING, *NORM, *NORM, *NORM]


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


def _encoded(
    x: Array, w: tuple[Array, ...], first: bool = False, keep: Any = True, act: Any = _relu
) -> Array:
    attention, feeding, n1, n2 = list(w[:4]), list(w[4:8]), w[8:10], w[10:12]
    if first:
        y = _norm(x, *n1)
        x = x + _attended(y, y, y, attention, keep)[0]
        return x + _feed(_norm(x, *n2), feeding, act)
    x = _norm(x + _attended(x, x, x, attention, keep)[0], *n1)
    return _norm(x + _feed(x, feeding, act), *n2)


def _decoded(x: Array, memory: Array, w: tuple[Array, ...], first: bool = False) -> Array:
    itself, other, feeding = list(w[:4]), list(w[4:8]), list(w[8:12])
    n1, n2, n3 = w[12:14], w[14:16], w[16:18]
    causal = np.tril(np.ones((x.shape[1],) * 2, bool))
    if first:
        y = _norm(x, *n1)
        x = x + _attended(y, y, y, itself, causal)[0]
        x = x + _attended(_norm(x, *n2), memory, memory, other)[0]
        return x + _feed(_norm(x, *n3), feeding, _relu)
    x = _norm(x + _attended(x, x, x, itself, causal)[0], *n1)
    x = _norm(x + _attended(x, memory, memory, other)[0], *n2)
    return _norm(x + _feed(x, feeding, _relu), *n3)


def _near(blocks: int) -> Tolerance:
    """`blocks` of layers, each of which adds an error of its own to numbers of order one.

    Queries and keys are of order one, three at most; a score of theirs is then 9 sqrt(E / H), and
    its rounding the weight's relative one.
    """
    score = 9.0 * np.sqrt(E / H)
    return lambda t, expected, *_: blocks * growth(E) * eps(t) * score * (1.0 + np.abs(expected))


def small(rng: Generator, dtype: str, *shape: int) -> Array:
    """Weights as layers begin with: a sum of E products with them is of order one."""
    return np.asarray(normal(rng, dtype, *shape) * E**-0.5, dtype)


X = (BATCH, ROWS, E)
HIDE = np.array([[False] * 5, [False, True, False, False, True], [True] * 4 + [False]])
MASK = np.triu(np.ones((ROWS, ROWS), np.bool_), 1)


def _attention() -> Iterator[Row]:
    how: dict[str, Any] = {"tolerance": _near(1), "differentiable": (0,), "values": small}

    def make(nn: Any) -> Any:
        return nn.MultiheadAttention(E, H, batch_first=True)

    three = (floats(*X), floats(BATCH, KEYS, E), floats(BATCH, KEYS, E))

    def called(**options: Any) -> Any:
        """A layer that returns one tensor."""

        def build(nn: Any) -> Any:
            layer = make(nn)
            plain = layer.forward
            layer.forward = lambda *inputs: plain(*inputs, **options)[0]
            return layer

        return build

    for options in ({}, {"need_weights": False}):
        yield layer_row(
            f"MultiheadAttention {options}",
            called(**options),
            three,
            lambda q, k, v, *w: _attended(q, k, v, list(w))[0],
            ATTENTION,
            **how,
        )
    for averaged in (True, False):

        def weights(q: Array, k: Array, v: Array, *w: Array, averaged: bool = averaged) -> Array:
            p = _attended(q, k, v, list(w))[1]
            return p.mean(1) if averaged else p

        def build(nn: Any, averaged: bool = averaged) -> Any:
            layer = make(nn)
            plain = layer.forward
            layer.forward = lambda *x: plain(*x, average_attn_weights=averaged)[1]
            return layer

        yield layer_row(
            f"MultiheadAttention weights, {averaged=}", build, three, weights, ATTENTION, **how
        )

    def masked(nn: Any) -> Any:
        layer = make(nn)
        plain = layer.forward
        layer.forward = lambda q, k, v, hide: plain(q, k, v, hide, need_weights=False)[0]
        return layer

    yield layer_row(
        "MultiheadAttention key_padding_mask",
        masked,
        (*three, fixed(HIDE)),
        lambda q, k, v, hide, *w: _attended(q, k, v, list(w), ~hide[:, None, None])[0],
        ATTENTION,
        **how,
    )


def _stacks() -> Iterator[Row]:
    how: dict[str, Any] = {"tolerance": _near(3), "differentiable": (0,), "values": small}
    for first in (False, True):
        yield layer_row(
            f"TransformerEncoderLayer norm_first={first}",
            lambda nn, first=first: nn.TransformerEncoderLayer(
                E, H, FEED, 0.0, batch_first=True, norm_first=first
            ),
            X,
            lambda x, *w, first=first: _encoded(x, w, first),
            ENCODER,
            **how,
        )

        def causal(nn: Any, first: bool = first) -> Any:
            layer = nn.TransformerDecoderLayer(E, H, FEED, 0.0, batch_first=True, norm_first=first)
            plain = layer.forward
            layer.forward = lambda x, memory, mask: plain(x, memory, mask)
            return layer

        yield layer_row(
            f"TransformerDecoderLayer norm_first={first}",
            causal,
            (floats(*X), floats(BATCH, KEYS, E), fixed(MASK)),
            lambda x, memory, mask, *w, first=first: _decoded(x, memory, w, first),
            DECODER,
            **how,
        )
    yield layer_row(
        "TransformerEncoderLayer gelu",
        lambda nn: nn.TransformerEncoderLayer(E, H, FEED, 0.0, "gelu", batch_first=True),
        X,
        lambda x, *w: _encoded(x, w, act=gelu),
        ENCODER,
        **how,
    )

    def encoder(nn: Any) -> Any:
        layer = nn.TransformerEncoderLayer(E, H, FEED, 0.0, batch_first=True)
        return nn.TransformerEncoder(layer, 2, nn.LayerNorm(E))

    yield layer_row(
        "TransformerEncoder of two",
        encoder,
        X,
        lambda x, *w: _norm(_encoded(_encoded(x, w[:12]), w[12:24]), *w[24:]),
        [*ENCODER, *ENCODER, *NORM],
        tolerance=_near(5),
        differentiable=(0,),
        values=small,
    )

    def decoder(nn: Any) -> Any:
        layer = nn.TransformerDecoderLayer(E, H, FEED, 0.0, batch_first=True)
        stack = nn.TransformerDecoder(layer, 1, nn.LayerNorm(E))
        plain = stack.forward
        stack.forward = lambda x, memory, mask: plain(x, memory, mask)
        return stack

    yield layer_row(
        "TransformerDecoder of one",
        decoder,
        (floats(*X), floats(BATCH, KEYS, E), fixed(MASK)),
        lambda x, memory, mask, *w: _norm(_decoded(x, memory, w[:18]), *w[18:]),
        [*DECODER, *NORM],
        tolerance=_near(5),
        differentiable=(0,),
        values=small,
    )

    def whole(nn: Any) -> Any:
        model = nn.Transformer(E, H, 1, 1, FEED, 0.0, batch_first=True)
        plain = model.forward
        model.forward = lambda src, tgt, mask: plain(src, tgt, tgt_mask=mask)
        return model

    def expected(src: Array, tgt: Array, mask: Array, *w: Array) -> Array:
        memory = _norm(_encoded(src, w[:12]), *w[12:14])
        return _norm(_decoded(tgt, memory, w[14:32]), *w[32:])

    yield layer_row(
        "Transformer of one and one",
        whole,
        (floats(BATCH, KEYS, E), floats(*X), fixed(MASK)),
        expected,
        [*ENCODER, *NORM, *DECODER, *NORM],
        tolerance=_near(7),
        differentiable=(0, 1),
        values=small,
    )


def _tables() -> Iterator[Row]:
    yield (
        "Embedding",
        given(floats(7, 3), integers(0, 7, 2, 5)),
        lambda tw, F, w, i: tw.nn.Embedding.from_pretrained(w, False, padding_idx=2)(i),
        lambda w, i: w[i],
        {"differentiable": ()},
    )
    yield (
        "EmbeddingBag",
        given(floats(7, 3), integers(0, 7, 2, 5)),
        lambda tw, F, w, i: tw.nn.EmbeddingBag.from_pretrained(w, mode="sum")(i),
        lambda w, i: w[i].sum(1),
        {"tolerance": lambda t, e, *_: 8 * eps(t) * 5 * (1 + np.abs(e))},
    )


# --- what is timed: BERT-base's width ---

WIDE, HEADS = 768, 12


def _attending(backward: bool) -> Callable[..., Callable[[], Any]]:
    """The layer with given weights, and a call: its gradients begin anew with each."""

    def setup(tw: Any, F: Any, x: Any, *weights: Any) -> Callable[[], Any]:
        layer = tw.nn.MultiheadAttention(WIDE, HEADS, batch_first=True).train(backward)
        parameters = list(layer.parameters())
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.data = weight

        def attend() -> Any:
            for parameter in parameters:
                parameter.grad = None
            return layer(x, x, x, need_weights=False)[0]

        def without_gradients() -> Any:
            with tw.no_grad():
                return attend()

        return attend if backward else without_gradients

    return setup


def _timed() -> Iterator[Case]:
    shapes = [(3 * WIDE, WIDE), (3 * WIDE,), (WIDE, WIDE), (WIDE,)]

    def values(rng: Generator, dtype: str, *shape: int) -> Array:
        return np.asarray(normal(rng, dtype, *shape) * WIDE**-0.5, dtype)

    def bound(dtype: str, expected: Array, *inputs: Any) -> Any:
        score = 36.0 * np.sqrt(WIDE / HEADS)  # of queries and keys of six deviations at most
        return growth(WIDE) * eps(dtype) * score * (1.0 + np.abs(expected))

    for batch, length, backward in itertools.product((4,), (128, 512), (False, True)):
        mode: Mode = "backward" if backward else "forward"
        label = f"MultiheadAttention {WIDE}, {batch}x{length} {mode}"
        multiply_adds = batch * length * (4.0 * WIDE**2 + 2.0 * length * WIDE)
        moved = 4.0 * (4 * WIDE**2 + 2 * batch * length * WIDE)
        yield Case(
            family=FAMILY,
            op="MultiheadAttention",
            label=label,
            inputs=given(floats(batch, length, WIDE), *(floats(*s, values=values) for s in shapes)),
            setup=_attending(backward),
            reference=lambda x, *w: _attended(x, x, x, list(w), count=HEADS)[0],
            tolerance=bound,
            differentiable=(0,) if backward else (),
            dtypes=("float32",),
            quick=False,
            bench=Bench(
                label, (6.0 if backward else 2.0) * multiply_adds, (3 if backward else 1) * moved,
                mode,
            ),
        )  # fmt: skip


CASES: tuple[Case, ...] = (
    *(case for table in (_attention, _stacks, _tables) for case in rows(FAMILY, table())),
    *_timed(),
)
