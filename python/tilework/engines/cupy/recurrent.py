"""Recurrent layers: BLAS multiplies, array functions take a step's gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tilework.arrays import namespace
from tilework.dtypes import finfo
from tilework.engines.cupy.base import Array, quiet
from tilework.engines.cupy.functions import sigmoid
from tilework.engines.layout import contiguous

__all__ = ["recurrent_backward", "recurrent_forward"]

_GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
_ARRAYS = 5  # of a direction: w, u, b_w, b_u, project


class _Step(NamedTuple):
    """Which rows a step has, as a slice, and how many."""

    rows: slice
    batch: int


class _Layer(NamedTuple):
    """One direction: arrays (rows, .), its steps in the order of the pass."""

    cell: str
    steps: list[_Step]
    x: Array
    h0: Array
    c0: Array
    weights: Sequence[Any]

    @property
    def hidden(self) -> int:
        return int(self.weights[1].shape[0]) // _GATES[self.cell]


def _steps_of(x: Array, sizes: Any, batch_first: bool) -> list[_Step]:
    if sizes is not None:
        ends, found = 0, []
        for n in sizes.tolist():
            found.append(_Step(slice(ends, ends + n), n))
            ends += n
        return found
    if batch_first:
        batch, steps = x.shape[:2]
        return [_Step(slice(t, batch * steps, steps), batch) for t in range(steps)]
    steps, batch = x.shape[:2]
    return [_Step(slice(t * batch, (t + 1) * batch), batch) for t in range(steps)]


def _layers(
    cell: str, x: Array, sizes: Any, batch_first: bool, h0: Any, c0: Any, weights: Sequence[Any]
) -> list[_Layer]:
    xp, steps = namespace(x), _steps_of(x, sizes, batch_first)
    batch = steps[0].batch if steps else 0 if sizes is not None else x.shape[not batch_first]
    u, count = weights[1], len(weights) // _ARRAYS
    if h0 is None:
        h0 = xp.zeros((count, batch, u.shape[1]), x.dtype)
    if c0 is None:
        c0 = xp.zeros((count, batch, u.shape[0] // _GATES[cell]), x.dtype)
    rows = contiguous(x).reshape(x.size // x.shape[-1] if x.shape[-1] else 0, x.shape[-1])
    if not x.shape[-1]:
        rows = xp.zeros((sum(s.batch for s in steps), 0), x.dtype)
    return [
        _Layer(
            cell, steps[:: -1 if d else 1], rows, h0[d], c0[d],
            weights[d * _ARRAYS : (d + 1) * _ARRAYS],
        )
        for d in range(count)
    ]  # fmt: skip


def _flushed(x: Array) -> Array:
    """Zero for what is below the smallest normal number: no state stays among denormals."""
    real = x.dtype.type
    return namespace(x).where(abs(x) < real(finfo(x.dtype).tiny), real(0), x)


def _plus(x: Array, bias: Array | None) -> Array:
    return x if bias is None else x + bias


def _split(x: Array, count: int) -> list[Array]:
    """The gates beside each other in (rows, count * hidden)."""
    n = x.shape[1] // count
    return [x[:, i * n : (i + 1) * n] for i in range(count)]


class _Pass(NamedTuple):
    """What a direction's forward pass gives: outputs, the last states, gates, and what else
    backward needs."""

    y: Array
    h: Array
    c: Array
    gates: Array
    extra: Array


def _cell(layer: _Layer, a: Array, h: Array, c: Array) -> tuple[Array, Array, list[Array], Array]:
    """h', c', the gates, and what else backward needs."""
    xp, (_, u, _, b_u, project) = namespace(a), layer.weights
    through = _plus(xp.matmul(h, u.T), b_u)
    if layer.cell == "lstm":
        i, f, g, o = _split(a + through, 4)
        i, f, g, o = sigmoid(i), sigmoid(f), xp.tanh(g), sigmoid(o)
        c = _flushed(f * c + i * g)
        h = o * xp.tanh(c)
        h = _flushed(h if project is None else xp.matmul(h, project.T))
        return h, c, [i, f, g, o], c
    if layer.cell == "gru":
        (ar, az, an), (br, bz, bn) = _split(a, 3), _split(through, 3)
        r, z = sigmoid(ar + br), sigmoid(az + bz)
        n = xp.tanh(an + r * bn)
        return _flushed(z * (h - n) + n), c, [r, z, n], bn
    h = a + through
    h = xp.tanh(h) if layer.cell == "rnn_tanh" else xp.maximum(h, h.dtype.type(0))
    return _flushed(h), c, [h], h


def _forward(layer: _Layer) -> _Pass:
    xp, (w, u, b_w, _, _) = namespace(layer.x), layer.weights
    a, rows = _plus(xp.matmul(layer.x, w.T), b_w), len(layer.x)
    y = xp.empty((rows, u.shape[1]), a.dtype)
    extra = xp.empty((rows, layer.hidden), a.dtype)
    h, c = layer.h0.copy(), layer.c0.copy()
    for at, n in layer.steps:
        h[:n], c[:n], gates, extra[at] = _cell(layer, a[at], h[:n], c[:n])
        a[at] = xp.concatenate(gates, 1)
        y[at] = h[:n]
    return _Pass(y, h, c, a, extra)


@quiet
def recurrent_forward(
    cell: str, x: Array, sizes: Any, batch_first: bool, h0: Any, c0: Any, weights: Sequence[Any],
    save: bool,
) -> tuple[Array, list[Array]]:  # fmt: skip
    xp = namespace(x)
    passes = [_forward(d) for d in _layers(cell, x, sizes, batch_first, h0, c0, weights)]
    parts = [xp.concatenate([p.y for p in passes], 1), xp.stack([p.h for p in passes])]
    if cell == "lstm":
        parts.append(xp.stack([p.c for p in passes]))
    saved = [s for p in passes for s in (p.gates, p.extra)] if save and _GATES[cell] > 1 else []
    return xp.concatenate([contiguous(p).reshape(-1) for p in parts]), saved


def _before(layer: _Layer, states: Array, start: Array) -> Array:
    """The state that each row's step read."""
    out, held = namespace(states).empty(states.shape, states.dtype), start.copy()
    for at, n in layer.steps:
        out[at] = held[:n]
        held[:n] = states[at]
    return out


