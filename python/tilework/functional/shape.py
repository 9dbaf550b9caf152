"""Other shapes of the same elements: views where memory allows, and joining and cutting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.autograd import Op, mode, record, unrecorded
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.cast import cast
from tilework.functional.common import axes, axis, numpy_names, one_of_many, operand, sizes, whole
from tilework.functional.indexing import sliced
from tilework.layout import (
    NATURAL,
    MemoryFormat,
    can_view,
    channels_last,
    check_format,
    contiguous_format,
    preserve_format,
    resolved,
)
from tilework.tensor import Tensor, fresh, tensor_method

Array = Any
Inputs = tuple[Any, ...]


def _viewed(x: Tensor, array: Array, op: Op, saved: Any = None) -> Tensor:
    """A recorded view of x: `array` is on the same memory."""
    y = x._view(array)
    if not mode.enabled:
        unrecorded(y, x)
    elif y.__class__ is Tensor:
        record(y, op, (x,), saved)
    return y


# --- reshape ---


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
    return _reshaped("reshape", operand(input, "reshape"), sizes("reshape", shape))


@tensor_method()
def view(self: Tensor, *shape: Any) -> Tensor:
    """`reshape` that never copies: ValueError where the strides do not allow a view.

    >>> tw.arange(4).view(2, 2).shape
    (2, 2)
    """
    return _reshaped("view", operand(self, "view"), sizes("view", shape))


def _seen_or_copied(array: Array, shape: tuple[int, ...]) -> Array:
    """A view in another shape where strides can show it, else a copy. ValueError on its size."""
    if array.flags.c_contiguous:
        return array.reshape(shape)
    seen = array.view()
    try:
        seen.shape = shape
    except AttributeError:
        return ops.copy(array, False).reshape(shape)
    return seen


def _reshaped(op: str, x: Tensor, wanted: tuple[int, ...]) -> Tensor:
    layout, array = x._storage.layout, x._array
    try:
        if layout is NATURAL or (array.flags.c_contiguous and layout is None):
            found = _seen_or_copied(array, wanted)
            if array.flags.c_contiguous or np.may_share_memory(found, array):
                return _viewed(x, found, _RESHAPE)
        else:
            found = _shown_in(x, wanted)
            if found is not None:
                return _viewed(x, found, _RESHAPE)
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
    array, storage = x._array, x._storage
    if storage.layout is None:  # x alone is here, and shows C order: a copy may take its place
        found = array.reshape(wanted)
        if not np.may_share_memory(found, array):
            found.flags.writeable = array.flags.writeable or not storage.frozen
            x._array = found.reshape(array.shape)
            storage.packed = None
        return found
    shape = resolved(wanted, array.size)
    if shape is None:
        raise ValueError(wanted)
    if not can_view(array.shape, x._strides(), shape):
        return None
    found = array.reshape(shape)
    if not np.may_share_memory(found, array):
        x._lay_naturally()
        found = x._array.reshape(shape)
    return found


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
    among = () if isinstance(dim, (tuple, list)) and not dim else axes("squeeze", dim, x.ndim)
    gone = tuple(i for i in among if x.shape[i] == 1)
    return _viewed(x, x._array.squeeze(gone) if gone else x._array, _RESHAPE)


@tensor_method()
@numpy_names
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a new axis of length 1 at `dim`.

    >>> tw.zeros(3).unsqueeze(0).shape
    (1, 3)
    """
    x = operand(input, "unsqueeze")
    at = axis("unsqueeze", dim, x.ndim + 1)
    return _viewed(x, np.expand_dims(x._array, at), _RESHAPE)


# --- permute ---


def _permute_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (grad.transpose(np.argsort(saved)),)


def _permute_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (permute(grad, tuple(np.argsort(saved).tolist())),)


_PERMUTE = Op("permute", _permute_backward, _permute_recorded)


@tensor_method()
def permute(input: Tensor, *dims: Any) -> Tensor:
    """A view with the axes in another order.

    ValueError unless `dims` names each axis once.

    >>> tw.zeros(2, 3, 4).permute(2, 0, 1).shape
    (4, 2, 3)
    """
    x = operand(input, "permute")
    order = tuple(axis("permute", d, x.ndim) for d in sizes("permute", dims))
    if sorted(order) != list(range(x.ndim)):
        raise error(
            ValueError, "permute", f"each of {x.ndim} axes once", sizes("permute", dims),
            "name them all",
        )  # fmt: skip
    return _viewed(x, x._array.transpose(order), _PERMUTE, order)


