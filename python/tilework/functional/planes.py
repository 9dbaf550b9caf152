"""What pooling and interpolation share: inputs as planes (N, C, H, W), and ops that are linear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tilework import dtypes
from tilework.autograd import Op, mode, record
from tilework.errors import error
from tilework.functional.cast import cast
from tilework.functional.common import need_float
from tilework.layout import NATURAL
from tilework.tensor import Tensor, fresh

Array = Any
Inputs = tuple[Any, ...]


def planes(op: str, x: Tensor, dims: int, batched: bool = False) -> Array:
    """The array of a float tensor as (N, C, H, W), of height 1 where `dims` is 1.

    ValueError on another rank (without N too, unless `batched`), or empty planes.
    """
    need_float(op, x)
    return shaped(x._array, plane_shape(op, x._array.shape, dims, batched))


def plane_shape(
    op: str, shape: tuple[int, ...], dims: int, batched: bool = False
) -> tuple[int, int, int, int]:
    """The shape that planes() gives an array of this shape."""
    ranks = (dims + 2,) if batched else (dims + 1, dims + 2)
    if len(shape) not in ranks or 0 in shape[-dims:]:
        axes = "H, W" if dims == 2 else "L"
        unbatched = "" if batched else f" or (C, {axes})"
        raise error(
            ValueError, op, f"input (N, C, {axes}){unbatched}, none of {axes} zero", shape,
            "reshape it",
        )  # fmt: skip
    n, c = shape[:-dims] if len(shape) == dims + 2 else (1, shape[0])
    return (n, c, 1, shape[-1]) if dims == 1 else (n, c, shape[-2], shape[-1])


def shaped(array: Array, shape: tuple[int, ...]) -> Array:
    """`array` in a shape that differs by axes of length 1 alone; itself where it has it."""
    return array if array.shape == shape else array.reshape(shape)


def unplaned(y: Array, x: Tensor, dims: int) -> Tensor:
    """A (N, C, H, W) result with the axes of the input `x`."""
    return shown(y, x._array.shape[:-dims] + y.shape[-dims:], x)


def shown(y: Array, shape: tuple[int, ...], x: Tensor) -> Tensor:
    """A result in the shape that it shows, in the memory format of the input `x`."""
    made, layout = fresh(y if y.shape == shape else y.reshape(shape)), x._storage.layout
    if layout is None or (layout is NATURAL and x._array.flags.c_contiguous):
        return made
    return made._keep_channels(x)


def is_channels_last(x: Array) -> bool:
    """Whether (N, C, H, W) has its channels next to each other in memory."""
    flags = x.flags
    return not flags.c_contiguous and x.transpose(0, 2, 3, 1).flags.c_contiguous


def widened(x: Tensor) -> tuple[Tensor, bool]:
    """`x` for the kernels: bfloat16 as float32, and whether it was."""
    narrow = x._array.dtype is dtypes.bfloat16
    return (cast(x, dtypes.float32) if narrow else x), narrow


def narrowed(result: Any, narrow: bool) -> Any:
    """A result, or (result, indices), back in bfloat16 if `narrow`."""
    if not narrow:
        return result
    if isinstance(result, tuple):
        return cast(result[0], dtypes.bfloat16), result[1]
    return cast(result, dtypes.bfloat16)


class LinearMap(Protocol):
    """A linear map of arrays, and its transpose; both look to the shape themselves."""

    def forward(self, x: Array) -> Array:
        """The map."""

    def backward(self, grad: Array) -> Array:
        """Its transpose."""


def linear_op(name: str) -> Op:
    """The op y = saved.forward(x), for a LinearMap `saved`.

    Its gradient is linear too, with the map itself for a gradient: both can be recorded.
    """

    def backward(grad: Array, inputs: Inputs, saved: LinearMap) -> Sequence[Any]:
        return (shaped(saved.backward(grad), inputs[0].shape),)

    def recorded(grad: Tensor, inputs: Inputs, saved: LinearMap) -> Sequence[Any]:
        dx = fresh(shaped(saved.backward(grad._array), inputs[0].shape))
        return (_on_tape(dx, transposed, grad, saved),)

    def transposed_recorded(grad: Tensor, inputs: Inputs, saved: LinearMap) -> Sequence[Any]:
        y = fresh(shaped(saved.forward(grad._array), inputs[0].shape))
        return (_on_tape(y, op, grad, saved),)

    op = Op(name, backward, recorded)
    transposed = Op(f"{name}_backward", differentiable=transposed_recorded)
    return op


def _on_tape(y: Tensor, op: Op, x: Tensor, saved: LinearMap) -> Tensor:
    if mode.enabled and x._requires_grad:
        record(y, op, (x,), saved)
    return y
