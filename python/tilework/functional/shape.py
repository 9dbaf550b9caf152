"""Other shapes of the same elements: views where memory allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework.arrays import namespace, set_writeable, writeable
from tilework.autograd import Op, mode, record, unrecorded
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.common import axes, axis, numpy_names, operand, sizes
from tilework.layout import (
    MOVING,
    NATURAL,
    MemoryFormat,
    can_view,
    channels_last,
    check_format,
    contiguous_format,
    inverse,
    layout_of,
    preserve_format,
    resolved,
)
from tilework.tensor import Tensor, fresh, tensor_method, view_of

Array = Any
Inputs = tuple[Any, ...]


def viewed(x: Tensor, array: Array, op: Op, saved: Any = None) -> Tensor:
    """A recorded view of x: `array` is on the same memory."""
    y = view_of(x, array)
    if not mode.enabled:
        unrecorded(y, x)
    elif y.__class__ is Tensor:
        record(y, op, (x,), saved)
    return y


# --- reshape ---


def _shares(found: Array, array: Array) -> bool:
    """Whether what a reshape gave is a view."""
    return bool(namespace(array).may_share_memory(found, array))


def _reshape_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (grad.reshape(inputs[0]._array.shape),)


def _reshape_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (reshape(grad, inputs[0].shape),)


_lengths = sizes  # where an argument is called `sizes`
_RESHAPE = Op("reshape", _reshape_backward, _reshape_recorded)


@tensor_method()
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The elements in another shape, one length of which may be -1: a view where memory allows.

    ValueError where the numbers of elements differ.

    >>> tw.arange(4).reshape(2, -1)
    tensor([[0, 1],
            [2, 3]])
    """
    return _reshaped("reshape", operand(input, "reshape"), shape)


@tensor_method()
def view(self: Tensor, *size: Any) -> Tensor:
    """`reshape` that never copies: ValueError where the strides do not allow a view.

    >>> tw.arange(4).view(2, 2).shape
    (2, 2)
    """
    return _reshaped("view", operand(self, "view"), size)


_SMALL = 4096  # elements that NumPy copies sooner than it is asked whether it has to


def _seen_or_copied(array: Array, shape: tuple[int, ...]) -> Array:
    """A view in another shape where strides can show it, else a copy. ValueError on its size."""
    if array.flags.c_contiguous or array.size <= _SMALL:
        return array.reshape(shape)
    seen = array.view()
    try:
        seen.shape = shape
    except AttributeError:
        return ops.copy(array, False).reshape(shape)
    return seen


def _reshaped(op: str, x: Tensor, size: tuple[Any, ...]) -> Tensor:
    layout, array = x._storage.layout, x._array
    if (layout is NATURAL or layout is None) and array.flags.c_contiguous:  # as nearly always
        wanted = size[0] if len(size) == 1 and size[0].__class__ is tuple else size
        try:
            found = array.reshape(wanted)
            if found.shape == wanted or -1 in wanted:
                return viewed(x, found, _RESHAPE)
        except (TypeError, ValueError):
            pass  # lengths in another form, or wrong ones
    wanted = sizes(op, size)
    try:
        if min(wanted, default=0) < -1:  # NumPy takes any negative length for -1
            raise ValueError
        if layout is NATURAL or (array.flags.c_contiguous and layout is None):
            found = _seen_or_copied(array, wanted)
            if array.flags.c_contiguous or _shares(found, array):
                return viewed(x, found, _RESHAPE)
        else:
            found = _shown_in(x, wanted)
            if found is not None:
                return viewed(x, found, _RESHAPE)
            found = ops.copy(array, False).reshape(wanted)
    except ValueError:
        raise error(
            ValueError, op, f"a shape of {x.numel()} elements", wanted,
            "make the product of the lengths agree; one may be -1",
        ) from None  # fmt: skip
    if op == "view":
        raise error(
            ValueError, "view", "a shape that these strides can show", wanted,
            "use reshape, which may copy",
        )  # fmt: skip
    y = fresh(found)
    if mode.enabled and x._requires_grad:
        record(y, _RESHAPE, (x,))
    return y


def _shown_in(x: Tensor, wanted: tuple[int, ...]) -> Array | None:
    """The memory of `x`, which the engine laid, in another shape: None where the strides that it
    shows allow none. Memory that lies too differently goes over to C order."""
    with MOVING:
        array, storage = x._array, x._storage
        if storage.layout is None:  # x alone is here, and shows C order: a copy may take its place
            found = array.reshape(wanted)
            if not _shares(found, array):
                set_writeable(found, writeable(array) or not storage.frozen)
                _replace(x, found.reshape(array.shape))
            return found
        shape = resolved(wanted, array.size)
        if shape is None:
            raise ValueError(wanted)
        if not can_view(array.shape, x._strides(), shape):
            return None
        found = array.reshape(shape)
        if not _shares(found, array):
            x._lay_naturally()
            found = x._array.reshape(shape)
        return found


