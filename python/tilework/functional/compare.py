"""Comparisons, logic, rounding and integer arithmetic: the array library's, one line each.

Only what gives floats of floats is recorded, and its gradient is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import as_array, errstate, host, namespace, ndarray, scalar
from tilework.autograd import Op, record, wants_grad
from tilework.engines.device import number_on
from tilework.errors import error
from tilework.functional.cast import cast, numbers_beside
from tilework.functional.common import (
    is_plain,
    need_broadcast,
    need_float,
    operand,
    ordered,
    side,
    whole,
    wrap,
    wrapped_number,
)
from tilework.functional.pointwise import sum_to
from tilework.tensor import Tensor, fresh, tensor_method


def _common(op: str, a: Any, b: Any) -> tuple[Any, Any, Any, dtypes.DType]:
    """Both sides as arrays of the dtype they mix to, after their namespace."""
    a, b = operand(a, op) if op in _TENSOR_FIRST else _side(op, "input", a), _side(op, "other", b)
    dtype = dtypes.result_type(a, b)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        a, b = numbers_beside(a, b)
    xp = namespace((a if isinstance(a, Tensor) else b)._array)
    x, y = (
        t._array.astype(dtype, copy=False)
        if isinstance(t, Tensor)
        else wrapped_number(op, dtype, t, xp)
        for t in (a, b)
    )
    need_broadcast(op, x.shape, y.shape)
    return xp, x, y, dtype


# Of a comparison PyTorch wants a tensor first; a remainder or quotient of a number is one.
_TENSOR_FIRST = frozenset(("eq", "ne", "lt", "le", "gt", "ge"))


def _side(op: str, name: str, value: Any) -> Any:
    """An operand: a tensor, or a Python number."""
    if isinstance(value, scalar):
        dtypes.check(value.dtype, op)
        return value.item()
    return value if isinstance(value, (int, float)) else side(value, op, name)


def _compare(op: str, function: str, a: Any, b: Any) -> Tensor:
    """Mostly both sides are as they are to be compared: of one dtype, or floats beside a number."""
    if isinstance(a, Tensor):
        x = a._array
        if isinstance(b, Tensor):
            y = b._array
            if x.dtype is y.dtype and x.__class__ is y.__class__:
                if x.dtype is dtypes.bfloat16:
                    return _compare_unlike(op, function, a, b)
                try:
                    found = wrap(getattr(namespace(x), function)(x, y))
                except ValueError:
                    return _compare_unlike(op, function, a, b)
                if a._storage.layout or b._storage.layout:
                    found._keep_order(a, b)
                return found
        elif x.dtype.kind == "f" and is_plain(b):
            found = wrap(getattr(namespace(x), function)(x, b))
            return found._keep_order(a) if a._storage.layout else found
    return _compare_unlike(op, function, a, b)


def _compare_unlike(op: str, function: str, a: Any, b: Any) -> Tensor:
    """Dtypes differ, or are bfloat16 (of whose NaN NumPy warns), or something is wrong."""
    xp, x, y, _ = _common(op, a, b)
    with errstate(invalid="ignore"):
        found = wrap(getattr(xp, function)(x, y))
    return ordered(found, a, b)


def _arithmetic(op: str, a: Any, b: Any) -> Tensor:
    xp, x, y, dtype = _common(op, a, b)
    if dtype.kind in "iu" and op in ("floor_divide", "remainder"):
        # Of a device's divisors the number alone is known without waiting for it.
        whole = xp.all(y) if y.__class__ is ndarray else isinstance(b, Tensor) or b
        if not whole:
            raise error(ValueError, op, "divisors other than 0", "0", "mask them first")
    if dtype is dtypes.bfloat16:
        x, y = x.astype(dtypes.float32), y.astype(dtypes.float32)
    with errstate(all="ignore"):
        return ordered(fresh(as_array(getattr(xp, op)(x, y), dtype)), a, b)


@tensor_method()
def eq(input: Tensor, other: Any) -> Tensor:
    """Elementwise ==, broadcast; bool.

    >>> tw.eq(tw.tensor([1, 2]), 2)
    tensor([False,  True])
    """
    return _compare("eq", "equal", input, other)


@tensor_method()
def ne(input: Tensor, other: Any) -> Tensor:
    """Elementwise !=, broadcast; bool.

    >>> tw.ne(tw.tensor([1, 2]), 2)
    tensor([ True, False])
    """
    return _compare("ne", "not_equal", input, other)


@tensor_method("lt", "__lt__")
def lt(input: Tensor, other: Any) -> Tensor:
    """Elementwise <, broadcast; bool.

    >>> tw.lt(tw.tensor([1, 2]), 2)
    tensor([ True, False])
    """
    return _compare("lt", "less", input, other)


@tensor_method("le", "__le__")
def le(input: Tensor, other: Any) -> Tensor:
    """Elementwise <=, broadcast; bool.

    >>> tw.le(tw.tensor([1, 2]), 1)
    tensor([ True, False])
    """
    return _compare("le", "less_equal", input, other)


@tensor_method("gt", "__gt__")
def gt(input: Tensor, other: Any) -> Tensor:
    """Elementwise >, broadcast; bool.

    >>> tw.gt(tw.tensor([1, 2]), 1)
    tensor([False,  True])
    """
    return _compare("gt", "greater", input, other)


@tensor_method("ge", "__ge__")
def ge(input: Tensor, other: Any) -> Tensor:
    """Elementwise >=, broadcast; bool.

    >>> tw.ge(tw.tensor([1, 2]), 2)
    tensor([False,  True])
    """
    return _compare("ge", "greater_equal", input, other)


@tensor_method("__eq__")
def _equal_operator(self: Tensor, other: Any) -> Any:
    return _compare("eq", "equal", self, other) if _comparable(other) else NotImplemented


@tensor_method("__ne__")
def _unequal_operator(self: Tensor, other: Any) -> Any:
    return _compare("ne", "not_equal", self, other) if _comparable(other) else NotImplemented


def _comparable(other: Any) -> bool:
    return isinstance(other, (Tensor, int, float, scalar, ndarray))


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have one shape and the same elements.

    >>> tw.equal(tw.ones(2), tw.ones(2))
    True
    """
    x, y = operand(input, "equal"), operand(other, "equal", "other")
    return x.shape == y.shape and bool((x._array == y._array).all())