@tensor_method("transpose", "swapaxes")
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two axes swapped.

    >>> tw.zeros(2, 3).transpose(0, 1).shape
    (3, 2)
    """
    x = operand(input, "transpose")
    order = list(range(x.ndim))
    a, b = axis("transpose", dim0, x.ndim), axis("transpose", dim1, x.ndim)
    if order:
        order[a], order[b] = order[b], order[a]
    return _viewed(x, x._array.transpose(order), _PERMUTE, tuple(order))


@tensor_method()
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; a tensor of fewer axes as it is. ValueError on more than two axes.

    >>> tw.zeros(2, 3).t().shape
    (3, 2)
    """
    x = operand(input, "t")
    if x.ndim > 2:
        raise error(ValueError, "t", "at most two axes", x.shape, "use transpose(dim0, dim1)")
    return x if x.ndim < 2 else transpose(x, 0, 1)


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
    wanted = sizes("expand", size)
    fronted = (1,) * (len(wanted) - x.ndim) + x.shape
    wanted = tuple(have if n == -1 else n for have, n in zip(fronted, wanted, strict=False))
    try:
        array = np.broadcast_to(x._array, wanted)
        if array.shape == fronted:  # nothing repeats, so it may be written
            array = x._array[(None,) * (len(wanted) - x.ndim) + (...,)]
    except ValueError:
        raise error(
            ValueError, "expand", f"a size that {x.shape} broadcasts to", wanted,
            "only axes of length 1 stretch",
        ) from None  # fmt: skip
    return _viewed(x, array, _EXPAND)


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


# --- join and cut ---


def _cat_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    dim, lengths = saved
    before = (slice(None),) * dim
    pieces, start = [], 0
    for length in lengths:
        pieces.append(grad[(*before, slice(start, start + length))])
        start += length
    return pieces


def _cat_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    dim, lengths = saved
    return split(grad, lengths, dim)


_CAT = Op("cat", _cat_backward, _cat_recorded)


def _of_one_dtype(op: str, tensors: Any) -> list[Tensor]:
    """The tensors of a sequence, at least one, in the dtype that they promote to."""
    parts = _listed(op, tensors)
    dtype = parts[0]._array.dtype
    if any(p._array.dtype is not dtype for p in parts):  # of many parts, a promotion takes longest
        dtype = dtypes.result_type(*parts)
        parts = [cast(p, dtype) for p in parts]
    return parts


def _on_tape(parts: Sequence[Tensor]) -> bool:
    return mode.enabled and True in [p._requires_grad for p in parts]


def _listed(op: str, tensors: Any) -> list[Tensor]:
    """The tensors of a sequence, at least one."""
    if isinstance(tensors, Tensor) or not hasattr(tensors, "__iter__"):
        raise error(
            TypeError, op, "a sequence of tensors", type(tensors).__name__, "put them in a list"
        )
    parts = [operand(t, op, "tensors") for t in tensors]
    if not parts:
        raise error(ValueError, op, "at least one tensor", "none", "give some")
    return parts


