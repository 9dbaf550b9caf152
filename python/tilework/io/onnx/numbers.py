"""Statistics, remainders and activations that ONNX has no op for: of those that it has."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tilework.io.onnx.elementwise import Results, _given, axes_of, reduced
from tilework.io.onnx.graph import Arguments, Graph, Handler
from tilework.tensor import Tensor

# --- statistics ---


def _variance(g: Graph, a: Arguments, y: Results) -> str | None:
    x, axes = _given(a), axes_of(a)
    if g.batch is not None and 0 in axes:
        return None  # how many there are is not known
    correction = a["correction"] if a["correction"] is not None else int(a["unbiased"])
    freedom = math.prod(x.shape[i] for i in axes) - correction
    if freedom <= 0:
        return None
    away = g.node("Sub", g(x), reduced(g, "ReduceMean", g(x), a, keepdim=True))
    total = reduced(g, "ReduceSum", g.node("Mul", away, away), a)
    return g.node("Div", total, g.value(freedom, x.dtype))


def _deviation(g: Graph, a: Arguments, y: Results) -> str | None:
    found = _variance(g, a, y)
    return None if found is None else g.node("Sqrt", found)


_NORMS = {"fro": "ReduceL2", None: "ReduceL2", 2.0: "ReduceL2", 1.0: "ReduceL1"}


def _norm(g: Graph, a: Arguments, y: Results) -> str | None:
    p = a["p"]
    if p in (math.inf, -math.inf):
        op = "ReduceMax" if p > 0 else "ReduceMin"
        return reduced(g, op, g.node("Abs", g.of(_given(a), y[0].dtype)), a)
    return reduced(g, _NORMS[p], g.of(_given(a), y[0].dtype), a) if p in _NORMS else None


def _summed_up(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("CumSum", g.of(_given(a), y[0].dtype), g.value(a["dim"], np.int64))


def _similarity(g: Graph, a: Arguments, y: Results) -> str:
    """The product of what is scaled to length one, as F.cosine_similarity has it."""
    axis, least = g.integers(int(a["dim"])), g.value(a["eps"], y[0].dtype)
    scaled = []
    for name in ("x1", "x2"):
        x = g.of(a[name], y[0].dtype)
        length = g.node("ReduceL2", x, axis, keepdims=1)
        scaled.append(g.node("Div", x, g.node("Max", length, least)))
    return g.node("ReduceSum", g.node("Mul", *scaled), axis, keepdims=0)


def _pairs_apart(g: Graph, a: Arguments, y: Results) -> str | None:
    p, dtype = a["p"], y[0].dtype
    if p not in _NORMS:
        return None
    away = g.node("Sub", g.of(a["x1"], dtype), g.of(a["x2"], dtype))
    away = g.node("Add", away, g.value(a["eps"], dtype))
    return g.node(_NORMS[p], away, g.integers(-1), keepdims=int(a["keepdim"]))


# --- whole parts ---


def _remainder(g: Graph, a: Arguments, y: Results) -> str:
    """Of the divisor's sign."""
    x, n = (g.value(v, y[0].dtype) for v in (a["input"], a["other"]))
    if y[0].dtype.kind in "iu":
        return g.node("Mod", x, n)
    return g.node("Sub", x, g.node("Mul", g.node("Floor", g.node("Div", x, n)), n))


def _floor_divided(g: Graph, a: Arguments, y: Results) -> str:
    x, n = (g.value(v, y[0].dtype) for v in (a["input"], a["other"]))
    if y[0].dtype.kind in "iu":  # ONNX's division goes towards zero
        return g.node("Div", g.node("Sub", x, g.node("Mod", x, n)), n)
    return g.node("Floor", g.node("Div", x, n))


def _truncated(g: Graph, a: Arguments, y: Results) -> str:
    x = g(_given(a))
    if y[0].dtype.kind in "iu":
        return x
    return g.node("Mul", g.node("Sign", x), g.node("Floor", g.node("Abs", x)))


