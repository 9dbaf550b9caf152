"""Writing to places that an index names: scatter and its reductions, index_add and its like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.arrays import gathering_key
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error, word
from tilework.functional.common import axis, broadcasts, number_of, numpy_names, operand
from tilework.functional.indexing import gather, index_select, where
from tilework.functional.inplace import write_over
from tilework.functional.segment import indices
from tilework.tensor import Tensor, fresh, tensor_method

Array = Any
Inputs = tuple[Any, ...]


def _written_to(shape: tuple[int, ...], at: int, index: Array) -> Array:
    mask = np.zeros(shape, np.bool_)
    mask[gathering_key(at, index)] = True
    return mask


# --- recorded ---


def _scatter_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, source = inputs
    at, index = saved
    gone = fresh(_written_to(x.shape, at, index))
    return (
        where(gone, 0.0, grad) if x._requires_grad else None,
        gather(grad, at, fresh(index)) if source is not None and source._requires_grad else None,
    )


def _scatter_add_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, index = saved
    return grad, gather(grad, at, fresh(index)) if inputs[1]._requires_grad else None


def _extreme_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """Equal ones share the gradient, as amax's."""
    x, source = (t._array for t in inputs)
    at, index, start, y = saved
    key = gathering_key(at, index)
    own = (start == y) | (np.isnan(start) & np.isnan(y))
    there = (source == y[key]) | (np.isnan(source) & np.isnan(y[key]))
    count = own.astype(np.int64)
    np.add.at(count, key, there.astype(np.int64))
    share = grad / np.maximum(count, 1).astype(grad.dtype)
    return np.where(own, share, 0).astype(x.dtype), np.where(there, share[key], 0).astype(x.dtype)


def _product_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """Each factor's gradient is the product of the others: told by the factors that are not zero,
    and how many are."""
    x, source = (t._array for t in inputs)
    at, index, start, _ = saved
    key = gathering_key(at, index)
    zeros = (start == 0).astype(np.int64)
    np.add.at(zeros, key, (source == 0).astype(np.int64))
    rest = np.where(start == 0, 1, start).astype(np.float64)
    np.multiply.at(rest, key, np.where(source == 0, 1, source))

    def others(factor: Array, zeros: Array, rest: Array) -> Array:
        known = np.where(factor == 0, rest, rest / np.where(factor == 0, 1, factor))
        return np.where(zeros - (factor == 0) > 0, 0, known)

    replaced = start is not x and _written_to(x.shape, at, index)
    own = np.where(replaced, 0, grad * others(start, zeros, rest))
    there = grad[key] * others(source, zeros[key], rest[key])
    return own.astype(x.dtype), there.astype(x.dtype)


_SCATTER = Op("scatter", differentiable=_scatter_recorded)
_SCATTER_ADD = Op("scatter_add", differentiable=_scatter_add_recorded)
_EXTREMES = {
    "amax": (Op("scatter_reduce", _extreme_backward), np.maximum),
    "amin": (Op("scatter_reduce", _extreme_backward), np.minimum),
    "prod": (Op("scatter_reduce", _product_backward), np.multiply),
}


def _record(y: Tensor, op: Op, inputs: Inputs, saved: Any, *reads: Any) -> Tensor:
    if mode.enabled and any(t is not None and t._requires_grad for t in inputs):
        record(y, op, inputs, saved, tuple(reads))
    return y


# --- what is checked ---


def _of_one(function: Callable[..., Tensor], input: Any, *args: Any, **options: Any) -> Tensor:
    """The function on a tensor without axes, as on one of one element; PyTorch's have one to speak
    of."""
    flat = [a.reshape(-1) if isinstance(a, Tensor) and not a.ndim else a for a in args]
    return function(input.reshape(1), *flat, **options).reshape(())


def _has_no_axes(input: Any) -> bool:
    return isinstance(input, Tensor) and not input.ndim


