"""Cases of pooling."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.inputs import LAYOUTS, Inputs, Shape, arrays, distinct, normal
from tilework.testing.tolerance import eps, exact, growth, tiny

# A window along one axis: the inputs it covers, and what it counts for in an average.
Window = tuple[list[int], int]


def _windows(
    n: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool, pad_counts: bool
) -> list[Window]:
    found: list[Window] = []
    span = dilation * (kernel - 1) + 1
    for begin in itertools.count(-padding, stride):
        over = begin + span > n + padding
        # In ceil_mode one window may hang over the end, if it begins before the padding there.
        last_hung = begin - stride + span >= n + padding
        if over and (not ceil_mode or last_hung or begin >= n):
            return found
        inside = [i for i in range(begin, begin + span, dilation) if 0 <= i < n]
        size = min(begin + span, n + padding) - begin
        found.append((inside, size if pad_counts else len(inside)))
    raise AssertionError


def _parts(n: int, count: int | None) -> list[Window]:
    """Of an adaptive pooling."""
    count = n if count is None else count
    bounds = [(o * n // count, -(-(o + 1) * n // count)) for o in range(count)]
    return [(list(range(a, b)), b - a) for a, b in bounds]


def _pooled(x: Array, rows: list[Window], cols: list[Window], average: bool, divisor: Any) -> Array:
    y = np.empty((*x.shape[:-2], len(rows), len(cols)))
    for (i, (r, height)), (j, (c, width)) in itertools.product(enumerate(rows), enumerate(cols)):
        window = x[..., np.array(r, int)[:, None], c]
        if average:
            y[..., i, j] = window.sum((-1, -2)) / (divisor or height * width)
        else:
            y[..., i, j] = window.max((-1, -2), initial=-np.inf)
    return y


def _sides(value: Any, dims: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,) * dims


def _reference(op: str, args: dict[str, Any]) -> Callable[[Array], Array]:
    dims, average = int(op[-2]), "avg" in op

    def windows(n: int, side: int) -> list[Window]:
        def of(name: str, default: Any) -> Any:
            return _sides(args.get(name, default), dims)[side]

        if "adaptive" in op:
            return _parts(n, of("output_size", None))
        kernel = of("kernel_size", None)
        return _windows(
            n, kernel, of("stride", args["kernel_size"]), of("padding", 0), of("dilation", 1),
            args.get("ceil_mode", False), args.get("count_include_pad", True),
        )  # fmt: skip

    def expected(x: Array) -> Array:
        flat: list[Window] = [([0], 1)]
        rows = windows(x.shape[-2], 0) if dims == 2 else flat
        cols = windows(x.shape[-1], dims - 1)
        plane = x if dims == 2 else x[..., None, :]
        y = _pooled(plane, rows, cols, average, args.get("divisor_override"))
        return y if dims == 2 else y[..., 0, :]

    return expected


def _pool(op: str, label: str, inputs: Inputs, args: dict[str, Any], **fields: Any) -> Case:
    reference = _reference(op, args)

    def bound(dtype: str, expected: Array, x: Array) -> Array:
        area = int(np.prod(x.shape[-int(op[-2]) :]))
        if "kernel_size" in args:
            area = min(area, int(np.prod(_sides(args["kernel_size"], int(op[-2])))))
        return np.asarray(growth(area) * eps(dtype) * np.abs(reference(np.abs(x))) + tiny(dtype))

    return Case(
        family="pool",
        op=op,
        label=label,
        inputs=inputs,
        call=lambda tw, F, x: getattr(F, op)(x, **args),
        reference=reference,
        tolerance=exact if "max" in op else bound,
        **fields,
    )


def _indices(op: str, label: str, inputs: Inputs, args: dict[str, Any]) -> Case:
    """Where the maxima are: the reference finds them one by one."""
    reference = _reference(op, args)

    def where(x: Array) -> Array:
        best, plane = reference(x), x.reshape(*x.shape[:-2], -1)
        number = np.arange(plane.shape[-1], dtype=np.float64).reshape(x.shape[-2:])
        found = np.empty(best.shape, np.int64)
        for at in np.ndindex(*x.shape[:-2]):
            # The first in the window of those that equal the maximum: minus its number is largest.
            for value in np.unique(best[at]):
                same = np.where(x[at] == value, -number, -np.inf)
                here = best[at] == value
                found[at][here] = -reference(same[None, None])[0, 0][here]
        return found

    return Case(
        family="pool",
        op=op,
        label=f"{label}: indices",
        inputs=inputs,
        call=lambda tw, F, x: getattr(F, op)(x, return_indices=True, **args)[1],
        reference=where,
        tolerance=exact,
    )


def _rounded(rng: Generator, dtype: str, *shape: int) -> Array:
    """Numbers with many ties."""
    return np.round(rng.standard_normal(shape)).astype(dtype)


WINDOWS: tuple[dict[str, Any], ...] = (
    {"kernel_size": 1},
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 3, "stride": 3},
    {"kernel_size": 2, "stride": 3},
    {"kernel_size": (3, 2), "stride": (1, 2), "padding": (1, 0)},
    {"kernel_size": 5, "stride": 2, "padding": 2},
)
CEILED: tuple[tuple[Shape, dict[str, Any]], ...] = (
    ((1, 2, 5, 8), {"kernel_size": 2}),  # one row hangs over, no column does
    ((1, 2, 7, 9), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 2, 4, 6), {"kernel_size": 1, "stride": 2}),
    ((1, 2, 3, 5), {"kernel_size": 2, "stride": 2, "padding": 1}),  # the last begins in the padding
    ((1, 2, 6, 7), {"kernel_size": 3, "stride": 4, "padding": 1}),
)
DILATED: tuple[dict[str, Any], ...] = (
    {"kernel_size": 3, "dilation": 2, "padding": 1, "stride": 1},
    {"kernel_size": 2, "dilation": 2, "stride": 2},
    {"kernel_size": 2, "dilation": (2, 3), "stride": 3, "padding": 1},
)
LONG: tuple[dict[str, Any], ...] = (
    {"kernel_size": (1, 2)},
    {"kernel_size": (1, 3), "stride": (1, 2), "padding": (0, 1)},
    {"kernel_size": (1, 3), "stride": (1, 1), "padding": (0, 1), "ceil_mode": True},
)
PARTS: tuple[Any, ...] = (1, 3, (2, 5), (None, 2))
CHANNELS: tuple[int, ...] = (1, 3, 4, 8, 15, 16, 17, 33, 64, 65)
WIDTHS: tuple[int, ...] = (*range(2, 12), 16, 17, 31, 33, 34, 35, 65, 67)
INF, NAN = float("inf"), float("nan")


def _planted(*values: float) -> Inputs:
    """The first value here and there in a plane, the last all over another's corner."""

    def inputs(rng: Generator, t: str) -> tuple[Array]:
        x = normal(rng, t, 2, 3, 6, 40)
        x[1, 1, 1::2, 1::3] = values[0]
        x[0, 2, :4, :6] = values[-1]
        return (x,)

    return inputs


