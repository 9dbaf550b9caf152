"""Losses as modules: they hold the arguments of their functions."""

from __future__ import annotations

from collections.abc import Sequence

from tilework import functional as F
from tilework.nn.module import Module
from tilework.tensor import Tensor


class Loss(Module):
    """What all losses have: `reduction`, "mean", "sum" or "none"."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction


class MSELoss(Loss):
    """(input - target)^2, reduced: F.mse_loss.

    input and target of shapes that broadcast, float dtypes. `reduction` is "mean", "sum" or "none"
    (one value an element). ValueError where the shapes do not broadcast or on another reduction.

    >>> nn.MSELoss()(tw.ones(2), tw.zeros(2))
    tensor(1.)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.mse_loss(input, target, self.reduction)


class L1Loss(Loss):
    """|input - target|, reduced: F.l1_loss.

    input and target of shapes that broadcast, float dtypes. `reduction` is "mean", "sum" or "none"
    (one value an element). ValueError where the shapes do not broadcast.

    >>> nn.L1Loss()(tw.ones(2), tw.zeros(2))
    tensor(1.)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.l1_loss(input, target, self.reduction)


class SmoothL1Loss(Loss):
    """Half the squared distance over `beta` where it is below `beta`, the distance less beta / 2
    beyond: F.smooth_l1_loss (Girshick 2015).

    input and target of shapes that broadcast, float dtypes. `reduction` is "mean", "sum" or "none"
    (one value an element). ValueError on a negative beta, or where the shapes do not broadcast.

    >>> nn.SmoothL1Loss()(tw.ones(2), tw.zeros(2))
    tensor(0.5)
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(Loss):
    """Half the squared distance below `delta`, delta * (distance - delta / 2) beyond: F.huber_loss
    (Huber 1964).

    input and target of shapes that broadcast, float dtypes. `reduction` is "mean", "sum" or "none"
    (one value an element). ValueError on delta <= 0, or where the shapes do not broadcast.

    >>> nn.HuberLoss()(tw.ones(2), tw.zeros(2))
    tensor(0.5)
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.huber_loss(input, target, self.reduction, self.delta)


class WeightedLoss(Loss):
    """With the buffer `weight`, None or a tensor."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)


class CrossEntropyLoss(WeightedLoss):
    """The negative log probability of the target class under softmax(input): F.cross_entropy. It
    takes logits, not probabilities.

    input (N, C), (C,) or (N, C, d1, ...), of a float dtype. target: classes of int64, of that shape
    without the C axis, or probabilities of input's shape and dtype. `weight` (C,) scales classes,
    and "mean" divides by the weights in play; rows whose class is `ignore_index` have no part;
    `label_smoothing` in [0, 1] mixes the target with equal parts of all classes. "none" gives the
    shape without the C axis.

    ValueError where shapes disagree or a class is out of range, TypeError on dtypes.

    >>> nn.CrossEntropyLoss()(tw.zeros(2, 4), tw.tensor([0, 3]))
    tensor(1.3863)
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(WeightedLoss):
    """The negative of log probabilities at the target classes: F.nll_loss, which behind LogSoftmax
    is CrossEntropyLoss.

    input (N, C), (C,) or (N, C, d1, ...), of a float dtype; target of int64 without the C axis.
    `weight` (C,) scales classes, and "mean" divides by the weights in play; rows of class
    `ignore_index` have no part. ValueError where shapes disagree or a class is out of range.

    >>> nn.NLLLoss()(tw.tensor([[-0.5, -1.0]]), tw.tensor([1]))
    tensor(1.)
    """

    def __init__(
        self, weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class BCEWithLogitsLoss(WeightedLoss):
    """Binary cross entropy of logits, without overflow: F.binary_cross_entropy_with_logits.

    input and target of one shape, float dtypes; targets between 0 and 1. `pos_weight` scales the
    term of ones, `weight` the whole; both broadcast. `reduction` is "mean", "sum" or "none" (one
    value an element). ValueError where the shapes differ.

    >>> nn.BCEWithLogitsLoss()(tw.zeros(1), tw.ones(1))
    tensor(0.6931)
    """

    pos_weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, self.reduction, self.pos_weight
        )


class BCELoss(WeightedLoss):
    """Binary cross entropy of probabilities: F.binary_cross_entropy. Of logits BCEWithLogitsLoss
    loses no digits.

    input and target of one shape, between 0 and 1; `weight` broadcasts. A logarithm counts as -100
    at least. `reduction` is "mean", "sum" or "none" (one value an element). ValueError where the
    shapes differ or either is outside of [0, 1].

    >>> nn.BCELoss()(tw.tensor([0.5]), tw.ones(1))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class KLDivLoss(Loss):
    """The divergence target * (log(target) - input) of log probabilities from `target`: F.kl_div.

    input and target of shapes that broadcast, float dtypes; the target holds probabilities, or with
    `log_target` their logarithms. `reduction` is "mean" (over all elements), "batchmean" (the
    divergence of a batch), "sum" or "none"; ValueError on another.

    >>> nn.KLDivLoss("batchmean")(tw.tensor([[-0.5, -1.0]]), tw.tensor([[0.5, 0.5]]))
    tensor(0.0569)
    """

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.kl_div(input, target, self.reduction, self.log_target)


class PoissonNLLLoss(Loss):
    """The negative log likelihood of counts under Poisson distributions: F.poisson_nll_loss.

    input and target of shapes that broadcast, float dtypes; input holds logarithms of rates, or
    rates where not `log_input`. `full` adds Stirling's approximation of log(target!). `reduction`
    is "mean", "sum" or "none" (one value an element).

    >>> nn.PoissonNLLLoss()(tw.zeros(1), tw.tensor([2.0]))
    tensor(1.)
    """

    def __init__(
        self, log_input: bool = True, full: bool = False, *, eps: float = 1e-8,
        reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.poisson_nll_loss(
            log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(Loss):
    """The negative log likelihood under normal distributions of means `input` and variances `var`:
    F.gaussian_nll_loss.

    input and target of one shape, float dtypes; var of that shape, or without its last axis, or 1
    along one, or a number, and `eps` at least. `full` adds log(2 pi) / 2. `reduction` is "mean",
    "sum" or "none" (one value an element). ValueError on a negative variance.

    >>> nn.GaussianNLLLoss()(tw.tensor([1.0]), tw.tensor([3.0]), tw.ones(1))
    tensor(2.)
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        """The loss, reduced."""
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class CTCLoss(Loss):
    """Connectionist temporal classification (Graves et al. 2006): F.ctc_loss.

    log_probs (T, N, C) or (T, C) of log_softmax; targets (N, S) padded or (sum of lengths,), int32
    or int64; lengths (N,). `zero_infinity` puts 0 for what cannot be aligned. ValueError on a
    target outside of the symbols or a length beyond the arrays.

    >>> log_probs = F.log_softmax(tw.zeros(3, 1, 2), 2)
    >>> nn.CTCLoss()(log_probs, tw.tensor([[1]]), (3,), (1,))
    tensor(0.2877)
    """

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self,
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: Tensor | Sequence[int],
        target_lengths: Tensor | Sequence[int],
    ) -> Tensor:
        """The loss, reduced."""
        return F.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
        )