def _fraction(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Sub", g(_given(a)), _truncated(g, a, y))


# --- logarithms and powers ---


def _log1p(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Log", g.node("Add", g.of(_given(a), y[0].dtype), g.value(1, y[0].dtype)))


def _expm1(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Sub", g.node("Exp", g.of(_given(a), y[0].dtype)), g.value(1, y[0].dtype))


def _log_of(base: float) -> Handler:
    def emit(g: Graph, a: Arguments, y: Results) -> str:
        found = g.node("Log", g.of(_given(a), y[0].dtype))
        return g.node("Mul", found, g.value(1 / math.log(base), y[0].dtype))

    return emit


def _exp2(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Pow", g.value(2, y[0].dtype), g.of(_given(a), y[0].dtype))


# --- activations ---


def _celu(g: Graph, a: Arguments, y: Results) -> str:
    x, alpha = g(a["input"]), g.value(a["alpha"], y[0].dtype)
    return g.node("Mul", g.node("Elu", g.node("Div", x, alpha)), alpha)  # for any float


def _glu(g: Graph, a: Arguments, y: Results) -> str:
    first, second = g.nodes("Split", 2, g(a["input"]), axis=int(a["dim"]), num_outputs=2)
    return g.node("Mul", first, g.node("Sigmoid", second))


def _log_sigmoid(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Neg", g.node("Softplus", g.node("Neg", g(a["input"]))))


def _tanh_shrink(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Sub", g(a["input"]), g.node("Tanh", g(a["input"])))


def _shrink(soft: bool) -> Handler:
    def emit(g: Graph, a: Arguments, y: Results) -> str:
        end = float(a["lambd"])
        return g.node("Shrink", g(a["input"]), lambd=end, bias=end if soft else 0.0)

    return emit


def _threshold(g: Graph, a: Arguments, y: Results) -> str:
    x, dtype = g(a["input"]), y[0].dtype
    above = g.node("Greater", x, g.value(a["threshold"], dtype))
    return g.node("Where", above, x, g.value(a["value"], dtype))


def _filled(value: Any) -> Handler:
    """A tensor of one value, in the shape of the input, whose batch may be of any size."""

    def emit(g: Graph, a: Arguments, y: Results) -> str:
        fill = a["fill_value"] if value is None else value
        return g.node("Expand", g.value(fill, y[0].dtype), g.sizes(y[0].shape))

    return emit


def _distances(g: Graph, a: Arguments, y: Results) -> str | None:
    """Of each row of one to each of the other."""
    p, ranks = a["p"], [x.ndim for x in (a["x1"], a["x2"])]
    if p not in (1.0, 2.0) or not all(isinstance(a[n], Tensor) for n in ("x1", "x2")):
        return None
    rows, columns = (
        g.node("Unsqueeze", g.of(a[n], y[0].dtype), g.integers(rank - at))
        for n, rank, at in zip(("x1", "x2"), ranks, (1, 2), strict=True)
    )
    away = g.node("Sub", rows, columns)
    return g.node(_NORMS[p], away, g.integers(-1), keepdims=0)


HANDLERS: dict[str, Handler] = {
    "var": _variance,
    "std": _deviation,
    "norm": _norm,
    "cumsum": _summed_up,
    "cosine_similarity": _similarity,
    "cdist": _distances,
    "pairwise_distance": _pairs_apart,
    "remainder": _remainder,
    "floor_divide": _floor_divided,
    "trunc": _truncated,
    "frac": _fraction,
    "log1p": _log1p,
    "expm1": _expm1,
    "log2": _log_of(2.0),
    "log10": _log_of(10.0),
    "exp2": _exp2,
    "celu": _celu,
    "glu": _glu,
    "logsigmoid": _log_sigmoid,
    "tanhshrink": _tanh_shrink,
    "softshrink": _shrink(soft=True),
    "hardshrink": _shrink(soft=False),
    "threshold": _threshold,
    **dict.fromkeys(["zeros_like", "zero"], _filled(0)),
    "ones_like": _filled(1),
    "full_like": _filled(None),
}
