"""Writing to places that an index names: scatter and its reductions, index_add and its like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import broadcast_shapes, host, namespace
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.engines.device import number_on
from tilework.errors import error, word
from tilework.functional.cast import cast
from tilework.functional.common import axis, broadcasts, number_of, numpy_names, operand
from tilework.functional.indexing import (
    gather,
    gather_from_either_end,
    index_select,
    indices,
    outside,
)
from tilework.functional.inplace import write_over
from tilework.storage import Storage
from tilework.tensor import Tensor, fresh, tensor_method

Array = Any
Inputs = tuple[Any, ...]
Reads = tuple[Storage, ...]


# --- recorded ---


def _scatter_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, source = inputs
    at, index = saved
    return (
        scatter(grad, at, fresh(index), 0.0) if x._requires_grad else None,
        gather(grad, at, fresh(index)) if source is not None and source._requires_grad else None,
    )


def _sum_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, index, include_self, mean = saved
    if mean:
        grad = grad / fresh(_counts(grad._array, at, index, include_self))
    x, source = inputs
    return (
        _left(grad, at, index, include_self) if x._requires_grad else None,
        gather(grad, at, fresh(index)) if source._requires_grad else None,
    )


def _left(grad: Tensor, at: int, index: Array, include_self: bool) -> Tensor:
    """The gradient of what was there before."""
    result: Tensor = grad if include_self else scatter(grad, at, fresh(index), 0.0)
    return result


def _counts(like: Array, at: int, index: Array, include_self: bool) -> Array:
    """How many numbers the mean of each place is of, at least one; in the dtype of `like`."""
    xp = namespace(like)
    ones = xp.ones(index.shape, dtype=dtypes.float64)
    found = ops.scatter_add(ones, at, index, like.shape, False)
    return (found + 1.0 if include_self else xp.maximum(found, 1.0)).astype(like.dtype)


def _alike(a: Array, b: Array) -> Array:
    return (a == b) | ((a != a) & (b != b))


def _filled(x: Array, at: int, index: Array, value: float) -> Array:
    """x with `value` where the index points."""
    return ops.scatter(x, at, index, number_on(namespace(x), host.asarray(value, dtype=x.dtype)))


def _extreme_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """Equal ones share the gradient, as amax's."""
    x, source = (t._array for t in inputs)
    at, index, include_self, y = saved
    dtype = grad.dtype
    own = _alike(x, y).astype(dtype)
    if not include_self:
        own = _filled(own, at, index, 0.0)
    there = _alike(source, ops.gather(y, at, index, False)).astype(dtype)
    count = ops.scatter_reduce(own, at, index, there, "sum", True)
    share = grad / namespace(x).maximum(count, namespace(x).ones((), dtype=dtype))
    # A place that nobody has a share in may have no number.
    return (
        _where_set(own, share * own),
        _where_set(there, ops.gather(share, at, index, False) * there),
    )


def _extreme_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, source = inputs
    at, index, *_ = saved
    shares = _extreme_backward(namespace(x._array).ones_like(grad._array), (x, source), saved)
    own, theirs = (fresh(share) for share in shares)
    return own * grad, theirs * gather(grad, at, fresh(index))


def _where_set(mask: Array, x: Array) -> Array:
    xp = namespace(x)
    return ops.where(mask != 0, x, xp.zeros((), dtype=x.dtype))


def _product_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """Each factor's gradient is the product of the others: told by the factors that are not zero,
    and how many are."""
    x, source = (t._array for t in inputs)
    at, index, include_self, y = saved
    xp = namespace(x)
    start = x if include_self else _filled(x, at, index, 1.0)
    wide = dtypes.float64
    if bool((xp.isfinite(y) & (y != 0)).all()):  # and so no factor is zero
        flowing = grad.astype(wide) * y
        own = (flowing / start).astype(x.dtype)
        if not include_self:
            own = _filled(own, at, index, 0.0)
        return own, (ops.gather(flowing, at, index, False) / source).astype(x.dtype)
    mine, theirs = start == 0, source == 0
    rest = ops.scatter_reduce(
        xp.where(mine, 1, start).astype(wide), at, index, xp.where(theirs, 1, source).astype(wide),
        "prod", True,
    )  # fmt: skip
    zeros = ops.scatter_reduce(mine.astype(wide), at, index, theirs.astype(wide), "sum", True)

    def others(factor: Array, is_zero: Array, zeros: Array, rest: Array) -> Array:
        known = rest / xp.where(is_zero, 1, factor).astype(wide)
        return xp.where(zeros - is_zero.astype(wide) > 0, 0, known)

    own = (grad.astype(wide) * others(start, mine, zeros, rest)).astype(x.dtype)
    if not include_self:
        own = _filled(own, at, index, 0.0)
    rest, zeros = ops.gather(rest, at, index, False), ops.gather(zeros, at, index, False)
    flowing = ops.gather(grad, at, index, False).astype(wide)
    return own, (flowing * others(source, theirs, zeros, rest)).astype(x.dtype)


