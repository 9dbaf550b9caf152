"""The recipe of `tilework train lenet`."""

from __future__ import annotations

from typing import Any

from tilework.data import ImageSet
from tilework.data.augment import RandomHorizontalFlip
from tilework.models import LeNet5
from tilework.train import classifier
from tilework.train.classifier import Outcome, Recipe

RECIPES = {
    "fashion-mnist": Recipe(
        batch_size=128, epochs=20, lr=4e-3, one_cycle=True, augment=RandomHorizontalFlip()
    )
}
SOURCES = {"fashion-mnist": classifier.SOURCES["fashion-mnist"]}


def train(images: ImageSet, recipe: Recipe, seed: int = 0, **options: Any) -> Outcome:
    """Fits LeNet-5; options are those of train_classifier."""
    return classifier.train_classifier(LeNet5, images, recipe, seed, **options)
