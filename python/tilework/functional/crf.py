"""Linear-chain conditional random fields (Lafferty et al., 2001): the likelihood of a sequence of
tags, and the likeliest one (Viterbi)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import errstate, namespace
from tilework.autograd import Op, gradients_through, mode, record
from tilework.errors import error
from tilework.functional.cast import cast
from tilework.functional.common import need_below, need_float, operand
from tilework.functional.indexing import gather
from tilework.functional.masks import where
from tilework.functional.moments import logsumexp
from tilework.tensor import Tensor, fresh

Array = Any
Inputs = tuple[Any, ...]


def _finite(top: Array) -> Array:
    """What numbers are measured against: 0 where all are -Inf."""
    return namespace(top).where(top == -math.inf, 0.0, top)


def _log_sum(x: Array, axis: int) -> Array:
    """log(sum(exp(x))), -Inf where all are."""
    xp = namespace(x)
    top = _finite(x.max(axis=axis, keepdims=True))
    with errstate(divide="ignore"):
        return xp.log(xp.exp(x - top).sum(axis=axis)) + top.squeeze(axis)


class _Moves:
    """Transitions (C, C) as what sums over them take.

    A sum of exponentials is a product of matrices, of exponentials each measured against its
    largest: C exponentials a place and not C^2. Where that leaves so little that what underflowed
    could count, or nothing, the sum is taken of the scores themselves.
    """

    _LITTLE, _MUCH = 1e-250, 1e200  # far from the ends of float64

    def __init__(self, scores: Array) -> None:
        self._scores = scores
        self._top = _finite(scores.max(keepdims=True))
        self._chances = namespace(scores).exp(scores - self._top)

    def log_sums(self, x: Array, back: bool = False) -> Array:
        """log(sum over a of exp(x[n, a] + scores[a, b])), (N, C); `back` sums over b of x[n, b]."""
        xp = namespace(x)
        top = _finite(x.max(axis=1, keepdims=True))
        total = xp.exp(x - top) @ (self._chances.T if back else self._chances)
        if (total < self._LITTLE).any():
            each = x[:, None, :] + self._scores if back else x[:, :, None] + self._scores
            return _log_sum(each, 2 if back else 1)
        return xp.log(total) + top + self._top

    def shares(self, before: Array, after: Array, total: Array, weight: Array) -> Array:
        """The sum over n of weight[n] exp(before[n, a] + scores[a, b] + after[n, b] - total[n])."""
        xp = namespace(before)
        tops = [_finite(x.max(axis=1, keepdims=True)) for x in (before, after)]
        scale = xp.exp(tops[0] + tops[1] + self._top - total)
        if (scale < self._MUCH).all():
            left = xp.exp(before - tops[0]) * (scale * weight[:, None])
            return (left.T @ xp.exp(after - tops[1])) * self._chances
        pairs = before[:, :, None] + self._scores + (after - total)[:, None, :]
        on = weight[:, None, None]
        return xp.where(on != 0, xp.exp(pairs) * on, 0.0).sum(axis=0)


def _reached(emissions: Array, moves: _Moves, start: Array, mask: Array) -> Array:
    """The logarithm of what leads to each tag at each place, (N, L, C): past its end a sequence
    stays where it is."""
    found = namespace(emissions).empty_like(emissions)
    found[:, 0] = start + emissions[:, 0]
    for i in range(1, emissions.shape[1]):
        before = found[:, i - 1]
        step = moves.log_sums(before) + emissions[:, i]
        found[:, i] = namespace(step).where(mask[:, i, None], step, before)
    return found


def _backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """What the tags have, less what all taggings have of it, each in proportion to its chance."""
    tags, mask, reached = saved
    emissions, transitions, _, end = (t._array.astype(dtypes.float64) for t in inputs)
    xp = namespace(emissions)
    batch, length, count = emissions.shape
    rows, names = xp.arange(batch), xp.arange(count)
    g = grad.astype(dtypes.float64)
    total = _log_sum(reached[:, -1] + end, 1)[:, None]
    own = (tags[:, :, None] == names) & mask[:, :, None]
    d_emissions = own * g[:, None, None]
    moves, d_transitions = _Moves(transitions), xp.zeros(transitions.shape)
    after = xp.zeros((batch, count)) + end
    with errstate(invalid="ignore", over="ignore"):  # -inf - -inf, where no tagging is possible
        for i in range(length - 1, -1, -1):
            here = xp.exp(reached[:, i] + after - total) * g[:, None]
            d_emissions[:, i] -= xp.where(mask[:, i, None], here, 0.0)
            if i == 0:
                break
            on, later = mask[:, i] * g, emissions[:, i] + after
            d_transitions += own[:, i - 1].T @ (own[:, i] * on[:, None])
            d_transitions -= moves.shares(reached[:, i - 1], later, total, on)
            after = xp.where(mask[:, i, None], moves.log_sums(later, back=True), after)
        last = xp.exp(reached[:, -1] + end - total) * g[:, None]
    ends = own[rows, mask.sum(axis=1) - 1] * g[:, None]
    grads = (d_emissions, d_transitions, d_emissions[:, 0].sum(axis=0), (ends - last).sum(axis=0))
    return [
        d.astype(t.dtype) if t._requires_grad else None for d, t in zip(grads, inputs, strict=True)
    ]


def _composed(inputs: Inputs, tags: Array, mask: Array) -> Tensor:
    """The likelihood by ops that each can be differentiated again."""
    emissions, transitions, start, end = inputs
    xp = namespace(tags)
    names = fresh(tags)
    own = gather(emissions, 2, names.unsqueeze(2)).squeeze(2)
    score = start[names[:, 0]] + own[:, 0]
    before = start + emissions[:, 0]
    for i in range(1, tags.shape[1]):
        on = fresh(mask[:, i].copy())
        told = transitions[names[:, i - 1], names[:, i]] + own[:, i]
        score = where(on, score + told, score)
        step = logsumexp(before.unsqueeze(2) + transitions, 1) + emissions[:, i]
        before = where(on.unsqueeze(1), step, before)
    last = fresh(tags[xp.arange(len(tags)), mask.sum(axis=1) - 1])
    result: Tensor = score + end[last] - logsumexp(before + end, 1)
    return result


def _recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    tags, mask, _ = saved
    return gradients_through(lambda *scores: _composed(scores, tags, mask), inputs, grad)


_CRF = Op("crf_log_likelihood", _backward, _recorded, rereads=True)


def _checked(
    op: str, emissions: Any, transitions: Any, start: Any, end: Any, mask: Tensor | None
) -> tuple[list[Tensor], Array]:
    """The float operands, in the dtype of emissions, and the mask as an array of bools."""
    x = operand(emissions, op, "emissions")
    need_float(op, x, "emissions")
    if x.ndim != 3 or not x.shape[1] or not x.shape[2]:
        raise error(
            ValueError, op, "emissions (N, L, C), L and C from 1", x.shape, "put the tags last"
        )
    batch, length, count = x.shape
    tensors = [x]
    for name, given, shape in (
        ("transitions", transitions, (count, count)), ("start", start, (count,)),
        ("end", end, (count,)),
    ):  # fmt: skip
        t = operand(given, op, name)
        need_float(op, t, name)
        if t.shape != shape:
            raise error(
                ValueError, op, f"{name} {shape}, beside emissions of {count} tags", t.shape,
                "make it of as many tags",
            )  # fmt: skip
        tensors.append(t)
    xp = namespace(x._array)
    if mask is None:
        return tensors, xp.ones((batch, length), dtype=bool)
    on = operand(mask, op, "mask")
    if on.shape != (batch, length):
        raise error(ValueError, op, f"mask {(batch, length)}", on.shape, "give one flag a place")
    found = on._array != 0
    if not found[:, 0].all() or (found[:, 1:] & ~found[:, :-1]).any():
        raise error(
            ValueError, op, "a mask that is on from the first place to a sequence's end",
            "one that is off before it is on", "pad at the end; leave empty sequences out",
        )  # fmt: skip
    return tensors, found


def _tags(tags: Any, mask: Array, count: int) -> Array:
    """The tags as int64, 0 where the mask is off."""
    op = "crf_log_likelihood"
    t = operand(tags, op, "tags")
    if t.dtype.kind not in "iu":
        raise error(TypeError, op, "tags of integers", t.dtype, "convert with tags.long()")
    if t.shape != mask.shape:
        raise error(ValueError, op, f"tags {mask.shape}", t.shape, "give one tag a place")
    found = namespace(mask).where(mask, t._array.astype(dtypes.int64), 0)
    need_below(
        op, "tags", found, count, "number them from 0; where the mask is off they may be anything"
    )
    return found


def crf_log_likelihood(
    emissions: Tensor,
    tags: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """log p(tags) of each sequence (N,), among all taggings: each has a score, the sum of its
    emissions (N, L, C), of transitions (C, C) from each tag to the next, and of start (C,) and end
    (C,) for its first and last tag.

    tags (N, L) of integers; mask (N, L) is on from each sequence's first place to its last. Sums
    are of float64. ValueError on shapes, a mask with gaps or an empty sequence, or a tag out of
    range, TypeError on dtypes.

    >>> x, ends = tw.zeros(1, 3, 2), tw.zeros(2)
    >>> F.crf_log_likelihood(x, tw.tensor([[0, 1, 1]]), tw.zeros(2, 2), ends, ends)
    tensor([-2.0794])
    """
    op = "crf_log_likelihood"
    inputs, on = _checked(op, emissions, transitions, start, end, mask)
    names = _tags(tags, on, inputs[0].shape[2])
    dtype = inputs[0].dtype
    compute = dtypes.float32 if dtype is dtypes.bfloat16 else dtype
    inputs = [cast(t, compute) for t in inputs]
    wide = [t._array.astype(dtypes.float64) for t in inputs]
    reached = _reached(wide[0], _Moves(wide[1]), wide[2], on)
    y = fresh((_score(wide, names, on) - _log_sum(reached[:, -1] + wide[3], 1)).astype(compute))
    if mode.enabled and any(t._requires_grad for t in inputs):
        reads = tuple(t._storage for t in inputs)
        record(y, _CRF, tuple(inputs), (names, on, reached), reads)
    return cast(y, dtype)


def _score(wide: list[Array], tags: Array, mask: Array) -> Array:
    """What the tags score (N,)."""
    emissions, transitions, start, end = wide
    xp = namespace(emissions)
    rows = xp.arange(len(tags))
    own = emissions[rows[:, None], xp.arange(tags.shape[1]), tags]
    told = xp.where(mask, own, 0.0).sum(axis=1)
    steps = xp.where(mask[:, 1:], transitions[tags[:, :-1], tags[:, 1:]], 0.0).sum(axis=1)
    return told + steps + start[tags[:, 0]] + end[tags[rows, mask.sum(axis=1) - 1]]


def crf_decode(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor,
    end: Tensor,
    mask: Tensor | None = None,
) -> list[list[int]]:
    """The likeliest tags of each sequence, by Viterbi's algorithm; of equals the lowest.

    Arguments and errors as crf_log_likelihood's. Each list is as long as its sequence.

    >>> stay = tw.tensor([[0.0, -5.0], [-5.0, 0.0]])
    >>> x = tw.tensor([[[2.0, 0.0], [0.0, 1.0], [2.0, 0.0]]])
    >>> F.crf_decode(x, stay, tw.zeros(2), tw.zeros(2))
    [[0, 0, 0]]
    """
    inputs, on = _checked("crf_decode", emissions, transitions, start, end, mask)
    x, moves, first, last = (t._array.astype(dtypes.float64) for t in inputs)
    xp = namespace(x)
    batch, length, count = x.shape
    rows, stay = xp.arange(batch), xp.arange(count)
    best, before = first + x[:, 0], []
    for i in range(1, length):
        scores = best[:, :, None] + moves
        before.append(xp.where(on[:, i, None], scores.argmax(axis=1), stay))
        best = xp.where(on[:, i, None], scores.max(axis=1) + x[:, i], best)
    at = (best + last).argmax(axis=1)
    path = [at]
    for back in reversed(before):
        at = back[rows, at]
        path.append(at)
    found = xp.concatenate([tags[:, None] for tags in path[::-1]], axis=1).tolist()
    return [tags[:end] for tags, end in zip(found, on.sum(axis=1).tolist(), strict=True)]
