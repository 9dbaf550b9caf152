"""Cases of matmul and linear.

The sizes step around what the kernels cut by: register blocks of 14 or 32 rows and 32 columns,
tiles of 16 and 32, products over K in blocks of 256 to 512. Each axis is stepped alone in the
default run; `--full` crosses them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from tilework.devices import get_default_device
from tilework.dtypes import finfo
from tilework.testing import reference
from tilework.testing.case import Array, Bench, Case, Generator
from tilework.testing.inputs import LAYOUTS, Inputs, Shape, arrays, normal
from tilework.testing.tolerance import growth, of_magnitude, stored, working_eps

ROWS = (1, 2, 3, 5, 7, 8, 13, 14, 15, 16, 17, 27, 28, 29, 31, 32, 33, 63, 64, 65)
COLUMNS = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95, 97)
DEPTHS = (1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129)
DTYPES = ("float32", "float64", "bfloat16")
LONG_DEPTHS = (255, 256, 257, 383, 384, 385, 511, 512, 513, 1025)


# --- matmul ---


def _depth(a: Array, b: Array) -> int:
    return int(a.shape[-1])


MATMUL_TOLERANCE = of_magnitude(lambda a, b: np.matmul(np.abs(a), np.abs(b)), _depth)


def _matmul(label: str, inputs: Inputs, **fields: Any) -> Case:
    return Case(
        family="gemm",
        op="matmul",
        label=label,
        inputs=inputs,
        call=lambda tw, F, a, b: tw.matmul(a, b),
        reference=np.matmul,
        **{"tolerance": MATMUL_TOLERANCE, "dtypes": DTYPES, **fields},
    )


def _shaped(a: Shape, b: Shape, **fields: Any) -> Case:
    label = f"{'x'.join(map(str, a))} @ {'x'.join(map(str, b))}"
    return _matmul(label, arrays(a, b), **fields)


def _sizes() -> Iterator[Case]:
    base = (17, 33, 19)
    one_at_a_time = {
        *((m, base[1], base[2]) for m in ROWS),
        *((base[0], n, base[2]) for n in COLUMNS),
        *((base[0], base[1], k) for k in DEPTHS),
        *((33, 33, k) for k in LONG_DEPTHS),
        *((1, n, k) for n in (1, 7, 64, 257) for k in (1, 33, 513)),  # vector times matrix
        *((m, 1, k) for m in (1, 7, 64, 257) for k in (1, 33, 513)),  # matrix times vector
        *((257, 2, 3), (2, 1030, 3), (129, 130, 131)),
        *((17, 4, 19), (20, 97, 33), (40, 150, 33)),  # four vectors; few panels of rows
    }
    crossed = {
        *itertools.product(ROWS, COLUMNS[::2], DEPTHS[::3]),
        *((m, n, k) for m in (255, 257, 513) for n in (511, 2049) for k in (385, 513)),
        *((3, 5, k) for k in (4096, 16384)),
    }
    for m, n, k in sorted(one_at_a_time):
        differentiable = (0, 1) if m * n * k < 40000 else ()
        yield _shaped((m, k), (k, n), differentiable=differentiable)
    for m, n, k in sorted(crossed - one_at_a_time):
        yield _shaped((m, k), (k, n), quick=False)


def _batches() -> Iterator[Case]:
    pairs: tuple[tuple[Shape, Shape], ...] = (
        ((3, 5, 7), (3, 7, 4)),
        ((2, 3, 5, 7), (2, 3, 7, 4)),
        ((2, 3, 5, 7), (3, 7, 4)),
        ((2, 1, 5, 7), (1, 3, 7, 4)),
        ((5, 7), (3, 7, 4)),
        ((3, 5, 7), (7, 4)),
        ((4, 1, 33), (4, 33, 65)),
        ((7,), (7,)),
        ((7,), (7, 4)),
        ((5, 7), (7,)),
        ((3, 5, 7), (7,)),
        ((7,), (3, 7, 4)),
    )
    empty: tuple[tuple[Shape, Shape], ...] = (
        ((0, 3), (3, 4)),
        ((2, 0), (0, 4)),
        ((2, 3), (3, 0)),
        ((0, 2, 3), (0, 3, 4)),
        ((3, 2, 0), (3, 0, 4)),
        ((0,), (0,)),
    )
    for a, b in pairs:
        yield _shaped(a, b, differentiable=(0, 1))
    for a, b in empty:
        yield _shaped(a, b, differentiable=(0, 1))


def _layouts() -> Iterator[Case]:
    repeated = {p for x in ("contiguous", "transposed") for p in ((x, "repeated"), ("repeated", x))}
    for pair in (*itertools.product(LAYOUTS, LAYOUTS), *sorted(repeated)):
        inputs = arrays((33, 37), (37, 35), layouts=pair)
        yield _matmul(" @ ".join(pair), inputs, differentiable=(0, 1))
    # B along K: a few vectors times it, and few rows.
    for m, n, k in (*((m, 20, 33) for m in (1, 2, 3, 4)), (9, 61, 70), (18, 61, 70)):
        along = arrays((m, k), (k, n), layouts=("contiguous", "transposed"))
        yield _matmul(f"{m}x{k} @ {k}x{n} along K", along, differentiable=(0, 1))
    for layout in (*LAYOUTS, "repeated"):
        batch = arrays((3, 5, 7), (3, 7, 9), layouts=[layout, layout])
        yield _matmul(f"batch of {layout}", batch, differentiable=(0, 1))


# Values, one entry of a matrix of ones each, that splitting into bfloat16 parts would lose.
def _planted(value: str) -> Inputs:
    def inputs(rng: Generator, dtype: str) -> tuple[Array, Array]:
        info = finfo(dtype)
        x = {
            "inf": np.inf,
            "-inf": -np.inf,
            "nan": np.nan,
            "largest": float(info.max),
            "denormal": float(info.tiny) / 3,
            "smallest normal": float(info.tiny),
        }[value]
        a, b = normal(rng, dtype, 35, 67), normal(rng, dtype, 67, 37) / 4
        a[5, 66] = x
        b[3, 36] = x if value in ("inf", "nan", "denormal") else b[3, 36]
        return a, b

    return inputs


def _scaled(left: int, right: int) -> Inputs:
    """Matrices times a power of ten each."""

    def inputs(rng: Generator, dtype: str) -> tuple[Array, Array]:
        a, b = normal(rng, "float64", 35, 67), normal(rng, "float64", 67, 37)
        return (a * 10.0**left).astype(dtype), (b * 10.0**right).astype(dtype)

    return inputs


def _wide(rng: Generator, dtype: str) -> tuple[Array, Array]:
    """Magnitudes over twelve decades within each row."""
    a = normal(rng, dtype, 35, 300) * 10.0 ** rng.uniform(-6, 6, (35, 300))
    b = normal(rng, dtype, 300, 37) * 10.0 ** rng.uniform(-6, 6, (300, 37))
    return a.astype(dtype), b.astype(dtype)


def _uniform(depth: int) -> Inputs:
    def inputs(rng: Generator, dtype: str) -> tuple[Array, Array]:
        a, b = rng.random((33, depth)), rng.random((depth, 35))
        return a.astype(dtype), b.astype(dtype)

    return inputs


def _values() -> Iterator[Case]:
    for value in ("inf", "-inf", "nan", "largest", "denormal", "smallest normal"):
        yield _matmul(f"with {value}", _planted(value))
    for left, right in ((-30, 0), (-20, -15), (-38, 30), (25, -25), (30, 5), (-40, 20)):
        # The CPU's own bfloat16 products take denormals for zeros.
        dtypes = DTYPES if left >= -30 else DTYPES[:2]
        yield _matmul(f"times 1e{left} and 1e{right}", _scaled(left, right), dtypes=dtypes)
    yield _matmul("twelve decades in a row", _wide)
    yield _matmul("positive", _uniform(700))
    yield _matmul("positive, K=16384", _uniform(16384), quick=False)


# What each product may lose besides float32's own roundings: "high" the product of the second
# eight bits of both factors, "medium" all but eight bits of each (Henry, Tang and Heinecke 2019).
LOST = {"high": 2.0**-16, "medium": 2.0**-7 * (1 + 2.0**-8)}
# On CUDA "high" is tf32, as in PyTorch: both factors rounded to eleven bits.
LOST_ON_CUDA = {**LOST, "high": 2.0**-10 * (1 + 2.0**-12)}


def _precise_to(precision: str) -> Callable[..., Any]:
    def bound(dtype: str, expected: Array, a: Array, b: Array) -> Any:
        magnitude = np.matmul(np.abs(a), np.abs(b))
        lost = LOST_ON_CUDA if get_default_device().type == "cuda" else LOST
        return MATMUL_TOLERANCE(dtype, expected, a, b) + lost[precision] * magnitude

    return bound


def _precisions() -> Iterator[Case]:
    shapes = ((17, 33, 19), (128, 128, 128), (129, 161, 700))
    for precision, (m, n, k) in itertools.product(LOST, shapes):
        yield _matmul(
            f"{m}x{k} @ {k}x{n}, {precision}",
            arrays((m, k), (k, n)),
            tolerance=_precise_to(precision),
            dtypes=("float32",),
            precision=precision,
        )


# --- linear ---


def _linear_magnitude(x: Array, weight: Array, bias: Array | None = None) -> Array:
    product: Array = np.matmul(np.abs(x), np.abs(weight).T)
    return product if bias is None else np.add(product, np.abs(bias))


LINEAR_TOLERANCE = of_magnitude(_linear_magnitude, lambda x, *_: x.shape[-1] + 1)


def linear_reference(x: Array, weight: Array, bias: Array | None = None) -> Array:
    product: Array = np.matmul(x, weight.T)
    return product if bias is None else np.add(product, bias)


def _linear_inputs(x: Shape, out: int, bias: bool, scale: float = 1.0) -> Inputs:
    def inputs(rng: Generator, t: str) -> tuple[Any, ...]:
        weight = normal(rng, t, out, x[-1]) * np.dtype(t).type(scale)
        arrays = (normal(rng, t, *x), weight)
        return (*arrays, normal(rng, t, out)) if bias else arrays

    return inputs


def _linear() -> Iterator[Case]:
    shapes: tuple[tuple[Shape, int], ...] = (
        ((5, 7), 3),
        ((1, 33), 65),
        ((17, 19), 1),
        ((2, 3, 5), 4),
        ((7,), 3),
        ((0, 7), 3),
        ((4, 0), 3),
        ((4, 7), 0),
        ((2, 0, 7), 3),
        ((33, 129), 47),
    )
    for (x, out), bias in itertools.product(shapes, (True, False)):
        yield Case(
            family="gemm",
            op="linear",
            label=f"{'x'.join(map(str, x))} to {out}{'' if bias else ', no bias'}",
            inputs=_linear_inputs(x, out, bias),
            call=lambda tw, F, *inputs: F.linear(*inputs),
            reference=linear_reference,
            tolerance=LINEAR_TOLERANCE,
            dtypes=DTYPES,
            differentiable=(0, 1, 2) if bias else (0, 1),
        )
    for layout in (*LAYOUTS, "repeated"):
        inputs = arrays((3, 18, 37), (35, 37), (35,), layouts=[layout] * 3)
        yield Case(
            family="gemm",
            op="linear",
            label=layout,
            inputs=inputs,
            call=lambda tw, F, *inputs: F.linear(*inputs),
            reference=linear_reference,
            tolerance=LINEAR_TOLERANCE,
            dtypes=DTYPES,
            differentiable=(0, 1, 2),
        )


# The largest slope of each activation: by how much it may widen an error before it.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], float, str]] = {
    "relu": (lambda z: np.maximum(z, 0.0), 1.0, "relu"),
    "gelu": (reference.gelu, 1.13, "gelu"),
    "gelu_tanh": (reference.gelu_tanh, 1.13, "gelu"),
    "silu": (reference.silu, 1.1, "silu"),
    "tanh": (np.tanh, 1.0, "tanh"),
    "sigmoid": (reference.sigmoid, 0.25, "sigmoid"),
}


FUSED_SHAPES: tuple[tuple[Shape, int], ...] = (
    ((5, 7), 3),
    ((2, 3, 18), 37),
    ((33, 65), 49),
    ((0, 3), 2),
)


def _through(slope: float, dtype: str, expected: Array, *inputs: Array) -> Array:
    """The product's error through an activation, and the activation's own rounding.

    The gates of gelu and silu round by eps before they multiply the product: one more of it.
    """
    size, unit = _linear_magnitude(*inputs), working_eps(dtype)
    error = growth(inputs[0].shape[-1] + 2) * unit * size
    error = slope * error + unit * (4.0 * np.abs(expected) + np.minimum(size, 1.0))
    bound: Array = stored(dtype, expected, error)
    return bound


def _fused_cases() -> Iterator[Case]:
    for name, (function, slope, torch_name) in ACTIVATIONS.items():
        how = {"approximate": "tanh"} if name == "gelu_tanh" else {}

        def composed(
            torch: Any, F: Any, *inputs: Any, word: str = torch_name, how: dict[str, str] = how
        ) -> Any:
            return getattr(F, word)(F.linear(*inputs), **how)

        def expected(*inputs: Array, function: Callable[[Array], Array] = function) -> Array:
            return function(linear_reference(*inputs))

        for (x, out), bias in itertools.product(
            (((5, 7), 3), ((2, 3, 18), 37), ((33, 65), 49), ((0, 3), 2)), (True, False)
        ):
            yield Case(
                family="gemm",
                op=f"linear_{name}",
                label=f"{'x'.join(map(str, x))} to {out}{'' if bias else ', no bias'}",
                inputs=_linear_inputs(x, out, bias, scale=0.5),
                call=lambda tw, F, *inputs, name=name: F.linear(*inputs, activation=name),
                peer=composed,
                reference=expected,
                tolerance=partial(_through, slope),
                dtypes=DTYPES,
                differentiable=(0, 1, 2) if bias else (0, 1),
            )


def _residual_cases() -> Iterator[Case]:
    for x, out in FUSED_SHAPES:

        def inputs(rng: Generator, t: str, x: Shape = x, out: int = out) -> tuple[Array, ...]:
            return (*_linear_inputs(x, out, True)(rng, t), normal(rng, t, *x[:-1], out))

        yield Case(
            family="gemm",
            op="linear_residual",
            label=f"{'x'.join(map(str, x))} to {out}",
            inputs=inputs,
            call=lambda tw, F, x, w, b, r: F.linear(x, w, b, residual=r),
            peer=lambda torch, F, x, w, b, r: F.linear(x, w, b) + r,
            reference=lambda x, w, b, r: linear_reference(x, w, b) + r,
            tolerance=of_magnitude(
                lambda x, w, b, r: _linear_magnitude(x, w, b) + np.abs(r),
                lambda x, *_: x.shape[-1] + 2,
            ),
            dtypes=DTYPES,
            differentiable=(0, 1, 2, 3),
        )


# --- what is timed ---


ITEM_BYTES = {"bfloat16": 2.0, "float32": 4.0, "float64": 8.0}


def _timed_product(
    m: int, n: int, k: int, layout: str = "NN", dtype: str = "float32", quick: bool = False
) -> Case:
    """Layout: N a matrix as it stands, T one that is stored transposed; left and right."""

    words = [f"gemm {m}x{n}x{k}", layout if layout != "NN" else "", dtype]
    label = " ".join(word for word in words if word and word != "float32")
    how = {"N": "contiguous", "T": "transposed"}
    return _matmul(
        label,
        arrays((m, k), (k, n), layouts=[how[side] for side in layout]),
        quick=False,
        bench=Bench(
            label,
            flops=2.0 * m * n * k,
            bytes=ITEM_BYTES[dtype] * (m * k + k * n + m * n),
            dtype=dtype,
            quick=quick,
        ),
    )


def _timed_products() -> Iterator[Case]:
    for size in (64, 128, 256, 512, 1024, 2048):
        yield _timed_product(size, size, size, quick=size in (64, 512, 1024))
    yield _timed_product(64, 768, 768)
    yield _timed_product(512, 3072, 768)
    for layout in ("NT", "TN", "TT"):
        yield _timed_product(512, 512, 512, layout)
    yield _timed_product(1, 4096, 4096, quick=True)
    yield _timed_product(1024, 1024, 1024, dtype="float64")
    for m, n, k in (*((s, s, s) for s in (256, 512, 1024, 2048)), (128, 768, 768), (1, 4096, 4096)):
        yield _timed_product(m, n, k, dtype="bfloat16", quick=m in (1, 512))


def _layer_inputs(rng: Generator, t: str, rows: int, wide: int, out: int) -> tuple[Array, ...]:
    """Activations of order one through weights that keep them so, as in a network."""
    weight = (rng.standard_normal((out, wide)) / np.sqrt(wide)).astype(t)
    return normal(rng, t, rows, wide), weight, normal(rng, t, out)


def _fused(tw: Any, F: Any, x: Any, weight: Any, bias: Any) -> Any:
    return F.linear(x, weight, bias, activation="gelu")


def _in_two_calls(torch: Any, F: Any, x: Any, weight: Any, bias: Any) -> Any:
    return F.gelu(F.linear(x, weight, bias))


def _frozen(tw: Any, F: Any, x: Any, weight: Any, bias: Any) -> Callable[[], Any]:
    layer = tw.nn.Linear(weight.shape[1], weight.shape[0]).to(weight.dtype)
    layer.load_state_dict({"weight": weight, "bias": bias})
    tw.nn.utils.freeze(layer)
    return lambda: _fused(tw, F, x, layer.weight, layer.bias)


def _timed_layers() -> Iterator[Case]:
    wide, out = 768, 3072
    modes = ("forward", "frozen", "backward")
    for dtype, rows, mode in itertools.product(("float32", "bfloat16"), (32, 2048), modes):
        passes = 3 if mode == "backward" else 1
        moved = ITEM_BYTES[dtype] * (rows * wide + wide * out + out + rows * out)
        shape = f"{rows}@{wide}x{out}"
        label = f"linear+gelu {shape}{' bfloat16' if dtype == 'bfloat16' else ''} {mode}"

        def inputs(rng: Generator, t: str, rows: int = rows) -> tuple[Array, ...]:
            return _layer_inputs(rng, t, rows, 768, 3072)

        frozen = mode == "frozen"
        yield Case(
            family="gemm",
            op="linear_gelu",
            label=label,
            inputs=inputs,
            call=None if frozen else _fused,
            setup=_frozen if frozen else None,
            peer=_in_two_calls,
            reference=lambda *inputs: reference.gelu(linear_reference(*inputs)),
            tolerance=partial(_through, 1.13),
            differentiable=() if frozen else (0, 1, 2),
            dtypes=(dtype,),
            quick=False,
            bench=Bench(
                label=label,
                flops=passes * 2.0 * rows * wide * out,
                bytes=(2.0 if mode == "backward" else 1.0) * moved,
                mode=mode,  # type: ignore[arg-type]
                dtype=dtype,
                quick=rows == 32,
            ),
        )


CASES: tuple[Case, ...] = (
    *_sizes(),
    *_batches(),
    *_layouts(),
    *_values(),
    *_precisions(),
    *_linear(),
    *_fused_cases(),
    *_residual_cases(),
    *_timed_products(),
    *_timed_layers(),
)
