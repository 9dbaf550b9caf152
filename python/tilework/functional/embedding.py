"""Rows of a table by number, and bags of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import Array, largest, namespace, writeable
from tilework.autograd import Op, record
from tilework.autograd import mode as tape
from tilework.engines import ops
from tilework.errors import error, word
from tilework.functional.cast import cast
from tilework.functional.common import need_float, number, operand, whole
from tilework.functional.indexing import indices, outside
from tilework.functional.inplace import check_writable, written
from tilework.functional.masks import where
from tilework.functional.segment import largest_of, rows_of, shares, sum_of
from tilework.storage import Storage
from tilework.tensor import Tensor, fresh

Inputs = tuple[Any, ...]
Reads = tuple[Storage, ...]
NO_PADDING = -1


# --- recorded ---


def _backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    index, padding, by_frequency = saved
    rows, columns = inputs[0].shape
    flowing = grad.reshape(index.size, columns)
    return (ops.segment_sum(flowing, index, rows, padding, by_frequency),)


def _recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    index, padding, by_frequency = saved
    rows, columns = inputs[0].shape
    flowing = grad.reshape(index.size, columns)
    return (sum_of(_shared_out(flowing, index, rows, padding, by_frequency), index, rows),)


def _shared_out(
    flowing: Tensor, index: Array, rows: int, padding: int, by_frequency: bool
) -> Tensor:
    """The gradient of each entry's row (N, columns) with none for the padding, and divided by how
    often the row occurs."""
    if by_frequency:
        flowing = flowing * fresh(shares(index, rows, flowing._array))
    if padding != NO_PADDING:
        flowing = where(fresh((index == padding).reshape(-1, 1)), 0.0, flowing)
    return flowing


_EMBEDDING = Op("embedding", _backward, _recorded)


def _bag_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    table, weights = inputs
    index, starts, mean, padding, by_frequency = saved
    factors = None if weights is None else weights._array
    return (
        ops.embedding_bag_backward(
            grad, index, starts, factors, mean, table.shape[0], padding, by_frequency
        )
        if table._requires_grad
        else None,
        ops.embedding_bag_weights_backward(grad, table._array, index, starts, padding)
        if weights is not None and weights._requires_grad
        else None,
    )


def _bag_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    table, weights = inputs
    index, starts, mean, padding, by_frequency = saved
    xp = namespace(index)
    # The bag of each entry is how many have begun by then, less one.
    begun = ops.index_add(
        xp.ones(starts.shape, dtype=dtypes.float64), 0, starts, index.size + 1, None, False
    )
    bags = xp.cumsum(begun, axis=0)[: index.size].astype(dtypes.int64) - 1
    grads = rows_of(grad, bags)
    if mean:
        counts = ops.segment_sum(
            (index != padding).astype(dtypes.float64).reshape(-1, 1), bags, len(grad), -1, False
        )
        sizes = ops.index_select(
            xp.maximum(counts, xp.ones((), dtype=counts.dtype)), 0, bags, False
        )
        grads = grads / fresh(sizes.astype(grad.dtype))
    found: list[Any] = [None, None]
    if table._requires_grad:
        rows = grads if weights is None else grads * weights.unsqueeze(1)
        rows = _shared_out(rows, index, table.shape[0], padding, by_frequency)
        found[0] = sum_of(rows, index, table.shape[0])
    if weights is not None and weights._requires_grad:
        rows = _shared_out(rows_of(table, index), index, table.shape[0], padding, False)
        found[1] = (grads * rows).sum(1)
    return found


_BAG = Op("embedding_bag", _bag_backward, _bag_recorded)


# --- what is checked ---


def _padding(op: str, padding_idx: Any, rows: int) -> int:
    """padding_idx counted from the front. ValueError outside of the table."""
    if padding_idx is None:
        return NO_PADDING
    at = whole(op, "padding_idx", padding_idx)
    if not -rows <= at < rows:
        raise error(
            ValueError, op, f"padding_idx between {-rows} and {rows - 1}", at,
            f"the table has {rows} rows",
        )  # fmt: skip
    return at % rows


def _renorm(op: str, table: Tensor, index: Array, max_norm: Any, norm_type: Any) -> None:
    """Shrinks the rows that are looked up, each once, to `max_norm` where they are longer."""
    longest, order = number(op, "max_norm", max_norm), number(op, "norm_type", norm_type)
    if not index.size:
        return
    if tape.enabled and table._requires_grad and table._node is not None:
        raise error(
            RuntimeError, op, "max_norm with a weight that is a leaf", "the result of an op",
            "call with weight.clone() made under no_grad, or drop max_norm",
        )  # fmt: skip
    if table._storage.frozen or not writeable(table._array):
        check_writable(op, table)
    xp = namespace(index)
    at = xp.unique(index)
    rows = ops.index_select(table._array, 0, at, False).astype(dtypes.float64)
    lengths = _norms(rows, order)
    long = ops.nonzero(lengths > longest, True)[0]
    if long.size:
        factors = longest / (ops.index_select(lengths, 0, long, False) + 1e-7)
        shrunk = ops.index_select(rows, 0, long, False) * factors.reshape(-1, 1)
        table._array[ops.index_select(at, 0, long, False)] = shrunk.astype(table.dtype)
        written(table)


def _norms(rows: Array, order: float) -> Array:
    """Of each row, of any order."""
    xp = namespace(rows)
    sizes = xp.abs(rows)
    if order == math.inf:
        return largest(sizes, 0.0, 1)
    if order == 2.0:
        return xp.sqrt(xp.square(sizes).sum(axis=1))
    if order == 0.0:
        return (sizes != 0.0).sum(axis=1).astype(rows.dtype)
    return xp.power(xp.power(sizes, order).sum(axis=1), 1.0 / order)


def _table(op: str, weight: Any, sparse: bool) -> Tensor:
    table = operand(weight, op, "weight")
    need_float(op, table)
    if table.ndim != 2:
        raise error(ValueError, op, "weight (rows, columns)", table.shape, "reshape it")
    if sparse:
        raise error(
            NotImplementedError, op, "sparse=False", "True", "gradients are dense: leave it out"
        )
    return table


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of `weight` (rows, columns) that `input` (any shape, integers) names: (*input.shape,
    columns).

    The row `padding_idx` gets no gradient. `max_norm` first shrinks, in place, those of the rows
    looked up whose norm (of order norm_type) is larger. `scale_grad_by_freq` divides each row's
    gradient by how often it occurs. IndexError out of range: negative indices do not wrap.

    >>> F.embedding(tw.tensor([1, 0]), tw.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    op = "embedding"
    table = _table(op, weight, sparse)
    given, reads = indices(op, "input", input)
    index = given if given.ndim == 1 else given.reshape(-1)
    rows, columns = table.shape
    padding = _padding(op, padding_idx, rows)
    try:
        if max_norm is not None:
            _renorm(op, table, index, max_norm, norm_type)
        chosen = ops.index_select(table._array, 0, index, False)
    except IndexError:
        raise outside(op, "input", index, rows) from None
    y = fresh(chosen if given.ndim == 1 else chosen.reshape(*given.shape, columns))
    if tape.enabled and table._requires_grad:
        record(y, _EMBEDDING, (table,), (index, padding, scale_grad_by_freq), reads)
    return y


def _bags(
    op: str, input: Tensor, index: Array, offsets: Any, include_last_offset: bool
) -> tuple[Array, Array, Reads]:
    """(where each bag begins in the flat index, the part of it that bags reach, what offsets'
    storage is where it is shared)."""
    xp = namespace(index)
    if input.ndim == 2:
        if offsets is not None:
            raise error(
                ValueError, op, "no offsets beside an input of two axes", "offsets",
                "each of its rows is a bag",
            )  # fmt: skip
        count, size = input.shape
        return xp.arange(count) * size, index, ()
    if input.ndim != 1 or offsets is None:
        raise error(
            ValueError, op, "input (bags, size), or input (N,) with offsets",
            f"input {input.shape}{'' if offsets is None else ' with offsets'}", "give offsets",
        )  # fmt: skip
    starts, reads = indices(op, "offsets", offsets)
    if starts.ndim != 1 or (include_last_offset and not starts.size):
        raise error(ValueError, op, "offsets of one axis", starts.shape, "flatten them")
    if starts.size and (int(starts[0]) != 0 or bool((starts[1:] < starts[:-1]).any())):
        raise error(
            ValueError, op, "offsets that begin with 0 and do not fall", starts[:8].tolist(),
            "they are where each bag begins",
        )  # fmt: skip
    if starts.size and int(starts[-1]) > index.size:
        raise outside(op, "offsets", starts, index.size + 1)
    if include_last_offset:  # it may end before the input does
        return starts[:-1], index[: int(starts[-1])], reads
    return starts, index if starts.size else index[:0], reads


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or maximum of the rows of `weight` that each bag of indices names.

    `input` (bags, size), or (N,) with `offsets`, where each bag begins (with `include_last_offset`
    also where the last ends); the result is (bags, columns), zero for an empty bag. Entries of
    `padding_idx` do not count. `per_sample_weights` (input's shape) multiply rows of a sum. The
    rest as embedding.

    >>> F.embedding_bag(tw.tensor([0, 1, 1]), tw.eye(2), tw.tensor([0, 2]), mode="sum")
    tensor([[1., 1.],
            [0., 1.]])
    """
    op = "embedding_bag"
    if mode not in ("sum", "mean", "max"):
        raise error(ValueError, op, "mode of sum, mean or max", word(mode), "name one")
    if mode == "max" and scale_grad_by_freq:
        raise error(
            ValueError, op, "scale_grad_by_freq with mode sum or mean", "max", "leave it out"
        )
    table, given = _table(op, weight, sparse), operand(input, op)
    flat, reads = indices(op, "input", given)
    rows = table.shape[0]
    padding = _padding(op, padding_idx, rows)
    starts, index, more = _bags(op, given, flat.reshape(-1), offsets, include_last_offset)
    weights = None
    if per_sample_weights is not None:
        weights = operand(per_sample_weights, op, "per_sample_weights")
        if mode != "sum" or weights.shape != given.shape:
            raise error(
                ValueError, op, f"per_sample_weights {given.shape}, with mode='sum'",
                f"{weights.shape} with mode={mode!r}", "multiply the rows yourself",
            )  # fmt: skip
        weights = cast(weights, table.dtype).reshape(-1)[: index.size]
    factors = None if weights is None else weights._array
    try:
        if max_norm is not None:
            _renorm(op, table, index, max_norm, norm_type)
        values, places = ops.embedding_bag_forward(
            table._array, index, starts, factors, mode, padding
        )
    except IndexError:
        raise outside(op, "input", index, rows) from None
    if mode == "max":
        return largest_of(table, values, places)
    y = fresh(values)
    if tape.enabled and (table._requires_grad or (weights is not None and weights._requires_grad)):
        read = (
            (*reads, *more)
            if weights is None
            else (*reads, *more, weights._storage, table._storage)
        )
        saved = (index, starts, mode == "mean", padding, scale_grad_by_freq)
        record(y, _BAG, (table, weights), saved, read)
    return y
