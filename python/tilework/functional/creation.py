"""Making tensors."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.errors import error
from tilework.functional.common import sizes
from tilework.tensor import Tensor, fresh, tensor_method


def finish(array: Any, requires_grad: bool, device: str, op: str) -> Tensor:
    """A fresh array as a tensor, with the arguments that every creation function has."""
    if device != "cpu":
        raise error(ValueError, op, 'device "cpu"', repr(device), "this build has no other device")
    made = fresh(array)
    return made.requires_grad_() if requires_grad else made


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
    data: Any, *, dtype: Any = None, device: str = "cpu", requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of `data`: nested lists, a number, an array, or a tensor.

    Python floats become float32, integers int64, bools bool; arrays keep their dtype. TypeError on
    a dtype that is none of ours and on what is no number, ValueError on ragged lists and on
    integers beyond the dtype.

    >>> tw.tensor([1, 2]).dtype, tw.tensor([1.0, 2]).dtype
    (dtype('int64'), dtype('float32'))
    """
    if isinstance(data, Tensor):
        data = data._array
    found = _dtype_of_data(data)
    wanted = found if dtype is None else dtypes.check(dtype, "tensor")
    if isinstance(data, (list, tuple)):
        data = _numbers(data)
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
    return finish(dtypes.canonical(array, "tensor"), requires_grad, device, "tensor")


def _numbers(data: Any) -> Any:
    """Nested lists with their tensors as arrays."""
    if isinstance(data, (list, tuple)):
        return [_numbers(part) for part in data]
    return data._array if isinstance(data, Tensor) else data


def as_tensor(data: Any, dtype: Any = None) -> Tensor:
    """`data` as a tensor, copied only where it must be (a list, or another dtype).

    >>> x = tw.ones(2)
    >>> tw.as_tensor(x) is x
    True
    """
    if isinstance(data, Tensor):
        return data if dtype is None else data.to(dtypes.check(dtype, "as_tensor"))
    if isinstance(data, np.ndarray):
        shared = from_numpy(data)
        return shared if dtype is None else shared.to(dtypes.check(dtype, "as_tensor"))
    return tensor(data, dtype=dtype)


def from_numpy(array: Any) -> Tensor:
    """A tensor on the memory of a NumPy array. TypeError on another thing, or a foreign dtype.

    Writes to the array show in the tensor, unseen by the tape and by caches.

    >>> tw.from_numpy(np.zeros(2))
    tensor([0., 0.], dtype=float64)
    """
    if not isinstance(array, np.ndarray):
        raise error(
            TypeError, "from_numpy", "a numpy.ndarray", type(array).__name__, "use tilework.tensor"
        )
    return Tensor(dtypes.canonical(array, "from_numpy"))


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of whatever speaks DLPack (a PyTorch CPU tensor, say).

    >>> tw.from_dlpack(np.ones(2, np.float32))
    tensor([1., 1.])
    """
    return from_numpy(np.from_dlpack(ext_tensor))


def _shape(op: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    shape = sizes(op, size)
    if any(n < 0 for n in shape):
        raise error(ValueError, op, "lengths of 0 or more", shape, "raise them")
    return shape


def zeros(
    *size: Any, dtype: Any = dtypes.float32, device: str = "cpu", requires_grad: bool = False
) -> Tensor:
    """Zeros of a shape. ValueError on a negative length.

    >>> tw.zeros(2)
    tensor([0., 0.])
    """
    array = np.zeros(_shape("zeros", size), dtypes.check(dtype or dtypes.float32, "zeros"))
    return finish(array, requires_grad, device, "zeros")


def ones(
    *size: Any, dtype: Any = dtypes.float32, device: str = "cpu", requires_grad: bool = False
) -> Tensor:
    """Ones of a shape. ValueError on a negative length.

    >>> tw.ones(2)
    tensor([1., 1.])
    """
    array = np.ones(_shape("ones", size), dtypes.check(dtype or dtypes.float32, "ones"))
    return finish(array, requires_grad, device, "ones")


def empty(
    *size: Any, dtype: Any = dtypes.float32, device: str = "cpu", requires_grad: bool = False
) -> Tensor:
    """Whatever the memory holds, in a shape. ValueError on a negative length.

    >>> tw.empty(2, 3).shape
    (2, 3)
    """
    array = np.empty(_shape("empty", size), dtypes.check(dtype or dtypes.float32, "empty"))
    return finish(array, requires_grad, device, "empty")


def full(
    size: Any, fill_value: Any, *, dtype: Any = None, device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """One number in a shape; its dtype is the number's where none is given.

    >>> tw.full((2,), 7)
    tensor([7, 7])
    """
    wanted = dtypes.of_number(fill_value) if dtype is None else dtypes.check(dtype, "full")
    return finish(
        np.full(_shape("full", (size,)), fill_value, wanted), requires_grad, device, "full"
    )


def _like(op: str, input: Tensor, value: Any, dtype: Any, requires_grad: bool) -> Tensor:
    wanted = input.dtype if dtype is None else dtypes.check(dtype, op)
    return finish(np.full_like(input._array, value, dtype=wanted), requires_grad, "cpu", op)


def zeros_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape, layout and dtype of `input`.

    >>> tw.zeros_like(tw.ones(2))
    tensor([0., 0.])
    """
    return _like("zeros_like", input, 0, dtype, requires_grad)


