"""Cases of the ops that move elements: every one exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.inputs import LAYOUTS, Inputs, Shape, arrays, normal
from tilework.testing.tolerance import exact

Move = tuple[str, Shape, Callable[..., Any], Callable[[Array], Any]]


def _padded(mode: str, tw: Any, F: Any, x: Any) -> Any:
    return F.pad(x, (3, 2, 1, 3), mode)


def _padded_in_numpy(mode: str, x: Array) -> Array:
    return np.pad(x, ((0, 0), (0, 0), (1, 3), (3, 2)), mode)  # type: ignore[call-overload, no-any-return]


# label, shape, the call, the same in NumPy; the label's first word names the op
MOVES: tuple[Move, ...] = (
    ("reshape", (2, 3, 4), lambda tw, F, x: x.reshape(4, 6), lambda x: x.reshape(4, 6)),
    ("reshape to -1", (2, 3, 4), lambda tw, F, x: x.reshape(-1), lambda x: x.reshape(-1)),
    ("reshape empty", (0, 3), lambda tw, F, x: x.reshape(3, 0), lambda x: x.reshape(3, 0)),
    ("reshape one", (1, 1), lambda tw, F, x: x.reshape(()), lambda x: x.reshape(())),
    ("flatten", (2, 3, 4), lambda tw, F, x: x.flatten(1), lambda x: x.reshape(2, 12)),
    ("transpose", (2, 3, 4), lambda tw, F, x: x.transpose(0, 2), lambda x: x.swapaxes(0, 2)),
    ("transpose back", (2, 3), lambda tw, F, x: x.transpose(-1, -2), lambda x: x.T),
    ("permute", (2, 3, 4), lambda tw, F, x: x.permute(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    ("T", (2, 3), lambda tw, F, x: x.T, lambda x: x.T),
    ("unsqueeze", (2, 3), lambda tw, F, x: x.unsqueeze(1), lambda x: x[:, None]),
    ("squeeze", (2, 1, 3, 1), lambda tw, F, x: x.squeeze(1), lambda x: x[:, 0]),
    ("expand", (1, 3), lambda tw, F, x: x.expand(4, 5, 3), lambda x: np.tile(x, (4, 5, 1))),
    ("getitem int", (4, 5), lambda tw, F, x: x[2], lambda x: x[2]),
    ("getitem negative", (4, 5), lambda tw, F, x: x[-1, -2], lambda x: x[-1, -2]),
    ("getitem slice", (6, 5), lambda tw, F, x: x[1:4], lambda x: x[1:4]),
    ("getitem step", (7, 5), lambda tw, F, x: x[1::2, ::3], lambda x: x[1::2, ::3]),
    ("getitem ellipsis", (2, 3, 4), lambda tw, F, x: x[..., 1], lambda x: x[..., 1]),
    ("getitem None", (2, 3), lambda tw, F, x: x[:, None], lambda x: x[:, None]),
    ("getitem nothing", (2, 3), lambda tw, F, x: x[2:], lambda x: x[2:]),
    ("clone", (2, 3), lambda tw, F, x: x.clone(), lambda x: x.copy()),
    ("contiguous", (2, 3), lambda tw, F, x: x.T.contiguous(), lambda x: x.T.copy()),
    ("contiguous, tiles", (70, 130), lambda tw, F, x: x.T.contiguous(), lambda x: x.T.copy()),
    ("contiguous, turned", (3, 33, 65), lambda tw, F, x: x.permute(2, 0, 1).contiguous(),
     lambda x: x.transpose(2, 0, 1).copy()),
    ("contiguous, short runs", (5, 6, 7, 9), lambda tw, F, x: x.permute(2, 0, 1, 3).contiguous(),
     lambda x: x.transpose(2, 0, 1, 3).copy()),
    ("pad", (2, 3, 4), lambda tw, F, x: F.pad(x, (1, 2, 0, 1)),
     lambda x: np.pad(x, ((0, 0), (0, 1), (1, 2)))),
    ("pad cutting", (2, 3, 4), lambda tw, F, x: F.pad(x, (-1, 2, 1, -1), value=2.0),
     lambda x: np.pad(x[:, :-1, 1:], ((0, 0), (1, 0), (0, 2)), constant_values=2)),
    *(
        (f"pad {mode}", (2, 3, 4, 5), partial(_padded, mode), partial(_padded_in_numpy, word))
        for mode, word in (("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap"))
    ),
    ("cat", (2, 3), lambda tw, F, x: tw.cat([x, x], dim=1), lambda x: np.concatenate([x, x], 1)),
    ("cat, many", (2, 300), lambda tw, F, x: tw.cat(x.split(1, 1), 0),
     lambda x: np.concatenate(np.split(x, 300, 1))),
    ("stack", (2, 3), lambda tw, F, x: tw.stack([x, x], dim=1), lambda x: np.stack([x, x], 1)),
)  # fmt: skip


def _move(label: str, inputs: Inputs, move: Move) -> Case:
    name, _, call, expected = move
    return Case(
        family="shape",
        op=name.split()[0].rstrip(","),
        label=label,
        inputs=inputs,
        call=call,
        reference=expected,
        tolerance=exact,
        differentiable=(0,),
    )


def _cases() -> Iterator[Case]:
    for move in MOVES:
        name, shape, *_ = move
        for layout in LAYOUTS:
            inputs = arrays(shape, layouts=[layout])
            yield _move(f"{name}, {layout}", inputs, move)


# --- what is timed ---


def _timed() -> Iterator[Case]:
    for side in (32, 316, 2048):
        bench = Bench(f"transposed copy {side}x{side}", flops=0.0, bytes=8.0 * side * side)
        move: Move = ("contiguous", (), lambda tw, F, x: x.t().contiguous(), lambda x: x.T)
        case = _move(bench.label, arrays((side, side)), move)
        yield replace(case, dtypes=("float32",), differentiable=(), quick=False, bench=bench)
    for n in (10**3, 10**5, 10**7):
        bench = Bench(f"cat {n} in 1000 chunks", flops=0.0, bytes=8.0 * n)

        def chunks(rng: Generator, t: str, n: int = n) -> tuple[Array, ...]:
            return tuple(np.split(normal(rng, t, n), 1000))

        yield Case(
            family="shape", op="cat", label=bench.label, inputs=chunks, tolerance=exact,
            call=lambda tw, F, *parts: tw.cat(parts), quick=False, dtypes=("float32",),
            reference=lambda *parts: np.concatenate(parts), bench=bench,
        )  # fmt: skip


CASES: tuple[Case, ...] = (*_cases(), *_timed())
