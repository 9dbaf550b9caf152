"""Recurrent layers over sequences: RNN, LSTM and GRU, and their cells for one step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from tilework import autocasting, dtypes
from tilework.arrays import namespace
from tilework.autograd import Op, gradients_through, mode, recorded
from tilework.engines import ops
from tilework.errors import error
from tilework.functional.cast import cast
from tilework.functional.common import need_float, number, operand, whole
from tilework.functional.creation import zeros
from tilework.functional.indexing import zeros_but_at
from tilework.functional.join import cat, stack, unbind
from tilework.functional.lowering import lowered
from tilework.functional.packing import sizes_of
from tilework.functional.random import dropout as drop
from tilework.storage import Storage
from tilework.tensor import Tensor

Array = Any
State = Tensor | None

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}
_ARRAYS = 5  # of a direction: w, u, b_w, b_u, project


class _How(NamedTuple):
    """A layer but for its tensors. `sizes`: of the batch at each step of packed rows, or None;
    `single`: one step x (N, I), and states without the axis of directions, as a cell's are."""

    cell: str
    sizes: Any
    batch_first: bool
    single: bool = False


# --- one layer, in all its directions ---


def _with_axis(how: _How, x: State) -> Array:
    """The engine's x, or a state."""
    if x is None:
        return None
    return x._array[None] if how.single else x._array


def _arrays(tensors: Sequence[State]) -> list[Array]:
    return [None if t is None else t._array for t in tensors]


