"""Who plays on a CUDA device. The device's own events time the calls; transfers are apart."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

import tilework as tw
from tilework.benchmarks.check import PRECISIONS
from tilework.benchmarks.contestants import (
    Arrays,
    Inputs,
    Prepared,
    PyTorch,
    TensorLibrary,
    Tilework,
)
from tilework.testing.case import Case, as_float64
from tilework.testing.tolerance import assert_close, eps, growth

# A card that idled runs at a fraction of its clock for the first tenths of a second.
WARM_SECONDS = 0.3
_TRANSFERS = 5  # the median of so many


class _OnCuda(TensorLibrary):
    """A library whose tensors live on the device: tilework and PyTorch, by the same names."""

    device = "CUDA"
    _warm = False

    def share(self, x: np.ndarray[Any, Any]) -> Any:
        return super().share(x).to("cuda")

    def fetched(self, x: Any) -> np.ndarray[Any, Any]:
        return super().fetched(x.detach().cpu())

    def there(self) -> AbstractContextManager[Any]:
        """Where what a case makes for itself is made: weights, masks."""
        device: AbstractContextManager[Any] = self.library.device("cuda")
        return device

    def bind(self, case: Case, tensors: Inputs) -> Any:
        with self.there():
            return super().bind(case, tensors)

    @contextlib.contextmanager
    def running(self, case: Case) -> Iterator[None]:
        with self.there(), super().running(case):
            yield

    def timed(self, calls: Sequence[Callable[[], Any]]) -> float:
        """By events, so that the host's way back is not in it."""
        self._warm_up(calls)
        return _by_events(self.library.cuda, lambda: _make(calls))

    def _warm_up(self, calls: Sequence[Callable[[], Any]]) -> None:
        end = time.perf_counter() + (0.0 if self._warm else WARM_SECONDS)
        while time.perf_counter() < end:
            _make(calls)
            self.library.cuda.synchronize()
        self._warm = True

    def transfers(self, given: Arrays, answer: Arrays) -> tuple[float, float]:
        """From the host's ordinary memory and back to it, the median of a few."""
        host = [super(_OnCuda, self).share(x) for x in given]
        there = [self.share(x) for x in answer]
        ways = (lambda: [x.to("cuda") for x in host], lambda: [x.cpu() for x in there])
        to_device, to_host = (
            float(np.median([_by_events(self.library.cuda, way) for _ in range(_TRANSFERS)]))
            for way in ways
        )
        return to_device, to_host


def _make(calls: Sequence[Callable[[], Any]]) -> None:
    for call in calls:
        call()


def _by_events(cuda: Any, work: Callable[[], Any]) -> float:
    start, end = (cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    kept = work()  # what it makes is freed after the mark
    end.record()
    cuda.synchronize()
    del kept
    return float(start.elapsed_time(end)) / 1e3


class TileworkOnCuda(_OnCuda, Tilework):
    """Our kernels on the device. Each answer is held against the CPU engine's too."""

    def __init__(self, threads: int) -> None:
        if not tw.cuda.is_available():
            raise ImportError(tw.cuda.why_not())
        super().__init__(tw.engines.current_engine())
        self.name = "tilework, CUDA"

    def prepare(self, case: Case, inputs: Inputs, grad: np.ndarray[Any, Any]) -> Prepared | None:
        prepared = super().prepare(case, inputs, grad)
        if prepared is None:
            return None
        given = prepared.answer

        def answer() -> Arrays:
            found = given()
            # Prepared now: a case that draws numbers seeds them there, and one that trains begins.
            beside = Tilework(self.engine).prepare(case, inputs, grad)
            assert beside is not None
            beside_cpu(case, inputs, grad, found, beside.answer())
            return found

        return Prepared(prepared.call, answer)


def beside_cpu(
    case: Case, inputs: Inputs, grad: np.ndarray[Any, Any], found: Arrays, cpu: Arrays
) -> None:
    """AssertionError where an answer of the device's is further from the CPU engine's than both
    may be from the right one.

    The output has the case's tolerance. A gradient's element is a sum of so many terms as products
    made it, or as elements of `grad` flow into it; its error grows as theirs, of the largest's
    size.
    """
    assert case.bench is not None
    dtype, loosened = case.bench.dtype, PRECISIONS["CUDA"][tw.get_float32_matmul_precision()]
    output, *gradients = found
    expected, *others = (x.astype(np.float64) if x.dtype.kind not in "iub" else x for x in cpu)
    with np.errstate(all="ignore"):
        bound = case.tolerance(dtype, expected, *as_float64(inputs))
    assert_close(output, expected, 2 * loosened * bound, f"{case}, beside the CPU engine's")
    for i, gradient, other in zip(case.differentiable, gradients, others, strict=False):
        terms = max(case.bench.flops / 6, grad.size) / max(gradient.size, 1)
        longest = max(int(terms), *gradient.shape, 1)
        size = 1.0 + float(np.abs(other[np.isfinite(other)]).max(initial=0.0))
        allowed = 2 * loosened * (8.0 + growth(longest)) * eps(dtype) * size
        assert_close(gradient, other, allowed, f"{case}: gradient {i}, beside the CPU engine's")


class PyTorchOnCuda(_OnCuda, PyTorch):
    """PyTorch on the device, at our precision."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, "PyTorch, CUDA")
        if not self.library.cuda.is_available():
            raise ImportError("this PyTorch finds no CUDA device")
        precision = tw.get_float32_matmul_precision()
        self.library.set_float32_matmul_precision(precision)
        # Of itself it rounds the inputs of convolutions to tf32, of products not.
        self.library.backends.cudnn.allow_tf32 = precision != "highest"


class CuBlas(TileworkOnCuda):
    """The cupy engine's products, which are cuBLAS's: what our own have to be held against."""

    ours = False

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.name = "cuBLAS"

    def prepare(self, case: Case, inputs: Inputs, grad: np.ndarray[Any, Any]) -> Prepared | None:
        assert case.bench is not None
        if case.family != "gemm" or case.bench.dtype == "bfloat16":  # which CuPy widens
            return None
        return super().prepare(case, inputs, grad)

    @contextlib.contextmanager
    def _chosen(self) -> Iterator[None]:
        self.library.use_engine("cupy")
        try:
            yield
        finally:
            self.library.use_engine("cuda")
