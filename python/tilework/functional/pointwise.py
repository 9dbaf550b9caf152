"""Elementwise arithmetic, with broadcasting."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import as_array, host, may_hold, namespace, ndarray, scalar
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.engines.device import number_on
from tilework.errors import error, word
from tilework.functional.cast import cast, numbers_beside
from tilework.functional.common import (
    need_broadcast,
    number,
    operand,
    ordered,
    side,
    wrapped_number,
)
from tilework.tensor import Tensor, fresh, tensor_method

Array = Any
Inputs = tuple[Any, ...]


class BinaryOp(Op):
    """A two-sided op: its name in the engines, and the array library's for integers.

    `reads`: what operands the backward reads: "none", "other" for the other side's, "divisor" for
    the second, and the first for its gradient, "both".
    """

    __slots__ = ("on_integers", "reads")

    def __init__(
        self,
        name: str,
        on_integers: str,
        reads: str,
        backward: Callable[..., Sequence[Any]] | None,
        differentiable: Callable[..., Sequence[Any]],
    ) -> None:
        super().__init__(name, backward, differentiable)
        self.on_integers = on_integers
        self.reads = reads


def to_shape_of(grad: Array, t: Tensor | None) -> Array | None:
    """The gradient of broadcasting `t`; None where nobody wants it."""
    if t is None or not t._requires_grad:
        return None
    shape = t._array.shape
    return grad if grad.shape == shape else ops.sum_to_shape(grad, shape)


def sum_to(grad: Tensor, t: Any) -> Tensor | None:
    """to_shape_of with recorded ops."""
    if not isinstance(t, Tensor) or not t._requires_grad:
        return None
    return grad.sum_to_size(t.shape)


def _sides(inputs: Inputs, saved: Any) -> tuple[Any, Any]:
    """Both operands as tensors or numbers: `saved` is the number of the side that is None."""
    a, b = inputs
    return (saved if a is None else a), (saved if b is None else b)


def _values(inputs: Inputs, saved: Any) -> tuple[Any, Any]:
    """Both operands as arrays or numbers."""
    a, b = inputs
    return (saved if a is None else a._array), (saved if b is None else b._array)


def _negative(g: Array | None) -> Array | None:
    return None if g is None else ops.unary_forward("neg", g)


def _add_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return to_shape_of(grad, inputs[0]), to_shape_of(grad, inputs[1])


def _add_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return sum_to(grad, inputs[0]), sum_to(grad, inputs[1])


def _sub_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return to_shape_of(grad, inputs[0]), _negative(to_shape_of(grad, inputs[1]))


def _sub_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return sum_to(grad, inputs[0]), sum_to(-grad, inputs[1])


def _mul_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    (a, b), (x, y) = inputs, _values(inputs, saved)
    da = db = None
    if a is not None and a._requires_grad:
        da = to_shape_of(ops.binary_forward("mul", grad, y), a)
    if b is not None and b._requires_grad:
        db = to_shape_of(ops.binary_forward("mul", grad, x), b)
    return da, db


def _mul_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    a, b = _sides(inputs, saved)
    return sum_to(grad * b, a), sum_to(grad * a, b)


def _div_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    (a, b), (x, y) = inputs, _values(inputs, saved)
    da = db = None
    if a is not None and a._requires_grad:
        da = to_shape_of(ops.binary_forward("div", grad, y), a)
    if b is not None and b._requires_grad:
        # Twice by y, not once by its square: that leaves the range where the slope does not.
        slope = ops.binary_forward("div", ops.binary_forward("div", x, y), y)
        db = _negative(to_shape_of(ops.binary_forward("mul", grad, slope), b))
    return da, db


def _div_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    a, b = _sides(inputs, saved)
    da = db = None
    if isinstance(a, Tensor) and a._requires_grad:
        da = sum_to(grad / b, a)
    if isinstance(b, Tensor) and b._requires_grad:
        db = sum_to(-(grad * (a / b / b)), b)
    return da, db


def _pow_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    (a, b), (number, power) = inputs, saved
    x, y = _values(inputs, number)
    da = db = None
    if a is not None and a._requires_grad:
        da = to_shape_of(_base_gradient(grad, x, y), a)
    if b is not None and b._requires_grad:
        db = to_shape_of(_exponent_gradient(grad, x, y, power), b)
    return da, db


_NAMED = {2.0: "square", 3.0: "cube", -2.0: "inverse_square"}  # powers with a kernel of their own


def _base_gradient(grad: Array, x: Any, y: Any) -> Array:
    """grad * y * x^(y-1), but 0 where y is 0, though x^-1 be infinite (PyTorch's convention), and
    where the power has vanished under an infinite y."""
    if isinstance(y, float):
        if y == 0.0:
            return namespace(grad).zeros_like(grad)
        if y in _NAMED:
            return ops.unary_backward(_NAMED[y], grad, x)
    less = y - 1.0 if isinstance(y, float) else ops.binary_forward("sub", y, 1.0)
    power = ops.binary_forward("pow", x, less)
    dx = ops.binary_forward("mul", ops.binary_forward("mul", power, y), grad)
    if isinstance(y, float):  # and not 0
        return _zero_where(power == 0, dx) if math.isinf(y) else dx
    dead, infinite = y == 0, namespace(y).isinf(y)
    if may_hold(infinite):
        dead = dead | (infinite & (power == 0))
    return _zero_where(dead, dx)


def _exponent_gradient(grad: Array, x: Any, y: Array, power: Array) -> Array:
    """grad * x^y * log(x), but 0 where x is 0 and y not negative, and where the power of an
    infinite x has vanished."""
    base = _number_as(x, y) if isinstance(x, float) else x
    slope = ops.binary_forward("mul", power, ops.unary_forward("log", base))
    return ops.binary_forward("mul", grad, _zero_where(_vanished(base, y, power), slope))


def _vanished(base: Array, exponent: Array, power: Array) -> Array:
    """Where an infinite logarithm meets a power of 0, or 0^0."""
    return (namespace(base).isinf(base) & (power == 0)) | ((base == 0) & (exponent >= 0))


def _zero_where(dead: Array, x: Array) -> Array:
    return namespace(x).where(dead, x.dtype.type(0), x) if may_hold(dead) else x


def _number_as(number: float, model: Array) -> Array:
    return number_on(namespace(model), host.asarray(number, dtype=model.dtype))


def _pow_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    a, b = _sides(inputs, saved[0])
    da = db = None
    if isinstance(a, Tensor) and a._requires_grad:
        # b * a^(b-1), but 0 as _base_gradient says.
        power = _binary(_POW, a, b - 1)
        if isinstance(b, Tensor):
            exponent = b._array
            infinite = namespace(exponent).isinf(exponent)
            flat = (exponent == 0) | (infinite & (power._array == 0))
        else:
            found = power._array
            flat = found == 0 if math.isinf(b) else namespace(found).full(found.shape, b == 0)
        if may_hold(flat):  # of a base of 1: no infinite slope is multiplied by 0 further down
            power = _binary(_POW, a.masked_fill(fresh(as_array(flat)), 1.0), b - 1)
        da = sum_to(zero_where(grad * (b * power), flat), a)
    if isinstance(b, Tensor) and b._requires_grad:
        # a^b * log(a), but 0 as _exponent_gradient says.
        base = a if isinstance(a, Tensor) else full_like_number(a, b)
        power = _binary(_POW, base, b)
        flat = _vanished(base._array, b._array, power._array)
        if may_hold(flat):
            base = base.masked_fill(fresh(as_array(flat)), 1.0)
            power = _binary(_POW, base, b)
        db = sum_to(zero_where(grad * (power * base.log()), flat), b)
    return da, db


def full_like_number(number: float, model: Tensor) -> Tensor:
    """A 0-d tensor of `number` in the dtype of `model`."""
    return fresh(_number_as(number, model._array))


def zero_where(x: Tensor, drop: Any) -> Tensor:
    """`x` with 0 where `drop`, even where it is NaN or infinite."""
    if not may_hold(drop):
        return x
    drop = as_array(drop)
    return x.masked_fill(fresh(namespace(drop).broadcast_to(drop, x.shape)), 0.0)


def without_zeros(x: Tensor) -> tuple[Tensor, Any]:
    """`x` with 1 in the place of 0, to divide by, and where that is."""
    flat = x._array == 0
    return (x.masked_fill(fresh(as_array(flat)), 1.0) if may_hold(flat) else x), flat


def _pick_recorded(loses: Callable[[Any, Any], Any]) -> Callable[..., Sequence[Any]]:
    """The backward of maximum and minimum: to the winner, by halves where the sides are equal, to
    both where one is NaN."""

    def backward(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
        (a, b), (x, y) = inputs, _values(inputs, saved)
        ties = x == y
        if may_hold(ties):
            grad = (grad * 0.5).where(fresh(as_array(ties)), grad)
        da = db = None
        if a is not None and a._requires_grad:
            da = sum_to(zero_where(grad, loses(x, y)), a)
        if b is not None and b._requires_grad:
            db = sum_to(zero_where(grad, loses(y, x)), b)
        return da, db

    return backward


ADD = BinaryOp("add", "add", "none", _add_backward, _add_recorded)
_SUB = BinaryOp("sub", "subtract", "none", _sub_backward, _sub_recorded)
_MUL = BinaryOp("mul", "multiply", "other", _mul_backward, _mul_recorded)
_DIV = BinaryOp("div", "true_divide", "divisor", _div_backward, _div_recorded)
_POW = BinaryOp("pow", "power", "both", _pow_backward, _pow_recorded)
_MAXIMUM = BinaryOp("maximum", "maximum", "both", None, _pick_recorded(operator.lt))
_MINIMUM = BinaryOp("minimum", "minimum", "both", None, _pick_recorded(operator.gt))


def _binary(op: BinaryOp, a: Any, b: Any) -> Tensor:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return _with_number(op, a, b)
    x, y = a._array, b._array
    if x.__class__ is not y.__class__:
        a, b = numbers_beside(a, b)
        x, y = a._array, b._array
    dtype = x.dtype
    if dtype is not y.dtype or dtype.kind != "f":
        return _mixed(op, a, b)
    try:
        out = fresh(ops.binary_forward(op.name, x, y))
    except ValueError:
        need_broadcast(op.name, x.shape, y.shape)
        raise
    if a._storage.layout or b._storage.layout:
        out._keep_order(a, b)
    if mode.enabled and (a._requires_grad or b._requires_grad):
        saved, reads = None, _reads(op, a, b)
        if op is _POW:
            saved, reads = _with_power(None, out, b, reads)
        record(out, op, (a, b), saved, reads)
    return out


def recorded_sum(array: Array, a: Tensor, b: Tensor) -> Tensor:
    """`a + b`, which another op has computed on its way: `array`, on the tape as a sum."""
    y = fresh(array)
    if a._storage.layout or b._storage.layout:
        y._keep_order(a, b)
    if mode.enabled and (a._requires_grad or b._requires_grad):
        record(y, ADD, (a, b))
    return y


def _with_power(number: Any, out: Tensor, exponent: Any, reads: tuple[Any, ...]) -> tuple[Any, Any]:
    """What pow saves and reads: its result too, where the exponent's gradient is wanted."""
    if isinstance(exponent, Tensor) and exponent._requires_grad:
        return (number, out._array), (*reads, out._storage)
    return (number, None), reads


def _reads(op: BinaryOp, a: Tensor, b: Tensor) -> tuple[Any, ...]:
    if op.reads == "none":
        return ()
    if op.reads in ("other", "divisor") and not b._requires_grad:
        return (b._storage,)
    if op.reads == "other" and not a._requires_grad:
        return (a._storage,)
    return (a._storage, b._storage)


def _with_number(op: BinaryOp, a: Any, b: Any) -> Tensor:
    """One side is a number (or an array, which becomes a tensor)."""
    if not (isinstance(a, Tensor) or isinstance(b, Tensor)):
        return _binary(op, side(a, op.name, "input"), b)
    tensor, number = (a, b) if isinstance(a, Tensor) else (b, a)
    if isinstance(number, scalar):
        dtypes.check(number.dtype, op.name)
        number = number.item()
    if not isinstance(number, (int, float)):
        number = side(number, op.name)
        return _binary(op, *((tensor, number) if tensor is a else (number, tensor)))
    array = tensor._array
    if array.dtype.kind != "f":
        return _mixed(op, *((tensor, number) if tensor is a else (number, tensor)))
    number = float(number)
    left = tensor is a
    sides = (array, number) if left else (number, array)
    out = fresh(ops.binary_forward(op.name, *sides))
    if tensor._storage.layout:
        out._keep_order(tensor)
    if mode.enabled and tensor._requires_grad:
        # mul and div by a number read no memory at all.
        read = op.reads == "both" or (op.reads == "divisor" and not left)
        reads = (tensor._storage,) if read else ()
        saved: Any = number
        if op is _POW:
            saved, reads = _with_power(number, out, b, reads)
        record(out, op, (tensor, None) if left else (None, tensor), saved, reads)
    return out


def _mixed(op: BinaryOp, a: Any, b: Any) -> Tensor:
    """Dtypes differ, or are integers, or bfloat16."""
    dtype = dtypes.result_type(a, b)
    if op is _DIV and not dtypes.is_float(dtype):
        dtype = dtypes.float32
    if dtype is dtypes.bool and op is _SUB:
        raise error(TypeError, "sub", "numbers", "bools", "use ^ or tilework.logical_xor")
    if dtypes.is_float(dtype):
        compute = dtypes.float32 if dtype is dtypes.bfloat16 else dtype
        wide = [cast(t, compute) if isinstance(t, Tensor) else float(t) for t in (a, b)]
        return cast(_binary(op, *wide), dtype)
    xp = namespace((a if isinstance(a, Tensor) else b)._array)
    x, y = (
        t._array.astype(dtype, copy=False)
        if isinstance(t, Tensor)
        else wrapped_number(op.name, dtype, t, xp)
        for t in (a, b)
    )
    if op is _POW and isinstance(b, Tensor) and may_hold(y < 0):
        return fresh(as_array(_integer_power(x, y), dtype))
    if op is _POW and not isinstance(b, Tensor) and wrapped_number("pow", dtype, b, host) < 0:
        raise error(
            ValueError, "pow", "non-negative exponents of integers", "a negative one",
            "convert the base with x.float()",
        )  # fmt: skip
    try:
        return ordered(fresh(as_array(getattr(xp, op.on_integers)(x, y), dtype)), a, b)
    except ValueError:
        need_broadcast(op.name, x.shape, y.shape)
        raise


def _integer_power(x: Array, y: Array) -> Array:
    """x^y of integers, of which the reciprocal of all but 1 and -1 is 0."""
    xp = namespace(x)
    odd = xp.where(y % 2 == 1, -1, 1)
    reciprocal = xp.where(x == 1, 1, xp.where(x == -1, odd, 0))
    return xp.where(y < 0, reciprocal, xp.power(x, xp.maximum(y, 0)))


def _operator(op: BinaryOp, a: Any, b: Any) -> Any:
    """_binary for Python's operators, which must refuse strangers by NotImplemented."""
    other = b if isinstance(a, Tensor) else a
    if not isinstance(other, (Tensor, int, float, scalar, ndarray)):
        return NotImplemented
    return _binary(op, a, b)


def _attach(name: str, op: BinaryOp) -> None:
    def forward(self: Tensor, other: Any) -> Any:
        if isinstance(other, Tensor):
            return _binary(op, self, other)
        return _operator(op, self, other)

    def reflected(self: Tensor, other: Any) -> Any:
        return _operator(op, other, self)

    tensor_method(f"__{name}__")(forward)
    tensor_method(f"__r{name}__")(reflected)


for _name, _op in (("add", ADD), ("sub", _SUB), ("mul", _MUL), ("truediv", _DIV), ("pow", _POW)):
    _attach(_name, _op)


def _times(op: str, other: Any, alpha: Any) -> Any:
    """`other` times `alpha`, a number."""
    alpha = alpha if isinstance(alpha, (int, float)) else number(op, "alpha", alpha)
    if alpha == 1:
        return other
    return (other if isinstance(other, (int, float)) else side(other, op)) * alpha


@tensor_method()
def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """`input + alpha * other`, broadcast; dtypes mix as `tilework.result_type` says.

    ValueError where the shapes do not broadcast.

    >>> tw.add(tw.tensor([1.0, 2.0]), 10)
    tensor([11., 12.])
    """
    return _binary(ADD, input, _times("add", other, alpha))


@tensor_method("sub", "subtract")
def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """`input - alpha * other`, broadcast. ValueError where the shapes do not broadcast.

    >>> tw.sub(tw.tensor([1.0, 2.0]), 1)
    tensor([0., 1.])
    """
    return _binary(_SUB, input, _times("sub", other, alpha))


@tensor_method("mul", "multiply")
def mul(input: Any, other: Any) -> Tensor:
    """`input * other`, broadcast. ValueError where the shapes do not broadcast.

    >>> tw.mul(tw.tensor([1.0, 2.0]), tw.tensor([[2.0], [3.0]]))
    tensor([[2., 4.],
            [3., 6.]])
    """
    return _binary(_MUL, input, other)


@tensor_method("div", "divide", "true_divide")
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """`input / other`, broadcast; integers give float32. ValueError where shapes do not broadcast.

    `rounding_mode` "floor" is floor_divide, "trunc" rounds towards zero; both keep integers, and
    have no gradient.

    >>> tw.div(tw.tensor([1, 2]), 2)
    tensor([0.5, 1.0])
    """
    if rounding_mode is None:
        return _binary(_DIV, input, other)
    if not isinstance(rounding_mode, str) or rounding_mode not in ("floor", "trunc"):
        raise error(
            ValueError,
            "div",
            'rounding_mode "floor", "trunc" or None',
            word(rounding_mode),
            "name one",
        )
    return _quotient(side(input, "div", "input"), other, rounding_mode)


def _no_slope(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return tuple(
        None if t is None else fresh(namespace(t._array).zeros_like(t._array)) for t in inputs
    )


_ROUNDED_DIV = Op("div", differentiable=_no_slope)


def _quotient(x: Tensor, other: Any, rounding_mode: str) -> Tensor:
    """The quotient rounded; its gradient is zero."""
    floor = fresh(x.floor_divide(other)._array)
    if rounding_mode == "floor":
        y = floor
    elif dtypes.is_float(floor.dtype):
        exact = _binary(_DIV, x, other)._array
        y = fresh(as_array(namespace(exact).trunc(exact), floor.dtype))
    else:
        inexact = (floor * other) != x
        y = floor + (inexact & (floor < 0)).to(floor.dtype)
    divisor = other if isinstance(other, Tensor) else None
    if mode.enabled and (x._requires_grad or (divisor is not None and divisor._requires_grad)):
        record(y, _ROUNDED_DIV, (x, divisor))
    return y


@tensor_method()
def pow(input: Any, exponent: Any) -> Tensor:
    """`input ** exponent`, broadcast. ValueError on a negative exponent of integers.

    >>> tw.pow(tw.tensor([1.0, 3.0]), 2)
    tensor([1., 9.])
    """
    return _binary(_POW, input, exponent)


@tensor_method()
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each pair, broadcast; NaN wins. Equal sides share the gradient.

    >>> tw.maximum(tw.tensor([1.0, 5.0]), tw.tensor([2.0, 3.0]))
    tensor([2., 5.])
    """
    return _binary(_MAXIMUM, operand(input, "maximum"), operand(other, "maximum", "other"))


@tensor_method()
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each pair, broadcast; NaN wins. Equal sides share the gradient.

    >>> tw.minimum(tw.tensor([1.0, 5.0]), tw.tensor([2.0, 3.0]))
    tensor([1., 3.])
    """
    return _binary(_MINIMUM, operand(input, "minimum"), operand(other, "minimum", "other"))


# PyTorch's longer names.
subtract = sub
multiply = mul
divide = div
true_divide = div
