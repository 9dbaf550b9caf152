"""Cases of what reverses, repeats and cuts off elements, of elementary functions, and of draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case, Generator
from tilework.testing.inputs import LAYOUTS, normal, positive
from tilework.testing.rows import Row, fixed, floats, given, integers, rows
from tilework.testing.tolerance import eps

Shape = tuple[int, ...]

# label, shape, the call, the same in NumPy: all exact
MOVES: tuple[tuple[str, Shape, Callable[..., Any], Callable[[Array], Any]], ...] = (
    ("flip", (3, 4), lambda tw, F, x: tw.flip(x, (0, 1)), lambda x: x[::-1, ::-1]),
    ("flip one", (3, 4), lambda tw, F, x: x.flip(-1), lambda x: x[:, ::-1]),
    ("flip none", (3, 4), lambda tw, F, x: x.flip(()), lambda x: x),
    ("flip nothing", (0, 4), lambda tw, F, x: x.flip(0, 1), lambda x: x),
    ("tril", (3, 4), lambda tw, F, x: tw.tril(x), np.tril),
    ("tril above", (2, 3, 4), lambda tw, F, x: x.tril(1), lambda x: np.tril(x, 1)),
    ("tril below", (2, 4, 3), lambda tw, F, x: x.tril(-2), lambda x: np.tril(x, -2)),
    ("triu", (4, 3), lambda tw, F, x: tw.triu(x), np.triu),
    ("triu far", (3, 4), lambda tw, F, x: x.triu(9), lambda x: np.zeros_like(x)),
    ("triu below", (1, 3, 4), lambda tw, F, x: x.triu(diagonal=-1), lambda x: np.triu(x, -1)),
    ("repeat", (2, 3), lambda tw, F, x: x.repeat(2, 3), lambda x: np.tile(x, (2, 3))),
    ("repeat in front", (2, 3), lambda tw, F, x: x.repeat((2, 1, 2)),
     lambda x: np.tile(x, (2, 1, 2))),
    ("repeat never", (2, 3), lambda tw, F, x: x.repeat(2, 0), lambda x: np.zeros((4, 0))),
    ("repeat a number", (), lambda tw, F, x: x.repeat(3), lambda x: np.tile(x, 3)),
    ("tile", (2, 3), lambda tw, F, x: tw.tile(x, (2,)), lambda x: np.tile(x, 2)),
    ("tile in front", (3,), lambda tw, F, x: x.tile((2, 2)), lambda x: np.tile(x, (2, 2))),
    ("repeat_interleave", (2, 3), lambda tw, F, x: tw.repeat_interleave(x, 2),
     lambda x: np.repeat(x, 2)),
    ("repeat_interleave along 1", (2, 3), lambda tw, F, x: x.repeat_interleave(3, 1),
     lambda x: np.repeat(x, 3, 1)),
    ("repeat_interleave by one", (2, 3), lambda tw, F, x: x.repeat_interleave(tw.tensor([2]), 0),
     lambda x: np.repeat(x, 2, 0)),
)  # fmt: skip


def _moves() -> Iterator[Row]:
    for label, shape, call, expected in MOVES:
        for layout in LAYOUTS if len(shape) == 2 and 0 not in shape else ("contiguous",):
            yield f"{label} ({layout})", given(floats(*shape, layout=layout)), call, expected
    yield (
        "repeat_interleave by counts",
        given(floats(3, 2), fixed(np.array([2, 0, 3]))),
        lambda tw, F, x, n: x.repeat_interleave(n, dim=0),
        lambda x, n: np.repeat(x, n, 0),
    )
    for label, call in (
        ("outer", lambda tw, F, x, y: tw.outer(x, y)),
        ("outer as a method", lambda tw, F, x, y: x.outer(y)),
    ):
        yield (
            label,
            given(floats(3), floats(4)),
            call,
            np.outer,
            {"differentiable": (0, 1), "tolerance": _one_rounding},
        )
    for name in ("tril", "triu"):
        yield (
            f"{name} of integers",
            given(integers(-9, 9, 3, 3)),
            lambda tw, F, x, name=name: getattr(x, name)(),
            lambda x, name=name: getattr(np, name)(x),
            {"differentiable": ()},
        )


def _one_rounding(dtype: str, expected: Array, *inputs: Any) -> Array:
    return np.asarray(2.0 * eps(dtype) * np.abs(expected))


def _angle_bound(dtype: str, expected: Array, *inputs: Any) -> Array:
    """A few roundings of a number, or of 1 where it is small."""
    return np.asarray(4.0 * eps(dtype) * (1.0 + np.abs(expected)))


def _several_turns(rng: Generator, dtype: str, *shape: int) -> Array:
    return (9.0 * rng.standard_normal(shape)).astype(dtype)


def _within_one(rng: Generator, dtype: str, *shape: int) -> Array:
    return rng.uniform(-0.9, 0.9, shape).astype(dtype)


# NumPy's function, and what numbers it is called with.
ELEMENTARY: dict[str, tuple[Any, Any]] = {
    "sin": (np.sin, _several_turns), "cos": (np.cos, _several_turns), "tan": (np.tan, _within_one),
    "asin": (np.arcsin, _within_one), "acos": (np.arccos, _within_one),
    "atan": (np.arctan, normal), "sinh": (np.sinh, normal), "cosh": (np.cosh, normal),
    "log1p": (np.log1p, positive), "expm1": (np.expm1, normal), "exp2": (np.exp2, normal),
    "log2": (np.log2, positive), "log10": (np.log10, positive),
}  # fmt: skip


def _elementary() -> Iterator[Row]:
    for name, (of, values) in ELEMENTARY.items():
        for shape in ((3, 5), (), (0,), (1000,)):
            yield (
                f"{name} {shape}",
                given(floats(*shape, values=values)),
                lambda tw, F, x, name=name: getattr(tw, name)(x),
                of,
            )
        for layout in LAYOUTS:
            yield (
                f"{name} ({layout})",
                given(floats(6, 7, values=values, layout=layout)),
                lambda tw, F, x, name=name: getattr(x, name)(),
                of,
            )
        yield (
            f"{name} of integers",
            given(fixed(np.array([0, 1]) if values is _within_one else np.array([1, 2, 3]))),
            lambda tw, F, x, name=name: getattr(x, name)(),
            lambda x, of=of: of(x.astype(float)),
            {"differentiable": (), "dtypes": ("float32",)},
        )


def _draws() -> Iterator[Row]:
    """Where only one draw is possible; frequencies are tested elsewhere."""
    weights = np.array([[0.0, 2.0, 0.0], [0.5, 0.0, 0.0]])
    yield (
        "multinomial with one choice",
        given(fixed(4)),
        lambda tw, F, n: tw.multinomial(tw.tensor(weights), n, replacement=True),
        lambda n: np.array([[1] * n, [0] * n]),
    )
    yield (
        "multinomial of a vector",
        given(fixed(2)),
        lambda tw, F, n: tw.tensor([0.0, 1.0, 0.0, 1e-9]).multinomial(n).sort()[0],
        lambda n: np.array([1, 3]),
    )


DTYPES = ("float32", "float64", "bfloat16")
CASES: tuple[Case, ...] = (
    *rows("rearrange", _moves(), differentiable=(0,), dtypes=DTYPES),
    *rows("rearrange", _elementary(), differentiable=(0,), dtypes=DTYPES, tolerance=_angle_bound),
    *rows("rearrange", _draws(), dtypes=("float64",)),
)
