"""Reductions: sums, means, extremes and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import as_array, broadcast_shapes, may_hold, namespace
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.cast import cast, in_float32, widened
from tilework.functional.common import (
    ALL_AXES,
    Dim,
    Ranked,
    axes,
    axis,
    need_float,
    numpy_names,
    operand,
    sizes,
    wrap,
)
from tilework.functional.pointwise import maximum, minimum
from tilework.tensor import Tensor, fresh, tensor_method

Array = Any
Inputs = tuple[Any, ...]


def with_axes(shape: tuple[int, ...], over: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` with length 1 along the axes `over`."""
    return tuple(1 if i in over else n for i, n in enumerate(shape))


# --- sum and mean ---


def _sum_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x = inputs[0]._array
    # A dense array: the next backward reads it many times, a broadcast view would be walked by
    # steps.
    out = namespace(x).empty_like(x)
    out[...] = grad.reshape(with_axes(x.shape, saved))
    return (out,)


def _sum_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    shape = inputs[0].shape
    return (grad.reshape(with_axes(shape, saved)).expand(shape),)


def _mean_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    count = inputs[0]._array.size / max_one(grad.size)
    return _sum_backward(as_array(grad / grad.dtype.type(count)), inputs, saved)


def _mean_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return _sum_recorded(grad / (inputs[0].numel() / max_one(grad.numel())), inputs, saved)


def max_one(n: int) -> int:
    """`n`, or 1 for 0."""
    return n or 1


_SUM = Op("sum", _sum_backward, _sum_recorded)
_MEAN = Op("mean", _mean_backward, _mean_recorded)


