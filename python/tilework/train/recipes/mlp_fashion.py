"""A multilayer perceptron on Fashion-MNIST."""

from __future__ import annotations

import dataclasses
from typing import Any

from tilework.data import ImageSet
from tilework.train.recipes import mlp


def network(file: Any, images: ImageSet) -> Any:
    return file.MLP([784, 512, 256, len(images.classes)], dropout=0.2)


RECIPE = dataclasses.replace(
    mlp.RECIPE,
    title="multilayer perceptron on Fashion-MNIST",
    data="fashion-mnist",
    network=network,
    batch_size=128,
    epochs=10,
    goal=0.88,
    parameters=784 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10,
)
