"""Softmax and its logarithm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.functional.cast import cast, in_float32
from tilework.functional.common import axis, need_float, operand
from tilework.tensor import Tensor, tensor_method


def _backward(grad: Any, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    output, dim, log = saved
    return (ops.softmax_backward(grad, output, dim, log),)


_SOFTMAX = Op("softmax", _backward)
_LOG_SOFTMAX = Op("log_softmax", _backward)


def _softmax(op: Op, input: Any, dim: int, dtype: Any) -> Tensor:
    x = operand(input, op.name)
    if dtype is not None:
        x = cast(x, dtypes.check(dtype, op.name))
    need_float(op.name, x)
    log = op is _LOG_SOFTMAX
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(log_softmax if log else softmax, x, dim)
        return result
    over = axis(op.name, dim, x._array.ndim)
    if not x._array.ndim:
        return _softmax(op, x.reshape(1), 0, None).reshape(())
    y = Tensor(ops.softmax_forward(x._array, over, log))
    if mode.enabled and x._requires_grad:
        record(y, op, (x,), (y._array, over, log), (y._storage,))
    return y


@tensor_method()
def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`, without overflow.

    TypeError on integers, IndexError on an axis that is not there.

    >>> F.softmax(tw.tensor([0.0, 0.0]), 0)
    tensor([0.5, 0.5])
    """
    return _softmax(_SOFTMAX, input, dim, dtype)


@tensor_method()
def log_softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """log(softmax(x)) along `dim`, accurate where softmax is tiny.

    TypeError on integers, IndexError on an axis that is not there.

    >>> F.log_softmax(tw.tensor([0.0, 0.0]), 0)
    tensor([-0.6931, -0.6931])
    """
    return _softmax(_LOG_SOFTMAX, input, dim, dtype)
