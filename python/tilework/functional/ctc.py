"""Connectionist temporal classification (Graves et al., 2006): the loss of texts without timing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import host, namespace
from tilework.autograd import Op, mode, record
from tilework.devices import CPU, CUDA, moved
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.cast import cast
from tilework.functional.common import need_below, need_float, operand, whole
from tilework.functional.loss import check_reduction
from tilework.functional.lowering import in_full
from tilework.tensor import Tensor, fresh

Array = Any
Inputs = tuple[Any, ...]
Lengths = Tensor | Sequence[int]


def _backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    labels, ins, outs, blank, losses, kept, zero_infinity = saved
    x = inputs[0]._array
    dx = ops.ctc_backward(grad, x, labels, ins, outs, blank, losses, kept, zero_infinity)
    return (dx,)


def _no_second(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    raise error(
        RuntimeError, "ctc_loss", "first derivatives", "a gradient of its gradient",
        "call without create_graph=True: as in PyTorch, there is no second derivative",
    )  # fmt: skip


_CTC = Op("ctc_loss", _backward, _no_second)


def lengths_of(op: str, name: str, given: Lengths, batch: int, most: int, xp: Any) -> Array:
    """One length a sequence (N,) as int64, each in [0, most]; a 0-d tensor does for one."""
    if isinstance(given, Tensor):
        if given.dtype.kind not in "iu":
            raise error(TypeError, op, f"{name} of integers", given.dtype, f"use {name}.long()")
        array = moved(given._array, CPU if xp is host else CUDA)
        found = array.astype(dtypes.int64).reshape(-1) if given.ndim < 2 else array
    elif isinstance(given, (tuple, list)):
        found = xp.asarray([whole(op, name, n) for n in given], dtype=dtypes.int64)
    else:
        raise error(
            TypeError, op, f"{name} as a tensor or a tuple", type(given).__name__,
            "give one length a sequence",
        )  # fmt: skip
    if found.shape != (batch,):
        raise error(
            ValueError, op, f"{name} ({batch},), one a sequence", found.shape,
            "give the length of each",
        )  # fmt: skip
    if batch and not (int(found.min()) >= 0 and int(found.max()) <= most):
        wrong = found[(found < 0) | (found > most)][0]
        raise error(
            ValueError, op, f"{name} in [0, {most}]", int(wrong), "give lengths within the arrays"
        )
    return found


def blank_of(op: str, blank: Any, symbols: int) -> int:
    """Which of the symbols the blank is."""
    found = whole(op, "blank", blank)
    if not 0 <= found < symbols:
        raise error(ValueError, op, f"blank in [0, {symbols})", blank, "name one of the symbols")
    return found


def _labels(targets: Tensor, counts: Lengths, batch: int, symbols: int) -> tuple[Array, Array]:
    """The labels of all sequences, one's after another's, and how many each has."""
    op = "ctc_loss"
    array = targets._array
    xp = namespace(array)
    if array.dtype.kind not in "iu":
        raise error(TypeError, op, "targets of integers", array.dtype, "convert with .long()")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[0] != batch):
        raise error(
            ValueError, op, f"targets ({batch}, S), or of one axis, one's labels after another's",
            array.shape, "give a row a sequence",
        )  # fmt: skip
    lengths = lengths_of(op, "target_lengths", counts, batch, array.shape[-1], xp)
    if array.ndim == 2:
        array = array[xp.arange(array.shape[1]) < lengths[:, None]]
    if array.size != int(lengths.sum()):
        raise error(
            ValueError, op, "target_lengths that sum up to the number of targets",
            f"a sum of {int(lengths.sum())} and {array.size} targets", "pass as many as there are",
        )  # fmt: skip
    need_below(
        op, "targets", array, symbols,
        "number the symbols from 0; what is beyond target_lengths may be anything",
    )  # fmt: skip
    return array.astype(dtypes.int64), lengths


@in_full
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log p of each target, summed over all ways to say its labels in order with blanks between.

    log_probs (T, N, C), the log_softmax of logits, or (T, C); targets of integers (N, S), padded
    by anything, or (sum of target_lengths,); lengths (N,) as tensors or tuples. "mean" divides each
    loss by its target's length (or by 1 where that is 0) and averages. A target too long for its
    input has an infinite loss, and a gradient of NaN: `zero_infinity` makes both zero. The gradient
    is that of the logits, as PyTorch's is: log_softmax passes it on unchanged.

    Raises ValueError on lengths outside the arrays, on targets or a blank outside the symbols and
    on shapes that disagree, TypeError on dtypes; RuntimeError for its second derivative.

    >>> log_probs = F.log_softmax(tw.zeros(3, 1, 2), 2)
    >>> F.ctc_loss(log_probs, tw.tensor([[1]]), (3,), (1,))  # 6 of 8 paths say it
    tensor(0.2877)
    """
    op = "ctc_loss"
    x, t = operand(log_probs, op, "log_probs"), operand(targets, op, "targets")
    need_float(op, x, "log_probs")
    check_reduction(op, reduction)
    if x.ndim not in (2, 3) or not all(x.shape):
        raise error(
            ValueError, op, "log_probs (T, N, C) or (T, C), none of them 0", x.shape,
            "put time first and the symbols last",
        )  # fmt: skip
    if x.dtype is dtypes.bfloat16:
        wide = ctc_loss(
            x.float(), t, input_lengths, target_lengths, blank, reduction, zero_infinity
        )
        return cast(wide, dtypes.bfloat16)
    unbatched = x.ndim == 2
    if unbatched:
        x = x.unsqueeze(1)
    steps, batch, symbols = x.shape
    blank = blank_of(op, blank, symbols)
    labels, counts = _labels(t, target_lengths, batch, symbols)
    ins = lengths_of(op, "input_lengths", input_lengths, batch, steps, namespace(x._array))
    losses, kept = ops.ctc_forward(x._array, labels, ins, counts, blank)
    xp = namespace(losses)
    y = fresh(xp.where(losses == math.inf, 0, losses) if zero_infinity else losses)
    if mode.enabled and x._requires_grad:
        saved = (labels, ins, counts, blank, losses, kept, bool(zero_infinity))
        record(y, _CTC, (x,), saved, (x._storage,))
    if reduction == "mean":
        return (y / fresh(xp.maximum(counts, 1).astype(y.dtype))).mean()
    if reduction == "sum":
        return y.sum()
    return y.reshape(()) if unbatched else y
