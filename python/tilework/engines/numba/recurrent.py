"""Recurrent layers: BLAS multiplies, NumPy takes a step's gates."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tilework.engines.numba.compiled import quiet
from tilework.engines.numba.layout import Array

_GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
_ARRAYS = 5  # of a direction: w, u, b_w, b_u, project


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    y: Array = np.where(x < 0, e, 1) / (1 + e)
    return y


def _flushed(x: Array) -> Array:
    """Zero for what is below the smallest normal number: denormals are slow, and no state stays
    among them."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, x.dtype.type(0), x)


class _Layer(NamedTuple):
    """One direction: arrays (rows, .), and which rows each step has."""

    cell: str
    steps: list[Any]  # an index of rows for each step, in the order of the pass
    x: Array
    h0: Array
    c0: Array
    weights: Sequence[Array | None]

    @property
    def hidden(self) -> int:
        return len(self.weights[1]) // _GATES[self.cell]  # type: ignore[arg-type]


def _rows_of(x: Array, sizes: Any, batch_first: bool) -> list[Any]:
    if sizes is not None:
        ends = np.cumsum(sizes)
        return [np.arange(end - n, end) for end, n in zip(ends, sizes, strict=True)]
    batch, steps = x.shape[:2] if batch_first else x.shape[1::-1]
    grid = np.arange(batch * steps)
    grid = grid.reshape(batch, steps).T if batch_first else grid.reshape(steps, batch)
    return list(grid)


