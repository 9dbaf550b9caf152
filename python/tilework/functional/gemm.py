"""Matrix products, and the linear layer with what is fused into it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilework import autocasting, dtypes
from tilework.arrays import as_array, broadcast_shapes, namespace, ndarray
from tilework.autograd import Op, mode, record, recorded
from tilework.dtypes import bfloat16, float32, float64
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.border import refusal
from tilework.functional.common import operand, side
from tilework.functional.lowering import lowered
from tilework.functional.packed import packed_weight
from tilework.functional.pointwise import to_shape_of
from tilework.functional.unary import ACTIVATIONS, activated, check_activation
from tilework.storage import Storage
from tilework.tensor import Tensor, fresh, new_storage, tensor_method

Inputs = tuple[Any, ...]


# --- matmul ---


def _gradient_product(x: Any, y: Any, t: Tensor) -> Any:
    """x @ y, summed over the axes along which `t` was broadcast: of bfloat16 in float32."""
    shape = t._array.shape
    leading = broadcast_shapes(x.shape[:-2], y.shape[:-2])
    if x.dtype is not bfloat16 or leading == shape[:-2]:
        return to_shape_of(ops.matmul(x, y), t)
    wide = namespace(x).empty((*leading, *shape[-2:]), float32)
    return ops.sum_to_shape(ops.matmul(x, y, wide), shape).astype(bfloat16)


def _rows(x: Any) -> Any:
    """(..., C) as a matrix; with -1 for the count, C = 0 would leave it open."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _product_gradients(grad: Any, inputs: Inputs, saved: Any) -> Sequence[Any]:
    a, b = inputs
    x, y = a._array, b._array
    da = db = None
    if a._requires_grad:
        da = _gradient_product(grad, y.swapaxes(-1, -2), a)
    if b._requires_grad:
        if y.ndim == 2 and x.ndim > 2:  # one long product sums over the batch too
            x, grad = _rows(x), _rows(grad)
        db = _gradient_product(x.swapaxes(-1, -2), grad, b)
    return da, db


def _product_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    a, b = inputs
    da = matmul(grad, b.transpose(-1, -2)).sum_to_size(a.shape) if a._requires_grad else None
    db = matmul(a.transpose(-1, -2), grad).sum_to_size(b.shape) if b._requires_grad else None
    return da, db


_MATMUL = Op("matmul", _product_gradients, _product_recorded)


