"""Valid calls of the compiled engine's norms, as native_calls.py has the others."""

from __future__ import annotations

from collections.abc import Callable

from tilework.testing.call_parts import Arguments, Generator, Maker


def _images(make: Maker) -> tuple[int, ...]:
    return (make.one_of(0, make.size(), make.size()), make.size(), *make.one_of((), (3,), (4, 5)))


def _batch_norm(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = _images(make)
    channels = shape[1]
    training = make.flag()
    running = (make.array(channels, written=True), make.positive(channels, written=True))
    if training:
        running = make.one_of(running, (None, None))
    return {
        "x": make.array(*shape),
        "weight": make.maybe(make.array(channels)),
        "bias": make.maybe(make.array(channels)),
        "running_mean": running[0],
        "running_var": running[1],
        "training": training,
        "momentum": 0.1,
        "eps": 1e-5,
        "activation": make.one_of("none", "relu"),
        "residual": make.maybe(make.array(*shape)),
    }


def _batch_norm_backward(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape = _images(make)
    channels = shape[1]
    return {
        "grad": make.array(*shape),
        "x": make.array(*shape),
        "weight": make.maybe(make.array(channels)),
        "mean": make.array(channels),
        "rstd": make.positive(channels),
        "training": make.flag(),
        "output": make.maybe(make.array(*shape)),
        "need_x": make.flag(),
        "need_residual": make.flag(),
    }


def _rows(make: Maker) -> tuple[tuple[int, ...], int, Arguments]:
    """The shape, how many rows, and the numbers that say so."""
    n, c, rest = make.size(), 2 * make.size(4), make.one_of(1, 6)
    shape = (n, c, rest)
    if make.flag():  # layer norm over the last two axes
        return shape, n, {"length": c * rest, "groups": 1, "channels": c * rest}
    return shape, 2 * n, {"length": c * rest // 2, "groups": 2, "channels": c}


def _norm_rows(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape, _, numbers = _rows(make)
    channels = numbers["channels"]
    weight, bias = make.maybe(make.array(channels)), make.maybe(make.array(channels))
    given = {"x": make.array(*shape), "weight": weight, "bias": bias}
    residual = make.maybe(make.array(*shape))
    return {**given, **numbers, "center": make.flag(), "eps": 1e-5, "residual": residual}


def _norm_rows_backward(rng: Generator) -> Arguments:
    make = Maker(rng)
    shape, rows, numbers = _rows(make)
    return {
        "grad": make.array(*shape),
        "x": make.array(*shape),
        "weight": make.maybe(make.array(numbers["channels"])),
        "mean": make.maybe(make.array(rows)),
        "rstd": make.positive(rows),
        **numbers,
        "need_x": make.flag(),
        "onto": make.maybe(make.array(*shape)),
    }


CALLS: dict[str, Callable[[Generator], Arguments]] = {
    "batch_norm_forward": _batch_norm,
    "batch_norm_backward": _batch_norm_backward,
    "norm_rows_forward": _norm_rows,
    "norm_rows_backward": _norm_rows_backward,
}