def ones_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape, layout and dtype of `input`.

    >>> tw.ones_like(tw.zeros(2))
    tensor([1., 1.])
    """
    return _like("ones_like", input, 1, dtype, requires_grad)


def full_like(
    input: Tensor, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """One number in the shape, layout and dtype of `input`.

    >>> tw.full_like(tw.zeros(2), 3)
    tensor([3., 3.])
    """
    return _like("full_like", input, fill_value, dtype, requires_grad)


def empty_like(input: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Whatever the memory holds, in the shape, layout and dtype of `input`.

    >>> tw.empty_like(tw.zeros(2)).shape
    (2,)
    """
    wanted = input.dtype if dtype is None else dtypes.check(dtype, "empty_like")
    return finish(np.empty_like(input._array, dtype=wanted), requires_grad, "cpu", "empty_like")


def arange(
    start: float, end: float | None = None, step: float = 1, *, dtype: Any = None,
    device: str = "cpu", requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """start, start + step, ... below end; int64 of integers, else float32.

    ValueError where step is 0 or leads away from end.

    >>> tw.arange(3), tw.arange(0.0, 1.0, 0.5)
    (tensor([0, 1, 2]), tensor([0.0, 0.5]))
    """
    if end is None:
        start, end = 0, start
    if step == 0 or (end - start) * step < 0:
        raise error(
            ValueError,
            "arange",
            "a step from start towards end",
            (start, end, step),
            "turn its sign",
        )
    wanted = dtypes.check(dtype, "arange") if dtype is not None else dtypes.result_type(
        *(v.item() if hasattr(v, "item") else v for v in (start, end, step))
    )  # fmt: skip
    count = math.ceil((end - start) / step)
    array = np.asarray(start + step * np.arange(count), wanted)
    return finish(array, requires_grad, device, "arange")


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = dtypes.float32, device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """`steps` numbers at even distances, both ends included.

    >>> tw.linspace(0, 1, 3)
    tensor([0.0, 0.5, 1.0])
    """
    if steps < 0:
        raise error(ValueError, "linspace", "steps of 0 or more", steps, "raise it")
    array = np.linspace(start, end, steps, dtype=dtypes.check(dtype, "linspace"))
    return finish(array, requires_grad, device, "linspace")


def eye(n: int, m: int | None = None, *, dtype: Any = dtypes.float32) -> Tensor:
    """The identity matrix, n by m (n).

    >>> tw.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return fresh(np.eye(n, m, dtype=dtypes.check(dtype, "eye")))


@tensor_method()
def new_zeros(self: Tensor, *size: Any) -> Tensor:
    """Zeros of a shape in this tensor's dtype."""
    return zeros(*size, dtype=self.dtype)


@tensor_method()
def new_ones(self: Tensor, *size: Any) -> Tensor:
    """Ones of a shape in this tensor's dtype."""
    return ones(*size, dtype=self.dtype)


@tensor_method()
def new_full(self: Tensor, size: Any, fill_value: Any) -> Tensor:
    """One number in a shape, in this tensor's dtype."""
    return full(size, fill_value, dtype=self.dtype)


@tensor_method()
def new_tensor(self: Tensor, data: Any) -> Tensor:
    """A tensor of `data` in this tensor's dtype."""
    return tensor(data, dtype=self.dtype)
