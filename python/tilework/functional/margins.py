"""Losses that ask for a margin: between scores, or between distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tilework import dtypes
from tilework.arrays import namespace
from tilework.errors import error
from tilework.functional.cast import widening
from tilework.functional.common import need_broadcast, need_float, operand
from tilework.functional.loss import check_labels, check_reduction, labels_of, reduced
from tilework.functional.lowering import in_full
from tilework.functional.unary import softplus_of
from tilework.functional.vectors import pairwise_distance
from tilework.tensor import Tensor, fresh

Distance = Callable[[Tensor, Tensor], Tensor]


def _together(op: str, *given: Any) -> list[Tensor]:
    """Tensors whose shapes broadcast; ValueError where they do not."""
    tensors = [operand(t, op, f"argument {i}") for i, t in enumerate(given)]
    need_broadcast(op, *(t.shape for t in tensors))
    return tensors


def _same_rank(op: str, tensors: list[Tensor]) -> None:
    if len({t.ndim for t in tensors}) > 1:
        raise error(
            ValueError, op, "as many axes in each", " and ".join(str(t.shape) for t in tensors),
            "unsqueeze what lacks one",
        )  # fmt: skip


@in_full
@widening
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, margin - target * (input1 - input2)): the first score is to be the greater by
    `margin` where the target is 1, the smaller where it is -1.

    Shapes of as many axes, which broadcast (else ValueError).

    >>> F.margin_ranking_loss(tw.tensor([1.0]), tw.tensor([3.0]), tw.tensor([1.0]))
    tensor(2.)
    """
    op = "margin_ranking_loss"
    check_reduction(op, reduction)
    tensors = _together(op, input1, input2, target)
    _same_rank(op, tensors)
    a, b, t = tensors
    return reduced((margin - t * (a - b)).clamp(0), reduction)


@in_full
@widening
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, *, reduction: str = "mean"
) -> Tensor:
    """A distance where the target is 1, and max(0, margin - distance) where it is -1; shapes
    broadcast.

    >>> F.hinge_embedding_loss(tw.tensor([0.3, 0.4]), tw.tensor([1, -1]), reduction="none")
    tensor([0.3, 0.6])
    """
    op = "hinge_embedding_loss"
    check_reduction(op, reduction)
    x, t = _together(op, input, target)
    apart = (margin - x).clamp(0).where(t != 1, 0.0)
    return reduced(apart + x.where(t != -1, 0.0), reduction)


@in_full
@widening
def soft_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target * input)) without overflow, of targets 1 and -1; shapes broadcast.

    >>> F.soft_margin_loss(tw.tensor([0.0]), tw.tensor([1.0]))
    tensor(0.6931)
    """
    check_reduction("soft_margin_loss", reduction)
    x, t = _together("soft_margin_loss", input, target)
    need_float("soft_margin_loss", x)
    return reduced(softplus_of(-(t * x)), reduction)


@in_full
@widening
def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """binary_cross_entropy_with_logits averaged over the last axis, the classes: (N, C) logits and
    targets of 0 and 1. `weight` (C,) scales classes.

    >>> F.multilabel_soft_margin_loss(tw.zeros(1, 2), tw.tensor([[1.0, 0.0]]))
    tensor(0.6931)
    """
    op = "multilabel_soft_margin_loss"
    check_reduction(op, reduction)
    x, t = _together(op, input, target)
    need_float(op, x)
    if not x.ndim:
        raise error(ValueError, op, "input (N, C)", "a 0-d tensor", "add a class axis")
    loss = t * softplus_of(-x) + (1 - t) * softplus_of(x)
    if weight is not None:
        loss = loss * weight
    return reduced(loss.mean(-1), reduction)


def _rows(op: str, input: Any, target: Any, wanted: Callable[[Tensor], Any]) -> Any:
    """The input as (N, C), and the target's classes."""
    x, t = operand(input, op), operand(target, op, "target")
    need_float(op, x)
    if x.ndim > 2 or t.shape != wanted(x) or x.shape[-1:] == (0,):
        raise error(
            ValueError, op, f"input (N, C) or (C,), and target {wanted(x)}",
            f"{x.shape} and {t.shape}", "reshape them",
        )  # fmt: skip
    return x.reshape(-1, x.shape[-1] if x.ndim else 1), labels_of(t, op)


