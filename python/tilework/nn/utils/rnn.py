"""Sequences of unequal lengths: padded batches, and packed ones, without their padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tilework import functional as F
from tilework.dtypes import float32, float64, int64
from tilework.errors import error, word
from tilework.functional import packing
from tilework.functional.common import operand, whole
from tilework.tensor import Tensor, fresh

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Parts(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Parts):
    """The steps of a batch of sequences, one after the other, each of those that are that long.

    `batch_sizes` (T,) int64: how many sequences each step has; `sorted_indices`: where the sorted
    sequences stood in the batch, and `unsorted_indices` the way back, None where they came sorted.
    Made by pack_padded_sequence() and pack_sequence().

    >>> nn.utils.rnn.pack_sequence([tw.tensor([1, 2, 3]), tw.tensor([4, 5])]).data
    tensor([1, 4, 2, 5, 3])
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, (tuple, list)) or len(data) != 2:
                raise error(
                    TypeError, "PackedSequence", "data and batch_sizes", type(data).__name__,
                    "use pack_padded_sequence or pack_sequence",
                )  # fmt: skip
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    @property
    def is_cuda(self) -> bool:
        """Whether the data live on a CUDA device: False."""
        return self.data.is_cuda

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The data converted as Tensor.to does; this very object where nothing changes."""
        data = self.data.to(*args, **kwargs)
        return self if data is self.data else PackedSequence(data, *self[1:])

    def cpu(self) -> PackedSequence:
        """The same in the CPU's memory, where it is: itself."""
        return self

    def float(self) -> PackedSequence:
        """The data as float32."""
        return self.to(float32)

    def double(self) -> PackedSequence:
        """The data as float64."""
        return self.to(float64)

    def long(self) -> PackedSequence:
        """The data as int64."""
        return self.to(int64)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another; None of None.

    >>> nn.utils.rnn.invert_permutation(tw.tensor([2, 0, 1]))
    tensor([1, 2, 0])
    """
    if permutation is None:
        return None
    given = operand(permutation, "invert_permutation", "permutation")
    inverse: Tensor = F.argsort(given)
    return inverse


def _lengths(op: str, lengths: Any, x: Tensor, batch_first: bool) -> Any:
    """The lengths of a padded batch's sequences as an array of int64, checked."""
    batch, most = x.shape[:2] if batch_first else x.shape[1::-1]
    given = lengths.cpu()._array if isinstance(lengths, Tensor) else np.asarray(lengths)
    if given.dtype.kind not in "iu" and given.size:
        raise error(
            TypeError, op, "lengths as whole numbers", given.dtype, "give ints, or a tensor of them"
        )
    if given.shape != (batch,):
        raise error(
            ValueError, op, f"lengths ({batch},), one of each sequence", given.shape,
            "match the batch",
        )  # fmt: skip
    array = given.astype(int64)
    if not array.size:
        raise error(ValueError, op, "at least one sequence", "none", "give a batch of some")
    if array.min() < 1 or array.max() > most:
        raise error(
            ValueError, op, f"lengths from 1 to {most}, the steps there are",
            int(array.min() if array.min() < 1 else array.max()),
            "leave empty sequences out, and pad the batch as far as the longest",
        )  # fmt: skip
    return array


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """A padded batch (T, N, ...), or with `batch_first` (N, T, ...), without its padding.

    `lengths` (N,): a tensor or a list of whole numbers from 1 to T. With `enforce_sorted` they must
    not grow; without, the sequences are sorted, and what a layer gives for them comes back in their
    own order. TypeError on other lengths than whole numbers; ValueError on lengths that are zero,
    negative or beyond T, or not one a sequence.

    >>> x = tw.tensor([[1, 2, 0], [3, 0, 0], [4, 5, 6]])
    >>> pack = nn.utils.rnn.pack_padded_sequence
    >>> packed = pack(x, [2, 1, 3], batch_first=True, enforce_sorted=False)
    >>> packed.data, packed.batch_sizes
    (tensor([4, 1, 3, 5, 2, 6]), tensor([3, 2, 1]))
    """
    op = "pack_padded_sequence"
    x = operand(input, op)
    if x.ndim < 2:
        raise error(ValueError, op, "input (T, N, ...)", x.shape, "add the axis of the batch")
    array = _lengths(op, lengths, x, batch_first)
    order = None
    if not enforce_sorted:
        order = np.argsort(-array, kind="stable")
        array = array[order]
    elif (array[1:] > array[:-1]).any():
        raise error(
            ValueError, op, "lengths that never grow", array.tolist(),
            "sort the sequences, or pass enforce_sorted=False",
        )  # fmt: skip
    places = packing.places_of(array, order)
    data = packing.pack(x, places, batch_first)
    back = None if order is None else fresh(order).to(x.device)
    return PackedSequence(data, fresh(places.sizes), back)


