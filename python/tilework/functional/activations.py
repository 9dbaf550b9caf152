"""Activations beside those that kernels fuse (unary.py): each by a row of a table, its value over
the array library and its slope in recorded ops."""

from __future__ import annotations

from typing import Any

from tilework import dtypes
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.cast import cast, widening
from tilework.functional.common import need_float, number, numpy_names, operand
from tilework.functional.elementary import Elementary, apply
from tilework.functional.inplace import write_over
from tilework.functional.random import rand_like
from tilework.functional.softmax import softmax
from tilework.functional.unary import bounded, exp, sigmoid, softplus_of, tanh
from tilework.tensor import Tensor


def _activated(op: Elementary, input: Any, inplace: bool, *numbers: float) -> Tensor:
    """The activation; integers stay what they are, where their activations are integers too."""
    x = operand(input, op.name)
    if inplace:
        return write_over(f"{op.name}_", x, lambda before: _activated(op, before, False, *numbers))
    if dtypes.is_float(x.dtype) or op in _FROM_INTEGERS:
        return apply(op, x, *numbers)
    if op not in _OF_INTEGERS or x.dtype is dtypes.bool:
        need_float(op.name, x)
    return cast(apply(op, cast(x, dtypes.float64), *numbers), x.dtype)


# --- slopes, in recorded ops ---


def _hardtanh_chain(grad: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    return grad.where((x > low) & (x < high), 0.0)  # type: ignore[no-any-return]


def _leaky_chain(grad: Tensor, x: Tensor, slope: float) -> Tensor:
    return grad.where(x > 0, grad * slope)  # type: ignore[no-any-return]


def _elu_chain(grad: Tensor, x: Tensor, alpha: float, scale: float, rate: float) -> Tensor:
    bent = exp(x.clamp(max=0.0) * rate) * (alpha * rate)
    return grad.where(x > 0, grad * bent) * scale  # type: ignore[no-any-return]


def _hardswish_chain(grad: Tensor, x: Tensor) -> Tensor:
    inner = grad * (x.clamp(-3.0, 3.0) / 3.0 + 0.5)
    # PyTorch's order of questions, by which a NaN has the slope 1.
    slope: Tensor = inner.where(x < 3.0, grad).masked_fill(x <= -3.0, 0.0)
    return slope


def _mish_chain(grad: Tensor, x: Tensor) -> Tensor:
    x = bounded(x, 760.0)
    gate = tanh(softplus_of(x))
    return grad * (gate + x * sigmoid(x) * (1.0 - gate * gate))


def _softsign_chain(grad: Tensor, x: Tensor) -> Tensor:
    size = x.abs() + 1.0
    return grad / (size * size)


def _tanhshrink_chain(grad: Tensor, x: Tensor) -> Tensor:
    bent = tanh(x)
    return grad * (bent * bent)


def _elu_of(xp: Any, x: Any, alpha: float, scale: float, rate: float) -> Any:
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0) * rate)) * scale


def _clamped(xp: Any, x: Any, low: float, high: float) -> Any:
    return ops.clamp_forward(x, low, high)


def _mish_of(xp: Any, x: Any) -> Any:
    x = xp.maximum(x, -760.0)  # where it is 0 already: of -Inf it would be NaN
    return x * xp.tanh(xp.maximum(x, 0) + xp.log1p(xp.exp(-abs(x))))


# --- the table ---