@numpy_names
def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors one after the other along `dim`; dtypes are promoted.

    ValueError where there are none, or where the other axes differ.

    >>> tw.cat([tw.ones(1), tw.zeros(2)])
    tensor([1., 0., 0.])
    """
    # As in PyTorch, what tw.tensor([]) gives joins tensors of any rank, and adds nothing.
    parts = tensors if isinstance(tensors, (list, tuple)) else _listed("cat", tensors)
    try:  # of many parts, each look at each of them is a good part of the time
        arrays = [p._array for p in parts]
        at = dim % arrays[0].ndim if -arrays[0].ndim <= dim < arrays[0].ndim else -1
        y = fresh(ops.concatenate(arrays, at))
    except (AttributeError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return _cat_of_unlike("cat", parts, dim)
    if _on_tape(parts):
        record(y, _CAT, tuple(parts), (at, [a.shape[at] for a in arrays]))
    return y


def _cat_of_unlike(op: str, tensors: Any, dim: Any) -> Tensor:
    """Dtypes or ranks differ, or something is wrong."""
    # As in PyTorch, what tw.tensor([]) gives joins tensors of any rank, and adds nothing.
    parts = _of_one_dtype(op, tensors)
    parts = [p for p in parts if p._array.shape != (0,)] or parts[:1]
    at = axis(op, dim, parts[0].ndim)
    try:
        array = np.concatenate([p._array for p in parts], at)
    except ValueError:
        raise error(
            ValueError, op, f"shapes alike but along dim {dim}",
            ", ".join(str(p.shape) for p in parts), "reshape or pad them",
        ) from None  # fmt: skip
    y = fresh(array)
    if _on_tape(parts):
        record(y, _CAT, tuple(parts), (at, [p.shape[at] for p in parts]))
    return y


concat = concatenate = cat


def _stack_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return list(np.moveaxis(grad, saved, 0))


def _stack_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return unbind(grad, saved)


_STACK = Op("stack", _stack_backward, _stack_recorded)


@numpy_names
def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """The tensors, all of one shape, side by side along a new axis.

    ValueError where there are none, or where shapes differ.

    >>> tw.stack([tw.ones(2), tw.zeros(2)])
    tensor([[1., 1.],
            [0., 0.]])
    """
    parts = _of_one_dtype("stack", tensors)
    shape = parts[0].shape
    if any(p.shape != shape for p in parts):
        raise error(
            ValueError, "stack", "tensors of one shape", ", ".join(str(t.shape) for t in parts),
            "use cat, or reshape them",
        )  # fmt: skip
    at = axis("stack", dim, parts[0].ndim + 1)
    key = (*(slice(None),) * at, None)
    y = fresh(np.concatenate([p._array[key] for p in parts], at))
    if _on_tape(parts):
        record(y, _STACK, tuple(parts), at)
    return y


def _axis_to_cut(op: str, x: Tensor, dim: int) -> int:
    if not x.ndim:
        raise error(ValueError, op, "a tensor with an axis", "a 0-d tensor", "x.reshape(1) has one")
    return axis(op, dim, x.ndim)


@tensor_method()
def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views: pieces of one length (the last may be shorter), or of the lengths given.

    ValueError where the lengths do not add up to the axis.

    >>> tw.arange(5).split(2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    x = operand(input, "split")
    at = _axis_to_cut("split", x, dim)
    total = x.shape[at]
    lengths = split_size_or_sections
    if not isinstance(lengths, (tuple, list)):
        lengths = whole("split", "split_size", lengths)
        if lengths <= 0:
            raise error(ValueError, "split", "a positive length", lengths, "raise it")
        step = lengths
        lengths = [min(step, total - start) for start in range(0, total, step)] or [0]
    lengths = sizes("split", (lengths,))
    if sum(lengths) != total or min(lengths) < 0:
        raise error(
            ValueError, "split", f"lengths that add up to {total}", list(lengths), "adjust them"
        )
    array, before = x._array, (slice(None),) * at
    pieces, start = [], 0
    for length in lengths:
        key = (*before, slice(start, start + length))
        pieces.append(one_of_many(sliced(x, array[key], key), "split"))
        start += length
    return tuple(pieces)


@tensor_method()
@numpy_names
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of near equal length along `dim`. ValueError below 1.

    >>> [c.shape for c in tw.zeros(5).chunk(2)]
    [(3,), (2,)]
    """
    chunks = whole("chunk", "chunks", chunks)
    if chunks < 1:
        raise error(ValueError, "chunk", "at least one chunk", chunks, "raise it")
    x = operand(input, "chunk")
    length = x.shape[_axis_to_cut("chunk", x, dim)]
    return split(x, max(1, -(-length // chunks)), dim)


@tensor_method()
@numpy_names
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, as views without it.

    >>> tw.eye(2).unbind()
    (tensor([1., 0.]), tensor([0., 1.]))
    """
    x = operand(input, "unbind")
    at = _axis_to_cut("unbind", x, dim)
    return tuple(
        one_of_many(squeeze(narrow(x, at, i, 1), at), "unbind") for i in range(x.shape[at])
    )


@tensor_method()
@numpy_names
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A view of `length` elements along `dim` from `start`. ValueError outside the axis.

    >>> tw.arange(5).narrow(0, 1, 2)
    tensor([1, 2])
    """
    x = operand(input, "narrow")
    at = _axis_to_cut("narrow", x, dim)
    start, length = whole("narrow", "start", start), whole("narrow", "length", length)
    start += x.shape[at] if start < 0 else 0
    if not 0 <= start <= start + length <= x.shape[at]:
        raise error(
            ValueError, "narrow", f"a range within {x.shape[at]}", (start, start + length),
            "shorten it",
        )  # fmt: skip
    key = (*(slice(None),) * at, slice(start, start + length))
    return sliced(x, x._array[key], key)