tensor_method("equal")(equal)


@tensor_method()
def isclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Elementwise |input - other| <= atol + rtol * |other|; bool.

    >>> tw.isclose(tw.tensor([1.0]), tw.tensor([1.0 + 1e-7]))
    tensor([ True])
    """
    if rtol < 0 or atol < 0:
        raise error(
            ValueError, "isclose", "rtol and atol of 0 or more", (rtol, atol), "turn their signs"
        )
    xp, x, y, _ = _common("isclose", operand(input, "isclose"), operand(other, "isclose", "other"))
    with errstate(all="ignore"):
        return wrap(xp.isclose(x, y, rtol, atol, equal_nan))


@tensor_method()
def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether isclose holds everywhere.

    >>> tw.allclose(tw.ones(2), tw.ones(2))
    True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan)._array.all())


@tensor_method()
def isnan(input: Tensor) -> Tensor:
    """Where elements are NaN; bool.

    >>> tw.isnan(tw.tensor([1.0, float("nan")]))
    tensor([False,  True])
    """
    x = operand(input, "isnan")
    return ordered(wrap(namespace(x._array).isnan(x._array)), x)


@tensor_method()
def isinf(input: Tensor) -> Tensor:
    """Where elements are infinite; bool.

    >>> tw.isinf(tw.tensor([1.0, float("inf")]))
    tensor([False,  True])
    """
    x = operand(input, "isinf")
    return ordered(wrap(namespace(x._array).isinf(x._array)), x)


@tensor_method()
def isfinite(input: Tensor) -> Tensor:
    """Where elements are neither NaN nor infinite; bool.

    >>> tw.isfinite(tw.tensor([1.0, float("inf")]))
    tensor([ True, False])
    """
    x = operand(input, "isfinite")
    return ordered(wrap(namespace(x._array).isfinite(x._array)), x)


@tensor_method()
def logical_not(input: Tensor) -> Tensor:
    """Where elements are zero; bool.

    >>> tw.logical_not(tw.tensor([True, False]))
    tensor([False,  True])
    """
    x = operand(input, "logical_not")
    return ordered(wrap(namespace(x._array).logical_not(x._array)), x)


def _logical(op: str, a: Any, b: Any) -> Tensor:
    return _compare(op, op, operand(a, op), operand(b, op, "other"))


@tensor_method()
def logical_and(input: Tensor, other: Tensor) -> Tensor:
    """Where both are other than zero; bool.

    >>> tw.logical_and(tw.tensor([True, True]), tw.tensor([True, False]))
    tensor([ True, False])
    """
    return _logical("logical_and", input, other)


@tensor_method()
def logical_or(input: Tensor, other: Tensor) -> Tensor:
    """Where either is other than zero; bool.

    >>> tw.logical_or(tw.tensor([True, False]), tw.tensor([False, False]))
    tensor([ True, False])
    """
    return _logical("logical_or", input, other)


@tensor_method()
def logical_xor(input: Tensor, other: Tensor) -> Tensor:
    """Where exactly one is other than zero; bool.

    >>> tw.logical_xor(tw.tensor([True, False]), tw.tensor([True, True]))
    tensor([False,  True])
    """
    return _logical("logical_xor", input, other)


def _bitwise(op: str, input: Any, other: Any) -> Tensor:
    """The bits of both by the array library's function `op`."""
    x = operand(input, op)
    xp, a, b, dtype = _common(op, x, other)
    if dtypes.is_float(dtype):
        raise error(TypeError, op, "integers or bools", dtype, "convert with x.long()")
    return ordered(wrap(getattr(xp, op)(a, b)), x, other)


