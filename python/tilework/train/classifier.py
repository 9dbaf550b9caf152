"""What the recipes for classifiers share.

benchmarks/torch_recipes/side_by_side.py is it in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tilework import data, functional, optim
from tilework.data import DataLoader, ImageSet, TensorDataset, TransformedDataset
from tilework.data.augment import Transform
from tilework.metrics import Accuracy
from tilework.nn import Module
from tilework.train.callbacks import Callback, Schedule
from tilework.train.task import Supervised
from tilework.train.trainer import Trainer

Images = NDArray[np.float32]
SOURCES: dict[str, Callable[[], ImageSet]] = {
    "digits": data.digits,
    "fashion-mnist": data.fashion_mnist,
}
_EVALUATION_BATCH = 1000
_WARM_UP = 0.25  # of a one-cycle schedule


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is fixed before training, chosen on a validation part of the training images alone.

    Attributes:
        batch_size: Images a step.
        epochs: Passes over the training part.
        lr: The learning rate; with `one_cycle` the highest.
        optimizer: "adam", or "sgd" for SGD with Nesterov momentum 0.9.
        weight_decay: The optimiser's.
        one_cycle: Whether the rate grows from nothing over the first quarter of the steps and falls
            to nothing along a cosine (Smith and Topin 2019), or stays.
        augment: What a training batch goes through.
    """

    batch_size: int
    epochs: int
    lr: float
    optimizer: Literal["adam", "sgd"] = "adam"
    weight_decay: float = 0.0
    one_cycle: bool = False
    augment: Transform | None = None

    def optimizer_options(self) -> dict[str, Any]:
        """The optimiser's arguments, which PyTorch's has too."""
        options: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        return options | ({"momentum": 0.9, "nesterov": True} if self.optimizer == "sgd" else {})

    def rate(self, steps: int) -> Callable[[int], float]:
        """From a step, of so many, to what the learning rate is multiplied by."""
        if not self.one_cycle:
            return lambda step: 1.0
        rising = max(1, round(_WARM_UP * steps))

        def cycle(step: int) -> float:
            if step < rising:
                return (step + 1) / rising
            share = min(1.0, (step - rising) / max(1, steps - rising))
            return (1.0 + math.cos(math.pi * share)) / 2.0

        return cycle


@dataclass(frozen=True)
class Outcome:
    """What a run came to. Accuracies are of the test part."""

    accuracy: float
    majority: float
    images: int
    model: Module

    def __str__(self) -> str:
        return (
            f"held-out accuracy {self.accuracy:.2%}, {self.images} images "
            f"({self.majority:.2%} by the majority class)"
        )


def standardised(images: ImageSet) -> tuple[Images, Images]:
    """Training and test images, shifted and scaled as makes the training pixels standard."""
    mean, deviation = images.train_images.mean(), images.train_images.std()
    train, test = images.train_images, images.test_images
    return (train - mean) / deviation, (test - mean) / deviation


def loader_of(images: Images, labels: NDArray[np.int64], recipe: Recipe) -> DataLoader:
    """Shuffled and augmented batches for training."""
    pairs: data.Dataset = TensorDataset(images, labels)
    if recipe.augment is not None:
        pairs = TransformedDataset(pairs, recipe.augment)
    return DataLoader(pairs, recipe.batch_size, shuffle=True)


def train_classifier(
    build: Callable[[], Module],
    images: ImageSet,
    recipe: Recipe,
    seed: int = 0,
    epochs: int | None = None,
    watchers: Sequence[Callback] = (),
    resume: Path | None = None,
) -> Outcome:
    """Fits what `build` makes on the cross entropy, and reads the test part once, at the end.

    `watchers` are callbacks besides the schedule; errors and `resume` as in Trainer.fit.
    """
    functional.manual_seed(seed)
    epochs = recipe.epochs if epochs is None else epochs
    train, test = standardised(images)
    model = build()
    loader = loader_of(train, images.train_labels, recipe)
    kind = optim.Adam if recipe.optimizer == "adam" else optim.SGD
    optimizer = kind(model.parameters(), **recipe.optimizer_options())
    schedule = optim.lr_scheduler.LambdaLR(optimizer, recipe.rate(epochs * len(loader)))
    task = Supervised(model, functional.cross_entropy, [Accuracy()])
    trainer = Trainer(task, optimizer, [Schedule(schedule), *watchers])
    trainer.fit(loader, epochs=epochs, resume=resume)
    held_out = DataLoader(TensorDataset(test, images.test_labels), _EVALUATION_BATCH)
    accuracy = trainer.evaluate(held_out)["accuracy"]
    return Outcome(accuracy, images.majority_accuracy(), len(test), model)
