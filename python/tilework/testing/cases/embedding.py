"""Cases of embeddings, segments and rotary positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case
from tilework.testing.rows import Row, fixed, floats, given, integers, rows
from tilework.testing.tolerance import eps, growth, of_magnitude, rounded

FAMILY = "embedding"
FLOATS = {"dtypes": ("float32", "float64", "bfloat16"), "differentiable": (0,)}


# --- rows of a table ---


def _tables() -> Iterator[Row]:
    for shape in ((5,), (2, 3), (), (0,), (4, 1, 2)):
        yield (
            f"embedding {shape}",
            given(floats(7, 3), integers(0, 7, *shape)),
            lambda tw, F, w, i: F.embedding(i, w),
            lambda w, i: w[i],
            FLOATS,
        )
    for columns in (0, 1, 64, 130):
        yield (
            f"embedding of {columns} columns",
            given(floats(9, columns), integers(0, 9, 40)),
            lambda tw, F, w, i: F.embedding(i, w),
            lambda w, i: w[i],
            {**FLOATS, "differentiable": (0,) if columns else ()},
        )
    for layout in ("transposed", "reversed", "gapped", "misaligned"):
        yield (
            f"embedding of a {layout} table",
            given(floats(7, 3, layout=layout), integers(0, 7, 5)),
            lambda tw, F, w, i: F.embedding(i, w),
            lambda w, i: w[i],
            FLOATS,
        )

    def shrunk(w: Array, i: Array) -> Array:
        lengths = np.linalg.norm(w, axis=1, keepdims=True)
        return np.asarray((w / np.maximum(lengths, 1.0))[i])

    yield (
        "embedding max_norm",
        given(floats(7, 30), integers(0, 7, 2, 5)),
        lambda tw, F, w, i: F.embedding(i, w, max_norm=1.0),
        shrunk,
        # PyTorch and we add 1e-7 to the norm.
        {"writes": (0,), "dtypes": ("float32", "float64"),
         "tolerance": lambda t, e, *_: (4.0 * eps(t) + 2e-7) * np.abs(e)},
    )  # fmt: skip


# --- what only the gradient shows: the call gives the gradient of the table ---


def _gradient_of(call: Callable[..., Any]) -> Callable[..., Any]:
    def gradient(tw: Any, F: Any, w: Any, i: Any, grad: Any, *more: Any) -> Any:
        table = w.detach().requires_grad_()
        call(F, i, table, *more).backward(grad)
        return table.grad

    return gradient


def _added(w: Array, i: Array, grad: Array) -> Array:
    total = np.zeros(w.shape)
    np.add.at(total, i, grad)
    return total


def _gradients() -> Iterator[Row]:
    inputs = given(floats(7, 3), integers(0, 7, 50), floats(50, 3))
    how = {"tolerance": of_magnitude(lambda w, i, g: _added(w, i, np.abs(g)) + 0 * w, 50)}
    for padding in (2, -7):

        def without(w: Array, i: Array, g: Array, padding: int = padding % 7) -> Array:
            total = _added(w, i, g)
            total[padding] = 0
            return total

        yield (
            f"embedding padding_idx={padding}, gradient",
            inputs,
            _gradient_of(lambda F, i, w, p=padding: F.embedding(i, w, padding_idx=p)),
            without,
            how,
        )
    yield (
        "embedding scale_grad_by_freq, gradient",
        inputs,
        _gradient_of(lambda F, i, w: F.embedding(i, w, scale_grad_by_freq=True)),
        lambda w, i, g: _added(w, i, g) / np.maximum(np.bincount(i, minlength=7), 1)[:, None],
        how,
    )


# --- bags ---


STARTS = np.array([0, 0, 2, 2, 7, 8])  # empty ones at the beginning and between
MODES: dict[str, Callable[..., Array]] = {"sum": np.sum, "mean": np.mean, "max": np.max}


def _bagged(w: Array, bags: list[Array], mode: str) -> Array:
    return np.array([MODES[mode](w[b], 0) if len(b) else np.zeros(w.shape[1]) for b in bags])


def _bags() -> Iterator[Row]:
    for mode in MODES:
        how = {"tolerance": _sums(5), "differentiable": (0,)}
        yield (
            f"embedding_bag {mode} of offsets",
            given(floats(7, 3), integers(0, 7, 9), fixed(STARTS)),
            lambda tw, F, w, i, o, mode=mode: F.embedding_bag(i, w, o, mode=mode),
            lambda w, i, o, mode=mode: _bagged(w, np.split(i, o[1:]), mode),
            how,
        )
        yield (
            f"embedding_bag {mode} of rows",
            given(floats(7, 3), integers(0, 7, 4, 5)),
            lambda tw, F, w, i, mode=mode: F.embedding_bag(i, w, mode=mode),
            lambda w, i, mode=mode: _bagged(w, list(i), mode),
            how,
        )
        yield (
            f"embedding_bag {mode} with padding",
            given(floats(7, 3), integers(0, 3, 4, 5)),
            lambda tw, F, w, i, mode=mode: F.embedding_bag(i, w, mode=mode, padding_idx=1),
            lambda w, i, mode=mode: _bagged(w, [b[b != 1] for b in i], mode),
            how,
        )
    yield (
        "embedding_bag with weights",
        given(floats(7, 3), floats(4, 5), integers(0, 7, 4, 5)),
        lambda tw, F, w, s, i: F.embedding_bag(i, w, mode="sum", per_sample_weights=s),
        lambda w, s, i: (w[i] * s[..., None]).sum(1),
        {"tolerance": _sums(5), "differentiable": (0, 1)},
    )
    yield (
        "embedding_bag include_last_offset",
        given(floats(7, 3), integers(0, 7, 9), fixed(np.append(STARTS, 9))),
        lambda tw, F, w, i, o: F.embedding_bag(i, w, o, mode="sum", include_last_offset=True),
        lambda w, i, o: _bagged(w, np.split(i, o[1:-1]), "sum"),
        {"tolerance": _sums(5), "differentiable": (0,)},
    )


def _long_bags() -> Iterator[Row]:
    starts = np.array([0, 40, 40, 47])
    for mode in MODES:
        for columns in (1, 70, 200):
            yield (
                f"embedding_bag {mode}, long bags of {columns} columns",
                given(floats(9, columns), integers(0, 9, 120), fixed(starts)),
                lambda tw, F, w, i, o, mode=mode: F.embedding_bag(i, w, o, mode=mode),
                lambda w, i, o, mode=mode: _bagged(w, np.split(i, o[1:]), mode),
                {"tolerance": _sums(120), "differentiable": (0,) if columns == 1 else (),
                 "dtypes": FLOATS["dtypes"], "cancels": mode != "max"},
            )  # fmt: skip
    for mode in ("sum", "mean"):
        yield (
            f"embedding_bag {mode} with padding and by frequency, gradient",
            given(floats(7, 3), integers(0, 7, 50), floats(2, 3), fixed(np.array([0, 30]))),
            _gradient_of(
                lambda F, i, w, o, mode=mode: F.embedding_bag(
                    i, w, o, mode=mode, padding_idx=2, scale_grad_by_freq=True
                )
            ),
            lambda w, i, g, o, mode=mode: _bag_gradient(w, i, g, mode),
            # PyTorch 2.13 divides a row of a bag by how often another occurs.
            {"tolerance": _sums(50), "peer": None, "cancels": True},
        )


def _bag_gradient(w: Array, i: Array, g: Array, mode: str) -> Array:
    """Of bags of 30 and 20 entries, row 2 being padding, divided by how often a row occurs."""
    bag = (np.arange(50) >= 30).astype(int)
    counts = i != 2
    sizes = np.bincount(bag[counts], minlength=2)
    rows = g[bag] / (sizes[bag][:, None] if mode == "mean" else 1)
    total = _added(w, i[counts], rows[counts])
    return total / np.maximum(np.bincount(i, minlength=7), 1)[:, None]


def _sums(terms: int) -> Any:
    """Sums of so many numbers of order one, whose size is not worth finding."""
    return lambda t, expected, w, *_: (
        growth(terms) * eps(t) * terms * (1 + np.abs(w).max(initial=1))
    )


# --- segments ---


INDEX = np.array([0, 3, 3, 0, 5, 3, 2])  # 1 and 4 are empty


def _by_segment(x: Array, reduce: Callable[..., Array]) -> Array:
    picked = [x[s == INDEX] for s in range(6)]
    return np.array([reduce(p, 0) if len(p) else np.zeros(x.shape[1:]) for p in picked])


def _softmax(x: Array) -> Array:
    y = np.zeros(x.shape)
    for s in set(INDEX.tolist()):
        e = np.exp(x[s == INDEX] - x[s == INDEX].max(0))
        y[s == INDEX] = e / e.sum(0)
    return y


def _segments() -> Iterator[Row]:
    table: tuple[tuple[str, Callable[[Array], Array]], ...] = (
        ("sum", lambda x: _by_segment(x, np.sum)),
        ("mean", lambda x: _by_segment(x, np.mean)),
        ("max", lambda x: _by_segment(x, np.max)),
        ("softmax", _softmax),
    )
    for name, expected in table:
        for shape in ((7,), (7, 5), (7, 2, 3), (7, 0)):
            yield (
                f"segment_{name} {shape}",
                given(floats(*shape), fixed(INDEX)),
                lambda tw, F, x, i, name=name: getattr(F, f"segment_{name}")(x, i, 6),
                lambda x, i, expected=expected: expected(x),
                {"tolerance": lambda t, e, x, i: 16 * eps(t) * (1 + np.abs(x).max(initial=1)),
                 "peer": None, "differentiable": (0,) if 0 not in shape else (),
                 "dtypes": FLOATS["dtypes"]},
            )  # fmt: skip
    # Segments of more rows than one chain adds, and of every width of a block of columns.
    sums: dict[str, Callable[..., Any]] = {"sum": np.sum, "mean": np.mean, "max": np.max}
    for name, reduce in sums.items():
        for columns in (1, 3, 17, 70, 200, 300):
            yield (
                f"segment_{name} of many rows of {columns}",
                given(floats(300, columns), integers(0, 5, 300)),
                lambda tw, F, x, i, name=name: getattr(F, f"segment_{name}")(x, i, 6),
                lambda x, i, reduce=reduce: np.array(
                    [reduce(x[i == s], 0) if (i == s).any() else 0 * x[0] for s in range(6)]
                ),
                {"tolerance": _sums(300), "peer": None, "dtypes": FLOATS["dtypes"],
                 "cancels": name != "max", "differentiable": (0,) if columns < 70 else ()},
            )  # fmt: skip


# --- rotary ---


def _rotated(x: Array, angle: Array, interleaved: bool) -> Array:
    half = angle.shape[-1]
    y = x.copy()
    pair = (np.arange(half) * 2, np.arange(half) * 2 + 1) if interleaved else (
        np.arange(half), np.arange(half) + half)  # fmt: skip
    z = (x[..., pair[0]] + 1j * x[..., pair[1]]) * np.exp(1j * angle)
    y[..., pair[0]], y[..., pair[1]] = z.real, z.imag
    return y


def _turns() -> Iterator[Row]:
    angle = np.arange(7)[:, None] * 10000.0 ** (-np.arange(4) / 4)
    at = np.array([[3, 1, 0, 6, 6], [0, 1, 2, 3, 4]])
    for interleaved in (False, True):
        for width in (8, 11):

            def call(tw: Any, F: Any, x: Any, interleaved: bool = interleaved) -> Any:
                turn = [tw.tensor(f(angle)).to(x.dtype) for f in (np.cos, np.sin)]
                return F.rotary_embedding(x, *turn, interleaved=interleaved)

            yield (
                f"rotary_embedding {width}, {interleaved=}",
                given(floats(2, 3, 7, width)),
                call,
                lambda x, how=interleaved: _rotated(x, angle, how),
                {**FLOATS, "tolerance": _turned, "peer": None},
            )

        def placed(tw: Any, F: Any, x: Any, interleaved: bool = interleaved) -> Any:
            turn = [tw.tensor(f(angle)).to(x.dtype) for f in (np.cos, np.sin)]
            return F.rotary_embedding(x, *turn, tw.tensor(at), interleaved=interleaved)

        yield (
            f"rotary_embedding at positions, {interleaved=}",
            given(floats(2, 3, 5, 8)),
            placed,
            lambda x, how=interleaved: _rotated(x, angle[at][:, None], how),
            {**FLOATS, "tolerance": _turned, "peer": None},
        )


def _turned(dtype: str, expected: Array, x: Array) -> Any:
    # Angles are rounded once, in x's dtype, and bfloat16's result once more.
    return 4.0 * eps(dtype) * 2.0 * np.abs(x).max(initial=1.0) + rounded(1.0)(dtype, expected)


def _timed() -> Iterator[Case]:
    label = "embedding 4096 of 32000x768"
    row = (
        label,
        given(floats(32000, 768), integers(0, 32000, 4096)),
        lambda tw, F, w, i: F.embedding(i, w),
        lambda w, i: w[i],
        {"quick": False, "dtypes": ("float32",), "differentiable": (0,)},
    )
    for mode, moved in (("forward", 2.0), ("backward", 3.0)):
        name = f"{label} {mode}"
        bench = Bench(name, 0.0, moved * 4 * 4096 * 768, mode=mode)  # type: ignore[arg-type]
        yield from rows(FAMILY, [(name, *row[1:4], {**row[4], "bench": bench})])


TABLES = (_tables, _gradients, _bags, _long_bags, _segments, _turns)
CASES: tuple[Case, ...] = (
    *(case for table in TABLES for case in rows(FAMILY, table())),
    *_timed(),
)
