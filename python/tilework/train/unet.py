"""The recipe of `tilework train unet`: a demonstration of segmentation on one image.

The left half is learnt from, the right half judged by, beside Otsu's threshold. That is enough to
see that a network segments, and too little to say how well it would on other images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilework import data, functional, optim
from tilework.data import DataLoader, TensorDataset, TransformedDataset
from tilework.data.augment import Compose, RandomCrop, RandomHorizontalFlip, RandomVerticalFlip
from tilework.models import UNet
from tilework.tensor import Tensor
from tilework.train.callbacks import Callback
from tilework.train.task import Supervised
from tilework.train.trainer import Trainer

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What was fixed before the first run: the network, and the windows that it learns from."""

    width: int
    depth: int
    window: int
    batch_size: int
    batches: int
    epochs: int
    lr: float


RECIPES = {
    "nuclei": Recipe(width=16, depth=3, window=128, batch_size=8, batches=16, epochs=15, lr=2e-3)
}
SOURCES = {"nuclei": data.nuclei}


@dataclass(frozen=True)
class Outcome:
    """The right half, its true mask, the two that were found, and the network."""

    image: Image
    truth: Mask
    found: Mask
    otsu: Mask
    model: UNet

    def __str__(self) -> str:
        return (
            f"held-out intersection over union {overlap(self.found, self.truth):.3f} "
            f"({overlap(self.otsu, self.truth):.3f} by Otsu's threshold)"
        )

    def save_picture(self, path: str | os.PathLike[str]) -> None:
        """Image, mask and prediction side by side, as a PNG; in the last, what was missed is red
        and what is too much blue."""
        from skimage.io import imsave

        grey = np.clip(self.image / np.quantile(self.image, 0.995), 0.0, 1.0)
        panels = [np.stack([x * 1.0] * 3, -1) for x in (grey, self.truth, self.found)]
        panels[2][self.truth & ~self.found] = (1.0, 0.2, 0.2)
        panels[2][self.found & ~self.truth] = (0.2, 0.4, 1.0)
        gap = np.ones((len(grey), 4, 3))
        row = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], 1)
        imsave(os.fspath(path), (255 * row).astype(np.uint8), check_contrast=False)


def overlap(found: Mask, truth: Mask) -> float:
    """Intersection over union; 1 where both are empty.

    >>> overlap(np.array([True, True, False]), np.array([False, True, True]))
    0.3333333333333333
    """
    union = int((found | truth).sum())
    return int((found & truth).sum()) / union if union else 1.0


def _windows(image: Image, mask: Mask, recipe: Recipe) -> DataLoader:
    """Random windows of image and mask, turned over at random, the mask as a second channel until
    both are cut."""
    pair = np.stack([image, mask.astype(np.float32)])
    copies = np.broadcast_to(pair, (recipe.batch_size * recipe.batches, *pair.shape))
    cut = Compose([RandomCrop(recipe.window), RandomHorizontalFlip(), RandomVerticalFlip()])

    def windows(both: Tensor) -> tuple[Tensor, ...]:
        both = cut(both)
        return both[:, :1], both[:, 1:]

    return DataLoader(TransformedDataset(TensorDataset(copies), windows), recipe.batch_size)


def train(
    nuclei: data.Nuclei,
    recipe: Recipe,
    seed: int = 0,
    epochs: int | None = None,
    watchers: Sequence[Callback] = (),
    resume: Path | None = None,
) -> Outcome:
    """Fits a U-Net by Adam on the binary cross entropy of the left half; the right half is read
    once, at the end. `watchers` are callbacks; `resume` as in Trainer.fit."""
    from skimage.filters import threshold_otsu

    functional.manual_seed(seed)
    image, mask = nuclei.image, nuclei.instances > 0
    middle = image.shape[1] // 2
    left, right = image[:, :middle], image[:, middle:]
    mean, deviation = left.mean(), left.std()
    model = UNet(width=recipe.width, depth=recipe.depth)
    task = Supervised(model, functional.binary_cross_entropy_with_logits)
    trainer = Trainer(task, optim.Adam(model.parameters(), lr=recipe.lr), watchers)
    windows = _windows((left - mean) / deviation, mask[:, :middle], recipe)
    trainer.fit(windows, epochs=recipe.epochs if epochs is None else epochs, resume=resume)
    scores = trainer.predict(Tensor(((right - mean) / deviation)[None, None]))
    found = scores.numpy()[0, 0] > 0
    return Outcome(right, mask[:, middle:], found, right > threshold_otsu(right), model)
