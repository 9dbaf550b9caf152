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


# --- what is drawn from those: each row's call begins at SEED ---


def _uniform(n: int, dtype: str = "float32", call: int = FIRST_CALL) -> Array:
    return reference.philox_uniform(n, dtype, SEED, call)


def _gauss(n: int, dtype: str = "float32", call: int = FIRST_CALL) -> Array:
    return reference.philox_normal(n, dtype, SEED, call)


def _words(n: int) -> Array:
    return reference.philox_words(n, SEED, FIRST_CALL).astype(np.uint64)


def _permuted(n: int) -> Array:
    keys = _words(2 * n)
    return np.argsort((keys[:n] << np.uint64(32)) | keys[n:], kind="stable")


def _whole(low: int, high: int, n: int) -> Array:
    return ((_words(n) * np.uint64(high - low)) >> np.uint64(32)).astype(np.int64) + low


def _number_of_words() -> int:
    low, high = (int(word) for word in _words(2))
    return low | (high & 0x7FFFFFFF) << 32


def _again(tw: Any) -> Any:
    """The second numbers, drawn twice over from a state."""
    tw.rand(5)
    state = tw.get_rng_state()
    first = tw.rand(4)
    tw.set_rng_state(state)
    return tw.stack([first, tw.rand(4)])


def _state(tw: Any) -> Any:
    tw.rand(5)
    return tw.get_rng_state()


DRAWN: tuple[tuple[str, Callable[[Any], Any], Callable[[], Any]], ...] = (
    ("rand_like", lambda tw: tw.rand_like(tw.zeros(3, 4)), lambda: _uniform(12).reshape(3, 4)),
    ("randn_like", lambda tw: tw.randn_like(tw.zeros(3, 4)), lambda: _gauss(12).reshape(3, 4)),
    ("randint", lambda tw: tw.randint(7, (3, 4)), lambda: _whole(0, 7, 12).reshape(3, 4)),
    ("randint from", lambda tw: tw.randint(-3, 9, (5,)), lambda: _whole(-3, 9, 5)),
    ("randperm", lambda tw: tw.randperm(9), lambda: _permuted(9)),
    ("randperm of nothing", lambda tw: tw.randperm(0), lambda: _permuted(0)),
    ("bernoulli", lambda tw: tw.bernoulli(tw.full((3, 4), 0.3)),
     lambda: (_uniform(12).reshape(3, 4) < np.float32(0.3)).astype(float)),
    ("normal", lambda tw: tw.normal(2.0, 0.5, (7,)), lambda: 2.0 + 0.5 * _gauss(7)),
    ("normal by tensors", lambda tw: tw.normal(tw.arange(3.0), tw.ones(2, 1)),
     lambda: np.arange(3.0) + _gauss(6).reshape(2, 3)),
    ("uniform_", lambda tw: tw.zeros(3, 4).uniform_(-1.0, 3.0),
     lambda: 4.0 * _uniform(12).reshape(3, 4) - 1.0),
    ("normal_", lambda tw: tw.zeros(7).normal_(2.0, 0.5), lambda: 2.0 + 0.5 * _gauss(7)),
    ("set_rng_state", _again, lambda: np.tile(_uniform(4, call=FIRST_CALL + 1), (2, 1))),
    ("get_rng_state", _state, lambda: np.array([SEED, FIRST_CALL + 1])),
    ("initial_seed", lambda tw: tw.tensor(tw.initial_seed()), lambda: np.array(SEED)),
    ("random_seed", lambda tw: tw.tensor(tw.random_seed()), lambda: np.array(_number_of_words())),
)  # fmt: skip


def _drawn_bound(dtype: str, expected: Array) -> Array:
    """The rounding of a normal number, of its scaling and of its shift."""
    return np.asarray(4.0 * eps(dtype) * (np.abs(expected) + 4.0))


def _drawn_cases() -> Iterator[Case]:
    for label, call, expected in DRAWN:

        def seeded(tw: Any, F: Any, call: Callable[[Any], Any] = call) -> Any:
            tw.manual_seed(SEED)
            return call(tw)

        yield Case(
            family="random",
            op=label.split()[0],
            label=label,
            inputs=lambda rng, t: (),
            call=seeded,
            reference=expected,
            tolerance=_drawn_bound,
            dtypes=("float32",),
            peer=None,
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


CASES: tuple[Case, ...] = (*_dropout_cases(), *_number_cases(), *_drawn_cases(), _timed())
