"""Elementwise functions of one tensor: activations, exp and its like."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from tilework import dtypes
from tilework.arrays import as_array, namespace
from tilework.autograd import Op, mode, record
from tilework.engines import ops
from tilework.errors import error, word
from tilework.functional.cast import cast, in_float32
from tilework.functional.common import operand
from tilework.functional.pointwise import zero_where
from tilework.tensor import Tensor, fresh, tensor_method

Chain = Callable[[Tensor, Tensor], Tensor]
Function = Callable[[Tensor], Tensor]


def _backward(grad: Any, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    name, array = saved
    return (ops.unary_backward(name, grad, array),)


class UnaryOp(Op):
    """A function by its name in the engines, and `chain(grad, x)`: the gradient of the input x in
    recorded ops, for create_graph."""

    __slots__ = ("chain",)

    def __init__(self, name: str, chain: Chain) -> None:
        def differentiable(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
            return (chain(grad, inputs[0]),)

        super().__init__(name, _backward, differentiable, rereads=True)
        self.chain = chain


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
            record(y, op, (x,), (name, y._array), (y._storage,))
        elif wants == "input":
            record(y, op, (x,), (name, array), (x._storage,))
        else:
            record(y, op, (x,), (name, array))
    return y


# Of integers; a bool's square is a number.
_EXACT: dict[str, Callable[[Any], Any]] = {
    "relu": lambda a: namespace(a).maximum(a, 0),
    "abs": operator.abs,
    "neg": operator.neg,
    "square": lambda a: namespace(a).square(a.astype("int64") if a.dtype.kind == "b" else a),
}


def _not_float32(op: UnaryOp, x: Tensor) -> Tensor:
    if x.dtype is dtypes.bfloat16:
        result: Tensor = in_float32(function_of(op), x)
        return result
    if op.name in ("relu", "abs", "neg", "square"):
        if x.dtype is dtypes.bool and op is not SQUARE:
            raise error(TypeError, op.name, "numbers", "bools", "convert with x.long()")
        return fresh(as_array(_EXACT[op.name](x._array)))._keep_order(x)
    return _unary(op, cast(x, dtypes.float32))


def function_of(op: UnaryOp) -> Callable[[Tensor], Tensor]:
    return lambda x: _unary(op, x)


# --- derivatives, for create_graph ---
#
# Each is written so that neither it nor its own derivative cancels, or multiplies 0 by infinity.


def _part(name: str, forward: Callable[[Any], Any], slope: Function) -> Function:
    """A function that derivatives are made of: on arrays, and its slope in recorded ops."""

    def gradient(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
        return (grad * slope(inputs[0]),)

    op = Op(name, differentiable=gradient)

    def apply(x: Tensor) -> Tensor:
        y = fresh(forward(x._array))
        if mode.enabled and x._requires_grad:
            record(y, op, (x,), None, (x._storage,))
        return y

    return apply


def _logistic(x: Any) -> Any:
    return ops.unary_forward("sigmoid", x)


def _bell(x: Any) -> Any:
    """The slope of sigmoid: s(x) s(-x) keeps the digits that s - s^2 loses."""
    return ops.binary_forward("mul", _logistic(x), _logistic(ops.unary_forward("neg", x)))


def _tanh_bell(x: Any) -> Any:
    """The slope of tanh, 4 s(2x) s(-2x)."""
    return ops.binary_forward("mul", _bell(ops.binary_forward("mul", x, 2.0)), 4.0)


def _normal_density(x: Any) -> Any:
    square = ops.binary_forward("mul", ops.unary_forward("square", x), -0.5)
    return ops.binary_forward("mul", ops.unary_forward("exp", square), 1.0 / math.sqrt(2 * math.pi))


def _normal_cdf(x: Any) -> Any:
    erf = ops.unary_forward("erf", ops.binary_forward("mul", x, math.sqrt(0.5)))
    return ops.binary_forward("add", ops.binary_forward("mul", erf, 0.5), 0.5)


def _gate_slope(x: Tensor) -> Tensor:
    return _sigmoid_slope(x)


def _sigmoid_bend(x: Tensor) -> Tensor:
    return -(_sigmoid_slope(x) * tanh(x * 0.5))


def _tanh_bend(x: Tensor) -> Tensor:
    return _tanh_slope(x) * tanh(x) * -2.0


def _density_slope(x: Tensor) -> Tensor:
    return -(_density(x) * x)


# sigmoid, whose own backward knows its result alone, and so no slope where that is 1
_gate: Function = _part("sigmoid", _logistic, _gate_slope)
_sigmoid_slope: Function = _part("sigmoid_slope", _bell, _sigmoid_bend)
_tanh_slope: Function = _part("tanh_slope", _tanh_bell, _tanh_bend)
_density: Function = _part("normal_density", _normal_density, _density_slope)
_cdf: Function = _part("normal_cdf", _normal_cdf, _density)


def bounded(x: Tensor, limit: float) -> Tensor:
    """`x` no further out than where the function is flat to the last bit of float64: x times what
    has vanished there is then 0, at infinity too."""
    y: Tensor = x.clamp(-limit, limit)
    return y


def _silu_chain(grad: Tensor, x: Tensor) -> Tensor:
    x = bounded(x, 760.0)
    return grad * (_gate(x) + x * _sigmoid_slope(x))


def _gelu_chain(grad: Tensor, x: Tensor) -> Tensor:
    x = bounded(x, 40.0)
    return grad * (_cdf(x) + x * _density(x))


def _gelu_tanh_chain(grad: Tensor, x: Tensor) -> Tensor:
    linear = 2.0 * math.sqrt(2.0 / math.pi)
    cubic = linear * 0.044715
    x = bounded(x, 40.0)
    square = x * x
    inner = x * (square * cubic + linear)
    return grad * (_gate(inner) + x * (square * (3.0 * cubic) + linear) * _sigmoid_slope(inner))


def _relu_chain(grad: Tensor, x: Tensor) -> Tensor:
    return zero_where(grad, x._array <= 0)


def _abs_chain(grad: Tensor, x: Tensor) -> Tensor:
    return zero_where(grad * fresh(as_array(namespace(x._array).sign(x._array))), x._array == 0)


def _exp_chain(grad: Tensor, x: Tensor) -> Tensor:
    return grad * exp(x)


def _sqrt_chain(grad: Tensor, x: Tensor) -> Tensor:
    return grad * (0.5 / sqrt(x))


def _rsqrt_chain(grad: Tensor, x: Tensor) -> Tensor:
    y = rsqrt(x)
    return grad * (y * y * y * -0.5)


def _erf_chain(grad: Tensor, x: Tensor) -> Tensor:
    # 2 / sqrt(pi) exp(-x^2), by the density of the normal distribution
    return grad * _density(x * math.sqrt(2.0)) * (2.0 * math.sqrt(2.0))


def _reciprocal_chain(grad: Tensor, x: Tensor) -> Tensor:
    y = reciprocal(x)
    return -(grad * (y * y))


RELU = UnaryOp("relu", _relu_chain)
SIGMOID = UnaryOp("sigmoid", lambda grad, x: grad * _sigmoid_slope(x))
TANH = UnaryOp("tanh", lambda grad, x: grad * _tanh_slope(x))
SILU = UnaryOp("silu", _silu_chain)
GELU = UnaryOp("gelu", _gelu_chain)
GELU_TANH = UnaryOp("gelu_tanh", _gelu_tanh_chain)
EXP = UnaryOp("exp", _exp_chain)
LOG = UnaryOp("log", lambda grad, x: grad / x)
SQRT = UnaryOp("sqrt", _sqrt_chain)
RSQRT = UnaryOp("rsqrt", _rsqrt_chain)
SQUARE = UnaryOp("square", lambda grad, x: grad * (x + x))
ABS = UnaryOp("abs", _abs_chain)
NEG = UnaryOp("neg", lambda grad, x: -grad)
RECIPROCAL = UnaryOp("reciprocal", _reciprocal_chain)
ERF = UnaryOp("erf", _erf_chain)
SOFTPLUS = UnaryOp("softplus", lambda grad, x: grad * _gate(x))

# The activations that kernels fuse, by the engines' names; "none" has no slope.
ACTIVATIONS: dict[str, UnaryOp] = {
    op.name: op for op in (RELU, GELU, GELU_TANH, SILU, TANH, SIGMOID)
}


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), any shape; NaN goes through, and its gradient at 0 is 0. `inplace` writes it over
    the input, as PyTorch's programs may expect; it saves nothing here.

    >>> F.relu(tw.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return _over(RELU, input) if inplace else _unary(RELU, input)


@tensor_method("relu")
def _relu(self: Tensor) -> Tensor:
    """max(x, 0)."""
    return _unary(RELU, self)


def _over(op: UnaryOp, x: Any) -> Tensor:
    """The function written over its operand."""
    from tilework.functional.inplace import write_over  # which stands on this module

    return write_over(op.name, operand(x, op.name), function_of(op))


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
    raise error(
        ValueError, "gelu", 'approximate "none" or "tanh"', word(approximate), "name one of them"
    )


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x) (Elfwing et al. 2017), any float tensor; `inplace` as for relu.

    >>> F.silu(tw.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7311])
    """
    return _over(SILU, input) if inplace else _unary(SILU, input)


