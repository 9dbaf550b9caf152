"""A small vision transformer on Fashion-MNIST (Dosovitskiy et al. 2020)."""

from __future__ import annotations

from typing import Any

from tilework.data import ImageSet
from tilework.data.augment import RandomHorizontalFlip
from tilework.train.recipe import Optimisation
from tilework.train.recipes import _images

_WIDTH, _LAYERS, _INNER, _PATCH = 96, 4, 192, 7
_PATCHES = (28 // _PATCH) ** 2


def network(file: Any, images: ImageSet) -> Any:
    config = file.ViTConfig(
        _WIDTH, _LAYERS, 4, _INNER, image_size=28, patch_size=_PATCH, num_channels=1,
        num_labels=len(images.classes),
    )  # fmt: skip
    return file.ViTForImageClassification(config)


RECIPE = _images.classifier(
    title="ViT of 4 layers of 96, patches of 7x7, on Fashion-MNIST",
    file="vit",
    network=network,
    batches=_images.standardised(RandomHorizontalFlip()),
    optimisation=Optimisation(kind="adamw", lr=2e-3, weight_decay=0.05, one_cycle=True),
    batch_size=64,
    epochs=9,
    goal=0.88,
    parameters=(
        _WIDTH * (_PATCH**2 + 1)  # the projection of patches
        + _WIDTH * (1 + _PATCHES + 1)  # the class's token, and positions
        + _LAYERS * (4 * _WIDTH * (_WIDTH + 1) + 2 * _WIDTH * _INNER + _INNER + _WIDTH + 4 * _WIDTH)
        + 2 * _WIDTH + 10 * (_WIDTH + 1)  # the last norm, and the scores
    ),
)  # fmt: skip
