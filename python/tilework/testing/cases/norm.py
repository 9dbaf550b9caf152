"""Cases of the normalisations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.cases import response
from tilework.testing.inputs import LAYOUTS, TAILS, Inputs, Shape, laid_out, normal, positive
from tilework.testing.tolerance import eps, growth, tiny

EPS = 1e-5


def _normalised(x: Array, axes: tuple[int, ...], center: bool = True) -> Array:
    if not x.size:
        return x
    away = x
    for _ in range(2 * center):  # NumPy's mean of a strided axis adds one by one: correct it
        away = away - away.mean(axis=axes, keepdims=True)
    return np.asarray(away / np.sqrt(np.square(away).mean(axis=axes, keepdims=True) + EPS))


def _by_channel(values: Array, x: Array) -> Array:
    return values.reshape(-1, *(1,) * (x.ndim - 2))


def _bound(dtype: str, x: Array, form: Array, weight: Any, rows: Array) -> Array:
    """Of a normal form whose statistics are those of `rows`, each by itself.

    The mean is rounded at its own size, each difference at the input's: both count in deviations,
    and the least of the rows' are what counts most. The deviation's error is relative, of a sum of
    squares; what the mean's own error adds to the squares is of second order.
    """
    finite = rows[np.isfinite(rows).all(axis=1)]
    deviation = np.sqrt(finite.var(axis=1).min(initial=np.inf) + EPS) if finite.size else 1.0
    away = np.abs(x).max(initial=0.0, where=np.isfinite(x)) / deviation
    relative = growth(rows.shape[1]) + 4.0
    each = np.abs(weight) * (np.nan_to_num(np.abs(form)) * relative + 2.0 * away + 2.0) + 2.0
    return np.asarray(eps(dtype) * each + tiny(dtype))


# --- batch norm ---


def _batch_reference(training: bool, relu: bool) -> Callable[..., Array]:
    def expected(
        x: Array, weight: Array, bias: Array, mean: Array, var: Array, residual: Any = None
    ) -> Array:
        if training:
            y = _normalised(x, (0, *range(2, x.ndim)))
        else:
            y = (x - _by_channel(mean, x)) / np.sqrt(_by_channel(var, x) + EPS)
        y = y * _by_channel(weight, x) + _by_channel(bias, x)
        if residual is not None:
            y = y + residual
        return np.asarray(np.where(y <= 0, 0.0, y) if relu else y)

    return expected


def _batch(
    label: str, inputs: Inputs, training: bool = True, relu: bool = False, **fields: Any
) -> Case:
    """Inputs are (x, weight, bias, running mean, running variance[, residual])."""

    def call(
        tw: Any, F: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any, residual: Any = None
    ) -> Any:
        more = {} if residual is None and not relu else {"residual": residual}
        if relu:
            more["activation"] = "relu"
        return F.batch_norm(x, mean, var, weight, bias, training, eps=EPS, **more)

    def peer(
        torch: Any, F: Any, x: Any, weight: Any, bias: Any, mean: Any, var: Any,
        residual: Any = None,
    ) -> Any:  # fmt: skip
        y = F.batch_norm(x, mean, var, weight, bias, training, eps=EPS)
        y = y if residual is None else y + residual
        return y.relu() if relu else y

    def bound(
        dtype: str, expected: Array, x: Array, weight: Array, bias: Array, mean: Array,
        var: Array, residual: Any = 0.0,
    ) -> Array:  # fmt: skip
        form = _batch_reference(training, False)(x, np.ones_like(weight), 0 * bias, mean, var)
        w = _by_channel(weight, x)
        more = np.abs(_by_channel(bias, x)) + np.abs(residual) + np.abs(expected)
        rows = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1) if x.size else np.zeros((0, 1))
        if not training:  # the deviations of inference are given
            rows = np.sqrt(var)[:, None] * [[-1.0, 1.0]]
        return np.asarray(_bound(dtype, x, form, w, rows) + eps(dtype) * more)

    return Case(
        family="norm",
        op="batch_norm",
        label=label,
        inputs=inputs,
        call=call,
        reference=_batch_reference(training, relu),
        tolerance=bound,
        writes=(3, 4) if training else (),
        **({"peer": peer} | fields),
    )


def _batch_inputs(
    shape: Shape, layout: str = "contiguous", residual: str = "", offset: float = 0.0
) -> Inputs:
    def inputs(rng: Generator, t: str) -> tuple[Array, ...]:
        channels = shape[1]
        x = laid_out((normal(rng, t, *shape) + offset).astype(t), layout)
        vectors = (normal(rng, t, channels), normal(rng, t, channels))
        running = (normal(rng, t, channels), positive(rng, t, channels))
        more = (laid_out(2 * normal(rng, t, *shape), residual),) if residual else ()
        return (x, *vectors, *running, *more)

    return inputs


BATCH_SHAPES: tuple[Shape, ...] = (
    (5, 7),
    (2, 1),
    (4, 3, 9),
    (2, 5, 3, 7),
    (2, 1, 3, 4),
    (1, 4, 3, 3),
    (2, 3, 1, 1),
    (9, 130, 2, 2),
    (2, 3, 70, 70),
    (700, 3),
)


# Data far from zero: what is left of it cancels, and PyTorch's own mean is not held to our bound.
_FAR: dict[str, Any] = {"cancels": True, "peer": None}


def _batch_cases() -> Iterator[Case]:
    for shape in BATCH_SHAPES:
        small = math.prod(shape) < 2000
        for training, layout in itertools.product((True, False), ("contiguous", "channels_last")):
            yield _batch(
                f"{shape}, {layout}, {'training' if training else 'inference'}",
                _batch_inputs(shape, layout),
                training,
                differentiable=(0, 1, 2) if small else (),
            )
    for layout, added in itertools.product(("contiguous", "channels_last"), (False, True)):
        yield _batch(
            f"streamed, {layout}, training{', residual' * added}",
            _batch_inputs((70, 32, 8, 64), layout, residual=layout if added else ""),
            True,
            differentiable=(5,) if added else (0,),
            dtypes=("float32",),
        )
    for layout in LAYOUTS[1:-1]:
        for training in (True, False):
            yield _batch(
                f"{layout}, {'training' if training else 'inference'}",
                _batch_inputs((3, 5, 4, 7), layout),
                training,
                differentiable=(0, 1, 2),
            )
    for layout, relu in itertools.product(("contiguous", "channels_last"), (False, True)):
        yield _batch(
            f"residual{', relu' * relu}, {layout}",
            _batch_inputs((3, 17, 4, 7), layout, residual="contiguous"),
            relu=relu,
            differentiable=() if relu else (0, 1, 2, 5),
        )
        yield _batch(
            f"inference, residual{', relu' * relu}, {layout}",
            _batch_inputs((3, 17, 4, 7), layout, residual=layout),
            training=False,
            relu=relu,
            differentiable=() if relu else (0, 1, 2, 5),
        )
    for n in TAILS:
        thorough = n in (1, 8, 17, 31, 65, 129)
        more: dict[str, Any] = {
            "quick": thorough,
            "differentiable": (0, 1, 2) if thorough else (),
        }
        yield _batch(f"tail: (3, {n}) by pixels", _batch_inputs((3, n)), **more)
        yield _batch(f"tail: (3, 2, {n}) by planes", _batch_inputs((3, 2, n)), **more)
    for layout in ("contiguous", "channels_last"):
        far = _batch_inputs((16, 20, 12, 12), layout, offset=1e4)
        yield _batch(f"mean 1e4, {layout}", far, **_FAR)
        yield _batch(f"no samples, {layout}", _batch_inputs((0, 3, 2, 2), layout), False)
        for value in (np.nan, np.inf):

            def planted(
                rng: Generator, t: str, layout: str = layout, value: float = value
            ) -> tuple[Array, ...]:
                x, *others = _batch_inputs((3, 5, 4, 4), layout)(rng, t)
                x[1, 2, 3, 0] = value
                return (x, *others)

            yield _batch(f"with {value}, {layout}", planted)


# --- rows ---


def _rows_reference(op: str, groups: int) -> Callable[..., Array]:
    def expected(x: Array, weight: Array, bias: Any = 0.0) -> Array:
        if op in ("layer_norm", "rms_norm"):
            axes = tuple(range(x.ndim - np.ndim(weight), x.ndim))
            return np.asarray(_normalised(x, axes, op == "layer_norm") * weight + bias)
        of = x.shape[1] if op == "instance_norm" else groups
        rows = x.reshape(x.shape[0], of, x.size // max(x.shape[0] * of, 1))
        form = _normalised(rows, (2,)).reshape(x.shape)
        return np.asarray(form * _by_channel(weight, x) + _by_channel(bias, x))

    return expected


def _rows(op: str, label: str, inputs: Inputs, groups: int = 1, **fields: Any) -> Case:
    """Inputs are (x, weight, bias), or (x, weight) for RMS norm."""
    trailing = op in ("layer_norm", "rms_norm")
    reference = _rows_reference(op, groups)

    def call(tw: Any, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        if op == "layer_norm":
            return F.layer_norm(x, tuple(weight.shape), weight, bias, EPS)
        if op == "rms_norm":
            return F.rms_norm(x, tuple(weight.shape), weight, EPS)
        if op == "group_norm":
            return F.group_norm(x, groups, weight, bias, EPS)
        return F.instance_norm(x, None, None, weight, bias, eps=EPS)

    def bound(dtype: str, expected: Array, x: Array, weight: Array, bias: Any = 0.0) -> Array:
        plain = np.ones_like(weight)
        form = reference(x, plain) if op == "rms_norm" else reference(x, plain, 0 * plain)
        scale, shift = (
            (weight, bias) if trailing else (_by_channel(weight, x), _by_channel(bias, x))
        )
        length = weight.size if trailing else x.size // max(x.shape[0] * groups, 1)
        rows = x.reshape(-1, length) if x.size else np.zeros((0, 1))
        if op == "rms_norm":  # its deviation is from zero
            rows = np.concatenate([rows, -rows], axis=1)
        more = eps(dtype) * (np.abs(shift) + np.abs(expected))
        return np.asarray(_bound(dtype, x, form, scale, rows) + more)

    return Case(
        family="norm",
        op=op,
        label=label,
        inputs=inputs,
        call=call,
        reference=reference,
        tolerance=bound,
        **fields,
    )


def _rows_inputs(
    op: str, shape: Shape, axes: int = 1, layout: str = "contiguous", offset: float = 0.0
) -> Inputs:
    affine = shape[len(shape) - axes :] if op in ("layer_norm", "rms_norm") else shape[1:2]

    def inputs(rng: Generator, t: str) -> tuple[Array, ...]:
        x = laid_out((normal(rng, t, *shape) + offset).astype(t), layout)
        vectors = (normal(rng, t, *affine), normal(rng, t, *affine))
        return (x, *vectors[: 1 if op == "rms_norm" else 2])

    return inputs


TRAILING_SHAPES: tuple[tuple[Shape, int], ...] = (
    ((5, 7), 1),
    ((7,), 1),
    ((2, 3, 17), 1),
    ((2, 3, 5, 7), 2),
    ((3, 5, 4), 3),
    ((4, 1), 1),
    ((0, 3), 1),
    ((3, 0), 1),
    ((40, 768), 1),
    ((2, 9000), 1),
    ((300, 33), 1),
)
GROUP_SHAPES: tuple[tuple[Shape, int], ...] = (
    ((3, 6), 2),
    ((2, 6, 5), 3),
    ((2, 6, 3, 5), 1),
    ((2, 6, 3, 5), 6),
    ((1, 4, 1, 1), 2),
    ((0, 4, 2, 2), 2),
    ((2, 4, 0), 2),
    ((3, 20, 33, 33), 5),
    ((70, 4, 3, 3), 2),
)
INSTANCE_SHAPES: tuple[Shape, ...] = (
    (2, 3, 7),
    (1, 1, 2),
    (3, 5, 4, 6),
    (0, 3, 2, 2),
    (2, 3, 70, 70),
)


def _rows_cases() -> Iterator[Case]:
    for op in ("layer_norm", "rms_norm"):
        for shape, axes in TRAILING_SHAPES:
            inputs = _rows_inputs(op, shape, axes)
            slopes = (0, 1, 2)[: 2 if op == "rms_norm" else 3]
            if shape[-1] == 1 or math.prod(shape) > 5000:
                slopes = ()
            yield _rows(op, f"{shape} over {axes}", inputs, differentiable=slopes)
        for n in TAILS:
            thorough = n in (5, 16, 33, 255)
            slopes = (0, 1) if thorough else ()
            inputs = _rows_inputs(op, (9, n))
            yield _rows(op, f"tail: {n}", inputs, quick=thorough, differentiable=slopes)
    for op, layout in itertools.product(
        ("layer_norm", "rms_norm", "group_norm"), ("contiguous", "channels_last")
    ):  # 4 MiB and more, in runs of whole cache lines
        inputs = _rows_inputs(op, (70, 32, 8, 64), 1, layout)
        groups = 4 if op == "group_norm" else 1
        how: dict[str, Any] = {"dtypes": ("float32",), "differentiable": (0,)}
        yield _rows(op, f"streamed, {layout}", inputs, groups, **how)
    for op, layout in itertools.product(
        ("layer_norm", "rms_norm", "group_norm", "instance_norm"), LAYOUTS[:-1]
    ):
        inputs = _rows_inputs(op, (2, 6, 3, 7), 2, layout)
        groups = {"group_norm": 3, "instance_norm": 6}.get(op, 1)
        yield _rows(op, layout, inputs, groups, differentiable=(0, 1))
    for shape, groups in GROUP_SHAPES:
        inputs = _rows_inputs("group_norm", shape)
        slopes = (0, 1, 2) if math.prod(shape) < 5000 else ()
        # PyTorch's gradient of the weight of an empty group is NaN; a sum of nothing is zero.
        more: dict[str, Any] = {} if math.prod(shape) else {"peer": None}
        yield _rows(
            "group_norm", f"{shape} in {groups}", inputs, groups, differentiable=slopes, **more
        )
    for shape in INSTANCE_SHAPES:
        inputs = _rows_inputs("instance_norm", shape)
        slopes = (0, 1, 2) if math.prod(shape) < 5000 else ()
        more = {} if shape[0] else {"peer": None}  # PyTorch's raises IndexError without a sample
        yield _rows("instance_norm", f"{shape}", inputs, shape[1], differentiable=slopes, **more)
    for layout, op in itertools.product(
        ("contiguous", "channels_last"), ("layer_norm", "group_norm", "instance_norm")
    ):
        far = _rows_inputs(op, (4, 6, 9, 300), 1, layout, offset=1e4)
        groups = {"group_norm": 3, "instance_norm": 6}.get(op, 1)
        yield _rows(op, f"mean 1e4, {layout}", far, groups, **_FAR)
    for op, value in itertools.product(("layer_norm", "rms_norm", "group_norm"), (np.nan, np.inf)):

        def planted(
            rng: Generator, t: str, op: str = op, value: float = value
        ) -> tuple[Array, ...]:
            x, *others = _rows_inputs(op, (3, 4, 20))(rng, t)
            x[1, 2, 3] = value
            return (x, *others)

        yield _rows(op, f"with {value}", planted, 2 if op == "group_norm" else 1)


# --- with a residual ---


def _with_residual(op: str, label: str, shape: Shape, axes: int = 1, **fields: Any) -> Case:
    """Inputs are (x, residual, weight, bias), or without bias for RMS norm; the answer is the norm
    and the sum added up, so that both have a part in it."""
    plain = _rows(op, label, _rows_inputs(op, shape, axes))
    layouts = fields.pop("layouts", ("contiguous", "contiguous"))

    def inputs(rng: Generator, t: str) -> tuple[Array, ...]:
        x, *vectors = _rows_inputs(op, shape, axes, layouts[0])(rng, t)
        return (x, laid_out(normal(rng, t, *shape), layouts[1]), *vectors)

    def call(tw: Any, F: Any, x: Any, residual: Any, weight: Any, *bias: Any) -> Any:
        norm = getattr(F, op)
        y, total = norm(x, tuple(weight.shape), weight, *bias, EPS, residual=residual)
        return y + total

    def peer(torch: Any, F: Any, x: Any, residual: Any, weight: Any, *bias: Any) -> Any:
        total = x + residual
        return getattr(F, op)(total, tuple(weight.shape), weight, *bias, EPS) + total

    def expected(x: Array, residual: Array, *vectors: Array) -> Array:
        return np.asarray(plain.reference(x + residual, *vectors) + x + residual)

    def bound(dtype: str, expected: Array, x: Array, residual: Array, *vectors: Array) -> Array:
        total = x + residual
        # The sum's own rounding is one more of each difference, and what is added at the end.
        form = 1.5 * plain.tolerance(dtype, expected, total, *vectors)
        return np.asarray(form + 2 * eps(dtype) * (np.abs(total) + np.abs(expected)))

    return Case(
        family="norm",
        op=op,
        label=label,
        inputs=inputs,
        call=call,
        reference=expected,
        tolerance=bound,
        peer=peer,
        **fields,
    )


def _residual_cases() -> Iterator[Case]:
    for op in ("layer_norm", "rms_norm"):
        slopes = (0, 1, 2) if op == "rms_norm" else (0, 1, 2, 3)
        for shape, axes in TRAILING_SHAPES:
            small = shape[-1] > 1 and 0 < math.prod(shape) < 5000
            how: dict[str, Any] = {"differentiable": slopes if small else ()}
            yield _with_residual(op, f"residual, {shape} over {axes}", shape, axes, **how)
        for layout in LAYOUTS[:-1]:
            yield _with_residual(
                op, f"residual, {layout}", (2, 6, 3, 7), 2, layouts=(layout, "contiguous"),
                differentiable=slopes,
            )  # fmt: skip
        yield _with_residual(
            op, "residual, streamed", (2048, 640), dtypes=("float32",), differentiable=(0, 1)
        )


# --- groups of channels that are neighbours ---

# Channels within a vector and past several, and samples of one block of pixels and of many.
NEIGHBOURS: tuple[tuple[Shape, int], ...] = (
    ((2, 6, 3, 5), 1),
    ((2, 6, 3, 5), 3),
    ((3, 5, 9), 5),
    ((2, 8, 2, 3, 4), 2),
    ((1, 33, 4, 4), 11),
    ((2, 68, 3, 3), 4),
    ((2, 12, 20, 30), 4),
    ((3, 260, 9, 9), 13),
    ((70, 4, 3, 3), 2),
)


def _neighbours_cases() -> Iterator[Case]:
    for shape, groups in NEIGHBOURS:
        slopes = (0, 1, 2) if math.prod(shape) < 5000 else ()
        inputs = _rows_inputs("group_norm", shape, 1, "channels_last")
        label = f"channels_last {shape} in {groups}"
        yield _rows("group_norm", label, inputs, groups, differentiable=slopes)
    for shape in dict.fromkeys(shape for shape, _ in NEIGHBOURS):
        slopes = (0, 1, 2) if math.prod(shape) < 5000 else ()
        inputs = _rows_inputs("instance_norm", shape, 1, "channels_last")
        label = f"channels_last {shape}"
        yield _rows("instance_norm", label, inputs, shape[1], differentiable=slopes)
    for value in (np.nan, np.inf):

        def planted(rng: Generator, t: str, value: float = value) -> tuple[Array, ...]:
            x, *others = _rows_inputs("group_norm", (3, 6, 4, 5), 1, "channels_last")(rng, t)
            x[1, 2, 3, 4] = value
            return (x, *others)

        yield _rows("group_norm", f"with {value}, channels_last", planted, 3)


# --- what is timed ---


def _timing(label: str, moved: float, backward: bool, quick: bool = False) -> dict[str, Any]:
    """What timed cases share; `moved` counts bytes."""
    bench = Bench(
        label, flops=0.0, bytes=moved, mode="backward" if backward else "forward", quick=quick
    )
    return {"dtypes": ("float32",), "quick": False, "bench": bench}


def _timed() -> Iterator[Case]:
    shape = (16, 64, 56, 56)
    # Of 64@56: x is read for its statistics and again to be normalised.
    image_bytes = {b: 4.0 * math.prod(shape) * (8.0 if b else 3.0) for b in (False, True)}
    row_bytes = {b: 4.0 * 4096 * 768 * (5.0 if b else 2.0) for b in (False, True)}
    for layout, backward in itertools.product(("contiguous", "channels_last"), (False, True)):
        label = "batch_norm 64@56 N=16"
        label += " channels-last" * (layout == "channels_last") + " backward" * backward
        yield _batch(
            label,
            _batch_inputs(shape, layout),
            differentiable=(0, 1, 2),
            **_timing(
                label, image_bytes[backward], backward, not backward and layout == "contiguous"
            ),
        )
    for (op, groups), backward in itertools.product(
        (("group_norm", 32), ("instance_norm", 64)), (False, True)
    ):
        label = f"{op} 64@56 N=16" + " backward" * backward
        yield _rows(
            op,
            label,
            _rows_inputs(op, shape),
            groups,
            differentiable=(0, 1, 2),
            **_timing(label, image_bytes[backward], backward),
        )
    for op, backward in itertools.product(("layer_norm", "rms_norm"), (False, True)):
        label = f"{op} 4096x768" + " backward" * backward
        yield _rows(
            op,
            label,
            _rows_inputs(op, (4096, 768)),
            differentiable=(0, 1, 2)[: 2 if op == "rms_norm" else 3],
            **_timing(label, row_bytes[backward], backward, op == "layer_norm" and backward),
        )
        label = f"{op} with residual 4096x768" + " backward" * backward
        yield _with_residual(
            op,
            label,
            (4096, 768),
            differentiable=(0, 1, 2),
            **_timing(label, 4.0 * 4096 * 768 * (9.0 if backward else 4.0), backward),
        )


CASES: tuple[Case, ...] = (
    *_batch_cases(),
    *_rows_cases(),
    *_residual_cases(),
    *_neighbours_cases(),
    *response.CASES,
    *_timed(),
)
