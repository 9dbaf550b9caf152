"""Choosing elements by their places: x[...], gather, index_select."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import errstate, host, is_array, largest, namespace, ndarray, scalar
from tilework.autograd import Op, mode, record, unrecorded
from tilework.devices import CUDA, moved
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.common import (
    axis,
    numpy_names,
    one_of_many,
    operand,
    room_for,
    whole,
    wrap,
)
from tilework.storage import Aside, Storage
from tilework.tape import UNRECORDED, plain_views
from tilework.tensor import Tensor, fresh, tensor_method, view_of

Array = Any
Inputs = tuple[Any, ...]


def plain_key(key: Any, xp: Any = host) -> Any:
    """An index with the arrays of its tensors in their place, and a number for one without axes.
    Lists become arrays of the namespace `xp`, and arrays of the CPU's come to its device. As in
    PyTorch, uint8 is a mask, and an empty list an index that chooses nothing."""
    if isinstance(key, tuple):
        return tuple(plain_key(k, xp) for k in key)
    if isinstance(key, Tensor):
        key = key._array
    elif isinstance(key, list):
        key = xp.asarray(key, dtype=None if key else dtypes.int64)
    if is_array(key):
        if not key.ndim and key.dtype.kind in "iu":
            return int(key)
        if xp is not host and key.__class__ is ndarray:
            key = moved(key, CUDA)
        if key.dtype == dtypes.uint8:
            return key.astype(dtypes.bool)
    return key


def numbers_first(key: Any) -> tuple[Any, Any] | None:
    """An index of numbers beside arrays as two, the second into what the first chooses; None where
    it is one. NumPy takes a number for an array that stands beside the others, and so moves axes;
    in PyTorch numbers and slices choose first.

    >>> numbers_first((0, slice(None), np.array([1, 2])))[0]
    (0, slice(None, None, None), slice(None, None, None))
    """
    if not isinstance(key, tuple) or not any(is_array(k) for k in key):
        return None
    if not any(_is_whole(k) for k in key):
        return None
    first: list[Any] = []
    second: list[Any] = []
    for k in key:
        if is_array(k):
            first += [slice(None)] * (k.ndim if k.dtype == bool else 1)
            second.append(k)
        elif _is_truth(k):
            second.append(k)
        else:
            first.append(k)
            if k is None or isinstance(k, slice):
                second.append(slice(None))
            elif k is Ellipsis:
                second.append(k)
    return tuple(first), tuple(second)


def _is_whole(k: Any) -> bool:
    """Whether `k` is a whole number, Python's or NumPy's."""
    if isinstance(k, scalar):
        return k.dtype.kind in "iu"
    return isinstance(k, int) and not isinstance(k, bool)


def _is_truth(k: Any) -> bool:
    return k.dtype.kind == "b" if isinstance(k, scalar) else isinstance(k, bool)


def indices(op: str, name: str, index: Any) -> tuple[Array, tuple[Storage, ...]]:
    """The int64 array of a tensor of integers, and its storage where others can write to it.

    Whether they are within is for the engine to see. TypeError on others.
    """
    i = operand(index, op, name)
    array = i._array
    if array.dtype is dtypes.int64:
        return array, (i._storage,)
    if dtypes.is_float(array.dtype) or array.dtype is dtypes.bool:
        raise error(TypeError, op, f"{name} of integers", array.dtype, "convert it with .long()")
    return array.astype(dtypes.int64), ()


def outside(op: str, name: str, index: Array, count: int, wraps: bool = False) -> Exception:
    """What is raised for an index in which an engine found one that is not within."""
    lowest = -count if wraps else 0
    bad = index[(index < lowest) | (index >= count)].reshape(-1)
    found = int(bad[0]) if bad.size else "another, which a thread has overwritten since"
    return error(IndexError, op, f"{name} in [{lowest}, {count})", found, "check the indices")


_BASIC = frozenset((int, slice, type(None), type(Ellipsis)))


def is_basic(key: Any) -> bool:
    """Whether NumPy answers with a view, whose elements are distinct."""
    parts = key if isinstance(key, tuple) else (key,)
    if _BASIC.issuperset(map(type, parts)):
        return True
    return all(k is None or k is Ellipsis or isinstance(k, slice) or _is_whole(k) for k in parts)


def _is_distinct(key: Any) -> bool:
    """Whether no element is chosen twice: by numbers, slices and masks."""
    parts = key if isinstance(key, tuple) else (key,)
    return all((is_array(k) and k.dtype == dtypes.bool) or is_basic(k) for k in parts)


def _one_list(key: Any, shape: tuple[int, ...]) -> tuple[int, Array] | None:
    """(axis, index) of a key that is one array of integers behind whole slices; else None."""
    parts = key if isinstance(key, tuple) else (key,)
    at = len(parts) - 1
    if at >= len(shape) or not is_array(parts[-1]) or parts[-1].dtype.kind not in "iu":
        return None
    if any(not isinstance(k, slice) or k != slice(None) for k in parts[:at]):
        return None
    return at, parts[-1]


def places_of(key: Any, shape: tuple[int, ...]) -> tuple[Array, int] | None:
    """Of a key of arrays of integers alone, the flat positions along as many leading axes, and the
    number of these; else None."""
    if not isinstance(key, tuple) or len(key) > len(shape):
        return None
    if not all(is_array(k) and k.dtype.kind in "iu" for k in key):
        return None
    places: Any = 0
    for k, n in zip(key, shape, strict=False):
        i = k.astype(dtypes.int64, copy=False)
        places = places * n + namespace(i).where(i < 0, i + n, i)
    return places, len(key)


def is_whole_mask(key: Any, shape: tuple[int, ...]) -> bool:
    """Whether a key is a mask of all axes."""
    return is_array(key) and key.dtype.kind == "b" and key.shape == shape


def _scattered(array: Array, key: Any, like: Array) -> Array:
    """Zeros of the shape of `like`, with `array` added at `key`."""
    shape = like.shape
    key = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    if is_whole_mask(key, shape):
        return ops.masked_scatter(None, key, array)
    if _is_distinct(key):
        out = namespace(array).zeros_like(like, dtype=array.dtype)
        out[key] = array
        return out
    one = _one_list(key, shape)
    if one is not None:
        at, index = one
        slices = array.reshape(*shape[:at], index.size, *shape[at + 1 :])
        return ops.index_add(slices, at, _flat_index(index), shape[at], None, True)
    several = places_of(key, shape)
    if several is not None:
        places, axes = several
        rows = math.prod(shape[:axes])
        slices = array.reshape(places.size, *shape[axes:])
        return ops.index_add(slices, 0, places.reshape(-1), rows, None, False).reshape(shape)
    places = namespace(array).arange(like.size).reshape(shape)[key].reshape(-1)
    found = ops.index_add(array.reshape(-1), 0, places, like.size, None, False)
    return found.reshape(shape)


def _flat_index(index: Array) -> Array:
    return index.reshape(-1).astype(dtypes.int64, copy=False)


def _index_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (_scattered(grad, saved, inputs[0]._array),)


def _index_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (zeros_but_at(grad, saved, inputs[0]._array),)


def _into_slice(total: Array, mine: bool, grad: Array, key: Any, x: Tensor) -> Array:
    if total is None:
        total = namespace(grad).zeros_like(x._array, dtype=grad.dtype)
        total[key] = grad
        return total
    if not mine:
        total = total.copy("K")
    with errstate(all="ignore"):
        total[key] += grad
    return total


_INDEX = Op("index", _index_backward, _index_recorded)
_SLICE = Op("index", _index_backward, _index_recorded, place=_into_slice)


def _scatter_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (indexed(grad, saved),)


_SCATTER = Op("scatter", differentiable=_scatter_recorded)


def zeros_but_at(x: Tensor, key: Any, like: Array) -> Tensor:
    y = fresh(_scattered(x._array, key, like))
    if mode.enabled and x._requires_grad:
        record(y, _SCATTER, (x,), key)
    return y


def sliced(x: Tensor, part: Array, key: Any) -> Tensor:
    """A view: `part` is x's array at `key`, of numbers and slices."""
    y = view_of(x, part)
    if not mode.enabled:
        unrecorded(y, x)
    elif y.__class__ is Tensor:
        record(y, _SLICE, (x,), key)
    return y


