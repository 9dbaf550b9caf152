"""Elementwise ops: NumPy's ufuncs where they do the op in one pass, compiled ones elsewhere."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tilework.dtypes import bfloat16
from tilework.engines.numba.compiled import elementwise, jit, quiet
from tilework.engines.numba.layout import Array, empty_like, flat, in_layout_of
from tilework.engines.numba.random import drop, key
from tilework.engines.numba.reduce import sum

SQRT_HALF = 0.5**0.5
INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
GELU_SCALE, GELU_CUBIC = math.sqrt(2.0 / math.pi), 0.044715

Elementwise = Callable[..., Any]  # (*arrays, out=array)


# --- scalar functions, of x, and their gradients, of (grad, x) ---

# Past this, every function here has reached its limit: x times what has vanished there would be NaN
# at infinity.
LIMIT = 1e4


@jit
def logistic(x: Any) -> Any:
    """1 / (1 + exp(-x)), by the side that does not overflow: small ones keep their digits."""
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    small = math.exp(x)
    return small / (1.0 + small)


@jit
def within(x: Any) -> Any:
    return LIMIT if x > LIMIT else (-LIMIT if x < -LIMIT else x)


@jit
def silu(x: Any) -> Any:
    return x * logistic(x) if x >= -LIMIT or x != x else -0.0


@jit
def silu_gradient(grad: Any, x: Any) -> Any:
    x = within(x)
    return grad * logistic(x) * (1.0 + x * logistic(-x))


@jit
def gelu(x: Any) -> Any:
    # 1 + erf(x) would cancel for negative x
    return 0.5 * x * math.erfc(-x * SQRT_HALF) if x >= -LIMIT or x != x else -0.0


@jit
def gelu_gradient(grad: Any, x: Any) -> Any:
    x = within(x)
    cdf = 0.5 * math.erfc(-x * SQRT_HALF)
    return grad * (cdf + x * INV_SQRT_2PI * math.exp(-0.5 * x * x))


@jit
def gelu_tanh(x: Any) -> Any:
    # 0.5 * (1 + tanh(u)) is the sigmoid of 2u, which does not cancel.
    u = GELU_SCALE * x * (1.0 + GELU_CUBIC * x * x)
    return x * logistic(2.0 * u) if x >= -LIMIT or x != x else -0.0


@jit
def gelu_tanh_gradient(grad: Any, x: Any) -> Any:
    x = within(x)
    u = 2.0 * GELU_SCALE * x * (1.0 + GELU_CUBIC * x * x)
    slope = 2.0 * GELU_SCALE * (1.0 + 3.0 * GELU_CUBIC * x * x)
    return grad * logistic(u) * (1.0 + x * logistic(-u) * slope)


# --- forward ---


def _relu(x: Array, out: Array) -> None:
    np.maximum(x, 0, out=out)  # keeps NaN


@elementwise(1)
def _sigmoid(x: float) -> Any:
    return logistic(x)


@elementwise(1)
def _silu(x: float) -> Any:
    return silu(x)


@elementwise(1)
def _gelu(x: float) -> Any:
    return gelu(x)


@elementwise(1)
def _gelu_tanh(x: float) -> Any:
    return gelu_tanh(x)


@elementwise(1)
def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


# --- backward: (grad, saved) ---


@elementwise(2)
def _relu_gradient(grad: float, y: float) -> float:
    return 0.0 if y <= 0.0 else grad


@elementwise(2)
def _sigmoid_gradient(grad: float, y: float) -> float:
    return grad * y * (1.0 - y)


@elementwise(2)
def _tanh_gradient(grad: float, y: float) -> float:
    return grad * (1.0 - y * y)


@elementwise(2)
def _silu_gradient(grad: float, x: float) -> Any:
    return silu_gradient(grad, x)


@elementwise(2)
def _gelu_gradient(grad: float, x: float) -> Any:
    return gelu_gradient(grad, x)


@elementwise(2)
def _gelu_tanh_gradient(grad: float, x: float) -> Any:
    return gelu_tanh_gradient(grad, x)


@elementwise(2)
def _softplus_gradient(grad: float, x: float) -> Any:
    return grad * logistic(x)


@elementwise(1)
def _erf(x: float) -> float:
    return math.erf(x)


@elementwise(2)
def _erf_gradient(grad: float, x: float) -> float:
    return grad * TWO_OVER_SQRT_PI * math.exp(-x * x)


@elementwise(1)
def _rsqrt(x: float) -> float:
    return 1.0 / math.sqrt(x)


@elementwise(2)
def _rsqrt_gradient(grad: float, y: float) -> float:
    return -0.5 * grad * y * y * y


@elementwise(2)
def _reciprocal_gradient(grad: float, y: float) -> float:
    return -grad * y * y


@elementwise(2)
def _square_gradient(grad: float, x: float) -> float:
    return 2.0 * grad * x


@elementwise(1)
def _cube(x: float) -> float:
    return x * x * x


@elementwise(2)
def _cube_gradient(grad: float, x: float) -> float:
    return grad * (3.0 * (x * x))


@elementwise(1)
def _inverse_square(x: float) -> float:
    return 1.0 / (x * x)


@elementwise(2)
def _inverse_square_gradient(grad: float, x: float) -> float:
    return grad * (-2.0 / (x * x * x))


@elementwise(2)
def _sqrt_gradient(grad: float, y: float) -> float:
    return 0.5 * grad / y


@elementwise(2)
def _abs_gradient(grad: float, x: float) -> float:
    return grad if x > 0.0 else (-grad if x < 0.0 else 0.0 * x)  # 0 at 0, NaN at NaN


# --- tables: op -> (what the backward wants, forward, backward) ---

_UNARY: dict[str, tuple[str, Elementwise, Elementwise]] = {
    "relu": ("output", _relu, _relu_gradient),
    "sigmoid": ("output", _sigmoid, _sigmoid_gradient),
    "tanh": ("output", np.tanh, _tanh_gradient),
    "silu": ("input", _silu, _silu_gradient),
    "gelu": ("input", _gelu, _gelu_gradient),
    "gelu_tanh": ("input", _gelu_tanh, _gelu_tanh_gradient),
    "exp": ("output", np.exp, np.multiply),
    "log": ("input", np.log, np.divide),
    "sqrt": ("output", np.sqrt, _sqrt_gradient),
    "rsqrt": ("output", _rsqrt, _rsqrt_gradient),
    "reciprocal": ("output", np.reciprocal, _reciprocal_gradient),
    "square": ("input", np.square, _square_gradient),
    "cube": ("input", _cube, _cube_gradient),
    "inverse_square": ("input", _inverse_square, _inverse_square_gradient),
    "erf": ("input", _erf, _erf_gradient),
    "softplus": ("input", _softplus, _softplus_gradient),
    "abs": ("input", np.abs, _abs_gradient),
    "neg": ("none", np.negative, lambda grad, saved, out: np.negative(grad, out=out)),
}
_BINARY: dict[str, Elementwise] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "pow": np.power,
}
UNARY_OPS: dict[str, str] = {op: saved for op, (saved, _, _) in _UNARY.items()}
BINARY_OPS: tuple[str, ...] = tuple(_BINARY)


@quiet
def unary_forward(op: str, x: Array) -> Array:
    out = empty_like(x)
    _UNARY[op][1](x, out=out)
    return out


@quiet
def unary_backward(op: str, grad: Array, saved: Array) -> Array:
    out = empty_like(saved)
    _UNARY[op][2](grad, saved, out=out)
    return out


# The compiled engine's: roots are NaN at -Inf, where C's pow gives Inf.
_POWERS = {-1.0: "reciprocal", -0.5: "rsqrt", 0.5: "sqrt", 2.0: "square", 3.0: "cube"}


@quiet
def binary_forward(op: str, a: Array | float, b: Array | float) -> Array:
    if op == "pow" and isinstance(a, np.ndarray) and isinstance(b, float) and b in _POWERS:
        return unary_forward(_POWERS[b], a)
    shape = np.broadcast_shapes(np.shape(a), np.shape(b))
    arrays = [x for x in (a, b) if isinstance(x, np.ndarray)]
    model = next((x for x in arrays if x.shape == shape), None)
    out = np.empty(shape, arrays[0].dtype) if model is None else empty_like(model)
    _BINARY[op](a, b, out=out)
    return out


# --- fused ops ---


def activate(z: Array, activation: str, save: bool) -> tuple[Array, Array | None]:
    """(activation(z), what its backward wants of it). Writes over `z` unless that must be saved."""
    if activation == "none":
        return z, None
    saves_input = save and UNARY_OPS[activation] == "input"
    out = empty_like(z) if saves_input else z
    _UNARY[activation][1](z, out=out)
    return out, (z if saves_input else out) if save else None


def activation_gradient(grad: Array, saved: Array | None, activation: str) -> Array:
    if saved is None or activation == "none":
        return grad
    return unary_backward(activation, grad, saved)


@quiet
def bias_activation_forward(
    x: Array, bias: Array, activation: str, save: bool
) -> tuple[Array, Array | None]:
    z = empty_like(x)
    np.add(x, bias, out=z)
    return activate(z, activation, save)


@quiet
def bias_activation_backward(
    grad: Array, saved: Array | None, activation: str
) -> tuple[Array, Array]:
    dz = activation_gradient(grad, saved, activation)
    if dz is grad:
        dz = empty_like(grad)
        dz[...] = grad
    return dz, sum(dz, tuple(range(dz.ndim - 1)), False)


def clamp_forward(x: Array, low: float, high: float) -> Array:
    out = empty_like(x)
    least, most = x.dtype.type(low), x.dtype.type(high)
    np.minimum(np.maximum(x, least, out=out), most, out=out)
    return out


def clamp_backward(grad: Array, x: Array, low: float, high: float) -> Array:
    within = (x >= x.dtype.type(low)) & (x <= x.dtype.type(high))
    out = empty_like(x)
    out[...] = np.where(within, grad, x.dtype.type(0))
    return out


def dropout_forward(x: Array, p: float, seed: int, call: int) -> Array:
    out = empty_like(x)
    scale = x.dtype.type(1.0 / (1.0 - p) if p < 1.0 else 0.0)
    threshold = np.uint64(round(p * 2**32))
    drop(flat(in_layout_of(x, out)), flat(out), threshold, scale, key(seed), key(call))
    return out


def dropout_backward(grad: Array, p: float, seed: int, call: int) -> Array:
    return dropout_forward(grad, p, seed, call)  # the same mask, made again from its numbers


@quiet
def accumulate_(destination: Array, source: Array) -> None:
    np.add(destination, source, out=destination)


@quiet
def widen(x: Array) -> Array:
    return np.asarray(x.astype(np.float32))


@quiet
def narrow(x: Array) -> Array:
    return np.asarray(x.astype(bfloat16))
