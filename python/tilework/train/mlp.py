"""The recipe of `tilework train mlp`; benchmarks/torch_recipes/mlp.py is it in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilework import data, functional, optim
from tilework.data import DataLoader, ImageSet, TensorDataset
from tilework.models import MLP
from tilework.train.evaluate import accuracy
from tilework.train.fit import Position, fit

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Recipe:
    """What is fixed before training, chosen on a validation part of the training images alone."""

    hidden: tuple[int, ...]
    dropout: float
    batch_size: int
    lr: float
    epochs: int


RECIPES: dict[str, Recipe] = {
    "digits": Recipe(hidden=(256, 128), dropout=0.2, batch_size=32, lr=1e-3, epochs=40),
    "fashion-mnist": Recipe(hidden=(512, 256), dropout=0.2, batch_size=128, lr=1e-3, epochs=10),
}
SOURCES: dict[str, Callable[[], ImageSet]] = {
    "digits": data.digits,
    "fashion-mnist": data.fashion_mnist,
}
_EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Outcome:
    """What a run came to. Accuracies are of the test part."""

    accuracy: float
    majority: float
    model: MLP


def standardised(images: ImageSet) -> tuple[Images, Images]:
    """Training and test images, shifted and scaled as makes the training pixels standard."""
    mean, deviation = images.train_images.mean(), images.train_images.std()
    train, test = images.train_images, images.test_images
    return (train - mean) / deviation, (test - mean) / deviation


def train_mlp(
    images: ImageSet,
    recipe: Recipe,
    seed: int = 0,
    epochs: int | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_batch: Callable[[Position, int], None] | None = None,
    on_epoch: Callable[[Position, float], None] | None = None,
) -> Outcome:
    """Fits an MLP by Adam on the cross entropy, and reads the test part once, at the end.

    Errors and `checkpoint`, `resume`, `on_batch`, `on_epoch` as in fit.
    """
    functional.manual_seed(seed)
    train, test = standardised(images)
    pixels = int(np.prod(train.shape[1:]))
    model = MLP([pixels, *recipe.hidden, len(images.classes)], recipe.dropout)
    fit(
        model,
        optim.Adam(model.parameters(), lr=recipe.lr),
        functional.cross_entropy,
        DataLoader(TensorDataset(train, images.train_labels), recipe.batch_size, shuffle=True),
        recipe.epochs if epochs is None else epochs,
        checkpoint=checkpoint,
        resume=resume,
        on_batch=on_batch,
        on_epoch=on_epoch,
    )
    held_out = DataLoader(TensorDataset(test, images.test_labels), _EVALUATION_BATCH)
    return Outcome(accuracy(model, held_out), images.majority_accuracy(), model)