def sliced_apart(x: Tensor, keys: Sequence[Any], aside: Aside) -> tuple[Tensor, ...]:
    """The views of x at each key, of numbers and slices, which are returned together."""
    array = x._array
    arrays = [array[key] for key in keys]
    if not mode.enabled:
        return plain_views(x, arrays, UNRECORDED)
    if not x._requires_grad:
        return plain_views(x, arrays, aside)
    pieces = []
    for part, key in zip(arrays, keys):  # noqa: B905 (strict costs a tenth of the loop)
        piece = record(view_of(x, part), _SLICE, (x,), key)
        piece._aside = aside
        pieces.append(piece)
    return tuple(pieces)


def along(at: int, places: Iterable[Any]) -> list[Any]:
    """Indices that choose each place along the axis `at`: views, whatever is left of the axes."""
    before = (slice(None),) * at
    return [(*before, place, ...) for place in places]


def _chosen(array: Array, key: Any) -> Array:
    """array[key], by an engine's kernel where it has one."""
    part = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    if array.ndim and is_whole_mask(part, array.shape):
        return ops.masked_select(array, part)
    one = _one_list(key, array.shape)
    if one is None:
        return array[key]
    at, index = one
    found = ops.index_select(array, at, _flat_index(index), True)
    return (
        found
        if index.ndim == 1
        else found.reshape(*array.shape[:at], *index.shape, *array.shape[at + 1 :])
    )


