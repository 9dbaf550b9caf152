"""Cases of comparisons, logic, rounding, and the quotient and remainder of floors: all exact."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case, Generator
from tilework.testing.inputs import LAYOUTS, special
from tilework.testing.rows import Row, few, flags, floats, given, integers, rows

ONCE = {"dtypes": ("float32",)}  # no input is of the case's dtype
PAIRS = ("eq", "ne", "lt", "le", "gt", "ge")
NUMPYS = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
          "gt": np.greater, "ge": np.greater_equal}  # fmt: skip
LOGIC = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
SIGNS = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}
ROUNDINGS = {"sign": np.sign, "floor": np.floor, "ceil": np.ceil, "round": np.round}
STATES = {"isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite}


def _crossed(rng: Generator, dtype: str) -> tuple[Array, Array]:
    """Every special value against every other."""
    values = special(dtype)
    return np.repeat(values, len(values)), np.tile(values, len(values))


def _named(name: str, tw: Any, F: Any, *inputs: Any) -> Any:
    return getattr(tw, name)(*inputs)


def _method(name: str, tw: Any, F: Any, x: Any, *inputs: Any) -> Any:
    return getattr(x, name)(*inputs)


def _sign(op: Callable[..., Any], tw: Any, F: Any, *inputs: Any) -> Any:
    return op(*inputs)


def _comparisons() -> Iterator[Row]:
    for name in PAIRS:
        call, expected, sign = partial(_named, name), NUMPYS[name], getattr(operator, name)
        yield f"{name}", given(floats(5, 7, values=few), floats(5, 7, values=few)), call, expected
        yield (
            f"{name} broadcast",
            given(floats(5, 1, 7, values=few), floats(3, 1, values=few)),
            call,
            expected,
        )
        yield f"{name} special values", _crossed, call, expected
        yield (
            f"{name} of a number",
            given(floats(5, 7, values=few)),
            lambda tw, F, x, name=name: getattr(x, name)(1),
            lambda x, expected=expected: expected(x, 1),
        )
        yield (
            f"{name} by its sign",
            given(floats(5, 7, values=few), floats(7, values=few)),
            partial(_sign, sign),
            expected,
        )
        yield (
            f"{name} by its sign, of a number",
            given(floats(5, 7, values=few)),
            lambda tw, F, x, sign=sign: sign(2, x),
            lambda x, sign=sign: sign(2, x),
        )
        yield (
            f"{name} of integers",
            given(integers(-3, 3, 5, 7), integers(-3, 3, 7)),
            call,
            expected,
            ONCE,
        )
        yield f"{name} of nothing", given(floats(0, 3), floats(3)), call, expected
        for layout in LAYOUTS:
            made = given(floats(2, 5, 3, values=few, layout=layout), floats(3, values=few))
            yield f"{name} {layout}", made, call, expected


def _logic() -> Iterator[Row]:
    for name, expected in LOGIC.items():
        call, sign = partial(_named, f"logical_{name}"), SIGNS[name]
        yield f"logical_{name}", given(flags(5, 7), flags(7)), call, expected, ONCE
        yield (
            f"logical_{name} of numbers",
            given(floats(5, 7, values=few), floats(5, 7, values=few)),
            call,
            expected,
        )
        bits = getattr(np, f"bitwise_{name}")
        yield f"__{name}__", given(flags(5, 7), flags(7)), partial(_sign, sign), bits, ONCE
        yield (
            f"__{name}__ of integers",
            given(integers(-9, 9, 5, 7), integers(-9, 9, 7)),
            partial(_sign, sign),
            bits,
            ONCE,
        )
        yield (
            f"__r{name}__",
            given(integers(-9, 9, 5)),
            lambda tw, F, x, sign=sign: sign(6, x),
            lambda x, sign=sign: sign(6, x),
            ONCE,
        )
    yield (
        "logical_not",
        given(floats(5, 7, values=few)),
        partial(_named, "logical_not"),
        np.logical_not,
    )
    yield (
        "logical_not of flags",
        given(flags(5, 7)),
        partial(_method, "logical_not"),
        np.logical_not,
        ONCE,
    )
    yield "__invert__", given(flags(5, 7)), partial(_sign, operator.invert), np.invert, ONCE
    yield (
        "__invert__ of integers",
        given(integers(-9, 9, 5)),
        partial(_sign, operator.invert),
        np.invert,
        ONCE,
    )


def _of_one() -> Iterator[Row]:
    for name, expected in {**ROUNDINGS, **STATES}.items():
        call = partial(_named, name)
        halves = given(lambda rng, t: (rng.integers(-9, 10, (5, 7)) / 2).astype(t))
        yield f"{name}", given(floats(5, 7)), call, expected
        yield f"{name} of halves", halves, partial(_method, name), expected
        yield (
            f"{name} of special values",
            lambda rng, t: (special(t),),
            call,
            expected,
            {
                "peer": None if name == "sign" else "same"  # PyTorch has no sign of NaN: 0
            },
        )
        yield f"{name} of nothing", given(floats(0, 3)), call, expected
        for layout in LAYOUTS:
            yield f"{name} {layout}", given(floats(2, 5, 3, layout=layout)), call, expected


def _quarters(rng: Generator, dtype: str, *shape: int) -> Array:
    """Multiples of a quarter: by the divisors below, no quotient is rounded to a whole."""
    return (rng.integers(-40, 41, shape) / 4).astype(dtype)


def _divisors(rng: Generator, dtype: str, *shape: int) -> Array:
    return rng.choice([-3.0, -1.5, -0.5, 0.5, 1.0, 2.5], shape).astype(dtype)


def _floors() -> Iterator[Row]:
    halves = {"floor_divide": (np.floor_divide, operator.floordiv),
              "remainder": (np.remainder, operator.mod)}  # fmt: skip
    for name, (expected, sign) in halves.items():
        by = given(floats(5, 7, values=_quarters), floats(7, values=_divisors))
        whole = given(integers(-20, 20, 5, 7), lambda rng, _: rng.choice([-3, -1, 2, 5], 7))
        yield f"{name}", by, partial(_named, name), expected
        yield f"{name} by its sign", by, partial(_sign, sign), expected
        yield f"{name} method", by, partial(_method, name), expected
        yield f"{name} of integers", whole, partial(_named, name), expected, ONCE
        yield (
            f"{name} by a number",
            given(floats(5, 7, values=_quarters)),
            lambda tw, F, x, sign=sign: sign(x, -1.5),
            lambda x, sign=sign: sign(x, -1.5),
        )
        yield (
            f"{name} of a number",
            given(floats(5, 7, values=_divisors)),
            lambda tw, F, x, sign=sign: sign(7.25, x),
            lambda x, sign=sign: sign(7.25, x),
        )
        for layout in LAYOUTS:
            made = given(floats(2, 5, 3, values=_quarters, layout=layout),
                         floats(3, values=_divisors))  # fmt: skip
            yield f"{name} {layout}", made, partial(_named, name), expected
    # off the wholes, where the remainder has a slope
    off = given(
        lambda rng, t: (rng.integers(-9, 9, (5, 7)) + rng.uniform(0.2, 0.8, (5, 7))).astype(t)
    )
    yield (
        "remainder differentiated",
        off,
        lambda tw, F, x: x % 1.0,
        lambda x: np.remainder(x, 1.0),
        {"differentiable": (0,), "tolerance": lambda t, expected, x: np.finfo(t).eps * np.abs(x)},
    )


def _near(rng: Generator, dtype: str) -> tuple[Array, Array]:
    x = rng.uniform(1.0, 2.0, (5, 7))
    away = rng.choice([0.0, 1e-7, 1e-3, 1.0], (5, 7))
    x[0, 0] = away[0, 1] = np.nan
    y = x + away
    x[1, 1] = y[1, 1] = np.inf
    return x.astype(dtype), y.astype(dtype)


def _likeness() -> Iterator[Row]:
    for nan in (False, True):
        how = {"rtol": 1e-4, "atol": 1e-6, "equal_nan": nan}
        yield (
            f"isclose, nan {nan}",
            _near,
            lambda tw, F, a, b, how=how: tw.isclose(a, b, **how),
            lambda a, b, how=how: np.isclose(a, b, **how),
        )
        yield (
            f"allclose, nan {nan}",
            _near,
            lambda tw, F, a, b, how=how: tw.tensor(tw.allclose(a, b, **how)),
            lambda a, b, how=how: np.allclose(a, b, **how),
        )
    far = given(floats(5, 7), floats(5, 7))
    yield "allclose far", far, lambda tw, F, a, b: tw.tensor(a.allclose(b)), np.allclose
    yield (
        "allclose same",
        given(floats(5, 7)),
        lambda tw, F, a: tw.tensor(tw.allclose(a, a.clone())),
        lambda a: True,
    )
    yield (
        "isclose method",
        far,
        lambda tw, F, a, b: a.isclose(b, rtol=0.5),
        lambda a, b: np.isclose(a, b, rtol=0.5),
    )
    yield "equal far", far, lambda tw, F, a, b: tw.tensor(tw.equal(a, b)), np.array_equal
    yield (
        "equal same",
        given(floats(5, 7)),
        lambda tw, F, a: tw.tensor(a.equal(a.clone())),
        lambda a: True,
    )
    yield (
        "equal of other shapes",
        given(floats(5, 1), floats(5)),
        lambda tw, F, a, b: tw.tensor(tw.equal(a, b)),
        np.array_equal,
    )


CASES: tuple[Case, ...] = tuple(
    case
    for table in (_comparisons(), _logic(), _of_one(), _floors(), _likeness())
    for case in rows("compare", table)
)
