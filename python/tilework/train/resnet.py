"""The recipe of `tilework train resnet`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tilework.data import ImageSet
from tilework.data.augment import Compose, RandomCrop, RandomHorizontalFlip
from tilework.models import CifarResNet
from tilework.train import classifier
from tilework.train.classifier import Outcome


@dataclass(frozen=True, kw_only=True)
class Recipe(classifier.Recipe):
    """A classifier's recipe, and the network: blocks a stage, and channels in the first."""

    blocks: int
    width: int


# Standardised images are darkest at -0.81: what a crop reads from outside is background.
_BACKGROUND = -0.81
RECIPES = {
    "fashion-mnist": Recipe(
        blocks=2,
        width=16,
        batch_size=128,
        epochs=7,
        lr=0.2,
        optimizer="sgd",
        weight_decay=5e-4,
        one_cycle=True,
        augment=Compose([RandomHorizontalFlip(), RandomCrop(28, padding=2, fill=_BACKGROUND)]),
    )
}
SOURCES = {"fashion-mnist": classifier.SOURCES["fashion-mnist"]}


def train(images: ImageSet, recipe: Recipe, seed: int = 0, **options: Any) -> Outcome:
    """Fits a ResNet in its form for small images; options are those of train_classifier."""
    channels = images.train_images.shape[1]
    return classifier.train_classifier(
        lambda: CifarResNet(
            recipe.blocks, len(images.classes), in_channels=channels, width=recipe.width
        ),
        images, recipe, seed, **options,
    )  # fmt: skip
