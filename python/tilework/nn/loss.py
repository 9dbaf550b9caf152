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
    """F.mse_loss.

    >>> nn.MSELoss()(tw.ones(2), tw.zeros(2))
    tensor(1.)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.mse_loss(input, target, self.reduction)


class L1Loss(Loss):
    """F.l1_loss.

    >>> nn.L1Loss()(tw.ones(2), tw.zeros(2))
    tensor(1.)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.l1_loss(input, target, self.reduction)


class SmoothL1Loss(Loss):
    """F.smooth_l1_loss.

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
    """F.huber_loss.

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
    """F.cross_entropy.

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
    """F.nll_loss.

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
    """F.binary_cross_entropy_with_logits.

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
    """F.binary_cross_entropy, of probabilities.

    >>> nn.BCELoss()(tw.tensor([0.5]), tw.ones(1))
    tensor(0.6931)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced."""
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class KLDivLoss(Loss):
    """F.kl_div, of log probabilities.

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
    """F.poisson_nll_loss.

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
    """F.gaussian_nll_loss.

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
    """F.ctc_loss.

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