_LEAKY_RELU = Elementary(
    "leaky_relu", lambda xp, x, slope: xp.where(x > 0, x, x * slope), _leaky_chain
)
_ELU = Elementary("elu", _elu_of, _elu_chain)
_SELU = Elementary("selu", _elu_of, _elu_chain)
_CELU = Elementary("celu", _elu_of, _elu_chain)
_HARDTANH = Elementary("hardtanh", _clamped, _hardtanh_chain)
_RELU6 = Elementary("relu6", _clamped, _hardtanh_chain)
_HARDSIGMOID = Elementary(
    "hardsigmoid",
    lambda xp, x: xp.minimum(xp.maximum(x + 3.0, 0.0), 6.0) / 6.0,
    lambda grad, x: _hardtanh_chain(grad / 6.0, x, -3.0, 3.0),
)
_HARDSWISH = Elementary(
    "hardswish",
    lambda xp, x: xp.maximum(x, -3.0) * (xp.minimum(xp.maximum(x + 3.0, 0.0), 6.0) / 6.0),
    _hardswish_chain,
)
_MISH = Elementary("mish", _mish_of, _mish_chain)
_SOFTSIGN = Elementary(
    "softsign",
    lambda xp, x: xp.minimum(xp.maximum(x, -1e30), 1e30) / (xp.minimum(abs(x), 1e30) + 1.0),
    _softsign_chain,
)
_TANHSHRINK = Elementary("tanhshrink", lambda xp, x: x - xp.tanh(x), _tanhshrink_chain)
_HARDSHRINK = Elementary(
    "hardshrink",
    lambda xp, x, lambd: xp.where((x >= -lambd) & (x <= lambd), x * 0.0, x),
    lambda grad, x, lambd: grad.masked_fill((x >= -lambd) & (x <= lambd), 0.0),
)
_SOFTSHRINK = Elementary(
    "softshrink",
    lambda xp, x, lambd: xp.where(abs(x) > lambd, x - xp.sign(x) * lambd, x * 0.0),
    lambda grad, x, lambd: grad.masked_fill(x.abs() <= lambd, 0.0),
)
_THRESHOLD = Elementary(
    "threshold",
    lambda xp, x, least, value: xp.where(x <= least, x.dtype.type(value), x),
    lambda grad, x, least, value: grad.masked_fill(x <= least, 0.0),
)
_OF_INTEGERS = (_HARDTANH, _RELU6, _THRESHOLD)
_FROM_INTEGERS = (_SOFTSIGN, _TANHSHRINK)  # which give float32


# --- the functions ---


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where it is positive, negative_slope * x elsewhere; any float tensor. `inplace` writes it
    over the input.

    >>> F.leaky_relu(tw.tensor([-1.0, 2.0]), 0.5)
    tensor([-0.5,  2.0])
    """
    return _activated(_LEAKY_RELU, input, inplace, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, alpha * (exp(x) - 1) elsewhere (Clevert et al. 2016); `inplace` as
    for leaky_relu.

    >>> F.elu(tw.tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """
    return _activated(_ELU, input, inplace, alpha, 1.0, 1.0)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """elu with the two constants under which means stay 0 and variances 1 (Klambauer et al. 2017).

    >>> F.selu(tw.tensor([-1.0, 1.0]))
    tensor([-1.1113,  1.0507])
    """
    return _activated(_SELU, input, inplace, SELU_ALPHA, SELU_SCALE, 1.0)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where it is positive, alpha * (exp(x / alpha) - 1) elsewhere (Barron 2017). ValueError on
    an alpha of 0.

    >>> F.celu(tw.tensor([-1.0, 1.0]), 2.0)
    tensor([-0.7869,  1.0000])
    """
    if number("celu", "alpha", alpha) == 0:
        raise error(ValueError, "celu", "alpha other than 0", alpha, "choose another")
    return _activated(_CELU, input, inplace, alpha, 1.0, 1.0 / alpha)


@widening
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where it is positive, weight * x elsewhere, `weight` a number for each channel (C,), along
    axis 1, or one for all (He et al. 2015). ValueError on another count.

    >>> F.prelu(tw.tensor([-1.0, 2.0]), tw.tensor([0.25]))
    tensor([-0.25,  2.00])
    """
    x, w = operand(input, "prelu"), operand(weight, "prelu", "weight")
    need_float("prelu", x)
    channels = x.shape[1] if x.ndim > 1 else 1
    if w.ndim > 1 or w.numel() not in (1, channels):
        raise error(
            ValueError, "prelu", f"weight ({channels},) or (1,) beside {x.shape}", w.shape,
            "give one for each channel",
        )  # fmt: skip
    w = w.reshape(-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else w.reshape(())
    return x.where(x > 0, w * x)  # type: ignore[no-any-return]


@widening
def _randomly_leaky(x: Tensor, lower: float, upper: float) -> Tensor:
    slopes = rand_like(x.detach()) * (upper - lower) + lower
    return x.where(x > 0, x * slopes)  # type: ignore[no-any-return]


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
    inplace: bool = False,
) -> Tensor:  # fmt: skip
    """leaky_relu whose slope is drawn for each element from [lower, upper) while `training`, and is
    their mean otherwise (Xu et al. 2015). ValueError where lower is above upper.

    >>> F.rrelu(tw.tensor([-1.0, 2.0]), 0.5, 0.5)
    tensor([-0.5,  2.0])
    """
    x = operand(input, "rrelu")
    need_float("rrelu", x)
    if not lower <= upper:
        raise error(ValueError, "rrelu", "lower up to upper", (lower, upper), "swap them")
    if not training:
        return leaky_relu(x, (lower + upper) / 2, inplace)
    if inplace:
        return write_over("rrelu_", x, lambda before: _randomly_leaky(before, lower, upper))
    return _randomly_leaky(x, lower, upper)


