"""Sine and cosine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from tilework import dtypes
from tilework.arrays import as_array, errstate, namespace
from tilework.autograd import Op, mode, record
from tilework.functional.cast import cast, in_float32
from tilework.functional.common import operand
from tilework.tensor import Tensor, fresh, tensor_method

Inputs = tuple[Any, ...]


def _sin_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (grad * cos(inputs[0]),)


def _cos_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (-(grad * sin(inputs[0])),)


_SIN = Op("sin", differentiable=_sin_recorded)
_COS = Op("cos", differentiable=_cos_recorded)


def _wave(op: Op, input: Any) -> Tensor:
    x = operand(input, op.name)
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(partial(_wave, op), x)
        return result
    if not dtypes.is_float(x.dtype):
        x = cast(x, dtypes.float32)
    function = getattr(namespace(x._array), op.name)
    with errstate(invalid="ignore"):  # of infinity there is none: NaN
        y = fresh(as_array(function(x._array)))
    if mode.enabled and x._requires_grad:
        record(y, op, (x,), None, (x._storage,))
    return y


@tensor_method()
def sin(input: Tensor) -> Tensor:
    """The sine of each element, in radians; of integers in float32.

    >>> tw.sin(tw.tensor([0.0]))
    tensor([0.])
    """
    return _wave(_SIN, input)


@tensor_method()
def cos(input: Tensor) -> Tensor:
    """The cosine of each element, in radians; of integers in float32.

    >>> tw.cos(tw.tensor([0.0]))
    tensor([1.])
    """
    return _wave(_COS, input)
