"""Order along an axis, and running sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import namespace
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.cast import cast
from tilework.functional.common import Ranked, axis, numpy_names, operand, whole
from tilework.functional.indexing import GATHER
from tilework.tensor import Tensor, fresh, tensor_method

Array = Any
Inputs = tuple[Any, ...]


@tensor_method()
@numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
    """(values, indices), a named tuple, in order along `dim`; equal elements keep theirs.

    >>> tw.sort(tw.tensor([3.0, 1.0, 2.0]))[0]
    tensor([1., 2., 3.])
    """
    x = operand(input, "sort")
    if not x.ndim:
        axis("sort", dim, x.ndim)
        return Ranked(x.clone(), fresh(namespace(x._array).zeros((), dtypes.int64)))
    at = axis("sort", dim, x.ndim)
    return _ordered(x, at, *ops.sort(x._array, at, descending))


def _ordered(x: Tensor, at: int, values: Array, indices: Array) -> Ranked:
    """Elements of `x` along an axis, and the indices that chose them."""
    y, order = fresh(values), fresh(indices)
    if mode.enabled and x._requires_grad:
        record(y, GATHER, (x,), (at, indices), (order._storage,))
    return Ranked(y, order)


@tensor_method()
@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that put `dim` in order; equal elements keep theirs.

    >>> tw.argsort(tw.tensor([3.0, 1.0, 2.0]))
    tensor([1, 2, 0])
    """
    x = operand(input, "argsort")
    if not x.ndim:
        return fresh(namespace(x._array).zeros((), dtypes.int64))
    at = axis("argsort", dim, x.ndim)
    return fresh(ops.sort(x._array, at, descending)[1])


@tensor_method()
@numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """(values, indices), a named tuple, of the k largest (or smallest) along `dim`, in order.

    ValueError where k is outside the axis.

    >>> tw.topk(tw.tensor([3.0, 1.0, 2.0]), 2)[1]
    tensor([0, 2])
    """
    x = operand(input, "topk")
    shape = x._array.shape
    at = axis("topk", dim, len(shape))
    k = k if k.__class__ is int else whole("topk", "k", k)
    if not shape:
        return Ranked(*(t.reshape(()) for t in topk(x.reshape(1), k)))
    if not 0 <= k <= shape[at]:
        raise error(ValueError, "topk", f"k within {x.shape}", k, "lower it")
    return _ordered(x, at, *ops.topk(x._array, k, at, largest))


def _cumsum_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, reverse = saved
    return (_running_sum(grad, at, not reverse),)


def _cumsum_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, reverse = saved
    return (sums_along(grad, at, not reverse),)


_CUMSUM = Op("cumsum", _cumsum_backward, _cumsum_recorded)


def _running_sum(array: Array, at: int, reverse: bool) -> Array:
    if dtypes.is_float(array.dtype):
        return ops.cumsum(array, at, reverse)
    return namespace(array).cumsum(array, axis=at, dtype=dtypes.int64)


def sums_along(x: Tensor, at: int, reverse: bool) -> Tensor:
    """The running sum, or that from the end."""
    y = fresh(_running_sum(x._array, at, reverse))
    if mode.enabled and x._requires_grad:
        record(y, _CUMSUM, (x,), (at, reverse))
    return y


@tensor_method()
@numpy_names
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The running sum along `dim`, kept in float64; integers give int64. `dtype` converts before.

    >>> tw.cumsum(tw.tensor([1, 2, 3]), 0)
    tensor([1, 3, 6])
    """
    x = operand(input, "cumsum")
    if dtype is not None:
        x = cast(x, dtypes.check(dtype, "cumsum"))
    at = axis("cumsum", dim, x.ndim)
    if not x.ndim:
        return x.clone() if dtypes.is_float(x.dtype) else cast(x.clone(), dtypes.int64)
    return sums_along(x, at, reverse=False)
