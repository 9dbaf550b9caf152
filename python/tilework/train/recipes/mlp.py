"""A multilayer perceptron on handwritten digits."""

from __future__ import annotations

from typing import Any

from tilework.data import ImageSet
from tilework.metrics import Accuracy
from tilework.train.recipe import Optimisation, Recipe
from tilework.train.recipes import _images


def network(file: Any, images: ImageSet) -> Any:
    return file.MLP([64, 256, 128, len(images.classes)], dropout=0.2)


RECIPE = Recipe(
    title="multilayer perceptron on handwritten digits",
    file="mlp",
    data="digits",
    network=network,
    batches=_images.standardised(),
    few=_images.few,
    optimisation=Optimisation(kind="adam", lr=1e-3),
    batch_size=32,
    epochs=40,
    metrics=lambda: [Accuracy()],
    goal=0.97,
    baseline=_images.majority,
    parameters=64 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10,
)
