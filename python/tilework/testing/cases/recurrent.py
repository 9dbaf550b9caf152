"""Cases of recurrent layers and cells."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator, Mode
from tilework.testing.cases.step import training_step
from tilework.testing.inputs import LAYOUTS, laid_out, normal
from tilework.testing.reference import log_softmax, sigmoid
from tilework.testing.tolerance import growth, stored, tiny, working_eps

FAMILY = "recurrent"
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Setting:
    """A stack of layers, and what it is given."""

    cell: str
    steps: int = 5
    batch: int = 3
    input: int = 4
    hidden: int = 6
    layers: int = 1
    directions: int = 1
    batch_first: bool = False
    biases: bool = True
    out: int = 0  # of a projection
    states: bool = True
    lengths: tuple[int, ...] = ()  # of the sequences of a packed batch, never growing
    peepholes: bool = False
    reset_after: bool = True

    @property
    def width(self) -> int:
        """Of h."""
        return self.out or self.hidden

    @property
    def kind(self) -> str:
        """The layer's name."""
        return {"lstm": "LSTM", "gru": "GRU"}.get(self.cell, "RNN")

    @property
    def given(self) -> int:
        """How many states are given: none, h_0, or c_0 too."""
        return self.states * (2 if self.cell == "lstm" else 1)

    @property
    def sizes(self) -> list[int]:
        """The batch at each step."""
        if not self.lengths:
            return [self.batch] * self.steps
        return [sum(n > t for n in self.lengths) for t in range(self.lengths[0])]

    def weights(self) -> list[tuple[int, ...]]:
        """The shapes of all weights, in the order of `params`."""
        shapes: list[tuple[int, ...]] = []
        rows, width = GATES[self.cell] * self.hidden, self.input
        for _ in range(self.layers):
            for _ in range(self.directions):
                shapes += [(rows, width), (rows, self.width)]
                shapes += [(rows,), (rows,)] if self.biases else []
                shapes += [(self.out, self.hidden)] if self.out else []
            width = self.directions * self.width
        return shapes


# --- NumPy's answer ---


def _step(s: Setting, x: Array, h: Array, c: Array, group: list[Any], peep: Any) -> Any:
    w, u, b_w, b_u, project = group
    n = s.hidden
    a, b = x @ w.T + b_w, h @ u.T + b_u
    if s.cell == "lstm":
        i, f, g, o = np.split(a + b, 4, 1)
        if peep is not None:
            i, f = i + peep[:n] * c, f + peep[2 * n :] * c
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        if peep is not None:
            o = o + peep[n : 2 * n] * c
        h = sigmoid(o) * np.tanh(c)
        return (h if project is None else h @ project.T), c
    if s.cell == "gru":
        (ar, az, an), (br, bz, bn) = np.split(a, 3, 1), np.split(b, 3, 1)
        r, z = sigmoid(ar + br), sigmoid(az + bz)
        if s.reset_after:
            new = np.tanh(an + r * bn)
        else:
            last = u[2 * n :]
            new = np.tanh(an + (r * h) @ last.T + (b_u[2 * n :] if s.biases else 0.0))
        return (1 - z) * new + z * h, c
    return (np.tanh(a + b) if s.cell == "rnn_tanh" else np.maximum(a + b, 0)), c


def _direction(
    s: Setting, steps: list[Array], h: Array, c: Array, group: list[Any], back: bool, peep: Any
) -> tuple[list[Any], Array, Array]:
    outs: list[Any] = [None] * len(steps)
    h, c = h.copy(), c.copy()
    for t in range(len(steps))[:: -1 if back else 1]:
        n = len(steps[t])
        h[:n], c[:n] = _step(s, steps[t], h[:n], c[:n], group, peep)
        outs[t] = h[:n].copy()
    return outs, h, c


