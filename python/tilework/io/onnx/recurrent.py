"""Recurrent layers in ONNX, which orders gates otherwise: LSTM i, o, f, c and GRU z, r, h."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilework.io.onnx.elementwise import Results
from tilework.io.onnx.graph import Arguments, Graph, Handler
from tilework.tensor import Tensor

# The op, its gates as PyTorch's places of ONNX's, and further settings.
_KINDS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "gru": ("GRU", (1, 0, 2), {}),
    "rnn_tanh": ("RNN", (0,), {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", (0,), {"activations": ["Relu"]}),
}


def _layers(name: str) -> Handler:
    def emit(g: Graph, a: Arguments, y: Results) -> Sequence[str] | None:
        params, directions = list(a["params"]), 2 if a["bidirectional"] else 1
        each = 4 if a["has_biases"] else 2
        plain = a["batch_sizes"] is None and a.get("peepholes") is None
        if not plain or a["input"].ndim != 3 or len(params) != each * directions * a["num_layers"]:
            return None  # packed, with peepholes, without a batch, or projected
        hx = list(a["hx"]) if isinstance(a["hx"], (tuple, list)) else [a["hx"]]
        states = 2 if name == "lstm" else 1
        x = g(a["input"])
        if a["batch_first"]:
            x = g.node("Transpose", x, perm=[1, 0, 2])
        ends: list[list[str]] = [[] for _ in range(states)]
        for layer in range(a["num_layers"]):
            at = layer * directions
            own = params[at * each : (at + directions) * each]
            first = [_part(g, h, at, directions) for h in hx]
            x, *last = _layer(g, name, a, x, own, first)
            for known, state in zip(ends, last, strict=True):
                known.append(state)
        if a["batch_first"]:
            x = g.node("Transpose", x, perm=[1, 0, 2])
        joined = [e[0] if len(e) == 1 else g.node("Concat", *e, axis=0) for e in ends]
        return [x, *joined]

    return emit


def _part(g: Graph, state: Tensor | None, at: int, directions: int) -> str:
    if state is None or _is_zero(g, state):
        return ""
    if state.shape[0] == directions:
        return g(state)
    ends = (g.integers(at), g.integers(at + directions), g.integers(0))
    return g.node("Slice", g(state), *ends)


def _is_zero(g: Graph, state: Tensor) -> bool:
    """Whether a state is zeros, which ONNX has where none is given, and for a batch of any size."""
    return g.is_constant(state) and not state.detach().numpy().any()


def _layer(
    g: Graph, name: str, a: Arguments, x: str, params: list[Tensor], states: list[str]
) -> list[str]:
    """One layer over (T, N, I): the outputs (T, N, directions * H), and the last states."""
    op, order, settings = _KINDS[name]
    directions = 2 if a["bidirectional"] else 1
    each = len(params) // directions
    hidden = params[1].shape[1]

    def gates(place: int) -> Any:
        blocks = []
        for d in range(directions):
            w = params[d * each + place].detach().numpy()
            blocks.append(np.concatenate([w.reshape(len(order), hidden, -1)[i] for i in order]))
        return np.stack(blocks)

    inputs = [x, g.constant(gates(0)), g.constant(gates(1))]
    bias = np.concatenate([gates(2), gates(3)], 1)[..., 0] if a["has_biases"] else None
    inputs += ["" if bias is None else g.constant(bias), "", *states]
    while inputs[-1] == "":
        inputs.pop()
    settings = dict(settings, hidden_size=hidden)
    if directions == 2:
        settings["direction"] = "bidirectional"
        if "activations" in settings:
            settings["activations"] = settings["activations"] * 2
    if name == "gru":
        settings["linear_before_reset"] = int(a["reset_after"])
    made = g.nodes(op, 3 if name == "lstm" else 2, *inputs, **settings)
    y = g.node("Transpose", made[0], perm=[0, 2, 1, 3])
    return [g.node("Reshape", y, g.integers(0, 0, -1)), *made[1:]]


def _cell(name: str) -> Handler:
    """One step is a layer over one."""

    def emit(g: Graph, a: Arguments, y: Results) -> list[str]:
        params = [a[key] for key in ("w_ih", "w_hh", "b_ih", "b_hh") if a[key] is not None]
        hx = a["hx"] if isinstance(a["hx"], (tuple, list)) else [a["hx"]]
        first = g.integers(0)
        states = [
            "" if h is None or _is_zero(g, h) else g.node("Unsqueeze", g(h), first) for h in hx
        ]
        settings = {"bidirectional": False, "has_biases": len(params) == 4, "reset_after": True}
        x = g.node("Unsqueeze", g(a["input"]), first)
        _, *last = _layer(g, name, settings, x, params, states)
        return [g.node("Squeeze", state, first) for state in last]

    return emit


HANDLERS: dict[str, Handler] = {
    **{name: _layers(name) for name in _KINDS},
    **{f"{name}_cell": _cell(name) for name in _KINDS},
}