def indexed(x: Tensor, key: Any, reads: tuple[Storage, ...] = ()) -> Tensor:
    """x[key], a key of NumPy's; `reads` are the storages of the tensors whose arrays it holds."""
    basic = is_basic(key)
    try:
        chosen = x._array[key] if basic else _chosen(x._array, key)
    except IndexError as reason:
        raise error(
            IndexError, "index", f"an index within {x.shape}", reason, "check its length and range"
        ) from None
    if basic:
        if isinstance(chosen, scalar):
            chosen = x._array[(*_tuple(key), ...)]
        return sliced(x, chosen, key)
    y = wrap(chosen)
    if mode.enabled and x._requires_grad:
        record(y, _INDEX, (x,), key, reads)
    return y


def kept(key: Any) -> Any:
    """An index whose NumPy arrays nobody else can write to."""
    if isinstance(key, tuple):
        return tuple(map(kept, key))
    return key.copy() if is_array(key) else key


def _tensors(key: Any) -> tuple[Storage, ...]:
    """The storages of the tensors in an index; one without axes is read as a number, at once."""
    if isinstance(key, tuple):
        return tuple(s for k in key for s in _tensors(k))
    return (key._storage,) if isinstance(key, Tensor) and key._array.ndim else ()


def _tuple(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)


def _rows(x: Tensor, index: Tensor) -> Tensor | None:
    """x[index], slices along the first axis; None where that is not all, or where it is wrong."""
    array, chosen = x._array, index._array
    if not chosen.ndim or not array.ndim:
        return None
    try:
        if chosen.ndim == 1:
            found = ops.index_select(array, 0, chosen, True)
        else:
            found = ops.index_select(array, 0, chosen.reshape(-1), True)
            found = found.reshape(chosen.shape + array.shape[1:])
    except IndexError:
        return None
    y = fresh(found)
    if mode.enabled and x._requires_grad:
        record(y, _INDEX, (x,), chosen, (index._storage,))
    return y


@tensor_method("__getitem__")
def _getitem(self: Tensor, key: Any) -> Tensor:
    """NumPy's indexing, its axes as PyTorch puts them: a view for numbers (tensors without axes
    too) and slices, a copy for index tensors and masks."""
    kind = key.__class__
    if kind is int or kind is slice or (kind is tuple and _BASIC.issuperset(map(type, key))):
        return indexed(self, key)
    alike = isinstance(key, Tensor) and key._array.__class__ is self._array.__class__
    if alike and key._array.dtype is dtypes.int64:
        rows = _rows(self, key)
        if rows is not None:
            return rows
    reads = _tensors(key)
    if mode.enabled and self._requires_grad:
        key = kept(key)
    key = plain_key(key, namespace(self._array))
    two = numbers_first(key)
    return (
        indexed(self, key, reads) if two is None else indexed(indexed(self, two[0]), two[1], reads)
    )


_ITERATED = one_of_many("iteration")


@tensor_method("__iter__")
def _iterate(self: Tensor) -> Iterator[Tensor]:
    if not self.ndim:
        raise error(TypeError, "iter", "a tensor with an axis", "a 0-d tensor", "use x.item()")
    return iter(sliced_apart(self, along(0, range(len(self))), _ITERATED))


@tensor_method("__contains__")
def _contains(self: Tensor, value: Any) -> bool:
    return bool(namespace(self._array).equal(self._array, plain_key(value)).any())


def _fits(index: tuple[int, ...], shape: tuple[int, ...], at: int) -> bool:
    """Whether an index has the axes of what it chooses from, none longer but its own."""
    return len(index) == len(shape) and all(
        d == at or n <= m for d, (n, m) in enumerate(zip(index, shape, strict=True))
    )


def _gather_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, index = saved
    return (ops.scatter_add(grad, at, index, inputs[0].shape, True),)


def _gather_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    at, index = saved
    x = inputs[0]
    y = fresh(ops.scatter_add(grad._array, at, index, x.shape, True))
    if mode.enabled and grad._requires_grad:
        record(y, _SCATTER_ADD, (grad,), saved)
    return (y,)


def _scatter_add_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (_gathered(grad, *saved),)


