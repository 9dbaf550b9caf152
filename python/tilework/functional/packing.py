"""Sequences of unequal lengths as packed rows, and back: step after step, the longest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tilework import dtypes
from tilework.arrays import largest, namespace
from tilework.autograd import Op, mode, record
from tilework.devices import moved_beside
from tilework.errors import error
from tilework.functional.common import number_of
from tilework.tensor import Tensor, fresh

Array = Any


class Places(NamedTuple):
    """Where each packed row stands in a padded batch: (step, sequence), or with batch_first the
    other way round; and the batch sizes of the steps."""

    step: Array
    sequence: Array
    sizes: Array

    def key(self, batch_first: bool, x: Array) -> tuple[Array, Array]:
        """The index of the rows in a padded array, beside `x`."""
        step, sequence = moved_beside(self.step, x), moved_beside(self.sequence, x)
        return (sequence, step) if batch_first else (step, sequence)


def sizes_of(op: str, batch_sizes: Any, rows: int) -> Any:
    """Packed rows' batch sizes as an array, checked."""
    array = batch_sizes._array if isinstance(batch_sizes, Tensor) else None
    if array is None or array.ndim != 1 or array.dtype != dtypes.int64:
        raise error(
            TypeError, op, "batch_sizes as a tensor (T,) of int64",
            type(batch_sizes).__name__ if array is None else f"{array.shape} of {array.dtype}",
            "take those of a PackedSequence",
        )  # fmt: skip
    fits = array.size and array[-1] >= 1 and array[0] <= rows and array.sum() == rows
    if not fits or (array[1:] > array[:-1]).any():
        raise error(
            ValueError, op, f"batch_sizes from 1 up that never grow, {rows} in all", array.tolist(),
            "take those of a PackedSequence",
        )  # fmt: skip
    return array


def places_of(lengths: Array, order: Array | None = None) -> Places:
    """The rows of sequences of such lengths, which never grow; `order`: where the sorted ones stand
    in the batch.

    >>> places_of(np.array([3, 1])).sizes.tolist()
    [2, 1, 1]
    """
    xp = namespace(lengths)
    alive = lengths > xp.arange(int(largest(lengths, 0)))[:, None]
    step, sequence = alive.nonzero()
    sizes = alive.sum(axis=1).astype(dtypes.int64)
    return Places(step, sequence if order is None else order[sequence], sizes)


class _How(NamedTuple):
    places: Places
    batch_first: bool
    shape: tuple[int, ...]  # of the padded batch: its first two axes


def _padded(rows: Array, how: _How, value: Any) -> Array:
    out = namespace(rows).full((*how.shape, *rows.shape[1:]), value, rows.dtype)
    out[how.places.key(how.batch_first, rows)] = rows
    return out


def _pack_backward(grad: Array, inputs: tuple[Any, ...], how: _How) -> Sequence[Any]:
    return (_padded(grad, how, 0),)


def _pack_recorded(grad: Tensor, inputs: tuple[Any, ...], how: _How) -> Sequence[Any]:
    return (_pad(grad, how, 0),)


def _pad_backward(grad: Array, inputs: tuple[Any, ...], how: _How) -> Sequence[Any]:
    return (grad[how.places.key(how.batch_first, grad)],)


def _pad_recorded(grad: Tensor, inputs: tuple[Any, ...], how: _How) -> Sequence[Any]:
    return (_pack(grad, how),)


_PACK = Op("pack_padded_sequence", _pack_backward, _pack_recorded)
_PAD = Op("pad_packed_sequence", _pad_backward, _pad_recorded)


def _pack(x: Tensor, how: _How) -> Tensor:
    y = fresh(x._array[how.places.key(how.batch_first, x._array)])
    return record(y, _PACK, (x,), how) if mode.enabled and x._requires_grad else y


def _pad(rows: Tensor, how: _How, value: Any) -> Tensor:
    y = fresh(_padded(rows._array, how, value))
    return record(y, _PAD, (rows,), how) if mode.enabled and rows._requires_grad else y


def pack(x: Tensor, places: Places, batch_first: bool) -> Tensor:
    """The rows of a padded batch that are no padding."""
    return _pack(x, _How(places, batch_first, x.shape[:2]))


def pad(rows: Tensor, places: Places, steps: int, batch_first: bool, value: Any) -> Tensor:
    """A padded batch of `steps` steps, `value` where no row is."""
    batch = int(places.sizes[0])
    shape = (batch, steps) if batch_first else (steps, batch)
    xp = namespace(rows._array)
    filled = number_of("pad_packed_sequence", rows.dtype, value, "padding_value", xp)
    return _pad(rows, _How(places, batch_first, shape), filled)