def _checked(op: str, sequence: Any) -> PackedSequence:
    if isinstance(sequence, PackedSequence):
        return sequence
    raise error(
        TypeError, op, "a PackedSequence", type(sequence).__name__, "pack it with pack_sequence"
    )


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded batch (T, N, ...), or with `batch_first` (N, T, ...), in the order before packing,
    and the lengths (N,).

    T is the longest sequence's, or `total_length`: ValueError where that is less.

    >>> packed = nn.utils.rnn.pack_sequence([tw.tensor([1, 2, 3]), tw.tensor([4, 5])])
    >>> nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
    (tensor([[1, 2, 3],
            [4, 5, 0]]), tensor([3, 2]))
    """
    op = "pad_packed_sequence"
    packed = _checked(op, sequence)
    sizes = packing.sizes_of(op, packed.batch_sizes, packed.data.shape[0])
    steps = len(sizes)
    if total_length is not None:
        steps = whole(op, "total_length", total_length)
        if steps < len(sizes):
            raise error(
                ValueError, op, f"total_length of at least the longest sequence's {len(sizes)}",
                steps, "give more, or None",
            )  # fmt: skip
    lengths = (sizes[:, None] > np.arange(sizes[0])).sum(axis=0)
    order = _permutation(op, "sorted_indices", packed.sorted_indices, len(lengths))
    back = _permutation(op, "unsorted_indices", packed.unsorted_indices, len(lengths))
    places = packing.places_of(lengths, order)
    y = packing.pad(packed.data, places, steps, batch_first, padding_value)
    return y, fresh(lengths if back is None else lengths[back])


def _permutation(op: str, name: str, given: Tensor | None, count: int) -> Any:
    """A batch's order as an array, checked; None where there is none."""
    if given is None:
        return None
    array = given.cpu()._array
    if not np.array_equal(np.sort(array, axis=None), np.arange(count)) or array.ndim != 1:
        raise error(
            ValueError, op, f"{name} as an order of {count} sequences", array.tolist(),
            "take those of a PackedSequence",
        )  # fmt: skip
    return array


def pad_sequence(
    sequences: Tensor | Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (L, ...) of any lengths as one batch (T, N, ...), or with `batch_first`
    (N, T, ...), `padding_value` behind each, or before it with padding_side="left".

    >>> nn.utils.rnn.pad_sequence([tw.tensor([1, 2, 3]), tw.tensor([4, 5])], batch_first=True)
    tensor([[1, 2, 3],
            [4, 5, 0]])
    """
    op = "pad_sequence"
    given = [operand(s, op, "sequences") for s in sequences]
    if padding_side not in ("left", "right"):
        raise error(ValueError, op, "padding_side of left or right", word(padding_side), "name one")
    if not given or any(not s.ndim or s.shape[1:] != given[0].shape[1:] for s in given):
        raise error(
            ValueError, op, "sequences (L, ...) that are alike but for L",
            ", ".join(str(s.shape) for s in given) or "none", "give at least one",
        )  # fmt: skip
    longest = max(s.shape[0] for s in given)
    padded = []
    for s in given:
        rest = (longest - s.shape[0], *s.shape[1:])
        fill = F.full(rest, padding_value, dtype=s.dtype, device=s.device)
        padded.append(F.cat([fill, s] if padding_side == "left" else [s, fill]))
    return F.stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Any, batch_first: bool = False
) -> list[Tensor]:
    """The sequences of a padded batch, each as long as it is. Errors: pack_padded_sequence's.

    >>> nn.utils.rnn.unpad_sequence(tw.tensor([[1, 2, 3], [4, 5, 0]]), [3, 2], batch_first=True)
    [tensor([1, 2, 3]), tensor([4, 5])]
    """
    op = "unpad_sequence"
    x = operand(padded_sequences, op, "padded_sequences")
    if x.ndim < 2:
        raise error(ValueError, op, "a batch (T, N, ...)", x.shape, "add the axis of the batch")
    array = _lengths(op, lengths, x, batch_first)
    return [x[i, :n] if batch_first else x[:n, i] for i, n in enumerate(array.tolist())]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (L, ...) of any lengths, packed: pad_sequence() and pack_padded_sequence().

    >>> nn.utils.rnn.pack_sequence([tw.tensor([1, 2]), tw.tensor([3])]).batch_sizes
    tensor([2, 1])
    """
    given = list(sequences)
    padded = pad_sequence(given)
    lengths = [len(s) for s in given]
    return pack_padded_sequence(padded, lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a PackedSequence, in the order before packing.

    >>> packed = nn.utils.rnn.pack_sequence([tw.tensor([1, 2]), tw.tensor([3])])
    >>> nn.utils.rnn.unpack_sequence(packed)
    [tensor([1, 2]), tensor([3])]
    """
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
