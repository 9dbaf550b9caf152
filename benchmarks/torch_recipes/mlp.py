"""`tilework train mlp` and the same recipe in PyTorch, over several seeds, side by side.

    python -m tilework.benchmarks.torch_recipes.mlp [--data digits] [--seeds 3] [--validation]

Data, split, network, initialisers, optimiser and epochs are the recipe's on both sides; the random
numbers are each library's own. With --validation, training goes over the first 80 % of the
training part and accuracy is of its rest: that is what a recipe is chosen by.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

from tilework.data import ImageSet
from tilework.train import mlp


def torch_mlp(images: ImageSet, recipe: mlp.Recipe, seed: int) -> float:
    """The test accuracy that PyTorch comes to."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    train, test = (torch.from_numpy(x).flatten(1) for x in mlp.standardised(images))
    labels, test_labels = (torch.from_numpy(x) for x in (images.train_labels, images.test_labels))
    sizes = [train.shape[1], *recipe.hidden, len(images.classes)]
    layers: list[nn.Module] = []
    for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        if i:
            layers += [nn.ReLU(), nn.Dropout(recipe.dropout)]
        layers.append(nn.Linear(inputs, outputs))
    model = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr, fused=True)
    for _ in range(recipe.epochs):
        for batch in torch.randperm(len(train)).split(recipe.batch_size):
            optimizer.zero_grad()
            loss: Any = nn.functional.cross_entropy(model(train[batch]), labels[batch])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return float((model(test).argmax(1) == test_labels).float().mean())


def validation_part(images: ImageSet) -> ImageSet:
    """The training part alone, cut in two: the test part stays unread."""
    cut = len(images.train_images) * 4 // 5
    return dataclasses.replace(
        images,
        train_images=images.train_images[:cut],
        train_labels=images.train_labels[:cut],
        test_images=images.train_images[cut:],
        test_labels=images.train_labels[cut:],
    )


def verdict(found: dict[str, list[float]]) -> str:
    """The mean accuracies, and what their difference says, which takes more than one seed."""
    means = {name: statistics.fmean(values) for name, values in found.items()}
    text = ", ".join(f"{name} {mean:.2%}" for name, mean in means.items())
    seeds = len(found["tilework"])
    if seeds < 2:
        return text
    # The standard error of the difference of two means over the same number of seeds.
    error = math.sqrt(sum(statistics.variance(values) for values in found.values()) / seeds)
    difference = means["tilework"] - means["PyTorch"]
    side = "within" if abs(difference) <= 2 * error else "beyond"
    return (
        f"{text}; the difference, {difference:+.2%}, is {side} two standard errors of it "
        f"({error:.2%} each)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", choices=tuple(mlp.RECIPES), default="digits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", action="store_true")
    args = parser.parse_args()
    images, recipe = mlp.SOURCES[args.data](), mlp.RECIPES[args.data]
    if args.validation:
        images = validation_part(images)
    sides: dict[str, Callable[[int], float]] = {
        "tilework": lambda seed: mlp.train_mlp(images, recipe, seed).accuracy,
        "PyTorch": lambda seed: torch_mlp(images, recipe, seed),
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for seed in range(args.seeds):
        for name, run in sides.items():
            start = time.perf_counter()
            found[name].append(run(seed))
            seconds = time.perf_counter() - start
            print(f"seed {seed}, {name}: {found[name][-1]:.2%}, {seconds:.1f} s", flush=True)
    print(f"{args.data}: {verdict(found)}; majority class {images.majority_accuracy():.2%}")


if __name__ == "__main__":
    main()