def _stack(s: Setting, x: Array, h0: Any, c0: Any, weights: list[Array], peep: Any) -> Array:
    count = s.layers * s.directions
    h0 = np.zeros((count, s.batch, s.width)) if h0 is None else h0
    c0 = np.zeros((count, s.batch, s.hidden)) if c0 is None else c0
    each = len(weights) // count
    if s.lengths:
        steps = np.split(x, np.cumsum(s.sizes)[:-1])
    else:
        steps = list(np.moveaxis(x, 1, 0) if s.batch_first else x)
    hs, cs = [], []
    for layer in range(s.layers):
        ends = []
        for d in range(s.directions):
            i = layer * s.directions + d
            group: list[Any] = list(weights[i * each : (i + 1) * each])
            if not s.biases:
                group[2:2] = [0.0, 0.0]
            group = group if s.out else [*group, None]
            outs, h, c = _direction(s, steps, h0[i], c0[i], group, d == 1, peep)
            ends.append(outs)
            hs.append(h)
            cs.append(c)
        steps = [np.concatenate(both, 1) for both in zip(*ends, strict=True)]
    y = np.concatenate(steps) if s.lengths else np.stack(steps, 1 if s.batch_first else 0)
    parts = [y, np.stack(hs), *([np.stack(cs)] if s.cell == "lstm" else [])]
    return np.concatenate([p.reshape(-1) for p in parts])


# --- calls ---


def _joined(tw: Any, tensors: Any) -> Any:
    return tw.cat([t.reshape(-1) for t in tensors])


def _call(s: Setting) -> Callable[..., Any]:
    """The function, with all that it gives in one tensor."""

    def call(tw: Any, F: Any, x: Any, *given: Any) -> Any:
        states, weights = _parted(s, given)
        more: dict[str, Any] = {}
        if s.peepholes:
            *weights, more["peepholes"] = weights
        if not s.reset_after:
            more["reset_after"] = False
        hx: Any = states if any(n is not None for n in states) else (None, None)
        if s.cell != "lstm":
            hx = states[0]
        common = (s.biases, s.layers, 0.0, False, s.directions == 2)
        function = getattr(tw, s.cell)
        if not s.lengths:
            return _joined(tw, function(x, hx, weights, *common, s.batch_first, **more))
        sizes = tw.tensor(s.sizes)
        return _joined(tw, function(x, hx, weights, *common, False, batch_sizes=sizes, **more))

    return call


def _peer(s: Setting) -> Any:
    """PyTorch's spelling: of packed rows its own, and it has no states of None."""
    if s.peepholes or not s.reset_after:
        return None

    def call(torch: Any, F: Any, x: Any, *given: Any) -> Any:
        (h, c), weights = _parted(s, given)
        count = s.layers * s.directions
        h = torch.zeros(count, s.batch, s.width, dtype=x.dtype) if h is None else h
        if s.cell == "lstm":
            c = torch.zeros(count, s.batch, s.hidden, dtype=x.dtype) if c is None else c
        hx = (h, c) if s.cell == "lstm" else h
        common = (list(weights), s.biases, s.layers, 0.0, False, s.directions == 2)
        function = getattr(torch, s.cell)
        if s.lengths:
            return _joined(torch, function(x, torch.tensor(s.sizes), hx, *common))
        return _joined(torch, function(x, hx, *common, s.batch_first))

    return call


def _parted(s: Setting, given: Any) -> tuple[Any, Any]:
    """((h0, c0), weights)."""
    return (*given[: s.given], *(None,) * (2 - s.given)), list(given[s.given :])


def _layer_call(s: Setting) -> Callable[..., Any]:
    """The layer, whose weights are given."""

    def call(tw: Any, F: Any, x: Any, *given: Any) -> Any:
        states, weights = _parted(s, given)
        more: dict[str, Any] = {"proj_size": s.out} if s.out else {}
        if s.kind == "RNN":
            more["nonlinearity"] = s.cell[4:]
        layer = getattr(tw.nn, s.kind)(
            s.input, s.hidden, s.layers, bias=s.biases, batch_first=s.batch_first,
            bidirectional=s.directions == 2, **more,
        )  # fmt: skip
        if x.dtype == tw.float64:
            layer.double()
        for parameter, weight in zip(layer.parameters(), weights, strict=True):
            parameter.data = weight
        hx = (states if s.cell == "lstm" else states[0]) if s.states else None
        y, last = layer(x, hx)
        return _joined(tw, (y, *(last if s.cell == "lstm" else (last,))))

    return call


# --- inputs and bounds ---


def _inputs(s: Setting, layout: str = "contiguous") -> Callable[..., tuple[Any, ...]]:
    """x, h0 and c0 where there are states, weights as layers begin with, peepholes."""

    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        if s.lengths:
            shape: tuple[int, ...] = (sum(s.lengths), s.input)
        elif s.batch_first:
            shape = (s.batch, s.steps, s.input)
        else:
            shape = (s.steps, s.batch, s.input)
        made = [laid_out(normal(rng, t, *shape), layout)]
        if s.states:
            count = s.layers * s.directions
            made.append(normal(rng, t, count, s.batch, s.width))
            if s.cell == "lstm":
                made.append(normal(rng, t, count, s.batch, s.hidden))
        bound = s.hidden**-0.5
        shapes = s.weights() + ([(3 * s.hidden,)] if s.peepholes else [])
        made += [laid_out(rng.uniform(-bound, bound, n).astype(t), layout) for n in shapes]
        return tuple(made)

    return inputs


