"""What is no pair of trousers: an autoencoder that has learnt from trousers alone.

The class was chosen on the last sixth of the training part, as the one that principal components
tell best from the rest.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilework.data import ImageSet, TensorDataset
from tilework.metrics import ROCAUC
from tilework.train.recipe import Baseline, Batches, Outcome
from tilework.train.recipes import _reconstruction, autoencoder

_ORDINARY = "Trouser"
_HIDDEN, _CODE = 256, 16


def _learnt_from(images: ImageSet) -> NDArray[np.float32]:
    ordinary = images.train_labels == images.classes.index(_ORDINARY)
    return np.asarray(images.train_images[ordinary])


def _strange(images: ImageSet) -> NDArray[np.int64]:
    strange = images.test_labels != images.classes.index(_ORDINARY)
    return np.asarray(strange, np.int64)


def batches(images: ImageSet, batch_size: int) -> Batches:
    """Images, and whether they are strange; to learn from, ordinary ones."""
    ordinary = _learnt_from(images)
    train = TensorDataset(ordinary, np.zeros(len(ordinary), np.int64))
    held_out = TensorDataset(images.test_images, _strange(images))
    return _reconstruction.loaders(train, held_out, batch_size)


def distances(images: ImageSet) -> Baseline:
    """How far images lie from the mean of the ordinary ones, or from their components."""
    ordinary, asked, strange = _learnt_from(images), images.test_images, _strange(images)

    def auc(found: NDArray[np.float32]) -> float:
        value: float = ROCAUC()(np.square(found - asked).mean((1, 2, 3)), strange)
        return value

    linear = auc(_reconstruction.Principal(ordinary, _CODE)(asked))
    name = f"distance from the mean; from {_CODE} principal components {linear:.4g}"
    return Baseline(name, auc(ordinary.mean(0)))


def picture(outcome: Outcome, images: ImageSet, path: Path) -> None:
    """Held-out images, trousers and others: of each those the least and the most strange."""
    strange = _strange(images) > 0
    errors = outcome.trainer.predict(images.test_images).numpy()
    rows = []
    for kind in (~strange, strange):
        ranked = images.test_images[kind][np.argsort(errors[kind], kind="stable")]
        rows += [ranked[:16], ranked[-16:]]
    _reconstruction.save(_reconstruction.rows(*rows), path)


RECIPE = dataclasses.replace(
    autoencoder.RECIPE,
    title="autoencoder that has seen trousers alone: what is none?",
    network=lambda file, images: file.AnomalyDetector([784, _HIDDEN, _CODE]),
    batches=batches,
    batch_size=64,
    epochs=30,
    loss=lambda F, errors, strange: errors.mean(),
    metrics=lambda: [ROCAUC()],
    goal=0.98,
    baseline=distances,
    picture=picture,
)