@in_full
@widening
def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0,
    weight: Tensor | None = None, *, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over all classes but the target of max(0, margin - x[target] + x[class])^p, divided
    by C: the hinge loss of several classes.

    input (N, C) with classes (N,) of int64, or (C,) with a 0-d one; p is 1 or 2; `weight` (C,)
    scales by the target's class. ValueError where shapes disagree or a class is out of range.

    >>> F.multi_margin_loss(tw.tensor([[0.1, 0.2, 0.4, 0.8]]), tw.tensor([3]))
    tensor(0.325)
    """
    op = "multi_margin_loss"
    check_reduction(op, reduction)
    if p not in (1, 2):
        raise error(ValueError, op, "p of 1 or 2", p, "choose one")
    rows, labels = _rows(op, input, target, lambda x: x.shape[:-1])
    labels, classes = labels.reshape(-1).copy(), rows.shape[1]  # backward reads them
    check_labels(labels, classes, None, op)
    if weight is not None and weight.shape != (classes,):
        raise error(ValueError, op, f"weight ({classes},)", weight.shape, "give one a class")
    places = fresh(labels.reshape(-1, 1))
    loss = (rows - rows.gather(1, places) + margin).clamp(0).scatter(1, places, 0.0)
    loss = loss * loss if p == 2 else loss
    if weight is not None:
        loss = loss * weight.index_select(0, fresh(labels)).unsqueeze(1)
    return reduced((loss.sum(1) / classes).reshape(input.shape[:-1]), reduction)


@in_full
@widening
def multilabel_margin_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """The sum over pairs of max(0, 1 - (x[own] - x[other])), divided by C, of each of an item's own
    classes and each other one.

    input (N, C) or (C,), and target of the same shape and of int64: an item's classes, up to the
    first -1. ValueError where shapes disagree or a class is out of range.

    >>> F.multilabel_margin_loss(tw.tensor([[0.1, 0.2, 0.4, 0.8]]), tw.tensor([[3, 0, -1, 1]]))
    tensor(0.85)
    """
    op = "multilabel_margin_loss"
    check_reduction(op, reduction)
    rows, labels = _rows(op, input, target, lambda x: x.shape)
    labels, classes = labels.reshape(rows.shape), rows.shape[1]
    xp = namespace(labels)
    counts = xp.cumprod(labels >= 0, axis=1).astype(dtypes.bool)
    safe = xp.where(counts, labels, 0)
    check_labels(safe, classes, None, op)
    held = ((safe[:, :, None] == xp.arange(classes)) & counts[:, :, None]).any(1)
    apart = 1.0 - rows.gather(1, fresh(safe)).unsqueeze(2) + rows.unsqueeze(1)
    counted = fresh(counts[:, :, None] & ~held[:, None, :])
    loss = apart.clamp(0).where(counted, 0.0).sum((1, 2)) / classes
    return reduced(loss.reshape(input.shape[:-1]), reduction)


@in_full
@widening
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1, of the cosine of each
    pair of vectors.

    Vectors (N, D) with targets (N,), or (D,) with a 0-d one. ValueError on other shapes.

    >>> F.cosine_embedding_loss(tw.ones(2, 3), tw.ones(2, 3), tw.tensor([1, -1]))
    tensor(0.5)
    """
    op = "cosine_embedding_loss"
    check_reduction(op, reduction)
    a, b = _together(op, input1, input2)
    t = operand(target, op, "target")
    if a.ndim != b.ndim or a.ndim not in (1, 2) or t.ndim != a.ndim - 1:
        raise error(
            ValueError, op, "inputs (N, D) and target (N,), or (D,) and ()",
            f"{a.shape}, {b.shape} and {t.shape}", "reshape them",
        )  # fmt: skip
    least = 1e-12  # a length of zero has no angle
    lengths = ((a * a).sum(-1) + least) * ((b * b).sum(-1) + least)
    cosine = (a * b).sum(-1) / lengths.sqrt()
    _together(op, cosine, t)
    near, far = 1.0 - cosine, (cosine - margin).clamp(0)
    return reduced(near.where(t == 1, 0.0) + far.where(t == -1, 0.0), reduction)


def _triplet(
    op: str, triplet: list[Tensor], distance: Distance, margin: float, swap: bool, reduction: str
) -> Tensor:
    check_reduction(op, reduction)
    if not margin > 0:
        raise error(ValueError, op, "margin > 0", margin, "raise it")
    _same_rank(op, triplet)
    anchor, positive, negative = triplet
    far = distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((margin + distance(anchor, positive) - far).clamp(0), reduction)


@in_full
@widening
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2.0,
    eps: float = 1e-6, swap: bool = False, *, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d the distance of order `p`.

    Vectors along the last axis; `swap` takes d(positive, negative) where that is the smaller
    (Balntas et al. 2016). ValueError on margin <= 0, or where shapes disagree.

    >>> F.triplet_margin_loss(tw.zeros(1, 2), tw.zeros(1, 2), tw.zeros(1, 2))
    tensor(1.)
    """
    op = "triplet_margin_loss"
    triplet = _together(op, anchor, positive, negative)
    return _triplet(
        op, triplet, lambda a, b: pairwise_distance(a, b, p, eps), margin, swap, reduction
    )


@in_full
@widening
def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Distance | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """triplet_margin_loss by a distance of one's own: from two tensors to one; without it,
    F.pairwise_distance.

    >>> far = lambda a, b: 1.0 - F.cosine_similarity(a, b)
    >>> a, b = tw.tensor([[1.0, 0.0]]), tw.tensor([[0.0, 1.0]])
    >>> F.triplet_margin_with_distance_loss(a, a, b, distance_function=far, margin=1.5)
    tensor(0.5)
    """
    op = "triplet_margin_with_distance_loss"
    triplet = _together(op, anchor, positive, negative)
    return _triplet(op, triplet, distance_function or pairwise_distance, margin, swap, reduction)
