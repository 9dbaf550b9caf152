"""The cases of every op, one module a family, each with its list `CASES`."""

from __future__ import annotations

import functools
import importlib

from tilework.testing.case import Case

FAMILIES: tuple[str, ...] = (
    "gemm",
    "conv",
    "pool",
    "interpolate",
    "pointwise",
    "activations",
    "gated",
    "reduce",
    "softmax",
    "attention",
    "varlen",
    "recurrent",
    "embedding",
    "norm",
    "loss",
    "losses",
    "sequence",
    "optim",
    "random",
    "shape",
    "index",
    "compare",
    "creation",
    "indexing",
    "scatter",
    "inplace",
    "layers",
    "blocks",
    "transformers",
    "views",
    "rearrange",
    "grids",
    "numbers",
    "operators",
    "statistics",
    "models",
    "tensor",
    "schedules",
    "step",
    "networks",
    "transformer_networks",
)


@functools.cache
def of_family(family: str) -> tuple[Case, ...]:
    """The cases of one family."""
    module = importlib.import_module(f"tilework.testing.cases.{family}")
    cases: tuple[Case, ...] = tuple(module.CASES)
    return cases


def all_cases() -> tuple[Case, ...]:
    """The cases of all families, in the order of FAMILIES."""
    return tuple(case for family in FAMILIES for case in of_family(family))


def benchmarks() -> tuple[Case, ...]:
    """The cases that are timed."""
    return tuple(case for case in all_cases() if case.bench is not None)
