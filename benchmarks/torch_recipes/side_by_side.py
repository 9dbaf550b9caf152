"""A recipe of `tilework train` and the same one in PyTorch, over several seeds, side by side.

    python -m tilework.benchmarks.torch_recipes.mlp [--data NAME] [--seeds 3] [--validation]

and the same with lenet and resnet.

Data, split, network, initialisers, augmentation, optimiser, schedule, epochs and number of threads
are the recipe's on both sides; the random numbers are each library's own. With --validation,
training goes over the first 80 % of the training part and accuracy is of its rest: that is what a
recipe is chosen by.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import tilework as tw
from tilework.data import ImageSet
from tilework.train.classifier import Recipe, standardised

_EVALUATION_BATCH = 1000
TorchModel = Callable[[ImageSet, Any], Any]


def torch_accuracy(build: TorchModel, images: ImageSet, recipe: Recipe, seed: int) -> float:
    """The test accuracy that PyTorch comes to."""
    import torch

    torch.manual_seed(seed)
    tw.manual_seed(seed)  # the augmentation's
    torch.set_num_threads(tw.get_num_threads())
    train, test = standardised(images)
    labels = torch.from_numpy(images.train_labels)
    model = build(images, recipe)
    kind, options = torch.optim.SGD, recipe.optimizer_options()
    if recipe.optimizer == "adam":
        kind, options = torch.optim.Adam, options | {"fused": True}
    optimizer = kind(model.parameters(), **options)
    steps = recipe.epochs * math.ceil(len(train) / recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.rate(steps))
    for _ in range(recipe.epochs):
        for batch in torch.randperm(len(train)).split(recipe.batch_size):
            inputs = train[batch.numpy()]
            if recipe.augment is not None:
                inputs = recipe.augment(inputs).numpy()
            optimizer.zero_grad()
            scores = model(torch.from_numpy(inputs))
            torch.nn.functional.cross_entropy(scores, labels[batch]).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        parts = torch.from_numpy(test).split(_EVALUATION_BATCH)
        found = torch.cat([model(part).argmax(1) for part in parts]).numpy()
    return float((found == images.test_labels).mean())


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


def main(recipes: ModuleType, build: TorchModel) -> None:
    """The command line of one of tilework.train's recipe modules and its network in PyTorch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = tuple(recipes.RECIPES)
    parser.add_argument("--data", choices=names, default=names[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--validation", action="store_true")
    args = parser.parse_args()
    images, recipe = recipes.SOURCES[args.data](), recipes.RECIPES[args.data]
    if args.epochs is not None:
        recipe = dataclasses.replace(recipe, epochs=args.epochs)
    if args.validation:
        images = validation_part(images)
    sides: dict[str, Callable[[int], float]] = {
        "tilework": lambda seed: recipes.train(images, recipe, seed).accuracy,
        "PyTorch": lambda seed: torch_accuracy(build, images, recipe, seed),
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for seed in range(args.seeds):
        for name, run in sides.items():
            start = time.perf_counter()
            found[name].append(run(seed))
            seconds = time.perf_counter() - start
            print(f"seed {seed}, {name}: {found[name][-1]:.2%}, {seconds:.1f} s", flush=True)
    print(f"{args.data}: {verdict(found)}; majority class {images.majority_accuracy():.2%}")
