"""MobileNetV2 on Fashion-MNIST for one pass (Sandler et al. 2018).

Of the published number of parameters, 1000 classes and 3 channels are taken away.
"""

from __future__ import annotations

from typing import Any

from tilework.data import ImageSet
from tilework.metrics import Accuracy
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _images


def network(file: Any, images: ImageSet) -> Any:
    return file.mobilenet_v2(len(images.classes), in_channels=1)


RECIPE = Recipe(
    title="MobileNetV2, one pass of Fashion-MNIST at 32x32",
    file="mobilenet",
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
    parameters=3_504_872 - 990 * (1280 + 1) - 2 * 32 * 9,
)
