"""Rows of a table by number, and bags of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error, word
from tilework.functional.common import need_float, operand, whole
from tilework.functional.inplace import check_writable, written
from tilework.functional.segment import indices, max_of, rows_of, sum_of
from tilework.tensor import Tensor, fresh

Array = Any
Inputs = tuple[Any, ...]


def _factors(index: Array, padding: int | None, counts: Array | None, dtype: Any) -> Array | None:
    """What each row's gradient is multiplied by: (N, 1), or None for 1."""
    if padding is None and counts is None:
        return None
    factors = np.ones(index.size, dtype) if counts is None else (1 / counts[index]).astype(dtype)
    if padding is not None:
        factors[index == padding] = 0
    return factors[:, None]


def _weighted(rows: Array, factors: Array) -> Array:
    """Zero, whatever is multiplied by it: a row of padding may have no number at all."""
    return np.where(factors == 0, factors, rows * factors)


def _backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    index, padding, counts = saved
    table = inputs[0]
    rows = grad.reshape(index.size, table.shape[1])
    factors = _factors(index, padding, counts, rows.dtype)
    if factors is not None:
        rows = _weighted(rows, factors)
    return (ops.index_add(rows, index, table.shape[0]),)


def _recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    index, padding, counts = saved
    rows = grad.reshape(index.size, inputs[0].shape[1])
    factors = _factors(index, padding, counts, grad.dtype)
    if factors is not None:
        rows = rows * fresh(factors)
    return (sum_of(rows, index, inputs[0].shape[0]),)


_EMBEDDING = Op("embedding", _backward, _recorded)


def _padding(op: str, padding_idx: Any, rows: int) -> int | None:
    """padding_idx counted from the front. ValueError outside of the table."""
    if padding_idx is None:
        return None
    at = whole(op, "padding_idx", padding_idx)
    if not -rows <= at < rows:
        raise error(
            ValueError, op, f"padding_idx between {-rows} and {rows - 1}", at,
            f"the table has {rows} rows",
        )  # fmt: skip
    return at % rows


def _renorm(op: str, table: Tensor, index: Array, max_norm: float, norm_type: float) -> None:
    """Shrinks the rows that are looked up, each once, to `max_norm` where they are longer."""
    if not index.size:
        return
    if mode.enabled and table._requires_grad and table._node is not None:
        raise error(
            RuntimeError, op, "max_norm with a weight that is a leaf", "the result of an op",
            "call with weight.clone() made under no_grad, or drop max_norm",
        )  # fmt: skip
    if not table._array.flags.writeable or table._storage.frozen:
        check_writable(op, table)
    at = np.unique(index)
    rows = table._array[at].astype(np.float64)
    lengths = np.linalg.norm(rows, norm_type, axis=1)
    long = lengths > max_norm
    if long.any():
        rows = rows[long] * (max_norm / (lengths[long, None] + 1e-7))
        table._array[at[long]] = rows.astype(table.dtype)
        written(table)


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


def _looked_up(table: Tensor, index: Array, padding: int | None, by_frequency: bool) -> Tensor:
    """The rows of a flat index, (N, columns), recorded."""
    y = fresh(np.take(table._array, index, 0))
    if mode.enabled and table._requires_grad:
        counts = np.bincount(index, minlength=1) if by_frequency else None
        record(y, _EMBEDDING, (table,), (index, padding, counts))
    return y


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
    table = _table("embedding", weight, sparse)
    shape = operand(input, "embedding").shape
    index = indices("embedding", "input", input, table.shape[0]).reshape(-1)
    padding = _padding("embedding", padding_idx, table.shape[0])
    if max_norm is not None:
        _renorm("embedding", table, index, max_norm, norm_type)
    y = _looked_up(table, index, padding, scale_grad_by_freq)
    return y if len(shape) == 1 else y.reshape(*shape, table.shape[1])


def _bags(op: str, input: Tensor, offsets: Any, include_last_offset: bool) -> tuple[Array, int]:
    """The bag of each index, and how many bags there are."""
    if input.ndim == 2:
        if offsets is not None:
            raise error(
                ValueError, op, "no offsets beside input of two axes", "offsets",
                "each of its rows is a bag",
            )  # fmt: skip
        count, size = input.shape
        return np.repeat(np.arange(count), size), count
    if input.ndim != 1 or offsets is None:
        raise error(
            ValueError, op, "input (bags, size), or input (N,) with offsets",
            f"input {input.shape}{'' if offsets is None else ' with offsets'}", "give offsets",
        )  # fmt: skip
    starts = indices(op, "offsets", offsets, input.shape[0] + 1)
    if starts.ndim != 1 or (include_last_offset and not starts.size):
        raise error(ValueError, op, "offsets of one axis", starts.shape, "flatten them")
    if starts.size and (starts[0] != 0 or (np.diff(starts) < 0).any()):
        raise error(
            ValueError, op, "offsets that begin with 0 and do not fall", starts[:8].tolist(),
            "they are where each bag begins",
        )  # fmt: skip
    ends = starts[1:] if include_last_offset else np.append(starts[1:], input.shape[0])
    starts = starts[: len(ends)] if starts.size else starts
    sizes = ends[: starts.size] - starts
    return np.repeat(np.arange(starts.size), sizes), starts.size


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
    table, given = _table(op, weight, sparse), operand(input, op)
    index = indices(op, "input", given, table.shape[0]).reshape(-1)
    padding = _padding(op, padding_idx, table.shape[0])
    bags, count = _bags(op, given, offsets, include_last_offset)
    if bags.size < index.size:  # include_last_offset may end before the input does
        index = index[: bags.size]
    weights = None
    if per_sample_weights is not None:
        weights = operand(per_sample_weights, op, "per_sample_weights")
        if mode != "sum" or weights.shape != given.shape:
            raise error(
                ValueError, op, f"per_sample_weights {given.shape}, with mode='sum'",
                f"{weights.shape} with mode={mode!r}", "multiply the rows yourself",
            )  # fmt: skip
        weights = weights.reshape(-1)[: bags.size]
    if max_norm is not None:
        _renorm(op, table, index, max_norm, norm_type)
    if padding is not None:
        counts = np.flatnonzero(index != padding)
        index, bags = index[counts], bags[counts]
        weights = None if weights is None else rows_of(weights, counts)
    rows = _looked_up(table, index, None, scale_grad_by_freq)
    if mode == "max":
        return max_of(rows, bags, count)
    y = sum_of(rows if weights is None else rows * weights.unsqueeze(1), bags, count)
    if mode == "mean":
        sizes = np.maximum(np.bincount(bags, minlength=count), 1)
        y = y / fresh(sizes.astype(y.dtype)[:, None])
    return y
