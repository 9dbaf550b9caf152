"""Products over axes and along them, medians and quantiles, counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import as_array, errstate, may_hold, namespace
from tilework.autograd import Op, mode, record
from tilework.errors import error, word
from tilework.functional.cast import cast, in_float32
from tilework.functional.common import (
    Dim,
    Ranked,
    axes,
    axis,
    need_float,
    numpy_names,
    operand,
    wrap,
)
from tilework.functional.indexing import gather
from tilework.functional.join import stack
from tilework.functional.lowering import in_full
from tilework.functional.moments import std, var
from tilework.functional.order import sort, sums_along
from tilework.functional.pad import pad
from tilework.functional.pointwise import zero_where
from tilework.functional.reduce import mean, sum
from tilework.tensor import Tensor, fresh, tensor_method

Array = Any
Inputs = tuple[Any, ...]


# --- products ---


def _wide(x: Array) -> Any:
    """What products are kept in: float32's leave its range on the way to what is within."""
    return dtypes.float64 if x.dtype == dtypes.float32 else x.dtype


def _divides(x: Array, product: Array) -> bool:
    """Whether the product of all but one is the product over that one: where no digit is lost."""
    least = float(dtypes.finfo(x.dtype).tiny)
    size = abs(product)
    return bool((x != 0).all() and ((size >= least) & (size < math.inf)).all())


def _prod_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x = inputs[0]
    grad = grad.unsqueeze(-1)
    if not mode.enabled and _divides(x._array, saved):
        return (grad * fresh(saved).unsqueeze(-1) / x,)
    # The product of those before each, times that of those behind it.
    wide = cast(x, _wide(x._array))
    before = _running(pad(wide[..., :-1], (1, 0), value=1.0))
    behind = _running(pad(wide[..., 1:].flip(-1), (1, 0), value=1.0)).flip(-1)
    return (cast(grad * (before * behind), x.dtype),)


_PROD = Op("prod", differentiable=_prod_recorded)


def _product(x: Tensor) -> Tensor:
    """Along the last axis."""
    xp, array = namespace(x._array), x._array
    with errstate(all="ignore"):
        value = as_array(xp.prod(array, axis=-1, dtype=_wide(array)), x.dtype)
    y = fresh(value)
    if mode.enabled and x._requires_grad:
        record(y, _PROD, (x,), value, (x._storage, y._storage))
    return y


def _factors(op: str, input: Any, dtype: Any) -> Tensor:
    """The input in `dtype`; without one, integers and bools in int64."""
    x = operand(input, op)
    if dtype is not None:
        return cast(x, dtypes.check(dtype, op))
    return x if dtypes.is_float(x.dtype) else cast(x, dtypes.int64)


@tensor_method()
@numpy_names
@in_full
def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The product over all elements, or along `dim`; integers and bools give int64. `dtype`
    converts before.

    >>> tw.prod(tw.tensor([[1.0, 2.0], [3.0, 4.0]]), 1)
    tensor([ 2., 12.])
    """
    x = _factors("prod", input, dtype)
    if x.dtype is dtypes.bfloat16:
        return in_float32(prod, x, dim, keepdim)
    if dim is None:
        y = _product(x.reshape(-1))
        return y.reshape((1,) * x.ndim) if keepdim else y
    at = axis("prod", dim, x.ndim)
    if not x.ndim:
        return x.clone()
    y = _product(x.movedim(at, -1))
    return y.unsqueeze(at) if keepdim else y


def _cumprod_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x = inputs[0]
    if not mode.enabled and _divides(x._array, saved):
        return (sums_along(grad * fresh(saved), x.ndim - 1, True) / x,)
    if not mode.enabled:
        return (fresh(_cumprod_backward(grad._array, x._array)),)
    # What an element adds to each product from its own place on. Quadratic in their number.
    n = x.shape[-1]
    xp = namespace(x._array)
    own = fresh(xp.arange(n) == xp.arange(n).reshape(-1, 1))
    others = x.unsqueeze(-2).expand(*x.shape[:-1], n, n).masked_fill(own, 1.0)
    return ((_running(others).triu() * grad.unsqueeze(-2)).sum(-1),)


def _cumprod_backward(grad: Array, x: Array) -> Array:
    """Without a division. What comes behind element i, by its slope, is s[i] = grad[i] +
    x[i + 1] s[i + 1]; what stands before it multiplies that."""
    xp, wide = namespace(x), _wide(x)
    slopes = xp.empty(x.shape, wide)
    behind = xp.zeros(x.shape[:-1], wide)
    before = xp.ones(x.shape, wide)
    with errstate(all="ignore"):
        before[..., 1:] = xp.cumprod(x[..., :-1], axis=-1, dtype=wide)
        for i in reversed(range(x.shape[-1])):
            behind = grad[..., i] + (x[..., i + 1] * behind if i + 1 < x.shape[-1] else 0)
            slopes[..., i] = behind
        return as_array(slopes * before, x.dtype)


_CUMPROD = Op("cumprod", differentiable=_cumprod_recorded)


def _running(x: Tensor) -> Tensor:
    """The running product along the last axis."""
    xp, array = namespace(x._array), x._array
    with errstate(all="ignore"):
        value = as_array(xp.cumprod(array, axis=-1, dtype=_wide(array)), x.dtype)
    y = fresh(value)
    if mode.enabled and x._requires_grad:
        record(y, _CUMPROD, (x,), value, (x._storage, y._storage))
    return y


@tensor_method()
@numpy_names
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The running product along `dim`; integers and bools give int64. `dtype` converts before.

    >>> tw.cumprod(tw.tensor([1, 2, 3]), 0)
    tensor([1, 2, 6])
    """
    x = _factors("cumprod", input, dtype)
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(cumprod, x, dim)
        return result
    at = axis("cumprod", dim, x.ndim)
    if not x.ndim:
        return x.clone()
    return _running(x.movedim(at, -1)).movedim(-1, at)


