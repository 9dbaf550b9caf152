"""A U-Net that segments one microscope's image of nuclei (Ronneberger et al. 2015).

The left half is learnt from, the right half judged by, beside Otsu's threshold. That is enough to
see that a network segments, and too little to say how well it would on other images.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilework.data import DataLoader, Nuclei, TensorDataset, TransformedDataset
from tilework.data.augment import Compose, RandomCrop, RandomHorizontalFlip, RandomVerticalFlip
from tilework.metrics import IoU
from tilework.tensor import Tensor
from tilework.train.recipe import Baseline, Batches, Optimisation, Outcome, Recipe

_WINDOW, _WINDOWS_A_BATCH = 128, 16  # of 128 pixels a side; batches an epoch


def network(file: Any, nuclei: Nuclei) -> Any:
    return file.UNet(width=16, depth=3)


def _halves(nuclei: Nuclei) -> tuple[NDArray[Any], NDArray[Any]]:
    """Image and mask (2, H, W / 2) of each half; pixels are standard on the left."""
    middle = nuclei.image.shape[1] // 2
    left = nuclei.image[:, :middle]
    image = (nuclei.image - left.mean()) / left.std()
    both = np.stack([image, nuclei.instances > 0]).astype(np.float32)
    return both[:, :, :middle], both[:, :, middle:]


def batches(nuclei: Nuclei, batch_size: int) -> Batches:
    """Random windows of the left half, turned over at random, the mask as a second channel until
    both are cut; and the right half."""
    left, right = _halves(nuclei)
    window = min(_WINDOW, left.shape[1], left.shape[2])
    cut = Compose([RandomCrop(window), RandomHorizontalFlip(), RandomVerticalFlip()])

    def windows(both: Tensor) -> tuple[Tensor, ...]:
        both = cut(both)
        return both[:, :1], both[:, 1:]

    copies = np.broadcast_to(left, (batch_size * _WINDOWS_A_BATCH, *left.shape))
    train = TransformedDataset(TensorDataset(copies), windows)
    held_out = TensorDataset(right[None, :1], right[None, 1:])
    return Batches(DataLoader(train, batch_size), DataLoader(held_out, 1))


def few(nuclei: Nuclei, count: int) -> Nuclei:
    """A square of `count` pixels to learn from, and one to judge by."""
    middle = nuclei.image.shape[1] // 2
    part = np.s_[:count, max(0, middle - count) : middle + count]
    return Nuclei(nuclei.image[part], nuclei.instances[part])


def otsu(nuclei: Nuclei) -> Baseline:
    """What a threshold finds (Otsu 1979)."""
    from skimage.filters import threshold_otsu

    image, mask = _halves(nuclei)[1]
    return Baseline("Otsu's threshold", IoU("binary")(image > threshold_otsu(image), mask > 0))


def picture(outcome: Outcome, nuclei: Nuclei, path: str | os.PathLike[str] | Path) -> None:
    """Image, mask and prediction side by side, as a PNG; in the last, what was missed is red and
    what is too much blue."""
    from skimage.io import imsave

    image, mask = _halves(nuclei)[1]
    truth = mask > 0
    found = outcome.trainer.predict(image[None, None]).numpy()[0, 0] > 0
    low, high = image.min(), np.quantile(image, 0.995)
    grey = np.clip((image - low) / (high - low), 0.0, 1.0)
    panels = [np.stack([x * 1.0] * 3, -1) for x in (grey, truth, found)]
    panels[2][truth & ~found] = (1.0, 0.2, 0.2)
    panels[2][found & ~truth] = (0.2, 0.4, 1.0)
    gap = np.ones((len(grey), 4, 3))
    row = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], 1)
    imsave(os.fspath(path), (255 * row).astype(np.uint8), check_contrast=False)


RECIPE = Recipe(
    title="U-Net on one image of nuclei",
    file="unet",
    data="nuclei",
    network=network,
    batches=batches,
    few=few,
    optimisation=Optimisation(kind="adam", lr=2e-3),
    batch_size=8,
    epochs=15,
    loss="binary_cross_entropy_with_logits",
    metrics=lambda: [IoU("binary")],
    goal=0.85,
    baseline=otsu,
    parameters=482_449,
    picture=picture,
)
