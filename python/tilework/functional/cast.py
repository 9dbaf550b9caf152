"""Changing dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error, word
from tilework.functional.common import operand
from tilework.layout import MemoryFormat, preserve_format
from tilework.tensor import Tensor, fresh, tensor_method


def _cast_gradient(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    return (cast(grad, inputs[0].dtype),)


_CAST = Op("to", differentiable=_cast_gradient)


def _converted(array: Any, dtype: dtypes.DType) -> Any:
    if array.dtype is dtypes.bfloat16 and dtype is dtypes.float32:
        return ops.widen(array)
    if array.dtype is dtypes.float32 and dtype is dtypes.bfloat16:
        return ops.narrow(array)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(array.astype(dtype))


def cast(x: Tensor, dtype: dtypes.DType) -> Tensor:
    """`x` in another dtype, with its gradient; `x` itself where it has it already."""
    if x._array.dtype is dtype:
        return x
    y = fresh(_converted(x._array, dtype))._keep_order(x)
    if mode.enabled and x._requires_grad and dtypes.is_float(dtype):
        record(y, _CAST, (x,))
    return y


@tensor_method("to")
def to(
    input: Tensor,
    *args: Any,
    dtype: Any = None,
    device: str | None = None,
    memory_format: MemoryFormat = preserve_format,
) -> Tensor:
    """The tensor in another dtype: `x.to(tw.float64)`, `x.to("cpu")`, `x.to(other)`; or in a memory
    format.

    Returns `input` itself where nothing changes. TypeError on a dtype that is none of ours,
    ValueError on a device other than "cpu".

    >>> tw.tensor([1, 2]).to(tw.float32)
    tensor([1., 2.])
    """
    for arg in args:
        if isinstance(arg, Tensor):
            dtype = arg.dtype
        elif isinstance(arg, str) and arg.split(":")[0] in ("cpu", "cuda"):
            device = arg
        else:
            dtype = arg
    if device is not None and device != "cpu":
        raise error(
            ValueError, "to", 'device "cpu"', word(device), "this build has no other device"
        )
    x = operand(input, "to")
    y = x if dtype is None else cast(x, dtypes.check(dtype, "to"))
    if memory_format is preserve_format:
        return y
    result: Tensor = y.contiguous(memory_format)
    return result


@tensor_method("float")
def _float(self: Tensor) -> Tensor:
    """The tensor as float32."""
    return cast(self, dtypes.float32)


@tensor_method("double")
def _double(self: Tensor) -> Tensor:
    """The tensor as float64."""
    return cast(self, dtypes.float64)


@tensor_method("bfloat16")
def _bfloat16(self: Tensor) -> Tensor:
    """The tensor as bfloat16."""
    return cast(self, dtypes.bfloat16)


@tensor_method("long")
def _long(self: Tensor) -> Tensor:
    """The tensor as int64, rounded towards zero."""
    return cast(self, dtypes.int64)


@tensor_method("int")
def _int(self: Tensor) -> Tensor:
    """The tensor as int32, rounded towards zero."""
    return cast(self, dtypes.int32)


@tensor_method("bool")
def _bool(self: Tensor) -> Tensor:
    """The tensor as bool: whether each element is other than zero."""
    return cast(self, dtypes.bool)


@tensor_method("type_as")
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of another."""
    return cast(self, other.dtype)


def in_float32(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Runs a float32 function on bfloat16 tensors: widened before, rounded once after."""
    wide = [
        cast(a, dtypes.float32) if isinstance(a, Tensor) and a.dtype == dtypes.bfloat16 else a
        for a in args
    ]
    return cast(function(*wide, **kwargs), dtypes.bfloat16)