def _checked(
    op: str, input: Any, dim: Any, index: Any, src: Any
) -> tuple[Tensor, int, Array, Tensor | None]:
    """(input, axis, index, the part of `src` that the index reaches)."""
    x, i = operand(input, op), operand(index, op, "index")
    at = axis(op, dim, x.ndim)
    array = indices(op, "index", i, x.shape[at] if x.ndim else 1)
    if not x.ndim or array.ndim != x.ndim:
        if array.size or not x.ndim:
            raise error(
                ValueError, op, f"index of {x.ndim} axes, at least one", array.shape, "reshape it"
            )
        array = array.reshape((0,) * x.ndim)
    others = [d for d in range(x.ndim) if d != at]
    if any(array.shape[d] > x.shape[d] for d in others):
        raise error(
            ValueError, op, f"index within {x.shape} but along dim {dim}", array.shape, "cut it"
        )
    if not isinstance(src, Tensor):
        return x, at, array, None
    if src.dtype is not x.dtype:
        raise error(
            TypeError, op, f"src of input's dtype, {x.dtype}", src.dtype, "convert it with .to()"
        )
    if src.ndim != x.ndim or any(n > m for n, m in zip(array.shape, src.shape, strict=True)):
        raise error(
            ValueError, op, f"src at least as long as index, {array.shape}", src.shape, "expand it"
        )
    if src.shape != array.shape:
        src = src[tuple(slice(n) for n in array.shape)]
    return x, at, array, src


# --- the functions ---


@tensor_method()
@numpy_names
def scatter(input: Tensor, dim: int, index: Tensor, src: Any, *, reduce: Any = None) -> Tensor:
    """`input` with out[index[i][j]][j] = src[i][j] for dim=0, and so for any axis.

    `index` (integers) has input's number of axes, and is no longer but along `dim`; `src` is a
    number, or a tensor of input's dtype at least as long as index. Where an index repeats, the last
    counts. `reduce` "add" or "multiply" combines with what is there. ValueError where shapes do not
    fit, IndexError out of range, TypeError on dtypes.

    >>> tw.scatter(tw.zeros(2, 2), 1, tw.tensor([[1], [0]]), 5.0)
    tensor([[0., 5.],
            [5., 0.]])
    """
    if _has_no_axes(input):
        return _of_one(scatter, input, dim, index, src, reduce=reduce)
    if reduce is not None:
        if reduce not in ("add", "multiply"):
            raise error(
                ValueError, "scatter", "reduce of add or multiply", word(reduce), "name one"
            )
        if not isinstance(src, Tensor):
            src = fresh(number_of("scatter", input.dtype, src)).expand(index.shape)
        return scatter_reduce(input, dim, index, src, "sum" if reduce == "add" else "prod")
    x, at, places, source = _checked("scatter", input, dim, index, src)
    y = x._array.copy()
    if source is None:
        y[gathering_key(at, places)] = number_of("scatter", x.dtype, src)
    else:
        y[gathering_key(at, places)] = source._array
    return _record(fresh(y), _SCATTER, (x, source), (at, places))


