"""Cases of the functions that make tensors: every one exact."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Case
from tilework.testing.inputs import LAYOUTS
from tilework.testing.rows import Row, floats, given, rows

NOTHING = given()
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (3,), (2, 3), (2, 0, 4), (5, 1, 7))
RANGES: tuple[tuple[Any, ...], ...] = (
    (5,), (0,), (2, 7), (7, 2, -1), (1, 10, 3), (-3, 3), (2.5,), (0.0, 1.0, 0.25), (5, 2.0, -0.5),
)  # fmt: skip
LINES: tuple[tuple[Any, ...], ...] = ((0, 1, 5), (3, -3, 7), (2.0, 2.0, 3), (0, 8, 1), (1, 2, 0))


def _as_float32(value: Any) -> Any:
    """Floats as float32, which is a new tensor's default; whole numbers as they are."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _plain() -> Iterator[Row]:
    for shape in SHAPES:
        for name, value in (("zeros", 0.0), ("ones", 1.0)):
            yield (
                f"{name} {shape}",
                NOTHING,
                lambda tw, F, name=name, shape=shape: getattr(tw, name)(*shape),
                lambda value=value, shape=shape: np.full(shape, value),
            )
        yield (
            f"full {shape}",
            NOTHING,
            lambda tw, F, shape=shape: tw.full(shape, 2.5),
            lambda shape=shape: np.full(shape, 2.5),
        )
        yield (
            f"empty {shape}",
            NOTHING,
            lambda tw, F, shape=shape: tw.empty(*shape) * 0 == 5,
            lambda shape=shape: np.zeros(shape, bool),
        )
    yield "full of integers", NOTHING, lambda tw, F: tw.full((2, 3), 7), lambda: np.full((2, 3), 7)
    yield "full of flags", NOTHING, lambda tw, F: tw.full((2,), True), lambda: np.full(2, True)
    for n, m in ((3, None), (2, 5), (5, 2), (0, 3), (1, 1)):
        sizes = (n,) if m is None else (n, m)
        yield (
            f"eye {sizes}",
            NOTHING,
            lambda tw, F, sizes=sizes: tw.eye(*sizes),
            lambda sizes=sizes: np.eye(*sizes),
        )
    for args in RANGES:
        yield (
            f"arange {args}",
            NOTHING,
            lambda tw, F, args=args: tw.arange(*args),
            lambda args=args: _as_float32(np.arange(*args)),
        )
    for args in LINES:
        yield (
            f"linspace {args}",
            NOTHING,
            lambda tw, F, args=args: tw.linspace(*args),
            lambda args=args: np.linspace(*args),
            {
                "tolerance": lambda t, expected: (
                    4 * np.finfo(t).eps * np.abs(expected).max(initial=0)
                )
            },
        )


def _wide() -> Iterator[Row]:
    """The same in another dtype than the default."""
    yield (
        "zeros float64",
        NOTHING,
        lambda tw, F: tw.zeros(2, 3, dtype=tw.float64),
        lambda: np.zeros((2, 3)),
    )
    yield "ones float64", NOTHING, lambda tw, F: tw.ones(3, dtype=tw.float64), lambda: np.ones(3)
    yield "eye float64", NOTHING, lambda tw, F: tw.eye(3, dtype=tw.float64), lambda: np.eye(3)
    yield (
        "arange float64",
        NOTHING,
        lambda tw, F: tw.arange(4, dtype=tw.float64),
        lambda: np.arange(4.0),
    )
    yield (
        "linspace float64",
        NOTHING,
        lambda tw, F: tw.linspace(0, 1, 5, dtype=tw.float64),
        lambda: np.linspace(0, 1, 5),
    )
    yield (
        "zeros int64",
        NOTHING,
        lambda tw, F: tw.zeros(2, dtype=tw.int64),
        lambda: np.zeros(2, np.int64),
    )
    yield (
        "full bool",
        NOTHING,
        lambda tw, F: tw.full((2,), 3, dtype=tw.bool),
        lambda: np.ones(2, bool),
    )