def _product_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """By quotients, of factors that are not zero; PyTorch refuses the others, too."""
    x, source = inputs
    at, index, include_self, _ = saved
    places = fresh(index)
    start = x if include_self else scatter(x, at, places, 1.0)
    if not ((start._array != 0).all() and (source._array != 0).all()):
        raise error(
            NotImplementedError, "scatter_reduce", "no factor of 0 where create_graph=True", "one",
            "multiply along an axis by prod, whose gradients can be differentiated",
        )  # fmt: skip
    flowing = grad * scatter_reduce(start, at, places, source, "prod")
    return _left(flowing / start, at, index, include_self), gather(flowing, at, places) / source


_SCATTER = Op("scatter", differentiable=_scatter_recorded)
_SCATTER_ADD = Op("scatter_add", differentiable=_sum_recorded)
_MEAN = Op("scatter_reduce", differentiable=_sum_recorded)
_EXTREME = Op("scatter_reduce", _extreme_backward, _extreme_recorded)
_PRODUCT = Op("scatter_reduce", _product_backward, _product_recorded)
_REDUCED = {
    "sum": _SCATTER_ADD, "mean": _MEAN, "prod": _PRODUCT, "amax": _EXTREME, "amin": _EXTREME,
}  # fmt: skip


def _record(y: Tensor, op: Op, inputs: Inputs, saved: Any, reads: Reads) -> Tensor:
    if mode.enabled and any(t is not None and t._requires_grad for t in inputs):
        record(y, op, inputs, saved, reads)
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
) -> tuple[Tensor, int, Array, Reads, Tensor | None]:
    """(input, axis, index, its storage where it is shared, the part of `src` that it reaches)."""
    x = operand(input, op)
    at = axis(op, dim, x.ndim)
    array, reads = indices(op, "index", index)
    if not x.ndim or array.ndim != x.ndim:
        if array.size or not x.ndim:
            raise error(
                ValueError, op, f"index of {x.ndim} axes, at least one", array.shape, "reshape it"
            )
        array = array.reshape((0,) * x.ndim)
    shape = x.shape
    if array.shape != shape and any(
        n > m and d != at for d, (n, m) in enumerate(zip(array.shape, shape, strict=True))
    ):
        raise error(
            ValueError, op, f"index within {x.shape} but along dim {dim}", array.shape, "cut it"
        )
    if not isinstance(src, Tensor):
        return x, at, array, reads, None
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
    return x, at, array, reads, src


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
    x, at, places, reads, source = _checked("scatter", input, dim, index, src)
    xp = namespace(x._array)
    values = number_of("scatter", x.dtype, src, xp=xp) if source is None else source._array
    try:
        y = fresh(ops.scatter(x._array, at, places, values))
    except IndexError:
        raise outside("scatter", "index", places, x.shape[at]) from None
    return _record(y, _SCATTER, (x, source), (at, places), reads)


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
    return _reduced("scatter_add", input, dim, index, src, "sum", True)


# A sum of truths is whether one holds, a product whether all do.
_OF_TRUTHS = {"sum": "amax", "prod": "amin"}


