"""A ResNet in its form for small images on Fashion-MNIST (He et al. 2016)."""

from __future__ import annotations

from typing import Any

from tilework.data import ImageSet
from tilework.data.augment import Compose, RandomCrop, RandomHorizontalFlip
from tilework.train.recipe import Optimisation
from tilework.train.recipes import _images


def network(file: Any, images: ImageSet) -> Any:
    channels = images.train_images.shape[1]
    return file.CifarResNet(2, len(images.classes), in_channels=channels, width=16)


RECIPE = _images.classifier(
    title="ResNet-14 of 16 channels on Fashion-MNIST",
    file="resnet",
    network=network,
    batches=_images.standardised(
        Compose([RandomHorizontalFlip(), RandomCrop(28, padding=2, fill=_images.BACKGROUND)])
    ),
    optimisation=Optimisation(kind="sgd", lr=0.2, weight_decay=5e-4, one_cycle=True),
    epochs=7,
    goal=0.925,
    parameters=172_218,
)
