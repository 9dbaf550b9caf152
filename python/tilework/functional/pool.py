"""Pooling: maxima and averages over windows, in one and two dimensions.

Inputs are (N, C, H, W) or (N, C, L), or the same without N, in any layout; results are in the
input's. A one-dimensional pooling is the two-dimensional one of planes of height 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import index
from typing import Any, NamedTuple

from tilework import dtypes
from tilework.arrays import namespace
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.engines.windows import Table, outputs
from tilework.errors import error
from tilework.functional.common import FARTHEST, need_float, operand, room_for, whole
from tilework.functional.indexing import gather
from tilework.functional.planes import (
    is_channels_last,
    linear_op,
    narrowed,
    plane_shape,
    planes,
    shaped,
    shown,
    widened,
)
from tilework.functional.windows import (
    adaptive,
    flat_indices,
    output_size,
    regular,
    with_divisor,
)
from tilework.tensor import Tensor, fresh

Array = Any
Inputs = tuple[Any, ...]
Size = int | Sequence[int]
AdaptiveSize = int | Sequence[int | None] | None
Windows = tuple[Table, Table]


# --- shapes ---


class _Plan(NamedTuple):
    """What a pooling's shapes come to."""

    shape: tuple[int, int, int, int]  # of the input as (N, C, H, W)
    rows: Table
    cols: Table
    result: tuple[int, ...]


def _plan(op: str, shape: tuple[int, ...], dims: int, windows: Callable[..., Windows]) -> _Plan:
    """windows(size) gives those of a plane of this size."""
    wide = plane_shape(op, shape, dims)
    tables = windows(wide[2:])
    return _Plan(wide, *tables, shape[:-dims] + tuple(map(outputs, tables))[-dims:])


def _float_input(op: str, input: Any) -> tuple[Tensor, bool]:
    """The input for the kernels, and whether it was of bfloat16. TypeError on integers."""
    x = operand(input, op)
    if x._array.dtype.kind == "f":
        return x, False
    need_float(op, x)
    return widened(x)


def pair(op: str, name: str, value: Any, dims: int, least: int) -> tuple[int, int]:
    """`value`, one number or one a dimension, as (height's, width's): 1-d is a plane of height 1,
    whose height has the least number allowed.

    TypeError on what is no whole number, ValueError on another count, below `least` and where sums
    of such numbers could overflow.
    """
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,) * dims
    try:
        numbers = tuple(map(index, given))
    except TypeError:
        raise error(TypeError, op, f"{name} in whole numbers", value, "give ints") from None
    if len(numbers) == 1:
        numbers *= dims
    if len(numbers) != dims or min(numbers) < least or max(numbers) > FARTHEST:
        raise error(
            ValueError, op,
            f"{name} as {dims} number{'s' * (dims > 1)} of at least {least}, to 2**60", value,
            "give one, or one a dimension",
        )  # fmt: skip
    return (least, *numbers) if dims == 1 else numbers  # type: ignore[return-value]


def _regular(
    op: str,
    shape: tuple[int, ...],
    dims: int,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
    include_pad: bool = False,
) -> _Plan:
    """The windows that a pooling's arguments ask for: looked up, where these are plain ints."""
    # Not so lists, which have no hash, and floats, which have an int's.
    plain = (
        kernel_size.__class__ is padding.__class__ is dilation.__class__ is int
        and (stride is None or stride.__class__ is int)
    )  # fmt: skip
    find = _planned if plain else _planned.__wrapped__
    return find(
        op, shape, dims, kernel_size, stride, padding, dilation, bool(ceil_mode), bool(include_pad)
    )


@lru_cache(maxsize=512)
def _planned(
    op: str,
    shape: tuple[int, ...],
    dims: int,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
    include_pad: bool,
) -> _Plan:
    kernel = pair(op, "kernel_size", kernel_size, dims, 1)
    # PyTorch takes an empty list for the default, too.
    default = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    apart = kernel if default else pair(op, "stride", stride, dims, 1)
    pad = pair(op, "padding", padding, dims, 0)
    spread = pair(op, "dilation", dilation, dims, 1)

    def windows(size: tuple[int, int]) -> Windows:
        how = zip(size, kernel, apart, pad, spread, strict=True)
        rows, cols = (_along_axis(op, *axis, ceil_mode, include_pad) for axis in how)
        return rows, cols

    return _plan(op, shape, dims, windows)


