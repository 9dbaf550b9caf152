"""`tilework bench --accuracy`, convolutions: errors of 3x3 against float64, beside oneDNN's.

An error is the root mean square of what is off over that of what is right. PyTorch computes by
oneDNN here, in both layouts: ours is held against the better of the two.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import tilework as tw
from tilework.benchmarks.contestants import installed
from tilework.testing import convolution
from tilework.testing.inputs import laid_out

Array = np.ndarray[Any, Any]
Inputs = tuple[Array, Array, Array]  # images, weight, and what flows back
SEEDS = 20
SHAPES = ((64, 28), (128, 28), (256, 14), (512, 7))  # channels, and the side of an image
OF = ("output", "gradient of the input", "gradient of the weight")
OURS = "tilework"


def _contestants() -> dict[str, tuple[Any, Any, str]]:
    """Each one's library, its functions and the layout of its images."""
    found: dict[str, tuple[Any, Any, str]] = {OURS: (tw, tw.functional, "channels_last")}
    if installed(["torch"]):
        torch = importlib.import_module("torch")
        for name, layout in (("PyTorch", "contiguous"), ("channels last", "channels_last")):
            found[name] = (torch, torch.nn.functional, layout)
    return found


def _inputs(channels: int, side: int, seed: int) -> Inputs:
    rng = np.random.default_rng(seed)
    image = (1, channels, side, side)
    shapes = (image, (channels, channels, 3, 3), image)
    x, weight, grad = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return x, weight, grad


def _exact(inputs: Inputs) -> Iterator[Array]:
    """What OF names, in float64."""
    x, weight, grad = (a.astype(np.float64) for a in inputs)
    yield convolution.conv(x, weight, padding=1)
    yield convolution.conv_transpose(grad, weight, padding=1)
    # Channels are images to each other's gradients, and images channels.
    yield convolution.conv(x.swapaxes(0, 1), grad.swapaxes(0, 1), padding=1).swapaxes(0, 1)


def _answers(library: Any, functional: Any, layout: str, inputs: Inputs) -> Iterator[Array]:
    """What OF names, as a library computes it."""
    x, weight, grad = (library.from_numpy(laid_out(a, layout)) for a in inputs)
    leaves = x.requires_grad_(), weight.requires_grad_()
    y = functional.conv2d(*leaves, padding=1)
    y.backward(grad)
    yield from (a.numpy() for a in (y.detach(), *(leaf.grad for leaf in leaves)))


def errors(channels: int, side: int, seeds: int = SEEDS) -> dict[str, list[float]]:
    """For each contestant its errors in what OF names, in units of eps."""
    contestants = _contestants()
    squares = {name: [0.0] * len(OF) for name in contestants}
    for seed in range(seeds):
        inputs = _inputs(channels, side, seed)
        exact = list(_exact(inputs))
        for name, how in contestants.items():
            for i, answer in enumerate(_answers(*how, inputs)):
                squares[name][i] += np.sum((answer - exact[i]) ** 2) / np.sum(exact[i] ** 2) / seeds
    eps = float(np.finfo(np.float32).eps)
    return {name: [float(np.sqrt(s)) / eps for s in found] for name, found in squares.items()}


def run(console: Console) -> None:
    """Prints the table."""
    names = list(_contestants())
    judged = len(names) > 1
    table = Table(
        title=f"3x3 convolutions of an image in float32, {tw.get_isa()}, {SEEDS} seeds",
        caption="Root mean square error over that of the exact answer, in eps.",
    )
    headings = ("channels@side", "of", *names, *(("ours over the better",) if judged else ()))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for channels, side in SHAPES:
        found = errors(channels, side)
        for i, of in enumerate(OF):
            row = {name: found[name][i] for name in names}
            ours = row[OURS]
            theirs = [error for name, error in row.items() if name != OURS]
            cells = [f"{ours / min(theirs):.2f}"] if judged else []
            table.add_row(f"{channels}@{side}", of, *(f"{e:.3f}" for e in row.values()), *cells)
    console.print(table)
    if not judged:
        console.print("PyTorch is not installed here: ours alone.")