@tensor_method("bitwise_and", "__and__", "__rand__")
def bitwise_and(input: Tensor, other: Any) -> Tensor:
    """The bits that both have; of bools the logical and. TypeError on floats.

    >>> tw.bitwise_and(tw.tensor([6]), 3)
    tensor([2])
    """
    return _bitwise("bitwise_and", input, other)


@tensor_method("bitwise_or", "__or__", "__ror__")
def bitwise_or(input: Tensor, other: Any) -> Tensor:
    """The bits that either has; of bools the logical or. TypeError on floats.

    >>> tw.bitwise_or(tw.tensor([6]), 3)
    tensor([7])
    """
    return _bitwise("bitwise_or", input, other)


@tensor_method("bitwise_xor", "__xor__", "__rxor__")
def bitwise_xor(input: Tensor, other: Any) -> Tensor:
    """The bits that one has and the other has not. TypeError on floats.

    >>> tw.bitwise_xor(tw.tensor([6]), 3)
    tensor([5])
    """
    return _bitwise("bitwise_xor", input, other)


@tensor_method("__invert__")
def _invert(self: Tensor) -> Tensor:
    if dtypes.is_float(self.dtype):
        raise error(TypeError, "invert", "integers or bools", self.dtype, "compare: x == 0")
    return ordered(wrap(~self._array), self)


@tensor_method("floor_divide", "__floordiv__")
def floor_divide(input: Tensor, other: Any) -> Tensor:
    """The quotient rounded down; no gradient. ValueError on an integer 0.

    >>> tw.floor_divide(tw.tensor([7, -7]), 2)
    tensor([ 3, -4])
    """
    return _arithmetic("floor_divide", input, other)


def _remainder_recorded(grad: Tensor, inputs: Sequence[Any], saved: Any) -> Sequence[Any]:
    """To the input as it is, and to the divisor by the quotient, which is constant."""
    (a, b), (x, y) = inputs, saved
    da = None if a is None else sum_to(grad, a)
    if b is None or not b._requires_grad:
        return da, None
    return da, sum_to(-(grad * floor_divide(fresh(x), fresh(y))), b)


_REMAINDER = Op("remainder", differentiable=_remainder_recorded)


