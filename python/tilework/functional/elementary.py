"""Elementwise functions that the array library computes: one line each in a table.

What costs time in networks has a kernel (unary.py); these are the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import as_array, errstate, may_hold, namespace
from tilework.autograd import Op, mode, record
from tilework.functional.cast import cast, in_float32, widening
from tilework.functional.common import operand, ordered, side
from tilework.functional.unary import exp, rsqrt, square
from tilework.tensor import Tensor, fresh, tensor_method

Inputs = tuple[Any, ...]


class Elementary(Op):
    """A function of one tensor and perhaps of numbers: `forward(xp, x, *numbers)` on arrays of the
    namespace xp, and `chain(grad, x, *numbers)`, the gradient of x in recorded ops."""

    __slots__ = ("forward",)

    def __init__(
        self, name: str, forward: Callable[..., Any], chain: Callable[..., Tensor]
    ) -> None:
        def differentiable(grad: Tensor, inputs: Inputs, numbers: Any) -> Sequence[Any]:
            return (chain(grad, inputs[0], *numbers),)

        super().__init__(name, differentiable=differentiable)
        self.forward = forward


def apply(op: Elementary, input: Any, *numbers: Any) -> Tensor:
    """The function of a float tensor, or of integers in float32."""
    x = operand(input, op.name)
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(apply, op, x, *numbers)
        return result
    if not dtypes.is_float(x.dtype):
        x = cast(x, dtypes.float32)
    with errstate(all="ignore"):  # NaN where there is no answer, infinity at a pole
        y = fresh(as_array(op.forward(namespace(x._array), x._array, *numbers), x.dtype))
    if mode.enabled and x._requires_grad:
        record(y, op, (x,), numbers, (x._storage,))
    return ordered(y, x)


def _by(name: str) -> Callable[..., Any]:
    """NumPy's function of this name."""
    return lambda xp, x: getattr(xp, name)(x)


@tensor_method()
def sin(input: Tensor) -> Tensor:
    """The sine of each element, in radians; of integers in float32.

    >>> tw.sin(tw.tensor([0.0]))
    tensor([0.])
    """
    return apply(_SIN, input)


@tensor_method()
def cos(input: Tensor) -> Tensor:
    """The cosine of each element, in radians; of integers in float32.

    >>> tw.cos(tw.tensor([0.0]))
    tensor([1.])
    """
    return apply(_COS, input)


@tensor_method()
def tan(input: Tensor) -> Tensor:
    """The tangent of each element, in radians; of integers in float32.

    >>> tw.tan(tw.tensor([0.0]))
    tensor([0.])
    """
    return apply(_TAN, input)


@tensor_method()
def asin(input: Tensor) -> Tensor:
    """The angle whose sine each element is; NaN outside of [-1, 1]. Of integers in float32.

    >>> tw.asin(tw.tensor([0.0]))
    tensor([0.])
    """
    return apply(_ASIN, input)


@tensor_method()
def acos(input: Tensor) -> Tensor:
    """The angle whose cosine each element is; NaN outside of [-1, 1]. Of integers in float32.

    >>> tw.acos(tw.tensor([1.0]))
    tensor([0.])
    """
    return apply(_ACOS, input)


@tensor_method()
def atan(input: Tensor) -> Tensor:
    """The angle whose tangent each element is, in (-pi/2, pi/2); of integers in float32.

    >>> tw.atan(tw.tensor([1.0]))
    tensor([0.7854])
    """
    return apply(_ATAN, input)


@tensor_method()
def sinh(input: Tensor) -> Tensor:
    """The hyperbolic sine; of integers in float32.

    >>> tw.sinh(tw.tensor([0.0]))
    tensor([0.])
    """
    return apply(_SINH, input)


@tensor_method()
def cosh(input: Tensor) -> Tensor:
    """The hyperbolic cosine; of integers in float32.

    >>> tw.cosh(tw.tensor([0.0]))
    tensor([1.])
    """
    return apply(_COSH, input)


