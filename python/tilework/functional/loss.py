"""Losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import as_array, broadcast_shapes, may_hold, namespace
from tilework.autograd import Op, mode, record, recorded
from tilework.engines import ops
from tilework.errors import error, word
from tilework.functional.cast import cast
from tilework.functional.common import need_broadcast, need_float, operand
from tilework.functional.lowering import in_full
from tilework.functional.pointwise import zero_where
from tilework.functional.softmax import log_softmax, softmax
from tilework.functional.unary import softplus_of
from tilework.tensor import Tensor, fresh, new_storage

Inputs = tuple[Any, ...]


def check_reduction(op: str, reduction: str) -> None:
    if not isinstance(reduction, str) or reduction not in ("none", "mean", "sum"):
        raise error(
            ValueError, op, 'reduction "none", "mean" or "sum"', word(reduction), "name one of them"
        )


def promoted(op: str, input: Any, target: Any) -> tuple[Tensor, Tensor, dtypes.DType]:
    """Both as tensors of the dtype that the loss is computed in, and the dtype of the result."""
    x, t = operand(input, op), operand(target, op, "target")
    dtype = dtypes.result_type(x, t)
    if not dtypes.is_float(dtype):
        need_float(op, x)
    compute = dtypes.float32 if dtype is dtypes.bfloat16 else dtype
    return cast(x, compute), cast(t, compute), dtype


def reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


# --- distances ---


class DistanceOp(Op):
    """A loss of input - target: its kind in the engines, and its slope as recorded ops."""

    __slots__ = ("kind", "slope")

    def __init__(self, name: str, kind: str, slope: Callable[[Tensor, float], Tensor]) -> None:
        super().__init__(name, _distance_backward, _distance_recorded)
        self.kind = kind
        self.slope = slope


def _distance_backward(grad: Any, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, target = inputs
    op, limit, reduction = saved
    dx = ops.distance_backward(op.kind, grad, x._array, target._array, limit, reduction)
    return (
        dx if x._requires_grad else None,
        ops.unary_forward("neg", dx) if target._requires_grad else None,
    )


def _distance_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, target = inputs
    op, limit, reduction = saved
    dx = op.slope(x - target, limit) * (grad / (x.numel() if reduction == "mean" else 1))
    return dx, -dx


def _sign(away: Tensor, limit: float) -> Tensor:
    return fresh(as_array(namespace(away._array).sign(away._array), away.dtype))


_MSE = DistanceOp("mse_loss", "square", lambda away, limit: away * 2.0)
_L1 = DistanceOp("l1_loss", "absolute", _sign)
_HUBER = DistanceOp("huber_loss", "huber", lambda away, limit: away.clamp(-limit, limit))
_SMOOTH_L1 = DistanceOp(
    "smooth_l1_loss", "smooth", lambda away, limit: (away / limit).clamp(-1.0, 1.0)
)


def _distance(
    op: DistanceOp, input: Tensor, target: Tensor, limit: float, reduction: str
) -> Tensor:
    x, t = input, target
    try:
        a, b = x._array, t._array
    except AttributeError:
        x, t = operand(x, op.name), operand(t, op.name, "target")
        a, b = x._array, t._array
    dtype = a.dtype
    check_reduction(op.name, reduction)
    if dtype is not b.dtype or dtype.kind != "f" or a.shape != b.shape:
        return _unlike(op, x, t, limit, reduction)
    y = ops.distance_forward(op.kind, a, b, limit, reduction)
    if (x._requires_grad or t._requires_grad) and mode.enabled:
        saved = (op, limit, reduction)
        return recorded(y, new_storage(), op, (x, t), saved, (x._storage, t._storage))
    return fresh(y)


def _unlike(op: DistanceOp, x: Tensor, t: Tensor, limit: float, reduction: str) -> Tensor:
    """Dtypes or shapes differ, or are no kernel's."""
    dtype = dtypes.result_type(x, t)
    if not dtypes.is_float(dtype):
        need_float(op.name, x)
    need_broadcast(op.name, x.shape, t.shape)
    shape = broadcast_shapes(x.shape, t.shape)
    compute = dtypes.float32 if dtype is dtypes.bfloat16 else dtype
    x, t = (cast(v if v.shape == shape else v.expand(shape), compute) for v in (x, t))
    return cast(_distance(op, x, t, limit, reduction), dtype)


