"""What recipes that classify images share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from tilework import functional as F
from tilework.data import DataLoader, Dataset, ImageSet, TensorDataset, TransformedDataset
from tilework.data.augment import RandomHorizontalFlip, Transform
from tilework.metrics import Accuracy
from tilework.tensor import Tensor
from tilework.train.recipe import Baseline, Batches, Recipe

BACKGROUND = -0.81  # of Fashion-MNIST's images, standardised: what a crop reads from outside
_EVALUATION_BATCH = 1000


def standardised(
    augment: Transform | None = None, side: int | None = None
) -> Callable[[ImageSet, int], Batches]:
    """Batches of images, shifted and scaled as makes the training pixels standard, and `side`
    pixels a side by bilinear interpolation where it is given; those to learn from shuffled, and
    augmented as they are drawn."""

    def batches(images: ImageSet, batch_size: int) -> Batches:
        mean, deviation = images.train_images.mean(), images.train_images.std()
        train: Dataset = TensorDataset(
            (images.train_images - mean) / deviation, images.train_labels
        )
        held_out: Dataset = TensorDataset(
            (images.test_images - mean) / deviation, images.test_labels
        )
        if augment is not None:
            train = TransformedDataset(train, augment)
        if side is not None:
            resized = functools.partial(_resized, side)
            train, held_out = (TransformedDataset(part, resized) for part in (train, held_out))
        return Batches(
            DataLoader(train, batch_size, shuffle=True), DataLoader(held_out, _EVALUATION_BATCH)
        )

    return batches


def _resized(side: int, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    return F.interpolate(images, side, mode="bilinear"), labels


def enlarged(side: int) -> Callable[[ImageSet, int], Batches]:
    """Standardised images, `side` pixels a side; those to learn from flipped at random."""
    return standardised(RandomHorizontalFlip(), side)


def majority(images: ImageSet) -> Baseline:
    """Always naming the class that is most frequent in the training part."""
    return Baseline("the majority class", images.majority_accuracy())


def few(images: ImageSet, count: int) -> ImageSet:
    """The first images of both parts."""
    return some(images, slice(count), slice(count))


def some(images: ImageSet, train: Any, test: Any) -> ImageSet:
    """The images of both parts that these slices or masks choose."""
    return dataclasses.replace(
        images,
        train_images=images.train_images[train],
        train_labels=images.train_labels[train],
        test_images=images.test_images[test],
        test_labels=images.test_labels[test],
    )


# A recipe that classifies Fashion-MNIST, but for what each says of itself.
classifier = functools.partial(
    Recipe,
    data="fashion-mnist",
    few=few,
    batch_size=128,
    metrics=lambda: [Accuracy()],
    baseline=majority,
)
