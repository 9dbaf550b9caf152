"""Cases of interpolation and of shuffling pixels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator, Mode
from tilework.testing.inputs import LAYOUTS, Shape, arrays, normal, positive
from tilework.testing.tolerance import eps, exact, tiny


def _matrix(n: int, count: int, factor: float | None, mode: str, align: bool) -> Array:
    """(count, n): what each output takes of each input, positions in exact fractions."""
    scale = Fraction(n, count) if factor is None else 1 / Fraction(factor)
    taken = np.zeros((count, n))
    for o in range(count):
        if mode == "nearest":
            taken[o, min(int(o * scale), n - 1)] = 1.0
        elif mode == "nearest-exact":
            taken[o, min(int((o + Fraction(1, 2)) * scale), n - 1)] = 1.0
        else:
            if align:
                place = Fraction(o * (n - 1), max(count - 1, 1))
            else:
                place = max((o + Fraction(1, 2)) * scale - Fraction(1, 2), Fraction(0))
            place = min(place, Fraction(n - 1))
            low = int(place)
            part = float(place - low)
            taken[o, low] += 1.0 - part
            taken[o, min(low + 1, n - 1)] += part
    return taken


def _matrices(shape: Shape, how: dict[str, Any]) -> list[Array]:
    sides = shape[2:]
    size, factor = how.get("size"), how.get("scale_factor")
    found = []
    for i, n in enumerate(sides):
        of = factor[i] if isinstance(factor, tuple) else factor
        side: Any = size[i] if isinstance(size, tuple) else size
        count = side if of is None else int(n * of)
        if how.get("recompute_scale_factor"):
            of = None
        mode, align = how.get("mode", "nearest"), bool(how.get("align_corners"))
        found.append(_matrix(n, count, of, mode, align))
    return found


def _interpolate(label: str, shape: Shape, how: dict[str, Any], **fields: Any) -> Case:
    layout, values = fields.pop("layout", "contiguous"), fields.pop("values", normal)
    matrices = _matrices(shape, how)

    def reference(x: Array) -> Array:
        y = x @ matrices[-1].T
        return y if len(matrices) == 1 else np.asarray(matrices[0] @ y)

    def bound(dtype: str, expected: Array, x: Array) -> Any:
        if "linear" not in how.get("mode", "nearest"):
            return exact(dtype, expected)
        # Two roundings an axis, of the blend and of its weight; and that of the position, in
        # float64 and at its own size, which moves the weight as much.
        place = eps("float64") * sum(shape[2:]) * np.abs(x).max(initial=0.0)
        return 8.0 * eps(dtype) * reference(np.abs(x)) + 2.0 * place + tiny(dtype)

    return Case(
        family="interpolate",
        op="interpolate",
        label=f"{label}{shape} {how}",
        inputs=arrays(shape, values=values, layouts=[layout]),
        call=lambda tw, F, x: F.interpolate(x, **how),
        reference=reference,
        tolerance=bound,
        differentiable=(0,),
        **fields,
    )


SIZES: tuple[dict[str, Any], ...] = (
    {"size": (7, 9)},
    {"size": (10, 6)},
    {"size": 1},
    {"scale_factor": 2},
    {"scale_factor": (1.5, 0.75)},
    {"scale_factor": 1.5, "recompute_scale_factor": True},
)


def _combed(rng: Generator, dtype: str, *shape: int) -> Array:
    """Every second column zeros: outputs are one input times a weight, which must be exact where it
    is small."""
    x = normal(rng, dtype, *shape)
    x[..., 1::2] = 0.0
    return x


def _interpolated() -> Iterator[Case]:
    shape = (2, 3, 5, 11)
    for how, mode, layout in itertools.product(
        SIZES, ("nearest", "nearest-exact", "bilinear"), ("contiguous", "channels_last")
    ):
        case = {**how, "mode": mode}
        label = "" if layout == "contiguous" else f"{layout} "
        yield _interpolate(label, shape, case, layout=layout)
        if mode == "bilinear" and "scale_factor" not in how:
            yield _interpolate(label, shape, {**case, "align_corners": True}, layout=layout)
    for mode, how in itertools.product(("nearest", "linear"), ({"size": 17}, {"scale_factor": 2})):
        yield _interpolate("", (2, 3, 11), {**how, "mode": mode})
    for channels in (1, 4, 17, 33):
        up = {"scale_factor": 2, "mode": "bilinear"}
        yield _interpolate("channels_last ", (1, channels, 3, 4), up, layout="channels_last")
    for layout in ("contiguous", "channels_last"):
        corners = {"size": (1, 56), "mode": "bilinear", "align_corners": True}
        line = (1, 2, 1, 112)
        yield _interpolate(f"{layout}, beside zeros ", line, corners, layout=layout, values=_combed)
    for layout in ("transposed", "sliced", "reversed"):
        yield _interpolate(f"{layout} ", shape, {"size": 4, "mode": "bilinear"}, layout=layout)
    yield _interpolate("", (0, 3, 5, 6), {"scale_factor": 2})
    for mode in ("nearest", "bilinear"):  # 4 MiB and more of pixels that are whole cache lines
        up, shape = {"scale_factor": 2, "mode": mode}, (1, 4096, 9, 8)
        fields: dict[str, Any] = {"layout": "channels_last", "dtypes": ("float32",)}
        yield _interpolate("streamed ", shape, up, **fields)


def _shuffled(op: str, shape: Shape, factor: int, label: str = "", **fields: Any) -> Case:
    def reference(x: Array) -> Array:
        y = np.empty(
            (*x.shape[:-3], x.shape[-3] // factor**2, x.shape[-2] * factor, x.shape[-1] * factor)
        )
        for c, i, j in np.ndindex(y.shape[-3], factor, factor):
            y[..., c, i::factor, j::factor] = x[..., (c * factor + i) * factor + j, :, :]
        return y

    def inverse(x: Array) -> Array:
        c, h, w = x.shape[-3:]
        y = np.empty((*x.shape[:-3], c * factor**2, h // factor, w // factor))
        for k, i, j in np.ndindex(c, factor, factor):
            y[..., (k * factor + i) * factor + j, :, :] = x[..., k, i::factor, j::factor]
        return y

    layout = fields.pop("layout", "contiguous")
    return Case(
        family="interpolate",
        op=op,
        label=f"{label}{shape} by {factor}",
        inputs=arrays(shape, layouts=[layout]),
        call=lambda tw, F, x: getattr(F, op)(x, factor),
        reference=reference if op == "pixel_shuffle" else inverse,
        tolerance=exact,
        differentiable=(0,),
        **fields,
    )


def _cases() -> Iterator[Case]:
    yield from _interpolated()
    for shape, factor in (((2, 8, 3, 4), 2), ((9, 2, 5), 3), ((2, 3, 4, 5), 1)):
        yield _shuffled("pixel_shuffle", shape, factor)
    for shape, factor in (((2, 2, 6, 4), 2), ((3, 6, 9), 3), ((2, 3, 4, 5), 1)):
        yield _shuffled("pixel_unshuffle", shape, factor)
    for layout in LAYOUTS[1:]:
        yield _shuffled("pixel_shuffle", (2, 8, 3, 4), 2, f"{layout} ", layout=layout)
        yield _shuffled("pixel_unshuffle", (2, 2, 6, 4), 2, f"{layout} ", layout=layout)


# --- timed ---

_TIMED: tuple[tuple[str, Shape, dict[str, Any]], ...] = (
    ("nearest up 64@56 N=16", (16, 64, 56, 56), {"scale_factor": 2}),
    ("nearest down 64@112 N=16", (16, 64, 112, 112), {"scale_factor": 0.5}),
    ("bilinear up 64@56 N=16", (16, 64, 56, 56), {"scale_factor": 2, "mode": "bilinear"}),
    (
        "bilinear up, corners 64@56 N=16",
        (16, 64, 56, 56),
        {"scale_factor": 2, "mode": "bilinear", "align_corners": True},
    ),
    ("bilinear down 64@112 N=16", (16, 64, 112, 112), {"scale_factor": 0.5, "mode": "bilinear"}),
    (
        "bilinear down, corners 64@112 N=16",
        (16, 64, 112, 112),
        {"scale_factor": 0.5, "mode": "bilinear", "align_corners": True},
    ),
)
_MODES: tuple[Mode, ...] = ("forward", "backward")


def _bench(label: str, mode: Mode, elements: float) -> dict[str, Any]:
    passes = 2.0 if mode == "backward" else 1.0
    return {
        "quick": False,
        "dtypes": ("float32",),
        "bench": Bench(f"{label} {mode}", flops=0.0, bytes=4.0 * passes * elements, mode=mode),
    }


def _timed() -> Iterator[Case]:
    for (name, shape, how), mode in itertools.product(_TIMED, _MODES):
        elements = math.prod(shape) * (1.0 + how["scale_factor"] ** 2)
        # Positive: the peers keep positions in float32, and their errors are held against the size
        # of the answer.
        bench = _bench(name, mode, elements)
        yield _interpolate(f"{name} {mode}: ", shape, how, values=positive, **bench)
    for mode in _MODES:
        name, shape = "pixel_shuffle 256@56 by 2 N=16", (16, 256, 56, 56)
        bench = _bench(name, mode, 2.0 * math.prod(shape))
        yield _shuffled("pixel_shuffle", shape, 2, f"{mode}: ", **bench)


CASES: tuple[Case, ...] = (*_cases(), *_timed())