def _bound(s: Setting) -> Any:
    """A step adds the error of its sums to what the state brings, which weights of one over the
    root of the width, and slopes of at most one, pass on whole."""

    def bound(t: str, expected: Array, x: Array, *given: Array) -> Any:
        top = max(float(np.abs(a).max(initial=0.0)) for a in (x, expected))
        terms = max(s.input, s.directions * s.width) + s.width
        sums = np.sqrt(terms) * (1.0 + top)
        unit = working_eps(t) + np.finfo(np.float64).eps
        depth = (len(s.sizes) + 1) * s.layers
        return stored(t, expected, unit * depth * growth(terms) * sums + depth * tiny(t))

    return bound


def _case(label: str, s: Setting, layout: str = "contiguous", **fields: Any) -> Case:
    count = len(s.weights()) + s.peepholes + 1 + s.given

    def expected(x: Array, *given: Any) -> Array:
        (h, c), weights = _parted(s, given)
        peep = weights.pop() if s.peepholes else None
        return _stack(s, x, h, c, weights, peep)

    fields.setdefault("differentiable", tuple(range(count)))
    fields.setdefault("dtypes", ("float32", "float64", "bfloat16"))
    fields.setdefault("cancels", True)
    fields.setdefault("call", _call(s))
    fields.setdefault("peer", _peer(s))
    fields.setdefault("op", s.cell)
    return Case(
        family=FAMILY, label=label, inputs=_inputs(s, layout), reference=expected,
        tolerance=_bound(s), **fields,
    )  # fmt: skip


# --- the cases ---


def _shapes() -> Iterator[Case]:
    for cell in GATES:
        for steps, batch, width, hidden in (
            (1, 1, 1, 1), (1, 5, 3, 7), (2, 1, 3, 17), (3, 2, 5, 33), (4, 4, 20, 15),
            (6, 5, 16, 16), (7, 33, 9, 31), (6, 9, 3, 65), (9, 3, 4, 8),
        ):  # fmt: skip
            s = Setting(cell, steps, batch, width, hidden)
            yield _case(f"{cell} T={steps} N={batch} I={width} H={hidden}", s)
        s = Setting(cell)
        yield _case(f"{cell} no states", replace(s, states=False))
        yield _case(f"{cell} no biases", replace(s, biases=False))
        yield _case(f"{cell} batch first", replace(s, batch_first=True))
        yield _case(f"{cell} both ways", replace(s, directions=2))
        yield _case(f"{cell} both ways, batch first", replace(s, directions=2, batch_first=True))
        yield _case(f"{cell} three layers", replace(s, layers=3))
        yield _case(f"{cell} two layers both ways", replace(s, layers=2, directions=2))
        yield _case(f"{cell} no batch", replace(s, batch=0), differentiable=(), peer=None)
        for layout in LAYOUTS:
            yield _case(f"{cell} {layout} operands", s, layout)


def _packed() -> Iterator[Case]:
    for cell in GATES:
        for lengths in ((3,), (4, 4, 4), (5, 3, 1), (7, 7, 2, 2, 2, 1), (8, 6, 5, 4, 2, 1)):
            for directions in (1, 2):
                s = Setting(cell, batch=len(lengths), lengths=lengths, directions=directions)
                yield _case(f"{cell} packed {lengths}, {directions} ways", s)
        s = Setting(cell, batch=3, lengths=(5, 4, 2), directions=2, layers=2, states=False)
        yield _case(f"{cell} packed, two layers", s)


def _lstm_alone() -> Iterator[Case]:
    for out, hidden in ((1, 2), (3, 6), (16, 33), (20, 70)):
        for directions in (1, 2):
            s = Setting("lstm", hidden=hidden, out=out, directions=directions, layers=2)
            yield _case(f"lstm projected {hidden} to {out}, {directions} ways", s)
    s = Setting("lstm", batch=4, out=3, lengths=(6, 5, 5, 2), directions=2)
    yield _case("lstm projected, packed", s)
    yield _case("lstm peepholes", Setting("lstm", peepholes=True))


