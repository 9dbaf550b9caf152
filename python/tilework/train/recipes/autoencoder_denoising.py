"""An autoencoder that takes noise out of Fashion-MNIST's images (Vincent et al. 2008).

Noise is normal, of a quarter of the way from black to white: a noisy image has a peak
signal-to-noise ratio of 12 dB.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tilework import functional as F
from tilework.data import ImageSet, TensorDataset, TransformedDataset
from tilework.data.loader import numpy_generator
from tilework.metrics import PSNR
from tilework.tensor import Tensor
from tilework.train.recipe import Baseline, Batches, Outcome
from tilework.train.recipes import _reconstruction, autoencoder

_NOISE = 0.25
_HIDDEN, _CODE = 512, 64


def _noisy(images: Any) -> Any:
    """The images of an array, each time with the same noise."""
    noise = numpy_generator(0).standard_normal(images.shape)
    return (images + _NOISE * noise).astype(images.dtype)


def _spoilt(images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return images + _NOISE * F.randn_like(images), target


def batches(images: ImageSet, batch_size: int) -> Batches:
    """Noisy images, and what they were; to learn from, the noise is another each time."""
    clean = images.test_images
    train = TransformedDataset(TensorDataset(images.train_images, images.train_images), _spoilt)
    held_out = TensorDataset(_noisy(clean), clean)
    return _reconstruction.loaders(train, held_out, batch_size)


def untouched(images: ImageSet) -> Baseline:
    """The noisy images as they are, beside what principal components of clean ones make of them."""
    clean, spoilt = images.test_images, _noisy(images.test_images)
    linear = _reconstruction.Principal(images.train_images, _CODE)(spoilt)
    beside = f"{_CODE} principal components {PSNR()(linear, clean):.4g}"
    return Baseline(f"leaving the noise; {beside}", PSNR()(spoilt, clean))


def picture(outcome: Outcome, images: ImageSet, path: Path) -> None:
    """Noisy images, what the network makes of them, and what they were."""
    clean = images.test_images[:16]
    spoilt = _noisy(clean)
    found = outcome.trainer.predict(spoilt).numpy()
    _reconstruction.save(_reconstruction.rows(spoilt, found, clean), path)


RECIPE = dataclasses.replace(
    autoencoder.RECIPE,
    title="denoising autoencoder, noise of a quarter of the range",
    network=lambda file, images: file.Autoencoder([784, _HIDDEN, _CODE]),
    batches=batches,
    metrics=lambda: [PSNR()],
    goal=19.5,  # 7 dB more than with the noise
    baseline=untouched,
    parameters=2 * 784 * _HIDDEN + 2 * _HIDDEN * _CODE + 2 * _HIDDEN + _CODE + 784,
    picture=picture,
)
