"""Making tensors."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.arrays import ndarray
from tilework.devices import CPU, Device, device_of, moved, namespace_on, resolved
from tilework.devices import device as device_type
from tilework.engines import device as beside
from tilework.engines import ops
from tilework.engines.device import filled
from tilework.errors import error
from tilework.functional.common import number, number_of, operand, sizes, whole
from tilework.layout import (
    NATURAL,
    MemoryFormat,
    check_format,
    entering,
    inverse,
    preserve_format,
)
from tilework.tensor import Tensor, fresh, tensor_method


def finish(array: Any, requires_grad: bool) -> Tensor:
    """A fresh array as a tensor, which every creation function may want a gradient of."""
    made = fresh(array)
    return made.requires_grad_() if requires_grad else made


def _written(array: Any, number: Any) -> Any:
    """A fresh array with one number everywhere."""
    if array.__class__ is not ndarray:
        return filled(array, number)
    array.fill(number)  # as np.ones does, by a longer way
    return array


def converted(array: Any, dtype: dtypes.DType) -> Any:
    """A fresh array in the dtype that was asked for, where it was made."""
    if dtype is dtypes.bfloat16 and array.__class__ is not ndarray:
        return ops.narrow(array.astype(dtypes.float32))
    return array.astype(dtype, copy=False)


_NESTS = (list, tuple, range)


def _dtype_of_data(data: Any) -> dtypes.DType | None:
    """What plain numbers get by PyTorch's rule; None where the data carries its own dtype.
    TypeError on what is no number."""
    if isinstance(data, (Tensor, np.ndarray)) or hasattr(data, "__array__"):
        return None
    flat: list[Any] = [data]
    leaves: list[Any] = []
    while flat:
        part = flat.pop()
        if isinstance(part, _NESTS):
            flat.extend(part)
        else:
            leaves.append(part)
    kinds = {_dtype_of_leaf(leaf) for leaf in leaves}
    return functools.reduce(dtypes.promote, kinds) if kinds else dtypes.float32


def _dtype_of_leaf(leaf: Any) -> dtypes.DType:
    if hasattr(leaf, "dtype"):
        return dtypes.check(leaf.dtype, "tensor")
    if isinstance(leaf, (bool, int, float)):
        return dtypes.of_number(leaf)
    raise error(
        TypeError, "tensor", "real numbers", type(leaf).__name__, "convert each to int or float"
    )


def tensor(
    data: Any, *, dtype: Any = None, device: Device = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of `data`: nested lists, a number, an array, or a tensor.

    Python floats become float32, integers int64, bools bool; arrays keep their dtype. TypeError on
    a dtype that is none of ours and on what is no number, ValueError on ragged lists and on
    integers beyond the dtype.

    >>> tw.tensor([1, 2]).dtype, tw.tensor([1.0, 2]).dtype
    (dtype('int64'), dtype('float32'))
    """
    if isinstance(data, Tensor):
        wanted = data.dtype if dtype is None else dtypes.check(dtype, "tensor")
        at = data.device if device is None else resolved("tensor", device)
        made: Tensor = data.detach().to(wanted, device=at, copy=True)
        return made.requires_grad_() if requires_grad else made
    at = resolved("tensor", device)
    if isinstance(data, np.ndarray) and not data.dtype.isnative:
        data = data.astype(data.dtype.newbyteorder("="))
    found = _FLAT.get(frozenset(map(type, data))) if data.__class__ is list else None
    if found is None:
        found = _dtype_of_data(data)
        if isinstance(data, (list, tuple)):
            data = _numbers(data)
    wanted = found if dtype is None else dtypes.check(dtype, "tensor")
    try:
        array = np.array(data, dtype=wanted, order="K" if isinstance(data, np.ndarray) else "C")
    except ValueError as reason:
        raise error(
            ValueError, "tensor", "a rectangular nest of numbers", reason, "pad the rows"
        ) from None
    except OverflowError as reason:
        raise error(
            ValueError, "tensor", f"numbers that {wanted} holds", reason, "use a wider dtype"
        ) from None
    return finish(moved(dtypes.canonical(array, "tensor"), at), requires_grad)


# A list of plain numbers, which is looked at once, by the classes in it.
_FLAT: dict[frozenset[type], dtypes.DType] = {
    frozenset((float,)): dtypes.float32,
    frozenset((float, int)): dtypes.float32,
    frozenset((int,)): dtypes.int64,
    frozenset((bool,)): dtypes.bool,
}


