"""A recipe of `tilework train`, and the same one over PyTorch, over several seeds, side by side.

    python -m tilework.benchmarks.side_by_side NAME [--seeds 3] [--epochs N] [--folder DIR]

The network's file, data, split, augmentation, optimiser, schedule, epochs and number of threads are
the recipe's on both sides; the random numbers are each library's own.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tilework as tw
from tilework import data
from tilework.train import recipes
from tilework.train.recipe import Recipe, run


def torch_tensors(batch: Any) -> Any:
    """A batch of ours as PyTorch's."""
    import torch

    return [torch.from_numpy(np.ascontiguousarray(part.numpy())) for part in batch]


def _arrays(output: Any) -> Any:
    """A model's output, or each of several, as an array."""
    return [*map(_arrays, output)] if isinstance(output, tuple) else output.numpy()


def torch_figure(recipe: Recipe, source: Any, seed: int) -> float:
    """The held-out figure that PyTorch comes to."""
    import torch

    from tilework.testing.over_torch import over_torch

    torch.manual_seed(seed)
    tw.manual_seed(seed)  # the order's and the augmentation's
    torch.set_num_threads(tw.get_num_threads())
    model = recipe.network(over_torch(recipe.file), source)
    batches = recipe.batches(source, recipe.batch_size)
    optimizer = recipe.optimisation.optimizer(torch.optim, model.parameters())
    rate = recipe.optimisation.rate(recipe.epochs * len(batches.train))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    loss = recipe.criterion(torch.nn.functional)
    for _ in range(recipe.epochs):
        for *inputs, target in map(torch_tensors, batches.train):
            optimizer.zero_grad()
            loss(model(*inputs), target).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    metric = recipe.judges(batches)[0]
    with torch.no_grad():
        for *inputs, target in map(torch_tensors, batches.held_out):
            metric.update(_arrays(model(*inputs)), target.numpy())
    return float(metric.compute())


def verdict(found: dict[str, list[float]]) -> str:
    """The mean figures, and what their difference says, which takes more than one seed."""
    means = {name: statistics.fmean(values) for name, values in found.items()}
    text = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
    seeds = len(found["tilework"])
    if seeds < 2:
        return text
    # The standard error of the difference of two means over the same number of seeds.
    error = math.sqrt(sum(statistics.variance(values) for values in found.values()) / seeds)
    difference = means["tilework"] - means["PyTorch"]
    side = "within" if abs(difference) <= 2 * error else "beyond"
    return (
        f"{text}; the difference, {difference:+.4f}, is {side} two standard errors of it "
        f"({error:.4f} each)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--folder", help="one with recipes/ and models/ of your own, besides ours")
    args = parser.parse_args()
    if args.folder is not None:
        recipes.add_folder(args.folder)
    recipe = recipes.get(args.recipe)
    if args.epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=args.epochs)
    source = data.source(recipe.data)
    sides: dict[str, Callable[[int], float]] = {
        "tilework": lambda seed: run(recipe, source, seed).value,
        "PyTorch": lambda seed: torch_figure(recipe, source, seed),
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for seed in range(args.seeds):
        for name, side in sides.items():
            start = time.perf_counter()
            found[name].append(side(seed))
            seconds = time.perf_counter() - start
            print(f"seed {seed}, {name}: {found[name][-1]:.4f}, {seconds:.1f} s", flush=True)
    baseline = recipe.baseline(source)
    print(f"{args.recipe}: {verdict(found)}; {baseline.value:.4f} by {baseline.name}")


if __name__ == "__main__":
    main()
