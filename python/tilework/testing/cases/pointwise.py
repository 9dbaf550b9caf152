"""Cases of the elementwise ops: functions of one tensor, broadcasting arithmetic, fused pairs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tilework.dtypes import bfloat16
from tilework.testing import reference
from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.inputs import (
    LAYOUTS,
    STREAMED,
    TAILS,
    Inputs,
    Shape,
    arrays,
    away_from_zero,
    normal,
    positive,
    special,
)
from tilework.testing.tolerance import Tolerance, eps, exact, rounded, tiny

# --- functions of one tensor ---


def _gate(dtype: str, expected: Array, x: Array) -> Array:
    """x times a gate in [0, 1] that may have been rounded by eps, or have lost a denormal.

    Past |x| = 30 the gates are 0 or 1 to the last bit: there x times eps says nothing.
    """
    size = np.minimum(np.abs(x), 1000.0)
    error = eps(dtype) * (4 * np.abs(expected) + np.where(size < 30, size, 0.0))
    return np.asarray(error + tiny(dtype) * (1.0 + size))


@dataclass(frozen=True)
class _Function:
    """A function of one tensor: how it is called, what it is, where it lives."""

    call: Callable[..., Any]
    reference: Callable[[Array], Array]
    tolerance: Tolerance
    values: Callable[..., Array] = normal


def _relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def _rsqrt(x: Array) -> Array:
    return np.asarray(1.0 / np.sqrt(x))


# The exponential-like bounds are csrc/simd/math.h's ulps, with one for each operation around them.
UNARY: dict[str, _Function] = {
    "relu": _Function(lambda tw, F, x: F.relu(x), _relu, exact, away_from_zero),
    "gelu": _Function(lambda tw, F, x: F.gelu(x), reference.gelu, _gate),
    "gelu_tanh": _Function(
        lambda tw, F, x: F.gelu(x, approximate="tanh"), reference.gelu_tanh, _gate
    ),
    "silu": _Function(lambda tw, F, x: F.silu(x), reference.silu, _gate),
    "sigmoid": _Function(lambda tw, F, x: tw.sigmoid(x), reference.sigmoid, rounded(3.5)),
    "tanh": _Function(lambda tw, F, x: tw.tanh(x), np.tanh, rounded(3.0)),
    "exp": _Function(lambda tw, F, x: tw.exp(x), np.exp, rounded(3.0)),
    "log": _Function(lambda tw, F, x: tw.log(x), np.log, rounded(3.0), positive),
    "sqrt": _Function(lambda tw, F, x: tw.sqrt(x), np.sqrt, rounded(1.0), positive),
    "abs": _Function(lambda tw, F, x: tw.abs(x), np.abs, exact, away_from_zero),
    "neg": _Function(lambda tw, F, x: tw.neg(x), np.negative, exact),
    "square": _Function(lambda tw, F, x: tw.square(x), np.square, rounded(1.0)),
    "rsqrt": _Function(lambda tw, F, x: tw.rsqrt(x), _rsqrt, rounded(2.0), positive),
    "reciprocal": _Function(
        lambda tw, F, x: tw.reciprocal(x), np.reciprocal, rounded(1.0), positive
    ),
    "softplus": _Function(lambda tw, F, x: F.softplus(x), reference.softplus, rounded(4.0)),
    "erf": _Function(lambda tw, F, x: tw.erf(x), reference.erf, rounded(4.0)),
}
EMPTY: tuple[Shape, ...] = ((0,), (3, 0, 2), (), (1,), (1, 1, 1))


def _unary(op: str, label: str, inputs: Inputs, **fields: Any) -> Case:
    function = UNARY[op]
    return Case(
        family="pointwise",
        op=op,
        label=label,
        inputs=inputs,
        call=function.call,
        reference=function.reference,
        tolerance=function.tolerance,
        **fields,
    )


def _unary_cases() -> Iterator[Case]:
    for op, function in UNARY.items():
        for n in TAILS:
            yield _unary(op, f"{n}", arrays((n,), values=function.values), differentiable=(0,))
        for shape in EMPTY:
            inputs = arrays(shape, values=function.values)
            yield _unary(op, f"shape {shape}", inputs, differentiable=(0,))
        for layout in LAYOUTS:
            inputs = arrays((2, 5, 3, 7), values=function.values, layouts=[layout])
            yield _unary(op, layout, inputs, differentiable=(0,))
        gated = op in ("gelu", "gelu_tanh", "silu")  # 0 at -Inf, where PyTorch gives NaN
        own: dict[str, Any] = {"peer": None} if gated else {}
        yield _unary(op, "special values", lambda rng, t: (special(t),), **own)
        long, longer = (arrays((n,), values=function.values) for n in (500009, 3000001))
        yield _unary(op, "500009", long, dtypes=("float32",))
        yield _unary(op, "3000001", longer, quick=False)
        if op in ("relu", "gelu"):  # one template streams them all
            inputs = arrays((STREAMED,), values=function.values)
            yield _unary(op, "streamed", inputs, differentiable=(0,), dtypes=("float32",))


# --- arithmetic ---

BINARY: dict[str, tuple[Callable[..., Any], Callable[..., Array], Tolerance]] = {
    "add": (lambda tw, F, a, b: a + b, np.add, rounded(1.0)),
    "sub": (lambda tw, F, a, b: a - b, np.subtract, rounded(1.0)),
    "mul": (lambda tw, F, a, b: a * b, np.multiply, rounded(1.0)),
    "div": (lambda tw, F, a, b: a / b, np.divide, rounded(1.0)),
    "maximum": (lambda tw, F, a, b: tw.maximum(a, b), np.maximum, exact),
    "minimum": (lambda tw, F, a, b: tw.minimum(a, b), np.minimum, exact),
}
BROADCASTS: tuple[tuple[Shape, Shape], ...] = (
    ((5, 7), (5, 7)),
    ((5, 33), (33,)),
    ((5, 33), (5, 1)),
    ((5, 1), (1, 33)),
    ((33,), (5, 33)),
    ((2, 3, 17), (3, 1)),
    ((2, 1, 17), (1, 3, 1)),
    ((2, 3, 4, 5), (3, 1, 1)),
    ((), (7,)),
    ((7,), ()),
    ((), ()),
    ((1,), (3, 1)),
    ((4, 1), (1, 1)),
    ((1, 1), (4, 1)),
    ((4, 1), (1,)),
    ((1, 5), (1, 1)),
    ((0,), (1,)),
    ((3, 0), (3, 1)),
    ((1, 0, 2), (4, 1, 2)),
    ((1, 2, 1, 3, 1, 2), (2, 1, 2, 1, 3, 1)),
)


def _binary(op: str, label: str, inputs: Inputs, **fields: Any) -> Case:
    call, expected, tolerance = BINARY[op]
    return Case(
        family="pointwise",
        op=op,
        label=label,
        inputs=inputs,
        call=call,
        reference=expected,
        tolerance=tolerance,
        **fields,
    )


def _pair(*shapes: Shape, layouts: tuple[str, ...] = ()) -> Inputs:
    return arrays(*shapes, values=away_from_zero, layouts=layouts)


def _with_number(number: float, left: bool) -> Inputs:
    def inputs(rng: Generator, t: str) -> tuple[Any, Any]:
        x = away_from_zero(rng, t, 3, 7)
        return (number, x) if left else (x, number)

    return inputs


def _special_pairs(rng: Generator, t: str) -> tuple[Array, Array]:
    values = special(t)
    return np.repeat(values, values.size), np.tile(values, values.size)


def _binary_cases() -> Iterator[Case]:
    for op in BINARY:
        for a, b in BROADCASTS:
            yield _binary(op, f"{a} and {b}", _pair(a, b), differentiable=(0, 1))
        for n in TAILS:
            yield _binary(op, f"{n}", _pair((n,), (n,)), differentiable=(0, 1))
            yield _binary(op, f"(3, {n}) and a row", _pair((3, n), (n,)), differentiable=(0, 1))
        for left, right in itertools.product(LAYOUTS, LAYOUTS):
            inputs = _pair((2, 5, 3, 7), (2, 5, 3, 7), layouts=(left, right))
            yield _binary(op, f"{left} and {right}", inputs, differentiable=(0, 1))
        yield _binary(op, "special values", _special_pairs)
        yield _binary(op, "500009", _pair((500009,), (500009,)), dtypes=("float32",))
        yield _binary(op, "1500 x 2001 and a row", _pair((1500, 2001), (2001,)), quick=False)
        if op in ("add", "mul"):  # one template streams them all
            flat, rows = _pair((STREAMED,), (STREAMED,)), _pair((1100, 992), (992,))
            how: dict[str, Any] = {"dtypes": ("float32",), "differentiable": (0, 1)}
            yield _binary(op, "streamed", flat, **how)
            yield _binary(op, "streamed, and a row", rows, **how)
            across = _pair((1100, 992), (1100, 992), layouts=("contiguous", "transposed"))
            yield _binary(op, "streamed, and a transposed one", across, **how)
        if op in ("maximum", "minimum"):
            continue
        for number in (2.5, -0.3, 0.0):
            if op == "div" and number == 0.0:
                continue
            second, first = _with_number(number, left=False), _with_number(number, left=True)
            yield _binary(op, f"tensor and {number}", second, differentiable=(0,))
            yield _binary(op, f"{number} and tensor", first, differentiable=(1,))


def _power(label: str, inputs: Inputs, differentiable: tuple[int, ...]) -> Case:
    return Case(
        family="pointwise",
        op="pow",
        label=label,
        inputs=inputs,
        call=lambda tw, F, a, b: tw.pow(a, b),
        reference=np.power,
        tolerance=rounded(2.0),
        differentiable=differentiable,
    )


def _power_cases() -> Iterator[Case]:
    def pair(rng: Generator, t: str) -> tuple[Array, Array]:
        return positive(rng, t, 5, 33), normal(rng, t, 33)

    def to(exponent: float) -> Inputs:
        return lambda rng, t: (positive(rng, t, 3, 17), exponent)

    def of(base: float) -> Inputs:
        return lambda rng, t: (base, normal(rng, t, 3, 17))

    def signed(exponent: float) -> Inputs:
        return lambda rng, t: (away_from_zero(rng, t, 3, 17), exponent)

    yield _power("positive base", pair, (0, 1))
    for exponent in (2.0, 3.0, 0.5, -0.5, -1.0, -2.0, 0.0, 1.0, 1.5, 4.0, 2.7):
        yield _power(f"exponent {exponent}", to(exponent), (0,))
    for exponent in (2.0, 3.0, -1.0, -2.0, -3.0, 4.0, 5.0):
        yield _power(f"any base, exponent {exponent}", signed(exponent), (0,))
    for base in (2.0, 0.3):
        yield _power(f"base {base}", of(base), (1,))
    yield _power("special values", _special_pairs, ())
    for n in TAILS:
        yield _power(f"{n}", arrays((n,), (n,), values=positive), (0, 1))


def _timed_powers() -> Iterator[Case]:
    for n, exponent in itertools.product((10**3, 10**5, 10**7), (3.0, -0.5, 1.7)):
        for mode in ("forward", "backward"):
            label = f"pow {exponent:g} of {n}{' backward' if mode == 'backward' else ''}"
            inputs = lambda rng, t, n=n, e=exponent: (positive(rng, t, n), e)  # noqa: E731
            case = _power(label, inputs, (0,))
            passes = 8.0 if mode == "forward" else 20.0
            bench = Bench(label, flops=0.0, bytes=passes * n, mode=mode)
            yield replace(case, dtypes=("float32",), quick=False, bench=bench)


# --- between bfloat16 and float32 ---


def _rounded_to_bfloat16(x: Array) -> Array:
    return np.asarray(x, np.float32).astype(bfloat16).astype(np.float64)


def _there_and_back(label: str, inputs: Inputs, **fields: Any) -> Case:
    """float32 rounded and widened again; bfloat16 widened and rounded, which gives it back."""
    return Case(
        family="pointwise",
        op="bfloat16",
        label=label,
        inputs=inputs,
        call=lambda tw, F, x: x.to(tw.float32).to(tw.bfloat16).to(tw.float32).to(x.dtype),
        reference=_rounded_to_bfloat16,
        tolerance=exact,
        **fields,
    )


def _conversions() -> Iterator[Case]:
    both = ("float32", "bfloat16")
    for n in TAILS:
        yield _there_and_back(f"{n}", arrays((n,)), dtypes=both)
    for shape in EMPTY:
        yield _there_and_back(f"shape {shape}", arrays(shape), dtypes=both)
    for layout in LAYOUTS:
        yield _there_and_back(layout, arrays((2, 5, 3, 7), layouts=[layout]), dtypes=both)
    yield _there_and_back("special values", lambda rng, t: (special(t),), dtypes=("float32",))
    streamed = arrays((2 * STREAMED + 1,))
    yield _there_and_back("streamed both ways", streamed, dtypes=("float32",))
    yield _there_and_back("3000001", arrays((3000001,)), dtypes=("float32",), quick=False)


# --- what is timed ---


def _timed(label: str, op: str, inputs: Inputs, elements: float, **fields: Any) -> Case:
    return Case(
        family="pointwise",
        op=op,
        label=label,
        inputs=inputs,
        dtypes=("float32",),
        quick=False,
        bench=Bench(label, flops=0.0, bytes=4.0 * elements, quick=True),
        **fields,
    )


def _bias_relu_bound(dtype: str, expected: Array, x: Array, bias: Array) -> Array:
    return eps(dtype) * (np.abs(x) + np.abs(bias))


_BIAS_RELU: dict[str, Any] = {
    "call": lambda tw, F, x, bias: F.bias_activation(x, bias, "relu"),
    "peer": lambda torch, F, x, bias: F.relu(x + bias),
    "reference": lambda x, bias: _relu(x + bias),
    "tolerance": _bias_relu_bound,
    "differentiable": (0, 1),
}


def _off_the_kink(*shape: int) -> Inputs:
    """Sums of x and bias stay a half away from relu's kink."""

    def inputs(rng: Generator, t: str) -> tuple[Array, Array]:
        return 4 * away_from_zero(rng, t, *shape), rng.uniform(-1, 1, shape[-1]).astype(t)

    return inputs


