"""Elements reversed, repeated and cut off along axes: copies, not views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.arrays import namespace
from tilework.autograd import Op, mode, record
from tilework.devices import moved
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.common import axes, axis, operand, room_for, sizes, whole
from tilework.functional.indexing import index_select
from tilework.tensor import Tensor, fresh, tensor_method

Array = Any
Inputs = tuple[Any, ...]


def _flipped(array: Array, over: tuple[int, ...]) -> Array:
    backwards = slice(None, None, -1)
    key = tuple(backwards if d in over else slice(None) for d in range(array.ndim))
    return ops.copy(array[key] if over else array, False)


def _flip_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (_flipped(grad, saved),)


def _flip_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (flip(grad, saved),)


_FLIP = Op("flip", _flip_backward, _flip_recorded)


@tensor_method()
def flip(input: Tensor, *dims: Any) -> Tensor:
    """The elements in reverse order along the axes `dims`. ValueError on an axis twice.

    >>> tw.flip(tw.tensor([1, 2, 3]), (0,))
    tensor([3, 2, 1])
    """
    x = operand(input, "flip")
    over = axes("flip", sizes("flip", dims), x.ndim) if sizes("flip", dims) else ()
    y = fresh(_flipped(x._array, over))
    if mode.enabled and x._requires_grad:
        record(y, _FLIP, (x,), over)
    return y


def _triangle(array: Array, upper: bool, diagonal: int) -> Array:
    xp = namespace(array)
    rows, cols = (xp.arange(n) for n in array.shape[-2:])
    past = cols - diagonal
    kept = past >= rows.reshape(-1, 1) if upper else past <= rows.reshape(-1, 1)
    return ops.where(kept, array, xp.zeros((), dtype=array.dtype))


def _triangle_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (_triangle(grad, *saved),)


def _triangle_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (_cut(grad, *saved),)


_TRIANGLE = Op("tril", _triangle_backward, _triangle_recorded)


def _cut(x: Tensor, upper: bool, diagonal: int) -> Tensor:
    y = fresh(_triangle(x._array, upper, diagonal))
    if mode.enabled and x._requires_grad:
        record(y, _TRIANGLE, (x,), (upper, diagonal))
    return y


def _matrices(op: str, input: Tensor, diagonal: Any, upper: bool) -> Tensor:
    x = operand(input, op)
    if x.ndim < 2:
        raise error(ValueError, op, "matrices (..., M, N)", x.shape, "reshape it")
    return _cut(x, upper, whole(op, "diagonal", diagonal))


@tensor_method()
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices (..., M, N) with zeros above a diagonal: the main one, or that many above it.

    >>> tw.tril(tw.ones(2, 3))
    tensor([[1., 0., 0.],
            [1., 1., 0.]])
    """
    return _matrices("tril", input, diagonal, False)