def _numbers(data: Any) -> Any:
    """Nested lists with their tensors as arrays."""
    if isinstance(data, (list, tuple)):
        return [_numbers(part) for part in data]
    return moved(data._array, CPU) if isinstance(data, Tensor) else data


def as_tensor(data: Any, dtype: Any = None, device: Device = None) -> Tensor:
    """`data` as a tensor, copied only where it must be (a list, or another dtype).

    >>> x = tw.ones(2)
    >>> tw.as_tensor(x) is x
    True
    """
    if isinstance(data, (Tensor, np.ndarray)):
        found = data if isinstance(data, Tensor) else from_numpy(data)
        if device is not None or found is not data:
            found = found.to(resolved("as_tensor", device))
        return found if dtype is None else found.to(dtypes.check(dtype, "as_tensor"))
    return tensor(data, dtype=dtype, device=device)


def from_numpy(array: Any) -> Tensor:
    """A tensor on the memory of a NumPy array. TypeError on another thing, or a foreign dtype.

    Writes to the array show in the tensor, unseen by the tape and by caches. An array that no
    kernel can read where it lies (misaligned, or with steps of part of an element) is copied.

    >>> tw.from_numpy(np.zeros(2))
    tensor([0., 0.], dtype=float64)
    """
    return Tensor(entering(array, "from_numpy"))


_DL_CUDA = 2  # what DLPack calls that kind of device


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of whatever speaks DLPack: a tensor of PyTorch's, say, on the CPU or
    the CUDA device. RuntimeError where that device is not here.

    >>> tw.from_dlpack(np.ones(2, np.float32))
    tensor([1., 1.])
    """
    if not hasattr(ext_tensor, "__dlpack__"):
        raise error(
            TypeError, "from_dlpack", "what has __dlpack__", type(ext_tensor).__name__,
            "use tilework.tensor",
        )  # fmt: skip
    if ext_tensor.__dlpack_device__()[0] == _DL_CUDA:
        xp = beside.needed("from_dlpack", "'cuda'").namespace
        x = fresh(dtypes.canonical(xp.from_dlpack(ext_tensor), "from_dlpack"))
        x._storage.exposed, x._storage.layout = True, NATURAL  # as it lies: another library has it
        return x
    return from_numpy(np.from_dlpack(ext_tensor))


def shape_of(op: str, lengths: tuple[Any, ...], size: Any = None) -> tuple[int, ...]:
    """A shape given as f(2, 3), f((2, 3)) or f(size=(2, 3)). ValueError on a negative length."""
    if size is None:
        for n in lengths:
            if n.__class__ is not int or n < 0:
                break
        else:
            return lengths
    else:
        if lengths:
            raise error(TypeError, op, "size once", f"{lengths} and {size}", "drop one")
        lengths = (size,)
    shape = sizes(op, lengths)
    if min(shape, default=0) < 0:
        raise error(ValueError, op, "lengths of 0 or more", shape, "raise them")
    return shape


def _made(make: Any, op: str, lengths: Any, size: Any, dtype: Any) -> Any:
    """make(shape, dtype); mostly the lengths are the shape as they stand."""
    wanted = dtypes.float32 if dtype is None else dtypes.check(dtype, op)
    if size is None:
        try:
            return make(lengths, wanted)
        except (TypeError, ValueError):
            pass  # lengths in another form, or wrong ones
    return make(shape_of(op, lengths, size), wanted)


def zeros(
    *lengths: Any, size: Any = None, dtype: Any = None, device: Device = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Zeros of a shape: zeros(2, 3), zeros((2, 3)) or zeros(size=(2, 3)). float32 where no dtype
    is given. ValueError on a negative length.

    >>> tw.zeros(2)
    tensor([0., 0.])
    """
    make = namespace_on(resolved("zeros", device)).zeros
    return finish(_made(make, "zeros", lengths, size, dtype), requires_grad)


def _float32_or(dtype: Any, op: str) -> dtypes.DType:
    return dtypes.float32 if dtype is None else dtypes.check(dtype, op)


