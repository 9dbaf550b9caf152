"""Changing dtype."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

from tilework import dtypes
from tilework.arrays import as_array, errstate, ndarray
from tilework.autograd import Op, mode, record
from tilework.devices import Device, device, device_of, moved, names_device, resolved
from tilework.engines import device as beside
from tilework.engines import ops
from tilework.engines.device import needed
from tilework.errors import error
from tilework.functional.common import operand
from tilework.layout import MemoryFormat, preserve_format
from tilework.tensor import Tensor, fresh, tensor_method

F = TypeVar("F", bound=Callable[..., Any])


def _cast_gradient(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    return (cast(grad, inputs[0].dtype),)


_CAST = Op("to", differentiable=_cast_gradient)


def _converted(array: Any, dtype: dtypes.DType) -> Any:
    if array.dtype is dtypes.bfloat16 and dtype is dtypes.float32:
        return ops.widen(array)
    if array.dtype is dtypes.float32 and dtype is dtypes.bfloat16:
        return ops.narrow(array)
    if dtype is dtypes.float64:  # which holds them all
        return array.astype(dtype)
    with errstate(invalid="ignore", over="ignore"):
        return as_array(array.astype(dtype))


def widened(array: Any) -> Any:
    """What an array is computed in: bfloat16 in float32."""
    return ops.widen(array) if array.dtype is dtypes.bfloat16 else array


def cast(x: Tensor, dtype: dtypes.DType) -> Tensor:
    """`x` in another dtype, with its gradient; `x` itself where it has it already."""
    if x._array.dtype is dtype:
        return x
    y = fresh(_converted(x._array, dtype))
    if x._storage.layout:
        y._keep_order(x)
    if mode.enabled and x._requires_grad and dtypes.is_float(dtype):
        record(y, _CAST, (x,))
    return y


@tensor_method("to")
def to(
    input: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Device = None,
    non_blocking: bool = False,
    copy: bool = False,
    memory_format: MemoryFormat = preserve_format,
) -> Tensor:
    """The tensor in another dtype or on another device: `x.to(tw.float64)`, `x.to("cuda")`,
    `x.to(other)`; or in a memory format.

    Returns `input` itself where nothing changes, unless `copy`. What comes from a device is there
    when this returns; `non_blocking` changes nothing: a copy to the device never waits. TypeError
    on a dtype that is none of ours, RuntimeError on a device that is not here.

    >>> tw.tensor([1, 2]).to(tw.float32)
    tensor([1., 2.])
    """
    as_it_lies = memory_format is preserve_format and not copy
    if as_it_lies and device is dtype is None and len(args) == 1 and dtypes.is_ours(args[0]):
        return cast(operand(input, "to"), args[0])
    flags = [arg for arg in args if isinstance(arg, bool)]  # non_blocking, copy
    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif names_device(arg):
            device = arg
        elif not isinstance(arg, bool):
            dtype = arg
    x = operand(input, "to")
    if device is not None:
        x = on_device(x, resolved("to", device))
    y = x if dtype is None else cast(x, dtypes.check(dtype, "to"))
    if memory_format is not preserve_format:
        y = y.contiguous(memory_format)
    copied = copy or (len(flags) > 1 and flags[1])
    return y.clone() if copied and y is input else y


def on_device(x: Tensor, to: device) -> Tensor:
    """`x` on a device, CPU or CUDA, with its gradient; `x` itself where it is there."""
    if x.device.type == to.type:
        return x
    y = fresh(moved(x._array, to))._keep_order(x)
    if mode.enabled and x._requires_grad:
        record(y, _MOVE, (x,))
    return y


def number_beside(x: Tensor, other: Tensor) -> Tensor:
    """`x`, which comes to the device of `other` where it is a number on the CPU, a tensor without
    axes, as in PyTorch; any other as it is."""
    alike = x._array.__class__ is other._array.__class__
    if alike or x._array.ndim or x._array.__class__ is not ndarray:
        return x
    return on_device(x, other.device)


def numbers_beside(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both operands, where one of them is a number on the CPU on the other's device."""
    if a._array.__class__ is b._array.__class__:
        return a, b
    return number_beside(a, b), number_beside(b, a)


