"""Choosing elements by what holds of them: where, masks, limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import broadcast_shapes, namespace, scalar
from tilework.autograd import Op, mode, no_grad, record
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.cast import cast, in_float32, number_beside
from tilework.functional.common import (
    broadcasts,
    need_broadcast,
    number_of,
    operand,
    ordered,
    wrap,
    wrapped_number,
)
from tilework.functional.indexing import Array, Inputs, indexed, zeros_but_at
from tilework.functional.pointwise import full_like_number, sum_to, zero_where
from tilework.tensor import Tensor, fresh, tensor_method


@tensor_method()
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the bool `mask` is true, as a 1-D tensor.

    >>> tw.masked_select(tw.tensor([1.0, 2.0]), tw.tensor([False, True]))
    tensor([2.])
    """
    x, mask = operand(input, "masked_select"), operand(mask, "masked_select", "mask")
    if mask.dtype != dtypes.bool:
        raise error(TypeError, "masked_select", "a bool mask", mask.dtype, "compare: mask != 0")
    try:
        shape = broadcast_shapes(x.shape, mask.shape)
    except ValueError:
        raise error(
            ValueError, "masked_select", f"a mask that broadcasts with {x.shape}", mask.shape,
            "make trailing axes equal, or 1",
        ) from None  # fmt: skip
    chosen = (namespace(mask._array).broadcast_to(mask._array, shape),)
    return indexed(x if x.shape == shape else x.expand(shape), chosen, (mask._storage,))


def _where_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    a, b = inputs
    zero = full_like_number(0.0, grad)
    condition = fresh(saved)
    return (
        where(condition, grad, zero).sum_to_size(a.shape) if a._requires_grad else None,
        where(condition, zero, grad).sum_to_size(b.shape) if b._requires_grad else None,
    )


_WHERE = Op("where", differentiable=_where_recorded)


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where `condition` (bool) holds, else `other`, all broadcast. Alone, the condition's
    indices, a tensor an axis.

    TypeError on a condition that is not bool, ValueError where shapes do not broadcast.

    >>> tw.where(tw.tensor([True, False]), tw.tensor([1.0, 2.0]), 0.0)
    tensor([1., 0.])
    """
    c = operand(condition, "where", "condition")
    if input is None and other is None:
        return nonzero(c, as_tuple=True)
    if c._array.dtype is not dtypes.bool:
        raise error(TypeError, "where", "a bool condition", c.dtype, "compare: condition != 0")
    a, b = input, other
    if not (isinstance(a, Tensor) and isinstance(b, Tensor) and a._array.dtype is b._array.dtype):
        a, b = _promoted(c, a, b)
    if c._array.__class__ is not a._array.__class__ or a._array.__class__ is not b._array.__class__:
        a, b = number_beside(a, c), number_beside(b, c)
    try:
        y = fresh(ops.where(c._array, a._array, b._array))
    except ValueError:
        need_broadcast("where", c.shape, a.shape, b.shape)
        raise
    if c._storage.layout or a._storage.layout or b._storage.layout:
        y._keep_order(c, a, b)
    if mode.enabled and (a._requires_grad or b._requires_grad):
        record(y, _WHERE, (a, b), c._array, (c._storage,))
    return y


def _promoted(condition: Tensor, input: Any, other: Any) -> tuple[Tensor, Tensor]:
    """Both sides of where(), tensors or numbers, as tensors of the dtype that they mix to."""
    input, other = (
        v if isinstance(v, (int, float, scalar)) else operand(v, "where", name)
        for name, v in (("input", input), ("other", other))
    )
    dtype = dtypes.result_type(input, other)
    xp = namespace(condition._array)
    a, b = (
        cast(v, dtype) if isinstance(v, Tensor) else fresh(wrapped_number("where", dtype, v, xp))
        for v in (input, other)
    )
    return a, b


@tensor_method("where")
def _where_method(self: Tensor, condition: Tensor, other: Any) -> Any:
    """This tensor where the condition holds, else `other`."""
    return where(condition, self, other)


@tensor_method()
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input` with `value` where the bool `mask` (broadcast) is true.

    >>> tw.masked_fill(tw.ones(2), tw.tensor([True, False]), 0.0)
    tensor([0., 1.])
    """
    x = operand(input, "masked_fill")
    if isinstance(value, Tensor):
        if value.ndim:
            raise error(ValueError, "masked_fill", "a 0-d value", value.shape, "use tilework.where")
        filler = cast(value, x.dtype)
    else:
        filler = fresh(number_of("masked_fill", x.dtype, value, xp=namespace(x._array)))
    chosen = operand(mask, "masked_fill", "mask")
    if chosen.dtype is not dtypes.bool:
        raise error(
            TypeError, "masked_fill", "a bool mask", chosen.dtype, "compare, or call .bool()"
        )
    y: Tensor = where(chosen, filler, x)
    # Whatever the order of axes, as in PyTorch.
    return y if y._storage.layout is None else y.contiguous()


def _masked_scatter_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, source = inputs
    mask = fresh(saved)
    if not source._requires_grad:
        return masked_fill(grad, mask, 0.0), None
    chosen = masked_select(grad, mask)
    flat = source._array.reshape(-1)
    found = zeros_but_at(chosen, (slice(0, chosen.shape[0]),), flat)
    return masked_fill(grad, mask, 0.0) if x._requires_grad else None, found.reshape(source.shape)


_MASKED_SCATTER = Op("masked_scatter", differentiable=_masked_scatter_recorded)


