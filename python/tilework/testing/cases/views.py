"""Cases of views and of what cuts tensors apart: every one exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Case
from tilework.testing.inputs import LAYOUTS
from tilework.testing.rows import Row, floats, given, one_of, rows

Shape = tuple[int, ...]

# label, shape, the call, the same in NumPy
VIEWS: tuple[tuple[str, Shape, Callable[..., Any], Callable[[Array], Any]], ...] = (
    ("t", (2, 3), lambda tw, F, x: tw.t(x), lambda x: x.T),
    ("t of a vector", (3,), lambda tw, F, x: x.t(), lambda x: x),
    ("mT", (2, 3, 4), lambda tw, F, x: x.mT, lambda x: x.swapaxes(1, 2)),
    ("swapaxes", (2, 3, 4), lambda tw, F, x: x.swapaxes(0, -1), lambda x: x.swapaxes(0, 2)),
    ("movedim", (2, 3, 4), lambda tw, F, x: tw.movedim(x, 0, 2), lambda x: np.moveaxis(x, 0, 2)),
    ("movedim back", (2, 3, 4), lambda tw, F, x: x.movedim(-1, 0), lambda x: np.moveaxis(x, 2, 0)),
    (
        "broadcast_to",
        (3, 1),
        lambda tw, F, x: tw.broadcast_to(x, (2, 3, 4)),
        lambda x: np.broadcast_to(x, (2, 3, 4)).copy(),
    ),
    (
        "expand_as",
        (1, 4),
        lambda tw, F, x: x.expand_as(tw.zeros(3, 4)),
        lambda x: np.tile(x, (3, 1)),
    ),
    ("expand to -1", (1, 4), lambda tw, F, x: x.expand(2, -1), lambda x: np.tile(x, (2, 1))),
    (
        "unflatten",
        (2, 12),
        lambda tw, F, x: tw.unflatten(x, 1, (3, 4)),
        lambda x: x.reshape(2, 3, 4),
    ),
    (
        "unflatten to -1",
        (12, 2),
        lambda tw, F, x: x.unflatten(0, (2, -1)),
        lambda x: x.reshape(2, 6, 2),
    ),
    (
        "reshape_as",
        (2, 6),
        lambda tw, F, x: x.reshape_as(tw.zeros(3, 4)),
        lambda x: x.reshape(3, 4),
    ),
    ("narrow", (5, 6), lambda tw, F, x: tw.narrow(x, 1, 2, 3), lambda x: x[:, 2:5]),
    ("narrow from the end", (5, 6), lambda tw, F, x: x.narrow(0, -2, 1), lambda x: x[3:4]),
    ("narrow to nothing", (5, 6), lambda tw, F, x: x.narrow(0, 5, 0), lambda x: x[5:]),
    (
        "flatten the middle",
        (2, 3, 4, 5),
        lambda tw, F, x: tw.flatten(x, 1, 2),
        lambda x: x.reshape(2, 12, 5),
    ),
    ("squeeze all", (1, 2, 1, 3), lambda tw, F, x: tw.squeeze(x), lambda x: x.reshape(2, 3)),
    ("squeeze of a long axis", (2, 1), lambda tw, F, x: x.squeeze(0), lambda x: x),
    ("unsqueeze last", (2, 3), lambda tw, F, x: tw.unsqueeze(x, -1), lambda x: x[..., None]),
    ("view", (2, 6), lambda tw, F, x: x.contiguous().view(3, -1), lambda x: x.reshape(3, 4)),
    (
        "view_as",
        (2, 6),
        lambda tw, F, x: x.contiguous().view_as(tw.zeros(4, 3)),
        lambda x: x.reshape(4, 3),
    ),
    ("__iter__", (3, 4), lambda tw, F, x: list(x)[1], lambda x: x[1]),
    ("__iter__ joined", (3, 4), lambda tw, F, x: tw.stack(list(x), 1), lambda x: x.T),
)

# label, shape, the call of several, the same in NumPy
CUTS: tuple[tuple[str, Shape, Callable[..., Any], Callable[[Array], Any]], ...] = (
    ("split in 2", (5, 6), lambda tw, F, x: tw.split(x, 2), lambda x: np.split(x, [2, 4])),
    ("split along 1", (5, 6), lambda tw, F, x: x.split(4, 1), lambda x: np.split(x, [4], 1)),
    (
        "split by lengths",
        (5, 6),
        lambda tw, F, x: x.split([1, 0, 4]),
        lambda x: np.split(x, [1, 1]),
    ),
    ("chunk", (7, 3), lambda tw, F, x: tw.chunk(x, 3), lambda x: np.split(x, [3, 6])),
    ("chunk along 1", (3, 4), lambda tw, F, x: x.chunk(2, -1), lambda x: np.split(x, 2, 1)),
    ("unbind", (3, 4), lambda tw, F, x: tw.unbind(x), list),
    ("unbind of numbers", (3,), lambda tw, F, x: tw.unbind(x), lambda x: [x[i] for i in range(3)]),
    ("unbind along 1", (3, 4), lambda tw, F, x: x.unbind(1), lambda x: list(x.T)),
)

# label, the shapes, the call, the same in NumPy
JOINS: tuple[tuple[str, tuple[Shape, ...], Callable[..., Any], Callable[..., Array]], ...] = (
    ("cat", ((2, 3), (4, 3)), lambda tw, F, *x: tw.cat(x), lambda *x: np.concatenate(x)),
    (
        "cat along 1",
        ((2, 3), (2, 0), (2, 5)),
        lambda tw, F, *x: tw.cat(x, -1),
        lambda *x: np.concatenate(x, 1),
    ),
    ("concat", ((2, 3), (1, 3)), lambda tw, F, *x: tw.concat(x), lambda *x: np.concatenate(x)),
    (
        "concatenate",
        ((2, 3), (2, 1)),
        lambda tw, F, *x: tw.concatenate(x, dim=1),
        lambda *x: np.concatenate(x, 1),
    ),
    ("cat of many", ((2, 3),) * 9, lambda tw, F, *x: tw.cat(x, 1), lambda *x: np.concatenate(x, 1)),
    (
        "cat of columns, in blocks",
        ((300, 1), (300, 2), (300, 3), (300, 4), (300, 30)),
        lambda tw, F, *x: tw.cat(x, 1),
        lambda *x: np.concatenate(x, 1),
    ),
    ("stack", ((2, 3), (2, 3)), lambda tw, F, *x: tw.stack(x), lambda *x: np.stack(x)),
    ("stack last", ((2, 3),) * 3, lambda tw, F, *x: tw.stack(x, -1), lambda *x: np.stack(x, -1)),
)


def _table() -> Iterator[Row]:
    for label, shape, call, expected in VIEWS:
        for layout in LAYOUTS:
            yield f"{label} ({layout})", given(floats(*shape, layout=layout)), call, expected
    for label, shape, call, expected in CUTS:
        count = len(expected(np.zeros(shape)))
        for at in range(count):
            for layout in ("contiguous", "transposed"):
                yield (
                    f"{label} (part {at}, {layout})",
                    given(floats(*shape, layout=layout)),
                    one_of(call, at),
                    one_of(expected, at),
                )
    for label, shapes, call, expected in JOINS:
        for layout in LAYOUTS:
            made = given(*(floats(*shape, layout=layout) for shape in shapes))
            yield (
                f"{label} ({layout})",
                made,
                call,
                expected,
                {"differentiable": tuple(range(len(shapes)))},
            )


CASES: tuple[Case, ...] = tuple(rows("views", _table(), differentiable=(0,)))
