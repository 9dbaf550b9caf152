"""Elementwise ops, comparisons and reductions in ONNX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tilework.io.onnx.graph import Arguments, Graph, Handler
from tilework.tensor import Tensor

Results = list[Tensor]


def _given(a: Arguments) -> Tensor:
    x = a["input"] if "input" in a else a["self"]
    assert isinstance(x, Tensor)
    return x


def unary(op: str) -> Handler:
    return lambda g, a, y: g.node(op, g.of(_given(a), y[0].dtype))


def binary(op: str, *, reflected: bool = False, compares: bool = False) -> Handler:
    """Of operands in the result's dtype; a comparison's in the one that both have."""

    def emit(g: Graph, a: Arguments, y: Results) -> str | None:
        left = _given(a)
        right = a["other"] if "other" in a else a["exponent"]
        if a.get("alpha", 1) != 1 or a.get("rounding_mode") is not None:
            return None
        common = y[0].dtype
        if compares:
            common = np.result_type(
                left.dtype, right.dtype if isinstance(right, Tensor) else left.dtype
            )
        values = [g.value(x, common) for x in (left, right)]
        return g.node(op, *(values[::-1] if reflected else values))

    return emit


def gelu(g: Graph, x: str, dtype: Any, approximate: str) -> str:
    def number(value: float) -> str:
        return g.constant(np.asarray(value, dtype))

    if approximate == "tanh":
        cube = g.node("Mul", g.node("Mul", x, x), x)
        inner = g.node("Add", x, g.node("Mul", cube, number(0.044715)))
        bell = g.node("Tanh", g.node("Mul", inner, number(math.sqrt(2 / math.pi))))
    else:
        bell = g.node("Erf", g.node("Mul", x, number(math.sqrt(0.5))))
    return g.node("Mul", g.node("Mul", x, number(0.5)), g.node("Add", bell, number(1.0)))


def activated(g: Graph, x: str, dtype: Any, activation: str) -> str:
    """What is fused into other ops by `activation=`."""
    if activation == "none":
        return x
    if activation == "silu":
        return g.node("Mul", x, g.node("Sigmoid", x))
    if activation in ("gelu", "gelu_tanh"):
        return gelu(g, x, dtype, "tanh" if activation == "gelu_tanh" else "none")
    return g.node({"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}[activation], x)


def _clip(low: float | None, high: float | None) -> Handler:
    def emit(g: Graph, a: Arguments, y: Results) -> str:
        ends = [None if e is None else np.asarray(e, y[0].dtype) for e in (low, high)]
        names = ["" if e is None else g.constant(e) for e in ends]
        return g.node("Clip", g(_given(a)), *names)

    return emit


def _clamp(g: Graph, a: Arguments, y: Results) -> str | None:
    if any(isinstance(a[end], Tensor) for end in ("min", "max")):
        return None
    return str(_clip(a["min"], a["max"])(g, a, y))


def _leaky(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("LeakyRelu", g(a["input"]), alpha=float(a["negative_slope"]))


def _prelu(g: Graph, a: Arguments, y: Results) -> str:
    x, weight = a["input"], a["weight"]
    shape = (-1,) + (1,) * max(0, x.ndim - 2)
    return g.node("PRelu", g(x), g.node("Reshape", g(weight), g.integers(*shape)))


def _softplus(g: Graph, a: Arguments, y: Results) -> str:
    beta = g.constant(np.asarray(a["beta"], y[0].dtype))
    return g.node("Div", g.node("Softplus", g.node("Mul", g(a["input"]), beta)), beta)


def _dropout(g: Graph, a: Arguments, y: Results) -> str | None:
    return None if a["training"] else g(a["input"])


def _same(g: Graph, a: Arguments, y: Results) -> str:
    return g(_given(a))


def _to(g: Graph, a: Arguments, y: Results) -> str:
    return g.of(_given(a), y[0].dtype)


def reduction(op: str) -> Handler:
    def emit(g: Graph, a: Arguments, y: Results) -> str | None:
        if len(y) != 1:
            return None
        return reduced(g, op, g.of(_given(a), y[0].dtype), a)

    return emit


def axes_of(a: Arguments) -> list[int]:
    """The axes that an op reduces, all of them without `dim`."""
    x, dim = _given(a), a.get("dim")
    axes = range(x.ndim) if dim is None or dim == () else [dim] if isinstance(dim, int) else dim
    return [int(i) % x.ndim for i in axes]


def reduced(g: Graph, op: str, value: str, a: Arguments, keepdim: bool | None = None) -> str:
    """The input's `value` reduced as the op's arguments say."""
    kept = a.get("keepdim", False) if keepdim is None else keepdim
    return g.node(op, value, g.integers(*axes_of(a)), keepdims=int(kept))


def _arg(op: str) -> Handler:
    def emit(g: Graph, a: Arguments, y: Results) -> str:
        x, dim, keep = _given(a), a["dim"], int(a["keepdim"])
        if dim is not None:
            return g.node(op, g(x), axis=int(dim), keepdims=keep)
        flat = g.node(op, g.node("Reshape", g(x), g.integers(-1)), axis=0, keepdims=0)
        return g.node("Reshape", flat, g.integers(*y[0].shape))

    return emit


def _softmax(op: str) -> Handler:
    return lambda g, a, y: g.node(op, g.of(a["input"], y[0].dtype), axis=int(a["dim"]))


def _where(g: Graph, a: Arguments, y: Results) -> str | None:
    if a.get("input") is None or a.get("other") is None:
        return None
    ends = [g.value(a[name], y[0].dtype) for name in ("input", "other")]
    return g.node("Where", g(a["condition"]), *ends)


def _masked_fill(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Where", g(a["mask"]), g.value(a["value"], y[0].dtype), g(_given(a)))


def _normalize(g: Graph, a: Arguments, y: Results) -> str | None:
    if a["p"] not in (1.0, 2.0) or not isinstance(a["dim"], int):
        return None
    op, dim = ("ReduceL1", "ReduceL2")[a["p"] == 2.0], g.integers(a["dim"])
    length = g.node(op, g(a["input"]), dim, keepdims=1)
    least = g.constant(np.asarray(a["eps"], y[0].dtype))
    return g.node("Div", g(a["input"]), g.node("Max", length, least))


def _rsqrt(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Reciprocal", g.node("Sqrt", g(_given(a))))


def _square(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Mul", g(_given(a)), g(_given(a)))


def _gated(g: Graph, a: Arguments, y: Results, activation: str) -> str | None:
    if a["other"] is None:
        return None
    gate: Sequence[Any] = (g(a["input"]), y[0].dtype, activation)
    return g.node("Mul", activated(g, *gate), g(a["other"]))


_UNARY = {
    "abs": "Abs", "__abs__": "Abs", "neg": "Neg", "__neg__": "Neg", "exp": "Exp", "log": "Log",
    "sqrt": "Sqrt", "erf": "Erf", "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu",
    "relu_": "Relu", "reciprocal": "Reciprocal", "sin": "Sin", "cos": "Cos", "floor": "Floor",
    "ceil": "Ceil", "sign": "Sign", "round": "Round", "hardswish": "HardSwish",
    "softsign": "Softsign", "mish": "Mish", "tan": "Tan", "asin": "Asin", "acos": "Acos",
    "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "selu": "Selu",
}  # fmt: skip
_BINARY = {
    "add": "Add", "__add__": "Add", "sub": "Sub", "__sub__": "Sub", "mul": "Mul", "__mul__": "Mul",
    "div": "Div", "__truediv__": "Div", "pow": "Pow", "__pow__": "Pow", "maximum": "Max",
    "minimum": "Min",
}  # fmt: skip
_REFLECTED = {
    "__radd__": "Add", "__rsub__": "Sub", "__rmul__": "Mul", "__rtruediv__": "Div",
    "__rpow__": "Pow",
}  # fmt: skip
_COMPARED = {
    "eq": "Equal", "__eq__": "Equal", "lt": "Less", "__lt__": "Less", "le": "LessOrEqual",
    "__le__": "LessOrEqual", "gt": "Greater", "__gt__": "Greater", "ge": "GreaterOrEqual",
    "__ge__": "GreaterOrEqual",
}  # fmt: skip
_REDUCED = {
    "sum": "ReduceSum", "mean": "ReduceMean", "amax": "ReduceMax", "amin": "ReduceMin",
    "logsumexp": "ReduceLogSumExp", "prod": "ReduceProd",
}  # fmt: skip

HANDLERS: dict[str, Handler] = {
    **{name: unary(op) for name, op in _UNARY.items()},
    **{name: binary(op) for name, op in _BINARY.items()},
    **{name: binary(op, reflected=True) for name, op in _REFLECTED.items()},
    **{name: binary(op, compares=True) for name, op in _COMPARED.items()},
    **{name: reduction(op) for name, op in _REDUCED.items()},
    **dict.fromkeys(["dropout", "dropout1d", "dropout2d"], _dropout),
    **dict.fromkeys(["alpha_dropout", "feature_alpha_dropout"], _dropout),
    **dict.fromkeys(["contiguous", "detach", "clone", "requires_grad_"], _same),
    **dict.fromkeys(["to", "float", "double", "long", "int", "bool", "bfloat16"], _to),
    "type_as": _to,
    "gelu": lambda g, a, y: gelu(g, g(a["input"]), y[0].dtype, a["approximate"]),
    "silu": lambda g, a, y: activated(g, g(a["input"]), y[0].dtype, "silu"),
    "relu6": _clip(0.0, 6.0),
    "hardtanh": lambda g, a, y: _clip(a["min_val"], a["max_val"])(g, a, y),
    "hardsigmoid": lambda g, a, y: g.node("HardSigmoid", g(a["input"]), alpha=1 / 6, beta=0.5),
    "clamp": _clamp,
    "leaky_relu": _leaky,
    "prelu": _prelu,
    "elu": lambda g, a, y: g.node("Elu", g(a["input"]), alpha=float(a["alpha"])),
    "softplus": _softplus,
    "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "where": _where,
    "masked_fill": _masked_fill,
    "normalize": _normalize,
    "rsqrt": _rsqrt,
    "square": _square,
    "swiglu": lambda g, a, y: _gated(g, a, y, "silu"),
    "geglu": lambda g, a, y: _gated(
        g, a, y, "gelu_tanh" if a.get("approximate") == "tanh" else "gelu"
    ),
}