@tensor_method("remainder", "__mod__")
def remainder(input: Tensor, other: Any) -> Tensor:
    """What floor_divide leaves, exactly, with the divisor's sign. ValueError on an integer 0.

    The gradient takes the quotient as constant.

    >>> tw.remainder(tw.tensor([7, -7]), 2)
    tensor([1, 1])
    """
    sides = _side("remainder", "input", input), _side("remainder", "other", other)
    dtype = dtypes.result_type(*sides)
    a, b = (cast(t, dtype) if isinstance(t, Tensor) else t for t in sides)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        a, b = numbers_beside(a, b)
    rest = _arithmetic("remainder", a, b)
    tensors = tuple(t if isinstance(t, Tensor) else None for t in (a, b))
    given = [t for t in tensors if t is not None]
    if wants_grad(*given):
        xp = namespace(rest._array)
        values = tuple(
            t._array if isinstance(t, Tensor) else number_on(xp, host.asarray(t, dtype=dtype))
            for t in (a, b)
        )
        record(rest, _REMAINDER, tensors, values, tuple(t._storage for t in given))
    return rest


def _reflected(function: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Any]:
    def method(self: Tensor, other: Any) -> Any:
        return function(other, self) if _comparable(other) else NotImplemented

    return method


tensor_method("__rfloordiv__")(_reflected(floor_divide))
tensor_method("__rmod__")(_reflected(remainder))


def _flat(grad: Any, inputs: Sequence[Tensor], saved: Any) -> Sequence[Any]:
    return (namespace(grad).zeros_like(grad),)


def _flat_recorded(grad: Tensor, inputs: Sequence[Tensor], saved: Any) -> Sequence[Tensor]:
    return (fresh(namespace(grad._array).zeros_like(grad._array)),)


_STEPS = {
    name: Op(name, _flat, _flat_recorded) for name in ("sign", "floor", "ceil", "round", "trunc")
}


def _rounded(op: str, input: Any) -> Tensor:
    """A function whose slope is 0, in the input's dtype."""
    x = operand(input, op)
    array = x._array
    if op != "sign" or array.dtype.kind != "b":
        array = getattr(namespace(array), op)(array)
    y = ordered(fresh(as_array(array, x.dtype)), x)
    return record(y, _STEPS[op], (x,)) if wants_grad(x) else y


@tensor_method()
def sign(input: Tensor) -> Tensor:
    """-1, 0 or 1 by the sign, in the input's dtype; the gradient is zero.

    >>> tw.sign(tw.tensor([-2.0, 0.0]))
    tensor([-1.,  0.])
    """
    return _rounded("sign", input)


@tensor_method()
def floor(input: Tensor) -> Tensor:
    """Rounded down, in the input's dtype; the gradient is zero.

    >>> tw.floor(tw.tensor([-1.5]))
    tensor([-2.])
    """
    return _rounded("floor", input)


@tensor_method()
def ceil(input: Tensor) -> Tensor:
    """Rounded up, in the input's dtype; the gradient is zero.

    >>> tw.ceil(tw.tensor([1.5]))
    tensor([2.])
    """
    return _rounded("ceil", input)


@tensor_method()
def trunc(input: Tensor) -> Tensor:
    """Each number without its fraction: rounded towards 0. TypeError on bools.

    >>> tw.trunc(tw.tensor([-1.5, 1.5]))
    tensor([-1.,  1.])
    """
    x = operand(input, "trunc")
    if x.dtype is dtypes.bool:
        raise error(TypeError, "trunc", "numbers", "bools", "convert with x.long()")
    return _rounded("trunc", x)


@tensor_method()
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Rounded to the nearest, halves to even, in the input's dtype; the gradient is zero.

    `decimals`: to so many places after the point, or before it where negative.

    >>> tw.round(tw.tensor([0.5, 1.5]))
    tensor([0., 2.])
    """
    places = whole("round", "decimals", decimals)
    if not places:
        return _rounded("round", input)
    x = operand(input, "round")
    need_float("round", x)
    scale = 10.0 ** abs(places)
    if places < 0:
        return round(x / scale) * scale
    return round(x * scale) / scale
