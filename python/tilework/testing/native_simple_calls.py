"""Valid calls of the engine's functions that limit, spread and stretch, for native_calls.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tilework.testing.call_parts import Arguments, Generator, Maker, shape_of


def _clamp(rng: Generator) -> Arguments:
    make = Maker(rng)
    return {"x": make.array(*shape_of(make)), "low": -0.5, "high": make.one_of(0.5, 1e300)}


def _clamp_backward(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = shape_of(make)
    return {"grad": make.array(*shape), "x": make.array(*shape), "low": -1e300, "high": 0.5}


def _spread(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = shape_of(make)
    axes = tuple(i for i in range(len(shape)) if make.flag())
    x = make.array(*shape)
    return {"x": x, "axes": axes, "keepdims": make.flag(), "divisor": 2.0, "root": make.flag()}


def _expand(rng: Generator) -> Arguments:
    make = Maker(rng, np.float32, np.int64, np.bool_)
    shape = shape_of(make)
    wanted = (*make.one_of((), (3,)), *(make.one_of(n, -1) for n in shape[:-1]), 4)
    return {"x": make.array(*shape[:-1], 1), "shape": wanted}


CALLS: dict[str, Callable[[Generator], Arguments]] = {
    "clamp_forward": _clamp,
    "clamp_backward": _clamp_backward,
    "spread": _spread,
    "expand": _expand,
}
