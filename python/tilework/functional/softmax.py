"""Softmax and its logarithm."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from tilework import dtypes
from tilework.autograd import Op, mode, recorded
from tilework.engines import ops
from tilework.functional.cast import cast, in_float32
from tilework.functional.common import axis, need_float, numpy_names, operand
from tilework.tensor import Tensor, new_storage, tensor_method


def _backward(grad: Any, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    output, dim, log, _ = saved
    return (ops.softmax_backward(grad, output, dim, log),)


def _recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    output, dim, log, storage = saved
    # The result once more, on the tape as it was then: the input may have been written since.
    op = _LOG_SOFTMAX if log else _SOFTMAX
    y = recorded(output, storage, op, inputs, saved, (storage,))
    if log:
        return (grad - y.exp() * grad.sum(dim, keepdim=True),)
    return (y * (grad - (grad * y).sum(dim, keepdim=True)),)


_SOFTMAX = Op("softmax", _backward, _recorded)
_LOG_SOFTMAX = Op("log_softmax", _backward, _recorded)


def _implied(op: str, ndim: int) -> int:
    """The axis that PyTorch takes where none is given, with its warning."""
    dim = 0 if ndim in (0, 1, 3) else 1
    warnings.warn(f"[{op}] dim is not given: {dim} is taken, as in PyTorch; name it", stacklevel=5)
    return dim


def _softmax(op: Op, input: Any, dim: int | None, dtype: Any) -> Tensor:
    x = operand(input, op.name)
    if dim is None:
        dim = _implied(op.name, x.ndim)
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
    array, own = ops.softmax_forward(x._array, over, log), new_storage()
    if not (mode.enabled and x._requires_grad):
        return Tensor(array, own)
    return recorded(array, own, op, (x,), (array, over, log, own), (own,))


@tensor_method()
@numpy_names
def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`, without overflow.

    Without `dim` the axis is 0 of 0, 1 or 3 axes, else 1, with a warning, as in PyTorch.
    TypeError on integers, IndexError on an axis that is not there.

    >>> F.softmax(tw.tensor([0.0, 0.0]), 0)
    tensor([0.5, 0.5])
    """
    return _softmax(_SOFTMAX, input, dim, dtype)


@tensor_method()
@numpy_names
def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """log(softmax(x)) along `dim`, accurate where softmax is tiny.

    Without `dim` the axis is 0 of 0, 1 or 3 axes, else 1, with a warning, as in PyTorch.
    TypeError on integers, IndexError on an axis that is not there.

    >>> F.log_softmax(tw.tensor([0.0, 0.0]), 0)
    tensor([-0.6931, -0.6931])
    """
    return _softmax(_LOG_SOFTMAX, input, dim, dtype)