def ones(
    *lengths: Any, size: Any = None, dtype: Any = None, device: Device = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Ones of a shape, as zeros. ValueError on a negative length.

    >>> tw.ones(2)
    tensor([1., 1.])
    """
    make = namespace_on(resolved("ones", device)).empty
    return finish(_written(_made(make, "ones", lengths, size, dtype), 1), requires_grad)


def empty(
    *lengths: Any, size: Any = None, dtype: Any = None, device: Device = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """Whatever the memory holds, in a shape, as zeros. ValueError on a negative length.

    >>> tw.empty(2, 3).shape
    (2, 3)
    """
    make = namespace_on(resolved("empty", device)).empty
    return finish(_made(make, "empty", lengths, size, dtype), requires_grad)


def full(
    size: Any, fill_value: Any, *, dtype: Any = None, device: Device = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """One number in a shape; its dtype is the number's where none is given.

    ValueError on a negative length, and where an integer dtype does not hold the number.

    >>> tw.full((2,), 7)
    tensor([7, 7])
    """
    wanted = _dtype_of_fill(fill_value) if dtype is None else dtypes.check(dtype, "full")
    value = number_of("full", wanted, fill_value, "fill_value")
    array = namespace_on(resolved("full", device)).empty(shape_of("full", (size,)), wanted)
    return finish(_written(array, value), requires_grad)


def _dtype_of_fill(value: Any) -> dtypes.DType:
    return value.dtype if isinstance(value, Tensor) else dtypes.of_number(value)


def _empty_like(array: Any, at: device_type, dtype: dtypes.DType) -> Any:
    """A fresh array on a device that lies as `array` does."""
    xp = namespace_on(at)
    if device_of(array) is at:
        return xp.empty_like(array, dtype=dtype)
    order = sorted(range(array.ndim), key=lambda i: -abs(array.strides[i]))
    return xp.empty([array.shape[i] for i in order], dtype).transpose(inverse(order))


def _like(
    op: str, input: Any, value: Any, dtype: Any, device: Device, requires_grad: bool,
    memory_format: MemoryFormat,
) -> Tensor:  # fmt: skip
    x = operand(input, op)
    check_format(op, memory_format, x.ndim)
    wanted = x.dtype if dtype is None else dtypes.check(dtype, op)
    at = x.device if device is None else resolved(op, device)
    array = _empty_like(x._array, at, wanted)
    if value is not None:
        array = _written(array, number_of(op, wanted, value, "fill_value"))
    return finish(array, requires_grad)._show_format(memory_format, x)


def zeros_like(
    input: Tensor, *, dtype: Any = None, device: Device = None, requires_grad: bool = False,
    memory_format: MemoryFormat = preserve_format,
) -> Tensor:  # fmt: skip
    """Zeros in the shape, layout and dtype of `input`.

    >>> tw.zeros_like(tw.ones(2))
    tensor([0., 0.])
    """
    return _like("zeros_like", input, 0, dtype, device, requires_grad, memory_format)


def ones_like(
    input: Tensor, *, dtype: Any = None, device: Device = None, requires_grad: bool = False,
    memory_format: MemoryFormat = preserve_format,
) -> Tensor:  # fmt: skip
    """Ones in the shape, layout and dtype of `input`.

    >>> tw.ones_like(tw.zeros(2))
    tensor([1., 1.])
    """
    return _like("ones_like", input, 1, dtype, device, requires_grad, memory_format)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, device: Device = None,
    requires_grad: bool = False, memory_format: MemoryFormat = preserve_format,
) -> Tensor:  # fmt: skip
    """One number in the shape, layout and dtype of `input`.

    >>> tw.full_like(tw.zeros(2), 3)
    tensor([3., 3.])
    """
    x = operand(input, "full_like")
    wanted = x.dtype if dtype is None else dtypes.check(dtype, "full_like")
    value = number_of("full_like", wanted, fill_value, "fill_value")
    return _like("full_like", x, value, wanted, device, requires_grad, memory_format)


def empty_like(
    input: Tensor, *, dtype: Any = None, device: Device = None, requires_grad: bool = False,
    memory_format: MemoryFormat = preserve_format,
) -> Tensor:  # fmt: skip
    """Whatever the memory holds, in the shape, layout and dtype of `input`.

    >>> tw.empty_like(tw.zeros(2)).shape
    (2,)
    """
    return _like("empty_like", input, None, dtype, device, requires_grad, memory_format)


_END = object()


def arange(
    start: Any = 0, end: Any = _END, step: Any = 1, *, dtype: Any = None, device: Device = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... below end; int64 of integers, else float32. `arange(end)` starts
    from 0.

    ValueError where step is 0 or leads away from end, or where a number is not finite.

    >>> tw.arange(3), tw.arange(0.0, 1.0, 0.5)
    (tensor([0, 1, 2]), tensor([0.0, 0.5]))
    """
    if end is _END or end is None:
        start, end = 0, start
    xp = namespace_on(resolved("arange", device))
    if start.__class__ is int is end.__class__ and step == 1 and dtype is None and start <= end:
        return finish(xp.arange(start, end, dtype=dtypes.int64), requires_grad)
    start, end, step = (
        number("arange", n, v)
        for n, v in (("start", start), ("end", end), ("step", step))
    )  # fmt: skip
    if not all(map(math.isfinite, (start, end, step))) or step == 0 or (end - start) * step < 0:
        raise error(
            ValueError, "arange", "a finite step from start towards end", (start, end, step),
            "turn its sign",
        )  # fmt: skip
    wanted = (
        dtypes.result_type(start, end, step) if dtype is None else dtypes.check(dtype, "arange")
    )
    if wanted is dtypes.int64:  # as PyTorch: in integers throughout
        start, end, step = int(start), int(end), int(step)
        if not step:
            raise error(ValueError, "arange", "a step of 1 or more of integers", 0, "raise it")
    count = max(math.ceil((end - start) / step), 0)
    if not dtypes.is_float(wanted):
        start, step = int(start), int(step)
    places = xp.arange(count, dtype=dtypes.int64)
    return finish(converted(start + step * places, wanted), requires_grad)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: Device = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`steps` numbers at even distances, both ends included.

    >>> tw.linspace(0, 1, 3)
    tensor([0.0, 0.5, 1.0])
    """
    count = whole("linspace", "steps", steps)
    if count < 0:
        raise error(ValueError, "linspace", "steps of 0 or more", steps, "raise it")
    first, last = number("linspace", "start", start), number("linspace", "end", end)
    wanted = _float32_or(dtype, "linspace")
    if not dtypes.is_float(wanted):  # as PyTorch: the ends first, then each number, towards zero
        first, last = int(first), int(last)
    xp = namespace_on(resolved("linspace", device))
    return finish(converted(_between(xp, float(first), float(last), count), wanted), requires_grad)


def _between(xp: Any, start: float, end: float, count: int) -> Any:
    """NumPy's linspace in steps that round alike everywhere: no product is fused with a sum."""
    places, length, parts = xp.arange(count, dtype=dtypes.float64), end - start, count - 1
    step = length / parts if parts > 0 else length
    # A step that is 0 though the ends are apart has lost its digits.
    array = (places * step if step or parts < 1 else places / parts * length) + start
    if parts > 0:
        array[-1] = end
    return array


def eye(
    n: int, m: int | None = None, *, dtype: Any = None, device: Device = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """The identity matrix, n by m (n). ValueError on a negative length.

    >>> tw.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    rows, columns = shape_of("eye", (n, n if m is None else m))
    xp = namespace_on(resolved("eye", device))
    array = xp.zeros((rows, columns), _float32_or(dtype, "eye"))
    _written(array[:columns].reshape(-1)[:: columns + 1], 1)
    return finish(array, requires_grad)


def _here(x: Tensor, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a new_ function: the tensor's own device where none is named."""
    return options if options.get("device") is not None else {**options, "device": x.device}


@tensor_method()
def new_zeros(self: Tensor, *lengths: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Zeros of a shape in this tensor's dtype; `size`, `dtype`, `device` and `requires_grad` as
    tilework.zeros takes them."""
    return zeros(*lengths, dtype=self.dtype if dtype is None else dtype, **_here(self, options))


@tensor_method()
def new_ones(self: Tensor, *lengths: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Ones of a shape in this tensor's dtype; the rest as tilework.ones takes it."""
    return ones(*lengths, dtype=self.dtype if dtype is None else dtype, **_here(self, options))


@tensor_method()
def new_empty(self: Tensor, *lengths: Any, dtype: Any = None, **options: Any) -> Tensor:
    """Whatever the memory holds, in this tensor's dtype; the rest as tilework.empty takes it."""
    return empty(*lengths, dtype=self.dtype if dtype is None else dtype, **_here(self, options))


@tensor_method()
def new_full(
    self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, **options: Any
) -> Tensor:
    """One number in a shape, in this tensor's dtype; the rest as tilework.full takes it."""
    wanted = self.dtype if dtype is None else dtype
    return full(size, fill_value, dtype=wanted, **_here(self, options))


@tensor_method()
def new_tensor(self: Tensor, data: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    """A tensor of `data` in this tensor's dtype; the rest as tilework.tensor takes it."""
    return tensor(data, dtype=self.dtype if dtype is None else dtype, **_here(self, options))
