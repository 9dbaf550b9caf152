"""Sums, means, maxima and softmax over segments: rows that an index puts together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import may_hold, namespace
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.cast import widened
from tilework.functional.common import need_float, operand, whole
from tilework.functional.indexing import GATHER, indices, outside
from tilework.functional.masks import where
from tilework.storage import Storage
from tilework.tensor import Tensor, fresh

Array = Any
Inputs = tuple[Any, ...]
Reads = tuple[Storage, ...]


def _flat(x: Any) -> Any:
    """(N, ...) as (N, columns)."""
    return x if x.ndim == 2 else x.reshape(x.shape[0], math.prod(x.shape[1:]))


# --- rows and their sums, each the other's gradient ---


def _sum_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (ops.index_select(grad, 0, saved, False),)


def _sum_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (rows_of(grad, saved),)


def _rows_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (ops.index_add(grad, 0, saved, inputs[0].shape[0], None, False),)


def _rows_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (sum_of(grad, saved, inputs[0].shape[0]),)


_SUM = Op("segment_sum", _sum_backward, _sum_recorded)
_ROWS = Op("rows", _rows_backward, _rows_recorded)


def sum_of(x: Tensor, index: Array, count: int, reads: Reads = ()) -> Tensor:
    """segment_sum; `reads` is the index' storage, where others can write to it."""
    y = fresh(ops.index_add(x._array, 0, index, count, None, False))
    if mode.enabled and x._requires_grad:
        record(y, _SUM, (x,), index, reads)
    return y


def rows_of(x: Tensor, index: Array) -> Tensor:
    """x[index], of an index that is within."""
    y = fresh(ops.index_select(x._array, 0, index, False))
    if mode.enabled and x._requires_grad:
        record(y, _ROWS, (x,), index)
    return y


def shares(index: Array, count: int, like: Array) -> Array:
    """One over how many rows the segment has that each row belongs to: (N, 1), of the dtype and
    namespace of `like`."""
    ones = namespace(like).ones((index.size, 1), dtype=dtypes.float64)
    sizes = ops.segment_sum(ones, index, count, -1, False)
    return (1.0 / ops.index_select(sizes, 0, index, False)).astype(like.dtype)


def _mean_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    rows = ops.index_select(_flat(grad), 0, saved, False)
    return ((rows * shares(saved, len(grad), grad)).reshape(inputs[0].shape),)


def _mean_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    rows = rows_of(_flat(grad), saved)
    share = fresh(shares(saved, len(grad), grad._array))
    return ((rows * share).reshape(inputs[0].shape),)


_MEAN = Op("segment_mean", _mean_backward, _mean_recorded)


# --- what is checked ---


def _checked(
    op: str, input: Any, index: Any, num_segments: Any
) -> tuple[Tensor, Array, int, Reads]:
    x, count = operand(input, op), whole(op, "num_segments", num_segments)
    need_float(op, x)
    if count < 0:
        raise error(ValueError, op, "num_segments of at least 0", count, "count the segments")
    i, reads = indices(op, "index", index)
    if not x.ndim or i.shape != x.shape[:1]:
        raise error(
            ValueError, op, f"index ({x.shape[0] if x.ndim else 1},), one for each row of input",
            i.shape, "flatten it, or give each row its segment",
        )  # fmt: skip
    return x, i, count, reads


# --- the functions ---