@tensor_method()
@numpy_names
def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The sum over `dim` (an axis, several, or all); integers and bools give int64.

    IndexError on an axis that is not there.

    >>> tw.sum(tw.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=0)
    tensor([4., 6.])
    """
    x = operand(input, "sum")
    if dtype is not None:
        x = cast(x, dtypes.check(dtype, "sum"))
    over = axes("sum", dim, x._array.ndim)
    if x._array.dtype.kind != "f":
        if x.dtype is dtypes.bfloat16:
            result: Tensor = in_float32(sum, x, dim, keepdim)
            return result
        return wrap(x._array.sum(axis=over, keepdims=keepdim, dtype=dtypes.int64))
    y = fresh(ops.sum(x._array, over, keepdim))
    if mode.enabled and x._requires_grad:
        record(y, _SUM, (x,), over)
    return y


@tensor_method()
@numpy_names
def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """The mean over `dim` (an axis, several, or all); NaN over nothing.

    TypeError on integers (give `dtype=`), IndexError on an axis that is not there.

    >>> tw.mean(tw.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=1)
    tensor([1.5, 3.5])
    """
    x = operand(input, "mean")
    if dtype is not None:
        x = cast(x, dtypes.check(dtype, "mean"))
    need_float("mean", x)
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(mean, x, dim, keepdim)
        return result
    over = axes("mean", dim, x._array.ndim)
    y = fresh(ops.mean(x._array, over, keepdim))
    if mode.enabled and x._requires_grad:
        record(y, _MEAN, (x,), over)
    return y


def _sum_to_gradient(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (grad.expand(inputs[0].shape),)


_SUM_TO = Op("sum_to_size", differentiable=_sum_to_gradient)


@tensor_method()
def sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """Sums over the axes that broadcasting from `size` to this shape has stretched.

    ValueError where `size` does not broadcast to this shape.

    >>> tw.ones(2, 3).sum_to_size(3)
    tensor([2., 2., 2.])
    """
    shape = sizes("sum_to_size", size)
    if shape == self.shape:
        return self
    try:
        fits = broadcast_shapes(shape, self.shape) == self.shape
    except ValueError:
        fits = False
    if not fits:
        raise error(
            ValueError, "sum_to_size", f"a size that broadcasts to {self.shape}", shape,
            "make each axis equal, or 1",
        )  # fmt: skip
    if not dtypes.is_float(self._array.dtype):
        front = self.ndim - len(shape)
        over = (*range(front), *(front + i for i, n in enumerate(shape) if n == 1))
        return wrap(self._array.sum(axis=over, dtype=dtypes.int64)).reshape(shape)
    if self._array.dtype.kind != "f":
        result: Tensor = in_float32(sum_to_size, self, *shape)
        return result
    y = fresh(ops.sum_to_shape(self._array, shape))
    if mode.enabled and self._requires_grad:
        record(y, _SUM_TO, (self,))
    return y


# --- extremes ---


def _extreme_gradient(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """To the winners, in equal parts; NaN wins over all."""
    x = inputs[0]
    over, values = saved
    shape = with_axes(x.shape, over)
    values = values.reshape(shape)
    xp = namespace(values)
    winners = as_array(x._array == values)
    lost = xp.isnan(values)
    if may_hold(lost):
        winners |= xp.isnan(x._array) & lost
    count = fresh(as_array(winners.sum(axis=over, keepdims=True), grad.dtype))
    share = (grad.reshape(shape) / count).expand(x.shape)
    return (share.masked_fill(fresh(as_array(~winners)), 0.0),)


_AMAX = Op("amax", differentiable=_extreme_gradient)
_AMIN = Op("amin", differentiable=_extreme_gradient)


def _extreme(op: Op, input: Any, dim: Dim, keepdim: bool) -> Tensor:
    x = input if isinstance(input, Tensor) else operand(input, op.name)
    array = x._array
    over = axes(op.name, dim, array.ndim)
    if not array.size and 0 in [array.shape[i] for i in over]:
        raise error(
            ValueError, op.name, "at least one element along dim", x.shape, "guard the empty case"
        )
    if array.dtype.kind == "f":
        y = fresh((ops.max if op is _AMAX else ops.min)(array, over, keepdim))
    elif x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(amax if op is _AMAX else amin, x, dim, keepdim)
        return result
    else:
        function = x._array.max if op is _AMAX else x._array.min
        y = wrap(function(axis=over, keepdims=keepdim))
    if mode.enabled and x._requires_grad:
        record(y, op, (x,), (over, y._array), (x._storage, y._storage))
    return y


def _extreme_of_all(op: Op, input: Any) -> Tensor:
    """_extreme over all axes, in fewer steps where kernels serve it."""
    x = input if isinstance(input, Tensor) else operand(input, op.name)
    array = x._array
    if array.dtype.kind != "f" or not array.size:
        return _extreme(op, x, None, False)
    over = ALL_AXES[array.ndim]
    y = fresh((ops.max if op is _AMAX else ops.min)(array, over, False))
    if mode.enabled and x._requires_grad:
        record(y, op, (x,), (over, y._array), (x._storage, y._storage))
    return y


@tensor_method()
@numpy_names
def amax(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """The largest element over `dim`; NaN wins. Equal ones share the gradient.

    ValueError where there is nothing to choose from.

    >>> tw.amax(tw.tensor([[1.0, 5.0], [3.0, 2.0]]), 1)
    tensor([5., 3.])
    """
    return _extreme(_AMAX, input, dim, keepdim)


@tensor_method()
@numpy_names
def amin(input: Tensor, dim: Dim = (), keepdim: bool = False) -> Tensor:
    """The smallest element over `dim`; NaN wins. Equal ones share the gradient.

    ValueError where there is nothing to choose from.

    >>> tw.amin(tw.tensor([[1.0, 5.0], [3.0, 2.0]]), 1)
    tensor([1., 2.])
    """
    return _extreme(_AMIN, input, dim, keepdim)


def _along_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, chosen = saved
    rows = grad.reshape(chosen.shape)
    return (ops.scatter_add(rows, at, chosen, inputs[0]._array.shape, False),)


def _along_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, chosen = saved
    zeros = fresh(namespace(chosen).zeros(inputs[0]._array.shape, grad.dtype))
    return (zeros.scatter_add(at, fresh(chosen), grad.reshape(chosen.shape)),)


_ALONG = Op("extreme_along", _along_backward, _along_recorded)


def _along(op: str, input: Any, dim: Any, keepdim: bool) -> Ranked:
    """The extremes along an axis, and where they stand: the first of equals."""
    x = operand(input, op)
    array = x._array
    if not array.ndim or not array.size:
        places = _arg(f"arg{op}", x, dim, True)
        chosen_values = x.gather(dim, places)
        if keepdim:
            return Ranked(chosen_values, places)
        return Ranked(chosen_values.squeeze(dim), places.squeeze(dim))
    at = axis(op, dim, array.ndim)
    wide = widened(array)
    chosen = (wide.argmax if op == "max" else wide.argmin)(axis=at, keepdims=True)
    values = ops.gather(array, at, chosen, False)
    if keepdim:
        y, indices = fresh(values), fresh(chosen)
    else:
        shape = array.shape[:at] + array.shape[at + 1 :]
        y, indices = fresh(values.reshape(shape)), fresh(chosen.reshape(shape))
    if mode.enabled and x._requires_grad:
        record(y, _ALONG, (x,), (at, chosen), (indices._storage,))
    return Ranked(y, indices)


@tensor_method()
@numpy_names
def max(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest element; along an axis, (values, indices); beside a tensor, `maximum`.

    >>> tw.max(tw.tensor([[1.0, 5.0], [3.0, 2.0]]), 1).indices
    tensor([1, 0])
    """
    if dim is None:
        return _extreme_of_all(_AMAX, input)
    if isinstance(dim, Tensor):
        return maximum(input, dim)
    return _along("max", input, dim, keepdim)


