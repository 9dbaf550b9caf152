"""Values that occur, how often, and where others would stand among them: nothing has a slope."""

from __future__ import annotations

import math
from typing import Any

from tilework import dtypes
from tilework.arrays import as_array, largest, namespace
from tilework.errors import error
from tilework.functional.common import axis, need_float, operand, room_for, side, whole, wrap
from tilework.tensor import Tensor, fresh, tensor_method

_tensor = side  # which an argument hides below


def _given(values: list[Any]) -> Any:
    """One tensor, or as many as were asked for."""
    tensors = tuple(wrap(v) for v in values)
    return tensors[0] if len(tensors) == 1 else tensors


@tensor_method()
def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The values that occur, in order, or along `dim` the slices; with them, if asked, the place
    of each element among them and how often each stands. `sorted=False` sorts too. NaN is equal to
    nothing, itself included.

    >>> tw.unique(tw.tensor([3, 1, 3]), return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    x = operand(input, "unique")
    array = x._array.astype(dtypes.float32) if x.dtype is dtypes.bfloat16 else x._array
    at = None if dim is None else axis("unique", dim, x.ndim)
    found, inverse, counts = namespace(array).unique(
        array, return_inverse=True, return_counts=True, axis=at, equal_nan=False
    )
    places = inverse.reshape(array.shape if at is None else -1)
    values = [found.astype(x.dtype, copy=False)]
    values += [places.astype(dtypes.int64, copy=False)] if return_inverse else []
    values += [counts.astype(dtypes.int64, copy=False)] if return_counts else []
    return _given(values)


@tensor_method()
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The flattened elements, or the slices along `dim`, each run of equal ones once; with them, if
    asked, the place of each among them and the lengths of the runs.

    >>> tw.unique_consecutive(tw.tensor([1, 1, 2, 1]))
    tensor([1, 2, 1])
    """
    x = operand(input, "unique_consecutive")
    xp = namespace(x._array)
    at = None if dim is None else axis("unique_consecutive", dim, x.ndim)
    lines = x._array.reshape(-1) if at is None or not x.ndim else xp.moveaxis(x._array, at, 0)
    n = lines.shape[0]
    begins = xp.ones((n,), dtype=dtypes.bool)
    unlike = lines[1:] != lines[:-1]
    begins[1:] = unlike.reshape(unlike.shape[0], math.prod(lines.shape[1:])).any(1)
    (starts,) = begins.nonzero()
    found = lines[begins]
    values = [found if at is None or not x.ndim else xp.moveaxis(found, 0, at)]
    if return_inverse:
        places = xp.cumsum(begins, axis=0, dtype=dtypes.int64) - 1
        values.append(places.reshape(x.shape) if at is None else places)
    if return_counts:
        ends = xp.concatenate([starts[1:], xp.full((1,), n)]) if n else starts
        values.append(ends - starts)
    return _given(values)


@tensor_method()
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each whole number from 0 stands in a vector, or the sum of its `weights`, as far as
    the largest, and `minlength` long at least. ValueError on negative ones.

    >>> tw.bincount(tw.tensor([1, 1, 3]))
    tensor([0, 2, 0, 1])
    """
    op = "bincount"
    x = operand(input, op)
    least = whole(op, "minlength", minlength)
    integers = not dtypes.is_float(x.dtype) and x.dtype is not dtypes.bool
    if x.ndim != 1 or not integers or least < 0 or (x._array < 0).any():
        raise error(
            ValueError, op, "a vector of whole numbers from 0, and minlength from 0",
            f"{x.shape} of {x.dtype}, minlength {least}", "shift them, or use .long()",
        )  # fmt: skip
    room_for(op, (max(least, int(largest(x._array, 0)) + 1),))
    xp, kind = namespace(x._array), dtypes.int64
    given = None
    if weights is not None:
        w = operand(weights, op, "weights")
        if w.shape != x.shape:
            raise error(ValueError, op, f"weights {x.shape}", w.shape, "give one for each")
        kind = dtypes.float32 if w.dtype is dtypes.float32 else dtypes.float64
        given = w._array.astype(dtypes.float64)
    found = xp.bincount(x._array.astype(dtypes.int64), given, least)
    return fresh(as_array(found, kind))


@tensor_method()
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements lie in each of `bins` parts of [min, max], of the data's own range where
    both are equal; what lies outside is not counted. In input's dtype; TypeError on integers.

    >>> tw.histc(tw.tensor([1.0, 2.0, 1.0]), bins=4, min=0, max=3)
    tensor([0., 2., 1., 0.])
    """
    x = operand(input, "histc")
    need_float("histc", x)
    count = whole("histc", "bins", bins)
    room_for("histc", (count,))
    if count < 1 or not min <= max:
        raise error(
            ValueError, "histc", "bins from 1, and min up to max", (bins, min, max), "swap them"
        )
    array = x._array.astype(dtypes.float64).reshape(-1)
    low, high = float(min), float(max)
    if low == high and array.size:
        low, high = float(array.min()), float(array.max())
    if low == high:
        low, high = low - 1.0, high + 1.0
    xp = namespace(array)
    if not (low - low == 0 and high - high == 0):
        raise error(ValueError, "histc", "a finite range", (low, high), "leave NaN and inf out")
    inside = array[(array >= low) & (array <= high)]
    places = ((inside - low) / (high - low) * count).astype(dtypes.int64)
    places = xp.minimum(places, count - 1)
    return fresh(as_array(xp.bincount(places, None, count), x.dtype))


@tensor_method()
def bucketize(
    input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The bucket of each element between rising `boundaries` (n,): i where
    boundaries[i-1] < x <= boundaries[i], or with `right` where boundaries[i-1] <= x <
    boundaries[i].

    >>> tw.bucketize(tw.tensor([0.5, 1.0, 9.0]), tw.tensor([1.0, 2.0]))
    tensor([0, 0, 2])
    """
    edges = operand(boundaries, "bucketize", "boundaries")
    if edges.ndim != 1:
        raise error(ValueError, "bucketize", "boundaries (n,)", edges.shape, "flatten them")
    return searchsorted(edges, input, out_int32=out_int32, right=right)


def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Where each element would be put into a rising sequence: before the first that is not less, or
    with `right` (side="right") before the first that is more.

    A sequence (n,) serves input of any shape, one (..., n) an input (..., m) with the same axes
    before; `sorter` is the order that sorts it. int64, or int32. ValueError where shapes disagree.

    >>> tw.searchsorted(tw.tensor([1, 3, 5]), tw.tensor([3, 6]))
    tensor([1, 3])
    """
    op = "searchsorted"
    sequence = operand(sorted_sequence, op, "sorted_sequence")
    xp = namespace(sequence._array)
    x = wrap(xp.asarray(input)) if isinstance(input, (int, float)) else _tensor(input, op, "input")
    if side not in (None, "left", "right") or (side == "left" and right):
        raise error(ValueError, op, 'side "left" or "right", and right as it says', side, "one")
    if sequence.ndim != 1 and sequence.shape[:-1] != x.shape[:-1]:
        raise error(
            ValueError, op, "a sequence (n,), or (..., n) beside input (..., m)",
            f"{sequence.shape} and {x.shape}", "reshape them",
        )  # fmt: skip
    if sorter is not None:
        sequence = sequence.gather(-1, operand(sorter, op, "sorter"))
    where = "right" if right or side == "right" else "left"
    dtype = dtypes.promote(sequence.dtype, x.dtype)
    dtype = dtypes.float32 if dtype is dtypes.bfloat16 else dtype
    edges, wanted = sequence._array.astype(dtype), x._array.astype(dtype)
    if sequence.ndim == 1:
        found = xp.searchsorted(edges, wanted, where)
    elif not wanted.size:
        found = xp.zeros(wanted.shape, dtype=dtypes.int64)
    else:
        lines = edges.reshape(math.prod(edges.shape[:-1]), edges.shape[-1])
        rows = wanted.reshape(lines.shape[0], -1)
        found = xp.zeros(rows.shape, dtype=dtypes.int64)
        for i in range(lines.shape[0]):
            found[i] = xp.searchsorted(lines[i], rows[i], where)
        found = found.reshape(x.shape)
    return wrap(as_array(found, dtypes.int32 if out_int32 else dtypes.int64))


def isin(elements: Any, test_elements: Any, *, invert: bool = False) -> Tensor:
    """Whether each element is among `test_elements`, or with `invert` is not; either may be a
    number.

    >>> tw.isin(tw.tensor([1, 2, 3]), tw.tensor([2, 3]))
    tensor([False,  True,  True])
    """
    model = elements if isinstance(elements, Tensor) else operand(test_elements, "isin")
    xp = namespace(model._array)
    sides = [
        v if isinstance(v, (int, float)) else _tensor(v, "isin", name)
        for name, v in (("elements", elements), ("test_elements", test_elements))
    ]
    a, b = (t._array if isinstance(t, Tensor) else xp.asarray(t) for t in sides)
    dtype = dtypes.result_type(*sides)
    dtype = dtypes.float32 if dtype is dtypes.bfloat16 else dtype
    found = xp.isin(a.astype(dtype), b.astype(dtype))
    return wrap(~found if invert else found)
