"""Losses of margins and the distances that they are made of, as modules."""

from __future__ import annotations

from collections.abc import Callable

from tilework import functional as F
from tilework.nn.loss import Loss, WeightedLoss
from tilework.nn.module import Module
from tilework.tensor import Tensor


class _Margin(Loss):
    """With a `margin`."""

    _margin = 0.0

    def __init__(self, margin: float | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = self._margin if margin is None else margin


class MarginRankingLoss(_Margin):
    """max(0, -target * (input1 - input2) + margin): F.margin_ranking_loss; the margin is 0 where
    none is given. Shapes broadcast; targets are 1 or -1. `reduction` is "mean", "sum" or "none"
    (one value an element).

    >>> nn.MarginRankingLoss()(tw.tensor([1.0]), tw.tensor([3.0]), tw.tensor([1.0]))
    tensor(2.)
    """

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction)


class HingeEmbeddingLoss(_Margin):
    """The input where the target is 1, max(0, margin - input) where it is -1:
    F.hinge_embedding_loss; the margin is 1 where none is given. `reduction` is "mean", "sum" or
    "none" (one value an element).

    >>> nn.HingeEmbeddingLoss()(tw.tensor([0.25, 0.5]), tw.tensor([1, -1]))
    tensor(0.375)
    """

    _margin = 1.0

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(_Margin):
    """1 - cos(input1, input2) where the target is 1, max(0, cos - margin) where it is -1:
    F.cosine_embedding_loss; the margin is 0 where none is given.

    Inputs (N, D) or (D,) of float dtypes, target (N,) or (). `reduction` is "mean", "sum" or
    "none".

    >>> nn.CosineEmbeddingLoss()(tw.ones(2, 3), tw.ones(2, 3), tw.tensor([1, -1]))
    tensor(0.5)
    """

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.cosine_embedding_loss(
            input1, input2, target, self.margin, reduction=self.reduction
        )


class SoftMarginLoss(Loss):
    """log(1 + exp(-target * input)): F.soft_margin_loss. input and target of float dtypes, targets
    1 or -1. `reduction` is "mean", "sum" or "none" (one value an element).

    >>> nn.SoftMarginLoss()(tw.zeros(1), tw.ones(1))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.soft_margin_loss(input, target, self.reduction)


class MultiLabelSoftMarginLoss(WeightedLoss):
    """Binary cross entropy of logits, meaned over classes: F.multilabel_soft_margin_loss. input and
    target (N, C) or (C,), targets 0 or 1; `weight` (C,) scales classes. `reduction` is "mean",
    "sum" or "none" (one value a row).

    >>> nn.MultiLabelSoftMarginLoss()(tw.zeros(1, 2), tw.tensor([[1.0, 0.0]]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)


class MultiMarginLoss(WeightedLoss):
    """max(0, margin - x[target] + x[i])^p meaned over the classes i: F.multi_margin_loss. input (N,
    C) or (C,) of a float dtype, target (N,) or () of int64; `p` is 1 or 2, `weight` (C,) scales
    rows by their class. `reduction` is "mean", "sum" or "none" (one value a row).

    >>> nn.MultiMarginLoss()(tw.tensor([[0.1, 0.2, 0.4, 0.8]]), tw.tensor([3]))
    tensor(0.325)
    """

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, *,
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(weight, reduction)
        self.p = p
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.multi_margin_loss(
            input, target, self.p, self.margin, self.weight, reduction=self.reduction
        )


class MultiLabelMarginLoss(Loss):
    """Hinges between each target class and each other class: F.multilabel_margin_loss. input (N, C)
    or (C,) of a float dtype; target of its shape, int64: classes up to the first -1. `reduction` is
    "mean", "sum" or "none" (one value a row).

    >>> nn.MultiLabelMarginLoss()(tw.tensor([[0.1, 0.2, 0.4, 0.8]]), tw.tensor([[3, 0, -1, 1]]))
    tensor(0.85)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.multilabel_margin_loss(input, target, self.reduction)


class TripletMarginLoss(Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) with the distance of order `p`:
    F.triplet_margin_loss (Balntas et al. 2016). Three of (N, D) or (D,), float dtypes; with `swap`
    the nearer of d(anchor, negative) and d(positive, negative). `reduction` is "mean", "sum" or
    "none" (one value a row).

    >>> nn.TripletMarginLoss()(tw.zeros(1, 2), tw.zeros(1, 2), tw.zeros(1, 2))
    tensor(1.)
    """

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, *,
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(reduction)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap,
            reduction=self.reduction,
        )  # fmt: skip


class TripletMarginWithDistanceLoss(Loss):
    """TripletMarginLoss with a distance of your own, `distance_function(x1, x2)`, by default the
    Euclidean one: F.triplet_margin_with_distance_loss. `reduction` is "mean", "sum" or "none" (one
    value a row).

    >>> nn.TripletMarginWithDistanceLoss()(tw.zeros(1, 2), tw.zeros(1, 2), tw.zeros(1, 2))
    tensor(1.)
    """

    def __init__(
        self, *, distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0, swap: bool = False, reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(reduction)
        self.distance_function = distance_function
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=self.distance_function,
            margin=self.margin, swap=self.swap, reduction=self.reduction,
        )  # fmt: skip


class PairwiseDistance(Module):
    """F.pairwise_distance: the norm of order `p` of x1 - x2 + eps along the last axis.

    >>> nn.PairwiseDistance(eps=0.0)(tw.tensor([[3.0, 4.0]]), tw.zeros(1, 2))
    tensor([5.])
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The distances, without the last axis."""
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    """The cosine of the angle between x1 and x2 along `dim`: F.cosine_similarity. Shapes that
    broadcast, float dtypes; the result lacks `dim`. No length counts as less than `eps`.

    >>> nn.CosineSimilarity()(tw.tensor([[1.0, 1.0]]), tw.tensor([[1.0, 0.0]]))
    tensor([0.7071])
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The cosines, without the axis."""
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
