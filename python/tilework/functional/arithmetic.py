"""Elementwise arithmetic that is made of recorded ops, or has no slope."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import as_array, errstate, may_hold, namespace
from tilework.autograd import Op, mode, record
from tilework.errors import error
from tilework.functional.cast import cast, number_beside, widening
from tilework.functional.common import need_broadcast, need_float, number, operand, ordered, wrap
from tilework.functional.compare import trunc
from tilework.functional.masks import clamp
from tilework.functional.pointwise import sum_to, without_zeros, zero_where
from tilework.tensor import Tensor, fresh, tensor_method

Inputs = tuple[Any, ...]


# --- mixtures ---


@tensor_method()
@widening
def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input), from whichever end is nearer; `weight` a number or a tensor.
    Shapes broadcast; all of one dtype (else TypeError).

    >>> tw.lerp(tw.tensor([1.0]), tw.tensor([3.0]), 0.25)
    tensor([1.5])
    """
    a, b = operand(input, "lerp"), operand(end, "lerp", "end")
    need_float("lerp", a)
    w = weight if isinstance(weight, Tensor) else number("lerp", "weight", weight)
    for t in (b, w) if isinstance(w, Tensor) else (b,):
        if t.dtype is not a.dtype:
            raise error(TypeError, "lerp", f"all of {a.dtype}", t.dtype, "convert it")
    away = b - a
    if not isinstance(w, Tensor):
        result: Tensor = a + away * w if abs(w) < 0.5 else b - away * (1.0 - w)
        return result
    w = number_beside(w, a)
    near = fresh(as_array(abs(w._array) < 0.5))
    return (a + away * w).where(near, b - away * (1.0 - w))  # type: ignore[no-any-return]


def _three(op: str, input: Any, tensor1: Any, tensor2: Any) -> list[Tensor]:
    tensors = [operand(t, op, n) for t, n in ((input, "input"), (tensor1, "tensor1"),
                                              (tensor2, "tensor2"))]  # fmt: skip
    need_broadcast(op, *(t.shape for t in tensors))
    return tensors


@tensor_method()
@widening
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 * tensor2; shapes broadcast.

    >>> tw.addcmul(tw.tensor([1.0]), tw.tensor([2.0]), tw.tensor([3.0]), value=0.5)
    tensor([4.])
    """
    x, a, b = _three("addcmul", input, tensor1, tensor2)
    product: Tensor = a * b
    return x + (product if number("addcmul", "value", value) == 1 else product * value)


@tensor_method()
@widening
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 / tensor2; shapes broadcast. TypeError on integers.

    >>> tw.addcdiv(tw.tensor([1.0]), tw.tensor([3.0]), tw.tensor([2.0]))
    tensor([2.5])
    """
    x, a, b = _three("addcdiv", input, tensor1, tensor2)
    for t in (a, b):
        need_float("addcdiv", t)
    top = a if number("addcdiv", "value", value) == 1 else a * value
    return x + top / b


# --- limits ---


@tensor_method()
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """What is less than `min` brought there; min is a number or a tensor that broadcasts.

    >>> tw.clamp_min(tw.tensor([-1.0, 2.0]), 0)
    tensor([0., 2.])
    """
    return clamp(input, min)


@tensor_method()
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """What is more than `max` brought there; max is a number or a tensor that broadcasts.

    >>> tw.clamp_max(tw.tensor([-1.0, 2.0]), 0)
    tensor([-1.,  0.])
    """
    return clamp(input, None, max)


@tensor_method()
def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None,
    neginf: float | None = None,
) -> Tensor:  # fmt: skip
    """Other numbers in the place of NaN (0) and of the infinities (the dtype's extremes); no
    gradient flows to what was replaced.

    >>> tw.nan_to_num(tw.tensor([float("nan"), 1.0]))
    tensor([0., 1.])
    """
    x = operand(input, "nan_to_num")
    if not dtypes.is_float(x.dtype):
        return x.clone()
    most = float(dtypes.finfo(x.dtype).max)
    xp, array = namespace(x._array), x._array
    y = x
    for where, value in (
        (xp.isnan(array), 0.0 if nan is None else nan),
        (array == math.inf, most if posinf is None else posinf),
        (array == -math.inf, -most if neginf is None else neginf),
    ):
        if may_hold(where):
            y = y.masked_fill(fresh(as_array(where)), value)
    return y.clone() if y is x else y


# --- parts of numbers ---


