"""What recipes that give images back share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.data import DataLoader, Dataset, ImageSet, TensorDataset
from tilework.metrics import MSE
from tilework.train.recipe import Baseline, Batches, Outcome

Floats = NDArray[Any]
_HELD_OUT_BATCH = 500
_SHOWN = 16


class Reconstruction(MSE):
    """The mean squared error of the first of a network's outputs, the image."""

    def update(self, output: Any, target: Any) -> None:
        super().update(output[0], target)


class Principal:
    """The principal components of images: of all linear ways to keep so many numbers of each, what
    comes closest to them (Pearson 1901).

    >>> line = Principal(np.array([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]]), 1)
    >>> line(np.array([[2.0, 0.0]])).round(6)
    array([[1., 1.]])
    """

    def __init__(self, images: Floats, width: int) -> None:
        flat = images.reshape(len(images), -1)
        self.mean = flat.mean(0)
        away = flat - self.mean
        _, directions = np.linalg.eigh(away.T @ away)  # by how far the images spread, ascending
        self.directions = directions[:, -width:]

    def __call__(self, images: Floats) -> Floats:
        """The nearest to these images of all that so many numbers can say."""
        codes = (images.reshape(len(images), -1) - self.mean) @ self.directions
        found: Floats = (codes @ self.directions.T + self.mean).reshape(images.shape)
        return found


def loaders(train: Dataset, held_out: Dataset, batch_size: int) -> Batches:
    return Batches(
        DataLoader(train, batch_size, shuffle=True), DataLoader(held_out, _HELD_OUT_BATCH)
    )


def batches(images: ImageSet, batch_size: int) -> Batches:
    """Images, which are their own targets."""
    train, test = (TensorDataset(x, x) for x in (images.train_images, images.test_images))
    return loaders(train, test, batch_size)


def components(width: int) -> Callable[[ImageSet], Baseline]:
    """As many principal components of the training part as the code has numbers."""

    def baseline(images: ImageSet) -> Baseline:
        found = Principal(images.train_images, width)(images.test_images)
        return Baseline(f"{width} principal components", MSE()(found, images.test_images))

    return baseline


def rows(*pictures: Floats) -> Floats:
    """Rows of images (N, 1, H, W), one below the other, as one (rows H, N W)."""
    return np.concatenate([np.concatenate([*row[:, 0]], 1) for row in pictures])


def save(picture: Floats, path: Path) -> None:
    """A picture of numbers from 0 to 1, twice as large, as a PNG."""
    from PIL import Image

    grey = Image.fromarray((255 * picture.clip(0.0, 1.0)).astype(np.uint8))
    grey.resize((2 * grey.width, 2 * grey.height), Image.Resampling.NEAREST).save(path)


def picture(outcome: Outcome, images: ImageSet, path: Path) -> None:
    """Images to judge by, and below each what the network makes of it."""
    shown = images.test_images[:_SHOWN]
    found = outcome.trainer.predict(shown)
    save(rows(shown, (found[0] if isinstance(found, tuple) else found).numpy()), path)