def _like() -> Iterator[Row]:
    for layout in LAYOUTS:
        x = given(floats(2, 3, 4, layout=layout))
        yield f"zeros_like {layout}", x, lambda tw, F, x: tw.zeros_like(x), np.zeros_like
        yield f"ones_like {layout}", x, lambda tw, F, x: tw.ones_like(x), np.ones_like
        yield (
            f"full_like {layout}",
            x,
            lambda tw, F, x: tw.full_like(x, -1.5),
            lambda x: np.full_like(x, -1.5),
        )
        yield (
            f"empty_like {layout}",
            x,
            lambda tw, F, x: tw.empty_like(x) * 0 == 5,
            lambda x: np.zeros(x.shape, bool),
        )
    x = given(floats(2, 3))
    yield (
        "zeros_like of integers",
        x,
        lambda tw, F, x: tw.zeros_like(x, dtype=tw.int64),
        lambda x: np.zeros((2, 3), np.int64),
    )
    yield "new_zeros", x, lambda tw, F, x: x.new_zeros(4, 5), lambda x: np.zeros((4, 5))
    yield "new_ones", x, lambda tw, F, x: x.new_ones(4), lambda x: np.ones(4)
    yield "new_full", x, lambda tw, F, x: x.new_full((4, 2), 2.5), lambda x: np.full((4, 2), 2.5)
    yield (
        "new_empty",
        x,
        lambda tw, F, x: x.new_empty(4, 2) * 0 == 5,
        lambda x: np.zeros((4, 2), bool),
    )
    yield "new_tensor", x, lambda tw, F, x: x.new_tensor([1, 2]), lambda x: np.array([1.0, 2.0])


def _taken() -> Iterator[Row]:
    """From values that are there."""
    x = given(floats(2, 3))
    nested = [[1.5, -2.0], [0.0, 4.25]]
    once = {"dtypes": ("float32",)}
    yield (
        "tensor of lists",
        NOTHING,
        lambda tw, F: tw.tensor(nested),
        lambda: np.array(nested),
        once,
    )
    yield (
        "tensor of integers",
        NOTHING,
        lambda tw, F: tw.tensor([[1], [-2]]),
        lambda: np.array([[1], [-2]]),
        once,
    )
    yield (
        "tensor of flags",
        NOTHING,
        lambda tw, F: tw.tensor([True, False]),
        lambda: np.array([True, False]),
        once,
    )
    yield "tensor of a number", NOTHING, lambda tw, F: tw.tensor(2.5), lambda: np.array(2.5), once
    yield "tensor of nothing", NOTHING, lambda tw, F: tw.tensor([]), lambda: np.zeros(0), once
    for layout in LAYOUTS:
        strided = given(floats(2, 3, 4, layout=layout))
        if layout != "reversed":  # PyTorch takes no steps backwards
            yield f"tensor {layout}", strided, lambda tw, F, x: tw.tensor(x.numpy()), lambda x: x
            yield (
                f"from_numpy {layout}",
                strided,
                lambda tw, F, x: tw.from_numpy(x.numpy().copy()),
                lambda x: x,
            )
            yield (
                f"from_dlpack {layout}",
                strided,
                lambda tw, F, x: tw.from_dlpack(x.clone()),
                lambda x: x,
            )
        yield f"as_tensor {layout}", strided, lambda tw, F, x: tw.as_tensor(x), lambda x: x
    yield (
        "as_tensor of a list",
        NOTHING,
        lambda tw, F: tw.as_tensor([1.5, 2.0]),
        lambda: np.array([1.5, 2.0]),
        once,
    )
    yield (
        "as_tensor cast",
        x,
        lambda tw, F, x: tw.as_tensor(x, dtype=tw.int64),
        lambda x: x.astype(np.int64),
    )


CASES: tuple[Case, ...] = (
    *rows("creation", _plain(), dtypes=("float32",)),
    *rows("creation", _wide(), dtypes=("float64",)),
    *rows("creation", _like()),
    *rows("creation", _taken()),
)