class _Grads(NamedTuple):
    x: Array
    h0: Array
    c0: Array
    weights: list[Array | None]


def _lstm_step(
    gates: Array, c: Array, c_before: Array, d: Array, dc: Array
) -> tuple[list[Array], Array]:
    """The gradients of what the gates were made of, and of the state before."""
    i, f, g, o = _split(gates, 4)
    top = namespace(c).tanh(c)
    of_c = dc + d * o * (1 - top * top)
    di, df = of_c * g * i * (1 - i), of_c * c_before * f * (1 - f)
    dg, do = of_c * i * (1 - g * g), d * top * o * (1 - o)
    return [di, df, dg, do], _flushed(of_c * f)


def _gru_step(
    gates: Array, product: Array, h_before: Array, d: Array
) -> tuple[list[Array], list[Array], Array]:
    """The gradients of what the input and the state gave to the gates, and straight of the state
    before."""
    r, z, n = _split(gates, 3)
    dn = d * (1 - z) * (1 - n * n)
    dr, dz = dn * product * r * (1 - r), d * (h_before - n) * z * (1 - z)
    return [dr, dz, dn], [dr, dz, dn * r], d * z


def _backward(
    layer: _Layer, dy: Array, dh: Array, dc: Array, y: Array, gates: Any, extra: Any
) -> _Grads:
    xp, (w, u, b_w, b_u, project) = namespace(y), layer.weights
    h_before = _before(layer, y, layer.h0)
    c_before = _before(layer, extra, layer.c0) if layer.cell == "lstm" else None
    rows = len(y)
    da = xp.empty((rows, u.shape[0]), y.dtype)  # of what the input made
    db = xp.empty(da.shape, y.dtype) if layer.cell == "gru" else da  # of what the state made
    d_out, out = (xp.empty((rows, k), y.dtype) for k in (u.shape[1], layer.hidden))
    dh, dc = dh.copy(), dc.copy()
    for at, k in layer.steps[::-1]:
        d, rest = dh[:k] + dy[at], None
        if layer.cell == "lstm":
            d_out[at], out[at] = d, _split(gates[at], 4)[3] * xp.tanh(extra[at])
            of_h = d if project is None else xp.matmul(d, project)
            of_gates, dc[:k] = _lstm_step(gates[at], extra[at], c_before[at], of_h, dc[:k])  # type: ignore[index]
            da[at] = xp.concatenate(of_gates, 1)
        elif layer.cell == "gru":
            of_input, of_state, rest = _gru_step(gates[at], extra[at], h_before[at], d)
            da[at], db[at] = xp.concatenate(of_input, 1), xp.concatenate(of_state, 1)
        elif layer.cell == "rnn_tanh":
            da[at] = d * (1 - y[at] * y[at])
        else:
            da[at] = xp.where(y[at] <= 0, y.dtype.type(0), d)
        before = xp.matmul(db[at], u)
        dh[:k] = _flushed(before if rest is None else before + rest)
    grads: list[Array | None] = [xp.matmul(da.T, layer.x), xp.matmul(db.T, h_before)]
    grads += [None if b is None else xp.sum(g, axis=0) for b, g in ((b_w, da), (b_u, db))]
    grads.append(None if project is None else xp.matmul(d_out.T, out))
    return _Grads(xp.matmul(da, w), dh, dc, grads)


@quiet
def recurrent_backward(
    cell: str, grad: Array, flat: Array, x: Array, sizes: Any, batch_first: bool, h0: Any,
    c0: Any, weights: Sequence[Any], saved: Sequence[Array], need_x: bool, need_states: bool,
    need_weights: bool,
) -> tuple[Any, Any, Any, list[Array | None]]:  # fmt: skip
    xp, layers = namespace(x), _layers(cell, x, sizes, batch_first, h0, c0, weights)
    count, out = len(layers), weights[1].shape[1]
    rows, batch = len(layers[0].x), len(layers[0].h0)
    first = rows * count * out
    second = first + count * batch * out
    dy, y = (a[:first].reshape(rows, count * out) for a in (grad, flat))
    dh = grad[first:second].reshape(count, batch, out)
    dc = grad[second:].reshape(count, batch, layers[0].hidden) if cell == "lstm" else dh
    found = []
    for d, layer in enumerate(layers):
        part = slice(d * out, (d + 1) * out)
        gates, extra = saved[2 * d : 2 * d + 2] if saved else (None, None)
        found.append(_backward(layer, dy[:, part], dh[d], dc[d], y[:, part], gates, extra))
    dx = found[0].x if len(found) == 1 else found[0].x + found[1].x
    states = [xp.stack([g.h0 for g in found]), xp.stack([g.c0 for g in found])]
    return (
        dx.reshape(x.shape) if need_x else None,
        states[0] if need_states else None,
        states[1] if need_states and cell == "lstm" else None,
        [g if need_weights else None for f in found for g in f.weights],
    )