# --- what stands in the middle ---


def _ranked(op: str, x: Tensor, dim: Any, keepdim: bool, place: Any) -> Ranked:
    """The element of an order along an axis, and its index; NaN where there is one."""
    if not x.ndim:
        axis(op, dim, 0)
        return Ranked(x.clone(), fresh(namespace(x._array).zeros((), dtype=dtypes.int64)))
    at = axis(op, dim, x.ndim)
    n = x.shape[at]
    if not n:
        raise error(IndexError, op, "elements along the axis", x.shape, "it is empty")
    values, indices = sort(x, at)
    k = place(n)
    picked, order = values.narrow(at, k, 1), indices.narrow(at, k, 1)
    if op == "median" and dtypes.is_float(x.dtype):
        last = values.narrow(at, n - 1, 1)  # where NaN is sorted to
        odd = last != last
        if may_hold(odd._array):
            found = fresh(namespace(x._array).isnan(x._array)).long().argmax(at, keepdim=True)
            order = found.where(odd, order)
            picked = gather(x, at, order)
    both = (picked, order) if keepdim else (picked.squeeze(at), order.squeeze(at))
    return Ranked(*(t.clone() for t in both))


@tensor_method()
@numpy_names
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of all elements, the lower of two; or along `dim` (values, indices), a named
    tuple. NaN where there is one.

    >>> tw.median(tw.tensor([3.0, 1.0, 2.0, 4.0]))
    tensor(2.)
    """
    x = operand(input, "median")
    if dim is not None:
        return _ranked("median", x, dim, keepdim, lambda n: (n - 1) // 2)
    flat = x.reshape(-1)
    if not flat.shape[0]:
        return fresh(namespace(x._array).full((), math.nan, dtype=x.dtype))
    return _ranked("median", flat, 0, False, lambda n: (n - 1) // 2).values


@tensor_method()
@numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """(values, indices), a named tuple, of the k-th smallest along `dim`, counted from 1.
    ValueError where there are not as many.

    >>> tw.kthvalue(tw.tensor([3.0, 1.0, 2.0]), 2).values
    tensor(2.)
    """
    x = operand(input, "kthvalue")

    def place(n: int) -> int:
        if not 1 <= k <= n:
            raise error(ValueError, "kthvalue", f"k in [1, {n}]", k, "count from 1")
        return k - 1

    if not x.ndim:
        place(1)
    return _ranked("kthvalue", x, dim, keepdim, place)


_BETWEEN = ("linear", "lower", "higher", "midpoint", "nearest")


@tensor_method()
@numpy_names
@in_full
def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """The quantiles `q`, a number or a vector of them in [0, 1], of all elements or along `dim`;
    several stand along a new first axis. NaN where there is one.

    `interpolation` says what lies between two elements: "linear", "lower", "higher", "midpoint" or
    "nearest". TypeError on integers, ValueError outside of [0, 1] or on another word.

    >>> tw.quantile(tw.tensor([1.0, 2.0, 4.0]), 0.75)
    tensor(3.)
    """
    op = "quantile"
    x = operand(input, op)
    need_float(op, x)
    if interpolation not in _BETWEEN:
        raise error(ValueError, op, f"interpolation of {_BETWEEN}", word(interpolation), "name one")
    wanted = q.detach().double().tolist() if isinstance(q, Tensor) else q
    several = isinstance(wanted, (list, tuple))
    marks = [float(m) for m in wanted] if several else [float(wanted)]
    if not all(0.0 <= m <= 1.0 for m in marks):
        raise error(ValueError, op, "q in [0, 1]", wanted, "it is a part of all")
    at = 0 if dim is None else axis(op, dim, x.ndim)
    lines = x.reshape(-1) if dim is None or not x.ndim else x.movedim(at, -1)
    n = lines.shape[-1]
    if not n:
        raise error(ValueError, op, "elements", x.shape, "there are none")
    values = sort(lines, -1).values
    odd = values[..., n - 1 :] != values[..., n - 1 :]
    values = values.masked_fill(odd, math.nan)
    parts = [_at(values, m * (n - 1), interpolation) for m in marks]
    if keepdim:
        kept = [1] * x.ndim if dim is None or not x.ndim else [*x.shape[:at], 1, *x.shape[at + 1 :]]
        parts = [p.reshape(kept) for p in parts]
    if not several:
        return parts[0]
    return stack(parts)


def _at(values: Tensor, place: float, how: str) -> Tensor:
    """Of sorted elements what stands at a place between two."""
    low, high = math.floor(place), math.ceil(place)
    if how == "nearest":
        low = high = round(place)
    elif how in ("lower", "higher"):
        low = high = low if how == "lower" else high
    a, b = values[..., low], values[..., high]
    if low == high:
        return a.clone()
    part = 0.5 if how == "midpoint" else place - low
    return a + (b - a) * part if part < 0.5 else b - (b - a) * (1.0 - part)


# --- pairs ---


@numpy_names
def var_mean(
    input: Tensor, dim: Dim = None, unbiased: bool = True, keepdim: bool = False, *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(var, mean) over `dim`, by the arguments of var.

    >>> tw.var_mean(tw.tensor([1.0, 2.0, 3.0]))
    (tensor(1.), tensor(2.))
    """
    return _with_mean(var, input, dim, unbiased, keepdim, correction)


