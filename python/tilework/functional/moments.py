"""Variance, standard deviation and logsumexp: reductions that need more than one pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import as_array, errstate, may_hold, namespace
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.functional.cast import cast, in_float32
from tilework.functional.common import Dim, axes, need_float, numpy_names, operand
from tilework.functional.reduce import mean, sum, with_axes
from tilework.tensor import Tensor, fresh, tensor_method

Array = Any
Inputs = tuple[Any, ...]

# --- var and std ---


def _away(x: Array, mean: Array, rest: Array) -> Array:
    """The distances from the mean, which is given in two parts: that of float32 is off by half an
    ulp of its own size, which is much beside small distances."""
    away = ops.binary_forward("sub", x.astype(mean.dtype, copy=False), mean)
    return ops.binary_forward("sub", away, rest) if may_hold(rest) else away


def _spread_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """grad * 2 away / divisor, and for std over twice the result."""
    x = inputs[0]._array
    over, mean, rest, divisor, root = saved
    shape = with_axes(x.shape, over)
    dtype = mean.dtype
    with errstate(all="ignore"):
        scale = grad.reshape(shape) * dtype.type(2.0 / divisor)
        if root is not None:  # of equal values the limit along each line to them is 0
            if dtype is x.dtype:
                root = root.reshape(shape)
            else:  # in float32 it has lost its digits
                root = ops.spread(x.astype(dtype), over, True, divisor, True)[0]
            scale = namespace(root).where(root == 0, dtype.type(0), 0.5 * scale / root)
        dx = ops.binary_forward("mul", _away(x, mean, rest), as_array(scale, dtype))
        return (dx.astype(x.dtype, copy=False),)


def _spread_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x = inputs[0]
    over, _, _, divisor, root = saved
    shape = with_axes(x.shape, over)
    away = x - mean(x, over, keepdim=True) if over else x - x
    grad = grad.reshape(shape)
    if root is None:
        return (grad * away * (2.0 / divisor),)
    flat = fresh(as_array(root.reshape(shape) == 0))
    squares = sum(away * away, over, keepdim=True) / divisor
    deviation = squares.masked_fill(flat, 1.0).sqrt()
    return ((grad / (deviation * divisor)).masked_fill(flat, 0.0) * away,)


_VAR = Op("var", _spread_backward, _spread_recorded)
_STD = Op("std", _spread_backward, _spread_recorded)


def _deviation(
    op: Op, function: Any, input: Any, dim: Dim, unbiased: bool, keepdim: bool,
    correction: float | None,
) -> Tensor:  # fmt: skip
    x = operand(input, op.name)
    if isinstance(dim, bool):  # var(x, False)
        unbiased, dim = dim, None
    need_float(op.name, x)
    less = float(unbiased) if correction is None else correction
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(function, x, dim, keepdim=keepdim, correction=less)
        return result
    array = x._array
    over = axes(op.name, dim, array.ndim)
    count = math.prod([array.shape[i] for i in over])
    divisor = _count_or_nan(count - less)
    value, mean, rest = ops.spread(array, over, keepdim, divisor, op is _STD)
    y = fresh(value)
    if mode.enabled and x._requires_grad:
        # The root is y itself.
        root, read = (value, (x._storage, y._storage)) if op is _STD else (None, (x._storage,))
        record(y, op, (x,), (over, mean, rest, divisor, root), read)
    return y


def _count_or_nan(n: float) -> float:
    """A divisor that turns "no degrees of freedom" into NaN, not into an exception."""
    return n if n > 0 else float("nan")


@tensor_method()
@numpy_names
def var(
    input: Tensor, dim: Dim = None, unbiased: bool = True, keepdim: bool = False,
    *, correction: float | None = None,
) -> Tensor:  # fmt: skip
    """The variance over `dim`, divided by n - correction (1, or 0 with `unbiased=False`).

    TypeError on integers.

    >>> tw.var(tw.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    return _deviation(_VAR, var, input, dim, unbiased, keepdim, correction)


@tensor_method()
@numpy_names
def std(
    input: Tensor, dim: Dim = None, unbiased: bool = True, keepdim: bool = False,
    *, correction: float | None = None,
) -> Tensor:  # fmt: skip
    """The square root of `var`; its gradient at equal values is 0.

    >>> tw.std(tw.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    return _deviation(_STD, std, input, dim, unbiased, keepdim, correction)


# --- logsumexp ---


def _ends(x: Array, value: Array, over: tuple[int, ...]) -> Array:
    """The slopes where the result is infinite: the elements that are +Inf share one equally, and
    where all are -Inf there is none."""
    winners = (x == math.inf) & (value == math.inf)
    share = winners / namespace(x).maximum(winners.sum(axis=over, keepdims=True), 1)
    return as_array(share, x.dtype)


def _logsumexp_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x = inputs[0]._array
    over, value, base, total = saved
    share = ops.unary_forward("exp", ops.binary_forward("sub", x, base))
    with errstate(all="ignore"):
        scale = as_array(grad.reshape(value.shape) / total)
    dx = ops.binary_forward("mul", share, scale)
    ends = namespace(value).isinf(value)
    if may_hold(ends):
        dx = namespace(x).where(ends, grad.reshape(value.shape) * _ends(x, value, over), dx)
    return (dx,)


def _logsumexp_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x = inputs[0]
    over, value, base, _ = saved
    terms = (x - fresh(base)).exp()  # any base gives the same
    share = terms / sum(terms, over, keepdim=True)
    ends = namespace(value).isinf(value)
    if may_hold(ends):
        share = fresh(_ends(x._array, value, over)).where(fresh(ends), share)
    return (grad.reshape(value.shape) * share,)


_LOGSUMEXP = Op("logsumexp", _logsumexp_backward, _logsumexp_recorded)


@tensor_method()
@numpy_names
def logsumexp(input: Tensor, dim: Dim, keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) over `dim`, computed without overflow; integers give float32.

    The gradient is softmax's value; 0 where all are -Inf, and where some are +Inf theirs alone.

    >>> tw.logsumexp(tw.tensor([0.0, 0.0]), 0)
    tensor(0.6931)
    """
    x = operand(input, "logsumexp")
    if not dtypes.is_float(x.dtype):
        x = cast(x, dtypes.float32)
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(logsumexp, x, dim, keepdim)
        return result
    over = axes("logsumexp", dim, x.ndim)
    if 0 in [x.shape[i] for i in over]:
        return sum(x.exp(), dim, keepdim).log()  # the log of an empty sum
    array = x._array
    top = ops.max(array, over, True)
    xp = namespace(array)
    base = as_array(xp.where(xp.isinf(top), array.dtype.type(0), top))  # inf - inf would be NaN
    terms = ops.unary_forward("exp", ops.binary_forward("sub", array, base))
    total = ops.sum(terms, over, True)
    with errstate(all="ignore"):
        value = as_array(xp.log(total) + base, array.dtype)
    kept = [n for i, n in enumerate(x.shape) if i not in over]
    y = fresh(value.copy() if keepdim else value.copy().reshape(kept))
    if mode.enabled and x._requires_grad:
        record(y, _LOGSUMEXP, (x,), (over, value, base, total), (x._storage,))
    return y
