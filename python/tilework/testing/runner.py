"""Runs cases: on which engine and ISA, forward and backward, and what their gradients must be.

The judge of gradients is the float64 reference: its central differences along fixed directions,
which need no derivative to be written down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

import tilework as tw
from tilework import engines
from tilework import functional as F
from tilework.dtypes import is_float
from tilework.testing import simulated
from tilework.testing.case import Array, Case, as_float64
from tilework.testing.isas import runnable
from tilework.testing.tolerance import assert_close, eps, growth

# Those of a wheel, which are skipped by name where they cannot run; and what else this build has.
ISAS: tuple[str, ...] = tuple(
    dict.fromkeys(["generic", "avx2", "avx512", "avx512bf16", "amx", *runnable("gemm")])
)
# What is written over the array namespace, or calls other families: no ISA has kernels of its own.
ARRAY_FAMILIES = frozenset(
    {
        "activations", "blocks", "compare", "creation", "grids", "indexing", "inplace", "layers",
        "losses", "models", "numbers", "operators", "schedules", "statistics", "tensor", "views",
    }
)  # fmt: skip
DIRECTIONS = 3


# --- where a case runs ---


@dataclass(frozen=True)
class Target:
    """An engine, and the ISA that it is held to ("" where it has none)."""

    engine: str
    isa: str = ""
    order: str = ""  # of the simulated device's threads: simulated.ORDERS

    def __str__(self) -> str:
        return "-".join(part for part in (self.engine, self.isa, self.order) if part)

    def refusal(self) -> str:
        """Why this target cannot run here; empty where it can."""
        if self.engine == "cuda":
            return simulated.refusal() if self.order else tw.cuda.why_not()
        if self.engine not in engines.available_engines():
            return f"the {self.engine} engine is not installed here"
        if not self.isa:
            return ""
        best = engines.engine_module("native").cpu_info()["best_isa"]
        if self.isa not in runnable("gemm"):
            return f"this CPU and system allow {best} at most, not {self.isa}"
        return ""

    def serves(self, family: str) -> bool:
        """Whether the target has kernels of its own for a family: AVX512-BF16 and AMX
        compute products alone, those of convolutions among them."""
        if family in ARRAY_FAMILIES:
            return self.isa in ("", "generic")
        alone = self.isa in ("avx512bf16", "amx", "twin")
        return not alone or family in ("gemm", "conv", "step", "networks")


TARGETS: tuple[Target, ...] = (*(Target("native", isa) for isa in ISAS), Target("numba"))
DEVICES: tuple[Target, ...] = tuple(Target("cuda", order=order) for order in simulated.ORDERS)
CARD = Target("cuda")  # a real one


@contextmanager
def running_on(target: Target) -> Iterator[None]:
    """Puts a target to work, and what was at work before back afterwards. On a device's all that
    names no device is made there."""
    if target.engine == "cuda":
        place = simulated.device(target.order) if target.order else nullcontext()
        with place, tw.device("cuda"):
            yield
        return
    engine = engines.current_engine()
    tw.use_engine(target.engine)
    isa = tw.get_isa()  # perhaps what TILEWORK_ISA holds the whole run to
    try:
        if target.isa:
            tw.set_isa(target.isa)
        with tw.device("cpu"):
            yield
    finally:
        if target.isa:
            tw.set_isa(isa)
        tw.use_engine(engine)


# --- running one ---


def to_tensors(inputs: tuple[Any, ...], requires_grad: tuple[int, ...] = ()) -> tuple[Any, ...]:
    """Arrays as tensors that share their memory, layout and all, or are copies on the device at
    work; plain values as they are."""
    tensors = tuple(
        tw.from_numpy(x).to(tw.get_default_device()) if isinstance(x, np.ndarray) else x
        for x in inputs
    )
    for i in requires_grad:
        tensors[i].requires_grad_(True)
    return tensors


def forward(case: Case, inputs: tuple[Any, ...]) -> Array:
    """The answer of the engine at work."""
    out: Array = case.bind(tw, F, to_tensors(inputs))().detach().cpu().numpy()
    return out


def cotangent(case: Case, out: Array, seed: int = 0) -> Array:
    """The gradient that flows into a case's output."""
    rng = np.random.default_rng((seed, 1, *case.label.encode()))
    return rng.standard_normal(out.shape).astype(out.dtype)


def gradients(case: Case, inputs: tuple[Any, ...]) -> tuple[Array, ...]:
    """The gradients of the differentiable inputs, on the engine at work."""
    tensors = to_tensors(inputs, case.differentiable)
    out = case.bind(tw, F, tensors)()
    flowing = tw.from_numpy(cotangent(case, out.detach().cpu().numpy()))
    out.backward(flowing.to(out.device))
    return tuple(tensors[i].grad.cpu().numpy() for i in case.differentiable)


# --- judging one ---


def failure(check: Callable[..., None], *args: Any) -> str:
    """What `check(*args)` raises, in a line; empty where it passes."""
    try:
        check(*args)
    except Exception as found:
        return f"{type(found).__name__}: {found}"
    return ""


@lru_cache(maxsize=32)
def _prepared(case: Case, dtype: str) -> tuple[tuple[Any, ...], Array, Any]:
    """A case's inputs, answer and bound: the same for every target."""
    inputs = case.make_inputs(dtype)
    expected = case.expected(inputs)
    with np.errstate(all="ignore"):
        bound = case.tolerance(dtype, expected, *as_float64(inputs))
    return inputs, expected, bound


