"""Cases of random tensors and dropout: the same numbers on every engine, for one seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tilework.testing import reference
from tilework.testing.case import Array, Bench, Case
from tilework.testing.inputs import LAYOUTS, STREAMED, TAILS, Inputs, Shape, arrays
from tilework.testing.tolerance import Tolerance, eps, exact, rounded

SEED = 20261122
FIRST_CALL = 0  # manual_seed sets the count of calls back to it


# --- dropout ---


def _dropout(p: float) -> Callable[[Array], Array]:
    def expected(x: Array) -> Array:
        words = reference.philox_words(x.size, SEED, FIRST_CALL)
        keep = reference.in_memory_order_of(x, words >= round(p * 2**32))
        return np.where(keep, x / (1.0 - p) if p < 1 else 0.0, 0.0)

    return expected


def _dropout_case(label: str, inputs: Inputs, p: float, **fields: Any) -> Case:
    def call(tw: Any, F: Any, x: Any) -> Any:
        tw.manual_seed(SEED)
        return F.dropout(x, p)

    return Case(
        family="random",
        op="dropout",
        label=label,
        inputs=inputs,
        call=call,
        reference=_dropout(p),
        tolerance=rounded(2.0),  # the scale's rounding and the product's
        peer=None,
        **fields,
    )


def _dropout_cases() -> Iterator[Case]:
    for n in TAILS:
        yield _dropout_case(f"{n}", arrays((n,)), 0.3, differentiable=(0,))
    for p in (0.0, 0.1, 0.5, 0.9, 1.0):
        yield _dropout_case(f"p={p}", arrays((50, 41)), p, differentiable=(0,))
    streamed = arrays((STREAMED,))
    yield _dropout_case("streamed", streamed, 0.3, differentiable=(0,), dtypes=("float32",))
    for layout in LAYOUTS:
        strided = arrays((2, 5, 3, 7), layouts=[layout])
        yield _dropout_case(layout, strided, 0.4, differentiable=(0,))
    empty: tuple[Shape, ...] = ((), (0,), (3, 0, 2), (1, 1))
    for shape in empty:
        yield _dropout_case(f"shape {shape}", arrays(shape), 0.5)


# --- uniform and normal ---


def _numbers(
    op: str,
    shape: Shape,
    call: Callable[..., Any],
    expected: Callable[[int, str], Array],
    tolerance: Tolerance,
    **fields: Any,
) -> Iterator[Case]:
    for dtype in ("float32", "float64"):

        def seeded(tw: Any, F: Any, dtype: str = dtype) -> Any:
            tw.manual_seed(SEED)
            return call(tw, shape, getattr(tw, dtype))

        yield Case(
            family="random",
            op=op,
            label=f"{shape} {dtype}",
            inputs=lambda rng, t: (),
            call=seeded,
            reference=lambda dtype=dtype: expected(math.prod(shape), dtype).reshape(shape),
            tolerance=tolerance,
            dtypes=(dtype,),
            peer=None,
            **fields,
        )


def _normal_bound(dtype: str, expected: Array) -> Array:
    """Two ulp, and two of the reference, which is float64 itself."""
    return np.asarray(2.0 * (eps(dtype) + eps("float64")) * np.abs(expected))


def _number_cases() -> Iterator[Case]:
    shapes: tuple[Shape, ...] = (
        *((n,) for n in TAILS),
        (),
        (0,),
        (3, 0),
        (5, 7),
        (3, 1, 9),
        (70001,),
    )
    for shape in shapes:
        yield from _numbers(
            "rand",
            shape,
            lambda tw, shape, dtype: tw.rand(*shape, dtype=dtype),
            lambda n, dtype: reference.philox_uniform(n, dtype, SEED, FIRST_CALL),
            exact,
        )
        yield from _numbers(
            "randn",
            shape,
            lambda tw, shape, dtype: tw.randn(*shape, dtype=dtype),
            lambda n, dtype: reference.philox_normal(n, dtype, SEED, FIRST_CALL),
            _normal_bound,
        )


# --- what is timed ---


def _timed() -> Case:
    """Timed without the seeding, and against PyTorch's own generator: other numbers, same work."""
    rows, columns = 4096, 768

    def setup(tw: Any, F: Any, x: Any) -> Callable[[], Any]:
        tw.manual_seed(SEED)
        return lambda: F.dropout(x, 0.1)

    return Case(
        family="random",
        op="dropout",
        label="dropout 4096x768",
        inputs=arrays((rows, columns)),
        setup=setup,
        reference=_dropout(0.1),
        tolerance=rounded(2.0),
        differentiable=(0,),
        dtypes=("float32",),
        quick=False,
        peer=lambda torch, F, x: F.dropout(x, 0.1),
        bench=Bench("dropout 4096x768", flops=0.0, bytes=8.0 * rows * columns, quick=True),
    )


CASES: tuple[Case, ...] = (*_dropout_cases(), *_number_cases(), _timed())