GATHER = Op("gather", _gather_backward, _gather_recorded)
_SCATTER_ADD = Op("scatter_add", differentiable=_scatter_add_recorded)


def _gathered(x: Tensor, at: int, index: Array) -> Tensor:
    y = fresh(ops.gather(x._array, at, index, True))
    if mode.enabled and x._requires_grad:
        record(y, GATHER, (x,), (at, index))
    return y


def gather_from_either_end(op: str, x: Tensor, at: int, index: Tensor) -> Tensor:
    """gather of an index that fits, whose negative numbers count from the end."""
    chosen, reads = indices(op, "indices", index)
    try:
        y = fresh(ops.gather(x._array, at, chosen, True))
    except IndexError:
        raise outside(op, "indices", chosen, x.shape[at], wraps=True) from None
    if mode.enabled and x._requires_grad:
        record(y, GATHER, (x,), (at, chosen), reads)
    return y


@tensor_method()
@numpy_names
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """out[i][j] = input[i][index[i][j]] for dim=1, and so for any axis; out has index's shape.

    `index` of integers, as many axes as input, no longer than input but along `dim`. ValueError
    where shapes do not fit, IndexError out of range.

    >>> tw.gather(tw.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, tw.tensor([[0], [1]]))
    tensor([[1.],
            [4.]])
    """
    x, i = operand(input, "gather"), operand(index, "gather", "index")
    at = axis("gather", dim, x._array.ndim)
    if i._array.dtype.kind not in "iu":
        raise error(TypeError, "gather", "index of integers", i.dtype, "convert with index.long()")
    if not x._array.ndim:
        result: Tensor = gather(x.reshape(1), 0, i.reshape(-1)).reshape(i.shape)
        return result
    if not i._array.size:
        return x.reshape(-1)[:0].reshape(i.shape)
    if i._array.shape != x._array.shape and not _fits(i.shape, x.shape, at):
        raise error(
            ValueError,
            "gather",
            f"index within {x.shape} but along dim {dim}",
            i.shape,
            "expand it",
        )
    chosen = i._array
    if chosen.dtype is not dtypes.int64:
        chosen = chosen.astype(dtypes.int64)
    y = fresh(ops.gather(x._array, at, chosen, False))
    if mode.enabled and x._requires_grad:
        record(y, GATHER, (x,), (at, chosen), (i._storage,) if chosen is i._array else ())
    return y


@tensor_method()
@numpy_names
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` along `dim` that the 1-D integer `index` names.

    >>> tw.index_select(tw.eye(2), 0, tw.tensor([1]))
    tensor([[0., 1.]])
    """
    x, index = operand(input, "index_select"), operand(index, "index_select", "index")
    if index.ndim > 1 or dtypes.is_float(index.dtype):
        raise error(
            ValueError, "index_select", "a 1-D index of integers",
            f"{index.shape} of {index.dtype}", "flatten it, convert with index.long()",
        )  # fmt: skip
    at = axis("index_select", dim, x.ndim)
    if not x.ndim:
        result: Tensor = index_select(x.reshape(1), 0, index).reshape(())
        return result
    chosen, reads = indices("index_select", "index", index)
    chosen = chosen.reshape(-1)
    try:
        y = fresh(ops.index_select(x._array, at, chosen, False))
    except IndexError:
        raise outside("index_select", "index", chosen, x.shape[at]) from None
    if mode.enabled and x._requires_grad:
        record(y, _INDEX, (x,), (*(slice(None),) * at, chosen), reads)
    return y


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """A new last axis with 1 at the class and 0 elsewhere; int64 in, int64 out.

    `num_classes` is one more than the largest where it is left out. ValueError on a class outside.

    >>> F.one_hot(tw.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    x = operand(tensor, "one_hot", "tensor")
    labels = x._array
    if dtypes.is_float(labels.dtype) or labels.dtype is dtypes.bool:
        raise error(TypeError, "one_hot", "class indices", labels.dtype, "convert with x.long()")
    num_classes = whole("one_hot", "num_classes", num_classes)
    count = num_classes if num_classes >= 0 else int(largest(labels, -1)) + 1
    room_for("one_hot", (*labels.shape, count))
    xp = namespace(labels)
    index = labels.reshape(-1, 1).astype(dtypes.int64, copy=False)
    ones = xp.broadcast_to(xp.ones((), dtype=dtypes.int64), index.shape)
    try:
        found = ops.scatter_add(ones, 1, index, (index.size, count), False)
    except IndexError:
        raise error(
            ValueError, "one_hot", f"classes in [0, {count})", f"{labels.min()} to {labels.max()}",
            "raise num_classes",
        ) from None  # fmt: skip
    return fresh(found.reshape(*labels.shape, count))