@tensor_method()
@numpy_names
def min(input: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest element; along an axis, (values, indices); beside a tensor, `minimum`.

    >>> tw.min(tw.tensor([[1.0, 5.0], [3.0, 2.0]]), 1).values
    tensor([1., 2.])
    """
    if dim is None:
        return _extreme_of_all(_AMIN, input)
    if isinstance(dim, Tensor):
        return minimum(input, dim)
    return _along("min", input, dim, keepdim)


def _arg(op: str, input: Any, dim: int | None, keepdim: bool) -> Tensor:
    x = operand(input, op)
    if not (x.numel() if dim is None else x.shape[axis(op, dim, x.ndim)] if x.ndim else 1):
        raise error(ValueError, op, "at least one element", x.shape, "guard the empty case")
    array = widened(x._array)
    function = array.argmax if op == "argmax" else array.argmin
    if dim is None or not x.ndim:
        found = as_array(function())
        return fresh(found.reshape((1,) * x.ndim) if keepdim else found)
    return wrap(function(axis=dim, keepdims=keepdim))


@tensor_method()
@numpy_names
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the largest element stands (the first of equals), flat or along `dim`; int64.

    >>> tw.argmax(tw.tensor([[1.0, 5.0], [3.0, 2.0]]), dim=1)
    tensor([1, 0])
    """
    return _arg("argmax", input, dim, keepdim)


@tensor_method()
@numpy_names
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Where the smallest element stands (the first of equals), flat or along `dim`; int64.

    >>> tw.argmin(tw.tensor([[1.0, 5.0], [3.0, 2.0]]), dim=1)
    tensor([0, 1])
    """
    return _arg("argmin", input, dim, keepdim)


# --- truth ---


@tensor_method()
@numpy_names
def all(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether every element is other than zero.

    >>> tw.all(tw.tensor([1, 0]))
    tensor(False)
    """
    x = operand(input, "all")
    return wrap(x._array.all(axis=axes("all", dim, x.ndim), keepdims=keepdim))


@tensor_method()
@numpy_names
def any(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """Whether some element is other than zero.

    >>> tw.any(tw.tensor([1, 0]))
    tensor(True)
    """
    x = operand(input, "any")
    return wrap(x._array.any(axis=axes("any", dim, x.ndim), keepdims=keepdim))
