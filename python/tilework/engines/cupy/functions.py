"""Elementwise functions and their slopes over float64 arrays: those of csrc/simd/activation.h."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tilework.arrays import namespace

Array = Any

LIMIT = 1e4  # past it all functions here are at their limits: none multiplies 0 by infinity
SQRT_HALF, INV_SQRT_2PI = math.sqrt(0.5), 1.0 / math.sqrt(2.0 * math.pi)
GELU_LINEAR = 2.0 * math.sqrt(2.0 / math.pi)
GELU_CUBIC = GELU_LINEAR * 0.044715

# csrc/simd/math.h: |x| < 1: x + x P(x^2) / Q(x^2); beyond: 1 - e^(-x^2) p(1 / (|x| + 2)).
_P = (
    0.12837916709551256, -0.31700613973310754, -0.04832945519057428, -0.008815667854457858,
    -0.0004956134415666598, -2.0732537879907678e-05,
)  # fmt: skip
_Q = (
    1.0, 0.460512796867933, 0.09381306765912699, 0.010693078852529538, 0.0006924981706692943,
    2.0810255311867587e-05,
)  # fmt: skip
_COMPLEMENT = (
    -3.130479329380546e-06, 0.5643774076692948, 1.1232652824724445, 2.058494112111235,
    1.8974808799776748, 9.887832379773231, -41.11763308176899, 161.22526634925046,
    -510.82248191900476, 994.7857865302329, -1153.0266245797093, 748.0137296659021,
    -212.13239192294319,
)  # fmt: skip


def _polynomial(x: Array, coefficients: tuple[float, ...]) -> Array:
    total = coefficients[-1]
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


def within(x: Array, lowest: float = -LIMIT, highest: float = LIMIT) -> Array:
    """NaN stays NaN."""
    xp = namespace(x)
    return xp.minimum(xp.maximum(x, lowest), highest)


def above(x: Array) -> Array:
    return namespace(x).maximum(x, -LIMIT)


def erf(x: Array) -> Array:
    xp = namespace(x)
    a = xp.minimum(xp.abs(x), 5.95)
    z = a * a
    inner = a + a * (_polynomial(z, _P) / _polynomial(z, _Q))
    outer = 1.0 - xp.exp(-z) * _polynomial(1.0 / (a + 2.0), _COMPLEMENT)
    y = xp.where(a < 1.0, inner, outer)
    return xp.where(x < 0, -y, xp.where(x == 0, x, y))


def sigmoid(x: Array) -> Array:
    """By the side whose exponential does not overflow: small ones keep their digits."""
    xp = namespace(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x < 0, e, xp.ones_like(e)) / (1.0 + e)


def softplus(x: Array) -> Array:
    xp = namespace(x)
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


def silu(x: Array) -> Array:
    x = above(x)
    return x * sigmoid(x)


def silu_slope(x: Array) -> Array:
    x = within(x)
    return sigmoid(x) * (1.0 + x * sigmoid(-x))


def gelu(x: Array) -> Array:
    x = above(x)
    return 0.5 * x * (1.0 + erf(x * SQRT_HALF))


def gelu_slope(x: Array) -> Array:
    x = within(x)
    density = INV_SQRT_2PI * namespace(x).exp(-0.5 * x * x)
    return 0.5 * (1.0 + erf(x * SQRT_HALF)) + x * density


def gelu_tanh(x: Array) -> Array:
    """0.5 (1 + tanh u) is the sigmoid of 2u, which cancels nowhere."""
    x = above(x)
    return x * sigmoid(x * (GELU_LINEAR + GELU_CUBIC * x * x))


def gelu_tanh_slope(x: Array) -> Array:
    x = within(x)
    u = x * (GELU_LINEAR + GELU_CUBIC * x * x)
    return sigmoid(u) * (1.0 + x * sigmoid(-u) * (GELU_LINEAR + 3.0 * GELU_CUBIC * x * x))


def sigmoid_slope(x: Array) -> Array:
    x = within(x)
    return sigmoid(x) * sigmoid(-x)


def _abs_gradient(g: Array, x: Array) -> Array:
    """g with the sign of x; 0 at 0, whatever g is, and NaN at NaN."""
    xp = namespace(x)
    return xp.where(x > 0, g, xp.where(x < 0, -g, x))


def _relu_gradient(g: Array, y: Array) -> Array:
    return namespace(y).where(y <= 0, 0.0, g)


# op -> (what the backward wants, the function, its gradient of (grad, saved))
UNARY: dict[str, tuple[str, Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "relu": ("output", lambda x: namespace(x).maximum(x, 0.0), _relu_gradient),
    "sigmoid": ("output", sigmoid, lambda g, y: g * y * (1.0 - y)),
    "tanh": ("output", lambda x: namespace(x).tanh(x), lambda g, y: g * (1.0 - y * y)),
    "silu": ("input", silu, lambda g, x: g * silu_slope(x)),
    "gelu": ("input", gelu, lambda g, x: g * gelu_slope(x)),
    "gelu_tanh": ("input", gelu_tanh, lambda g, x: g * gelu_tanh_slope(x)),
    "exp": ("output", lambda x: namespace(x).exp(x), lambda g, y: g * y),
    "log": ("input", lambda x: namespace(x).log(x), lambda g, x: g / x),
    "sqrt": ("output", lambda x: namespace(x).sqrt(x), lambda g, y: 0.5 * g / y),
    "rsqrt": ("output", lambda x: 1.0 / namespace(x).sqrt(x), lambda g, y: g * -0.5 * (y * y * y)),
    "reciprocal": ("output", lambda x: 1.0 / x, lambda g, y: -g * (y * y)),
    "square": ("input", lambda x: x * x, lambda g, x: g * (x + x)),
    "cube": ("input", lambda x: x * x * x, lambda g, x: g * (3.0 * (x * x))),
    "inverse_square": ("input", lambda x: 1.0 / (x * x), lambda g, x: g * (-2.0 / (x * x * x))),
    "erf": (
        "input", erf, lambda g, x: g * namespace(x).exp(-x * x) * (2.0 / math.sqrt(math.pi)),
    ),
    "softplus": ("input", softplus, lambda g, x: g * sigmoid(x)),
    "abs": ("input", lambda x: namespace(x).abs(x), _abs_gradient),
    "neg": ("none", lambda x: -x, lambda g, saved: -g),
}  # fmt: skip
# A gated op's gate: its activation, the slope of that, and whether it is the first of both.
GATES: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array], bool]] = {
    "glu": (sigmoid, sigmoid_slope, False),
    "swiglu": (silu, silu_slope, True),
    "geglu": (gelu, gelu_slope, True),
    "geglu_tanh": (gelu_tanh, gelu_tanh_slope, True),
}