def _gru_alone() -> Iterator[Case]:
    yield _case("gru reset before", Setting("gru", reset_after=False))
    yield _case("gru reset before, no biases", Setting("gru", reset_after=False, biases=False))


def _modules() -> Iterator[Case]:
    for cell in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        for more in ({}, {"layers": 2, "directions": 2}, {"batch_first": True, "biases": False}):
            s = Setting(cell, **more)
            yield _case(
                f"{s.kind} {s.cell} {' '.join(more) or 'plain'}", s, op=s.kind, call=_layer_call(s),
                differentiable=(0, 1), peer="same", dtypes=("float32", "float64"),
            )  # fmt: skip
    s = Setting("lstm", out=3)
    yield _case(
        "LSTM projected", s, op="LSTM", call=_layer_call(s), differentiable=(0, 1, 2), peer="same",
        dtypes=("float32", "float64"),
    )  # fmt: skip


def _cell_call(s: Setting, layer: bool) -> Callable[..., Any]:
    def call(tw: Any, F: Any, x: Any, *given: Any) -> Any:
        states, weights = _parted(s, given)
        hx = (states if s.cell == "lstm" else states[0]) if s.states else None
        if layer:
            more = {"nonlinearity": s.cell[4:]} if s.kind == "RNN" else {}
            module = getattr(tw.nn, f"{s.kind}Cell")(s.input, s.hidden, bias=s.biases, **more)
            if x.dtype == tw.float64:
                module.double()
            for parameter, weight in zip(module.parameters(), weights, strict=True):
                parameter.data = weight
            found = module(x, hx)
        else:
            found = getattr(tw, f"{s.cell}_cell")(x, hx, *weights)
        return _joined(tw, found if s.cell == "lstm" else (found,))

    return call


def _cell_inputs(s: Setting) -> Callable[..., tuple[Any, ...]]:
    made = _inputs(s)

    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        x, *rest = made(rng, t)
        return (x[0], *(r[0] for r in rest[: s.given]), *rest[s.given :])

    return inputs


def _cell_case(label: str, s: Setting, layer: bool = False, **fields: Any) -> Case:
    def expected(x: Array, *given: Any) -> Array:
        (h, c), weights = _parted(s, given)
        h, c = (None if n is None else n[None] for n in (h, c))
        return _stack(s, x[None], h, c, weights, None)[x.shape[0] * s.width :]

    op = f"{s.kind}Cell" if layer else f"{s.cell}_cell"
    fields.setdefault("differentiable", tuple(range(1 + s.given + (not layer) * len(s.weights()))))
    dtypes = ("float32", "float64") if layer else ("float32", "float64", "bfloat16")
    fields.setdefault("dtypes", dtypes)
    return Case(
        family=FAMILY, op=op, label=label, inputs=_cell_inputs(s), reference=expected,
        tolerance=_bound(s), call=_cell_call(s, layer), cancels=True, **fields,
    )  # fmt: skip


def _cells() -> Iterator[Case]:
    for cell in GATES:
        for batch, width, hidden in ((1, 1, 1), (3, 4, 6), (2, 20, 17), (9, 5, 32)):
            s = Setting(cell, 1, batch, width, hidden)
            yield _cell_case(f"{cell}_cell N={batch} I={width} H={hidden}", s)
        s = Setting(cell, 1, biases=False)
        yield _cell_case(f"{cell}_cell no biases", s)
        yield _cell_case(f"{cell} cell's layer", Setting(cell, 1), True)
        s = Setting(cell, 1, states=False)
        yield _cell_case(f"{cell} cell's layer, no state", s, True)


def _timed() -> Iterator[Case]:
    cells = ("lstm", "gru", "rnn_tanh")
    modes: tuple[Mode, ...] = ("forward", "backward")
    sizes = ((32, 128), (32, 256), (32, 512), (1, 256))
    for cell, (batch, hidden), mode in itertools.product(cells, sizes, modes):
        s = Setting(cell, 64, batch, hidden, hidden)
        rows = GATES[cell] * hidden
        work = 2.0 * s.steps * batch * rows * 2 * hidden * (1 if mode == "forward" else 3)
        moved = 4.0 * (2 * rows * hidden + 2 * s.steps * batch * hidden)
        label = f"{s.kind} B={batch} T=64 H={hidden} {mode}"
        yield _case(
            label, s, quick=False, dtypes=("float32",),
            differentiable=() if mode == "forward" else _every_weight(s),
            bench=Bench(
                label, work, moved * (1 if mode == "forward" else 3), mode=mode,
                quick=cell == "lstm" and hidden == 128,
            ),
        )  # fmt: skip
    for batch, mode in ((1, modes[0]), (32, modes[1])):
        s = Setting("lstm", 1, batch, 256, 256)
        label = f"LSTM cell, one step B={batch} H=256 {mode}"
        yield _cell_case(
            label, s, quick=False, dtypes=("float32",),
            differentiable=() if mode == "forward" else tuple(range(7)),
            bench=Bench(label, 2.0 * batch * 1024 * 512, 4.0 * 1024 * 512, mode=mode),
        )  # fmt: skip


