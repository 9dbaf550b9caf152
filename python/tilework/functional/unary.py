"""Elementwise functions of one tensor: activations, exp and its like."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tilework import dtypes
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.cast import cast, in_float32
from tilework.functional.common import operand
from tilework.tensor import Tensor, fresh, tensor_method

Slope = Callable[[Tensor], Tensor]


def _backward(grad: Any, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    name, array = saved
    return (ops.unary_backward(name, grad, array),)


class UnaryOp(Op):
    """A function by its name in the engines, and its slope as recorded ops of the input."""

    __slots__ = ("slope",)

    def __init__(self, name: str, slope: Slope) -> None:
        def differentiable(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
            return (grad * slope(inputs[0]),)

        super().__init__(name, _backward, differentiable)
        self.slope = slope


def _unary(op: UnaryOp, input: Any) -> Tensor:
    x = input if isinstance(input, Tensor) else operand(input, op.name)
    array = x._array
    if array.dtype.kind != "f":
        return _not_float32(op, x)
    name = op.name
    y = fresh(ops.unary_forward(name, array))
    if x._storage.layout:
        y._keep_order(x)
    if mode.enabled and x._requires_grad:
        wants = ops.UNARY_OPS[name]
        if wants == "output":
            record(y, op, (x,), (name, y._array), (x._storage, y._storage))
        elif wants == "input":
            record(y, op, (x,), (name, array), (x._storage,))
        else:
            record(y, op, (x,), (name, array))
    return y


def _not_float32(op: UnaryOp, x: Tensor) -> Tensor:
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(_unary_of(op), x)
        return result
    if op.name in ("relu", "abs", "neg"):
        if x.dtype is dtypes.bool:
            raise error(TypeError, op.name, "numbers", "bools", "convert with x.long()")
        exact: dict[str, Callable[[Any], Any]] = {
            "relu": lambda a: np.maximum(a, 0),
            "abs": np.abs,
            "neg": np.negative,
        }
        return fresh(np.asarray(exact[op.name](x._array)))._keep_order(x)
    return _unary(op, cast(x, dtypes.float32))


def _unary_of(op: UnaryOp) -> Callable[[Tensor], Tensor]:
    return lambda x: _unary(op, x)


# --- slopes, for create_graph ---


def _step(x: Tensor) -> Tensor:
    return fresh(np.asarray(x._array > 0, x.dtype))


def _sigmoid_slope(x: Tensor) -> Tensor:
    s = sigmoid(x)
    return s * (1.0 - s)


def _silu_slope(x: Tensor) -> Tensor:
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


def _density(x: Tensor) -> Tensor:
    """The standard normal density."""
    return exp(x * x * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))


def _cdf_gradient(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    return (grad * _density(inputs[0]),)


_CDF = Op("normal_cdf", differentiable=_cdf_gradient)


def _normal_cdf(x: Tensor) -> Tensor:
    """The standard normal distribution function: gelu's slope less x times the density."""
    array = x._array
    one = np.ones_like(array)
    density = np.exp(array * array * -0.5) * (1.0 / math.sqrt(2.0 * math.pi))
    y = fresh(np.asarray(ops.unary_backward("gelu", one, array) - array * density, array.dtype))
    if mode.enabled and x._requires_grad:
        record(y, _CDF, (x,), None, (x._storage,))
    return y


def _tanh_slope(x: Tensor) -> Tensor:
    y = tanh(x)
    return 1.0 - y * y


def _exp_slope(x: Tensor) -> Tensor:
    return exp(x)


def _sqrt_slope(x: Tensor) -> Tensor:
    return 0.5 / sqrt(x)


def _gelu_slope(x: Tensor) -> Tensor:
    return _normal_cdf(x) + x * _density(x)


def _gelu_tanh_slope(x: Tensor) -> Tensor:
    scale, cubic = math.sqrt(2.0 / math.pi), 0.044715
    t = tanh((x + x * x * x * cubic) * scale)
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * (scale * (1.0 + 3.0 * cubic * x * x))


RELU = UnaryOp("relu", _step)
SIGMOID = UnaryOp("sigmoid", _sigmoid_slope)
TANH = UnaryOp("tanh", _tanh_slope)
SILU = UnaryOp("silu", _silu_slope)
GELU = UnaryOp("gelu", _gelu_slope)
GELU_TANH = UnaryOp("gelu_tanh", _gelu_tanh_slope)
EXP = UnaryOp("exp", _exp_slope)
LOG = UnaryOp("log", lambda x: 1.0 / x)
SQRT = UnaryOp("sqrt", _sqrt_slope)
ABS = UnaryOp("abs", lambda x: fresh(np.asarray(np.sign(x._array), x.dtype)))
NEG = UnaryOp("neg", lambda x: fresh(np.asarray(-1.0, x.dtype)))

# The activations that kernels fuse, by the engines' names; "none" has no slope.
ACTIVATIONS: dict[str, UnaryOp] = {
    op.name: op for op in (RELU, GELU, GELU_TANH, SILU, TANH, SIGMOID)
}