def _along_axis(
    op: str, n: int, k: int, s: int, p: int, d: int, ceil_mode: bool, include_pad: bool
) -> Table:
    if 2 * p > d * (k - 1) + 1:
        raise error(
            ValueError, op, "padding of at most half the kernel", f"{p} with kernel {k}",
            "pad with F.pad first",
        )  # fmt: skip
    count = output_size(n, k, s, p, d, ceil_mode)
    if count < 1:
        raise error(
            ValueError, op, f"an input that kernel {k} (dilation {d}, padding {p}) fits in",
            f"length {n}", "take a smaller kernel, or pad",
        )  # fmt: skip
    room_for(op, (count,))
    return regular(n, k, s, p, d, count, include_pad)


def _adaptive(op: str, shape: tuple[int, ...], output_size: AdaptiveSize, dims: int) -> _Plan:
    find = _parted if type(output_size) is int else _parted.__wrapped__
    return find(op, shape, output_size, dims)


@lru_cache(maxsize=512)
def _parted(op: str, shape: tuple[int, ...], output_size: AdaptiveSize, dims: int) -> _Plan:
    def windows(size: tuple[int, int]) -> Windows:
        asked = output_size
        given = tuple(asked) if isinstance(asked, (tuple, list)) else (asked,) * dims
        kept = size[-dims:]
        if len(given) == dims:
            given = tuple(n if g is None else g for g, n in zip(given, kept, strict=True))
        wanted = pair(op, "output_size", given, dims, 1)
        room_for(op, wanted)
        return adaptive(size[0], wanted[0]), adaptive(size[1], wanted[1])

    return _plan(op, shape, dims, windows)


# --- maximum ---


def _max_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    positions, rows, cols, (height, width), channels_last = saved
    grad = shaped(grad, positions.shape)
    dx = ops.pool_max_backward(grad, positions, rows, cols, height, width, channels_last)
    return (shaped(dx, inputs[0].shape),)


_MAX = {
    name: Op(name, _max_backward)
    for name in ("max_pool1d", "max_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d")
}


def _max_pool(name: str, x: Tensor, plan: _Plan, return_indices: bool) -> Any:
    shape, rows, cols, shape_of_result = plan
    array = shaped(x._array, shape)
    recorded = mode.enabled and x._requires_grad
    result, positions = ops.pool_max_forward(array, rows, cols, recorded or return_indices)
    y = shown(result, shape_of_result, x)
    if recorded:
        record(y, _MAX[name], (x,), (positions, rows, cols, shape[2:], is_channels_last(array)))
    if not return_indices or positions is None:
        return y
    found = flat_indices(positions, rows, cols, shape[3])
    return y, shown(found, shape_of_result, x)


