"""Truth values in ONNX: what makes them, and what joins them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilework.io.onnx.elementwise import Results, _given, binary, reduced
from tilework.io.onnx.graph import Arguments, Graph, Handler
from tilework.tensor import Tensor

_BOOL = np.dtype(np.bool_)


def _truth(g: Graph, x: Any) -> str:
    """Whether it is not zero."""
    return g.value(x if isinstance(x, Tensor) else bool(x), _BOOL)


def _logical(op: str) -> Handler:
    return lambda g, a, y: g.node(op, _truth(g, _given(a)), _truth(g, a["other"]))


def _bitwise(op: str) -> Handler:
    """Of truth values alone: of whole numbers few runtimes have them."""

    def emit(g: Graph, a: Arguments, y: Results) -> str | None:
        if y[0].dtype != _BOOL:
            return None
        return g.node(op, _truth(g, _given(a)), _truth(g, a["other"]))

    return emit


def _inverted(g: Graph, a: Arguments, y: Results) -> str | None:
    return g.node("Not", _truth(g, _given(a))) if y[0].dtype == _BOOL else None


def _not_equal(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Not", str(binary("Equal", compares=True)(g, a, y)))


def _tested(op: str) -> Handler:
    """A test of floats; whole numbers are neither infinite nor NaN, and bfloat16 is as float32."""

    def emit(g: Graph, a: Arguments, y: Results) -> str:
        x = _given(a)
        return g.node(op, g(x) if x.dtype.kind == "f" else g.of(x, np.float32))

    return emit


_is_nan, _is_infinite = _tested("IsNaN"), _tested("IsInf")


def _is_finite(g: Graph, a: Arguments, y: Results) -> str:
    return g.node("Not", g.node("Or", str(_is_nan(g, a, y)), str(_is_infinite(g, a, y))))


def _counted(op: str, dtype: Any) -> Handler:
    """A reduction, which takes no truth values, of ones and zeros."""

    def emit(g: Graph, a: Arguments, y: Results) -> str:
        ones = g.cast(_truth(g, _given(a)), dtype)
        found = reduced(g, op, ones, a)
        return found if y[0].dtype == dtype else g.cast(found, y[0].dtype)

    return emit


HANDLERS: dict[str, Handler] = {
    "logical_and": _logical("And"),
    "logical_or": _logical("Or"),
    "logical_xor": _logical("Xor"),
    "logical_not": lambda g, a, y: g.node("Not", _truth(g, _given(a))),
    **dict.fromkeys(["bitwise_and", "__and__", "__rand__"], _bitwise("And")),
    **dict.fromkeys(["bitwise_or", "__or__", "__ror__"], _bitwise("Or")),
    **dict.fromkeys(["bitwise_xor", "__xor__", "__rxor__"], _bitwise("Xor")),
    "__invert__": _inverted,
    **dict.fromkeys(["ne", "__ne__"], _not_equal),
    "isnan": _is_nan,
    "isinf": _is_infinite,
    "isfinite": _is_finite,
    "any": _counted("ReduceMax", np.int32),
    "all": _counted("ReduceMin", np.int32),
    "count_nonzero": _counted("ReduceSum", np.int64),
}
