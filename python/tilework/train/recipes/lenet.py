"""LeNet-5, with ReLU and max-pooling, on Fashion-MNIST (LeCun et al. 1998)."""

from __future__ import annotations

from typing import Any

from tilework.data import ImageSet
from tilework.data.augment import RandomHorizontalFlip
from tilework.metrics import Accuracy
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _images


def network(file: Any, images: ImageSet) -> Any:
    return file.LeNet5(len(images.classes))


RECIPE = Recipe(
    title="LeNet-5 on Fashion-MNIST",
    file="lenet",
    data="fashion-mnist",
    network=network,
    batches=_images.standardised(RandomHorizontalFlip()),
    few=_images.few,
    optimisation=Optimisation(kind="adam", lr=4e-3, one_cycle=True),
    batch_size=128,
    epochs=20,
    metrics=lambda: [Accuracy()],
    goal=0.90,
    baseline=_images.majority,
    parameters=61_706,
)
