"""Gates: an activation times a second operand, in one pass each way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilework.autograd import Op, mode, record
from tilework.dtypes import bfloat16, float32
from tilework.engines import ops
from tilework.errors import error, word
from tilework.functional.cast import cast
from tilework.functional.common import axis, need_float, operand
from tilework.functional.join import cat
from tilework.functional.unary import GELU, GELU_TANH, SIGMOID, SILU, UnaryOp, function_of
from tilework.tensor import Tensor, fresh


class GatedOp(Op):
    """A gate by its name in the engines: its activation, and whether the gate comes first."""

    __slots__ = ("activation", "gate_first", "value_of")

    def __init__(self, name: str, activation: UnaryOp, gate_first: bool) -> None:
        super().__init__(name, _backward, _recorded)
        self.activation = activation
        self.gate_first = gate_first
        self.value_of = function_of(activation)


def _array(other: Tensor | None) -> Any:
    return None if other is None else other._array


def _backward(grad: Any, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    op, dim = saved
    x, other = inputs
    return ops.gated_backward(op.name, grad, x._array, _array(other), dim)


def _recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    op, dim = saved
    x, other = inputs
    # Slopes are of float32, or of float64: of bfloat16 they are widened, and rounded once.
    wide = float32 if x.dtype is bfloat16 else x.dtype
    grad = cast(grad, wide)
    first, second = (cast(t, wide) for t in (x.chunk(2, dim) if other is None else inputs))
    gate, value = (first, second) if op.gate_first else (second, first)
    d_gate, d_value = op.activation.chain(grad * value, gate), grad * op.value_of(gate)
    d_first, d_second = (d_gate, d_value) if op.gate_first else (d_value, d_gate)
    if other is None:
        return cast(cat([d_first, d_second], dim), x.dtype), None
    return cast(d_first, x.dtype), cast(d_second, x.dtype)


_GLU = GatedOp("glu", SIGMOID, False)
_SWIGLU = GatedOp("swiglu", SILU, True)
_GEGLU = GatedOp("geglu", GELU, True)
_GEGLU_TANH = GatedOp("geglu_tanh", GELU_TANH, True)


def _gated(op: GatedOp, input: Any, other: Any, dim: Any) -> Tensor:
    x = operand(input, op.name)
    need_float(op.name, x)
    if other is None:
        dim = axis(op.name, dim, x.ndim)
        if not x.ndim or x.shape[dim] % 2:
            raise error(
                ValueError, op.name, f"an even length along dim {dim}, for two halves", x.shape,
                "pad it, or give both operands",
            )  # fmt: skip
    else:
        dim = 0
        _check_pair(op.name, x, operand(other, op.name, "other"))
    y = fresh(ops.gated_forward(op.name, x._array, _array(other), dim))
    if x._storage.layout:
        y._keep_order(x)
    if mode.enabled and (x._requires_grad or (other is not None and other._requires_grad)):
        reads = (x._storage,) if other is None else (x._storage, other._storage)
        record(y, op, (x, other), (op, dim), reads)
    return y


def _check_pair(op: str, x: Tensor, other: Tensor) -> None:
    if other.shape != x.shape:
        raise error(
            ValueError, op, f"other of input's shape {x.shape}", other.shape, "expand one of them"
        )
    if other.dtype is not x.dtype:
        raise error(
            TypeError, op, f"other of input's dtype, {x.dtype}", other.dtype,
            "convert one with x.to(other.dtype)",
        )  # fmt: skip


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half of `input` along `dim` times the sigmoid of the second.

    Any float dtype (TypeError); ValueError where the length along dim is odd. Dauphin et al.,
    "Language modeling with gated convolutional networks", 2016.

    >>> F.glu(tw.tensor([3.0, 4.0, 0.0, 0.0]))
    tensor([1.5, 2.0])
    """
    return _gated(_GLU, input, None, dim)


def swiglu(input: Tensor, other: Tensor | None = None, dim: int = -1) -> Tensor:
    """silu(input) * other in one pass; without `other`, of the halves of `input` along `dim`, the
    gate first.

    Both of one shape and one float dtype. ValueError where shapes disagree or the length along dim
    is odd, TypeError on dtypes. Shazeer, "GLU variants improve transformer", 2020.

    >>> F.swiglu(tw.tensor([0.0, 1.0]), tw.tensor([5.0, 2.0]))
    tensor([0.0000, 1.4621])
    """
    return _gated(_SWIGLU, input, other, dim)


def geglu(
    input: Tensor, other: Tensor | None = None, dim: int = -1, *, approximate: str = "none"
) -> Tensor:
    """gelu(input, approximate) * other in one pass; for the rest as swiglu.

    ValueError on an `approximate` that is neither "none" nor "tanh".

    >>> F.geglu(tw.tensor([0.0, 1.0, 5.0, 2.0]))
    tensor([0.0000, 1.6827])
    """
    if not isinstance(approximate, str) or approximate not in ("none", "tanh"):
        raise error(
            ValueError, "geglu", 'approximate "none" or "tanh"', word(approximate),
            "name one of them",
        )  # fmt: skip
    return _gated(_GEGLU if approximate == "none" else _GEGLU_TANH, input, other, dim)
