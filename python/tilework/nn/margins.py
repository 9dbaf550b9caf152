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
    """F.margin_ranking_loss; the margin is 0 where none is given.

    >>> nn.MarginRankingLoss()(tw.tensor([1.0]), tw.tensor([3.0]), tw.tensor([1.0]))
    tensor(2.)
    """

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction)


class HingeEmbeddingLoss(_Margin):
    """F.hinge_embedding_loss; the margin is 1 where none is given.

    >>> nn.HingeEmbeddingLoss()(tw.tensor([0.25, 0.5]), tw.tensor([1, -1]))
    tensor(0.375)
    """

    _margin = 1.0

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(_Margin):
    """F.cosine_embedding_loss; the margin is 0 where none is given.

    >>> nn.CosineEmbeddingLoss()(tw.ones(2, 3), tw.ones(2, 3), tw.tensor([1, -1]))
    tensor(0.5)
    """

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.cosine_embedding_loss(
            input1, input2, target, self.margin, reduction=self.reduction
        )


class SoftMarginLoss(Loss):
    """F.soft_margin_loss.

    >>> nn.SoftMarginLoss()(tw.zeros(1), tw.ones(1))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.soft_margin_loss(input, target, self.reduction)


class MultiLabelSoftMarginLoss(WeightedLoss):
    """F.multilabel_soft_margin_loss.

    >>> nn.MultiLabelSoftMarginLoss()(tw.zeros(1, 2), tw.tensor([[1.0, 0.0]]))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)


class MultiMarginLoss(WeightedLoss):
    """F.multi_margin_loss.

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
    """F.multilabel_margin_loss.

    >>> nn.MultiLabelMarginLoss()(tw.tensor([[0.1, 0.2, 0.4, 0.8]]), tw.tensor([[3, 0, -1, 1]]))
    tensor(0.85)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.multilabel_margin_loss(input, target, self.reduction)


class TripletMarginLoss(Loss):
    """F.triplet_margin_loss.

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
    """F.triplet_margin_with_distance_loss.

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
    """F.cosine_similarity along `dim`.

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
