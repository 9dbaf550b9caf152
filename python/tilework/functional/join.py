"""Joining tensors along an axis, and cutting them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from tilework import dtypes
from tilework.arrays import namespace
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.cast import cast
from tilework.functional.common import axis, numpy_names, one_of_many, operand, sizes, whole
from tilework.functional.indexing import along, sliced, sliced_apart
from tilework.tensor import Tensor, fresh, tensor_method

Array = Any
Inputs = tuple[Any, ...]


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
    parts = tensors if isinstance(tensors, (list, tuple)) else _listed("cat", tensors)
    try:  # of many parts, each look at each of them is a good part of the time
        arrays = [p._array for p in parts]
        rank = arrays[0].ndim
        at = dim if 0 <= dim < rank else dim % rank if -rank <= dim < 0 else -1
        y = fresh(ops.concatenate(arrays, at))
    except (AttributeError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return _cat_of_unlike("cat", parts, dim)
    if mode.enabled:
        for part in parts:
            if part._requires_grad:
                record(y, _CAT, tuple(parts), (at, [a.shape[at] for a in arrays]))
                break
    return y


def _cat_of_unlike(op: str, tensors: Any, dim: Any) -> Tensor:
    """Dtypes or ranks differ, or something is wrong."""
    # As in PyTorch, what tw.tensor([]) gives joins tensors of any rank, and adds nothing.
    parts = _of_one_dtype(op, tensors)
    parts = [p for p in parts if p._array.shape != (0,)] or parts[:1]
    at = axis(op, dim, parts[0].ndim)
    try:
        array = namespace(parts[0]._array).concatenate([p._array for p in parts], at)
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
    return [grad[key] for key in along(saved, range(len(inputs)))]


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
    parts = tensors if isinstance(tensors, (list, tuple)) else _listed("stack", tensors)
    try:
        arrays = [p._array for p in parts]
        rank = arrays[0].ndim + 1
        at = dim % rank if -rank <= dim < rank else -1
        y = fresh(ops.stack(arrays, at))
    except (AttributeError, IndexError, TypeError, ValueError):
        return _stack_of_unlike(parts, dim)
    if _on_tape(parts):
        record(y, _STACK, tuple(parts), at)
    return y


def _stack_of_unlike(tensors: Any, dim: Any) -> Tensor:
    """Dtypes differ, or something is wrong."""
    parts = _of_one_dtype("stack", tensors)
    shape = parts[0].shape
    if any(p.shape != shape for p in parts):
        raise error(
            ValueError, "stack", "tensors of one shape", ", ".join(str(t.shape) for t in parts),
            "use cat, or reshape them",
        )  # fmt: skip
    at = axis("stack", dim, parts[0].ndim + 1)
    y = fresh(ops.stack([p._array for p in parts], at))
    if _on_tape(parts):
        record(y, _STACK, tuple(parts), at)
    return y


def _axis_to_cut(op: str, x: Tensor, dim: int) -> int:
    rank = x._array.ndim
    if not rank:
        raise error(ValueError, op, "a tensor with an axis", "a 0-d tensor", "x.reshape(1) has one")
    return axis(op, dim, rank)


_SPLIT, _UNBOUND = one_of_many("split"), one_of_many("unbind")


@tensor_method()
def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views: pieces of one length (the last may be shorter), or of the lengths given.

    ValueError where the lengths do not add up to the axis.

    >>> tw.arange(5).split(2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    x = operand(input, "split")
    at = _axis_to_cut("split", x, dim)
    if isinstance(split_size_or_sections, (tuple, list)):
        total = x._array.shape[at]
        lengths = sizes("split", (split_size_or_sections,))
        if sum(lengths) != total or min(lengths) < 0:
            raise error(
                ValueError, "split", f"lengths that add up to {total}", list(lengths), "adjust them"
            )
        cuts = [slice(end - n, end) for n, end in zip(lengths, accumulate(lengths), strict=True)]
    else:
        step = whole("split", "split_size", split_size_or_sections)
        if step <= 0:
            raise error(ValueError, "split", "a positive length", step, "raise it")
        return _split_evenly(x, at, step)
    return sliced_apart(x, along(at, cuts) if at else cuts, _SPLIT)


def _split_evenly(x: Tensor, at: int, step: int) -> tuple[Tensor, ...]:
    cuts = [slice(i, i + step) for i in range(0, x._array.shape[at], step)] or [slice(0, 0)]
    return sliced_apart(x, along(at, cuts) if at else cuts, _SPLIT)


@tensor_method()
@numpy_names
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of near equal length along `dim`. ValueError below 1.

    >>> [c.shape for c in tw.zeros(5).chunk(2)]
    [(3,), (2,)]
    """
    chunks = chunks if chunks.__class__ is int else whole("chunk", "chunks", chunks)
    if chunks < 1:
        raise error(ValueError, "chunk", "at least one chunk", chunks, "raise it")
    x = operand(input, "chunk")
    shape = x._array.shape
    known = dim.__class__ is int and 0 <= dim < len(shape)
    at = dim if known else _axis_to_cut("chunk", x, dim)
    return _split_evenly(x, at, -(-shape[at] // chunks) or 1)


@tensor_method()
@numpy_names
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis, as views without it.

    >>> tw.eye(2).unbind()
    (tensor([1., 0.]), tensor([0., 1.]))
    """
    x = operand(input, "unbind")
    at = _axis_to_cut("unbind", x, dim)
    return sliced_apart(x, along(at, range(x._array.shape[at])), _UNBOUND)


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
