"""The fast paths of the kernels, and the case that enters each.

    python -m tilework.testing.paths

prints the table. A path is what a driver or a kernel chooses by shape, strides or size; its line
says where, and repeats the condition there on a case's inputs. `tests/test_paths.py` fails where a
path has no case in the default run; of a path that the backward pass takes the case is
differentiable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilework.dtypes import is_float
from tilework.testing.case import Array, Case
from tilework.testing.cases import FAMILIES, of_family

STREAM_BYTES = 4 << 20  # csrc/base/stream.h
WIDTH = 16  # float32 of the widest vector

Enters = Callable[..., bool]  # the case's label, and its inputs


@dataclass(frozen=True)
class Path:
    """A fast path: where it is chosen, by which ops, and when."""

    name: str
    source: str  # under csrc/kernels
    family: str
    ops: tuple[str, ...]
    enters: Enters
    backward: bool = False  # whether it lies in the backward pass


def _steps(x: Array) -> tuple[int, ...]:
    """Strides in elements."""
    return tuple(s // x.itemsize for s in x.strides)


def _streams(elements: int, run: int) -> bool:
    return elements * 4 >= STREAM_BYTES and run * 4 % 64 == 0


def _channels_last(x: Array) -> bool:
    return x.ndim == 4 and x.shape[1] > 1 and _steps(x)[1] == 1


# --- products ---


def _product(condition: Callable[..., bool]) -> Enters:
    """On M, N, K and the strides of A and B, of a product of matrices."""

    def enters(label: str, a: Array, b: Array) -> bool:
        if a.ndim != 2 or b.ndim != 2 or not a.size * b.size:
            return False
        return condition(a.shape[0], b.shape[1], a.shape[1], _steps(a), _steps(b))

    return enters


def _gemm() -> Iterator[Path]:
    def path(name: str, source: str, condition: Callable[..., bool]) -> Path:
        return Path(name, f"gemm/{source}", "gemm", ("matmul",), _product(condition))

    for count in (1, 2, 3, 4):
        yield path(
            f"dots: A times {count} vectors",
            "vectors.h",
            lambda m, n, k, a, b, count=count: n == count and m > 8 and k >= WIDTH and a[1] == 1,
        )
    yield path(
        "dots: few vectors times B along K",
        "vectors.h",
        lambda m, n, k, a, b: m <= 4 < n and k >= WIDTH and b[0] == 1,
    )
    yield path(
        "rows: a vector times B",
        "vectors.h",
        lambda m, n, k, a, b: m == 1 and n > 4 and b[1] == 1 != b[0],
    )
    yield path(
        "narrow: few rows times B along K",
        "narrow.h",
        lambda m, n, k, a, b: 4 < m <= 4 * WIDTH and b[0] == 1 and k >= 64 and n >= 56,
    )
    yield path(
        "blocked: a tail of columns",
        "blocked.h",
        lambda m, n, k, a, b: m > 4 and n > 32 and n % 32 != 0 and b[1] == 1,
    )
    yield path(
        "blocked: few panels of A",
        "blocked.h",
        lambda m, n, k, a, b: 28 < m <= 70 and n > 4 * 32 and b[1] == 1,
    )
    yield path(
        "blocked: A^T as it lies",
        "blocked.h",
        lambda m, n, k, a, b: m > 4 and 4 < n <= 64 and a[0] == 1 and a[1] >= m,
    )
    yield path(
        "blocked: A^T as it lies, its columns one",
        "tile.h",
        lambda m, n, k, a, b: m > 4 and 4 < n <= 64 and k > 1 and a == (1, 0),
    )
    yield path(
        "blocked: K in blocks",
        "blocked.h",
        lambda m, n, k, a, b: m > 4 and n > 4 and k > 384,
    )
    yield path(
        "A packed from any strides",
        "pack.h",
        lambda m, n, k, a, b: m > 4 and n > 4 and k > 1 and 1 not in a,
    )


# --- one pass over elements ---


def _pointwise() -> Iterator[Path]:
    arithmetic = ("add", "sub", "mul", "div", "maximum", "minimum")

    def pair(condition: Callable[[Array, Array], bool]) -> Enters:
        def enters(label: str, a: Any, b: Any) -> bool:
            both = isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
            return both and bool(a.size and b.size) and condition(a, b)

        return enters

    def path(name: str, ops: tuple[str, ...], enters: Enters, backward: bool = False) -> Path:
        return Path(name, "pointwise/pointwise.cc", "pointwise", ops, enters, backward)

    def streamed(label: str, x: Array) -> bool:
        return x.size % WIDTH != 0 and _streams(x.size, WIDTH)

    for backward in (False, True):
        yield path("unary: streamed, with a tail", ("relu", "gelu"), streamed, backward)
    yield path("unary: less than a vector", ("relu",), lambda label, x: x.shape == (3,))
    yield path(
        "binary: streamed, with a tail",
        arithmetic,
        pair(lambda a, b: a.shape == b.shape and streamed("", a) and a.ndim == 1),
    )
    yield path(
        "binary: streamed row by row",
        arithmetic,
        pair(lambda a, b: b.ndim == 1 and a.ndim == 2 and _streams(a.size, a.shape[1])),
    )
    yield path(
        "binary: one side is a number",
        arithmetic,
        pair(lambda a, b: a.size > 1 and b.size == 1),
    )
    yield path(
        "binary: a strided side is packed",
        arithmetic,
        pair(lambda a, b: a.ndim == 4 and abs(_steps(b)[-1]) > 1 and _steps(a)[-1] == 1),
    )
    yield path(
        "binary: both sides one element along a row",
        arithmetic,
        pair(lambda a, b: a.ndim == 4 and _steps(a)[-1] == _steps(b)[-1] == 0),
    )
    yield path(
        "binary: gradient of two columns of one",
        arithmetic,
        pair(lambda a, b: {a.shape, b.shape} == {(4, 1), (1, 1)}),
        True,
    )
    for backward in (False, True):
        yield path(
            "bias and activation: streamed",
            ("bias_relu",),
            lambda label, x, bias: _streams(x.size, x.shape[1]),
            backward,
        )
    yield path(
        "bias's gradient: sums of several tasks",
        ("bias_relu",),
        lambda label, x, bias: x.shape[0] > 512,
        True,
    )
    yield path(
        "bfloat16: streamed both ways, with a tail",
        ("bfloat16",),
        lambda label, x: x.size % WIDTH != 0 and x.size * 2 >= STREAM_BYTES,
    )
    yield Path(
        "dropout: streamed, with a tail",
        "pointwise/pointwise.cc",
        "random",
        ("dropout",),
        streamed,
    )


# --- along an axis ---


def _softmax() -> Iterator[Path]:
    def path(name: str, enters: Enters, backward: bool = False) -> Iterator[Path]:
        for op in ("softmax", "log_softmax"):
            yield Path(f"{name}", "softmax/softmax_body.h", "softmax", (op,), enters, backward)

    def rows(condition: Callable[[Array], bool]) -> Enters:
        return lambda label, x: (
            x.ndim == 2 and not ("along 0" in label or "column" in label) and condition(x)
        )

    def columns(condition: Callable[[Array], bool]) -> Enters:
        return lambda label, x: (
            x.ndim == 2
            and ("along 0" in label or "column" in label)
            and x.shape[1] > 1
            and _steps(x)[1] == 1
            and condition(x)
        )

    cached, in_l2 = 16384 // 4, (512 << 10) // 4
    yield from path("rows: one vector", rows(lambda x: 1 < x.shape[1] <= 4))
    yield from path("rows: scaled where they lie", rows(lambda x: WIDTH < x.shape[1] <= in_l2))
    yield from path(
        "rows: longer than L2, not streamed",
        rows(lambda x: x.shape[1] > in_l2 and not _streams(x.size, x.shape[1])),
    )
    for backward in (False, True):
        yield from path(
            "rows: streamed from a buffer",
            rows(lambda x: x.shape[1] <= cached and _streams(x.size, x.shape[1])),
            backward,
        )
    yield from path(
        "rows: streamed, longer than the buffer",
        rows(lambda x: x.shape[1] > cached and _streams(x.size, x.shape[1])),
    )
    for backward in (False, True):
        yield from path(
            "columns: streamed, in several tiles",
            columns(lambda x: x.shape[1] > 512 and _streams(x.size, x.shape[1])),
            backward,
        )
    yield from path(
        "columns: exponentials that overflow without the maximum",
        columns(lambda x: bool(x[np.isfinite(x)].max(initial=0.0) > 1e4)),
    )


def _reduce() -> Iterator[Path]:
    def path(name: str, enters: Enters) -> Iterator[Path]:
        for op in ("sum", "mean", "amax", "amin"):
            yield Path(name, "reduce/reduce.cc", "reduce", (op,), enters)

    yield from path(
        "rows in several blocks",
        lambda label, x: x.ndim == 2 and "over 1" in label and x.shape[1] > 16384,
    )
    yield from path(
        "columns in several blocks",
        lambda label, x: x.ndim == 3 and "over 1" in label and x.shape[1] > 128 and x.shape[2] > 1,
    )
    yield from path("two runs of axes", lambda label, x: x.ndim == 4 and "over (0, 2)" in label)


# --- images ---


def _pool() -> Iterator[Path]:
    def path(name: str, ops: tuple[str, ...], enters: Enters, backward: bool = False) -> Path:
        source = "pool/backward.h" if backward else "pool/forward.h"
        return Path(name, source, "pool", ops, enters, backward)

    maxima, averages = ("max_pool2d",), ("avg_pool2d",)
    for ops, backward, last in (
        (o, b, c) for o in (maxima, averages) for b in (False, True) for c in (False, True)
    ):
        yield path(
            f"staged around the caches, {'channels last' if last else 'planar'}",
            ops,
            lambda label, x, last=last: (
                x.ndim == 4 and x.nbytes > STREAM_BYTES and _channels_last(x) == last
            ),
            backward,
        )
    for ops, stride in ((o, s) for o in (maxima, averages) for s in (1, 2, 3)):
        yield path(
            f"planar, windows {stride} apart: in vectors"
            if stride < 3
            else "planar: window by window",
            ops,
            lambda label, x, stride=stride: (
                x.ndim == 4
                and not _channels_last(x)
                and f"'stride': {stride}" in label
                and x.shape[3] >= 9
            ),
            True,
        )
    for last, stride in ((c, s) for c in (False, True) for s in (1, 2, 3)):
        order = "channels last" if last else "planar"
        yield path(
            f"averages without the padding, {stride} apart, {order}",
            averages,
            lambda label, x, last=last, stride=stride: (
                "'count_include_pad': False" in label
                and f"'stride': {stride}" in label
                and x.shape[-1] >= 2 * WIDTH
                and _channels_last(x) == last
            ),
            True,
        )


def _images() -> Iterator[Path]:
    yield Path(
        "pixels streamed",
        "interpolate/interpolate.cc",
        "interpolate",
        ("interpolate",),
        lambda label, x: "2" in label and _channels_last(x) and _streams(4 * x.size, x.shape[1]),
    )
    for few in (True, False):
        yield Path(
            f"pixels streamed, {'few' if few else 'many'} channels",
            "conv/streaming.h",
            "conv",
            ("conv2d",),
            lambda label, x, w, bias, few=few: (
                _streams(x[0, 0].size * x.shape[0] * w.shape[0], w.shape[0])
                and (x.shape[1] <= 8) == few
            ),
        )
    yield Path(
        "an odd batch of few channels",
        "conv/lanes.h",
        "conv",
        ("conv2d",),
        lambda label, x, w, *bias: x.shape[0] % 2 == 1 and x.shape[1] <= 8 and w.shape[2] > 1,
        True,
    )
    for op, last in (
        (o, c) for o in ("layer_norm", "rms_norm", "group_norm") for c in (False, True)
    ):
        yield Path(
            f"streamed, {'channels last' if last else 'planar'}",
            "norm/norm.cc",
            "norm",
            (op,),
            lambda label, x, *rest, last=last: (
                "streamed" in label and x.nbytes >= STREAM_BYTES and _channels_last(x) == last
            ),
            True,
        )
    for last in (False, True):
        yield Path(
            f"streamed, {'channels last' if last else 'planar'}",
            "norm/norm.cc",
            "norm",
            ("batch_norm",),
            lambda label, x, *rest, last=last: (
                x.nbytes >= STREAM_BYTES and _channels_last(x) == last
            ),
            True,
        )
    yield Path(
        "streamed, with a residual",
        "norm/norm.cc",
        "norm",
        ("batch_norm",),
        lambda label, x, *rest: "residual" in label and x.nbytes >= STREAM_BYTES,
    )
    yield Path(
        "gradient streamed: long rows",
        "loss/loss.cc",
        "loss",
        ("cross_entropy",),
        lambda label, x, *rest: x.ndim == 2 and x.shape[1] >= 512 and _streams(x.size, x.shape[1]),
        True,
    )


# --- attention ---

FEW, PIECE = 8, 512  # queries, and keys: csrc/kernels/attention


def _attention() -> Iterator[Path]:
    def path(name: str, source: str, condition: Enters, backward: bool = False) -> Path:
        op = ("scaled_dot_product_attention",)
        return Path(name, f"attention/{source}", "attention", op, condition, backward)

    def few(q: Array) -> bool:
        return q.ndim == 4 and q.shape[2] < FEW

    yield path(
        "few queries: several pieces of keys",
        "decode.h",
        lambda label, q, k, *rest: few(q) and k.shape[2] > PIECE,
    )
    yield path(
        "few queries: heads that share keys together",
        "decode.h",
        lambda label, q, k, *rest: few(q) and q.shape[1] >= 4 * k.shape[1],
    )
    yield path(
        "few queries: wide rows in registers",
        "decode_body.h",
        lambda label, q, k, v: few(q) and q.shape[1] < 4 * k.shape[1] and v.shape[3] >= 8 * WIDTH,
    )
    yield path(
        "few queries: a weight of zero takes no part",
        "decode.h",
        lambda label, q, k, *rest: few(q) and "NaN" in label,
    )
    for length in (PIECE, PIECE + 1):
        yield path(
            f"{'one block' if length == PIECE else 'blocks'} of keys",
            "attention.cc",
            lambda label, q, k, *rest, length=length: (
                q.ndim == 4 and q.shape[2] >= FEW and (k.shape[2] > PIECE) == (length > PIECE)
            ),
            True,
        )
    for name, source, many in (
        ("where they lie", "decode.h", False),
        ("gathered", "setting.h", True),
    ):
        yield Path(
            f"pages: {name}",
            f"attention/{source}",
            "varlen",
            ("varlen_attn",),
            lambda label, q, k, v, ends, *rest, many=many: (
                k.ndim == 4 and (int(np.diff(ends).max()) >= FEW) == many
            ),
        )


PATHS: tuple[Path, ...] = (
    *_attention(),
    *_gemm(),
    *_pointwise(),
    *_softmax(),
    *_reduce(),
    *_pool(),
    *_images(),
)


def entering(paths: tuple[Path, ...] = PATHS) -> dict[Path, Case | None]:
    """For each path the first case of the default run that enters it."""
    found: dict[Path, Case | None] = dict.fromkeys(paths)
    for family in FAMILIES:
        waiting = [p for p in paths if p.family == family]
        ops = {op for p in waiting for op in p.ops}
        for case in of_family(family):
            if not case.quick or case.op not in ops:
                continue
            inputs = case.make_inputs(case.dtypes[0])
            for path in waiting:
                if found[path] is None and case.op in path.ops and _enters(path, case, inputs):
                    found[path] = case
    return found


def _enters(path: Path, case: Case, inputs: tuple[Any, ...]) -> bool:
    if path.backward and not case.differentiable:
        return False
    first = inputs[0] if inputs else None
    if path.family != "pointwise" and not (isinstance(first, np.ndarray) and is_float(first.dtype)):
        return False
    try:
        return bool(path.enters(case.label, *inputs))
    except TypeError:  # another number of inputs
        return False


if __name__ == "__main__":
    for path, case in entering().items():
        way = "backward" if path.backward else "forward"
        print(f"{path.source:26} {path.ops[0]:14} {way:8}  {path.name}: {case or 'no case'}")