@numpy_names
def std_mean(
    input: Tensor, dim: Dim = None, unbiased: bool = True, keepdim: bool = False, *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(std, mean) over `dim`, by the arguments of std.

    >>> tw.std_mean(tw.tensor([1.0, 2.0, 3.0]))
    (tensor(1.), tensor(2.))
    """
    return _with_mean(std, input, dim, unbiased, keepdim, correction)


def _with_mean(
    of: Any, input: Any, dim: Any, unbiased: bool, keepdim: bool, correction: Any
) -> tuple[Tensor, Tensor]:
    if isinstance(dim, bool):
        unbiased, dim = dim, None
    return of(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


@tensor_method()
@numpy_names
def count_nonzero(input: Tensor, dim: Dim = None) -> Tensor:
    """How many elements are other than 0, over `dim`; int64.

    >>> tw.count_nonzero(tw.tensor([0.0, 2.0, 3.0]))
    tensor(2)
    """
    x = operand(input, "count_nonzero")
    over = axes("count_nonzero", dim, x.ndim)
    return wrap((x._array != 0).sum(axis=over, dtype=dtypes.int64))


@tensor_method()
@numpy_names
def nansum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over `dim` of what is not NaN; the rest as for sum.

    >>> tw.nansum(tw.tensor([1.0, float("nan")]))
    tensor(1.)
    """
    x = operand(input, "nansum")
    return sum(zero_where(x, namespace(x._array).isnan(x._array)), dim, keepdim, dtype=dtype)


@tensor_method()
@numpy_names
def nanmean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over `dim` of what is not NaN; NaN where there is nothing else. TypeError on
    integers.

    >>> tw.nanmean(tw.tensor([1.0, 3.0, float("nan")]))
    tensor(2.)
    """
    x = operand(input, "nanmean")
    need_float("nanmean", x)
    if dtype is not None:
        x = cast(x, dtypes.check(dtype, "nanmean"))
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(nanmean, x, dim, keepdim)
        return result
    odd = namespace(x._array).isnan(x._array)
    return sum(zero_where(x, odd), dim, keepdim) / sum(fresh(as_array(~odd)), dim, keepdim)