@in_full
def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """(input - target)^2, averaged, summed or as it is; shapes broadcast.

    `reduction` is "none", "mean" or "sum". ValueError where shapes do not broadcast.

    >>> F.mse_loss(tw.tensor([1.0, 3.0]), tw.tensor([1.0, 1.0]))
    tensor(2.)
    """
    return _distance(_MSE, input, target, 0.0, reduction)


@in_full
def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """|input - target|, averaged, summed or as it is; shapes broadcast.

    >>> F.l1_loss(tw.tensor([1.0, 3.0]), tw.tensor([1.0, 1.0]))
    tensor(1.)
    """
    return _distance(_L1, input, target, 0.0, reduction)


@in_full
def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """Half the squared distance over beta where it is under beta, the distance less beta/2 beyond.

    ValueError on a negative beta.

    >>> F.smooth_l1_loss(tw.tensor([0.5, 3.0]), tw.tensor([0.0, 0.0]), reduction="none")
    tensor([0.125, 2.500])
    """
    if beta < 0:
        raise error(ValueError, "smooth_l1_loss", "beta >= 0", beta, "raise it")
    if beta == 0:
        return l1_loss(input, target, reduction)
    return _distance(_SMOOTH_L1, input, target, float(beta), reduction)


@in_full
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """delta times smooth_l1_loss with beta=delta. ValueError on delta <= 0.

    >>> F.huber_loss(tw.tensor([0.5, 3.0]), tw.tensor([0.0, 0.0]), reduction="none")
    tensor([0.125, 2.500])
    """
    if delta <= 0:
        raise error(ValueError, "huber_loss", "delta > 0", delta, "raise it")
    return _distance(_HUBER, input, target, float(delta), reduction)


# --- cross entropy ---


def _cross_entropy_backward(grad: Any, inputs: Inputs, saved: Any) -> Sequence[Any]:
    target, weight, kept, ignore_index, smoothing, reduction = saved
    logits = inputs[0]._array
    return (
        ops.cross_entropy_backward(
            grad, logits, target, weight, kept, ignore_index, smoothing, reduction
        ),
    )


def _cross_entropy_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """Each probability by the weight of its row's logarithm of a sum, less the weight of its own
    logit there."""
    target, weight, _, ignore_index, smoothing, reduction = saved
    x = inputs[0]
    counted = target != ignore_index
    xp = namespace(target)
    label = xp.where(counted, target, 0)
    each = xp.ones(x.shape[1]) if weight is None else weight.astype(dtypes.float64)
    own = xp.zeros(x.shape) + each * (smoothing / x.shape[1])
    own[xp.arange(len(label)), label] += (1.0 - smoothing) * each[label]
    total = fresh(own.sum(1, keepdims=True).astype(x.dtype))
    if reduction == "mean":
        grad = grad / float(each[label][counted].sum() or math.nan)
    scale = grad.reshape(-1, 1) if reduction == "none" else grad
    slope = (softmax(x, 1) * total - fresh(own.astype(x.dtype))) * scale
    return (zero_where(slope, ~counted[:, None]),)


_CROSS_ENTROPY = Op("cross_entropy", _cross_entropy_backward, _cross_entropy_recorded)


