"""EfficientNet-B0 on Fashion-MNIST for one pass (Tan and Le 2019).

Of the published number of parameters, 1000 classes and 3 channels are taken away.
"""

from __future__ import annotations

from typing import Any

from tilework.data import ImageSet
from tilework.metrics import Accuracy
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _images


def network(file: Any, images: ImageSet) -> Any:
    return file.efficientnet_b0(len(images.classes), in_channels=1)


RECIPE = Recipe(
    title="EfficientNet-B0, one pass of Fashion-MNIST at 32x32",
    file="efficientnet",
    data="fashion-mnist",
    network=network,
    batches=_images.enlarged(32),
    few=_images.few,
    optimisation=Optimisation(kind="adam", lr=4e-3, one_cycle=True),
    batch_size=128,
    epochs=1,
    metrics=lambda: [Accuracy()],
    goal=0.8,
    baseline=_images.majority,
    parameters=5_288_548 - 990 * (1280 + 1) - 2 * 32 * 9,
)