@tensor_method()
def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent, any shape; integers give float32.

    >>> tw.tanh(tw.tensor([0.0]))
    tensor([0.])
    """
    return _unary(TANH, input)


def softplus_of(x: Tensor) -> Tensor:
    """log(1 + exp(x)) without overflow or loss of small terms: what losses are made of."""
    return _unary(SOFTPLUS, x)


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
    """x * x. TypeError on bools.

    >>> tw.square(tw.tensor([3.0]))
    tensor([9.])
    """
    x = operand(input, "square")
    return _unary(SQUARE, cast(x, dtypes.int64) if x.dtype is dtypes.bool else x)


@tensor_method()
def rsqrt(input: Tensor) -> Tensor:
    """1 / sqrt(x); inf at 0. Integers give float32.

    >>> tw.rsqrt(tw.tensor([4.0]))
    tensor([0.5])
    """
    return _unary(RSQRT, input)


@tensor_method()
def reciprocal(input: Tensor) -> Tensor:
    """1 / x; infinite at 0. Of integers in float32.

    >>> tw.reciprocal(tw.tensor([4.0]))
    tensor([0.25])
    """
    return _unary(RECIPROCAL, input)


@tensor_method()
def erf(input: Tensor) -> Tensor:
    """The error function; of integers in float32.

    >>> tw.erf(tw.tensor([0.0]))
    tensor([0.])
    """
    return _unary(ERF, input)


# --- bias and activation in one pass ---


def _bias_backward(grad: Any, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    activation, kept = saved
    return ops.bias_activation_backward(grad, kept, activation)


def _bias_recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    x, bias = inputs
    activation = saved[0]
    dz = grad if activation == "none" else ACTIVATIONS[activation].chain(grad, x + bias)
    return dz, dz.sum_to_size(bias.shape)


_BIAS_ACTIVATION = Op("bias_activation", _bias_backward, _bias_recorded, rereads=True)


def check_activation(op: str, activation: str) -> None:
    """ValueError on a name that no kernel fuses."""
    if not isinstance(activation, str) or (activation != "none" and activation not in ACTIVATIONS):
        known = ", ".join(("none", *ACTIVATIONS))
        raise error(ValueError, op, f"activation among {known}", word(activation), "name one")


def activated(x: Tensor, activation: str) -> Tensor:
    """One of the activations that kernels fuse, or "none", on its own."""
    return x if activation == "none" else _unary(ACTIVATIONS[activation], x)


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
