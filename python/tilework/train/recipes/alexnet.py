"""AlexNet, half as wide, on Fashion-MNIST for one pass (Krizhevsky 2014).

Its strides want images of 63 pixels a side at least: they are enlarged to 64.
"""

from __future__ import annotations

from typing import Any

from tilework.data import ImageSet
from tilework.metrics import Accuracy
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _images


def network(file: Any, images: ImageSet) -> Any:
    return file.alexnet(len(images.classes), in_channels=1, width=0.5)


RECIPE = Recipe(
    title="AlexNet, half as wide, one pass of Fashion-MNIST at 64x64",
    file="alexnet",
    data="fashion-mnist",
    network=network,
    batches=_images.enlarged(64),
    few=_images.few,
    optimisation=Optimisation(kind="adam", lr=1e-3, one_cycle=True),
    batch_size=128,
    epochs=1,
    metrics=lambda: [Accuracy()],
    goal=0.80,
    baseline=_images.majority,
    parameters=(
        32 * (121 + 1)
        + 96 * (32 * 25 + 1)
        + 192 * (96 * 9 + 1)
        + 128 * (192 * 9 + 1)
        + 128 * (128 * 9 + 1)
        + 2048 * (128 * 36 + 1)
        + 2048 * (2048 + 1)
        + 10 * (2048 + 1)
    ),
)
