"""Cases of writes in place: what is written, and the gradients that pass through it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case, Generator
from tilework.testing.inputs import LAYOUTS, away_from_zero, distinct
from tilework.testing.rows import Row, fixed, flags, floats, given, integers, rows
from tilework.testing.tolerance import eps

Write = Callable[..., Any]
SHAPE = (4, 5, 6)
INPUTS = {2: (floats(*SHAPE), floats(5, 6, values=away_from_zero))}


def _copied(write: Write) -> Callable[..., Any]:
    """The call that writes to a recorded copy of its first input, and gives the copy."""

    def call(tw: Any, F: Any, x: Any, *others: Any) -> Any:
        y = x * 1
        write(y, *others)
        return y

    return call


def _in_numpy(write: Write) -> Callable[..., Array]:
    def expected(x: Array, *others: Any) -> Array:
        y = x.copy()
        write(y, *others)
        return y

    return expected


def _bound(dtype: str, expected: Array, x: Array, *others: Any) -> Array:
    """Two roundings at the operands' size, which is of order one, or at the result's."""
    return np.asarray(2.0 * eps(dtype) * (np.abs(x) + np.abs(expected) + 4.0))


SIGNS = {"iadd": operator.iadd, "isub": operator.isub, "imul": operator.imul,
         "itruediv": operator.itruediv}  # fmt: skip
# method, the same as a function of NumPy's arrays
ARITHMETIC: dict[str, Callable[[Array, Any], Array]] = {
    "add_": lambda x, y: x + y,
    "sub_": lambda x, y: x - y,
    "mul_": lambda x, y: x * y,
    "div_": lambda x, y: x / y,
}


def _arithmetic() -> Iterator[Row]:
    both = given(floats(*SHAPE), floats(5, 6, values=away_from_zero))
    slopes = {"differentiable": (0, 1)}
    for name, expected in ARITHMETIC.items():
        yield (
            f"{name}",
            both,
            _copied(lambda y, b, name=name: getattr(y, name)(b)),
            expected,
            slopes,
        )
        yield (
            f"{name} of a number",
            given(floats(*SHAPE)),
            _copied(lambda y, name=name: getattr(y, name)(2.5)),
            lambda x, expected=expected: expected(x, 2.5),
        )
        for layout in LAYOUTS[:-1]:
            made = given(floats(*SHAPE, layout=layout), floats(6, values=away_from_zero))
            yield (
                f"{name} {layout}",
                made,
                _copied(lambda y, b, name=name: getattr(y, name)(b)),
                expected,
                slopes,
            )
    yield (
        "add_ with alpha",
        both,
        _copied(lambda y, b: y.add_(b, alpha=-0.5)),
        lambda x, b: x - 0.5 * b,
        slopes,
    )
    yield (
        "sub_ with alpha",
        both,
        _copied(lambda y, b: y.sub_(b, alpha=2)),
        lambda x, b: x - 2 * b,
        slopes,
    )
    for name, sign in SIGNS.items():
        yield (f"__{name}__", both, _copied(sign), _in_numpy(sign), slopes)
        yield (
            f"__{name}__ of a view",
            both,
            _copied(lambda y, b, sign=sign: sign(y[1:3], b)),
            _in_numpy(lambda y, b, sign=sign: sign(y[1:3], b)),
            slopes,
        )


def _values() -> Iterator[Row]:
    x = given(floats(*SHAPE))
    none = {"differentiable": ()}
    yield "zero_", x, _copied(lambda y: y.zero_()), lambda x: x * 0, none
    yield (
        "zero_ of a view",
        x,
        _copied(lambda y: y[:, 1].zero_()),
        _in_numpy(lambda y: y[:, 1].fill(0)),
    )
    matrix = given(floats(7, 3))
    for wrap in (False, True):
        yield (
            f"fill_diagonal_, wrap={wrap}", matrix,
            _copied(lambda y, wrap=wrap: y.fill_diagonal_(2.5, wrap)),
            _in_numpy(lambda y, wrap=wrap: np.fill_diagonal(y, 2.5, wrap)),
        )  # fmt: skip
    yield "fill_", x, _copied(lambda y: y.fill_(2.5)), lambda x: x * 0 + 2.5, none
    yield (
        "fill_ of a view",
        x,
        _copied(lambda y: y[1:, ::2].fill_(2.5)),
        _in_numpy(lambda y: y[1:, ::2].fill(2.5)),
    )
    yield (
        "copy_",
        given(floats(*SHAPE), floats(5, 6)),
        _copied(lambda y, b: y.copy_(b)),
        lambda x, b: x * 0 + b,
        {"differentiable": (1,)},
    )
    yield (
        "copy_ of integers",
        given(floats(*SHAPE), integers(-9, 9, 5, 6)),
        _copied(lambda y, b: y.copy_(b)),
        lambda x, b: x * 0 + b,
        none,
    )
    apart = given(floats(*SHAPE, values=distinct))
    yield "clamp_", apart, _copied(lambda y: y.clamp_(-0.5, 0.25)), lambda x: np.clip(x, -0.5, 0.25)
    yield (
        "clamp_ below",
        apart,
        _copied(lambda y: y.clamp_(min=0.25)),
        lambda x: np.maximum(x, 0.25),
    )
    masked = given(floats(*SHAPE), flags(5, 1))
    yield (
        "masked_fill_",
        masked,
        _copied(lambda y, m: y.masked_fill_(m, -1.5)),
        lambda x, m: np.where(m, -1.5, x),
    )

    def scattered(x: Array, m: Array, v: Array) -> Array:
        y, m = x.copy(), np.broadcast_to(m, x.shape)
        y[m] = v.reshape(-1)[: m.sum()]
        return y

    both = {"differentiable": (0, 2)}
    yield (
        "masked_scatter_",
        given(floats(*SHAPE), flags(5, 1), floats(*SHAPE)),
        _copied(lambda y, m, v: y.masked_scatter_(m, v)),
        scattered,
        both,
    )
    places = (fixed(np.array([0, 3, 0])), fixed(np.array([1, -1, 1])))

    def added(x: Array, i: Array, j: Array, v: Array) -> Array:
        y = x.copy()
        np.add.at(y, (i, j), v)
        return y

    def put(x: Array, i: Array, j: Array, v: Array) -> Array:
        y = x.copy()
        y[i, j] = v
        return y

    for accumulate, expected in ((False, put), (True, added)):
        yield (
            f"index_put_ {accumulate}",
            given(floats(*SHAPE), *places, floats(6)),
            _copied(lambda y, i, j, v, a=accumulate: y.index_put_((i, j), v, a)),
            expected,
            # Where places repeat and nothing adds up, PyTorch's gradient is undefined; finite
            # differences judge it.
            {"differentiable": (0, 3), "tolerance": _bound}
            | ({} if accumulate else {"peer": None}),
        )


# The key, made of index tensors, and the shape of what is written there.
KEYS: tuple[tuple[str, Callable[..., Any], tuple[Any, ...], tuple[int, ...]], ...] = (
    ("a row", lambda: 1, (), (5, 6)),
    ("a column", lambda: (slice(None), slice(None), -1), (), (4, 5)),
    ("a slice with steps", lambda: (slice(1, None, 2), slice(None, None, 2)), (), (2, 3, 6)),
    ("everything", lambda: ..., (), (6,)),
    ("an index", lambda i: i, (fixed(np.array([3, 0])),), (2, 5, 6)),
    (
        "two indices",
        lambda i, j: (i, j),
        (fixed(np.array([3, 0])), fixed(np.array([1, 4]))),
        (2, 6),
    ),
    ("a mask", lambda m: m, (flags(*SHAPE),), ()),
    ("a mask of the first axis", lambda m: m, (flags(4),), (5, 6)),
)


def _keyed() -> Iterator[Row]:
    for name, key, made, shape in KEYS:

        def write(y: Any, b: Any, *i: Any, key: Callable[..., Any] = key) -> None:
            y[key(*i)] = b

        def number(y: Any, *i: Any, key: Callable[..., Any] = key) -> None:
            y[key(*i)] = 2.5

        yield (
            f"__setitem__ {name}",
            given(floats(*SHAPE), floats(*shape), *made),
            _copied(write),
            _in_numpy(write),
            {"differentiable": (0, 1)},
        )
        yield (
            f"__setitem__ {name}, a number",
            given(floats(*SHAPE), *made),
            _copied(number),
            _in_numpy(number),
        )
    for layout in LAYOUTS[:-1]:

        def into(y: Any, b: Any) -> None:
            y[:, 2:4] = b

        yield (
            f"__setitem__ {layout}",
            given(floats(*SHAPE, layout=layout), floats(2, 6, layout="reversed")),
            _copied(into),
            _in_numpy(into),
            {"differentiable": (0, 1)},
        )


def _own(rng: Generator, dtype: str) -> tuple[Array]:
    return (rng.standard_normal(SHAPE).astype(dtype),)


def _of_the_input() -> Iterator[Row]:
    """Writes to a leaf that requires no gradient: the input's own memory."""
    for name, write in (
        ("zero_", lambda x: x.zero_()), ("fill_", lambda x: x.fill_(1.5)),
        ("mul_", lambda x: x.mul_(2)), ("add_", lambda x: x.add_(x)),
    ):  # fmt: skip
        factor = {"zero_": (0, 0), "fill_": (0, 1.5), "mul_": (2, 0), "add_": (2, 0)}[name]
        yield (
            f"{name} of the input",
            _own,
            lambda tw, F, x, write=write: (write(x), x)[1],
            lambda x, factor=factor: x * factor[0] + factor[1],
            {"writes": (0,)},
        )


CASES: tuple[Case, ...] = (
    *rows("inplace", _arithmetic(), differentiable=(0,), tolerance=_bound),
    *rows("inplace", _values(), differentiable=(0,)),
    *rows("inplace", _keyed(), differentiable=(0,)),
    *rows("inplace", _of_the_input()),
)