@tensor_method()
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """Matrices (..., M, N) with zeros below a diagonal: the main one, or that many above it.

    >>> tw.triu(tw.ones(2, 3), 1)
    tensor([[0., 1., 1.],
            [0., 0., 1.]])
    """
    return _matrices("triu", input, diagonal, True)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of (N, C, ...) as `groups` rows of a table, read by columns: so that groups of
    the next convolution see all of them (Zhang et al. 2018). ValueError where groups do not divide
    C.

    >>> F.channel_shuffle(tw.arange(4).reshape(1, 4, 1), 2).reshape(-1)
    tensor([0, 2, 1, 3])
    """
    x, groups = operand(input, "channel_shuffle"), whole("channel_shuffle", "groups", groups)
    if x.ndim < 3 or groups < 1 or x.shape[1] % groups:
        raise error(
            ValueError, "channel_shuffle", "input (N, C, ...) and groups that divide C",
            f"{x.shape} and {groups}", "take another number of groups",
        )  # fmt: skip
    n, channels, *rest = x.shape
    table = x.reshape(n, groups, channels // groups, *rest)
    result: Tensor = table.transpose(1, 2).reshape(x.shape)
    return result


def _tiled(op: str, x: Tensor, counts: tuple[int, ...]) -> Tensor:
    """x as often along each axis as the counts say, of which there are as many as axes."""
    if any(n < 0 for n in counts):
        raise error(ValueError, op, "counts from 0", counts, "raise them")
    apart = tuple(length for n in x.shape for length in (1, n))
    wide = tuple(length for pair in zip(counts, x.shape, strict=True) for length in pair)
    whole_shape = tuple(n * length for n, length in zip(counts, x.shape, strict=True))
    room_for(op, whole_shape)
    return x.reshape(apart).expand(wide).reshape(whole_shape).clone()


@tensor_method()
def repeat(self: Tensor, *repeats: Any) -> Tensor:
    """The tensor as often along each axis as `repeats` says; new axes go in front. ValueError where
    there are fewer counts than axes."""
    counts = sizes("repeat", repeats)
    if len(counts) < self.ndim:
        raise error(
            ValueError, "repeat", f"at least {self.ndim} counts for {self.shape}", counts,
            "give 1 for an axis that stays, or call tile",
        )  # fmt: skip
    fronted = self.reshape((1,) * (len(counts) - self.ndim) + self.shape)
    return _tiled("repeat", fronted, counts)


@tensor_method()
def tile(input: Tensor, *dims: Any) -> Tensor:
    """The tensor as often along each axis as `dims` says, the last ones where there are fewer.

    >>> tw.tile(tw.tensor([1, 2]), (2,))
    tensor([1, 2, 1, 2])
    """
    x = operand(input, "tile")
    counts = sizes("tile", dims)
    counts = (1,) * (x.ndim - len(counts)) + counts
    return _tiled("tile", x.reshape((1,) * (len(counts) - x.ndim) + x.shape), counts)


def _counts(op: str, repeats: Any, length: int) -> list[int]:
    """How often each of `length` elements is to be repeated."""
    if isinstance(repeats, Tensor) and repeats.ndim:
        _need_counts(op, repeats)
        counts = [int(n) for n in repeats.tolist()]
    else:
        counts = [whole(op, "repeats", repeats)]
    if len(counts) == 1:
        counts *= length
    if len(counts) != length or any(n < 0 for n in counts):
        raise error(
            ValueError, op, f"repeats from 0, one or {length}", counts[:8], "one for each element"
        )
    return counts


def _need_counts(op: str, repeats: Tensor) -> None:
    if dtypes.is_float(repeats.dtype) or repeats.ndim != 1:
        raise error(
            TypeError, op, "repeats of integers (n,)", f"{repeats.dtype} {repeats.shape}",
            "use .long(), or flatten them",
        )  # fmt: skip


def _repeated_on_device(op: str, length: int, repeats: Tensor, output_size: int | None) -> Any:
    """Which of `length` elements stands at each place of the result, by counts that a device has.
    The host asks for two numbers of them, none where `output_size` tells the second."""
    _need_counts(op, repeats)
    counts = repeats._array
    if counts.size not in (1, length):
        raise error(
            ValueError, op, f"repeats, one or {length}", counts.size, "one for each element"
        )
    xp = namespace(counts)
    ends = xp.cumsum(xp.broadcast_to(counts.astype("int64"), (length,)))
    total = output_size
    if total is None:
        least, total = xp.stack([counts.min(), ends[-1]]).tolist() if length else (0, 0)
        if least < 0:
            raise error(ValueError, op, "repeats from 0", least, "raise them")
    return xp.searchsorted(ends, xp.arange(total, dtype="int64"), side="right")


@tensor_method()
def repeat_interleave(
    input: Tensor, repeats: Any, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element along `dim` (of the flattened tensor where it is None) as often as `repeats`, a
    number or integers (n,), says. ValueError where there are not as many as elements, or where they
    do not come to `output_size`.

    >>> tw.repeat_interleave(tw.tensor([1, 2]), tw.tensor([1, 3]))
    tensor([1, 2, 2, 2])
    """
    op = "repeat_interleave"
    x = operand(input, op)
    x, at = (x.reshape(-1), 0) if dim is None else (x, axis(op, dim, x.ndim))
    if isinstance(repeats, Tensor) and repeats.is_cuda and repeats.ndim:
        order = _repeated_on_device(op, x.shape[at], repeats, output_size)
        return index_select(x, at, fresh(order))
    counts = _counts(op, repeats, x.shape[at])
    if output_size is not None and sum(counts) != output_size:
        raise error(ValueError, op, f"repeats of {output_size} in all", sum(counts), "count them")
    room_for(op, (*x.shape[:at], sum(counts), *x.shape[at + 1 :]))  # NumPy's repeat does not look
    if x.is_cuda and len(set(counts)) == 1:  # made there of one number
        order = namespace(x._array).arange(sum(counts), dtype="int64") // counts[0]
    else:
        order = moved(np.repeat(np.arange(x.shape[at]), counts), x.device)
    return index_select(x, at, fresh(order))


@tensor_method()
def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of two vectors: (n,) and (m,) to (n, m).

    >>> tw.outer(tw.tensor([1, 2]), tw.tensor([3, 4]))
    tensor([[3, 4],
            [6, 8]])
    """
    x, y = operand(input, "outer"), operand(vec2, "outer", "vec2")
    if x.ndim != 1 or y.ndim != 1:
        raise error(ValueError, "outer", "two vectors", f"{x.shape} and {y.shape}", "flatten them")
    result: Tensor = x.unsqueeze(1) * y.unsqueeze(0)
    return result


@tensor_method()
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of `size` along an axis, one every `step`: their elements on a new last axis, that of
    a tensor without axes the only one. A copy, not PyTorch's view.

    ValueError where size is beyond the axis, or step below 1.

    >>> tw.arange(5).unfold(0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """
    x = self if self.ndim else self.reshape(1)
    at = axis("unfold", dimension, x.ndim)
    size, step = whole("unfold", "size", size), whole("unfold", "step", step)
    if not 0 <= size <= x.shape[at] or step < 1:
        raise error(
            ValueError, "unfold", f"size up to {x.shape[at]} and step from 1", (size, step),
            "take smaller windows",
        )  # fmt: skip
    xp = namespace(x._array)
    starts = xp.arange(0, x.shape[at] - size + 1, step)
    found = index_select(x, at, fresh((starts.reshape(-1, 1) + xp.arange(size)).reshape(-1)))
    shape = (*x.shape[:at], len(starts), size, *x.shape[at + 1 :])
    windows: Tensor = found.reshape(shape).movedim(at + 1, -1)
    return windows if self.ndim else windows[0]