@in_full
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The negative log probability of the target class under softmax(input).

    input (N, C), (C,) or (N, C, d1, ...); target of int64 without the C axis, or of input's shape
    and dtype (probabilities). `weight` (C,) scales classes; "mean" then divides by the weights in
    play.

    Raises ValueError where shapes disagree or a class is out of range, TypeError on dtypes.

    >>> F.cross_entropy(tw.zeros(2, 4), tw.tensor([0, 3]))
    tensor(1.3863)
    """
    x, t = operand(input, "cross_entropy"), operand(target, "cross_entropy", "target")
    need_float("cross_entropy", x)
    check_reduction("cross_entropy", reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise error(
            ValueError, "cross_entropy", "label_smoothing in [0, 1]", label_smoothing, "lower it"
        )
    if x._array.ndim == 0:
        raise error(ValueError, "cross_entropy", "input (N, C)", "a 0-d tensor", "add a class axis")
    classes = x.shape[1 if x._array.ndim > 1 else 0]
    if weight is not None and (weight.shape != (classes,) or weight.dtype != x.dtype):
        raise error(
            ValueError, "cross_entropy", f"weight ({classes},) of {x.dtype}",
            f"{weight.shape} of {weight.dtype}", "give one weight a class",
        )  # fmt: skip
    if dtypes.is_float(t._array.dtype):
        return _soft_cross_entropy(x, t, weight, reduction, label_smoothing)
    if x.dtype is dtypes.bfloat16:
        wide = None if weight is None else weight.float()
        result: Tensor = cross_entropy(
            x.float(), t, wide, ignore_index=ignore_index, reduction=reduction,
            label_smoothing=label_smoothing,
        )  # fmt: skip
        return result.to(dtypes.bfloat16)
    shape = x.shape[:1] + x.shape[2:] if x._array.ndim > 1 else ()
    if t.shape != shape:
        raise error(
            ValueError, "cross_entropy", f"target {shape} beside input {x.shape}", t.shape,
            "give one class index an item",
        )  # fmt: skip
    labels = labels_of(t, "cross_entropy")
    rows = x
    if x._array.ndim != 2:
        rows = x.reshape(1, -1) if x._array.ndim == 1 else x.movedim(1, -1).reshape(-1, classes)
        labels = labels.reshape(-1)
    w = None if weight is None else weight._array
    try:
        loss, kept = ops.cross_entropy_forward(
            rows._array, labels, w, ignore_index, label_smoothing, reduction
        )
    except IndexError:
        check_labels(labels, classes, ignore_index, "cross_entropy")
        raise
    y = fresh(loss)
    if mode.enabled and x._requires_grad:
        saved = (labels, w, kept, ignore_index, label_smoothing, reduction)
        read = (rows, t) if weight is None else (rows, t, weight)
        record(y, _CROSS_ENTROPY, (rows,), saved, tuple(r._storage for r in read))
    return y.reshape(shape) if reduction == "none" and y.shape != shape else y


def labels_of(target: Tensor, op: str) -> Any:
    """The class indices as int64, unchecked."""
    array = target._array
    if array.dtype.kind not in "iu":
        raise error(TypeError, op, "class indices", array.dtype, "convert with target.long()")
    return array if array.dtype is dtypes.int64 else array.astype(dtypes.int64)


def check_labels(labels: Any, classes: int, ignore_index: int | None, op: str) -> None:
    """ValueError on a class that there is not: NumPy would count it from the end."""
    outside = (labels < 0) | (labels >= classes)
    fix = "relabel"
    if ignore_index is not None:
        outside &= labels != ignore_index
        fix += f", or mark items to skip with ignore_index={ignore_index}"
    wrong = labels[outside]
    if wrong.size:
        raise error(ValueError, op, f"classes in [0, {classes})", int(wrong[0]), fix)


def _soft_cross_entropy(
    x: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    """Targets are probabilities of x's shape."""
    if target.shape != x.shape:
        raise error(
            ValueError, "cross_entropy", f"target probabilities {x.shape}", target.shape,
            "give class indices as integers, or one probability a class",
        )  # fmt: skip
    dim = 1 if x.ndim > 1 else 0
    classes = x.shape[dim]
    x, target, dtype = promoted("cross_entropy", x, target)
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / classes
    loss = weighted(log_softmax(x, dim), target)
    if weight is not None:
        loss = loss * cast(weight, x.dtype).reshape((-1,) + (1,) * (x.ndim - 1 - dim))
    loss = -loss.sum(dim)
    if reduction == "mean":
        return cast(loss.sum() / (x.numel() // classes), dtype)
    return cast(reduced(loss, reduction), dtype)


def _nll_of_any(
    x: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str
) -> Tensor:
    """nll_loss of one row, or of images of them."""
    at = 1 if x.ndim > 1 else 0
    if target.shape != (*x.shape[:at], *x.shape[at + 1 :]):
        raise error(
            ValueError, "nll_loss", "input (N, C, d1, ...) and target (N, d1, ...)",
            f"{x.shape} and {target.shape}", "reshape them",
        )  # fmt: skip
    rows = x.movedim(at, -1).reshape(target.numel(), x.shape[at])
    labels = target.reshape(-1)
    loss = nll_loss(rows, labels, weight, ignore_index=ignore_index, reduction=reduction)
    return loss.reshape(target.shape) if reduction == "none" else loss


@in_full
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """The negative of input (N, C), log probabilities, at the target classes (N,) of int64; of
    (C,) with a 0-d target, and of (N, C, d1, ...) with (N, d1, ...), too.

    `weight` (C,) scales classes; "mean" divides by the weights in play. ValueError where shapes
    disagree or a class is out of range.

    >>> F.nll_loss(tw.tensor([[-0.5, -1.0]]), tw.tensor([1]))
    tensor(1.)
    """
    x, t = operand(input, "nll_loss"), operand(target, "nll_loss", "target")
    need_float("nll_loss", x)
    check_reduction("nll_loss", reduction)
    if x.ndim not in (0, 2):
        return _nll_of_any(x, t, weight, ignore_index, reduction)
    if x.ndim != 2 or t.shape != x.shape[:1]:
        raise error(
            ValueError, "nll_loss", "input (N, C) and target (N,)", f"{x.shape} and {t.shape}",
            "reshape them",
        )  # fmt: skip
    labels = labels_of(t, "nll_loss")
    check_labels(labels, x.shape[1], ignore_index, "nll_loss")
    counted = labels != ignore_index
    safe = namespace(labels).where(counted, labels, 0)
    dtype = x.dtype
    compute = dtypes.float32 if dtype is dtypes.bfloat16 else dtype
    scale = as_array(counted, compute)
    if weight is not None:
        scale *= weight._array[safe]
    picked = cast(x.gather(1, fresh(safe.reshape(-1, 1))).reshape(-1), compute)
    loss = -zero_where(picked, ~counted) * fresh(scale)  # an ignored -inf is not times 0
    if reduction == "mean":
        return cast(loss.sum() / fresh(as_array(scale.sum(dtype=dtypes.float64), compute)), dtype)
    return cast(reduced(loss, reduction), dtype)


# --- compositions ---


@in_full
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """-(t log s + (1 - t) log(1 - s)) with s = sigmoid(input), without overflow; one shape for
    both.

    `pos_weight` scales the first term, `weight` the whole; both broadcast. ValueError where the
    shapes differ.

    >>> F.binary_cross_entropy_with_logits(tw.tensor([0.0]), tw.tensor([1.0]))
    tensor(0.6931)
    """
    op = "binary_cross_entropy_with_logits"
    check_reduction(op, reduction)
    x, t, dtype = promoted(op, input, target)
    if x.shape != t.shape:
        raise error(ValueError, op, f"target {x.shape}", t.shape, "reshape it")
    # -log sigmoid(x) is softplus(-x), and so for 1 - sigmoid: neither takes a logarithm near 1.
    positive = t if pos_weight is None else t * pos_weight
    loss = weighted(softplus_of(-x), positive) + weighted(softplus_of(x), 1.0 - t)
    return cast(reduced(loss if weight is None else loss * weight, reduction), dtype)


def weighted(value: Tensor, weight: Tensor) -> Tensor:
    """value * weight, and 0 where the weight is, though the value be infinite."""
    infinite = namespace(value._array).isinf(value._array)
    if may_hold(infinite):
        value = zero_where(value, infinite & (weight._array == 0))
    return value * weight