@tensor_method("matmul", "__matmul__")
def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product of (..., M, K) and (..., K, N), leading axes broadcast; a 1-D side is a
    vector, whose axis leaves the result. bfloat16 is summed in float32 and rounded once.

    Both of one dtype (TypeError); ValueError where K differs, a side is 0-d or the leading axes do
    not broadcast.

    >>> tw.matmul(tw.ones(2, 3), tw.ones(3))
    tensor([3., 3.])
    """
    a, b = operand(input, "matmul"), operand(other, "matmul", "other")
    if autocasting.active:
        a, b = lowered(a, b)
    x, y = a._array, b._array
    if x.ndim < 2 or y.ndim < 2:
        return _with_vector(a, b)
    if x.shape[-1] != y.shape[-2]:
        raise _mismatch("matmul", x, y)
    if x.dtype is not y.dtype or x.dtype not in dtypes.FLOATS:
        return _matmul_other_dtypes(a, b)
    if x.ndim > 2 or y.ndim > 2:
        _check_batch(x, y)
    out = fresh(ops.matmul(x, y))
    if mode.enabled and (a._requires_grad or b._requires_grad):
        record(out, _MATMUL, (a, b), None, _read_by_gradients(a, b))
    return out


def _read_by_gradients(a: Tensor, b: Tensor) -> tuple[Storage, ...]:
    """Each side is read for the gradient of the other: beside a frozen one it may be written."""
    if not b._requires_grad:
        return (b._storage,)
    return (a._storage, b._storage) if a._requires_grad else (a._storage,)


@tensor_method("__rmatmul__")
def _reflected(self: Tensor, other: Any) -> Any:
    """`ndarray @ tensor`."""
    if not isinstance(other, (Tensor, ndarray)):
        return NotImplemented
    return matmul(side(other, "matmul", "input"), self)


def _mismatch(op: str, x: Any, y: Any) -> ValueError:
    return error(
        ValueError, op, f"other (..., K={x.shape[-1]}, N) beside input {x.shape}", y.shape,
        "transpose one side: x.transpose(-1, -2)",
    )  # fmt: skip


def _check_batch(x: Any, y: Any) -> None:
    try:
        broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise error(
            ValueError, "matmul", "leading axes that broadcast", f"{x.shape} and {y.shape}",
            "make them equal, or 1",
        ) from None  # fmt: skip


def _with_vector(a: Tensor, b: Tensor) -> Tensor:
    if not a._array.ndim or not b._array.ndim:
        raise error(
            ValueError, "matmul", "at least one axis a side", f"{a.shape} and {b.shape}",
            "multiply numbers with *",
        )  # fmt: skip
    if a._array.ndim == 1:
        if b._array.ndim == 1:
            if a.shape != b.shape:
                raise error(
                    ValueError, "matmul", f"a vector of {a.shape[0]}", b.shape, "match the lengths"
                )
            return matmul(a.unsqueeze(0), b.unsqueeze(1)).reshape(())
        return matmul(a.unsqueeze(0), b).squeeze(-2)
    return matmul(a, b.unsqueeze(1)).squeeze(-1)


def _matmul_other_dtypes(a: Tensor, b: Tensor) -> Tensor:
    if a.dtype != b.dtype:
        raise error(
            TypeError, "matmul", "one dtype", f"{a.dtype} and {b.dtype}",
            "convert one with x.to(other.dtype)",
        )  # fmt: skip
    return fresh(as_array(namespace(a._array).matmul(a._array, b._array)))


@tensor_method()
def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of (M, K) and (K, N); ValueError on other shapes.

    >>> tw.mm(tw.ones(1, 2), tw.ones(2, 1))
    tensor([[2.]])
    """
    _check_rank("mm", 2, input, mat2)
    return matmul(input, mat2)


