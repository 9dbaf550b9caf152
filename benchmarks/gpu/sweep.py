"""Cases by size, to find from which size a GPU pays: each a timed case of the suite, resized."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tilework.benchmarks.gpu.work import Moved
from tilework.testing import cases
from tilework.testing.case import Case
from tilework.testing.inputs import Inputs, arrays

_MLP = (784, 512, 256, 10)
_MLP_WEIGHTS = sum(a * b for a, b in itertools.pairwise(_MLP))


@dataclass(frozen=True)
class Series:
    """One op at several sizes.

    Attributes:
        name: What the picture says.
        unit: What its sizes count.
        axis: The same at length, for a picture.
        model: The label of the timed case that is resized.
        sizes: Those that are measured.
        inputs: A size's.
        work: A size's products, as operations, and bytes.
        moved: What a call brings to the device and back; weights that stay there are not in it.
        launches: Kernels of one call.
    """

    name: str
    unit: str
    axis: str
    model: str
    sizes: tuple[int, ...]
    inputs: Callable[[int], Inputs]
    work: Callable[[int], tuple[float, float]]
    moved: Callable[[int], tuple[float, float]]
    launches: int = 1

    def label(self, size: int) -> str:
        """The name of a size's case."""
        return f"{self.name}, {size}"


def _batch(size: int) -> Inputs:
    """Images and classes of the model case's kind, before its weights."""

    def inputs(rng: Any, dtype: str) -> tuple[Any, ...]:
        x = rng.standard_normal((size, _MLP[0])).astype(dtype)
        weights = _by_label()["MLP 784-512-256-10 step, batch 64"].inputs(rng, dtype)[2:]
        return (x, rng.integers(0, _MLP[-1], size), *weights)

    return inputs


SERIES: tuple[Series, ...] = (
    Series(
        "matmul", "rows of square matrices", "n, of two n x n matrices", "gemm 64x64x64",
        (32, 64, 128, 256, 512, 1024, 2048),
        lambda n: arrays((n, n), (n, n)), lambda n: (2.0 * n**3, 12.0 * n * n),
        lambda n: (8.0 * n * n, 4.0 * n * n),
    ),
    Series(
        "gelu", "elements", "elements", "gelu 4096x3072", tuple(4**i for i in range(5, 12)),
        lambda n: arrays((n // 32, 32)), lambda n: (0.0, 8.0 * n), lambda n: (4.0 * n, 4.0 * n),
    ),
    Series(
        "softmax", "rows of 1024", "rows of 1024", "softmax 4096x1024",
        tuple(4**i for i in range(1, 7)),
        lambda n: arrays((n, 1024)), lambda n: (0.0, 8192.0 * n),
        lambda n: (4096.0 * n, 4096.0 * n),
    ),
    Series(
        "attention", "positions", "positions (12 heads of 64)", "attention 4x12, S=128 forward",
        (8, 16, 32, 64, 128, 256, 512, 1024),
        lambda n: arrays(*((1, 12, n, 64) for _ in range(3))),
        lambda n: (4.0 * 12 * 64 * n * n, 16.0 * 12 * 64 * n),
        lambda n: (12.0 * 12 * 64 * n, 4.0 * 12 * 64 * n),
    ),
    Series(
        "MLP step", "samples a batch", f"batch (an MLP {'-'.join(map(str, _MLP))})",
        "MLP 784-512-256-10 step, batch 64", (1, 8, 32, 128, 512, 2048), _batch,
        lambda n: (6.0 * n * _MLP_WEIGHTS, 20.0 * _MLP_WEIGHTS),
        lambda n: (4.0 * n * _MLP[0] + 8.0 * n, 4.0),
        launches=16,  # three layers and the loss, forward and backward, and six tensors' update
    ),
)  # fmt: skip


@cache
def _by_label() -> dict[str, Case]:
    return {c.bench.label: c for c in cases.benchmarks() if c.bench is not None}


@cache
def sized(series: Series, size: int) -> Case:
    """The case of one size."""
    model = _by_label()[series.model]
    assert model.bench is not None
    label = series.label(size)
    flops, moved = series.work(size)
    bench = dataclasses.replace(model.bench, label=label, flops=flops, bytes=moved)
    return dataclasses.replace(model, label=label, inputs=series.inputs(size), bench=bench)


def by_label(label: str) -> Case:
    """A case of the sweep. KeyError on another name."""
    for series in SERIES:
        for size in series.sizes:
            if series.label(size) == label:
                return sized(series, size)
    raise KeyError(label)


def bytes_of(series: Series, size: int) -> Moved:
    """Bytes of a call's transfers."""
    return Moved(*series.moved(size))


def crossing(sizes: Sequence[float], cpu: Sequence[float], gpu: Sequence[float]) -> float | None:
    """The size from which the GPU stays ahead, between two that were measured by the logarithms;
    None where it never does, the first where it always is.

    >>> crossing([10, 1000], [1.0, 100.0], [10.0, 10.0])
    100.0
    """
    lead = np.log(cpu) - np.log(gpu)
    if lead[-1] <= 0.0:
        return None
    behind = [i for i, value in enumerate(lead) if value <= 0.0]
    if not behind:
        return float(sizes[0])
    i = behind[-1]
    share = -lead[i] / (lead[i + 1] - lead[i])
    low, high = np.log(sizes[i]), np.log(sizes[i + 1])
    return float(np.round(np.exp(low + share * (high - low)), 6))