@tensor_method()
@numpy_names
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`input` with out[index[i][j]][j] += src[i][j] for dim=0; the rest as scatter.

    Where an index repeats all are added, in a fixed order.

    >>> tw.scatter_add(tw.zeros(3), 0, tw.tensor([1, 1]), tw.tensor([2.0, 3.0]))
    tensor([0., 5., 0.])
    """
    if _has_no_axes(input):
        return _of_one(scatter_add, input, dim, index, src)
    given = operand(src, "scatter_add", "src")
    x, at, places, source = _checked("scatter_add", input, dim, index, given)
    assert source is not None
    if dtypes.is_float(x.dtype):
        added = ops.scatter_add(source._array, at, places, x.shape)
        y = (x._array + added).astype(x.dtype, copy=False)
    else:
        y = x._array.copy()
        np.add.at(y, gathering_key(at, places), source._array)
    return _record(fresh(np.asarray(y)), _SCATTER_ADD, (x, source), (at, places))


@tensor_method()
@numpy_names
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """`input` with the sum, product, mean, largest or smallest ("sum", "prod", "mean", "amax",
    "amin") of what src puts to each place, and with `include_self` of what is there; the rest as
    scatter.

    >>> x, i = tw.zeros(2), tw.tensor([0, 0, 1])
    >>> tw.scatter_reduce(x, 0, i, tw.tensor([2.0, 3.0, -1.0]), "amax")
    tensor([3., 0.])
    """
    if _has_no_axes(input):
        return _of_one(scatter_reduce, input, dim, index, src, reduce, include_self=include_self)
    op = "scatter_reduce"
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise error(
            ValueError, op, "reduce of sum, prod, mean, amax or amin", word(reduce), "name one"
        )
    given = operand(src, op, "src")
    x, at, places, source = _checked(op, input, dim, index, given)
    assert source is not None
    gone = None if include_self else _written_to(x.shape, at, places)
    if reduce in ("sum", "mean"):
        start = x if gone is None else where(fresh(gone), fresh(np.zeros((), x.dtype)), x)
        y = scatter_add(start, at, fresh(places), source)
        return y if reduce == "sum" else _mean_of(y, at, places, gone)
    record_as, function = _EXTREMES[reduce]
    begin = x._array
    if gone is not None:
        begin = np.where(gone, _neutral(reduce, x.dtype), begin).astype(x.dtype)
    y_array = begin.copy()
    function.at(y_array, gathering_key(at, places), source._array)
    y = fresh(y_array)
    saved = (at, places, begin, y_array)
    return _record(y, record_as, (x, source), saved, x._storage, source._storage, y._storage)


def _neutral(reduce: str, dtype: Any) -> Any:
    if reduce == "prod":
        return 1
    if dtypes.is_float(dtype):
        return -np.inf if reduce == "amax" else np.inf
    if dtype is dtypes.bool:
        return reduce == "amin"
    limits = np.iinfo(dtype)
    return limits.min if reduce == "amax" else limits.max


def _mean_of(total: Tensor, at: int, places: Array, gone: Array | None) -> Tensor:
    count = np.ones(total.shape, np.int64)
    if gone is not None:
        count[gone] = 0
    np.add.at(count, gathering_key(at, places), 1)
    count = np.maximum(count, 1)
    if dtypes.is_float(total.dtype):
        return total / fresh(count.astype(total.dtype))
    return fresh((total._array // count).astype(total.dtype))


def _slices(
    op: str, input: Any, dim: Any, index: Any, source: Any
) -> tuple[Tensor, int, Array, Tensor]:
    """(input, axis, 1-D index, source), whose slices along the axis are as many as the index's."""
    x, given = operand(input, op), operand(source, op, "source")
    at = axis(op, dim, x.ndim)
    array = indices(op, "index", index, x.shape[at] if x.ndim else 1).reshape(-1)
    if operand(index, op, "index").ndim > 1:
        raise error(ValueError, op, "index of one axis", index.shape, "flatten it")
    wanted = (*x.shape[:at], array.size, *x.shape[at + 1 :])
    if given.shape != wanted:
        raise error(ValueError, op, f"source {wanted}", given.shape, "one slice for each index")
    if given.dtype is not x.dtype:
        raise error(TypeError, op, f"source of input's dtype, {x.dtype}", given.dtype, "convert it")
    return x, at, array, given


def _index_add_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, index = saved
    return grad, index_select(grad, at, fresh(index)) if inputs[1]._requires_grad else None


def _index_copy_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, index = saved
    gone = np.zeros(grad.shape[at], np.bool_)
    gone[index] = True
    gone = gone.reshape(-1, *(1,) * (grad.ndim - 1 - at))
    return (
        where(fresh(gone), 0.0, grad),
        index_select(grad, at, fresh(index)) if inputs[1]._requires_grad else None,
    )


_INDEX_ADD = Op("index_add", differentiable=_index_add_recorded)
_INDEX_COPY = Op("index_copy", differentiable=_index_copy_recorded)


@tensor_method()
@numpy_names
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """`input` with alpha times the slices of `source` added to those along `dim` that the 1-D
    `index` names; repeated ones all, in their order.

    >>> tw.index_add(tw.zeros(3), 0, tw.tensor([2, 2]), tw.tensor([1.0, 3.0]))
    tensor([0., 0., 4.])
    """
    if _has_no_axes(input):
        return _of_one(index_add, input, dim, index, source, alpha=alpha)
    x, at, places, given = _slices("index_add", input, dim, index, source)
    if alpha != 1:
        given = given * alpha
    if dtypes.is_float(x.dtype):
        moved = np.moveaxis(given._array, at, 0)
        added = np.moveaxis(ops.index_add(moved, places, x.shape[at]), 0, at)
        y = (x._array + added).astype(x.dtype, copy=False)
    else:
        y = x._array.copy()
        key: Any = (*(slice(None),) * at, places)
        np.add.at(y, key, given._array)
    return _record(fresh(y), _INDEX_ADD, (x, given), (at, places))