def _decaying(forget: float) -> Case:
    """A state that nothing feeds: with a small forget gate it is soon below the normal numbers."""
    s = Setting("lstm", 200, 32, 128, 128)
    label = f"LSTM B=32 T=200 H=128, forget gates at {forget:g} forward"
    made = _inputs(s)

    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        x, h, c, w, u, b_w, b_u = made(rng, t)
        bias = np.zeros_like(b_w)
        bias[s.hidden : 2 * s.hidden] = forget
        return 0 * x, 0 * h, c, 0 * w, (0 * u + 0.01).astype(t), bias, 0 * b_u

    work = 2.0 * s.steps * s.batch * 4 * s.hidden * 2 * s.hidden
    return replace(
        _case(label, s, quick=False, dtypes=("float32",), differentiable=()),
        inputs=inputs,
        bench=Bench(label, work, 8.0 * s.steps * s.batch * s.hidden),
    )


WORDS = 1000


def _language_model(s: Setting) -> Case:
    """A training step: embedding, two layers of LSTM, a linear layer, cross entropy, SGD."""
    label = f"LSTM language model 2x{s.hidden} B={s.batch} T={s.steps} step"
    made = _inputs(s)

    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        _, *weights = made(rng, t)
        table, head = (normal(rng, t, WORDS, s.hidden) / 16 for _ in range(2))
        words = rng.integers(0, WORDS, (s.steps + 1, s.batch))
        return words[:-1], words[1:].reshape(-1), table.astype(t), head.astype(t), *weights

    def setup(tw: Any, F: Any, words: Any, after: Any, table: Any, head: Any, *weights: Any) -> Any:
        embedding = tw.nn.Embedding(WORDS, s.input)
        layers = tw.nn.LSTM(s.input, s.hidden, s.layers)
        out = tw.nn.Linear(s.hidden, WORDS, bias=False)
        parameters = [p for m in (embedding, layers, out) for p in m.parameters()]
        given = (table, *weights, head)
        for parameter, weight in zip(parameters, given, strict=True):
            parameter.data = weight.clone()
        optimiser = tw.optim.SGD(parameters, lr=0.1)

        def loss() -> Any:
            y, _ = layers(embedding(words))
            return F.cross_entropy(out(y).reshape(-1, WORDS), after)

        return training_step(optimiser, loss)

    def expected(words: Array, after: Array, table: Array, head: Array, *weights: Array) -> Array:
        flat = _stack(s, table[words], None, None, list(weights), None)
        y = flat[: words.size * s.hidden].reshape(-1, s.hidden)
        log_p = log_softmax(y @ head.T, 1)
        return np.asarray(-log_p[np.arange(len(after)), after].mean())

    rows = s.steps * s.batch
    work = 6.0 * rows * (s.layers * 8 * s.hidden**2 + s.hidden * WORDS)
    return Case(
        family=FAMILY, op="language_model", label=label, inputs=inputs, reference=expected,
        tolerance=lambda t, e, *_: working_eps(t) * growth(rows) * (1.0 + np.abs(e)),
        setup=setup, quick=False, dtypes=("float32",),
        bench=Bench(label, work, 12.0 * rows * (s.hidden * 4 + WORDS)),
    )  # fmt: skip


def _every_weight(s: Setting) -> tuple[int, ...]:
    return tuple(range(1 + s.given, 1 + s.given + len(s.weights())))


CASES: tuple[Case, ...] = (
    *_shapes(), *_packed(), *_lstm_alone(), *_gru_alone(), *_modules(), *_cells(), *_timed(),
    *map(_decaying, (5.0, -3.0)),
    _language_model(Setting("lstm", 64, 32, 256, 256, layers=2, states=False)),
)  # fmt: skip
