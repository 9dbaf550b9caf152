"""Rotary position embedding: pairs of elements turned by angles that grow with the position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import broadcast_shapes, namespace
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.common import broadcasts, need_float, operand
from tilework.functional.indexing import indices, outside
from tilework.tensor import Tensor, fresh

Array = Any


def _turned(x: Array, cos: Array, sin: Array, interleaved: bool) -> Array:
    half = cos.shape[-1]
    y = namespace(x).empty(x.shape, dtype=x.dtype)
    if interleaved:
        first, second = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
    else:
        first, second = slice(0, half), slice(half, 2 * half)
    a, b = x[..., first], x[..., second]
    if x.dtype == dtypes.bfloat16:
        a, b = a.astype(dtypes.float32), b.astype(dtypes.float32)
    y[..., first] = a * cos - b * sin
    y[..., second] = b * cos + a * sin
    y[..., 2 * half :] = x[..., 2 * half :]
    return y


def _backward(grad: Array, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    cos, sin, interleaved = saved
    return (_turned(grad, cos, -sin, interleaved),)


def _recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    cos, sin, interleaved = saved
    return (_applied(grad, cos, -sin, interleaved),)


_ROTARY = Op("rotary_embedding", _backward, _recorded)


def _applied(x: Tensor, cos: Array, sin: Array, interleaved: bool) -> Tensor:
    y = fresh(_turned(x._array, cos, sin, interleaved))
    if mode.enabled and x._requires_grad:
        record(y, _ROTARY, (x,), (cos, sin, interleaved))
    return y


def rotary_embedding(
    input: Tensor,
    cos: Tensor,
    sin: Tensor,
    position_ids: Tensor | None = None,
    *,
    interleaved: bool = False,
) -> Tensor:
    """Pairs of the last axis of `input` (..., S, D) turned by the angles whose cosines and sines
    are given, (S, R) or what broadcasts to (..., S, R), with 2 R <= D; what is beyond 2 R stays.

    A pair is elements i and i + R, or 2i and 2i + 1 where `interleaved`. With `position_ids`,
    (..., S) of integers, cos and sin are tables (positions, R), and each place has its row. They
    get no gradient. ValueError where shapes disagree, TypeError on dtypes, IndexError out of range.
    Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021.

    >>> F.rotary_embedding(tw.tensor([[1.0, 0.0]]), tw.zeros(1, 1), tw.ones(1, 1))
    tensor([[0., 1.]])
    """
    op = "rotary_embedding"
    x, c, s = operand(input, op), operand(cos, op, "cos"), operand(sin, op, "sin")
    need_float(op, x)
    if c.shape != s.shape or not c.ndim or c._requires_grad or s._requires_grad:
        raise error(
            ValueError, op, "cos and sin of one shape, without gradients",
            f"{c.shape} and {s.shape}", "take them of the same angles, under no_grad",
        )  # fmt: skip
    wide = x.dtype if x.dtype is not dtypes.bfloat16 else dtypes.float32
    turn = [t._array.astype(wide) for t in (c, s)]
    if position_ids is not None:
        if c.ndim != 2:
            raise error(
                ValueError, op, "cos and sin (positions, R) beside position_ids", c.shape,
                "drop position_ids, or the leading axes",
            )  # fmt: skip
        at, _ = indices(op, "position_ids", position_ids)
        try:
            rows = [ops.index_select(t, 0, at.reshape(-1), False) for t in turn]
        except IndexError:
            raise outside(op, "position_ids", at, c.shape[0]) from None
        turn = [t.reshape(*at.shape, c.shape[1]) for t in rows]
        while 1 < turn[0].ndim < x.ndim and turn[0].ndim > 2:  # (B, S, R) beside (B, H, S, D)
            turn = [t[:, None] for t in turn]
    angles = turn[0].shape
    fits = x.ndim >= 1 and 2 * angles[-1] <= x.shape[-1] and broadcasts(angles[:-1], x.shape[:-1])
    if not fits or broadcast_shapes(angles[:-1], x.shape[:-1]) != x.shape[:-1]:
        raise error(
            ValueError, op, f"cos and sin that broadcast to {x.shape[:-1]}, of at most half of "
            f"{x.shape[-1] if x.ndim else 0} angles", angles, "check positions and width",
        )  # fmt: skip
    return _applied(x, turn[0], turn[1], interleaved)
