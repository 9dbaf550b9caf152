"""Cases of arithmetic by name and by sign, and of products with a batch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing import reference
from tilework.testing.case import Array, Case
from tilework.testing.inputs import LAYOUTS, away_from_zero, positive
from tilework.testing.rows import Row, flags, floats, given, integers, rows
from tilework.testing.tolerance import eps, growth

SHAPE = (4, 5, 6)
ONCE = {"dtypes": ("float32",), "differentiable": ()}
BOTH = {"differentiable": (0, 1)}

# name, its other names, the sign
ARITHMETIC: tuple[tuple[str, tuple[str, ...], Callable[..., Any]], ...] = (
    ("add", (), operator.add),
    ("sub", ("subtract",), operator.sub),
    ("mul", ("multiply",), operator.mul),
    ("div", ("divide", "true_divide"), operator.truediv),
)


def _bound(dtype: str, expected: Array, *operands: Array) -> Array:
    """One rounding of the result, and one of a scaled operand."""
    size = sum(np.abs(x).max(initial=0.0) for x in operands)
    return np.asarray(2.0 * eps(dtype) * (np.abs(expected) + size))


def _arithmetic() -> Iterator[Row]:
    for name, others, sign in ARITHMETIC:
        second = floats(5, 6, values=away_from_zero)
        both = given(floats(*SHAPE), second)
        yield (f"{name}", both, lambda tw, F, a, b, name=name: getattr(tw, name)(a, b), sign, BOTH)
        for method in (name, *others):
            yield (
                f"{method} method", both,
                lambda tw, F, a, b, method=method: getattr(a, method)(b), sign, BOTH,
            )  # fmt: skip
        yield (
            f"{name} of a number", given(floats(*SHAPE)),
            lambda tw, F, a, name=name: getattr(a, name)(2.5),
            lambda a, sign=sign: sign(a, 2.5),
        )  # fmt: skip
        yield (
            f"{name} reflected", given(floats(*SHAPE, values=away_from_zero)),
            lambda tw, F, a, sign=sign: sign(2.5, a), lambda a, sign=sign: sign(2.5, a),
        )  # fmt: skip
        yield (
            f"{name} of integers", given(integers(-9, 9, 5), integers(1, 9, 5)),
            lambda tw, F, a, b, name=name: getattr(tw, name)(a, b), sign, ONCE,
        )  # fmt: skip
        for layout in LAYOUTS:
            made = given(floats(*SHAPE, layout=layout), floats(6, values=away_from_zero))
            yield (
                f"{name} {layout}", made, lambda tw, F, a, b, name=name: getattr(tw, name)(a, b),
                sign, BOTH,
            )  # fmt: skip
    both = given(floats(*SHAPE), floats(5, 6))
    yield (
        "add with alpha",
        both,
        lambda tw, F, a, b: tw.add(a, b, alpha=3),
        lambda a, b: a + 3 * b,
        BOTH,
    )
    yield (
        "sub with alpha",
        both,
        lambda tw, F, a, b: a.sub(b, alpha=0.5),
        lambda a, b: a - 0.5 * b,
        BOTH,
    )


def _powers() -> Iterator[Row]:
    made = given(floats(*SHAPE, values=positive))
    yield "__rpow__", made, lambda tw, F, x: 2.0**x, lambda x: 2.0**x
    yield (
        "pow of two tensors",
        given(floats(*SHAPE, values=positive), floats(6)),
        lambda tw, F, x, y: tw.pow(x, y),
        np.power,
        BOTH,
    )
    for exponent in (2, 3, 0.5, -1, 0, 1.5):
        yield (
            f"pow to {exponent}", made, lambda tw, F, x, e=exponent: x.pow(e),
            lambda x, e=exponent: np.power(x, e),
        )  # fmt: skip


def _in_place(sign: Callable[..., Any], x: Any, other: Any) -> Any:
    return sign(x, other)


def _elementwise() -> Iterator[Row]:
    made = given(floats(*SHAPE, values=away_from_zero))
    none = {"differentiable": ()}
    yield "relu method", made, lambda tw, F, x: x.relu(), lambda x: np.maximum(x, 0)
    yield "relu_", made, lambda tw, F, x: F.relu_(x * 1), lambda x: np.maximum(x, 0)
    yield "relu_ method", made, lambda tw, F, x: (x * 1).relu_(), lambda x: np.maximum(x, 0)
    yield (
        "clamp_min_",
        made,
        lambda tw, F, x: (x * 1).clamp_min_(0.25),
        lambda x: np.maximum(x, 0.25),
    )
    yield (
        "clamp_max_",
        made,
        lambda tw, F, x: (x * 1).clamp_max_(0.25),
        lambda x: np.minimum(x, 0.25),
    )
    yield "__ipow__", made, lambda tw, F, x: _in_place(operator.ipow, x * 1, 2), lambda x: x**2
    yield (
        "__ifloordiv__",
        made,
        lambda tw, F, x: _in_place(operator.ifloordiv, x * 1, 0.75),
        lambda x: x // 0.75,
        none,
    )
    yield (
        "__imod__",
        made,
        lambda tw, F, x: _in_place(operator.imod, x * 1, 0.75),
        lambda x: x % 0.75,
    )
    for name, sign in (("iand", operator.iand), ("ior", operator.ior), ("ixor", operator.ixor)):
        yield (
            f"__{name}__", given(flags(5, 7), flags(7)),
            lambda tw, F, a, b, sign=sign: sign(a.clone(), b),
            lambda a, b, sign=sign: sign(a.copy(), b), ONCE,
        )  # fmt: skip
    fused = {"peer": None, **BOTH}
    for word, of in (
        ("relu", lambda x: np.maximum(x, 0)),
        ("tanh", np.tanh),
        ("gelu", reference.gelu),
    ):
        yield (
            f"bias_activation {word}", given(floats(*SHAPE), floats(6)),
            lambda tw, F, x, b, word=word: F.bias_activation(x, b, word),
            lambda x, b, of=of: of(x + b), fused,
        )  # fmt: skip


def _of_terms(dtype: str, expected: Array, a: Array, b: Array) -> Any:
    unit = 2.0 * growth(a.shape[-1]) * (eps(dtype) + eps("float64"))
    return unit * np.matmul(np.abs(a), np.abs(b))


def _products() -> Iterator[Row]:
    how = {"tolerance": _of_terms, **BOTH}
    for layout in LAYOUTS:
        two = given(floats(4, 5, layout=layout), floats(5, 3, layout=layout))
        yield f"mm {layout}", two, lambda tw, F, a, b: tw.mm(a, b), np.matmul, how
        three = given(floats(2, 4, 5, layout=layout), floats(2, 5, 3, layout=layout))
        yield f"bmm {layout}", three, lambda tw, F, a, b: tw.bmm(a, b), np.matmul, how
    two = given(floats(4, 5), floats(5, 3))
    three = given(floats(2, 4, 5), floats(2, 5, 3))
    yield "mm method", two, lambda tw, F, a, b: a.mm(b), np.matmul, how
    yield "bmm method", three, lambda tw, F, a, b: a.bmm(b), np.matmul, how
    yield (
        "bmm of nothing",
        given(floats(2, 4, 0), floats(2, 0, 3)),
        lambda tw, F, a, b: tw.bmm(a, b),
        np.matmul,
        how,
    )


CASES: tuple[Case, ...] = (
    *rows("operators", _arithmetic(), differentiable=(0,), tolerance=_bound),
    *rows(
        "operators",
        _powers(),
        differentiable=(0,),
        tolerance=lambda t, e, *_: 16 * eps(t) * (1 + np.abs(e)),
    ),
    *rows(
        "operators",
        _elementwise(),
        differentiable=(0,),
        tolerance=lambda t, e, *_: 8 * eps(t) * (1 + np.abs(e)),
    ),
    *rows("operators", _products()),
)