def _replace(x: Tensor, array: Array) -> None:
    """Puts a copy in C order in the place of the memory of `x`, which is alone on it."""
    layout, storage = layout_of(x._array), x._storage
    if layout is not NATURAL:
        layout.move(array)
        storage.moved = layout  # for a twin that another thread is about to make
    x._array = array
    storage.packed = None


@tensor_method()
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor viewed in the shape of another."""
    return view(self, operand(other, "view_as", "other").shape)


@tensor_method()
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor in the shape of another."""
    return reshape(self, operand(other, "reshape_as", "other").shape)


@tensor_method()
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from start_dim to end_dim (both included) as one.

    IndexError on an axis that is not there, ValueError where they are the wrong way round.

    >>> tw.zeros(2, 3, 4).flatten(1).shape
    (2, 12)
    """
    x = operand(input, "flatten")
    array, layout = x._array, x._storage.layout
    as_it_lies = (layout is NATURAL or layout is None) and array.flags.c_contiguous
    usual = start_dim.__class__ is int is end_dim.__class__ and start_dim == 0 and end_dim == -1
    if usual and as_it_lies:
        return viewed(x, array.reshape(-1), _RESHAPE)
    start, end = axis("flatten", start_dim, x.ndim), axis("flatten", end_dim, x.ndim)
    if start > end:
        raise error(
            ValueError, "flatten", "start_dim <= end_dim", (start_dim, end_dim), "swap them"
        )
    shape = x.shape
    return reshape(x, (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


@tensor_method()
def unflatten(input: Tensor, dim: int, sizes: Any) -> Tensor:
    """The axis `dim` as several, of the lengths in `sizes`, one of which may be -1.

    IndexError on an axis that is not there, ValueError where the lengths do not make up its own.

    >>> tw.zeros(2, 12).unflatten(1, (3, -1)).shape
    (2, 3, 4)
    """
    x = operand(input, "unflatten")
    at = axis("unflatten", dim, x.ndim)
    return reshape(x, (*x.shape[:at], *_lengths("unflatten", (sizes,)), *x.shape[at + 1 :]))


@tensor_method()
@numpy_names
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """A view without the axes of length 1, or without those of `dim` (an axis, or several) whose
    length is 1.

    >>> tw.zeros(1, 3, 1).squeeze().shape
    (3,)
    """
    x = operand(input, "squeeze")
    array = x._array
    shape = array.shape
    if dim.__class__ is int and -len(shape) <= dim < len(shape):
        found = array.squeeze(dim) if shape[dim] == 1 else array
        return viewed(x, found, _RESHAPE)
    among = () if isinstance(dim, (tuple, list)) and not dim else axes("squeeze", dim, array.ndim)
    gone = tuple([i for i in among if shape[i] == 1])
    return viewed(x, array.squeeze(gone) if gone else array, _RESHAPE)


@tensor_method()
@numpy_names
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a new axis of length 1 at `dim`.

    >>> tw.zeros(3).unsqueeze(0).shape
    (1, 3)
    """
    x = operand(input, "unsqueeze")
    at = axis("unsqueeze", dim, x._array.ndim + 1)
    return viewed(x, x._array[(*(slice(None),) * at, None)], _RESHAPE)


# --- permute ---


def _permute_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (grad.transpose(inverse(saved)),)


def _permute_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (permute(grad, *inverse(saved)),)


_PERMUTE = Op("permute", _permute_backward, _permute_recorded)
_INTS = frozenset((int,))


@tensor_method()
def permute(input: Tensor, *dims: Any) -> Tensor:
    """A view with the axes in another order.

    ValueError unless `dims` names each axis once.

    >>> tw.zeros(2, 3, 4).permute(2, 0, 1).shape
    (4, 2, 3)
    """
    x = operand(input, "permute")
    if _INTS.issuperset(map(type, dims)) and dims:
        try:
            return viewed(x, x._array.transpose(dims), _PERMUTE, dims)
        except ValueError:
            pass
    rank = x._array.ndim
    order = tuple([axis("permute", d, rank) for d in sizes("permute", dims)])
    if sorted(order) != list(range(rank)):
        raise error(
            ValueError, "permute", f"each of {rank} axes once", sizes("permute", dims),
            "name them all",
        )  # fmt: skip
    return viewed(x, x._array.transpose(order), _PERMUTE, order)


