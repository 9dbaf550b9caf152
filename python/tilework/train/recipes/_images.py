"""What recipes that classify images share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tilework import data
from tilework import functional as F
from tilework.data import DataLoader, ImageSet, TensorDataset, TransformedDataset
from tilework.data.augment import RandomHorizontalFlip, Transform
from tilework.tensor import Tensor
from tilework.train.recipe import Baseline, Batches

_EVALUATION_BATCH = 1000


def standardised(augment: Transform | None = None) -> Callable[[ImageSet, int], Batches]:
    """Batches of images, shifted and scaled as makes the training pixels standard; those to learn
    from shuffled, and augmented as they are drawn."""

    def batches(images: ImageSet, batch_size: int) -> Batches:
        mean, deviation = images.train_images.mean(), images.train_images.std()
        train, test = (
            (part - mean) / deviation for part in (images.train_images, images.test_images)
        )
        pairs: data.Dataset = TensorDataset(train, images.train_labels)
        if augment is not None:
            pairs = TransformedDataset(pairs, augment)
        held_out = TensorDataset(test, images.test_labels)
        return Batches(
            DataLoader(pairs, batch_size, shuffle=True), DataLoader(held_out, _EVALUATION_BATCH)
        )

    return batches


def enlarged(side: int) -> Callable[[ImageSet, int], Batches]:
    """Standardised images, `side` pixels a side by bilinear interpolation; those to learn from
    flipped at random."""
    flip, standard = RandomHorizontalFlip(), standardised()

    def resized(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return F.interpolate(images, side, mode="bilinear"), labels

    def flipped(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return resized(flip(images), labels)

    def batches(images: ImageSet, batch_size: int) -> Batches:
        made = standard(images, batch_size)
        train = TransformedDataset(made.train.dataset, flipped)
        held_out = TransformedDataset(made.held_out.dataset, resized)
        return Batches(
            DataLoader(train, batch_size, shuffle=True), DataLoader(held_out, _EVALUATION_BATCH)
        )

    return batches


def majority(images: ImageSet) -> Baseline:
    """Always naming the class that is most frequent in the training part."""
    return Baseline("the majority class", images.majority_accuracy())


def few(images: ImageSet, count: int) -> ImageSet:
    """The first images of both parts."""
    return dataclasses.replace(
        images,
        train_images=images.train_images[:count],
        train_labels=images.train_labels[:count],
        test_images=images.test_images[:count],
        test_labels=images.test_labels[:count],
    )