def _max_of(
    name: str,
    input: Any,
    dims: int,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    dilation: Size,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    x, narrow = _float_input(name, input)
    plan = _regular(name, x._array.shape, dims, kernel_size, stride, padding, dilation, ceil_mode)
    return narrowed(_max_pool(name, x, plan, return_indices), narrow)


def max_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of an input (N, C, L) or (C, L); see max_pool2d.

    >>> F.max_pool1d(tw.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)
    tensor([[3., 2.]])
    """
    return _max_of(
        "max_pool1d", input, 1, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of an input (N, C, H, W) or (C, H, W).

    Windows are `stride` apart (as long as they are, by default) and see nothing in the padding; a
    NaN wins. With `ceil_mode` a last window may hang over the end. With `return_indices` also
    where in the flat plane each lies, int64. TypeError on integers; ValueError on another rank,
    padding over half the kernel, or a kernel that does not fit.

    >>> F.max_pool2d(tw.arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    return _max_of(
        "max_pool2d", input, 2, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def _adaptive_max(
    name: str, input: Any, output_size: AdaptiveSize, dims: int, return_indices: bool
) -> Any:
    x, narrow = _float_input(name, input)
    plan = _adaptive(name, x._array.shape, output_size, dims)
    return narrowed(_max_pool(name, x, plan, return_indices), narrow)


def adaptive_max_pool1d(
    input: Tensor, output_size: AdaptiveSize, return_indices: bool = False
) -> Any:
    """The largest elements of `output_size` even parts of an input (N, C, L) or (C, L).

    >>> F.adaptive_max_pool1d(tw.tensor([[1.0, 3.0, 2.0, 0.0]]), 1)
    tensor([[3.]])
    """
    return _adaptive_max("adaptive_max_pool1d", input, output_size, 1, return_indices)


def adaptive_max_pool2d(
    input: Tensor, output_size: AdaptiveSize, return_indices: bool = False
) -> Any:
    """The largest elements of an input (N, C, H, W) or (C, H, W) parted evenly.

    `output_size` is the number of parts, or (rows, columns), where None keeps the input's; an
    output of 1 pools globally. With `return_indices` also where in the flat plane each lies, int64.
    TypeError on integers; ValueError on another rank or an output size below 1.

    >>> F.adaptive_max_pool2d(tw.arange(16.0).reshape(1, 4, 4), 1)
    tensor([[[15.]]])
    """
    return _adaptive_max("adaptive_max_pool2d", input, output_size, 2, return_indices)


# --- average ---


class _Average:
    """What both directions of an average share: the windows, the input's size, its layout."""

    __slots__ = ("channels_last", "cols", "rows", "shape")

    def __init__(self, array: Array, windows: Windows) -> None:
        self.shape = array.shape
        self.rows, self.cols = windows
        self.channels_last = is_channels_last(array)

    def forward(self, x: Array) -> Array:
        return ops.pool_average_forward(shaped(x, self.shape), self.rows, self.cols)

    def backward(self, grad: Array) -> Array:
        n, c, height, width = self.shape
        grad = shaped(grad, (n, c, outputs(self.rows), outputs(self.cols)))
        return ops.pool_average_backward(
            grad, self.rows, self.cols, height, width, self.channels_last
        )


_AVERAGE = {
    name: linear_op(name)
    for name in ("avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d")
}


def _average(name: str, x: Tensor, plan: _Plan) -> Tensor:
    array = shaped(x._array, plan.shape)
    y = shown(ops.pool_average_forward(array, plan.rows, plan.cols), plan.result, x)
    if mode.enabled and x._requires_grad:
        record(y, _AVERAGE[name], (x,), _Average(array, (plan.rows, plan.cols)))
    return y


def _average_of(
    name: str,
    input: Any,
    dims: int,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: int | None = None,
) -> Tensor:
    x, narrow = _float_input(name, input)
    plan = _regular(
        name, x._array.shape, dims, kernel_size, stride, padding, 1, ceil_mode, count_include_pad
    )
    if divisor is not None:
        divisor = whole(name, "divisor_override", divisor)
        if divisor == 0:
            raise error(
                ValueError, name, "divisor_override other than 0, or None", divisor, "give an int"
            )
        rows, cols = with_divisor(plan.rows, plan.cols, divisor)
        plan = plan._replace(rows=rows, cols=cols)
    result: Tensor = narrowed(_average(name, x, plan), narrow)
    return result


def avg_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window of an input (N, C, L) or (C, L); see avg_pool2d.

    >>> F.avg_pool1d(tw.tensor([[1.0, 3.0, 2.0, 0.0]]), 2)
    tensor([[2., 1.]])
    """
    return _average_of(
        "avg_pool1d", input, 1, kernel_size, stride, padding, ceil_mode, count_include_pad
    )


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window of an input (N, C, H, W) or (C, H, W).

    Windows are `stride` apart (as long as they are, by default). The padding counts as zeros, or
    not at all without `count_include_pad`; what hangs over it in `ceil_mode` never counts.
    `divisor_override` replaces the number of elements. TypeError on integers; ValueError on another
    rank, padding over half the kernel, a kernel that does not fit, or a divisor of 0.

    >>> F.avg_pool2d(tw.arange(16.0).reshape(1, 1, 4, 4), 2)
    tensor([[[[ 2.5,  4.5],
              [10.5, 12.5]]]])
    """
    return _average_of(
        "avg_pool2d", input, 2, kernel_size, stride, padding, ceil_mode, count_include_pad,
        divisor_override,
    )  # fmt: skip


def _adaptive_average(name: str, input: Any, output_size: AdaptiveSize, dims: int) -> Tensor:
    x, narrow = _float_input(name, input)
    plan = _adaptive(name, x._array.shape, output_size, dims)
    result: Tensor = narrowed(_average(name, x, plan), narrow)
    return result


def adaptive_avg_pool1d(input: Tensor, output_size: AdaptiveSize) -> Tensor:
    """The means of `output_size` even parts of an input (N, C, L) or (C, L).

    >>> F.adaptive_avg_pool1d(tw.tensor([[1.0, 3.0, 2.0, 0.0]]), 1)
    tensor([[1.5]])
    """
    return _adaptive_average("adaptive_avg_pool1d", input, output_size, 1)


def adaptive_avg_pool2d(input: Tensor, output_size: AdaptiveSize) -> Tensor:
    """The means of an input (N, C, H, W) or (C, H, W) parted evenly.

    `output_size` is the number of parts, or (rows, columns), where None keeps the input's; an
    output of 1 pools globally. TypeError on integers; ValueError on another rank or an output size
    below 1.

    >>> F.adaptive_avg_pool2d(tw.arange(16.0).reshape(1, 4, 4), 1)
    tensor([[[7.5]]])
    """
    return _adaptive_average("adaptive_avg_pool2d", input, output_size, 2)


# --- and back ---


def _unpool_gradients(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    flat = grad.reshape(*saved.shape[:2], -1)
    return (gather(flat, 2, saved).reshape(inputs[0].shape),)


_UNPOOL = Op("max_unpool2d", differentiable=_unpool_gradients)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Puts maxima back where max_pool2d(..., return_indices=True) found them, and zeros around.

    `input` and `indices` are (N, C, H, W) or (C, H, W). The result's plane is what the pooling's
    arguments lead back to, or `output_size`, whose last two numbers count. ValueError where shapes
    differ or an index lies outside the plane.

    >>> x = tw.tensor([[[1.0, 2.0], [4.0, 3.0]]])
    >>> F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)
    tensor([[[0., 0.],
             [4., 0.]]])
    """
    x, at = operand(input, "max_unpool2d"), operand(indices, "max_unpool2d", "indices")
    array = planes("max_unpool2d", x, 2)
    if at.shape != x.shape or at.dtype is not dtypes.int64:
        raise error(
            ValueError, "max_unpool2d", f"int64 indices {x.shape}", f"{at.dtype} {at.shape}",
            "take those of max_pool2d(..., return_indices=True)",
        )  # fmt: skip
    kernel = pair("max_unpool2d", "kernel_size", kernel_size, 2, 1)
    apart = kernel if stride is None else pair("max_unpool2d", "stride", stride, 2, 1)
    pad = pair("max_unpool2d", "padding", padding, 2, 0)
    if output_size is None:
        sides = zip(array.shape[2:], kernel, apart, pad, strict=True)
        plane = tuple((n - 1) * s + k - 2 * p for n, k, s, p in sides)
        if min(plane) < 1:
            raise error(
                ValueError, "max_unpool2d", "a plane of at least one element a side", plane,
                "lower the padding, or give output_size",
            )  # fmt: skip
    else:
        plane = pair("max_unpool2d", "output_size", tuple(output_size)[-2:], 2, 1)
    n, c = array.shape[:2]
    room_for("max_unpool2d", (n, c, *plane))
    spots = at._array.reshape(n, c, -1)
    area = plane[0] * plane[1]
    if spots.size and not 0 <= spots.min() <= spots.max() < area:
        raise error(
            ValueError, "max_unpool2d", f"indices within a plane of {plane}",
            f"{spots.min()} to {spots.max()}", "give output_size",
        )  # fmt: skip
    xp = namespace(array)
    out = xp.zeros((n, c, area), array.dtype)
    xp.put_along_axis(out, spots, array.reshape(n, c, -1), 2)
    y = fresh(out.reshape(x.shape[:-2] + plane))
    if mode.enabled and x._requires_grad:
        record(y, _UNPOOL, (x,), fresh(spots), (at._storage,))
    return y