SPECIAL: dict[str, Inputs] = {
    "NaNs": _planted(NAN, NAN),
    "Infs": _planted(INF, -INF),
    "-Infs around a NaN": _planted(NAN, -INF),
    "zeros of both signs": _planted(0.0, -0.0),
}


def _values(op: str) -> Callable[..., Array]:
    return distinct if "max" in op else normal


def _of_windows(op: str) -> Iterator[Case]:
    values, dims = _values(op), int(op[-2])

    def of(shape: Shape, layout: str = "contiguous") -> Inputs:
        cut = shape if dims == 2 else shape[:-2] + shape[-1:]
        return arrays(cut, values=values, layouts=[layout])

    def case(label: str, inputs: Inputs, args: dict[str, Any], **fields: Any) -> Case:
        if dims == 1:
            args = {k: v[1] if isinstance(v, tuple) else v for k, v in args.items()}
        return _pool(op, f"{label} {args}", inputs, args, differentiable=(0,), **fields)

    for args in WINDOWS:
        for layout in ("contiguous", "channels_last"):
            yield case(layout, of((2, 5, 9, 11), layout), args)
    for shape, args in CEILED:
        yield case(f"{shape} ceil", of(shape), {**args, "ceil_mode": True})
        yield case(f"{shape} floor", of(shape), args)
        if "avg" in op:
            how = {"ceil_mode": True, "count_include_pad": False}
            yield case(f"{shape} ceil", of(shape), {**args, **how})
    for args in DILATED if "max" in op else ():
        for layout in ("contiguous", "channels_last"):
            yield case(layout, of((1, 3, 9, 11), layout), args)
    if op == "avg_pool2d":
        for layout in ("contiguous", "channels_last"):
            args = {"kernel_size": 3, "padding": 1, "divisor_override": 5}
            yield case(layout, of((1, 3, 5, 6), layout), args)
    pooled = {"kernel_size": 3, "stride": 2, "padding": 1}
    yield case("unbatched", of((3, 5, 7)), pooled)
    yield case("no batch", of((0, 3, 5, 7)), pooled)
    for layout in LAYOUTS if dims == 2 else ():
        if layout != "expanded" or "avg" in op:  # a maximum of ties has no slope
            yield case(f"{layout}, as laid out", of((2, 3, 5, 8), layout), pooled)
    if "avg" in op:
        for stride, layout in itertools.product((1, 2, 3), ("contiguous", "channels_last")):
            args = {"kernel_size": 3, "stride": stride, "padding": 1, "count_include_pad": False}
            yield case(f"{layout}, many windows a row", of((2, 3, 7, 40), layout), args)
    if dims == 1:
        return
    for args in ({"kernel_size": 2}, pooled, {"kernel_size": 3, "stride": 1}):
        for n in CHANNELS:
            inputs = of((1, n, 5, 6), "channels_last")
            yield case(f"channels: {n}", inputs, args, quick=n in (3, 17, 65))
        for n in WIDTHS:
            if n > 2 or "padding" in args or args["kernel_size"] == 2:
                yield case(f"width: {n}", of((2, 2, 5, n)), args, quick=n in (5, 17, 35, 67))
        for planes in (17, 40):  # enough for planes to stand in the lanes
            yield case(f"planes: {planes}", of((2, planes, 7, 9)), args)
    for args in LONG:
        stride = args.get("stride", args["kernel_size"])[1]
        for n in (2048 * stride, 2600 * stride + 1):  # a table of runs, cut into segments
            yield replace(case(f"a row of {n}", of((1, 3, 1, n)), args), differentiable=())