def segment_sum(input: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """The sums of the rows of each segment: out[s] = sum of input[i] where index[i] = s.

    input (N, ...), index (N,) of integers below num_segments, in any order; out (num_segments,
    ...), zero where a segment is empty. Rows add in their order, so that results do not change.
    TypeError on dtypes, ValueError on shapes, IndexError out of range.

    >>> F.segment_sum(tw.tensor([1.0, 2.0, 4.0]), tw.tensor([0, 2, 0]), 3)
    tensor([5., 0., 2.])
    """
    x, i, count, reads = _checked("segment_sum", input, index, num_segments)
    try:
        return sum_of(x, i, count, reads)
    except IndexError:
        raise outside("segment_sum", "index", i, count) from None


def segment_mean(input: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """The means of the rows of each segment, zero where it is empty; the rest as segment_sum.

    >>> F.segment_mean(tw.tensor([1.0, 2.0, 4.0]), tw.tensor([0, 2, 0]), 3)
    tensor([2.5, 0.0, 2.0])
    """
    x, i, count, reads = _checked("segment_mean", input, index, num_segments)
    try:
        found = ops.segment_sum(_flat(x._array), i, count, -1, True)
    except IndexError:
        raise outside("segment_mean", "index", i, count) from None
    y = fresh(found.reshape(count, *x.shape[1:]))
    if mode.enabled and x._requires_grad:
        record(y, _MEAN, (x,), i, reads)
    return y


def segment_max(input: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """The largest of the rows of each segment, element by element, zero where it is empty.

    NaN counts as the largest. The gradient goes to the first of equal ones. The rest as
    segment_sum.

    >>> F.segment_max(tw.tensor([1.0, 2.0, 4.0]), tw.tensor([0, 2, 0]), 3)
    tensor([4., 0., 2.])
    """
    x, i, count, _ = _checked("segment_max", input, index, num_segments)
    rows = _flat(x)
    try:
        values, places = ops.segment_max(rows._array, i, count)
    except IndexError:
        raise outside("segment_max", "index", i, count) from None
    y = largest_of(rows, values, places)
    return y.reshape(count, *x.shape[1:]) if x.ndim != 2 else y


def largest_of(x: Tensor, values: Array, places: Array) -> Tensor:
    """`values`, each of its column in the row of x (N, columns) that `places` names, or 0 where
    that is -1; recorded."""
    y = fresh(values)
    if not (mode.enabled and x._requires_grad):
        return y
    none = places < 0
    if not may_hold(none):
        record(y, GATHER, (x,), (0, places))
        return y
    if not len(x):
        return y
    record(y, GATHER, (x,), (0, namespace(places).where(none, 0, places)))
    chosen: Tensor = where(fresh(none), 0.0, y)
    return chosen


def _as(dtype: Any, x: Array) -> Array:
    return ops.narrow(x) if dtype is dtypes.bfloat16 else x


def _softmax_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    index, y, count = saved
    y, dtype = widened(y), grad.dtype
    weighted = ops.binary_forward("mul", widened(grad), y)
    total = ops.index_select(ops.index_add(weighted, 0, index, count, None, False), 0, index, False)
    return (_as(dtype, ops.binary_forward("sub", weighted, ops.binary_forward("mul", y, total))),)


def _softmax_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    index, _, count = saved
    y = _softmax(inputs[0], index, count, ())
    weighted = grad * y
    return (weighted - y * rows_of(sum_of(weighted, index, count), index),)


_SOFTMAX = Op("segment_softmax", _softmax_backward, _softmax_recorded)


def _softmax(x: Tensor, index: Array, count: int, reads: Reads) -> Tensor:
    xp = namespace(x._array)
    rows = widened(_flat(x._array))
    top = ops.segment_max(rows, index, count)[0]
    # Where all are -Inf, none has a weight.
    top = xp.where(top == -math.inf, float(dtypes.finfo(rows.dtype).min), top).astype(rows.dtype)
    above = ops.binary_forward("sub", rows, ops.index_select(top, 0, index, False))
    e = ops.unary_forward("exp", above)
    total = ops.index_add(e, 0, index, count, None, False)
    total = xp.where(total == 0, 1, total).astype(rows.dtype)
    found = ops.binary_forward("div", e, ops.index_select(total, 0, index, False))
    y = fresh(_as(x.dtype, found).reshape(x.shape))
    if mode.enabled and x._requires_grad:
        record(y, _SOFTMAX, (x,), (index, y._array, count), (*reads, y._storage))
    return y


def segment_softmax(input: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """exp(x) over its sum in the segment that each row belongs to, without overflow.

    Where all of a segment is -Inf the weights are zero. The rest as segment_sum; the result has the
    input's shape.

    >>> F.segment_softmax(tw.tensor([1.0, 2.0, 1.0]), tw.tensor([0, 2, 0]), 3)
    tensor([0.5, 1.0, 0.5])
    """
    x, i, count, reads = _checked("segment_softmax", input, index, num_segments)
    try:
        return _softmax(x, i, count, reads)
    except IndexError:
        raise outside("segment_softmax", "index", i, count) from None