@tensor_method()
def frac(input: Tensor) -> Tensor:
    """Each number's fraction, with its sign. TypeError on integers.

    >>> tw.frac(tw.tensor([-1.5, 1.25]))
    tensor([-0.50,  0.25])
    """
    x = operand(input, "frac")
    need_float("frac", x)
    return x - trunc(x)


# --- of two tensors ---


class _Two(Op):
    """A function of two floats: its name in the array library, and the gradients of both in
    recorded ops."""

    __slots__ = ("forward",)

    def __init__(self, name: str, forward: str, slopes: Callable[..., Sequence[Any]]) -> None:
        def differentiable(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
            found = slopes(grad, *inputs)
            return tuple(sum_to(g, t) for g, t in zip(found, inputs, strict=True))

        super().__init__(name, differentiable=differentiable)
        self.forward = forward


@widening
def _of_two(op: _Two, input: Any, other: Any) -> Tensor:
    a, b = operand(input, op.name), operand(other, op.name, "other")
    dtype = dtypes.result_type(a, b)
    dtype = dtype if dtypes.is_float(dtype) else dtypes.float32
    a, b = cast(a, dtype), cast(b, dtype)
    need_broadcast(op.name, a.shape, b.shape)
    with errstate(all="ignore"):
        y = wrap(getattr(namespace(a._array), op.forward)(a._array, b._array))
    if mode.enabled and (a._requires_grad or b._requires_grad):
        record(y, op, (a, b), None, (a._storage, b._storage))
    return ordered(y, a, b)


@tensor_method()
def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle of the point (other, input), in (-pi, pi]; shapes broadcast.

    >>> tw.atan2(tw.tensor([1.0]), tw.tensor([1.0]))
    tensor([0.7854])
    """
    return _of_two(_ATAN2, input, other)


@tensor_method()
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """sqrt(input^2 + other^2) without overflow; shapes broadcast.

    >>> tw.hypot(tw.tensor([3.0]), tw.tensor([4.0]))
    tensor([5.])
    """
    return _of_two(_HYPOT, input, other)


@tensor_method()
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other)) without overflow; shapes broadcast.

    >>> tw.logaddexp(tw.tensor([0.0]), tw.tensor([0.0]))
    tensor([0.6931])
    """
    return _of_two(_LOGADDEXP, input, other)


def _atan2_slopes(grad: Tensor, a: Tensor, b: Tensor) -> Sequence[Tensor]:
    size, at_0 = without_zeros(hypot(a, b))  # whose square may leave the range
    # Where either is infinite the angle stands still, and NaN where the other is NaN.
    still = at_0 | ((size._array == math.inf) & (a._array == a._array) & (b._array == b._array))
    return (
        zero_where(grad * (b / size) / size, still),
        zero_where(-(grad * (a / size)) / size, still),
    )


def _logaddexp_slopes(grad: Tensor, a: Tensor, b: Tensor) -> Sequence[Tensor]:
    # Of two equal infinities each takes half.
    same = fresh(as_array(a._array == b._array))
    away = (a - b).masked_fill(same, 0.0) if may_hold(same._array) else a - b
    return grad * away.sigmoid(), grad * (-away).sigmoid()


def _hypot_slopes(grad: Tensor, a: Tensor, b: Tensor) -> Sequence[Tensor]:
    y = hypot(a, b)
    long = (y._array == math.inf) & (abs(a._array) < math.inf) & (abs(b._array) < math.inf)
    if may_hold(long):  # beyond the range, where the cosines are not
        kept = fresh(as_array(~long))
        a, b = a.where(kept, a * 0.25), b.where(kept, b * 0.25)
        y = hypot(a, b)
    y, at_0 = without_zeros(y)
    return grad * _cosine(a, b, y, at_0), grad * _cosine(b, a, y, at_0)


def _cosine(a: Tensor, b: Tensor, y: Tensor, at_0: Any) -> Tensor:
    """a / y, and 0 at no length; a's sign where a alone is infinite."""
    found = zero_where(a / y, at_0)
    far = (abs(a._array) == math.inf) & (abs(b._array) < math.inf)
    return a.detach().sign().where(fresh(as_array(far)), found) if may_hold(far) else found


_ATAN2 = _Two("atan2", "arctan2", _atan2_slopes)
_HYPOT = _Two("hypot", "hypot", _hypot_slopes)
_LOGADDEXP = _Two("logaddexp", "logaddexp", _logaddexp_slopes)