@tensor_method()
def log1p(input: Tensor) -> Tensor:
    """log(1 + x), which keeps the digits of a small x; -inf at -1, NaN below. Of integers in
    float32.

    >>> tw.log1p(tw.tensor([0.0]))
    tensor([0.])
    """
    return apply(_LOG1P, input)


@tensor_method()
def expm1(input: Tensor) -> Tensor:
    """exp(x) - 1, which keeps the digits of a small x; of integers in float32.

    >>> tw.expm1(tw.tensor([0.0]))
    tensor([0.])
    """
    return apply(_EXPM1, input)


@tensor_method()
def exp2(input: Tensor) -> Tensor:
    """2 to the power of each element; of integers in float32.

    >>> tw.exp2(tw.tensor([3.0]))
    tensor([8.])
    """
    return apply(_EXP2, input)


@tensor_method()
def log2(input: Tensor) -> Tensor:
    """The logarithm to base 2; -inf at 0, NaN below. Of integers in float32.

    >>> tw.log2(tw.tensor([8.0]))
    tensor([3.])
    """
    return apply(_LOG2, input)


@tensor_method()
def log10(input: Tensor) -> Tensor:
    """The logarithm to base 10; -inf at 0, NaN below. Of integers in float32.

    >>> tw.log10(tw.tensor([100.0]))
    tensor([2.])
    """
    return apply(_LOG10, input)


@tensor_method()
@widening
def xlogy(input: Any, other: Any) -> Tensor:
    """input * log(other), broadcast, but 0 where input is 0, whatever other is (NaN apart); either
    may be a number. Of integers in float32.

    >>> tw.xlogy(tw.tensor([0.0, 2.0]), tw.tensor([0.0, 1.0]))
    tensor([0., 0.])
    """
    if not (isinstance(input, Tensor) or isinstance(other, Tensor)):
        operand(input, "xlogy")
    sides = [v if isinstance(v, (int, float)) else side(v, "xlogy") for v in (input, other)]
    model = next(v for v in sides if isinstance(v, Tensor))
    xp = namespace(model._array)
    x, y = (v if isinstance(v, Tensor) else fresh(xp.asarray(v, model.dtype)) for v in sides)
    a, b = x._array, y._array
    with errstate(invalid="ignore"):
        none = (a == 0) & ((b <= 0) | xp.isinf(b))
    # Spread over more elements, y's gradient would be summed in another order: a device is asked.
    if may_hold(none) if y.shape == none.shape else none.any():  # there log(1) is taken
        y = y.expand(none.shape).masked_fill(fresh(as_array(none)), 1.0)
    result: Tensor = x * y.log()
    return result


# --- the table ---

_LN2, _LN10 = math.log(2.0), math.log(10.0)
_SIN = Elementary("sin", _by("sin"), lambda grad, x: grad * cos(x))
_COS = Elementary("cos", _by("cos"), lambda grad, x: -(grad * sin(x)))
_TAN = Elementary("tan", _by("tan"), lambda grad, x: grad * (square(tan(x)) + 1.0))
_ASIN = Elementary("asin", _by("arcsin"), lambda grad, x: grad * rsqrt(1.0 - x * x))
_ACOS = Elementary("acos", _by("arccos"), lambda grad, x: -(grad * rsqrt(1.0 - x * x)))
_ATAN = Elementary("atan", _by("arctan"), lambda grad, x: grad / (x * x + 1.0))
_SINH = Elementary("sinh", _by("sinh"), lambda grad, x: grad * cosh(x))
_COSH = Elementary("cosh", _by("cosh"), lambda grad, x: grad * sinh(x))
_LOG1P = Elementary("log1p", _by("log1p"), lambda grad, x: grad / (x + 1.0))
_EXPM1 = Elementary("expm1", _by("expm1"), lambda grad, x: grad * exp(x))
_EXP2 = Elementary("exp2", _by("exp2"), lambda grad, x: grad * exp2(x) * _LN2)
_LOG2 = Elementary("log2", _by("log2"), lambda grad, x: grad / (x * _LN2))
_LOG10 = Elementary("log10", _by("log10"), lambda grad, x: grad / (x * _LN10))