def _reduced(
    op: str, input: Any, dim: Any, index: Any, src: Any, reduce: str, include_self: bool
) -> Tensor:
    x, at, places, reads, source = _checked(op, input, dim, index, operand(src, op, "src"))
    assert source is not None
    whole = not dtypes.is_float(x.dtype)
    how = "sum" if whole and reduce == "mean" else reduce
    if x.dtype is dtypes.bool:
        how = _OF_TRUTHS.get(how, how)
    try:
        array = ops.scatter_reduce(x._array, at, places, source._array, how, include_self)
    except IndexError:
        raise outside(op, "index", places, x.shape[at]) from None
    if whole and reduce == "mean":  # rounded down
        like = namespace(array).zeros(array.shape, dtype=dtypes.float64)
        count = _counts(like, at, places, include_self).astype(dtypes.int64)
        array = (array.astype(dtypes.int64) // count).astype(x.dtype)
    y = fresh(array)
    if not mode.enabled or not (x._requires_grad or source._requires_grad):
        return y
    if reduce in ("sum", "mean"):
        saved: Any = (at, places, include_self, reduce == "mean")
    else:
        saved, reads = (
            (at, places, include_self, y._array),
            (*reads, x._storage, source._storage, y._storage),
        )
    return _record(y, _REDUCED[reduce], (x, source), saved, reads)


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
    return _reduced(op, input, dim, index, src, reduce, include_self)


def _list_of(op: str, x: Tensor, dim: Any, index: Any) -> tuple[int, Array, Reads]:
    """(axis, the 1-D index, its storage where that is shared)."""
    at = axis(op, dim, x.ndim)
    array, reads = indices(op, "index", index)
    if array.ndim > 1:
        raise error(ValueError, op, "index of one axis", array.shape, "flatten it")
    return at, array.reshape(-1), reads


def _slices(
    op: str, input: Any, dim: Any, index: Any, source: Any
) -> tuple[Tensor, int, Array, Reads, Tensor]:
    """(input, axis, 1-D index, its storage, source), whose slices along the axis are as many as the
    index's."""
    x, given = operand(input, op), operand(source, op, "source")
    at, array, reads = _list_of(op, x, dim, index)
    wanted = (*x.shape[:at], array.size, *x.shape[at + 1 :])
    if given.shape != wanted:
        raise error(ValueError, op, f"source {wanted}", given.shape, "one slice for each index")
    if given.dtype is not x.dtype:
        raise error(TypeError, op, f"source of input's dtype, {x.dtype}", given.dtype, "convert it")
    return x, at, array, reads, given


def _index_add_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, index = saved
    return grad, index_select(grad, at, fresh(index)) if inputs[1]._requires_grad else None


def _index_copy_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, index = saved
    i = fresh(index)
    return (
        index_fill(grad, at, i, 0.0) if inputs[0]._requires_grad else None,
        index_select(grad, at, i) if inputs[1]._requires_grad else None,
    )


def _index_fill_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, index = saved
    i, value = fresh(index), inputs[1]
    dvalue = None
    if value is not None and value._requires_grad:  # a slice named twice is filled once
        xp = namespace(index)
        filled = xp.zeros(grad.shape[at], dtype=bool)
        filled[index] = True
        once = fresh(filled.nonzero()[0])
        dvalue = index_select(grad, at, once).sum().reshape(value.shape)
    return index_fill(grad, at, i, 0.0) if inputs[0]._requires_grad else None, dvalue


_INDEX_ADD = Op("index_add", differentiable=_index_add_recorded)
_INDEX_COPY = Op("index_copy", differentiable=_index_copy_recorded)
_INDEX_FILL = Op("index_fill", differentiable=_index_fill_recorded)


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
    x, at, places, reads, given = _slices("index_add", input, dim, index, source)
    if alpha != 1:
        given = given * alpha
    try:
        if dtypes.is_float(x.dtype):
            array = ops.index_add(given._array, at, places, x.shape[at], x._array, False)
        else:
            across = places.reshape(-1, *(1,) * (x.ndim - 1 - at))
            everywhere = namespace(places).broadcast_to(across, given.shape)
            how = "amax" if x.dtype is dtypes.bool else "sum"
            array = ops.scatter_reduce(x._array, at, everywhere, given._array, how, True)
    except IndexError:
        raise outside("index_add", "index", places, x.shape[at]) from None
    return _record(fresh(array), _INDEX_ADD, (x, given), (at, places), reads)


@tensor_method()
@numpy_names
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`input` with the slices along `dim` that the 1-D `index` names replaced by those of `source`.

    >>> tw.index_copy(tw.zeros(3), 0, tw.tensor([2, 0]), tw.tensor([1.0, 3.0]))
    tensor([3., 0., 1.])
    """
    if _has_no_axes(input):
        return _of_one(index_copy, input, dim, index, source)
    x, at, places, reads, given = _slices("index_copy", input, dim, index, source)
    try:
        y = fresh(ops.index_copy(x._array, at, places, given._array))
    except IndexError:
        raise outside("index_copy", "index", places, x.shape[at]) from None
    return _record(y, _INDEX_COPY, (x, given), (at, places), reads)


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
    at, given, reads = _list_of("index_fill", x, dim, index)
    places = namespace(given).where(given < 0, given + x.shape[at], given)  # from the end
    filler = cast(value, x.dtype) if isinstance(value, Tensor) and not value.ndim else None
    number = (
        number_of("index_fill", x.dtype, value, xp=namespace(x._array))
        if filler is None
        else filler._array
    )
    try:
        y = fresh(ops.index_copy(x._array, at, places, number.reshape(())))
    except IndexError:
        raise outside("index_fill", "index", given, x.shape[at], True) from None
    return _record(y, _INDEX_FILL, (x, filler), (at, places), reads)


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
    shape = broadcast_shapes(*rest)
    whole = [(*shape[:at], t.shape[at], *shape[at + 1 :]) for t in (x, i)]
    return gather_from_either_end(op, x.expand(whole[0]), at, i.expand(whole[1]))


@tensor_method()
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements of `input`, as if it were flat, that `index` (integers, any shape) names.

    >>> tw.take(tw.tensor([[1.0, 2.0], [3.0, 4.0]]), tw.tensor([3, 0]))
    tensor([4., 1.])
    """
    x = operand(input, "take")
    i = operand(index, "take", "index")
    return gather_from_either_end("take", x.reshape(-1), 0, i.reshape(-1)).reshape(i.shape)


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
