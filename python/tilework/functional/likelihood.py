"""Losses that are negative log likelihoods, of probabilities or of their logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework.arrays import as_array, errstate, namespace
from tilework.autograd import Op, record, wants_grad
from tilework.dtypes import is_float
from tilework.errors import error
from tilework.functional.cast import cast, widening
from tilework.functional.common import broadcasts, need_float, operand
from tilework.functional.elementary import log1p, xlogy
from tilework.functional.loss import check_reduction, promoted, reduced, weighted
from tilework.functional.lowering import in_full
from tilework.functional.masks import raised
from tilework.tensor import Tensor, fresh

Inputs = tuple[Any, ...]

# As PyTorch: the logarithm of a probability is -100 at least, and slopes are divided by no less.
_LEAST_LOG, _LEAST_SLOPE = -100.0, 1e-12


def _bce_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, t = inputs
    dx = dt = None
    if x._requires_grad:
        dx = grad * (x - t) / (x * (1.0 - x)).clamp(_LEAST_SLOPE)
    if t._requires_grad:
        dt = grad * (log1p(-x).clamp(_LEAST_LOG) - x.log().clamp(_LEAST_LOG))
    return dx, dt


_BCE = Op("binary_cross_entropy", differentiable=_bce_recorded)


@in_full
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """-(t log x + (1 - t) log(1 - x)) of probabilities x, averaged, summed or as it is.

    `target` (any float dtype, or integers) has input's shape; `weight`, which broadcasts, scales
    each. A logarithm counts as -100 at least, so that 0 and 1 give no infinity. ValueError where
    the shapes differ or either is outside of [0, 1]. Of logits take
    binary_cross_entropy_with_logits, which loses no digits.

    >>> F.binary_cross_entropy(tw.tensor([0.5]), tw.tensor([1.0]))
    tensor(0.6931)
    """
    op = "binary_cross_entropy"
    check_reduction(op, reduction)
    x, t, dtype = promoted(op, input, target)
    if x.shape != t.shape:
        raise error(ValueError, op, f"target {x.shape}", t.shape, "reshape it")
    array, wanted = x._array, t._array
    for name, of in (("input", array), ("target", wanted)):
        if not ((of >= 0) & (of <= 1)).all():
            raise error(
                ValueError, op, f"`{name}` in [0, 1]", "others",
                "apply sigmoid, or take binary_cross_entropy_with_logits",
            )  # fmt: skip
    xp = namespace(array)
    with errstate(divide="ignore"):
        hit, miss = (xp.maximum(of, _LEAST_LOG) for of in (xp.log(array), xp.log1p(-array)))
    loss = fresh(as_array((wanted - 1.0) * miss - wanted * hit, array.dtype))
    if wants_grad(x, t):
        record(loss, _BCE, (x, t), None, (x._storage, t._storage))
    return cast(reduced(loss if weight is None else loss * weight, reduction), dtype)


@in_full
def kl_div(
    input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """The divergence target * (log(target) - input) of log probabilities `input` from `target`.

    `target` holds probabilities, or with `log_target` their logarithms; shapes broadcast.
    `reduction` is "none", "sum", "mean" (over all elements) or "batchmean", the sum over input's
    first length, which is the divergence of a batch. ValueError on another, TypeError on integers.

    >>> F.kl_div(tw.tensor([[-0.5, -1.0]]), tw.tensor([[0.5, 0.5]]), reduction="batchmean")
    tensor(0.0569)
    """
    batch = isinstance(reduction, str) and reduction == "batchmean"
    check_reduction("kl_div", "sum" if batch else reduction)
    x, t, dtype = promoted("kl_div", input, target)
    loss = t.exp() * (t - x) if log_target else xlogy(t, t) + weighted(-x, t)
    if batch:
        return cast(loss.sum() / (x.shape[0] if x.ndim else 1), dtype)
    return cast(reduced(loss, reduction), dtype)


@in_full
def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, *,
    eps: float = 1e-8, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The negative log likelihood of counts `target` under Poisson distributions.

    `input` holds the logarithms of their rates (exp(input) - target * input), or the rates
    (input - target * log(input + eps)) where not `log_input`. `full` adds Stirling's approximation
    of log(target!) where the target is above 1. Shapes broadcast.

    >>> F.poisson_nll_loss(tw.tensor([0.0]), tw.tensor([2.0]))
    tensor(1.)
    """
    check_reduction("poisson_nll_loss", reduction)
    whole = isinstance(input, Tensor) and not is_float(input.dtype)
    x, t, dtype = promoted("poisson_nll_loss", input.float() if whole else input, target)
    loss = x.exp() - t * x if log_input else x - t * (x + eps).log()
    if full:
        few = t <= 1
        many = t.masked_fill(few, 1.0)
        stirling = many * many.log() - many + 0.5 * (many * (2.0 * math.pi)).log()
        loss = loss + stirling.masked_fill(few, 0.0)
    return cast(reduced(loss, reduction), dtype)


def _variance(x: Tensor, var: Any) -> Tensor:
    """`var` as a tensor that broadcasts beside the input."""
    op = "gaussian_nll_loss"
    if isinstance(var, (int, float)):
        var = fresh(namespace(x._array).full(x.shape, var, dtype=x.dtype))
    v = operand(var, op, "var")
    if (v._array < 0).any():
        raise error(ValueError, op, "variances from 0", "a negative one", "pass var.exp()")
    if v.shape == x.shape:
        return v
    if v.shape == x.shape[:-1]:
        return v.unsqueeze(-1)
    pairs = list(zip(x.shape, v.shape, strict=False))
    if v.ndim != x.ndim or sum(b for a, b in pairs if a != b) != 1:
        raise error(ValueError, op, f"var {x.shape}, or 1 along one axis", v.shape, "reshape it")
    return v


@in_full
@widening
def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Half of log(var) + (input - target)^2 / var: the negative log likelihood of `target` under
    normal distributions of means `input` and variances `var`.

    `var` has input's shape, or lacks its last axis, or is 1 along one, or is a number; it counts as
    `eps` at least. `full` adds the constant log(2 pi) / 2. ValueError on a negative variance.

    >>> F.gaussian_nll_loss(tw.tensor([1.0]), tw.tensor([3.0]), tw.tensor([1.0]))
    tensor(2.)
    """
    op = "gaussian_nll_loss"
    check_reduction(op, reduction)
    x, t = operand(input, op), operand(target, op, "target")
    need_float(op, x)
    if not broadcasts(x.shape, t.shape):
        raise error(ValueError, op, f"target {x.shape}", t.shape, "reshape it")
    v = raised(_variance(x, var), eps)
    away = x - t
    loss = (v.log() + away * away / v) * 0.5
    return reduced(loss + 0.5 * math.log(2.0 * math.pi) if full else loss, reduction)