@tensor_method()
@numpy_names
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`input` with the slices along `dim` that the 1-D `index` names replaced by those of `source`.

    >>> tw.index_copy(tw.zeros(3), 0, tw.tensor([2, 0]), tw.tensor([1.0, 3.0]))
    tensor([3., 0., 1.])
    """
    if _has_no_axes(input):
        return _of_one(index_copy, input, dim, index, source)
    x, at, places, given = _slices("index_copy", input, dim, index, source)
    y = x._array.copy()
    y[(slice(None),) * at + (places,)] = given._array
    return _record(fresh(y), _INDEX_COPY, (x, given), (at, places))


@tensor_method()
@numpy_names
def index_fill(input: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """`input` with `value` in the slices along `dim` that the 1-D `index` names.

    >>> tw.index_fill(tw.zeros(3), 0, tw.tensor([1]), 7.0)
    tensor([0., 7., 0.])
    """
    if _has_no_axes(input):
        filled: Tensor = index_fill(input.reshape(1), dim, index, value)
        return filled.reshape(())
    x = operand(input, "index_fill")
    at = axis("index_fill", dim, x.ndim)
    places = indices("index_fill", "index", index, x.shape[at] if x.ndim else 1).reshape(-1)
    gone = np.zeros(x.shape[at] if x.ndim else 1, np.bool_)
    gone[places] = True
    return x.masked_fill(fresh(gone.reshape(-1, *(1,) * (x.ndim - 1 - at))), value)


def _from_the_front(index: Tensor, count: int) -> Tensor:
    """Negative indices count from the end."""
    result: Tensor = where(index < 0, index + count, index)
    return result


@tensor_method()
@numpy_names
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """The elements of `input` along `dim` that `indices` (integers, broadcast) name: what argsort
    gives puts in order. Without `dim` both are flat.

    >>> x = tw.tensor([[3.0, 1.0, 2.0]])
    >>> tw.take_along_dim(x, x.argsort(1), 1)
    tensor([[1., 2., 3.]])
    """
    op = "take_along_dim"
    x, i = operand(input, op), operand(indices, op, "indices")
    if dim is None:
        return take(x, i.reshape(-1))
    if not x.ndim and not i.ndim:
        return take(x, i)
    at = axis(op, dim, x.ndim)
    rest = [(*t.shape[:at], 1, *t.shape[at + 1 :]) for t in (x, i)]
    if x.ndim != i.ndim or not broadcasts(*rest):
        raise error(
            ValueError, op, f"indices that broadcast with {x.shape} but along dim {dim}", i.shape,
            "give as many axes, equal or 1",
        )  # fmt: skip
    shape = np.broadcast_shapes(*rest)
    whole = [(*shape[:at], t.shape[at], *shape[at + 1 :]) for t in (x, i)]
    return gather(x.expand(whole[0]), at, _from_the_front(i.expand(whole[1]), x.shape[at]))


@tensor_method()
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements of `input`, as if it were flat, that `index` (integers, any shape) names.

    >>> tw.take(tw.tensor([[1.0, 2.0], [3.0, 4.0]]), tw.tensor([3, 0]))
    tensor([4., 1.])
    """
    x = operand(input, "take")
    i = operand(index, "take", "index")
    flat = _from_the_front(i.reshape(-1), x.numel())
    return gather(x.reshape(-1), 0, flat).reshape(i.shape)


# --- in place ---


def _writes(name: str, function: Callable[..., Tensor], doc: str) -> None:
    def method(self: Tensor, dim: int, index: Tensor, *args: Any, **options: Any) -> Tensor:
        return write_over(
            name, self, lambda x: function(x, dim, index, *args, **options), *args,
            *options.values(),
        )  # fmt: skip

    method.__name__ = method.__qualname__ = name
    method.__doc__ = doc
    tensor_method(name)(method)


for _name, _function, _doc in (
    ("scatter_", scatter, "Writes src at the places that an index names, in place."),
    ("scatter_add_", scatter_add, "Adds src at the places that an index names, in place."),
    ("scatter_reduce_", scatter_reduce, "Reduces src into places, in place."),
    ("index_add_", index_add, "Adds slices, in place."),
    ("index_copy_", index_copy, "Replaces slices, in place."),
    ("index_fill_", index_fill, "Puts a number into slices, in place."),
):
    _writes(_name, _function, _doc)