def _layers(
    cell: str, x: Array, sizes: Any, batch_first: bool, h0: Any, c0: Any, weights: Sequence[Any]
) -> list[_Layer]:
    steps = _rows_of(x, sizes, batch_first)
    batch = len(steps[0]) if steps else 0 if sizes is not None else x.shape[not batch_first]
    u = weights[1]
    count = len(weights) // _ARRAYS
    h0 = np.zeros((count, batch, u.shape[1]), x.dtype) if h0 is None else h0
    c0 = np.zeros((count, batch, len(u) // _GATES[cell]), x.dtype) if c0 is None else c0
    rows = x.reshape(-1, x.shape[-1])
    return [
        _Layer(
            cell, steps[:: -1 if d else 1], rows, h0[d], c0[d],
            weights[d * _ARRAYS : (d + 1) * _ARRAYS],
        )
        for d in range(count)
    ]  # fmt: skip


class _Pass(NamedTuple):
    """What a direction's forward pass gives; `before` are the states h that its rows read."""

    y: Array
    h: Array
    c: Array
    gates: Array
    extra: Array


def _plus(x: Array, bias: Array | None) -> Array:
    return x if bias is None else x + bias


def _cell(
    layer: _Layer, a: Array, h: Array, c: Array
) -> tuple[Array, Array, Sequence[Array], Array]:
    """h', c', the gates, and what else backward needs."""
    _, u, _, b_u, project = layer.weights
    assert u is not None
    through = _plus(h @ u.T, b_u)
    if layer.cell == "lstm":
        i, f, g, o = np.split(a + through, 4, 1)
        i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
        c = _flushed(f * c + i * g)
        h = o * np.tanh(c)
        h = _flushed(h if project is None else h @ project.T)
        return h, c, (i, f, g, o), c
    if layer.cell == "gru":
        (ar, az, an), (br, bz, bn) = np.split(a, 3, 1), np.split(through, 3, 1)
        r, z = _sigmoid(ar + br), _sigmoid(az + bz)
        n = np.tanh(an + r * bn)
        return _flushed(z * (h - n) + n), c, (r, z, n), bn
    h = a + through
    h = np.tanh(h) if layer.cell == "rnn_tanh" else np.maximum(h, 0)
    return _flushed(h), c, (h,), h


def _forward(layer: _Layer) -> _Pass:
    w, u, b_w, _, _ = layer.weights
    assert w is not None
    assert u is not None
    a = _plus(layer.x @ w.T, b_w)
    rows = len(layer.x)
    y = np.empty((rows, u.shape[1]), a.dtype)
    extra = np.empty((rows, layer.hidden), a.dtype)
    h, c = layer.h0.copy(), layer.c0.copy()
    for at in layer.steps:
        n = len(at)
        h[:n], c[:n], gates, extra[at] = _cell(layer, a[at], h[:n], c[:n])
        a[at] = np.concatenate(gates, 1)
        y[at] = h[:n]
    return _Pass(y, h, c, a, extra)


@quiet
def recurrent_forward(
    cell: str, x: Array, sizes: Any, batch_first: bool, h0: Any, c0: Any, weights: Sequence[Any],
    save: bool,
) -> tuple[Array, list[Array]]:  # fmt: skip
    passes = [_forward(d) for d in _layers(cell, x, sizes, batch_first, h0, c0, weights)]
    parts = [np.concatenate([p.y for p in passes], 1), np.stack([p.h for p in passes])]
    if cell == "lstm":
        parts.append(np.stack([p.c for p in passes]))
    saved = [s for p in passes for s in (p.gates, p.extra)] if save and _GATES[cell] > 1 else []
    return np.concatenate([p.reshape(-1) for p in parts]), saved


def _before(layer: _Layer, states: Array, start: Array) -> Array:
    """The state that each row's step read."""
    out = np.empty_like(states)
    held = start.copy()
    for at in layer.steps:
        out[at] = held[: len(at)]
        held[: len(at)] = states[at]
    return out


class _Grads(NamedTuple):
    x: Array
    h0: Array
    c0: Array
    weights: list[Array | None]


def _backward(
    layer: _Layer, dy: Array, dh: Array, dc: Array, y: Array, gates: Any, extra: Any
) -> _Grads:
    w, u, b_w, b_u, project = layer.weights
    assert w is not None
    assert u is not None
    h_before = _before(layer, y, layer.h0)
    c_before = _before(layer, extra, layer.c0) if layer.cell == "lstm" else None
    n = layer.hidden
    da = np.empty((len(y), len(u)), y.dtype)  # of what the input made
    db = da if layer.cell != "gru" else np.empty_like(da)  # of what the state made
    d_out, out = (np.empty((len(y), k), y.dtype) for k in (u.shape[1], n))
    dh, dc = dh.copy(), dc.copy()
    for at in layer.steps[::-1]:
        k = len(at)
        d = dh[:k] + dy[at]
        rest: Any = 0
        if layer.cell == "lstm":
            assert c_before is not None
            i, f, g, o = np.split(gates[at], 4, 1)
            top = np.tanh(extra[at])
            d_out[at], out[at] = d, o * top
            d = d if project is None else d @ project
            of_c = dc[:k] + d * o * (1 - top * top)
            di, df = of_c * g * i * (1 - i), of_c * c_before[at] * f * (1 - f)
            dg, do = of_c * i * (1 - g * g), d * top * o * (1 - o)
            da[at] = np.concatenate((di, df, dg, do), 1)
            dc[:k] = _flushed(of_c * f)
        elif layer.cell == "gru":
            r, z, new = np.split(gates[at], 3, 1)
            dn = d * (1 - z) * (1 - new * new)
            dr, dz = dn * extra[at] * r * (1 - r), d * (h_before[at] - new) * z * (1 - z)
            da[at], db[at] = np.concatenate((dr, dz, dn), 1), np.concatenate((dr, dz, dn * r), 1)
            rest = d * z
        elif layer.cell == "rnn_tanh":
            da[at] = d * (1 - y[at] * y[at])
        else:
            da[at] = np.where(y[at] <= 0, 0, d)
        dh[:k] = _flushed(db[at] @ u + rest)
    grads: list[Array | None] = [da.T @ layer.x, db.T @ h_before]
    grads += [None if b is None else g.sum(0) for b, g in ((b_w, da), (b_u, db))]
    grads.append(None if project is None else d_out.T @ out)
    return _Grads(da @ w, dh, dc, grads)


@quiet
def recurrent_backward(
    cell: str, grad: Array, flat: Array, x: Array, sizes: Any, batch_first: bool, h0: Any,
    c0: Any, weights: Sequence[Any], saved: Sequence[Array], need_x: bool, need_states: bool,
    need_weights: bool,
) -> tuple[Any, Any, Any, list[Array | None]]:  # fmt: skip
    layers = _layers(cell, x, sizes, batch_first, h0, c0, weights)
    count, out = len(layers), weights[1].shape[1]
    rows, batch = len(layers[0].x), len(layers[0].h0)
    ends = np.cumsum([rows * count * out, count * batch * out])
    dy, y = (a[: ends[0]].reshape(rows, count * out) for a in (grad, flat))
    dh = grad[ends[0] : ends[1]].reshape(count, batch, out)
    dc = grad[ends[1] :].reshape(count, batch, -1) if cell == "lstm" else np.zeros_like(dh)
    found = []
    for d, layer in enumerate(layers):
        part = slice(d * out, (d + 1) * out)
        gates, extra = saved[2 * d : 2 * d + 2] if saved else (None, None)
        found.append(_backward(layer, dy[:, part], dh[d], dc[d], y[:, part], gates, extra))
    dx = sum((g.x for g in found[1:]), found[0].x).reshape(x.shape) if need_x else None
    states = [np.stack([g.h0 for g in found]), np.stack([g.c0 for g in found])]
    return (
        dx,
        states[0] if need_states else None,
        states[1] if need_states and cell == "lstm" else None,
        [g if need_weights else None for f in found for g in f.weights],
    )