@tensor_method()
def masked_scatter(input: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """`input` with the elements where the bool `mask` (broadcast) is true replaced by those of
    `source`, in order.

    TypeError where source's dtype is another, ValueError where it has too few elements.

    >>> tw.masked_scatter(tw.zeros(3), tw.tensor([True, False, True]), tw.tensor([1.0, 2.0]))
    tensor([1., 0., 2.])
    """
    op = "masked_scatter"
    x, m, s = operand(input, op), operand(mask, op, "mask"), operand(source, op, "source")
    if m.dtype is not dtypes.bool or s.dtype is not x.dtype:
        raise error(
            TypeError, op, f"a bool mask, and a source of {x.dtype}", f"{m.dtype} and {s.dtype}",
            "compare: mask != 0; convert with source.to()",
        )  # fmt: skip
    if not broadcasts(x.shape, m.shape):
        raise error(
            ValueError, op, f"a mask that broadcasts with {x.shape}", m.shape,
            "make trailing axes equal, or 1",
        )  # fmt: skip
    shape = broadcast_shapes(x.shape, m.shape)
    x = x if x.shape == shape else x.expand(shape)
    everywhere = namespace(m._array).broadcast_to(m._array, shape)
    y = fresh(ops.masked_scatter(x._array, everywhere, s._array))
    if mode.enabled and (x._requires_grad or s._requires_grad):
        record(y, _MASKED_SCATTER, (x, s), everywhere, (m._storage,))
    return y


def _clamp_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    """To x inside of the bounds, themselves included; to a bound where it is the result."""
    (x, low, high), (lowest, highest) = inputs, saved
    values = x._array
    none = namespace(values).zeros(values.shape, dtypes.bool)
    under = none if lowest is None else ~(values >= lowest)
    over = none if highest is None else ~(values <= highest)
    found: list[Tensor | None] = [None, None, None]
    if x._requires_grad:
        found[0] = sum_to(zero_where(grad, under | over), x)
    if low is not None and low._requires_grad:
        least = values < lowest
        if highest is not None:
            least = least & (lowest < highest)
        found[1] = sum_to(zero_where(grad, ~least), low)
    if high is not None and high._requires_grad:
        most = values > highest
        if lowest is not None:
            most = most | (highest < lowest)
        found[2] = sum_to(zero_where(grad, ~most), high)
    return found


def _limit(dtype: dtypes.DType, value: Any, xp: Any) -> Any:
    if value is None or isinstance(value, Tensor):
        return None if value is None else value._array
    return number_of("clamp", dtype, value, "limit", xp)


_CLAMP = Op("clamp", differentiable=_clamp_recorded)


def _between_backward(grad: Array, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return (ops.clamp_backward(grad, inputs[0]._array, *saved),)


def _between_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    return _clamp_recorded(grad, (inputs[0], None, None), saved)[:1]


_BETWEEN = Op("clamp", _between_backward, _between_recorded)
_LIMITS = frozenset((int, float, type(None)))


def _between(x: Tensor, low: float, high: float) -> Tensor:
    """The clamp of float32 or float64 between numbers."""
    y = fresh(ops.clamp_forward(x._array, low, high))
    if x._storage.layout:
        y._keep_order(x)
    if mode.enabled and x._requires_grad:
        record(y, _BETWEEN, (x,), (low, high), (x._storage,))
    return y


@tensor_method("clamp", "clip")
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Each element brought into [min, max]; either may be left out; NaN stays.

    Limits are numbers, or tensors that broadcast. ValueError where neither is given.

    >>> tw.clamp(tw.tensor([-2.0, 0.5, 3.0]), 0.0, 1.0)
    tensor([0.0, 0.5, 1.0])
    """
    x = operand(input, "clamp")
    if min is None and max is None:
        raise error(ValueError, "clamp", "min or max", "neither", "give one")
    if x._array.dtype.kind == "f" and min.__class__ in _LIMITS and max.__class__ in _LIMITS:
        return _between(x, -math.inf if min is None else min, math.inf if max is None else max)
    dtype = dtypes.result_type(x, *(v for v in (min, max) if v is not None))
    if dtype is dtypes.bfloat16:
        result: Tensor = in_float32(clamp, x, min, max)
        return result
    x = cast(x, dtype)
    bounds = [number_beside(cast(v, dtype), x) if isinstance(v, Tensor) else v for v in (min, max)]
    xp = namespace(x._array)
    values = [_limit(dtype, v, xp) for v in bounds]
    inputs = (x, *(v if isinstance(v, Tensor) else None for v in bounds))
    given = [t for t in inputs if t is not None]
    y = ordered(wrap(xp.clip(x._array, *values)), *given)
    if mode.enabled and any(t._requires_grad for t in given):
        record(y, _CLAMP, inputs, tuple(values), tuple(t._storage for t in given))
    return y


clip = clamp


def raised(x: Tensor, low: float) -> Tensor:
    """x.clamp(low), but for the gradient, which is that of x where it was raised too."""
    y: Tensor = x.clone()
    with no_grad():
        y.clamp_(low)
    return y


@tensor_method()
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """The indices of the elements other than zero, a row each, or a tensor an axis; int64.

    >>> tw.nonzero(tw.tensor([0, 5]))
    tensor([[1]])
    """
    x = operand(input, "nonzero")
    if as_tuple:
        array = x._array if x.ndim else x._array.reshape(1)
        return tuple(fresh(i) for i in ops.nonzero(array, True))
    return fresh(ops.nonzero(x._array, False))