def _backward(grad: Array, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    how, flat, kept = saved
    x, h0, c0, *weights = inputs
    dx, dh, dc, dw = ops.recurrent_backward(
        how.cell, grad, flat, _with_axis(how, x), how.sizes, how.batch_first, _with_axis(how, h0),
        _with_axis(how, c0), _arrays(weights), kept, x._requires_grad,
        any(t is not None and t._requires_grad for t in (h0, c0)),
        any(t is not None and t._requires_grad for t in weights),
    )  # fmt: skip
    if how.single:
        dx, dh, dc = (None if d is None else d[0] for d in (dx, dh, dc))
    return (dx, dh if h0 is not None else None, dc if c0 is not None else None, *dw)


def _recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    return gradients_through(partial(_flat_composed, saved[0]), inputs, grad)


def _flat_composed(how: _How, *inputs: Any) -> Tensor:
    return cat([t.reshape(-1) for t in composed(how, *inputs) if t is not None])


def _part_recorded(grad: Tensor, inputs: tuple[Any, ...], saved: Any) -> Sequence[Any]:
    return (zeros_but_at(grad.reshape(-1), slice(*saved), inputs[0]._array),)


def _into_part(total: Array, mine: bool, grad: Array, saved: Any, whole: Tensor) -> Array:
    begin, end = saved
    if total is None:
        total = namespace(grad).empty(whole.shape, grad.dtype)
        total[:begin] = 0
        total[end:] = 0
        total[begin:end].reshape(grad.shape)[...] = grad
        return total
    if not mine:
        total = total.copy()
    total[begin:end].reshape(grad.shape)[...] += grad
    return total


# A layer gives one array with its outputs and its last states, of which tensors are parts.
_RECURRENT = Op("recurrent", _backward, _recorded, rereads=True)
_PART = Op("recurrent_part", differentiable=_part_recorded, place=_into_part)


def run(how: _How, x: Tensor, h0: State, c0: State, weights: Sequence[State]) -> tuple[Any, ...]:
    """The outputs, and the last states h and c (c of an LSTM alone), of a layer.

    x (T, N, I), or with batch_first (N, T, I), or packed (rows, I); states (D, N, .), or None for
    zeros; five weights for each of the D directions (bindings/bind_recurrent.cc).
    """
    inputs = (x, h0, c0, *weights)
    records = mode.enabled and any(t is not None and t._requires_grad for t in inputs)
    flat, kept = ops.recurrent_forward(
        how.cell, _with_axis(how, x), how.sizes, how.batch_first, _with_axis(how, h0),
        _with_axis(how, c0),
        _arrays(weights), records,
    )  # fmt: skip
    directions = len(weights) // _ARRAYS
    rows, out = weights[1]._array.shape  # type: ignore[union-attr]
    hidden = rows // GATES[how.cell]
    if how.single and not records:  # in short: a step is over soon
        ends = flat.reshape(3 if how.cell == "lstm" else 2, -1, hidden)
        c = Tensor(ends[2], Storage()) if how.cell == "lstm" else None
        return None, Tensor(ends[1], Storage()), c
    batch = how.sizes[0] if how.sizes is not None else x.shape[not (how.batch_first or how.single)]
    before = () if how.single else (directions,)
    shapes = [(*x.shape[:-1], directions * out), (*before, int(batch), out)]
    if how.cell == "lstm":
        shapes.append((*before, int(batch), hidden))
    own = [Storage() for _ in shapes]
    places = list(pairwise(accumulate(map(math.prod, shapes), initial=0)))
    parts = [flat[i:j].reshape(s) for (i, j), s in zip(places, shapes, strict=True)]
    found: list[State]
    if records:
        # Backward reads the outputs. PyTorch lets programs write an RNN's and a GRU's before it:
        # it keeps their steps apart from them. An LSTM's it refuses.
        reads = tuple(t._storage for t in inputs if t is not None)
        if how.cell == "lstm":
            reads = (own[0], *reads)
        elif not how.single:
            parts[0] = ops.copy(parts[0], False)
        whole = recorded(flat, Storage(), _RECURRENT, inputs, (how, flat, kept), reads)
        found = [
            recorded(part, storage, _PART, (whole,), place, ())
            for part, storage, place in zip(parts, own, places, strict=True)
        ]
    else:  # states are copied: who keeps one alone does not keep all outputs
        found = [
            Tensor(part.copy() if i else part, storage)
            for i, (part, storage) in enumerate(zip(parts, own, strict=True))
        ]
    return tuple(found) if len(found) == 3 else (*found, None)


# --- the same by ops that each can be differentiated again ---


class Extras(NamedTuple):
    """What ONNX has beyond PyTorch: an LSTM's peepholes (3 * hidden of i, o, f), and a GRU that
    resets before the product with U."""

    peepholes: Any = None
    reset_after: bool = True


PLAIN = Extras()


def _lstm_step(a: Tensor, h: Tensor, c: Any, u: Tensor, project: State, extras: Extras) -> Any:
    n = u.shape[0] // 4
    a = a + h @ u.t()
    i, f, g, o = (a[:, k * n : (k + 1) * n] for k in range(4))
    if extras.peepholes is not None:
        i, f = i + extras.peepholes[:n] * c, f + extras.peepholes[2 * n :] * c
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    if extras.peepholes is not None:
        o = o + extras.peepholes[n : 2 * n] * c
    h = o.sigmoid() * c.tanh()
    return (h if project is None else h @ project.t()), c


def _gru_step(a: Tensor, h: Tensor, u: Tensor, b_u: State, extras: Extras) -> Tensor:
    n = u.shape[0] // 3
    last = u[2 * n :]
    gates = a[:, : 2 * n] + h @ u[: 2 * n].t()
    if b_u is not None:
        gates = gates + b_u[: 2 * n]
    gates = gates.sigmoid()
    reset, keep = gates[:, :n], gates[:, n:]
    through = h @ last.t() if extras.reset_after else (reset * h) @ last.t()
    if b_u is not None:
        through = through + b_u[2 * n :]
    new = (a[:, 2 * n :] + (reset * through if extras.reset_after else through)).tanh()
    mixed: Tensor = keep * (h - new) + new
    return mixed


def _step(
    cell: str, x: Tensor, h: Tensor, c: Any, weights: Sequence[State], extras: Extras
) -> tuple[Tensor, Any]:
    w, u, b_w, b_u, project = weights
    assert w is not None
    assert u is not None
    a = x @ w.t()
    if b_w is not None:
        a = a + b_w
    if cell == "gru":
        return _gru_step(a, h, u, b_u, extras), c
    if b_u is not None:
        a = a + b_u
    if cell == "lstm":
        return _lstm_step(a, h, c, u, project, extras)  # type: ignore[no-any-return]
    a = a + h @ u.t()
    return (a.tanh() if cell == "rnn_tanh" else a.relu()), c


def _steps_of(how: _How, x: Tensor) -> list[Tensor]:
    if how.single:
        return [x]
    if how.sizes is None:
        return list(unbind(x, 1 if how.batch_first else 0))
    steps, row = [], 0
    for size in how.sizes:
        steps.append(x[row : row + int(size)])
        row += int(size)
    return steps


def composed(
    how: _How, x: Tensor, h0: State, c0: State, *weights: State, extras: Extras = PLAIN
) -> tuple[Any, ...]:
    """What run() gives, of recorded ops."""
    steps = _steps_of(how, x)
    out, hidden = weights[1].shape[1], weights[1].shape[0] // GATES[how.cell]  # type: ignore[union-attr]
    directions, batch = len(weights) // _ARRAYS, steps[0].shape[0]
    ys, hs, cs = [], [], []
    for d in range(directions):
        h, c = (
            zeros(batch, width, dtype=x.dtype) if s is None else s if how.single else s[d]
            for s, width in ((h0, out), (c0, hidden))
        )
        outs: list[Any] = [None] * len(steps)
        for t in range(len(steps))[:: -1 if d else 1]:
            n = steps[t].shape[0]
            h_now, c_now = _step(
                how.cell, steps[t], h[:n], c[:n], weights[d * _ARRAYS : (d + 1) * _ARRAYS], extras
            )
            outs[t] = h_now
            h = h_now if n == batch else cat([h_now, h[n:]])
            c = c_now if n == batch else cat([c_now, c[n:]])
        packed = how.single or how.sizes is not None
        ys.append(cat(outs) if packed else stack(outs, 1 if how.batch_first else 0))
        hs.append(h)
        cs.append(c)
    y = ys[0] if directions == 1 else cat(ys, -1)
    h, c = (s[0] if how.single else stack(s) for s in (hs, cs))
    return y, h, (c if how.cell == "lstm" else None)


# --- layers ---


def _cast(tensors: Sequence[State], dtype: dtypes.DType) -> list[State]:
    return [None if t is None else cast(t, dtype) for t in tensors]


def _groups(
    op: str, params: Sequence[Tensor], has_biases: bool, count: int, projects: bool
) -> list[list[State]]:
    """The weights of each layer and direction, five each."""
    each = 2 + 2 * has_biases + projects
    if len(params) != count * each:
        raise error(
            ValueError, op, f"{count * each} params, {each} for each layer and direction",
            len(params), "give weight_ih, weight_hh, bias_ih and bias_hh of each in turn",
        )  # fmt: skip
    groups = []
    for i in range(count):
        part: list[State] = [operand(p, op, "params") for p in params[i * each : (i + 1) * each]]
        if not has_biases:
            part[2:2] = [None, None]
        groups.append(part if projects else [*part, None])
    return groups


def _check_weights(op: str, cell: str, x: Tensor, width: int, group: Sequence[State]) -> None:
    w, project = group[0], group[4]
    assert w is not None
    rows = w.shape[0] if w.ndim else 0
    hidden = rows // GATES[cell]
    out = hidden if project is None or not project.ndim else project.shape[0]
    wanted = ((rows, width), (rows, out), (rows,), (rows,), (out, hidden))
    dtype, whole = x._array.dtype, hidden > 0 and not rows % GATES[cell]
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    for t, shape, name in zip(group, wanted, names, strict=True):
        if t is None:
            continue
        if t._array.shape != shape or not whole:
            raise error(
                ValueError, op, f"{name} {shape}, of {GATES[cell]} gates, for inputs of {width}",
                t.shape, "match the weights and the input's last axis",
            )  # fmt: skip
        if t._array.dtype != dtype:
            raise error(
                TypeError, op, f"{name} of the input's dtype, {x.dtype}", t.dtype,
                "convert one with .to(other.dtype)",
            )  # fmt: skip


def _check_state(op: str, name: str, x: Tensor, state: State, shape: tuple[int, ...]) -> None:
    if state is None:
        return
    if state.shape != shape:
        raise error(
            ValueError, op, f"{name} {shape}", state.shape,
            "its axes are layers times directions, the batch, and the width",
        )  # fmt: skip
    if state.dtype != x.dtype:
        raise error(
            TypeError, op, f"{name} of the input's dtype, {x.dtype}", state.dtype,
            "convert one with .to(other.dtype)",
        )  # fmt: skip


def _is_lowered(cell: str, x: Tensor) -> bool:
    """Whether autocast has a call in bfloat16: LSTMs, and others of what is so already."""
    return bool(autocasting.active) and (cell == "lstm" or x.dtype is dtypes.bfloat16)


def _layers(
    cell: str, input: Tensor, states: Sequence[State], params: Sequence[Tensor], has_biases: bool,
    num_layers: int, dropout: float, train: bool, bidirectional: bool, batch_first: bool,
    batch_sizes: Any, extras: Extras = PLAIN,
) -> tuple[Any, ...]:  # fmt: skip
    op = cell  # its function has the same name
    x = operand(input, op, "input")
    if _is_lowered(cell, x):
        (x,), states, params = lowered(x), lowered(*states), lowered(*params)
    need_float(op, x)
    num_layers, has_biases = whole(op, "num_layers", num_layers), bool(has_biases)
    if num_layers < 1:
        raise error(ValueError, op, "at least one layer", num_layers, "give more")
    if not 0 <= number(op, "dropout", dropout) <= 1:
        raise error(ValueError, op, "dropout in [0, 1]", dropout, "it is a probability")
    directions = 2 if bidirectional else 1
    each = 2 + 2 * has_biases
    projects = cell == "lstm" and len(params) == num_layers * directions * (each + 1)
    groups = _groups(op, params, has_biases, num_layers * directions, projects)
    if x.ndim != (3 if batch_sizes is None else 2):
        raise error(
            ValueError, op,
            f"input {'(N, T, I)' if batch_first else '(T, N, I)'}, or (rows, I) and batch_sizes",
            x.shape, "add the axis of the batch",
        )  # fmt: skip
    sizes = None if batch_sizes is None else sizes_of(op, batch_sizes, x.shape[0])
    axis = 1 if batch_first else 0
    if sizes is None and not x.shape[axis]:
        raise error(ValueError, op, "at least one step", x.shape, "give a longer sequence")
    batch = int(sizes[0]) if sizes is not None else x.shape[1 - axis]
    dtype, width = x.dtype, x.shape[-1]
    for i, group in enumerate(groups):
        _check_weights(op, cell, x, width, group)
        if i % directions == directions - 1:
            width = directions * group[1].shape[1]  # type: ignore[union-attr]
    rows, out = groups[0][1].shape  # type: ignore[union-attr]
    names = ("h_0", "c_0")[: 2 if cell == "lstm" else 1]
    for name, state, wide in zip(names, states, (out, rows // GATES[cell]), strict=False):
        _check_state(op, name, x, state, (len(groups), batch, wide))
    if extras.peepholes is not None:
        _check_state(op, "peepholes", x, extras.peepholes, (3 * (rows // 4),))
        if num_layers * directions > 1:
            raise error(
                ValueError, op, "one layer, one way, where it has peepholes",
                f"{num_layers} layers, {directions} ways", "call it once for each",
            )  # fmt: skip
    how = _How(cell, sizes, batch_first and sizes is None)
    h0, c0 = (*states, None)[:2]
    if dtype is dtypes.bfloat16:  # computed in float32, and rounded once
        x, h0, c0 = _cast((x, h0, c0), dtypes.float32)  # type: ignore[assignment]
        groups = [_cast(group, dtypes.float32) for group in groups]
        if extras.peepholes is not None:
            extras = Extras(cast(extras.peepholes, dtypes.float32))
    hs, cs = [], []
    for layer in range(num_layers):
        at = slice(layer * directions, (layer + 1) * directions)
        h, c = (s if s is None or num_layers == 1 else s[at] for s in (h0, c0))
        weights = [t for group in groups[at] for t in group]
        if extras is PLAIN:
            x, h, c = run(how, x, h, c, weights)
        else:
            x, h, c = composed(how, x, h, c, *weights, extras=extras)
        hs.append(h)
        cs.append(c)
        if dropout and train and layer + 1 < num_layers:
            x = drop(x, dropout, True)
    h = hs[0] if num_layers == 1 else cat(hs)
    c = None if cell != "lstm" else cs[0] if num_layers == 1 else cat(cs)
    return tuple(_cast((x, h, c), dtype))


def pair_of_states(op: str, hx: Any) -> Sequence[State]:
    """hx as (h, c), tensors or None."""
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise error(
            TypeError, op, "hx as a pair of states (h_0, c_0)", type(hx).__name__, "give both"
        )
    return tuple(None if s is None else operand(s, op, "hx") for s in hx)


def lstm(
    input: Tensor, hx: Sequence[State], params: Sequence[Tensor], has_biases: bool,
    num_layers: int, dropout: float, train: bool, bidirectional: bool, batch_first: bool,
    *, batch_sizes: Tensor | None = None, peepholes: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The outputs, h_n and c_n of a stack of LSTM layers (Hochreiter and Schmidhuber, 1997).

    input (T, N, I), or with `batch_first` (N, T, I), or with `batch_sizes` a PackedSequence's rows;
    hx the states (h_0, c_0), (layers * directions, N, .), None for zeros; params weight_ih,
    weight_hh, with `has_biases` bias_ih and bias_hh, and where it is projected weight_hr, of each
    layer and direction in turn: rows gate after gate, i, f, g, o. Dropout stands between layers.
    `peepholes` (3 * hidden,), ONNX's, of i, o and f, for one layer: gates see the cell, c.

    bfloat16 is computed in float32, and rounded once; states below the smallest normal number are
    zero. ValueError where shapes disagree, and on sequences of no steps; TypeError on dtypes that
    differ.

    >>> w, u = tw.ones(4 * 5, 3), tw.ones(4 * 5, 5)
    >>> [t.shape for t in tw.lstm(tw.ones(7, 2, 3), (None, None), [w, u], False, 1, 0.0, False,
    ...                           False, False)]
    [(7, 2, 5), (1, 2, 5), (1, 2, 5)]
    """
    extras = PLAIN if peepholes is None else Extras(operand(peepholes, "lstm", "peepholes"))
    y, h, c = _layers(
        "lstm", input, pair_of_states("lstm", hx), params, has_biases, num_layers, dropout, train,
        bidirectional, batch_first, batch_sizes, extras,
    )  # fmt: skip
    return y, h, c


def _one_state(op: str, hx: Any) -> Sequence[State]:
    return (None if hx is None else operand(hx, op, "hx"),)


def gru(
    input: Tensor, hx: State, params: Sequence[Tensor], has_biases: bool, num_layers: int,
    dropout: float, train: bool, bidirectional: bool, batch_first: bool,
    *, batch_sizes: Tensor | None = None, reset_after: bool = True,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The outputs and h_n of a stack of GRU layers (Cho et al., 2014); arguments as lstm's, hx the
    state h_0 alone, gates r, z, n.

    The reset gate multiplies what weight_hh and bias_hh make of the state; without `reset_after`
    (ONNX's linear_before_reset = 0) the state itself.

    >>> w, u = tw.ones(3 * 5, 3), tw.ones(3 * 5, 5)
    >>> [t.shape for t in tw.gru(tw.ones(7, 2, 3), None, [w, u], False, 1, 0.0, False, False,
    ...                          False)]
    [(7, 2, 5), (1, 2, 5)]
    """
    y, h, _ = _layers(
        "gru", input, _one_state("gru", hx), params, has_biases, num_layers, dropout, train,
        bidirectional, batch_first, batch_sizes,
        PLAIN if reset_after else Extras(None, False),
    )  # fmt: skip
    return y, h


def rnn_tanh(
    input: Tensor, hx: State, params: Sequence[Tensor], has_biases: bool, num_layers: int,
    dropout: float, train: bool, bidirectional: bool, batch_first: bool,
    *, batch_sizes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The outputs and h_n of a stack of Elman's layers, h' = tanh(W x + U h + b); arguments as
    gru's.

    >>> w, u = tw.ones(5, 3), tw.ones(5, 5)
    >>> [t.shape for t in tw.rnn_tanh(tw.ones(7, 2, 3), None, [w, u], False, 1, 0.0, False, False,
    ...                               False)]
    [(7, 2, 5), (1, 2, 5)]
    """
    y, h, _ = _layers(
        "rnn_tanh", input, _one_state("rnn_tanh", hx), params, has_biases, num_layers,
        dropout, train, bidirectional, batch_first, batch_sizes,
    )  # fmt: skip
    return y, h


def rnn_relu(
    input: Tensor, hx: State, params: Sequence[Tensor], has_biases: bool, num_layers: int,
    dropout: float, train: bool, bidirectional: bool, batch_first: bool,
    *, batch_sizes: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The outputs and h_n of a stack of layers h' = relu(W x + U h + b); arguments as gru's.

    >>> w, u = tw.ones(5, 3), tw.ones(5, 5)
    >>> [t.shape for t in tw.rnn_relu(tw.ones(7, 2, 3), None, [w, u], False, 1, 0.0, False, False,
    ...                               False)]
    [(7, 2, 5), (1, 2, 5)]
    """
    y, h, _ = _layers(
        "rnn_relu", input, _one_state("rnn_relu", hx), params, has_biases, num_layers,
        dropout, train, bidirectional, batch_first, batch_sizes,
    )  # fmt: skip
    return y, h


# --- cells ---


def _one_step(op: str, cell: str, input: Any, states: Sequence[State], weights: Any) -> Any:
    x = operand(input, op, "input")
    if _is_lowered(cell, x):
        (x,), states, weights = lowered(x), lowered(*states), lowered(*weights)
    w, u, b_w, b_u = weights
    group: list[State] = [
        operand(w, op, "w_ih"), operand(u, op, "w_hh"),
        None if b_w is None else operand(b_w, op, "b_ih"),
        None if b_u is None else operand(b_u, op, "b_hh"),
        None,
    ]  # fmt: skip
    need_float(op, x)
    if x.ndim != 2:
        raise error(ValueError, op, "input (N, I)", x.shape, "add the axis of the batch")
    _check_weights(op, cell, x, x.shape[1], group)
    for name, state in zip(("h", "c"), states, strict=False):
        _check_state(op, name, x, state, (x.shape[0], u.shape[1]))
    h, c = (*states, None)[:2]
    how = _How(cell, None, False, True)
    if x.dtype is not dtypes.bfloat16:
        return run(how, x, h, c, group)[1:]
    wide = _cast((x, h, c, *group), dtypes.float32)
    found = run(how, wide[0], wide[1], wide[2], wide[3:])[1:]  # type: ignore[arg-type]
    return tuple(_cast(found, dtypes.bfloat16))


def lstm_cell(
    input: Tensor, hx: Sequence[State], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One step of an LSTM: the next states (h, c) of input (N, I) and hx = (h, c), each (N, H).

    >>> w, u = tw.ones(4 * 5, 3), tw.ones(4 * 5, 5)
    >>> [t.shape for t in tw.lstm_cell(tw.ones(2, 3), (tw.ones(2, 5), tw.ones(2, 5)), w, u)]
    [(2, 5), (2, 5)]
    """
    states = pair_of_states("lstm_cell", hx)
    h, c = _one_step("lstm_cell", "lstm", input, states, (w_ih, w_hh, b_ih, b_hh))
    return h, c


def gru_cell(
    input: Tensor, hx: State, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """One step of a GRU: the next state of input (N, I) and hx (N, H).

    >>> w, u = tw.ones(3 * 5, 3), tw.ones(3 * 5, 5)
    >>> tw.gru_cell(tw.ones(2, 3), tw.ones(2, 5), w, u).shape
    (2, 5)
    """
    states = _one_state("gru_cell", hx)
    h: Tensor = _one_step("gru_cell", "gru", input, states, (w_ih, w_hh, b_ih, b_hh))[0]
    return h


def rnn_tanh_cell(
    input: Tensor, hx: State, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """One step of an Elman cell, tanh(W x + U h + b), of input (N, I) and hx (N, H).

    >>> w, u = tw.ones(5, 3), tw.ones(5, 5)
    >>> tw.rnn_tanh_cell(tw.ones(2, 3), tw.ones(2, 5), w, u).shape
    (2, 5)
    """
    states = _one_state("rnn_tanh_cell", hx)
    h: Tensor = _one_step("rnn_tanh_cell", "rnn_tanh", input, states, (w_ih, w_hh, b_ih, b_hh))[0]
    return h


def rnn_relu_cell(
    input: Tensor, hx: State, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """One step of a cell relu(W x + U h + b), of input (N, I) and hx (N, H).

    >>> w, u = tw.ones(5, 3), tw.ones(5, 5)
    >>> tw.rnn_relu_cell(tw.ones(2, 3), tw.ones(2, 5), w, u).shape
    (2, 5)
    """
    states = _one_state("rnn_relu_cell", hx)
    h: Tensor = _one_step("rnn_relu_cell", "rnn_relu", input, states, (w_ih, w_hh, b_ih, b_hh))[0]
    return h
