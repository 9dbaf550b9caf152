"""`tilework bench --accuracy`, products: errors of float32 against float64, beside the peers'.

The error of an element is taken relative to |A||B|, the product of absolute values: what rounding
can be blamed for. Over seeds, the root mean square and the largest are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import tilework as tw
from tilework.benchmarks.contestants import installed

Array = np.ndarray[Any, Any]
SEEDS = 20
ROWS, COLUMNS = 128, 128  # enough for every variant to serve
DEPTHS = (256, 1024, 4096, 16384)


def _wide(rng: np.random.Generator, *shape: int) -> Array:
    """Normal numbers whose magnitudes go over eight decades."""
    numbers: Array = rng.standard_normal(shape) * 10.0 ** rng.uniform(-4, 4, shape)
    return numbers


INPUTS: dict[str, Callable[..., Array]] = {
    "normal": lambda rng, *shape: rng.standard_normal(shape),
    "uniform positive": lambda rng, *shape: rng.random(shape),
    "wide range": _wide,
}


def _products() -> dict[str, Callable[[Array, Array], Array]]:
    products: dict[str, Callable[[Array, Array], Array]] = {
        "tilework": lambda a, b: tw.matmul(tw.from_numpy(a), tw.from_numpy(b)).numpy(),
        "NumPy": np.matmul,
    }
    if installed(["torch"]):
        import torch

        products["PyTorch"] = lambda a, b: torch.from_numpy(a).matmul(torch.from_numpy(b)).numpy()
    return products


def errors(kind: str, depth: int, seeds: int = SEEDS) -> dict[str, tuple[float, float]]:
    """For each library (root mean square, largest) relative error, in units of eps."""
    products = _products()
    squares = dict.fromkeys(products, 0.0)
    largest = dict.fromkeys(products, 0.0)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        a = INPUTS[kind](rng, ROWS, depth).astype(np.float32)
        b = INPUTS[kind](rng, depth, COLUMNS).astype(np.float32)
        exact = np.matmul(a.astype(np.float64), b.astype(np.float64))
        scale = np.matmul(np.abs(a.astype(np.float64)), np.abs(b.astype(np.float64)))
        for name, product in products.items():
            off = np.abs(product(a, b) - exact) / scale / np.finfo(np.float32).eps
            squares[name] += float(np.mean(off**2)) / seeds
            largest[name] = max(largest[name], float(off.max()))
    return {name: (float(np.sqrt(squares[name])), largest[name]) for name in products}


def run(console: Console) -> None:
    """Prints the table: rms / largest error in eps, and ours over PyTorch's (MKL's)."""
    table = Table(
        title=f"{ROWS}xKx{COLUMNS} float32, {tw.get_isa()}, {tw.get_float32_matmul_precision()!r}, "
        f"{SEEDS} seeds",
        caption="Error relative to |A||B|, in eps: root mean square / largest.",
    )
    judge = "PyTorch" if "PyTorch" in _products() else "NumPy"
    for heading in ("inputs", "K", *_products(), f"ours over {judge}'s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for kind in INPUTS:
        for depth in DEPTHS:
            found = errors(kind, depth)
            (rms, top), (judge_rms, judge_top) = found["tilework"], found[judge]
            cells = [f"{r:.4f} / {m:.3f}" for r, m in found.values()]
            table.add_row(
                kind, str(depth), *cells, f"{rms / judge_rms:.2f} / {top / judge_top:.2f}"
            )
    console.print(table)