def _of_parts(op: str) -> Iterator[Case]:
    values, dims = _values(op), int(op[-2])
    shape = (2, 5, 7, 11) if dims == 2 else (2, 5, 11)
    for parts, layout in itertools.product(PARTS, ("contiguous", "channels_last")):
        if dims == 1 and isinstance(parts, tuple):
            continue
        inputs = arrays(shape, values=values, layouts=[layout])
        args = {"output_size": parts}
        yield _pool(op, f"{layout} to {parts}", inputs, args, differentiable=(0,))
    if dims == 2:
        for n, layout in itertools.product((7, 20, 40), ("contiguous", "channels_last")):
            inputs = arrays((2, 3, n, n), values=values, layouts=[layout])
            args = {"output_size": 1}
            yield _pool(op, f"{layout} global {n}", inputs, args, differentiable=(0,))
        for n, parts in itertools.product((13, 14), (5, (7, 6))):
            inputs = arrays((2, 33, n, n), values=values)  # planes stand in the lanes
            args = {"output_size": parts}
            yield _pool(op, f"many planes of {n} to {parts}", inputs, args, differentiable=(0,))
    unbatched = arrays(shape[1:], values=values)
    yield _pool(op, "unbatched", unbatched, {"output_size": 2}, differentiable=(0,))


def _staged() -> Iterator[Case]:
    """Outputs and gradients of 4 MiB and more go around the caches, by way of a stage of rows. The
    references are slices: `_reference` goes window by window."""

    def corner(x: Array, i: int, j: int) -> Array:
        rows, cols = x.shape[-2:]
        return x[..., i : rows - 1 + i, j : cols - 1 + j]

    def four(x: Array) -> Array:
        return np.stack([corner(x, i, j) for i in (0, 1) for j in (0, 1)])

    for layout in ("contiguous", "channels_last"):
        fields: dict[str, Any] = {
            "family": "pool",
            "label": f"staged, {layout}",
            "differentiable": (0,),
            "dtypes": ("float32",),
        }
        shape = (1, 3, 601, 603)
        yield Case(
            op="max_pool2d",
            inputs=arrays(shape, values=_apart, layouts=[layout]),
            call=lambda tw, F, x: F.max_pool2d(x, 2, stride=1),
            reference=lambda x: four(x).max(0),
            tolerance=exact,
            **fields,
        )
        yield Case(
            op="avg_pool2d",
            inputs=arrays(shape, layouts=[layout]),
            call=lambda tw, F, x: F.avg_pool2d(x, 2, stride=1),
            reference=lambda x: four(x).mean(0),
            tolerance=lambda t, y, x: growth(4) * eps(t) * four(np.abs(x)).mean(0) + tiny(t),
            **fields,
        )