@tensor_method()
def relu(input: Tensor) -> Tensor:
    """max(x, 0), any shape; NaN goes through, and its gradient at 0 is 0.

    >>> F.relu(tw.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return _unary(RELU, input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the normal distribution function (Hendrycks and Gimpel 2016), any float tensor.

    `approximate="tanh"` takes their tanh form; ValueError on another word.

    >>> F.gelu(tw.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8413])
    """
    if isinstance(approximate, str) and approximate == "none":
        return _unary(GELU, input)
    if isinstance(approximate, str) and approximate == "tanh":
        return _unary(GELU_TANH, input)
    raise error(ValueError, "gelu", 'approximate "none" or "tanh"', approximate, "name one of them")


def silu(input: Tensor) -> Tensor:
    """x * sigmoid(x) (Elfwing et al. 2017), any float tensor.

    >>> F.silu(tw.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7311])
    """
    return _unary(SILU, input)


@tensor_method()
def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, any shape; integers give float32.

    >>> tw.tanh(tw.tensor([0.0]))
    tensor([0.])
    """
    return _unary(TANH, input)


@tensor_method()
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), any shape; integers give float32.

    >>> tw.sigmoid(tw.tensor([0.0]))
    tensor([0.5])
    """
    return _unary(SIGMOID, input)


@tensor_method()
def exp(input: Tensor) -> Tensor:
    """e to the power of each element; integers give float32.

    >>> tw.exp(tw.tensor([0.0]))
    tensor([1.])
    """
    return _unary(EXP, input)


@tensor_method()
def log(input: Tensor) -> Tensor:
    """The natural logarithm; -inf at 0, NaN below. Integers give float32.

    >>> tw.log(tw.tensor([1.0]))
    tensor([0.])
    """
    return _unary(LOG, input)


@tensor_method()
def sqrt(input: Tensor) -> Tensor:
    """The square root; NaN below 0. Integers give float32.

    >>> tw.sqrt(tw.tensor([4.0]))
    tensor([2.])
    """
    return _unary(SQRT, input)


@tensor_method("abs", "__abs__")
def abs(input: Tensor) -> Tensor:
    """The absolute value; its gradient at 0 is 0. TypeError on bools.

    >>> tw.abs(tw.tensor([-1.0, 2.0]))
    tensor([1., 2.])
    """
    return _unary(ABS, input)


@tensor_method("neg", "__neg__")
def neg(input: Tensor) -> Tensor:
    """-x. TypeError on bools.

    >>> tw.neg(tw.tensor([1, -2]))
    tensor([-1,  2])
    """
    return _unary(NEG, input)


@tensor_method()
def square(input: Tensor) -> Tensor:
    """x * x.

    >>> tw.square(tw.tensor([3.0]))
    tensor([9.])
    """
    x = operand(input, "square")
    return x * x


@tensor_method()
def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(x); inf at 0.

    >>> tw.rsqrt(tw.tensor([4.0]))
    tensor([0.5])
    """
    return 1.0 / sqrt(input)


# --- bias and activation in one pass ---


def _bias_backward(grad: Any, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    activation, kept = saved
    return ops.bias_activation_backward(grad, kept, activation)


def _bias_recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    x, bias = inputs
    activation = saved[0]
    dz = grad if activation == "none" else grad * ACTIVATIONS[activation].slope(x + bias)
    return dz, dz.sum_to_size(bias.shape)


_BIAS_ACTIVATION = Op("bias_activation", _bias_backward, _bias_recorded)


def check_activation(op: str, activation: str) -> None:
    """ValueError on a name that no kernel fuses."""
    if not isinstance(activation, str) or (activation != "none" and activation not in ACTIVATIONS):
        known = ", ".join(("none", *ACTIVATIONS))
        raise error(ValueError, op, f"activation among {known}", activation, "name one")


def bias_activation(input: Tensor, bias: Tensor, activation: str = "relu") -> Tensor:
    """activation(input + bias) in one pass, with bias (N,) along the input's last axis.

    `activation` is one of those of F.linear. Both of one float dtype (TypeError); ValueError where
    the shapes disagree.

    >>> F.bias_activation(tw.tensor([[1.0, -3.0]]), tw.ones(2))
    tensor([[2., 0.]])
    """
    x, b = operand(input, "bias_activation"), operand(bias, "bias_activation", "bias")
    check_activation("bias_activation", activation)
    if not x.ndim or b.shape != x.shape[-1:]:
        raise error(
            ValueError, "bias_activation", f"bias {x.shape[-1:]} beside input {x.shape}", b.shape,
            "give one number for each place of the last axis",
        )  # fmt: skip
    if b.dtype != x.dtype or not dtypes.is_float(x.dtype):
        raise error(
            TypeError, "bias_activation", "one float dtype", f"{x.dtype} and {b.dtype}",
            "convert with x.to(bias.dtype)",
        )  # fmt: skip
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(bias_activation, x, b, activation)
        return result
    recorded = mode.enabled and (x._requires_grad or b._requires_grad)
    out, kept = ops.bias_activation_forward(x._array, b._array, activation, recorded)
    y = fresh(out)
    if recorded:
        reads = (y._storage,) if kept is out else ()
        record(y, _BIAS_ACTIVATION, (x, b), (activation, kept), reads)
    return y