@tensor_method("transpose", "swapaxes")
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two axes swapped.

    >>> tw.zeros(2, 3).transpose(0, 1).shape
    (3, 2)
    """
    x = operand(input, "transpose")
    rank = x._array.ndim
    a, b = axis("transpose", dim0, rank), axis("transpose", dim1, rank)
    if rank == 2:
        order = [0, 1] if a == b else [1, 0]
    else:
        order = list(range(rank))
        if order:
            order[a], order[b] = order[b], order[a]
    return viewed(x, x._array.transpose(order), _PERMUTE, tuple(order))


@tensor_method()
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a tensor of fewer axes as it is. ValueError on more than two axes.

    >>> tw.zeros(2, 3).t().shape
    (3, 2)
    """
    x = operand(input, "t")
    rank = x._array.ndim
    if rank > 2:
        raise error(ValueError, "t", "at most two axes", x.shape, "use transpose(dim0, dim1)")
    return x if rank < 2 else viewed(x, x._array.T, _PERMUTE, (1, 0))


@tensor_method()
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """A view with an axis moved, or several.

    ValueError unless source and destination name as many axes, each once.

    >>> tw.zeros(2, 3, 4).movedim(0, 2).shape
    (3, 4, 2)
    """
    x = operand(input, "movedim")
    start, end = (
        tuple(axis("movedim", d, x.ndim) for d in _lengths("movedim", (given,)))
        for given in (source, destination)
    )
    if len(start) != len(end) or len(set(start)) != len(start) or len(set(end)) != len(end):
        raise error(
            ValueError, "movedim", "as many axes from as to, each once", (source, destination),
            "pair them",
        )  # fmt: skip
    order = [i for i in range(x.ndim) if i not in start]
    for to, source_axis in sorted(zip(end, start, strict=True)):
        order.insert(to, source_axis)
    return permute(x, tuple(order[: x.ndim]))


def _transposed(self: Tensor) -> Tensor:
    """The axes in reverse order."""
    return permute(self, tuple(range(self.ndim))[::-1])


def _matrix_transposed(self: Tensor) -> Tensor:
    """The last two axes swapped."""
    return transpose(self, -1, -2)


setattr(Tensor, "T", property(_transposed))  # noqa: B010 (mypy knows T as read-only)
setattr(Tensor, "mT", property(_matrix_transposed))  # noqa: B010


# --- expand ---


def _expand_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (grad.sum_to_size(inputs[0].shape),)


_EXPAND = Op("expand", differentiable=_expand_recorded)


@tensor_method()
def expand(input: Tensor, *size: Any) -> Tensor:
    """A view with axes of length 1 stretched to `size` (-1 keeps a length); new axes go in front.

    ValueError where the shape does not broadcast to `size`.

    >>> tw.tensor([[1], [2]]).expand(2, 2)
    tensor([[1, 1],
            [2, 2]])
    """
    x = operand(input, "expand")
    wanted = size[0] if len(size) == 1 and size[0].__class__ is tuple else sizes("expand", size)
    try:
        return viewed(x, ops.expand(x._array, wanted), _EXPAND)
    except (TypeError, ValueError):
        raise error(
            ValueError, "expand", f"a size that {x.shape} broadcasts to", sizes("expand", size),
            "only axes of length 1 stretch",
        ) from None  # fmt: skip


@tensor_method()
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """This tensor stretched to the shape of another."""
    return expand(self, operand(other, "expand_as", "other").shape)


@tensor_method()
def broadcast_to(input: Tensor, size: Any) -> Tensor:
    """`expand` under NumPy's name.

    >>> tw.broadcast_to(tw.ones(3), (2, 3)).shape
    (2, 3)
    """
    return expand(input, size)


@tensor_method()
def contiguous(self: Tensor, memory_format: MemoryFormat = contiguous_format) -> Tensor:
    """The tensor in C order, or in a format's: itself where it is so already, else a copy."""
    if memory_format is not contiguous_format:
        check_format("contiguous", memory_format, self.ndim, preserved=False)
    return self if self.is_contiguous(memory_format) else _copied(self, memory_format)


@tensor_method()
def clone(input: Tensor, *, memory_format: MemoryFormat = preserve_format) -> Tensor:
    """A copy in memory of its own, with the gradient passed through; its axes in the order of the
    input's, or of a memory format.

    >>> tw.clone(tw.ones(2))
    tensor([1., 1.])
    """
    x = operand(input, "clone")
    check_format("clone", memory_format, x.ndim)
    return _copied(x, memory_format)


def _copied(x: Tensor, memory_format: MemoryFormat) -> Tensor:
    if memory_format is channels_last:
        array = ops.copy(x._array.transpose(0, 2, 3, 1), False).transpose(0, 3, 1, 2)
    else:
        array = ops.copy(x._array, memory_format is preserve_format)
    y = fresh(array)._show_format(memory_format, x)
    if mode.enabled and x._requires_grad:
        record(y, _RESHAPE, (x,))
    return y
