"""Sums, means, maxima and softmax over segments: rows that an index puts together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.common import need_float, operand, whole
from tilework.functional.indexing import gather, where
from tilework.tensor import Tensor, fresh

Array = Any
Inputs = tuple[Any, ...]


def _sum_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (np.take(grad, saved, 0),)


def _sum_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (rows_of(grad, saved),)


def _rows_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (ops.index_add(grad, saved, inputs[0].shape[0]),)


def _rows_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (sum_of(grad, saved, inputs[0].shape[0]),)


_SUM = Op("segment_sum", _sum_backward, _sum_recorded)
_ROWS = Op("rows", _rows_backward, _rows_recorded)


def _flat(x: Any) -> Any:
    """(N, ...) as (N, columns)."""
    return x if x.ndim == 2 else x.reshape(x.shape[0], math.prod(x.shape[1:]))


def sum_of(x: Tensor, index: Array, count: int) -> Tensor:
    """segment_sum, of an index that was checked and that nobody writes to."""
    y = fresh(ops.index_add(x._array, index, count))
    if mode.enabled and x._requires_grad:
        record(y, _SUM, (x,), index)
    return y


def rows_of(x: Tensor, index: Array) -> Tensor:
    """x[index], of such an index."""
    y = fresh(np.take(x._array, index, 0))
    if mode.enabled and x._requires_grad:
        record(y, _ROWS, (x,), index)
    return y


def indices(op: str, name: str, index: Any, count: int) -> Array:
    """The int64 array of a tensor of integers in [0, count), which nobody else can write to.

    TypeError on others, IndexError out of range.
    """
    i = operand(index, op, name)
    if dtypes.is_float(i.dtype) or i.dtype is dtypes.bool:
        raise error(TypeError, op, f"{name} of integers", i.dtype, "convert it with .long()")
    array = i._array.astype(np.int64)
    if array.size and (array.min() < 0 or array.max() >= count):
        outside = array[(array < 0) | (array >= count)]
        raise error(
            IndexError, op, f"{name} in [0, {count})", int(outside.flat[0]), "check the indices"
        )
    return array


def _checked(op: str, input: Any, index: Any, num_segments: Any) -> tuple[Tensor, Array, int]:
    x, count = operand(input, op), whole(op, "num_segments", num_segments)
    need_float(op, x)
    if count < 0:
        raise error(ValueError, op, "num_segments of at least 0", count, "count the segments")
    i = indices(op, "index", index, count)
    if not x.ndim or i.shape != x.shape[:1]:
        raise error(
            ValueError, op, f"index ({x.shape[0] if x.ndim else 1},), one for each row of input",
            i.shape, "flatten it, or give each row its segment",
        )  # fmt: skip
    return x, i, count


def segment_sum(input: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """The sums of the rows of each segment: out[s] = sum of input[i] where index[i] = s.

    input (N, ...), index (N,) of integers below num_segments, in any order; out (num_segments,
    ...), zero where a segment is empty. Rows add in their order, so that results do not change.
    TypeError on dtypes, ValueError on shapes, IndexError out of range.

    >>> F.segment_sum(tw.tensor([1.0, 2.0, 4.0]), tw.tensor([0, 2, 0]), 3)
    tensor([5., 0., 2.])
    """
    return sum_of(*_checked("segment_sum", input, index, num_segments))


def _column(numbers: Array, x: Tensor) -> Array:
    """One number a row, in x's dtype, beside its other axes."""
    return numbers.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))


def segment_mean(input: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """The means of the rows of each segment, zero where it is empty; the rest as segment_sum.

    >>> F.segment_mean(tw.tensor([1.0, 2.0, 4.0]), tw.tensor([0, 2, 0]), 3)
    tensor([2.5, 0.0, 2.0])
    """
    x, i, count = _checked("segment_mean", input, index, num_segments)
    sizes = np.maximum(np.bincount(i, minlength=count), 1)
    return sum_of(x, i, count) / fresh(_column(sizes, x))


def segment_max(input: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """The largest of the rows of each segment, element by element, zero where it is empty.

    NaN counts as the largest. The gradient goes to the first of equal ones. The rest as
    segment_sum.

    >>> F.segment_max(tw.tensor([1.0, 2.0, 4.0]), tw.tensor([0, 2, 0]), 3)
    tensor([4., 0., 2.])
    """
    return max_of(*_checked("segment_max", input, index, num_segments))


def max_of(x: Tensor, index: Array, count: int) -> Tensor:
    """segment_max, of an index that was checked."""
    rows = _flat(x)
    where_from, empty = _largest(rows._array, index, count)
    if not len(x):
        return fresh(np.zeros((count, *x.shape[1:]), x.dtype))
    y: Tensor = where(fresh(empty[:, None]), 0.0, gather(rows, 0, fresh(where_from)))
    return y.reshape(count, *x.shape[1:]) if x.ndim != 2 else y


def _largest(x: Array, index: Array, count: int) -> tuple[Array, Array]:
    """Which row each segment's largest numbers stand in, the first of equal ones; and which
    segments are empty."""
    sizes = np.bincount(index, minlength=count)
    empty = sizes == 0
    at = np.zeros((count, x.shape[1]), np.int64)
    if not len(x) or not x.shape[1]:
        return at, empty
    order = np.argsort(index, kind="stable")
    starts = (np.cumsum(sizes) - sizes)[~empty]
    wide = x.astype(np.float32) if x.dtype == dtypes.bfloat16 else x
    ranked = wide[order]
    top = np.repeat(np.maximum.reduceat(ranked, starts), sizes[~empty], 0)
    is_top = (ranked == top) | (np.isnan(ranked) & np.isnan(top))
    first = np.minimum.reduceat(np.where(is_top, order[:, None], len(x)), starts)
    at[~empty] = first
    return at, empty


def segment_softmax(input: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """exp(x) over its sum in the segment that each row belongs to, without overflow.

    Where all of a segment is -Inf the weights are zero. The rest as segment_sum; the result has the
    input's shape.

    >>> F.segment_softmax(tw.tensor([1.0, 2.0, 1.0]), tw.tensor([0, 2, 0]), 3)
    tensor([0.5, 1.0, 0.5])
    """
    x, i, count = _checked("segment_softmax", input, index, num_segments)
    rows = _flat(x._array)
    at, empty = _largest(rows, i, count)
    lowest = float(dtypes.finfo(x.dtype).min)
    top = np.full((count, rows.shape[1]), lowest, x.dtype)
    if len(rows):
        top = np.where(empty[:, None], lowest, np.take_along_axis(rows, at, 0)).astype(x.dtype)
        top = np.where(top == -np.inf, lowest, top).astype(x.dtype)
    e = (x - fresh(top[i].reshape(x.shape))).exp()
    total = sum_of(e, i, count)
    total = where(total == 0, 1.0, total)
    return e / rows_of(total, i)
