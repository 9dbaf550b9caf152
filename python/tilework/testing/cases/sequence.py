"""Cases of sequence learning: CTC and its decoding, conditional random fields, ConvLSTM."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing import reference
from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.cases.layers import layer_row
from tilework.testing.convolution import conv
from tilework.testing.inputs import LAYOUTS, Inputs, laid_out, normal
from tilework.testing.rows import Row, fixed, floats, given, integers, rows
from tilework.testing.tolerance import Tolerance, eps, growth

FAMILY = "sequence"
REDUCTIONS = ("mean", "sum", "none")


def log_sum(x: Array, axis: int) -> Array:
    """log(sum(exp(x)))."""
    top = np.maximum(x.max(axis=axis, keepdims=True, initial=-np.inf), -1e300)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(x - top).sum(axis=axis)) + np.squeeze(top, axis))


# --- CTC ---


def ctc_of(x: Array, labels: Array, blank: int) -> float:
    """-log p(labels) of log probabilities x (T, C), by the states of an alignment."""
    states = np.full(2 * len(labels) + 1, blank)
    states[1::2] = labels
    if not len(x):
        return np.inf if len(labels) else 0.0
    skips = np.zeros(len(states), bool)
    skips[3::2] = labels[1:] != labels[:-1]
    reached = np.full(len(states), -np.inf)
    reached[:2] = x[0, states[:2]]
    for step in x[1:]:
        one = np.append(-np.inf, reached[:-1])
        two = np.where(skips, np.append([-np.inf] * 2, reached)[: len(reached)], -np.inf)
        reached = log_sum(np.stack([reached, one, two]), 0) + step[states]
    return -float(log_sum(reached[-2:], 0))


def _ctc(
    label: str,
    inputs: Inputs,
    reduction: str = "mean",
    blank: int = 0,
    zero_infinity: bool = False,
    normalised: bool = True,
    **fields: Any,
) -> Case:
    """Inputs are (logits, targets, input_lengths, target_lengths); the loss is of their
    log_softmax, or of them as they are."""

    def losses(x: Array, targets: Array, ins: Any, outs: Any) -> Array:
        x = reference.log_softmax(x, -1) if normalised else x
        x = x[:, None] if x.ndim == 2 else x
        ins, outs = np.atleast_1d(ins), np.atleast_1d(outs)
        starts = np.cumsum(outs) - outs
        found = []
        for n, (steps, count) in enumerate(zip(ins, outs, strict=True)):
            at = targets[n] if targets.ndim == 2 else targets[starts[n] :]
            found.append(ctc_of(x[:steps, n], at[:count], blank))
        each = np.array(found)
        return np.where(np.isposinf(each), 0.0, each) if zero_infinity else each

    def expected(x: Array, targets: Array, ins: Any, outs: Any) -> Array:
        each = losses(x, targets, ins, outs)
        if reduction == "none":
            return each if x.ndim == 3 else each[0]
        return np.asarray(each.sum() if reduction == "sum" else (each / np.maximum(outs, 1)).mean())

    def bound(dtype: str, found: Array, x: Array, targets: Array, ins: Any, outs: Any) -> Any:
        """Each step rounds a few numbers of the size of the widest spread of a step; the total is
        rounded once."""
        spread = 4.0 + np.where(np.isfinite(x), np.abs(x), 0.0).max(initial=0.0)
        each = 4.0 * growth(len(x)) * eps(dtype) * spread * (1.0 + np.log(x.shape[-1]))
        size = np.abs(losses(x, targets, ins, outs))
        total = each + 2.0 * eps(dtype) * size[np.isfinite(size)].sum()
        return total * (np.size(ins) if reduction == "sum" else 1)

    def call(tw: Any, F: Any, x: Any, targets: Any, ins: Any, outs: Any) -> Any:
        return F.ctc_loss(
            F.log_softmax(x, -1) if normalised else x, targets, ins, outs,
            blank=blank, reduction=reduction, zero_infinity=zero_infinity,
        )  # fmt: skip

    return Case(
        family=FAMILY,
        op="ctc_loss",
        label=label,
        inputs=inputs,
        call=call,
        reference=expected,
        tolerance=bound,
        **{"differentiable": (0,) if normalised else (), **fields},
    )


def _spoken(
    steps: int,
    outs: tuple[int, ...],
    symbols: int,
    blank: int = 0,
    ins: tuple[int, ...] | None = None,
    integer: str = "int64",
    concatenated: bool = False,
) -> Inputs:
    """Logits, labels that are no blank, and the lengths."""

    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        x = 2 * normal(rng, t, steps, len(outs), symbols)
        labels = rng.integers(symbols - 1, size=(len(outs), max(outs, default=0)))
        labels += labels >= blank
        if concatenated:
            labels = np.concatenate([row[:n] for row, n in zip(labels, outs, strict=True)])
        lengths = (ins or (steps,) * len(outs), outs)
        return (x, labels.astype(integer), *(np.array(n, integer) for n in lengths))

    return inputs


def _ctc_cases() -> Iterator[Case]:
    for reduction, concatenated, integer in itertools.product(
        REDUCTIONS, (False, True), ("int64", "int32")
    ):
        words = f"{reduction}, {'concatenated' if concatenated else 'padded'}, {integer}"
        made = _spoken(9, (2, 0, 3, 4), 5, 0, (9, 4, 7, 8), integer, concatenated)
        yield _ctc(words, made, reduction)
    for labels in (*range(1, 20), 31, 32, 33, 47, 64, 65):  # every tail of a vector
        yield _ctc(f"{labels} labels", _spoken(2 * labels + 3, (labels, labels // 2), 6))
    for symbols in (2, 3, 8, 15, 16, 17, 33):
        for blank in sorted({0, symbols // 2, symbols - 1}):
            made = _spoken(6, (2, 1), symbols, blank)
            yield _ctc(f"blank {blank} of {symbols}", made, "none", blank)
    yield _ctc("a step", _spoken(1, (1, 0), 4), "none")
    for zero in (False, True):
        # too short for its labels, for its repeats, of no steps, of neither
        ends = (2, 0, 0, 5)
        made = _spoken(5, (3, 1, 0, 2), 4, ins=ends)
        fields: dict[str, Any] = {} if zero else {"differentiable": ()}
        yield _ctc(f"impossible, zero_infinity={zero}", made, "none", 0, zero, **fields)

        def repeated(rng: Generator, t: str) -> tuple[Any, ...]:
            x = normal(rng, t, 4, 3, 3)
            labels = np.array([[1, 1, 1], [2, 2, 1], [1, 2, 1]])
            return x, labels, np.array([4, 4, 4]), np.array([3, 3, 3])

        yield _ctc(f"repeats, zero_infinity={zero}", repeated, "none", 0, zero, **fields)

    def alone(rng: Generator, t: str) -> tuple[Any, ...]:
        return normal(rng, t, 6, 5), np.array([1, 3]), np.array(5), np.array(2)

    for reduction in REDUCTIONS:
        yield _ctc(f"unbatched, {reduction}", alone, reduction)

    def with_blank(rng: Generator, t: str) -> tuple[Any, ...]:
        return normal(rng, t, 6, 1, 3), np.array([[1, 0]]), np.array([6]), np.array([2])

    # PyTorch's loss is the same, its gradient not: it counts such a label twice
    yield _ctc("a blank among the labels", with_blank, "none", peer=None)
    yield from _ctc_strange()


def _ctc_strange() -> Iterator[Case]:
    def lengths(t: int, n: int) -> tuple[Array, Array]:
        return np.full(n, t), np.full(n, 2)

    for layout in LAYOUTS:

        def strided(rng: Generator, t: str, layout: str = layout) -> tuple[Any, ...]:
            x = reference.log_softmax(normal(rng, t, 7, 3, 4), -1).astype(t)
            return laid_out(x, layout), rng.integers(1, 4, (3, 2)), *lengths(7, 3)

        yield _ctc(layout, strided, "none", normalised=False)

    def large(rng: Generator, t: str) -> tuple[Any, ...]:
        return 300 * normal(rng, t, 9, 2, 5), rng.integers(1, 5, (2, 2)), *lengths(9, 2)

    yield _ctc("large logits", large, "none", differentiable=())

    def narrow(rng: Generator, t: str) -> tuple[Any, ...]:
        # as many steps as labels: one path, beside which all that leads nowhere is far likelier
        x = 40 * normal(rng, t, 24, 2, 5)
        labels = np.array([[1, 2, 3, 4] * 6, [4, 3, 2, 1] * 6])
        return x, labels, np.array([24, 24]), np.array([24, 24])

    yield _ctc("one path", narrow, "none", differentiable=())
    for value in (np.nan, -np.inf):

        def planted(rng: Generator, t: str, value: float = value) -> tuple[Any, ...]:
            x = reference.log_softmax(normal(rng, t, 6, 2, 3), -1).astype(t)
            x[3, 1, 2] = value
            return x, np.array([[1, 2], [1, 2]]), *lengths(6, 2)

        yield _ctc(f"with {value}", planted, "none", normalised=False)


def _ctc_timed() -> Iterator[Case]:
    steps, batch, symbols, labels = 200, 32, 40, 30
    yield _ctc(
        "ctc_loss T=200 B=32 C=40",
        _spoken(steps, (labels,) * batch, symbols),
        dtypes=("float32",),
        quick=False,
        bench=Bench(
            "ctc_loss T=200 B=32 C=40 backward", flops=0.0,
            bytes=4.0 * steps * batch * (3 * symbols + 4 * labels), mode="backward",
        ),
    )  # fmt: skip


# --- what is read off ---


def merged(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    """The labels that a path says."""
    return tuple(s for s, _ in itertools.groupby(path) if s != blank)


def _listed(tw: Any, found: Any, width: int) -> Any:
    """Lists of labels as a tensor, -1 behind each."""
    return tw.tensor([[*labels, *[-1] * (width - len(labels))] for labels in found])


def _greedy(x: Array, lengths: Array) -> Array:
    found = []
    for n, end in enumerate(lengths):
        said = merged(tuple(x[:end, n].argmax(1)), 1)
        found.append([*said, *[-1] * (len(x) - len(said))])
    return np.array(found)


def _likeliest(x: Array, lengths: Array) -> Array:
    """The labels of the largest sum over paths, by listing them all."""
    found = []
    for n, end in enumerate(lengths):
        chance: dict[tuple[int, ...], float] = {}
        for path in itertools.product(range(x.shape[2]), repeat=int(end)):
            said = merged(path, 0)
            mass = float(np.exp(x[np.arange(end), n, path].sum()))
            chance[said] = chance.get(said, 0.0) + mass
        said = max(chance, key=lambda labels: chance[labels])
        found.append([*said, *[-1] * (len(x) - len(said))])
    return np.array(found)


def _decoding() -> Iterator[Row]:
    yield (
        "ctc_greedy_decode",
        given(floats(9, 3, 4), fixed(np.array([9, 5, 0]))),
        lambda tw, F, x, n: _listed(tw, F.ctc_greedy_decode(x, n, blank=1), 9),
        _greedy,
        {"peer": None},
    )
    yield (
        "ctc_beam_search_decode",
        given(
            lambda rng, t: reference.log_softmax(normal(rng, t, 5, 3, 3), -1).astype(t),
            fixed(np.array([5, 4, 1])),
        ),
        lambda tw, F, x, n: _listed(
            tw, [best[0][0] for best in F.ctc_beam_search_decode(x, n, 64)], 5
        ),
        _likeliest,
        {"peer": None},
    )


# --- conditional random fields ---


def _scores(x: Array, moves: Array, first: Array, last: Array) -> Iterator[tuple[Any, float]]:
    """Every tagging of one sequence (L, C), and its score."""
    for path in itertools.product(range(x.shape[1]), repeat=len(x)):
        score = first[path[0]] + last[path[-1]] + sum(x[i, s] for i, s in enumerate(path))
        yield path, score + sum(moves[a, b] for a, b in itertools.pairwise(path))


def _ends(mask: Array | None, x: Array) -> Any:
    return [x.shape[1]] * len(x) if mask is None else mask.sum(1)


def _likelihood(
    x: Array, tags: Array, moves: Array, first: Array, last: Array, mask: Array | None = None
) -> Array:
    found = []
    for n, end in enumerate(_ends(mask, x)):
        scores = dict(_scores(x[n, :end], moves, first, last))
        own = scores[tuple(int(tag) for tag in tags[n, :end])]
        found.append(own - log_sum(np.array(list(scores.values())), 0))
    return np.array(found)


def _viterbi(x: Array, moves: Array, first: Array, last: Array, mask: Array | None = None) -> Array:
    found = []
    for n, end in enumerate(_ends(mask, x)):
        best = max(_scores(x[n, :end], moves, first, last), key=lambda pair: pair[1])[0]
        found.append([*best, *[-1] * (x.shape[1] - len(best))])
    return np.array(found)


def _tagged(length: int, count: int, batch: int = 3) -> tuple[Any, ...]:
    return (floats(batch, length, count), integers(0, count, batch, length),
            floats(count, count), floats(count), floats(count))  # fmt: skip


def _near(dtype: str, expected: Array, x: Array, *_: Any) -> Any:
    """Computed in float64, and rounded once; the reference's own error beside float64's."""
    size = x.shape[1] * (1.0 + np.abs(x).max())
    return eps(dtype) * np.abs(expected) + 16.0 * growth(x.shape[1]) * eps("float64") * size


MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]], bool)


def _fields() -> Iterator[Row]:
    wanted = {"tolerance": _near, "differentiable": (0, 2, 3, 4), "peer": None}
    for length, count in ((1, 1), (1, 3), (2, 2), (4, 3), (5, 2)):
        yield (
            f"crf_log_likelihood of {length} places, {count} tags",
            given(*_tagged(length, count)),
            lambda tw, F, *args: F.crf_log_likelihood(*args),
            _likelihood,
            wanted,
        )
    yield (
        "crf_log_likelihood under a mask",
        given(*_tagged(4, 3), fixed(MASK)),
        lambda tw, F, *args: F.crf_log_likelihood(*args),
        _likelihood,
        wanted,
    )
    tagged = _tagged(4, 3)
    for label, mask in (("", ()), (" under a mask", (fixed(MASK),))):
        yield (
            f"crf_decode{label}",
            given(tagged[0], *tagged[2:], *mask),
            lambda tw, F, x, *args: _listed(tw, F.crf_decode(x, *args), 4),
            _viterbi,
            {"peer": None},
        )


# --- layers ---


def _convlstm(x: Array, weights: tuple[Array, ...]) -> tuple[Array, Array, Array]:
    """(T, N, C, H, W) through layers of three weights each; the states at all steps, and the last
    of all layers."""
    hs, cs = [], []
    for at in range(0, len(weights), 3):
        of_input, bias, of_hidden = weights[at : at + 3]
        h = c = np.zeros((x.shape[1], len(bias) // 4, *x.shape[3:]))
        steps = []
        for step in x:
            gates = conv(step, of_input, bias, padding=1) + conv(h, of_hidden, padding=1)
            i, f, g, o = np.split(gates, 4, 1)
            c = reference.sigmoid(f) * c + reference.sigmoid(i) * np.tanh(g)
            h = reference.sigmoid(o) * np.tanh(c)
            steps.append(h)
        x = np.stack(steps)
        hs.append(h)
        cs.append(c)
    return x, np.stack(hs), np.stack(cs)


def _steps(terms: int) -> Tolerance:
    """Sums of `terms` products of order one, through sigmoid and tanh, a few times."""
    return lambda t, expected, *_: 32.0 * growth(terms) * eps(t) * (1.0 + np.abs(expected))


def small(rng: Generator, dtype: str, *shape: int) -> Array:
    return (0.3 * rng.standard_normal(shape)).astype(dtype)


def _layer(name: str, at: int, **settings: Any) -> Callable[[Any], Any]:
    """The layer, of whose results one is taken."""

    def make(nn: Any) -> Any:
        layer = getattr(nn, name)(3, 2, 3, **settings)
        plain = layer.forward
        layer.forward = lambda *inputs: plain(*inputs)[at]
        return layer

    return make


def _layers() -> Iterator[Row]:
    shapes = ((8, 3, 3, 3), (8,), (8, 2, 3, 3))
    fields = {"tolerance": _steps(45), "values": small, "peer": None, "cancels": True}
    for at in (0, 1):
        yield layer_row(
            f"ConvLSTMCell {'hc'[at]}", _layer("ConvLSTMCell", at), (2, 3, 5, 4),
            lambda x, *w, at=at: _convlstm(x[None], w)[at + 1][0], shapes, **fields,
        )  # fmt: skip
    above = ((8, 2, 3, 3), (8,), (8, 2, 3, 3))
    yield layer_row(
        "ConvLSTM", _layer("ConvLSTM", 0, num_layers=2), (3, 2, 3, 5, 4),
        lambda x, *w: _convlstm(x, w)[0], (*shapes, *above), **fields,
    )  # fmt: skip
    yield layer_row(
        "ConvLSTM batch_first", _layer("ConvLSTM", 0, batch_first=True), (2, 3, 3, 5, 4),
        lambda x, *w: _convlstm(x.swapaxes(0, 1), w)[0].swapaxes(0, 1), shapes, **fields,
    )  # fmt: skip

    def crf(nn: Any) -> Any:
        layer = nn.CRF(3, batch_first=True)
        plain = layer.forward
        layer.forward = lambda x, tags, mask: plain(x, tags, mask, "none")
        return layer

    x, tags = _tagged(4, 3)[:2]
    yield layer_row(
        "CRF", crf, (x, tags, fixed(MASK)),
        lambda x, tags, mask, first, last, moves: _likelihood(x, tags, moves, first, last, mask),
        ((3,), (3,), (3, 3)), tolerance=_near, peer=None,
    )  # fmt: skip
    lengths = (fixed(np.array([5, 4])), fixed(np.array([2, 1])))
    yield layer_row(
        "CTCLoss", lambda nn: nn.CTCLoss(1, "sum", True),
        (floats(5, 2, 3), fixed(np.array([[2, 0], [2, 2]])), *lengths),
        lambda x, labels, ins, outs: np.asarray(
            sum(ctc_of(x[: ins[n], n], labels[n, : outs[n]], 1) for n in range(2))
        ),
        tolerance=lambda t, e, *_: 64 * eps(t) * (8 + np.abs(e)), differentiable=(),
    )  # fmt: skip


CASES: tuple[Case, ...] = (
    *_ctc_cases(),
    *_ctc_timed(),
    *(case for table in (_decoding, _fields, _layers) for case in rows(FAMILY, table())),
)