def _moved_back(grad: Any, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    return (moved(grad, device_of(inputs[0]._array)),)


def _moved_back_recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    return (on_device(grad, inputs[0].device),)


_MOVE = Op("to", _moved_back, _moved_back_recorded)


@tensor_method("cpu")
def cpu(self: Tensor, memory_format: MemoryFormat = preserve_format) -> Tensor:
    """The tensor in the CPU's memory: itself where it is there."""
    return self.to("cpu", memory_format=memory_format)


@tensor_method()
def pin_memory(self: Tensor) -> Tensor:
    """A copy in memory of the CPU that a device reads by itself, from where a copy to it goes on
    beside other work; the tensor itself where it lies there. RuntimeError on a tensor of a
    device's, or where there is no device."""
    if self.is_cuda:
        raise error(RuntimeError, "pin_memory", "a tensor on the CPU", "one on cuda", "x.cpu()")
    served = needed("pin_memory", "'cuda'")
    if served.is_pinned(self._array):
        return self
    return fresh(served.pinned(self._array))._keep_order(self)


@tensor_method()
def is_pinned(self: Tensor) -> bool:
    """Whether the tensor lies in memory that a device reads by itself: pin_memory()'s.

    >>> tw.ones(2).is_pinned()
    False
    """
    served = beside.provider
    return served is not None and self.is_cpu and served.is_pinned(self._array)


@tensor_method("cuda")
def cuda(
    self: Tensor,
    device: Device = None,
    non_blocking: bool = False,
    memory_format: MemoryFormat = preserve_format,
) -> Tensor:
    """The tensor on a CUDA device: itself where it is there. RuntimeError, which says what is
    missing, where there is no device."""
    return self.to("cuda" if device is None else device, memory_format=memory_format)


def _method(name: str, dtype: dtypes.DType) -> Any:
    """Tensor.float and its like."""

    def method(self: Tensor, memory_format: MemoryFormat = preserve_format) -> Tensor:
        y = cast(self, dtype)
        return y if memory_format is preserve_format else y.contiguous(memory_format)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"The tensor as {dtype}{'' if dtypes.is_float(dtype) else _TOWARDS[dtype]}."
    return method


_TOWARDS = {
    dtypes.int64: ", rounded towards zero",
    dtypes.int32: ", rounded towards zero",
    dtypes.bool: ": whether each element is other than zero",
}
for _name, _dtype in (
    ("float", dtypes.float32), ("double", dtypes.float64), ("bfloat16", dtypes.bfloat16),
    ("long", dtypes.int64), ("int", dtypes.int32), ("bool", dtypes.bool),
):  # fmt: skip
    tensor_method(_name)(_method(_name, _dtype))


@tensor_method("type")
def type_(self: Tensor, dtype: Any) -> Tensor:
    """The tensor in a dtype: to(dtype) by PyTorch's other name. TypeError on what is no dtype."""
    return cast(self, dtypes.check(dtype, "type"))


@tensor_method("type_as")
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of another."""
    return cast(self, operand(other, "type_as", "other").dtype)


def _wide(value: Any) -> Any:
    """A bfloat16 tensor in float32; any other thing as it is."""
    narrow = isinstance(value, Tensor) and value.dtype is dtypes.bfloat16
    return cast(value, dtypes.float32) if narrow else value


def in_float32(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Runs a float32 function on bfloat16 tensors: widened before, rounded once after."""
    named = {name: _wide(value) for name, value in kwargs.items()}
    return cast(function(*map(_wide, args), **named), dtypes.bfloat16)


def widening(function: F) -> F:
    """Has a function of tensors, bfloat16 all that are of floats, computed in float32."""

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        given = [t.dtype for t in (*args, *options.values()) if isinstance(t, Tensor)]
        floats = {dtype for dtype in given if dtypes.is_float(dtype)}
        if floats == {dtypes.bfloat16}:
            return in_float32(function, *args, **options)
        return function(*args, **options)

    return called  # type: ignore[return-value]