def _cases() -> Iterator[Case]:
    yield from _staged()
    for op in ("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"):
        yield from _of_windows(op)
    for op in (
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
    ):
        yield from _of_parts(op)
    for name, inputs in SPECIAL.items():
        for args in (WINDOWS[1], WINDOWS[2], WINDOWS[4]):
            yield _pool("max_pool2d", f"{name} {args}", inputs, args)
        yield _pool("avg_pool2d", name, inputs, WINDOWS[2])
        yield _pool("adaptive_max_pool2d", name, inputs, {"output_size": 3})
    for args, layout in itertools.product(
        (*WINDOWS[1:], *DILATED), ("contiguous", "channels_last")
    ):
        ties = arrays((1, 3, 7, 20), values=_rounded, layouts=[layout])
        yield _indices("max_pool2d", f"{layout} {args}", ties, args)
    for parts, layout in itertools.product((1, 3), ("contiguous", "channels_last")):
        ties = arrays((1, 3, 18, 20), values=_rounded, layouts=[layout])
        yield _indices("adaptive_max_pool2d", f"{layout} {parts}", ties, {"output_size": parts})


# --- timed ---

_TIMED: tuple[tuple[str, str, Sequence[int], dict[str, Any]], ...] = (
    ("max 2x2 64@56 N=16", "max_pool2d", (16, 64, 56, 56), {"kernel_size": 2}),
    (
        "max 3x3 s2 64@112 N=16",
        "max_pool2d",
        (16, 64, 112, 112),
        {"kernel_size": 3, "stride": 2, "padding": 1},
    ),
    ("average 2x2 64@56 N=16", "avg_pool2d", (16, 64, 56, 56), {"kernel_size": 2}),
    (
        "average 3x3 64@56 N=16",
        "avg_pool2d",
        (16, 64, 56, 56),
        {"kernel_size": 3, "stride": 1, "padding": 1},
    ),
    (
        "adaptive average 7x7 64@56 N=16",
        "adaptive_avg_pool2d",
        (16, 64, 56, 56),
        {"output_size": 7},
    ),
    ("adaptive max 7x7 64@56 N=16", "adaptive_max_pool2d", (16, 64, 56, 56), {"output_size": 7}),
    (
        "adaptive average 7x7 512@14 N=16",
        "adaptive_avg_pool2d",
        (16, 512, 14, 14),
        {"output_size": 7},
    ),
    (
        "adaptive average 7x7 512@13 N=16",
        "adaptive_avg_pool2d",
        (16, 512, 13, 13),
        {"output_size": 7},
    ),
    ("max 3 s2 of a row of 1e7", "max_pool1d", (1, 1, 10**7), {"kernel_size": 3, "stride": 2}),
    ("global average 512@7 N=16", "adaptive_avg_pool2d", (16, 512, 7, 7), {"output_size": 1}),
    ("global average 64@56 N=16", "adaptive_avg_pool2d", (16, 64, 56, 56), {"output_size": 1}),
)


def _apart(rng: Generator, dtype: str, *shape: int) -> Array:
    """Normal numbers: of those less than eight rows and columns away no two within 2e-4, so that a
    step for a difference changes no maximum."""
    coarse = np.round(rng.standard_normal(shape) * 64.0)
    rows, cols = np.arange(shape[-2]) % 8, np.arange(shape[-1]) % 8
    fine = (8 * rows[:, None] + cols) / 64.0
    return np.asarray((coarse + fine) / 64.0, dtype)


def _timed() -> Iterator[Case]:
    for (name, op, shape, args), mode in itertools.product(_TIMED, ("forward", "backward")):
        if len(shape) == 3 and mode == "backward":
            continue  # differences of ten million would take minutes
        label = f"{name} {mode}"
        inside = np.prod(shape)
        outside = shape[0] * shape[1] * _count(op, shape, args) ** int(op[-2])
        passes = 2 if mode == "backward" else 1
        yield _pool(
            op,
            label,
            arrays(tuple(shape), values=_apart if "max" in op else normal),
            args,
            differentiable=(0,),
            quick=False,
            bench=Bench(
                label,
                flops=0.0,
                bytes=4.0 * passes * float(inside + outside),
                mode=mode,
                quick=name == "max 2x2 64@56 N=16",
            ),
        )


def _count(op: str, shape: Sequence[int], args: dict[str, Any]) -> int:
    """Outputs along an axis."""
    if "adaptive" in op:
        return int(args["output_size"])
    kernel = args["kernel_size"]
    stride, padding = args.get("stride", kernel), args.get("padding", 0)
    return int((shape[-1] + 2 * padding - kernel) // stride + 1)


CASES: tuple[Case, ...] = (*_cases(), *_timed())
