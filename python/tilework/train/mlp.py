"""The recipes of `tilework train mlp`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tilework.data import ImageSet
from tilework.models import MLP
from tilework.train import classifier
from tilework.train.classifier import SOURCES, Outcome


@dataclass(frozen=True, kw_only=True)
class Recipe(classifier.Recipe):
    """A classifier's recipe, and the network: the widths between input and output."""

    hidden: tuple[int, ...]
    dropout: float

    def sizes(self, images: ImageSet) -> list[int]:
        """All widths for these images."""
        pixels = int(np.prod(images.train_images.shape[1:]))
        return [pixels, *self.hidden, len(images.classes)]


RECIPES = {
    "digits": Recipe(hidden=(256, 128), dropout=0.2, batch_size=32, lr=1e-3, epochs=40),
    "fashion-mnist": Recipe(hidden=(512, 256), dropout=0.2, batch_size=128, lr=1e-3, epochs=10),
}
__all__ = ["RECIPES", "SOURCES", "Outcome", "Recipe", "train"]


def train(images: ImageSet, recipe: Recipe, seed: int = 0, **options: Any) -> Outcome:
    """Fits an MLP; options are those of train_classifier."""
    return classifier.train_classifier(
        lambda: MLP(recipe.sizes(images), recipe.dropout), images, recipe, seed, **options
    )