def check_forward(case: Case, dtype: str) -> None:
    """Raises AssertionError where the engine at work is further from the reference than allowed,
    or has written to an input that is not for it to write."""
    inputs, expected, bound = _prepared(case, dtype)
    given = case.make_inputs(dtype) if case.writes else inputs
    before = [x.copy() if isinstance(x, np.ndarray) else x for x in given]
    actual = forward(case, given)
    if is_float(actual.dtype) and actual.dtype != np.dtype(dtype):
        raise AssertionError(f"{case}: the result is of {actual.dtype}, not {dtype}")
    assert_close(actual, expected, bound, f"{case} {dtype}")
    for i, (x, was) in enumerate(zip(given, before, strict=True)):
        if i in case.writes or not isinstance(x, np.ndarray):
            continue
        if not np.array_equal(x, was, equal_nan=is_float(x.dtype)):
            raise AssertionError(f"{case} {dtype}: the call wrote to input {i}")


def _direction(x: Array, number: int) -> Array:
    """+1 or -1 for each element."""
    rng = np.random.default_rng((number, x.size))
    return rng.choice([-1.0, 1.0], x.shape)


@cache
def slopes(case: Case) -> tuple[tuple[tuple[float, float], ...], ...]:
    """For each differentiable input and direction: the reference's slope, and its bound.

    Central differences with a step h are off by h^2 times a third derivative, of order one for the
    cases' inputs, and by the rounding of the sum, eps / h of its size: least at h = eps^(1/3).
    """
    inputs = list(as_float64(case.make_inputs("float32")))
    out = case.expected(tuple(inputs))
    weights = cotangent(case, np.asarray(out, np.float64))
    h = eps("float64") ** (1 / 3)
    found = []
    for i in case.differentiable:
        along = []
        for number in range(DIRECTIONS):
            values = []
            for step in (h, -h):
                moved = np.empty_like(inputs[i])  # in the same layout: dropout's mask follows it
                moved[...] = inputs[i] + step * _direction(inputs[i], number)
                outs = case.expected((*inputs[:i], moved, *inputs[i + 1 :]))
                values.append(weights * outs)
            slope = float((values[0] - values[1]).sum() / (2 * h))
            size = 1.0 + inputs[i].size + float(np.abs(values[0]).sum())
            along.append((slope, 100.0 * h * h * size))
        found.append(tuple(along))
    return tuple(found)


@cache
def _judged_gradients(case: Case) -> tuple[Array, ...] | None:
    """The numba engine's gradients in float64: what other engines are compared with."""
    judge = Target("numba")
    if judge.refusal():
        return None
    with running_on(judge):
        return gradients(case, as_float64(case.make_inputs("float32")))


def gradient_bound(case: Case, dtype: str, inputs: tuple[Any, ...], of: Array) -> float:
    """Inputs and cotangents are of order one: an error counts by the largest gradient's size, and
    grows as the longest sum over an axis of an input does."""
    longest = max(max(np.shape(x), default=1) for x in inputs)
    size = 1.0 + float(np.abs(of[np.isfinite(of)]).max(initial=0.0))
    return (8.0 + growth(longest)) * eps(dtype) * size


def check_gradients(case: Case) -> None:
    """Raises AssertionError where a gradient of the engine at work is wrong.

    In float64 along the reference's slopes and against the numba engine; in the narrower dtypes
    beside float64.
    """
    inputs = case.make_inputs("float32")
    wide = as_float64(inputs)
    exact = gradients(case, wide)
    for i, gradient, along in zip(case.differentiable, exact, slopes(case), strict=True):
        if gradient.shape != inputs[i].shape:
            raise AssertionError(f"{case}: gradient {i} has shape {gradient.shape}")
        if not gradient.size:
            continue  # a mean of nothing has no slope
        for number, (slope, bound) in enumerate(along):
            found = float((gradient * _direction(gradient, number)).sum())
            if not abs(found - slope) <= bound:
                raise AssertionError(
                    f"{case}: gradient {i} along direction {number} is {found!r}, the reference's "
                    f"slope {slope!r}, more than {bound:.3g} away"
                )
    for i, gradient, other in zip(
        case.differentiable, exact, _judged_gradients(case) or exact, strict=True
    ):
        bound = gradient_bound(case, "float64", inputs, other)
        assert_close(gradient, other, bound, f"{case}: gradient {i}, float64 beside numba's")
    for dtype in ("float32", "bfloat16"):
        if dtype in case.dtypes:
            _check_narrow_gradients(case, dtype)


def _check_narrow_gradients(case: Case, dtype: str) -> None:
    inputs = case.make_inputs(dtype)
    exact = gradients(case, as_float64(inputs))
    for i, gradient, other in zip(case.differentiable, gradients(case, inputs), exact, strict=True):
        if gradient.dtype != np.dtype(dtype):
            raise AssertionError(f"{case}: gradient {i} is of {gradient.dtype}, not {dtype}")
        bound = gradient_bound(case, dtype, inputs, other)
        assert_close(gradient, other, bound, f"{case}: gradient {i}, {dtype} beside float64")