@tensor_method()
def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of (B, M, K) and (B, K, N), pair by pair; ValueError on other shapes.

    >>> tw.bmm(tw.ones(2, 1, 3), tw.ones(2, 3, 1)).shape
    (2, 1, 1)
    """
    _check_rank("bmm", 3, input, mat2)
    if input.shape[0] != mat2.shape[0]:
        raise error(
            ValueError, "bmm", f"other ({input.shape[0]}, K, N)", mat2.shape, "use tilework.matmul"
        )
    return matmul(input, mat2)


def _check_rank(op: str, rank: int, *tensors: Tensor) -> None:
    for t in tensors:
        if operand(t, op).ndim != rank:
            raise error(ValueError, op, f"{rank} axes", t.shape, "use tilework.matmul")


# --- linear ---


def _linear_gradients(grad: Any, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, weight, bias, residual = inputs
    activation, z = saved
    return ops.linear_backward(
        grad,
        x._array,
        weight._array,
        z,
        activation,
        x._requires_grad,
        weight._requires_grad,
        bias is not None and bias._requires_grad,
        residual is not None and residual._requires_grad,
    )


def _linear_recorded(grad: Tensor, inputs: Inputs, saved: Any) -> Sequence[Any]:
    x, weight, bias, residual = inputs
    activation = saved[0]
    if activation != "none":
        z = linear(x, weight, bias, residual=residual)
        grad = ACTIVATIONS[activation].chain(grad, z)
    flat = _rows(grad)
    return (
        matmul(grad, weight) if x._requires_grad else None,
        matmul(flat.t(), _rows(x)) if weight._requires_grad else None,
        flat.sum(0) if bias is not None and bias._requires_grad else None,
        grad if residual is not None and residual._requires_grad else None,
    )


_LINEAR = Op("linear", _linear_gradients, _linear_recorded, rereads=True)


def linear(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str = "none",
    residual: Tensor | None = None,
) -> Tensor:
    """activation(input @ weight.T + bias + residual) in one pass: (..., K), (N, K), (N,), (..., N).

    `activation` is "none", "relu", "gelu", "gelu_tanh", "silu", "tanh" or "sigmoid". All of one
    float dtype (TypeError); of bfloat16 all is computed in float32, and rounded once. ValueError
    where shapes disagree.

    >>> F.linear(tw.ones(1, 2), tw.tensor([[1.0, -3.0]]), activation="relu")
    tensor([[0.]])
    """
    try:
        return fused_linear(input, weight, bias, activation, residual)
    except Exception as reason:
        raise refusal("linear", linear, reason, input, weight, bias, activation) from None


def fused_linear(
    input: Tensor, weight: Tensor, bias: Tensor | None, activation: str, residual: Tensor | None
) -> Tensor:
    """linear() for the layers: by position, which is the cheaper call."""
    if autocasting.active:
        input, weight, bias = lowered(input, weight, bias)
        if isinstance(residual, Tensor) and residual.dtype is not weight.dtype:
            check_activation("linear", activation)
            return activated(fused_linear(input, weight, bias, "none", None) + residual, activation)
    try:
        x, w = input._array, weight._array
        b = None if bias is None else bias._array
        r = None if residual is None else residual._array
    except AttributeError:
        raise _not_tensors(input, weight, bias, residual) from None
    dtype, shape = w.dtype, w.shape
    if not (
        x.dtype is dtype
        and (dtype is float32 or dtype is bfloat16 or dtype is float64)
        and len(shape) == 2
        and x.ndim
        and x.shape[-1] == shape[1]
        and (b is None or (b.dtype is dtype and b.ndim == 1 and b.size == shape[0]))
        and (r is None or (r.dtype is dtype and r.shape == (*x.shape[:-1], shape[0])))
    ):
        raise _mismatched(input, weight, bias, residual)
    if activation != "none":
        check_activation("linear", activation)
    taped = (
        weight._requires_grad
        or input._requires_grad
        or (bias is not None and bias._requires_grad)
        or (residual is not None and residual._requires_grad)
    ) and mode.enabled
    read = weight._storage
    packed = packed_weight(weight, taped, _pack)
    out, saved = ops.linear_forward(x, w, b, r, activation, taped, packed)
    if not taped:
        return fresh(out)
    own = new_storage()
    reads: tuple[Storage, ...] = (read, input._storage)
    if not (weight._requires_grad and input._requires_grad):
        reads = _read_by_gradients(input, weight)
    if saved is out:
        reads += (own,)
    inputs = (input, weight, bias, residual)
    return recorded(out, own, _LINEAR, inputs, (activation, saved), reads)


def _pack(weight: Any) -> Any:
    return ops.pack_weight(weight)


def _not_tensors(*given: Any) -> TypeError:
    kinds = ", ".join(type(t).__name__ for t in given)
    return error(
        TypeError, "linear", "Tensors for input, weight, bias and residual (the last two or None)",
        kinds, "wrap arrays: tilework.tensor(...)",
    )  # fmt: skip


def _mismatched(
    input: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None
) -> Exception:
    """What is wrong with the arguments of a linear layer."""
    if weight.ndim != 2 or not input.ndim or input.shape[-1] != weight.shape[1]:
        inner = f"K={weight.shape[1]}" if weight.ndim == 2 else "K"
        return error(
            ValueError, "linear", f"input (..., {inner}) beside weight (N, K)",
            f"{input.shape} and {weight.shape}", "reshape the input or transpose the weight",
        )  # fmt: skip
    if bias is not None and bias.shape != weight.shape[:1]:
        return error(
            ValueError,
            "linear",
            f"bias ({weight.shape[0]},)",
            bias.shape,
            "give one a row of weight",
        )
    out_shape = (*input.shape[:-1], weight.shape[0])
    if residual is not None and residual.shape != out_shape:
        return error(
            ValueError, "linear", f"residual {out_shape}", residual.shape, "expand it first"
        )
    found = [t.dtype for t in (input, weight, bias, residual) if t is not None]
    return error(
        TypeError, "linear", "one float dtype", ", ".join(map(str, found)),
        "convert with x.to(weight.dtype)",
    )  # fmt: skip
