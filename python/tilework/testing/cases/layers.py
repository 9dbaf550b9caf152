"""Cases of the layers: each built with given weights, against NumPy.

What a layer passes on is under test here: its parameters, settings and defaults. The functions
below have cases of their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tilework.testing import reference
from tilework.testing.case import Array, Case
from tilework.testing.cases.random import FIRST_CALL, SEED
from tilework.testing.convolution import conv, conv_transpose
from tilework.testing.inputs import distinct, normal, positive
from tilework.testing.rows import Row, floats, given, integers, rows
from tilework.testing.tolerance import Tolerance, eps, growth, tiny

Make = Callable[..., Any]  # from `nn` to a layer
IMAGE, LINE, ROWS = (2, 4, 6, 5), (2, 4, 9), (3, 7)


def _summed(terms: int) -> Tolerance:
    """Sums of `terms` products of order one."""
    return lambda t, expected, *_: 4.0 * growth(terms) * eps(t) * (terms + np.abs(expected))


def _scaled(terms: int = 1) -> Tolerance:
    """Numbers of order one, divided by a mean of `terms` such."""
    return lambda t, expected, *_: 8.0 * growth(terms) * eps(t) * (1.0 + np.abs(expected)) + tiny(t)


def layer_row(label: str, make: Make, x: Any, expected: Callable[..., Any], weights: Any = (),
              values: Any = normal, **fields: Any) -> Row:  # fmt: skip
    """`x`: the shape of the layer's input, or the makers of all its inputs; `weights`: the shapes
    of its parameters, and `values` what they hold."""
    given_inputs = (floats(*x),) if isinstance(x[0], int) else x
    count = len(given_inputs)

    def call(tw: Any, F: Any, *inputs: Any) -> Any:
        layer = make(tw.nn)
        if inputs[0].dtype == tw.float64:
            layer.double()
        for parameter, weight in zip(layer.parameters(), inputs[count:], strict=True):
            parameter.data = weight
        return layer(*inputs[:count])

    made = given(*given_inputs, *(floats(*shape, values=values) for shape in weights))
    return (label, made, call, expected, {"differentiable": (0,), **fields})


# --- activations and what changes no number ---


def _activations() -> Iterator[Row]:
    table: tuple[tuple[str, Make, Callable[[Array], Array]], ...] = (
        ("ReLU", lambda nn: nn.ReLU(), lambda x: np.maximum(x, 0)),
        ("Sigmoid", lambda nn: nn.Sigmoid(), reference.sigmoid),
        ("Tanh", lambda nn: nn.Tanh(), np.tanh),
        ("SiLU", lambda nn: nn.SiLU(), reference.silu),
        ("GELU", lambda nn: nn.GELU(), reference.gelu),
        ("GELU tanh", lambda nn: nn.GELU(approximate="tanh"), reference.gelu_tanh),
        ("Softmax", lambda nn: nn.Softmax(1), lambda x: reference.softmax(x, 1)),
        ("LogSoftmax", lambda nn: nn.LogSoftmax(dim=-1), lambda x: reference.log_softmax(x, 1)),
        ("Identity", lambda nn: nn.Identity(3, unused=True), lambda x: x),
        ("Dropout at rest", lambda nn: nn.Dropout(0.5).eval(), lambda x: x),
        ("Dropout of nothing", lambda nn: nn.Dropout(0.0), lambda x: x),
        ("Dropout of all", lambda nn: nn.Dropout(1.0), lambda x: 0 * x),
        ("Flatten", lambda nn: nn.Flatten(0), lambda x: x.reshape(-1)),
        ("Unflatten", lambda nn: nn.Unflatten(1, (7, 1)), lambda x: x[..., None]),
    )
    for label, make, expected in table:
        yield layer_row(label, make, ROWS, expected, tolerance=_scaled(7))

    def seeded(tw: Any, F: Any, x: Any) -> Any:
        tw.manual_seed(SEED)
        return tw.nn.Dropout(0.4)(x)

    def dropped(x: Array) -> Array:
        words = reference.philox_words(x.size, SEED, FIRST_CALL)
        return np.where(words.reshape(x.shape) >= round(0.4 * 2**32), x / 0.6, 0.0)

    yield (
        "Dropout in training",
        given(floats(*ROWS)),
        seeded,
        dropped,
        {"tolerance": _scaled(), "peer": None, "differentiable": (0,)},
    )


# --- products ---


def _products() -> Iterator[Row]:
    yield layer_row(
        "Linear",
        lambda nn: nn.Linear(7, 5),
        ROWS,
        lambda x, w, b: x @ w.T + b,
        [(5, 7), (5,)],
        tolerance=_summed(8),
    )
    yield layer_row(
        "Linear without bias",
        lambda nn: nn.Linear(7, 5, bias=False),
        ROWS,
        lambda x, w: x @ w.T,
        [(5, 7)],
        tolerance=_summed(7),
    )
    convolutions: tuple[tuple[str, tuple[int, ...], dict[str, Any], tuple[int, ...]], ...] = (
        ("Conv1d", LINE, {}, (6, 4, 3)),
        ("Conv1d", LINE, {"stride": 2, "padding": 1, "groups": 2}, (6, 2, 3)),
        ("Conv2d", IMAGE, {}, (6, 4, 3, 2)),
        ("Conv2d", IMAGE, {"stride": (2, 1), "padding": 1, "dilation": 2}, (6, 4, 3, 2)),
        ("Conv2d", IMAGE, {"groups": 4, "padding": (0, 1)}, (8, 1, 3, 3)),
    )  # fmt: skip
    for name, shape, how, weight in convolutions:
        groups, terms = how.get("groups", 1), math.prod(weight[1:]) + 1

        def make(nn: Any, name: str = name, how: Any = how, weight: Any = weight) -> Any:
            wide = weight[1] * how.get("groups", 1)
            return getattr(nn, name)(wide, weight[0], weight[2:], **how)

        yield layer_row(
            f"{name} {how}",
            make,
            shape,
            lambda x, w, b, how=how: conv(x, w, b, **how),
            [weight, weight[:1]],
            tolerance=_summed(terms * groups),
        )
    turned: tuple[tuple[str, tuple[int, ...], dict[str, Any], tuple[int, ...]], ...] = (
        ("ConvTranspose1d", LINE, {"stride": 2}, (4, 6, 3)),
        ("ConvTranspose2d", IMAGE, {}, (4, 6, 3, 2)),
        ("ConvTranspose2d", IMAGE, {"stride": 2, "padding": 1, "output_padding": 1}, (4, 3, 3, 3)),
    )
    for name, shape, how, weight in turned:

        def make_turned(nn: Any, name: str = name, how: Any = how, weight: Any = weight) -> Any:
            return getattr(nn, name)(weight[0], weight[1], weight[2:], **how)

        yield layer_row(
            f"{name} {how}",
            make_turned,
            shape,
            lambda x, w, b, how=how: conv_transpose(x, w, b, **how),
            [weight, weight[1:2]],
            tolerance=_summed(4 * math.prod(weight[2:]) + 1),
        )


# --- norms ---


def _normed(x: Array, axes: tuple[int, ...], center: bool = True) -> Array:
    away = x - x.mean(axes, keepdims=True) if center else x
    return np.asarray(away / np.sqrt(np.square(away).mean(axes, keepdims=True) + 1e-5))


def _by_channel(v: Array, x: Array) -> Array:
    return v.reshape(-1, *(1,) * (x.ndim - 2))


def _grouped(x: Array, groups: int) -> Array:
    parts = x.reshape(x.shape[0], groups, -1)
    return _normed(parts, (2,)).reshape(x.shape)


def _norms() -> Iterator[Row]:
    for name, shape, axes in (
        ("BatchNorm1d", LINE, (0, 2)), ("BatchNorm1d", (6, 4), (0,)),
        ("BatchNorm2d", IMAGE, (0, 2, 3)),
    ):  # fmt: skip
        kind = {"weights": [(4,), (4,)], "tolerance": _scaled(math.prod(shape) // 4)}
        yield layer_row(
            f"{name} {shape}",
            lambda nn, name=name: getattr(nn, name)(4),
            shape,
            lambda x, w, b, axes=axes: _normed(x, axes) * _by_channel(w, x) + _by_channel(b, x),
            **kind,
        )
        yield layer_row(
            f"{name} {shape} at rest",
            lambda nn, name=name: getattr(nn, name)(4).eval(),
            shape,
            lambda x, w, b: x / math.sqrt(1 + 1e-5) * _by_channel(w, x) + _by_channel(b, x),
            **kind,
        )
    for name, shape in (("InstanceNorm1d", LINE), ("InstanceNorm2d", IMAGE)):
        within = tuple(range(2, len(shape)))
        yield layer_row(
            name,
            lambda nn, name=name: getattr(nn, name)(4),
            shape,
            lambda x, axes=within: _normed(x, axes),
            tolerance=_scaled(math.prod(shape[2:])),
        )
        yield layer_row(
            f"{name} affine",
            lambda nn, name=name: getattr(nn, name)(4, affine=True),
            shape,
            lambda x, w, b, axes=within: _normed(x, axes) * _by_channel(w, x) + _by_channel(b, x),
            [(4,), (4,)],
            tolerance=_scaled(math.prod(shape[2:])),
        )
    yield layer_row(
        "LayerNorm",
        lambda nn: nn.LayerNorm(7),
        ROWS,
        lambda x, w, b: _normed(x, (1,)) * w + b,
        [(7,), (7,)],
        tolerance=_scaled(7),
    )
    yield layer_row(
        "LayerNorm of two axes",
        lambda nn: nn.LayerNorm((6, 5)),
        IMAGE,
        lambda x, w, b: _normed(x, (2, 3)) * w + b,
        [(6, 5), (6, 5)],
        tolerance=_scaled(30),
    )
    yield layer_row(
        "RMSNorm",
        lambda nn: nn.RMSNorm(7, eps=1e-5),
        ROWS,
        lambda x, w: _normed(x, (1,), center=False) * w,
        [(7,)],
        tolerance=_scaled(7),
    )
    yield layer_row(
        "GroupNorm",
        lambda nn: nn.GroupNorm(2, 4),
        IMAGE,
        lambda x, w, b: _grouped(x, 2) * _by_channel(w, x) + _by_channel(b, x),
        [(4,), (4,)],
        tolerance=_scaled(60),
    )
    yield layer_row(
        "LocalResponseNorm",
        lambda nn: nn.LocalResponseNorm(3, alpha=0.5),
        IMAGE,
        lambda x: reference.local_response(x, 3, 0.5, 0.75, 1.0),
        tolerance=_scaled(8),
    )


# --- windows ---


def _windows(
    x: Array, kernel: tuple[int, ...], stride: tuple[int, ...], padding: int, fill: float
) -> Array:
    """(N, C, *out, *kernel)."""
    rank = len(kernel)
    wide = np.pad(x, [(0, 0)] * 2 + [(padding, padding)] * rank, constant_values=fill)
    every = sliding_window_view(wide, kernel, axis=tuple(range(2, 2 + rank)))
    return every[(slice(None), slice(None), *(slice(None, None, s) for s in stride))]


def _pooled(
    of: Any, kernel: tuple[int, ...], stride: tuple[int, ...], padding: int, fill: float
) -> Any:
    axes = tuple(range(-len(kernel), 0))
    return lambda x: of(_windows(x, kernel, stride, padding, fill), axis=axes)


def _in_parts(of: Any, counts: tuple[int, ...]) -> Callable[[Array], Array]:
    def expected(x: Array) -> Array:
        sides = [
            [slice(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
            for n, m in zip(x.shape[2:], counts, strict=True)
        ]
        axes = tuple(range(2, x.ndim))
        parts = [
            of(x[(slice(None), slice(None), *p)], axis=axes) for p in itertools.product(*sides)
        ]
        return np.stack(parts, -1).reshape(*x.shape[:2], *counts)

    return expected


def _pools() -> Iterator[Row]:
    for rank, shape in ((1, LINE), (2, IMAGE)):
        apart = (floats(*shape, values=distinct),)
        k2, k3, s1 = (2,) * rank, (3,) * rank, (1,) * rank
        for name, of, fill in (
            (f"MaxPool{rank}d", np.max, -np.inf),
            (f"AvgPool{rank}d", np.mean, 0.0),
        ):
            yield layer_row(
                name,
                lambda nn, name=name: getattr(nn, name)(2),
                apart,
                _pooled(of, k2, k2, 0, fill),
                tolerance=_scaled(4),
            )
            yield layer_row(
                f"{name} padded",
                lambda nn, name=name: getattr(nn, name)(3, 1, 1),
                apart,
                _pooled(of, k3, s1, 1, fill),
                tolerance=_scaled(9),
            )
        counts = (4, 3)[:rank]
        for name, of in ((f"AdaptiveMaxPool{rank}d", np.max), (f"AdaptiveAvgPool{rank}d", np.mean)):
            yield layer_row(
                name,
                lambda nn, name=name, counts=counts: getattr(nn, name)(
                    counts if len(counts) > 1 else counts[0]
                ),
                apart,
                _in_parts(of, counts),
                tolerance=_scaled(9),
            )
    yield layer_row(
        "MaxUnpool2d", lambda nn: nn.MaxUnpool2d(2), (floats(2, 4, 3, 2), _places), _unpooled
    )


def _places(rng: Any, dtype: str) -> Array:
    """For each of (2, 4, 3, 2) maxima, a place in its own window of a (6, 4) plane."""
    rows_, columns = np.meshgrid(np.arange(3) * 2, np.arange(2) * 2, indexing="ij")
    down, along = rng.integers(0, 2, (2, 2, 4, 3, 2))
    return np.asarray((rows_ + down) * 4 + columns + along)


def _unpooled(x: Array, at: Array) -> Array:
    out = np.zeros((2, 4, 24))
    np.put_along_axis(out, at.reshape(2, 4, 6), x.reshape(2, 4, 6), 2)
    return out.reshape(2, 4, 6, 4)


def _unfolded(x: Array) -> Array:
    found = _windows(x, (2, 3), (2, 1), 1, 0.0)  # (N, C, rows, columns, 2, 3)
    return found.transpose(0, 1, 4, 5, 2, 3).reshape(x.shape[0], x.shape[1] * 6, -1)


def _folded(x: Array) -> Array:
    """Columns of (2, 4 * 6, 3 * 5) added where the windows of _unfolded lie in a (5, 5) plane."""
    out = np.zeros((2, 4, 7, 7))
    parts = x.reshape(2, 4, 2, 3, 3, 5)
    for i, j in itertools.product(range(3), range(5)):
        out[:, :, 2 * i : 2 * i + 2, j : j + 3] += parts[..., i, j]
    return out[:, :, 1:6, 1:6]


def _moved() -> Iterator[Row]:
    yield layer_row(
        "Unfold", lambda nn: nn.Unfold((2, 3), stride=(2, 1), padding=1), IMAGE, _unfolded
    )
    yield layer_row(
        "Fold",
        lambda nn: nn.Fold((5, 5), (2, 3), stride=(2, 1), padding=1),
        (2, 24, 15),
        _folded,
        tolerance=_summed(6),
    )
    sides = {"1d": ((2, 1), LINE), "2d": ((2, 1, 0, 3), IMAGE)}
    modes = {"Zero": {"mode": "constant"}, "Constant": {"mode": "constant", "constant_values": 1.5},
             "Reflection": {"mode": "reflect"}, "Replication": {"mode": "edge"},
             "Circular": {"mode": "wrap"}}  # fmt: skip
    for (word, how), (rank, (pads, shape)) in itertools.product(modes.items(), sides.items()):
        given_value = (1.5,) if word == "Constant" else ()
        width = [(0, 0), (0, 0), *[pads[i : i + 2] for i in range(len(pads) - 2, -1, -2)]]
        yield layer_row(
            f"{word}Pad{rank}",
            lambda nn, name=f"{word}Pad{rank}", args=(pads, *given_value): getattr(nn, name)(*args),
            shape,
            lambda x, width=width, how=how: np.pad(x, width, **how),
        )
    yield layer_row(
        "PixelShuffle",
        lambda nn: nn.PixelShuffle(2),
        IMAGE,
        lambda x: x.reshape(2, 1, 2, 2, 6, 5).transpose(0, 1, 4, 2, 5, 3).reshape(2, 1, 12, 10),
    )
    yield layer_row(
        "PixelUnshuffle",
        lambda nn: nn.PixelUnshuffle(2),
        (2, 1, 6, 4),
        lambda x: x.reshape(2, 1, 3, 2, 2, 2).transpose(0, 1, 3, 5, 2, 4).reshape(2, 4, 3, 2),
    )
    yield layer_row(
        "Upsample",
        lambda nn: nn.Upsample(scale_factor=2),
        IMAGE,
        lambda x: x.repeat(2, 2).repeat(2, 3),
    )
    yield layer_row(
        "Upsample bilinear",
        lambda nn: nn.Upsample((11, 9), mode="bilinear", align_corners=True),
        IMAGE,
        _between,
        tolerance=_scaled(4),
    )


def _between(x: Array) -> Array:
    """Linear along both axes, from corner to corner."""
    for axis, count in ((2, 11), (3, 9)):
        at = np.linspace(0, x.shape[axis] - 1, count)
        lines = np.moveaxis(x, axis, -1)
        places = np.arange(lines.shape[-1])
        made = [np.interp(at, places, line) for line in lines.reshape(-1, len(places))]
        x = np.moveaxis(np.stack(made).reshape(*lines.shape[:-1], count), -1, axis)
    return x


# --- losses ---


def _huber(delta: float) -> Callable[[Array, Array], Array]:
    def of(x: Array, y: Array) -> Array:
        away = np.abs(x - y)
        return np.asarray(np.where(away < delta, away**2 / 2, delta * (away - delta / 2)))

    return of


def _losses() -> Iterator[Row]:
    two = (floats(*ROWS), floats(*ROWS))
    table: tuple[tuple[str, Callable[[Array, Array], Array], dict[str, Any]], ...] = (
        ("MSELoss", lambda x, y: np.square(x - y), {}),
        ("L1Loss", lambda x, y: np.abs(x - y), {}),
        ("HuberLoss", _huber(0.7), {"delta": 0.7}),
        ("SmoothL1Loss", lambda x, y: _huber(0.7)(x, y) / 0.7, {"beta": 0.7}),
        ("BCEWithLogitsLoss",
         lambda x, y: np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x))), {}),
    )  # fmt: skip
    for name, each, how in table:
        for reduction, of in (("mean", np.mean), ("sum", np.sum), ("none", np.asarray)):

            def make(nn: Any, name: str = name, how: Any = how, reduction: str = reduction) -> Any:
                return getattr(nn, name)(reduction=reduction, **how)

            yield layer_row(
                f"{name} {reduction}",
                make,
                two,
                lambda x, y, of=of, each=each: of(each(x, y)),
                tolerance=_summed(21),
                differentiable=(0, 1) if name != "BCEWithLogitsLoss" else (0,),
            )
    classes = (floats(*ROWS), integers(0, 7, 3))
    picked = np.arange(3)
    yield layer_row(
        "NLLLoss",
        lambda nn: nn.NLLLoss(),
        classes,
        lambda x, y: -x[picked, y].mean(),
        tolerance=_summed(3),
    )
    yield layer_row(
        "NLLLoss sum",
        lambda nn: nn.NLLLoss(reduction="sum"),
        classes,
        lambda x, y: -x[picked, y].sum(),
        tolerance=_summed(3),
    )
    yield layer_row(
        "CrossEntropyLoss",
        lambda nn: nn.CrossEntropyLoss(),
        classes,
        lambda x, y: -reference.log_softmax(x, 1)[picked, y].mean(),
        tolerance=_summed(7),
    )
    yield layer_row(
        "CrossEntropyLoss smoothed",
        lambda nn: nn.CrossEntropyLoss(label_smoothing=0.2),
        classes,
        lambda x, y: (
            -(
                0.8 * reference.log_softmax(x, 1)[picked, y]
                + 0.2 * reference.log_softmax(x, 1).mean(1)
            ).mean()
        ),
        tolerance=_summed(7),
    )


# --- containers ---


def _of_modules(kind: str) -> Make:
    """A module whose two layers stand in a container of this kind."""

    def make(nn: Any) -> Any:
        class Both(nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                first, second = nn.Linear(7, 5), nn.Linear(5, 2)
                if kind == "ModuleDict":
                    self.layers = nn.ModuleDict({"a": first, "b": second})
                elif kind == "ModuleList":
                    self.layers = nn.ModuleList([first])
                    self.layers.append(second)
                elif kind == "Sequential":
                    self.layers = nn.Sequential(first, nn.Tanh(), second)
                else:
                    self.first, self.second = first, second
                    self.scale = nn.Parameter(first.bias.detach()[0])

            def forward(self, x: Any) -> Any:
                if kind == "Sequential":
                    return self.layers(x)
                if kind == "Module":
                    return self.second(self.first(x).tanh()) * self.scale
                first, second = self.layers.values() if kind == "ModuleDict" else self.layers
                return second(first(x).tanh())

        return Both()

    return make


def _chained(x: Array, v: Array, a: Array, w: Array, b: Array) -> Array:
    return np.asarray(np.tanh(x @ v.T + a) @ w.T + b)


def _containers() -> Iterator[Row]:
    weights: list[Any] = [(5, 7), (5,), (2, 5), (2,)]
    for kind in ("Sequential", "ModuleList", "ModuleDict"):
        yield layer_row(kind, _of_modules(kind), ROWS, _chained, weights, tolerance=_summed(40))
    yield layer_row(
        "Module with a Parameter",
        _of_modules("Module"),
        ROWS,
        lambda x, s, *w: _chained(x, *w) * s,
        [(), *weights],
        tolerance=_summed(40),
    )
    yield (
        "Parameter",
        given(floats(*ROWS)),
        lambda tw, F, x: tw.nn.Parameter(x.detach()) * 2,
        lambda x: 2 * x,
    )


# --- functions that only a layer's case would enter ---


def _functions() -> Iterator[Row]:
    made = given(floats(2, 4, 3, 2), _places)
    yield (
        "max_unpool2d",
        made,
        lambda tw, F, x, at: F.max_unpool2d(x, at, 2),
        _unpooled,
        {"differentiable": (0,)},
    )
    classes = given(floats(6, 4), integers(0, 4, 6), floats(4, values=positive))
    rows_ = np.arange(6)
    for reduction in ("mean", "sum", "none"):
        how = {"tolerance": _summed(6), "differentiable": (0,)}

        def picked(x: Array, y: Array, w: Array, reduction: str = reduction) -> Any:
            counted = y != 1
            each = np.where(counted, -w[y] * x[rows_, y], 0.0)
            total = each.sum()
            return {"none": each, "sum": total, "mean": total / w[y][counted].sum()}[reduction]

        yield (
            f"nll_loss {reduction}",
            classes,
            lambda tw, F, x, y, w, r=reduction: F.nll_loss(x, y, w, ignore_index=1, reduction=r),
            picked,
            how,
        )

        def logits(x: Array, y: Array, w: Array, p: Array, reduction: str = reduction) -> Any:
            one = np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, 0)  # -log(sigmoid(x))
            each = w * (p * y * one + (1 - y) * (one + x))
            return {"none": each, "sum": each.sum(), "mean": each.mean()}[reduction]

        yield (
            f"binary_cross_entropy_with_logits {reduction}",
            given(
                floats(6, 4),
                floats(6, 4, values=positive),
                floats(4, values=positive),
                floats(4, values=positive),
            ),
            lambda tw, F, x, y, w, p, r=reduction: F.binary_cross_entropy_with_logits(
                x, y, weight=w, pos_weight=p, reduction=r
            ),
            logits,
            {**how, "tolerance": _summed(96)},
        )


TABLES = (_functions, _activations, _products, _norms, _pools, _moved, _losses, _containers)
CASES: tuple[Case, ...] = tuple(case for table in TABLES for case in rows("layers", table()))