@widening
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta without overflow, and x itself where beta * x is above
    `threshold`; any float tensor.

    >>> F.softplus(tw.tensor([0.0, 100.0]))
    tensor([  0.6931, 100.0000])
    """
    x = operand(input, "softplus")
    need_float("softplus", x)
    scaled = x if beta == 1 else x * beta
    y = softplus_of(scaled)
    y = y if beta == 1 else y / beta
    if threshold >= 20 and x.dtype is dtypes.float32:  # they are equal there
        return y
    return x.where(scaled > threshold, y)  # type: ignore[no-any-return]


@widening
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) = -softplus(-x), without overflow; any float tensor.

    >>> F.logsigmoid(tw.tensor([0.0]))
    tensor([-0.6931])
    """
    x = operand(input, "logsigmoid")
    need_float("logsigmoid", x)
    return -softplus_of(-x)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|); of integers in float32.

    >>> F.softsign(tw.tensor([1.0]))
    tensor([0.5])
    """
    return _activated(_SOFTSIGN, input, False)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x); of integers in float32.

    >>> F.tanhshrink(tw.tensor([1.0]))
    tensor([0.2384])
    """
    return _activated(_TANHSHRINK, input, False)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x within [min_val, max_val], the nearer end beyond; no gradient there. ValueError where
    min_val is above max_val.

    >>> F.hardtanh(tw.tensor([-2.0, 0.5]))
    tensor([-1.0,  0.5])
    """
    if not min_val <= max_val:
        raise error(
            ValueError, "hardtanh", "min_val up to max_val", (min_val, max_val), "swap them"
        )
    return _activated(_HARDTANH, input, inplace, min_val, max_val)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x within [0, 6], the nearer end beyond; no gradient there.

    >>> F.relu6(tw.tensor([-2.0, 7.0]))
    tensor([0., 6.])
    """
    return _activated(_RELU6, input, inplace, 0.0, 6.0)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6; any float tensor.

    >>> F.hardsigmoid(tw.tensor([0.0]))
    tensor([0.5])
    """
    return _activated(_HARDSIGMOID, input, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6 (Howard et al. 2019); any float tensor.

    >>> F.hardswish(tw.tensor([-4.0, 3.0]))
    tensor([-0.,  3.])
    """
    return _activated(_HARDSWISH, input, inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)) (Misra 2019); any float tensor.

    >>> F.mish(tw.tensor([1.0]))
    tensor([0.8651])
    """
    return _activated(_MISH, input, inplace)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """0 where |x| is up to `lambd`, x elsewhere; any float tensor.

    >>> F.hardshrink(tw.tensor([0.3, 1.0]))
    tensor([0., 1.])
    """
    return _activated(_HARDSHRINK, input, False, lambd)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x brought nearer to 0 by `lambd`, and 0 where that is further than it was. ValueError on a
    negative lambd.

    >>> F.softshrink(tw.tensor([0.3, -1.0]))
    tensor([ 0.0, -0.5])
    """
    if lambd < 0:
        raise error(ValueError, "softshrink", "lambd >= 0", lambd, "raise it")
    return _activated(_SOFTSHRINK, input, False, lambd)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where it is above `threshold`, `value` elsewhere.

    >>> F.threshold(tw.tensor([0.1, 2.0]), 1.0, -5.0)
    tensor([-5.,  2.])
    """
    return _activated(_THRESHOLD, input, inplace, threshold, value)


@numpy_names
def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """softmax of -input along `dim`.

    >>> F.softmin(tw.tensor([0.0, 0.0]), 0)
    tensor([0.5, 0.5])
    """
    return softmax(-operand(input, "softmin"), dim, dtype)


@widening
def gumbel_softmax(
    logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A sample of the Gumbel-softmax distribution (Jang et al. 2017): softmax of the logits with
    Gumbel noise, over `tau`, along `dim`.

    `hard` gives the largest as one of ones and zeros, with the gradient of the soft ones; `eps` is
    not used, as in PyTorch.

    >>> F.gumbel_softmax(tw.zeros(2, 3), hard=True).sum()
    tensor(2.)
    """
    x = operand(logits, "gumbel_softmax", "logits")
    need_float("gumbel_softmax", x, "logits")
    noise = -(-(1.0 - rand_like(x.detach())).log()).log()  # of numbers in (0, 1]
    soft: Tensor = softmax((x + noise) / tau, dim)
    if not hard:
        return soft
    at = soft.detach().argmax(dim, keepdim=True)
    chosen = soft.detach() * 0.0
    chosen = chosen.scatter(dim, at, 1.0)
    return chosen - soft.detach() + soft