def _biased() -> Iterator[Case]:
    shapes: tuple[Shape, ...] = ((5, 1), (5, 33), (70, 129), (1, 7), (1100, 992))
    for shape in shapes:
        streamed = math.prod(shape) * 4 >= 4 << 20
        yield Case(
            family="pointwise",
            op="bias_relu",
            label=f"{shape}{', streamed' if streamed else ''}",
            inputs=_off_the_kink(*shape),
            dtypes=("float32",) if streamed else ("float32", "float64"),
            **_BIAS_RELU,
        )


def _timed_cases() -> Iterator[Case]:
    rows, columns = 4096, 3072
    yield _timed(
        "gelu 4096x3072",
        "gelu",
        arrays((rows, columns)),
        2 * rows * columns,
        call=UNARY["gelu"].call,
        reference=reference.gelu,
        tolerance=_gate,
        differentiable=(0,),
    )
    yield _timed(
        "bias+relu 4096x3072",
        "bias_relu",
        arrays((rows, columns), (columns,)),
        2 * rows * columns + columns,
        **_BIAS_RELU,
    )
    yield _timed(
        "float32 to bfloat16 4096x3072",
        "to",
        arrays((rows, columns)),
        1.5 * rows * columns,
        call=lambda tw, F, x: x.to(tw.bfloat16),
        reference=_rounded_to_bfloat16,
        tolerance=exact,
    )
    yield _timed(
        "add 4096x3072",
        "add",
        arrays((rows, columns), (rows, columns)),
        3 * rows * columns,
        call=BINARY["add"][0],
        reference=np.add,
        tolerance=rounded(1.0),
        differentiable=(0, 1),
    )


CASES: tuple[Case, ...] = (
    *_unary_cases(),
    *_binary_cases(),
    *_power_cases(),
    *_timed_powers(),
    *_conversions(),
    *_biased(),
    *_timed_cases(),
)
