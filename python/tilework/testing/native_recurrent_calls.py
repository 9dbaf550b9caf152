"""Valid calls of the compiled engine's recurrent layers, as native_calls.py has the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tilework.testing.call_parts import Arguments, Generator, Given, Maker


def _recurrent(rng: Generator, backward: bool = False) -> Arguments:
    """Of any cell: the arguments of recurrent_forward, or of recurrent_backward."""
    make = Maker(rng)
    cell = make.one_of("rnn_tanh", "rnn_relu", "lstm", "gru")
    gates = {"lstm": 4, "gru": 3}.get(cell, 1)
    steps, batch, width, hidden = make.size(6), make.size(5), make.size(9), make.size(20)
    directions = make.one_of(1, 2)
    out = make.one_of(hidden, make.size(5)) if cell == "lstm" else hidden
    projects = out != hidden or (cell == "lstm" and make.flag())
    rows, sizes, first = steps * batch, None, make.flag()
    x = make.array(*((batch, steps) if first else (steps, batch)), width)
    if make.flag():
        counts = np.sort(rng.integers(1, batch + 1, steps))[::-1].copy()
        counts[0] = batch
        rows, sizes, first = int(counts.sum()), Given(counts), False
        x = make.array(rows, width)
    weights: list[Any] = []
    for _ in range(directions):
        weights += [make.array(gates * hidden, width), make.array(gates * hidden, out)]
        weights += [make.maybe(make.array(gates * hidden)) for _ in range(2)]
        weights.append(make.array(out, hidden) if projects else None)
    whole = directions * (rows * out + batch * out + (batch * hidden if cell == "lstm" else 0))
    given: Arguments = {"cell": cell}
    if backward:
        given |= {"grad": make.array(whole), "flat": make.array(whole)}
    given |= {
        "x": x,
        "sizes": sizes,
        "batch_first": first,
        "h0": make.maybe(make.array(directions, batch, out)),
        "c0": make.maybe(make.array(directions, batch, hidden)) if cell == "lstm" else None,
        "weights": weights,
    }
    if not backward:
        return given | {"save": make.flag()}
    saved = [make.array(rows, n * hidden) for _ in range(directions) for n in (gates, 1)]
    needs = {f"need_{name}": make.flag() for name in ("x", "states", "weights")}
    return given | {"saved": saved if gates > 1 else [], **needs}


def _services(rng: Generator) -> Arguments:
    """The arguments of recurrent_services."""
    make = Maker(rng)
    cell = make.one_of("rnn_tanh", "rnn_relu", "lstm", "gru")
    return {"cell": cell, **{name: make.size(40) for name in ("steps", "batch", "hidden")}}


CALLS: dict[str, Callable[[Generator], Arguments]] = {
    "recurrent_services": _services,
    "recurrent_forward": _recurrent,
    "recurrent_backward": lambda rng: _recurrent(rng, backward=True),
}
